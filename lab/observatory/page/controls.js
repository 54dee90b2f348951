// The buttons. Each one sends a request to the real stage. The picture shows the result.

import { act } from "./feed.js";
import { processOf } from "./words.js";

const $ = (id) => document.getElementById(id);
const GLYPHS = { A: "●", B: "▲", C: "■" };

export class Controls {
  /** `acting` is called before each request to the stage. */
  constructor(acting) {
    this.acting = acting;
    this.busy = 0;
    this.state = null;
    this.isLost = false;

    on("balancing", "submit", async () => {
      const said = await this.ask({ do: "method", name: $("method").value });
      if (said) showDiff(said.diff ?? "");
      else $("method").value = this.state.nginx.method;
    });
    on("adding", "submit", () => {
      const count = Number($("count").value);
      const addresses = $("addresses").value;
      return this.ask(this.state.talk === null
        ? { do: "requests", count, addresses }
        : { do: "add-clients", count, transport: $("transport").value, addresses });
    });
    on("remove-clients", "click", () => this.ask({ do: "remove-clients" }));
    on("redis-stop", "click", () => this.ask({ do: "stop-redis" }));
    on("redis-start", "click", () => this.ask({ do: "start-redis" }));
    on("switch", "change", () => this.ask({ do: "switch", choice: $("switch").value }));
    on("talking", "submit", () => this.ask({
      do: "say",
      from: $("say-from").value,
      to: $("say-to").value,
      text: $("say-text").value,
    }));
    on("method", "change", () => { $("diff").hidden = $("reloaded").hidden = true; });
  }

  /** Sends a request to the stage and returns the answer. After an error, shows it and returns null. */
  async ask(request) {
    this.acting();
    $("error").textContent = "";
    this.busy += 1;
    this.enable();
    try {
      return await act(request);
    } catch (error) {
      $("error").textContent = error.message;
      return null;
    } finally {
      this.busy -= 1;
      this.enable();
    }
  }

  lost() {
    this.isLost = true;
    this.enable();
  }

  update(state) {
    const before = this.state;
    this.state = state;
    this.isLost = false;

    $("balancing").hidden = !state.nginx || state.methods.length === 0;
    const methods = state.methods.map((method) => method.name);
    if (fill($("method"), methods) || before?.nginx?.method !== state.nginx?.method) {
      if (methods.includes(state.nginx?.method)) $("method").value = state.nginx.method;
    }

    const isHttp = state.talk === null;
    $("transport-field").hidden = isHttp;
    $("remove-clients").hidden = isHttp;
    $("adding-title").textContent = isHttp ? "Requests" : "Clients";
    $("add-clients").textContent = isHttp ? "Send requests" : "Add clients";

    this.servers(state);
    $("redis-row").hidden = !state.redis;
    if (state.redis) {
      $("redis-says").textContent = state.redis.up ? "runs" : "stopped";
      if (!state.redis.own) $("redis-says").textContent = "not started by the stage, so the stage cannot stop it";
      $("redis-stop").hidden = $("redis-start").hidden = !state.redis.own;
    }
    $("switch-row").hidden = !state.switch;
    if (state.switch) {
      $("switch-label").textContent = state.switch.label;
      fill($("switch"), state.switch.choices);
      if (before?.switch?.chosen !== state.switch.chosen || !this.busy) $("switch").value = state.switch.chosen;
    }

    $("talking").hidden = isHttp;
    $("to-field").hidden = state.talk !== "private";
    const names = state.clients.map((client) => client.name);
    if (fill($("say-from"), names) && names.length > 1 && $("say-to").value === "") fill($("say-to"), names, 1);
    else fill($("say-to"), names, 1);
    this.enable();
  }

  servers(state) {
    const list = $("server-list");
    const letters = state.servers.map((server) => server.letter).join();
    if (list.dataset.letters !== letters) {
      list.dataset.letters = letters;
      list.replaceChildren(...state.servers.map(({ letter }) => this.row(letter)));
    }
    for (const server of state.servers) $(`pid-${server.letter}`).textContent = processOf(server);
  }

