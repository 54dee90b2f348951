// Sequence diagrams and the log of what the recorder has.

import { drawn, element } from "./elements.js";
import { nameOf } from "./network.js";
import { inShort } from "./packets.js";

const STEPS = 16;
const [WIDTH, CLIENT, SERVER, TOP, STEP] = [360, 14, 336, 34, 30];

/** Arrows of a panel in order. `up` is from client to server; null if nothing was sent. */
function arrows(panel) {
  const all = [];
  for (const request of window.recorder.requests) {
    if (panel && request.panel !== panel) continue;
    const add = (at, up, text, failed = false) => all.push({ at, up, text, failed, request });
    const says = request.sent ? `POST ${inShort(request.sent)}` : nameOf(request);
    add(request.from, true, says);
    if (request.opened) add(request.opened, false, "101 Switching Protocols");
    for (const { at, sent, text } of request.frames) add(at, sent, inShort(text));
    if (request.until && request.kind === "xhr" && request.status) {
      // Behind nginx, the port says which server answered.
      const port = request.upstream ? `, from :${request.upstream.split(":").pop()}` : "";
      const text = `${request.status} ${inShort(request.received)}${port}`;
      add(request.until, false, text, request.state === "failed");
    } else if (request.until) {
      add(request.until, null, request.why, request.state === "failed");
    }
  }
  return all.sort((a, b) => a.at - b.at);
}

/** The diagram of a panel. */
export function sequence(name, title) {
  const picture = drawn("svg", { role: "img", "aria-label": `${title}: nothing yet` });
  const nothing = element("p", { class: "nothing" }, "Nothing yet.");
  const figure = element("figure", { "data-sequence": name }, element("figcaption", {}, title), picture, nothing);

  function draw() {
    const all = arrows(name);
    const shown = all.slice(-STEPS);
    nothing.hidden = all.length > 0;
    picture.style.display = all.length ? "" : "none";
    const height = TOP + shown.length * STEP + 26;
    const y = (i) => TOP + 20 + i * STEP;
    picture.setAttribute("viewBox", `0 0 ${WIDTH} ${height}`);
    picture.setAttribute("aria-label", `${title}: the last ${shown.length} of ${all.length} steps; the table below has them as text`);
    picture.replaceChildren(
      drawn("text", { x: 0, y: 14, class: "end" }, "client"),
      drawn("text", { x: WIDTH, y: 14, class: "end right" }, "server"),
      ...(all.length > shown.length
        ? [drawn("text", { x: WIDTH / 2, y: 14, class: "middle" }, `${all.length - shown.length} earlier`)]
        : []),
      line(CLIENT, 22, CLIENT, height, "life"),
      line(SERVER, 22, SERVER, height, "life"),
      ...held(shown, y, height),
      ...shown.flatMap((arrow, i) => arrowAt(arrow, y(i))),
    );
  }

  return { figure, draw };
}

// The server holds a poll from the request to the answer. A WebSocket is open in the same way.
function held(shown, y, height) {
  const requests = new Set(
    window.recorder.requests.filter(
      (request) =>
        shown.some((arrow) => arrow.request === request) &&
        (request.kind === "websocket" || request.method === "GET"),
    ),
  );
  return [...requests].map((request) => {
    const first = shown.findIndex((arrow) => arrow.request === request);
    const last = shown.findLastIndex((arrow) => arrow.request === request);
    const began = shown[first].at === request.from;
    const top = began ? y(first) : 24;
    const bottom = request.until ? y(last) : height;
    const kind = request.kind === "websocket" ? "open" : request.state === "failed" ? "held failed" : "held";
    // Next to each other, because both are open while a client changes from one to the other.
    const beside = request.kind === "websocket" && shown.some((arrow) => arrow.request.kind === "xhr");
    const x = beside ? SERVER + 10 : SERVER;
    return line(x, top, x, bottom, request.until ? kind : `${kind} pending`);
  });
}

function arrowAt({ up, text, failed, request }, y) {
  const label = drawn(
    "text",
    { x: (CLIENT + SERVER) / 2, y: y - 6, class: `middle${failed ? " failed" : ""}` },
    shortened(text),
  );
  if (up === null) return [label];
  const [from, to, back] = up ? [CLIENT, SERVER - 5, -7] : [SERVER - 5, CLIENT + 1, 7];
  const kind = `arrow${failed ? " failed" : ""}${request.kind === "websocket" ? " frame" : ""}`;
  return [
    line(from, y, to, y, kind),
    drawn("path", { d: `M${to} ${y} l${back} -4 v8 z`, class: `tip${failed ? " failed" : ""}` }),
    label,
  ];
}

function shortened(text) {
  return text.length > 44 ? `${text.slice(0, 43)}…` : text;
}

function line(x1, y1, x2, y2, kind) {
  return drawn("line", { x1, y1, x2, y2, class: kind });
}

/** The log: all arrows as a table, drawn only while it is open. */
export function log(details, titles) {
  function draw() {
    if (!details.open) return;
    const rows = arrows(null)
      .slice(-200)
      .map(({ at, up, text, request }) =>
        element(
          "tr",
          {},
          element("td", {}, `${(at / 1000).toFixed(2)} s`),
          element("td", {}, titles[request.panel] ?? ""),
          element("td", {}, up === null ? "" : up ? "client" : "server"),
          element("td", {}, text),
        ),
      );
    details.querySelector("tbody").replaceChildren(...rows);
  }
  return { draw };
}
