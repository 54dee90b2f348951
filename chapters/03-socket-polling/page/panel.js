// A panel: one Socket.IO client, with its buttons and the messages that it receives.

import { element, server } from "./elements.js";
import { tooLong } from "./losses.js";
import { packets } from "./packets.js";

const HEARD = 50;

/** Adds a panel for a client with these options, and returns its element. */
export function panel({ name, title, options, says }) {
  const view = build(name, title, options, says);
  let socket = null;
  let tries = 0;
  // Why the connection was lost. It is shown until the next message is sent.
  let loss = "";

  // A client's first request has no session ID yet, so this says which panel it belongs to.
  // A client that tries again calls it just before.
  const mine = () => {
    window.recorder.panel = name;
    tries += 1;
  };

  function connect() {
    mine();
    // In the same folder as this page, which a proxy may serve below a prefix.
    const path = new URL("socket.io/", document.baseURI).pathname;
    socket = window.io({ ...options, path, forceNew: true });
    socket.io.on("reconnect_attempt", mine);
    socket.on("connect", () => {
      tries = 0;
      show("connected", `connected as ${socket.id.slice(0, 6)}…`, [loss]);
    });
    socket.on("connect_error", trouble);
    socket.on("disconnect", (reason, details) => {
      loss = tooLong(details);
      // This event also comes when an attempt ends before the client was connected.
      if (view.status.dataset.status !== "connected") trouble(reason);
      else if (socket) show("connecting", `the connection was lost: ${reason}`, [loss]);
    });
    socket.on("message", hear);
    show("connecting", "connecting");
  }

  function disconnect() {
    const ended = socket;
    socket = null;
    loss = "";
    tries = 0;
    ended?.disconnect();
    show("idle", "not connected");
  }

  function trouble(reason) {
    if (!socket) return;
    const { opened, failed } = lastTry();
    if (failed) {
      const why = packets(failed.received)[0]?.name ?? "";
      show("refused", `refused: ${failed.status} ${why}`, explain(opened, failed));
    } else {
      show("refused", `refused: ${reason.message ?? reason}`, ["No server answered correctly."]);
    }
    const count = tries === 1 ? "1 attempt" : `${Math.max(tries, 1)} attempts`;
    view.tries.textContent = `${count} so far; the client keeps trying`;
  }

  // The request that opened the last session, and the first after it that was refused.
  function lastTry() {
    const ours = window.recorder.requests.filter(({ panel }) => panel === name);
    const opened = ours.findLast(
      ({ kind, session, status }) => kind === "xhr" && !session && status === 200,
    );
    const failed = ours.find(({ n, status }) => status >= 400 && n > (opened?.n ?? 0));
    return { opened, failed };
  }

  function explain(opened, failed) {
    if (!failed.received.includes("Session ID unknown")) {
      return failed.upstream ? ["nginx asked ", server(failed.upstream), "."] : [];
    }
    const why = "A session is only in the memory of the server that opened it. ";
    if (!failed.upstream || !opened?.upstream) {
      return [why, "The server that got this request does not know it."];
    }
    if (opened.upstream === failed.upstream) {
      return [why, server(failed.upstream), " opened this session and has ended it."];
    }
    return [
      why,
      server(opened.upstream),
      " opened this session. nginx sent a later request to ",
      server(failed.upstream),
      ", which does not know it.",
    ];
  }

  function show(status, text, why = []) {
    view.status.dataset.status = status;
    if (view.status.textContent !== text) view.status.textContent = text;
    view.why.replaceChildren(...why);
    view.tries.textContent = "";
    view.connect.disabled = socket !== null;
    view.disconnect.disabled = socket === null;
    view.text.disabled = view.say.disabled = status !== "connected";
  }

  function hear(text) {
    view.heard.append(element("li", {}, String(text)));
    while (view.heard.children.length > HEARD) view.heard.firstChild.remove();
    view.heard.scrollTop = view.heard.scrollHeight;
  }

  view.connect.addEventListener("click", connect);
  view.disconnect.addEventListener("click", disconnect);
  view.form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (view.text.value === "" || !socket?.connected) return;
    loss = "";
    view.why.replaceChildren();
    socket.emit("message", view.text.value);
    view.text.value = "";
  });
  show("idle", "not connected");
  return view.panel;
}

function build(name, title, options, says) {
  const view = {
    status: element("p", { "data-status": "idle", role: "status" }),
    why: element("p", { class: "why" }),
    tries: element("p", { class: "tries" }),
    connect: element("button", { type: "button", "data-act": "connect", class: "primary" }, "Connect"),
    disconnect: element("button", { type: "button", "data-act": "disconnect" }, "Disconnect"),
    text: element("input", {
      "data-act": "say",
      "aria-label": `Message from: ${title}`,
      placeholder: "a message to the others",
      autocomplete: "off",
      maxlength: "200",
    }),
    say: element("button", {}, "Send"),
    heard: element("ol", { "data-heard": "", "aria-label": `Messages received by: ${title}`, tabindex: "0" }),
  };
  view.form = element("form", {}, view.text, view.say);
  const transports = options.transports
    ? `transports: ${JSON.stringify(options.transports)}`
    : "(transports not set)";
  view.panel = element(
    "article",
    { "data-panel": name, "aria-label": title },
    element("h2", {}, title),
    element("code", {}, transports),
    element("p", { class: "says" }, says),
    element("div", { class: "acts" }, view.connect, view.disconnect),
    view.status,
    view.why,
    view.tries,
    view.form,
    view.heard,
  );
  return view;
}
