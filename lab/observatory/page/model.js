// A scene: what is known at one moment. `apply` adds one entry to a scene. It does not read the
// clock and does not change the page, so the same entries always give the same scene. A step back
// applies fewer entries.
//
// An entry is {type: "state", at, state, isAll}, {type: "event", at, event, skipped}, {type: "act", at}
// (a viewer pressed a button) or {type: "tick", at}. `at` is in milliseconds of the stage.

import * as words from "./words.js";

/** A poll without an answer after this time is a held poll, in milliseconds. */
export const HELD_AFTER = 100;
/** The time in which a dot goes from a client to nginx, or from nginx to a server. */
const LEG = 300;
/** Up to this many dots a second, every one is drawn. */
const DOTS_A_SECOND = 300;
/** How long a guest (a client of an experiment, a browser) is shown after its last request. */
const GUEST_STAYS = 10_000;
const GUEST_WAITS = 40_000;
const GUESTS = 60;
/** How long a refusal is shown. The last one is shown longer. */
const REFUSAL_STAYS = 4_000;
const MARK_STAYS = 3_500;

export function beginning() {
  return {
    at: 0,
    state: null,
    servers: {},
    redisUp: false,
    clients: {},
    /** Clients that were removed. Their late events are not drawn. */
    gone: {},
    flights: [],
    marks: [],
    refusals: [],
    why: "",
    news: "",
    isGoodNews: true,
    /** Whether some guests are not drawn. */
    isCrowded: false,
    flow: { since: 0, heard: 0, skipped: 0, drawn: 0, share: 1, credit: 0 },
    sampled: 1,
  };
}

/** Adds one entry to the scene. Returns its lines for the log. */
export function apply(scene, entry) {
  const { at } = entry;
  scene.at = Math.max(scene.at, at);
  const lines = newlyHeld(scene);
  if (entry.type === "state") {
    adopt(scene, entry.state, entry.isAll);
  } else if (entry.type === "act") {
    turn(scene);
    scene.news = "";
  } else if (entry.type === "event") {
    const { event } = entry;
    const facts = happens(scene, event, at, entry.skipped ?? 0);
    const line = words.line(scene, event, facts);
    if (line) lines.push(line);
  }
  leave(scene);
  return lines;
}

/** Takes over a state. `isAll`: clients that are not in it are removed, except browsers. */
function adopt(scene, state, isAll = false) {
  scene.state = state;
  for (const { letter, address, pid, byHand } of state.servers) {
    const before = scene.servers[letter];
    if (before?.pid && before.pid !== pid) forget(scene, letter);
    scene.servers[letter] = { answered: 0, ...before, letter, address, pid, byHand, up: pid !== null || byHand };
  }
  scene.redisUp = state.redis?.up ?? false;

  const listed = new Set(state.clients.map((client) => client.name));
  for (const client of Object.values(scene.clients)) {
    if (listed.has(client.name) || client.isBrowser || !(client.listed || isAll)) continue;
    delete scene.clients[client.name];
    scene.gone[client.name] = true;
    settle(scene, client.name);
  }
  for (const told of state.clients) {
    const client = known(scene, told.name);
    const wasConnected = client.status === "connected";
    delete scene.gone[told.name];
    Object.assign(client, { listed: true, isGone: false, address: told.address, transport: told.transport });
    Object.assign(client, { status: told.status, attempts: told.attempts, told: told.server });
    if (told.server) client.owner = told.server;
    // A connected client with the transport WebSocket has one, even if the page was opened later.
    if (told.status === "connected" && told.transport === "websocket") client.pipe ??= told.server;
    if (told.status === "connected") settle(scene, client.name);
    if (told.status === "refused" || (wasConnected && told.status === "connecting")) client.pipe = null;
  }
}

/** Removes the refusals of a client that has connected or has left. */
function settle(scene, name) {
  scene.refusals = scene.refusals.filter((refusal) => refusal.client !== name);
  if (!scene.refusals.length) scene.why = "";
}

