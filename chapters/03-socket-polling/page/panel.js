// A panel: one client of Socket.IO, with its buttons and what it hears.

import { element, server } from "./elements.js";
import { packets } from "./packets.js";

const HEARD = 50;

/** Adds a panel for a client with these options, and returns its element. */
export function panel({ name, title, options, says }) {
  const view = build(name, title, options, says);
  let socket = null;
  let refused = 0;

  // The request that a client sends first has no session ID yet: this says whose it is.
  // A client that tries again says so just before.
  const mine = () => (window.recorder.panel = name);

  function connect() {
    mine();
    socket = window.io({ ...options, forceNew: true });
    socket.io.on("reconnect_attempt", mine);
    socket.on("connect", () => {
      refused = 0;
      show("connected", `connected as ${socket.id.slice(0, 6)}…`);
    });
    socket.on("connect_error", trouble);
    socket.on("disconnect", trouble);
    socket.on("message", hear);
    show("connecting", "connecting");
  }

  function disconnect() {
    const ended = socket;
    socket = null;
    refused = 0;
    ended?.disconnect();
    show("idle", "not connected");
  }

  function trouble(reason) {
    if (!socket) return;
    const failed = window.recorder.requests.findLast(
      (request) => request.panel === name && request.state === "failed",
    );
    const why = failed?.status
      ? `${failed.status} ${packets(failed.received)[0]?.name ?? ""}`
      : (reason.message ?? reason);
    refused += 1;
    show("refused", `refused: ${why}`, explain(failed));
    view.tries.textContent = `refused ${refused === 1 ? "once" : `${refused} times`}; the client tries again by itself`;
  }

  function explain(failed) {
    if (!failed?.status) return ["No answer that the client could use."];
    const opened = window.recorder.requests.findLast(
      ({ panel, n, session, status, kind }) =>
        panel === name && n < failed.n && !session && status === 200 && kind === "xhr",
    );
    const parts = ["A session lives in the memory of the server that opened it. "];
    if (!failed.upstream || !opened?.upstream) {
      return [...parts, "The server that was asked does not know this one."];
    }
    return opened.upstream === failed.upstream
      ? [...parts, server(failed.upstream), " opened this one and has given it up."]
      : [
          ...parts,
          server(opened.upstream),
          " opened this one; nginx sent the next request to ",
          server(failed.upstream),
          ", which has never heard of it.",
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
      "aria-label": `Message from the client: ${title}`,
      placeholder: "a message to the others",
      autocomplete: "off",
      maxlength: "200",
    }),
    say: element("button", {}, "Say"),
    heard: element("ol", { "data-heard": "", "aria-label": `Heard by: ${title}`, tabindex: "0" }),
  };
  view.form = element("form", {}, view.text, view.say);
  const transports = options.transports
    ? `transports: ${JSON.stringify(options.transports)}`
    : "(no transports given)";
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
