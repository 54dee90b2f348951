// What is known at one moment, folded from what was heard: `apply` puts one entry more into a
// scene. It reads no clock and touches no page, so the same entries always give the same scene,
// and a step back is a fold that ends earlier.
//
// An entry is {type: "state", at, state, isAll}, {type: "event", at, event, skipped}, {type: "act", at}
// (somebody pressed a button) or {type: "tick", at}. `at` is in milliseconds of the stage.

import * as words from "./words.js";

/** A request without an answer for so long is a held poll, in milliseconds. */
export const HELD_AFTER = 100;
/** How long a dot takes from one station to the next. */
const LEG = 300;
/** So many dots a second are drawn one for one. */
const DOTS_A_SECOND = 300;
/** A guest (a client of the lesson, a browser) is shown for so long after its last request. */
const GUEST_STAYS = 10_000;
const GUEST_WAITS = 40_000;
const GUESTS = 60;
/** Refusals of the last moments, beside the last of all. */
const REFUSAL_STAYS = 4_000;
const MARK_STAYS = 3_500;

export function beginning() {
  return {
    at: 0,
    state: null,
    servers: {},
    redisUp: false,
    clients: {},
    /** Who was removed: what is still heard of them is not drawn. */
    gone: {},
    flights: [],
    marks: [],
    refusals: [],
    why: "",
    news: "",
    isGoodNews: true,
    /** Whether there are guests who are not drawn. */
    isCrowded: false,
    flow: { since: 0, heard: 0, skipped: 0, drawn: 0, share: 1, credit: 0 },
    sampled: 1,
  };
}

/** Puts one entry more into the scene, and returns the lines that the log has for it. */
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

/** Takes over how things stand. `isAll`: clients that are not in it are gone, but browsers. */
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
    // Who connects by WebSocket alone has one, whether or not this page was there to see it.
    if (told.status === "connected" && told.transport === "websocket") client.pipe ??= told.server;
    if (told.status === "connected") settle(scene, client.name);
    if (told.status === "refused" || (wasConnected && told.status === "connecting")) client.pipe = null;
  }
}

/** A client that got in, or left, is refused no more. */
function settle(scene, name) {
  scene.refusals = scene.refusals.filter((refusal) => refusal.client !== name);
  if (!scene.refusals.length) scene.why = "";
}

/** Changes the scene; for an exchange, gives what the scene knew about it. */
function happens(scene, event, at, skipped) {
  scene.flow.skipped += skipped;
  switch (event.event) {
    case "step":
    case "claim":
      // The head of an experiment, or what was seen in it.
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
      // A frame needs a WebSocket: the page came after it was opened.
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

/** nginx has another config; and a lesson, which begins with nothing, has one part more. */
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

/** A process is gone, and with it every connection to it. */
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

/** Sends a dot from a client to each server that was asked, and back. */
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
  // It came as far as the sender's server, and on to Redis where there is one that carries.
  const place = owner && scene.servers[owner]?.up ? `server:${owner}` : from ? "nginx" : null;
  if (place) {
    mark(scene, { kind: "lost", place, from: `client:${event.from}`, at, lasts: MARK_STAYS * 2 });
  }
  scene.news = words.lost(scene, event);
  scene.isGoodNews = false;
}

/** Lets something move, or not: beyond what can be drawn, only a share of it is. */
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

/** Whatever has been drawn for long enough goes. */
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

/** Whether the mere passing of time has changed the scene by `at`. */
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

/** The poll of this client that is held, if one is. */
export function heldPoll(client, at) {
  for (const asked of Object.values(client.pending)) {
    if (isPoll(asked) && at - asked.at >= HELD_AFTER) return asked;
  }
  return null;
}

/** Who is drawn. */
export function present(scene) {
  return Object.values(scene.clients).filter((client) => !client.isGone);
}

/** How many of the clients that are known are connected to a server. */
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