/** Changes the scene. For an exchange, returns the facts that its line needs. */
function happens(scene, event, at, skipped) {
  scene.flow.skipped += skipped;
  switch (event.event) {
    case "step":
    case "claim":
      // The title of an experiment, or a result.
      scene.news = words.line(scene, event);
      scene.isGoodNews = event.held ?? true;
      if (event.event === "step") begin(scene);
      return undefined;
    case "up":
    case "down":
      return changes(scene, event);
    case "asked": {
      const client = known(scene, event.client);
      client.pending[event.id] = { at, target: event.target, method: event.method, held: false };
      client.seen = at;
      client.address = event.address ?? client.address;
      return undefined;
    }
    case "exchange":
      return exchanged(scene, event, at);
    case "frame": {
      const client = known(scene, event.client);
      client.seen = at;
      const sid = sessionIn(event.text);
      if (sid && client.pipe) client.sessions = { [sid]: client.pipe };
      // A frame needs a WebSocket, so there is one: the page was opened after it.
      client.pipe ??= client.told;
      if (!client.pipe) return undefined;
      const way = [`client:${client.name}`, `server:${client.pipe}`];
      if (!event.sent) way.reverse();
      fly(scene, { kind: "frame", way, tone: client.pipe, at, lasts: LEG * 2 });
      return undefined;
    }
    case "forwarded": {
      const client = known(scene, event.client);
      client.seen = at;
      client.isBrowser = true;
      const letters = event.tried.map((address) => letterOf(scene, address)).filter(Boolean);
      return travel(scene, client, letters, at, event.status < 400, false);
    }
    case "published":
      for (const server of Object.values(scene.servers)) {
        if (!server.up) continue;
        const way = ["redis", `server:${server.letter}`];
        fly(scene, { kind: "dot", way, tone: "redis", at, lasts: LEG * 1.5 });
      }
      mark(scene, { kind: "pulse", place: "redis", at, lasts: 700 });
      return undefined;
    case "message":
      return spoken(scene, event, at);
    default:
      return undefined;
  }
}

/** A lesson's experiments have clients of their own. */
function begin(scene) {
  turn(scene);
  scene.clients = {};
  scene.flights = [];
}

/** What was drawn for what was done before goes. */
function turn(scene) {
  scene.refusals = [];
  scene.flights = scene.flights.filter((flight) => !flight.fails);
  scene.marks = [];
  scene.why = "";
  scene.sampled = 1;
  for (const server of Object.values(scene.servers)) server.answered = 0;
}

function changes(scene, { event, part, pid, detail }) {
  const isUp = event === "up";
  if (part === "redis") scene.redisUp = isUp;
  if (isUp && scene.state) appears(scene, part, detail);
  const letter = part?.server;
  const server = letter && scene.servers[letter];
  if (!server) return;
  if (!isUp || server.pid !== pid) forget(scene, letter);
  server.up = isUp;
  server.pid = isUp ? pid : null;
  if (isUp) server.wasRestarted = server.wasDown ?? false;
  else server.wasDown = true;
}

/** nginx has another config. In a replay, which begins with an empty stage, a part is added. */
function appears(scene, part, detail) {
  const { state } = scene;
  const config = words.configIn({ part, detail });
  if (config) {
    const method = state.methods.find((one) => one.config === config)?.name ?? config;
    scene.state = { ...state, nginx: { ...state.nginx, method } };
    if (state.isLesson) begin(scene);
    else turn(scene);
  }
  if (!state.isLesson) return;
  const port = part?.server && /on (\d+) port/.exec(detail)?.[1];
  if (port) scene.servers[part.server] ??= { answered: 0, letter: part.server, address: `127.0.0.1:${port}` };
  if (part === "redis") scene.state = { ...state, redis: { up: true } };
}

