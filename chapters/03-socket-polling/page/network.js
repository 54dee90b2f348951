// The network view: each request is a row with a bar on a time axis.

import { element, server } from "./elements.js";
import { inShort, packets } from "./packets.js";

const find = (id) => document.getElementById(id);
const seconds = (ms) => (ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`);

/** The view. `draw` updates it. */
export function network() {
  const list = find("requests");
  const rows = new Map();
  let paused = null;

  find("pause").addEventListener("click", () => {
    paused = paused === null ? performance.now() : null;
    find("pause").setAttribute("aria-pressed", String(paused !== null));
    find("pause").textContent = paused === null ? "Pause" : "Resume";
  });
  find("span").addEventListener("change", move);

  // page.css computes the positions of all bars from three numbers.
  function move() {
    const span = Number(find("span").value);
    const style = find("network").style;
    style.setProperty("--span", span);
    style.setProperty("--now", (paused ?? performance.now()) / 1000);
    const marks = [...document.querySelectorAll(".axis span")].slice(0, 3);
    marks.forEach((mark, i) => (mark.textContent = `−${Math.round((span * (3 - i)) / 3)} s`));
  }

  const calm = matchMedia("(prefers-reduced-motion: reduce)");
  let last = 0;
  function tick(at) {
    if (at - last >= (calm.matches ? 1000 : 30)) {
      last = at;
      move();
      for (const [request, row] of rows) if (request.state === "pending") row.time();
    }
    requestAnimationFrame(tick);
  }
  requestAnimationFrame(tick);

  function draw() {
    const requests = window.recorder.requests;
    const kept = new Set(requests);
    const follows = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    for (const [request, row] of rows) {
      if (kept.has(request)) continue;
      row.element.remove();
      rows.delete(request);
    }
    for (const request of requests) {
      if (!rows.has(request)) {
        rows.set(request, rowOf(request));
        list.append(rows.get(request).element);
      }
      const row = rows.get(request);
      row.element.hidden = find("only").value !== "" && find("only").value !== request.panel;
      row.draw();
    }
    find("nothing").hidden = requests.length > 0;
    if (follows) list.scrollTop = list.scrollHeight;
  }

  return { draw };
}

function rowOf(request) {
  const parts = {
    status: element("span", { class: "status" }),
    time: element("span", { class: "time" }),
    packets: element("span", { class: "packets" }),
    bar: element("span", { class: "request" }),
  };
  const track = element("span", { class: "track" }, parts.bar, parts.packets);
  const details = element("div", { class: "details", hidden: "" });
  const button = element(
    "button",
    { type: "button", "aria-expanded": "false" },
    element("span", { class: "panel" }, request.panel ?? ""),
    element("span", { class: "name" }, nameOf(request)),
    parts.status,
    parts.time,
    track,
  );
  const row = element(
    "li",
    { "data-request": request.n, "data-kind": request.kind, "data-state": request.state },
    button,
    details,
  );
  parts.bar.style.setProperty("--from", request.from / 1000);
  button.addEventListener("click", () => {
    details.hidden = !details.hidden;
    button.setAttribute("aria-expanded", String(!details.hidden));
    drawn = "";
    draw();
  });

  function time() {
    parts.time.textContent = seconds((request.until ?? performance.now()) - request.from);
  }

  let drawn = "";
  let ticks = 0;
  function draw() {
    // Most rows have not changed.
    const now = [request.state, request.status, request.frames.at(-1)?.at].join();
    if (now === drawn) return;
    drawn = now;
    row.dataset.state = request.state;
    parts.status.textContent = request.status ?? (request.state === "pending" ? "pending" : "none");
    time();
    if (request.until) parts.bar.style.setProperty("--until", request.until / 1000);
    if (request.opened) parts.bar.style.setProperty("--opened", request.opened / 1000);
    parts.packets.textContent = request.kind === "xhr" ? spoken(request) : "";
    for (const frame of request.frames) {
      if (frame.at <= ticks) continue;
      ticks = frame.at;
      const tick = element("i", { class: frame.sent ? "frame up" : "frame down", title: inShort(frame.text) });
      tick.style.setProperty("--at", frame.at / 1000);
      track.append(tick);
    }
    const all = track.querySelectorAll(".frame");
    for (const old of [...all].slice(0, Math.max(0, all.length - request.frames.length))) old.remove();
    if (!details.hidden) details.replaceChildren(...detailsOf(request));
  }

  return { element: row, draw, time };
}

/** The purpose of a request. */
export function nameOf({ kind, method, session }) {
  if (kind === "websocket") return session ? "WebSocket, upgrade" : "WebSocket";
  if (method === "POST") return "POST";
  return session ? "GET, poll" : "GET, handshake";
}

function spoken({ method, sent, received, upstream }) {
  const answer = [inShort(received), upstream].filter(Boolean).join(" from ");
  return method === "POST" && sent ? `${inShort(sent)} → ${answer}` : answer;
}

function detailsOf(request) {
  const facts = element("dl");
  const fact = (name, ...values) =>
    facts.append(element("dt", {}, name), element("dd", {}, ...values));
  fact("request", element("code", {}, `${request.method} ${request.target}`));
  fact(
    "status",
    request.status ? `${request.status} ${request.status === 101 ? "Switching Protocols" : ""}` : request.state,
  );
  if (request.why) fact("end", request.why);
  if (request.upstream) fact("answered by", server(request.upstream));
  if (request.sent) fact("sent", ...decoded(request.sent));
  if (request.received) fact("received", ...decoded(request.received));
  for (const frame of request.frames) {
    fact(`${frame.sent ? "↑ sent" : "↓ received"}, ${seconds(frame.at - request.from)}`, ...decoded(frame.text));
  }
  return [facts];
}

function decoded(text) {
  return packets(text).map(({ text: raw, name, more }) =>
    element("span", { class: "packet" }, element("code", {}, raw), ` ${raw === name ? "" : name}${more ? `: ${more}` : ""}`),
  );
}