  row(letter) {
    const row = document.createElement("li");
    row.className = `part tone-${letter.toLowerCase()}`;
    const name = document.createElement("span");
    const bold = document.createElement("span");
    bold.className = "letter";
    bold.textContent = `${GLYPHS[letter] ?? "●"} ${letter} `;
    const pid = document.createElement("span");
    pid.className = "soft";
    pid.id = `pid-${letter}`;
    name.append(bold, pid);
    const kill = button("kill −9", `Kill server ${letter} with kill −9`, () => this.ask({ do: "kill-server", letter }));
    kill.dataset.kill = letter;
    const start = button("start", `Start server ${letter}`, () => this.ask({ do: "start-server", letter }));
    start.dataset.start = letter;
    row.append(name, kill, start);
    return row;
  }

  /** Enables the controls that can be used now. Says in words why the others are disabled. */
  enable() {
    const { state } = this;
    const isOn = state !== null && !this.isLost;
    document.body.dataset.ready = String(isOn);
    const reason = $("reason");
    if (this.isLost) reason.textContent = "The stage has ended, so the controls do nothing.";
    else if (!state) reason.textContent = "The controls work when the stage has started.";
    reason.hidden = isOn;
    $("controls").setAttribute("aria-busy", String(this.busy > 0));
    for (const node of $("controls").querySelectorAll("button, select, input")) {
      node.disabled = !isOn;
      if (isOn) node.removeAttribute("aria-describedby");
      else node.setAttribute("aria-describedby", "reason");
    }
    if (!isOn) return;
    for (const { letter, pid, byHand } of state.servers) {
      const kill = document.querySelector(`[data-kill="${letter}"]`);
      const start = document.querySelector(`[data-start="${letter}"]`);
      if (kill) kill.disabled = pid === null;
      if (start) start.disabled = pid !== null || byHand;
    }
    if (state.redis) {
      $("redis-stop").disabled = !state.redis.up;
      $("redis-start").disabled = state.redis.up;
    }
    $("remove-clients").disabled = state.clients.length === 0;
    const connected = state.clients.filter((client) => client.status === "connected").length;
    const needed = state.talk === "private" ? 2 : 1;
    $("say").disabled = connected < needed;
    $("say").title = connected < needed ? `A message needs ${needed === 1 ? "a connected client" : "two connected clients"}: add some first.` : "";
  }
}

function on(id, kind, what) {
  $(id).addEventListener(kind, (event) => {
    if (kind === "submit") event.preventDefault();
    what();
  });
}

/** Sets the options of a select and keeps the chosen one. Returns whether the options changed. */
function fill(select, names, first = 0) {
  if (select.dataset.names === names.join("\n")) return false;
  select.dataset.names = names.join("\n");
  const chosen = select.value;
  select.replaceChildren(...names.map((name) => new Option(name, name)));
  if (names.includes(chosen)) select.value = chosen;
  else select.selectedIndex = Math.min(first, names.length - 1);
  return true;
}

function showDiff(diff) {
  const lines = diff.split("\n").filter((line) => line.trim() !== "").map((line) => {
    const sign = line[0];
    const node = document.createElement(sign === "+" ? "ins" : sign === "-" ? "del" : "span");
    node.textContent = `${sign === "-" ? "−" : sign}${line.slice(1)}`;
    if (node.localName === "span") node.textContent += "\n";
    return node;
  });
  $("diff").replaceChildren(...lines);
  $("diff").hidden = lines.length === 0;
  $("reloaded").hidden = false;
}

function button(words, label, act) {
  const node = document.createElement("button");
  node.type = "button";
  node.textContent = words;
  node.setAttribute("aria-label", label);
  node.addEventListener("click", act);
  return node;
}