/** A process has ended, so every connection to it is closed. */
function forget(scene, letter) {
  for (const client of Object.values(scene.clients)) {
    if (client.pipe === letter) client.pipe = null;
  }
}

function exchanged(scene, event, at) {
  const client = known(scene, event.client);
  const asked = client.pending[event.id];
  delete client.pending[event.id];
  client.seen = at;

  const answer = event.outcome.Ok;
  const letters = event.tried.map((address) => letterOf(scene, address)).filter(Boolean);
  const letter = letters.at(-1) ?? client.told ?? client.owner ?? null;
  const facts = { server: answer ? letter : null, held: Boolean(asked) && event.took > HELD_AFTER && isPoll(event) };
  const server = scene.servers[letter];
  if (answer && server && answer.status < 400) server.answered += 1;

  const isWebSocket = answer?.status === 101;
  const sid = sidOf(event.target);
  if (!client.listed && answer) client.status = isWebSocket || sid ? "connected" : "connecting";
  if (isWebSocket) {
    client.pipe = letter;
    if (!sid) client.owner = letter;
  } else if (answer?.status === 200 && isSocket(event.target) && !sid) {
    const opened = sessionIn(answer.body);
    client.sessions = opened ? { [opened]: letter } : {};
    client.owner = letter;
    client.pipe = null;
  }
  if (answer?.status === 400 && answer.body.includes("Session ID unknown")) {
    const owner = (sid && client.sessions[sid]) ?? client.owner;
    const refusal = { client: client.name, asked: letter, owner, at };
    facts.owner = owner;
    if (!client.listed) client.status = "refused";
    if (!client.isGone) {
      scene.refusals.push(refusal);
      scene.why = words.refusal(scene, refusal);
    }
  }
  travel(scene, client, letters.length ? letters : [letter].filter(Boolean), at,
    Boolean(answer) && answer.status < 400, facts.held);
  return facts;
}

/** Draws a dot from a client to each server that nginx asked, and back. */
function travel(scene, client, letters, at, isAnswered, answerOnly) {
  const home = `client:${client.name}`;
  const servers = letters.map((letter) => `server:${letter}`);
  const way = answerOnly ? [servers.at(-1) ?? "nginx", home] : [home, ...(servers.length ? servers : ["nginx"]), home];
  const lasts = LEG * 2 * (way.length - 1);
  const isDrawn = fly(scene, {
    kind: "dot", way, tone: letters.at(-1) ?? "none", fails: !isAnswered, at, lasts,
  });
  if (!isDrawn) return;
  servers.slice(0, -1).forEach((place, i) => {
    mark(scene, { kind: "flash", place, at: at + LEG * 2 * (i + 1), lasts: 900 });
  });
}

function spoken(scene, event, at) {
  const from = scene.clients[event.from];
  const to = scene.clients[event.to];
  if (event.arrived) {
    if (to) mark(scene, { kind: "arrived", place: `client:${to.name}`, at, lasts: MARK_STAYS });
    return;
  }
  const owner = from?.owner;
  // The message came as far as the sender's server, if that server runs.
  const place = owner && scene.servers[owner]?.up ? `server:${owner}` : from ? "nginx" : null;
  if (place) {
    mark(scene, { kind: "lost", place, from: `client:${event.from}`, at, lasts: MARK_STAYS * 2 });
  }
  scene.news = words.lost(scene, event);
  scene.isGoodNews = false;
}

/** Adds a dot or a frame that moves. If there are too many, only a share of them is drawn. */
function fly(scene, flight) {
  const flow = scene.flow;
  if (flight.at - flow.since >= 1000) {
    scene.sampled = flow.drawn ? (flow.heard + flow.skipped) / flow.drawn : 1;
    flow.share = Math.min(1, DOTS_A_SECOND / Math.max(1, flow.heard));
    Object.assign(flow, { since: flight.at, heard: 0, skipped: 0, drawn: 0 });
  }
  flow.heard += 1;
  flow.credit = Math.min(2, flow.credit + flow.share);
  if (flow.credit < 1 || flow.drawn > DOTS_A_SECOND) return false;
  flow.credit -= 1;
  flow.drawn += 1;
  scene.flights.push(flight);
  return true;
}

