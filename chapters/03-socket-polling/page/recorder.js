// Records each XMLHttpRequest and each WebSocket.
//
// This is a classic script that runs before the client's script. The client keeps the two classes
// that it finds when it is loaded. It finds these two, which do everything that the browser's do.
(() => {
  const KEPT = 200;
  const recorder = new EventTarget();
  recorder.requests = [];
  // The panel of the next request. A request with a session ID belongs to that session's panel.
  recorder.panel = null;
  window.recorder = recorder;

  const panelOfSession = new Map();
  let count = 0;

  // Session IDs are secrets: with an ID, anybody can send messages as that client.
  const cut = (text) =>
    text
      .replace(/([?&]sid=)([^&]{6})[^&]*/g, "$1$2…")
      .replace(/("(?:sid|pid)":")([^"]{6})[^"]*/g, "$1$2…");

  const textOf = (data) => (typeof data === "string" ? cut(data) : data ? "(binary)" : "");

  function begin(kind, method, url) {
    const target = new URL(url, location.href);
    const session = target.searchParams.get("sid");
    const request = {
      n: (count += 1),
      kind,
      method,
      panel: panelOfSession.get(session) ?? recorder.panel,
      session: Boolean(session),
      target: cut(target.pathname + target.search),
      from: performance.now(),
      opened: null,
      until: null,
      state: "pending",
      status: null,
      upstream: null,
      sent: "",
      received: "",
      frames: [],
      why: "",
    };
    recorder.requests.push(request);
    forget();
    changed(request);
    return request;
  }

  // Removes the oldest requests. Open requests stay; there are only a few of them.
  function forget() {
    while (recorder.requests.length > KEPT) {
      const over = recorder.requests.findIndex(({ state }) => state !== "pending");
      recorder.requests.splice(Math.max(over, 0), 1);
    }
  }

  function changed(request) {
    recorder.dispatchEvent(new CustomEvent("change", { detail: request }));
  }

  function end(request, state, why = "") {
    Object.assign(request, { until: performance.now(), state, why });
    changed(request);
  }

  // The packet `0{"sid":…}` names the panel's new session.
  function remember(request, text) {
    const sid = /^0\{"sid":"([^"]+)"/.exec(text)?.[1];
    if (!sid) return;
    panelOfSession.set(sid, request.panel);
    if (panelOfSession.size > KEPT) panelOfSession.delete(panelOfSession.keys().next().value);
  }

  window.XMLHttpRequest = class extends XMLHttpRequest {
    #asked = null;
    #request = null;
    #aborted = false;

    constructor() {
      super();
      // Runs before the client's own listener, which sends the next poll at once.
      this.addEventListener("readystatechange", () => this.#answered());
    }

    open(method, url, ...rest) {
      this.#asked = [method, url];
      super.open(method, url, ...rest);
    }

    send(body) {
      this.#request = begin("xhr", ...this.#asked);
      this.#request.sent = textOf(body);
      super.send(body);
    }

    abort() {
      this.#aborted = true;
      super.abort();
    }

    #answered() {
      const request = this.#request;
      if (this.readyState !== XMLHttpRequest.DONE || request?.state !== "pending") return;
      if (this.status === 0) {
        end(request, "failed", this.#aborted ? "the client cancelled it" : "no answer");
        return;
      }
      const text = this.responseType in { "": 1, text: 1 } ? this.responseText : "";
      remember(request, text);
      request.status = this.status;
      request.upstream = this.getResponseHeader("X-Upstream");
      request.received = cut(text);
      end(request, this.status < 400 ? "done" : "failed");
    }
  };

  window.WebSocket = class extends WebSocket {
    #request;

    constructor(url, ...rest) {
      super(url, ...rest);
      const request = begin("websocket", "GET", url);
      this.#request = request;
      this.addEventListener("open", () => {
        request.status = 101;
        request.opened = performance.now();
        changed(request);
      });
      this.addEventListener("message", ({ data }) => {
        if (typeof data === "string") remember(request, data);
        this.#frame(false, data);
      });
      this.addEventListener("close", ({ code }) => {
        if (request.status) end(request, "done", `closed with code ${code}`);
        else end(request, "failed", "closed before it was open");
      });
    }

    send(data) {
      super.send(data);
      this.#frame(true, data);
    }

    #frame(sent, data) {
      const { frames } = this.#request;
      frames.push({ at: performance.now(), sent, text: textOf(data) });
      while (frames.length > KEPT) frames.shift();
      changed(this.#request);
    }
  };
})();