function mark(scene, one) {
  scene.marks.push(one);
  if (scene.marks.length > 60) scene.marks.shift();
}

/** Removes everything that has been shown for long enough. */
function leave(scene) {
  const { at } = scene;
  if (scene.flights.length && scene.flights[0].at + scene.flights[0].lasts < at) {
    scene.flights = scene.flights.filter((flight) => flight.at + flight.lasts >= at);
  }
  if (scene.marks.length) scene.marks = scene.marks.filter((one) => one.at + one.lasts >= at);
  while (scene.refusals.length > 1 && (scene.refusals[0].at + REFUSAL_STAYS < at || scene.refusals.length > 8)) {
    scene.refusals.shift();
  }
  const guests = Object.values(scene.clients).filter((client) => !client.listed);
  guests.sort((a, b) => b.seen - a.seen);
  scene.isCrowded &&= guests.length >= GUESTS;
  guests.forEach((client, i) => {
    scene.isCrowded ||= i >= GUESTS;
    if (i >= GUESTS || hasStayed(client, at)) delete scene.clients[client.name];
  });
}

function newlyHeld(scene) {
  const lines = [];
  for (const client of Object.values(scene.clients)) {
    for (const asked of Object.values(client.pending)) {
      if (asked.held || scene.at - asked.at < HELD_AFTER || !isPoll(asked)) continue;
      asked.held = true;
      lines.push(words.held(client));
    }
  }
  return lines;
}

/** Whether the scene changes by `at` without a new event. */
export function isTickDue(scene, at) {
  if (scene.refusals.length > 1 && scene.refusals[0].at + REFUSAL_STAYS < at) return true;
  return Object.values(scene.clients).some((client) => hasStayed(client, at)
    || Object.values(client.pending).some((asked) => !asked.held && isPoll(asked) && at - asked.at >= HELD_AFTER));
}

/** Whether a guest has been shown for long enough. */
function hasStayed(client, at) {
  const isBusy = client.pipe || Object.keys(client.pending).length;
  return !client.listed && at - client.seen > (isBusy ? GUEST_WAITS : GUEST_STAYS);
}

/** The held poll of this client, if there is one. */
export function heldPoll(client, at) {
  for (const asked of Object.values(client.pending)) {
    if (isPoll(asked) && at - asked.at >= HELD_AFTER) return asked;
  }
  return null;
}

/** The clients that are drawn. */
export function present(scene) {
  return Object.values(scene.clients).filter((client) => !client.isGone);
}

/** How many of the known clients are connected to a server. */
export function connected(scene, letter) {
  return Object.values(scene.clients).filter((client) =>
    client.owner === letter && !client.isGone && client.status === "connected").length;
}

function known(scene, name) {
  scene.clients[name] ??= {
    name, isGone: Boolean(scene.gone[name]), address: "", transport: "", listed: false, isBrowser: false, status: "connecting", attempts: 0,
    owner: null, told: null, sessions: {}, pending: {}, pipe: null, seen: scene.at,
  };
  return scene.clients[name];
}

export function letterOf(scene, address) {
  return Object.values(scene.servers).find((server) => server.address === address)?.letter ?? null;
}

const isSocket = (target) => target.includes("transport=");
const sidOf = (target) => /[?&]sid=([^&]+)/.exec(target)?.[1] ?? null;
const sessionIn = (text) => /^0\{"sid":"([^"]+)"/.exec(text)?.[1] ?? null;

function isPoll({ method, target }) {
  return method === "GET" && target.includes("transport=polling") && sidOf(target) !== null;
}
