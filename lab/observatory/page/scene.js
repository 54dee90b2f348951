// The picture: a scene (model.js) at a moment, as SVG.
//
// The fixed nodes are built again when a client or a server comes or goes. The moving nodes are
// taken from a pool. Their transforms are set in each frame.

import { along, farPort, bend, layout, leg, path } from "./layout.js";
import { connected, heldPoll, present } from "./model.js";
import { count, processOf, short } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
/** In a still picture, a request that is younger than this is drawn as a line, in milliseconds. */
const STILL_SHOWS = 450;

export class Picture {
  constructor(svg) {
    this.svg = svg;
    this.layers = {};
    const defs = add(svg, "defs");
    const hatch = add(defs, "pattern", { id: "hatch", width: 9, height: 9, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
    add(hatch, "path", { d: "M0 0V9", class: "hatch" });
    const head = add(defs, "marker", { id: "head", viewBox: "0 0 10 10", refX: 8, refY: 5, markerWidth: 5, markerHeight: 5, orient: "auto" });
    add(head, "path", { d: "M0 0L10 5L0 10Z", class: "head" });
    for (const name of ["boxes", "lines", "things", "arrows", "words", "dots", "marks"]) {
      this.layers[name] = add(svg, "g", { class: name });
    }
    this.key = "";
    this.version = 0;
    this.dots = new Pool(() => add(this.layers.dots, "path"));
    this.routes = new Pool(() => add(this.layers.lines, "path"));
    this.arrows = new Pool(() => add(this.layers.arrows, "path"));
    this.pills = new Pool(() => pill(this.layers.arrows));
    this.marks = new Pool(() => add(this.layers.marks, "path"));
    this.width = 0;
  }

  resize(width, u) {
    this.width = Math.floor(width);
    this.u = u;
    this.svg.style.fontSize = `${u}px`;
    this.key = "";
  }

  /**
   * Draws the scene at the time `clock`. `isStill` draws lines in place of dots. `isStep`
   * emphasises the last event.
   */
  draw(scene, clock, isStill, isStep) {
    if (!this.width || !scene.state) return;
    const key = [
      this.width,
      Object.keys(scene.servers).join(),
      Boolean(scene.state.nginx),
      Boolean(scene.state.redis),
      ...present(scene).map((client) => `${client.name} ${client.address}`),
    ].join("|");
    if (key !== this.key) this.build(scene, key);
    this.drawClients(scene, clock);
    this.drawServers(scene);
    this.drawMiddle(scene);
    this.drawFlights(scene, clock, isStill, isStep);
    this.drawRefusals(scene, clock);
    this.drawMarks(scene, clock, isStill);
  }

  build(scene, key) {
    this.key = key;
    this.version += 1;
    const plan = layout(scene, this.width, this.u);
    this.plan = plan;
    const { u } = plan;
    const size = { viewBox: `0 0 ${plan.width} ${Math.ceil(plan.height)}`, width: plan.width, height: Math.ceil(plan.height) };
    for (const [name, value] of Object.entries(size)) this.svg.setAttribute(name, value);
    const { boxes, lines, things, words } = this.layers;
    this.routes.clear();
    for (const layer of [boxes, lines, things, words]) layer.replaceChildren();
    this.clients = new Map();
    this.servers = new Map();

    for (const lane of plan.lanes) {
      text(things, lane.text, lane.x, 1.5 * u, { class: "lane", "text-anchor": lane.anchor });
    }
    for (const { label, ...box } of plan.boxes) {
      add(things, "rect", { x: box.x, y: box.y, width: box.w, height: box.h, rx: 0.6 * u, class: "group" });
      text(things, label, box.x + 0.7 * u, box.y + 1.35 * u, { class: "small" });
    }
    if (!plan.clients.size) {
      const x = plan.isNarrow ? 0.8 * u : plan.lanes[0].x;
      const y = plan.isNarrow ? 3.4 * u : plan.height / 2;
      text(things, "no clients yet", x, y, { class: "small", "text-anchor": plan.isNarrow ? "start" : "end" });
    }
    for (const [letter, box] of plan.servers) {
      const place = `server:${letter}`;
      if (plan.nginx) {
        const rail = add(lines, "path", { class: "rail" });
        rail.setAttribute("d", path([bend(plan, farPort(plan, place), plan.isNarrow ? [box.x + box.w / 2, box.y] : [box.x, box.y + box.h / 2])]));
      }
      if (plan.redis) add(lines, "path", { class: "rail redis-rail", d: path(leg(plan, place, "redis")) });
      this.servers.set(letter, serverNodes(things, letter, box, plan));
    }
    for (const place of plan.clients.values()) this.clients.set(place.name, clientNodes(lines, things, place, plan, scene.clients[place.name]?.address));
    if (plan.nginx) this.nginx = nginxNodes(boxes, words, plan);
    if (plan.redis) this.redis = redisNodes(things, plan);
  }

  drawClients(scene, clock) {
    const { plan } = this;
    const many = plan.clients.size;
    for (const [name, nodes] of this.clients) {
      const client = scene.clients[name];
      if (!client) continue;
      const { status } = client;
      const letter = client.pipe ?? client.owner;
      set(nodes.group, "data-status", status);
      // A client of an experiment may open a session and send no other request.
      const isAtHome = status === "connected" || (!client.listed && status === "connecting" && letter);
      const isPlain = !client.listed && status === "connecting";
      const size = (plan.isDense ? 0.74 : 0.46) * plan.u;
      const refused = plan.isDense ? shape("A", size) + strike(size) : cross(0.38 * plan.u);
      set(nodes.mark, "d", status === "refused" ? refused : shape(isAtHome ? letter : "A", letter === "B" && plan.isDense ? size * 1.2 : size));
      set(nodes.mark, "class", `mark ${isAtHome ? `on ${tone(letter)}` : isPlain ? "guest" : status}${plan.isDense ? " dense" : ""}`);

      const poll = heldPoll(client, clock);
      const isPolling = Boolean(poll) && client.owner && scene.servers[client.owner]?.up;
      const isPipe = Boolean(client.pipe);
      const way = isPipe || isPolling ? path(leg(plan, `client:${name}`, `server:${letter}`)) : "";
      set(nodes.halo, "d", way);
      set(nodes.line, "d", way);
      const kind = isPipe ? "pipe" : "held";
      const width = (most) => Math.max(most / 5, Math.min(most, (most * 9) / Math.max(1, many)));
      set(nodes.halo, "class", `halo ${kind} ${tone(letter)}`);
      set(nodes.line, "class", `line ${kind} ${tone(letter)}`);
      set(nodes.halo, "stroke-width", way ? width(isPipe ? 13 : 11).toFixed(1) : 0);
      set(nodes.line, "stroke-width", way ? width(isPipe ? 6 : 2.4).toFixed(1) : 0);
      if (nodes.detail) set(nodes.detail, null, detail(client, poll, clock, plan.width));
      set(nodes.title, null, `${name}: ${status}${status === "connected" && letter ? ` to ${letter}` : ""}`);
    }
  }

  drawServers(scene) {
    const isHttp = scene.state.talk === null;
    for (const [letter, nodes] of this.servers) {
      const server = scene.servers[letter];
      if (!server) continue;
      set(nodes.group, "data-up", String(server.up));
      set(nodes.pid, null, processOf(server));
      const number = connected(scene, letter);
      const load = isHttp ? count(server.answered, "answer") : `${number} connected`;
      set(nodes.load, null, server.up ? load : "");
    }
  }

  drawMiddle(scene) {
    const { nginx, redis } = scene.state;
    if (nginx && this.plan.nginx) {
      const words = method(nginx.method);
      set(this.nginx.method[0], null, words[0]);
      set(this.nginx.method[1], null, words[1] ?? "");
    }
    if (redis && this.plan.redis) {
      set(this.redis.group, "data-up", String(scene.redisUp));
      const choice = scene.state.switch;
      const words = choice ? `${choice.label}: ${choice.chosen}` : "";
      const isUsed = scene.redisUp ? "PUB/SUB" : "stopped";
      set(this.redis.note, null, this.plan.isNarrow && words && scene.redisUp ? words : isUsed);
      if (this.redis.choice) set(this.redis.choice, null, words);
    }
  }

  drawFlights(scene, clock, isStill, isStep) {
    const { plan } = this;
    this.dots.begin();
    this.routes.begin();
    for (const flight of scene.flights) {
      const age = clock - flight.at;
      if (age < 0 || age > (isStill ? STILL_SHOWS : flight.lasts)) continue;
      if (flight.version !== this.version) {
        flight.version = this.version;
        flight.legs = flight.way.slice(1).map((place, i) => leg(plan, flight.way[i], place));
      }
      const colour = flight.tone === "redis" ? "redis-tone" : tone(flight.tone);
      if (isStill) {
        const node = this.routes.take();
        set(node, "d", flight.legs.map(path).join(""));
        set(node, "class", `route ${flight.fails ? "fails" : colour}`);
        const isPast = isStep && flight.at < scene.at;
        set(node, "opacity", isPast ? "0.12" : Math.max(0.15, 1 - age / STILL_SHOWS).toFixed(2));
        continue;
      }
      const share = (age / flight.lasts) * flight.legs.length;
      const i = Math.min(Math.floor(share), flight.legs.length - 1);
      const point = along(flight.legs[i], share - i);
      if (!point) continue;
      const [x, y, angle] = point;
      const node = this.dots.take();
      const isBack = flight.kind === "dot" && i === flight.legs.length - 1 && flight.legs.length > 1;
      if (flight.kind === "frame") {
        set(node, "d", `M${-0.42 * plan.u} 0H${0.42 * plan.u}`);
        set(node, "class", `frame ${colour}`);
        set(node, "transform", `translate(${x.toFixed(1)} ${y.toFixed(1)}) rotate(${angle.toFixed(0)})`);
      } else {
        set(node, "d", shape(flight.tone, (isBack ? 0.36 : 0.3) * plan.u));
        set(node, "class", `dot ${flight.fails && isBack ? "fails" : colour}`);
        set(node, "transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
      }
    }
    this.dots.end();
    this.routes.end();
  }

  drawRefusals(scene, clock) {
    const { plan } = this;
    this.arrows.begin();
    this.pills.begin();
    const asked = new Set();
    scene.refusals.forEach((refusal, i) => {
      if (refusal.at > clock || !plan.clients.has(refusal.client)) return;
      const isLast = i === scene.refusals.length - 1;
      const wrong = this.arrows.take();
      set(wrong, "d", path(leg(plan, `client:${refusal.client}`, refusal.asked ? `server:${refusal.asked}` : "nginx")));
      set(wrong, "class", isLast ? "wrong" : "wrong faded");
      set(wrong, "marker-end", "url(#head)");
      const box = plan.servers.get(refusal.asked);
      if (box && !asked.has(refusal.asked)) {
        asked.add(refusal.asked);
        this.put(box, "400", "refused-pill", 0);
      }
      if (!isLast || !refusal.owner || refusal.owner === refusal.asked) return;
      const owner = this.arrows.take();
      const home = `server:${refusal.owner}`;
      const curves = leg(plan, `client:${refusal.client}`, home);
      set(owner, "d", path(plan.nginx ? curves.slice(1) : curves));
      set(owner, "class", `owner ${tone(refusal.owner)}`);
      set(owner, "marker-end", "");
      const there = plan.servers.get(refusal.owner);
      if (there) this.put(there, scene.servers[refusal.owner]?.up ? "its session" : "session lost", `owner-pill ${tone(refusal.owner)}`, 1);
    });
    this.arrows.end();
    this.pills.end();
  }

  /** Puts a word on the edge of a server's box, away from the lines. */
  put(box, words, kind, row) {
    const { u, isNarrow } = this.plan;
    const node = this.pills.take();
    const w = (words.length * 0.52 + 1) * u;
    const [x, y] = isNarrow
      ? [box.x + box.w / 2, box.y + box.h + 1.8 * u * row]
      : [row ? box.x + box.w - u - w / 2 : box.x + u + w / 2, box.y + box.h * row];
    const [group, back, label] = node.parts;
    set(group, "transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
    set(group, "class", `pill ${kind}`);
    for (const [name, value] of Object.entries({ x: -w / 2, y: -0.8 * u, width: w, height: 1.6 * u, rx: 0.8 * u })) set(back, name, value.toFixed(1));
    set(label, "y", (0.3 * u).toFixed(1));
    set(label, null, words);
  }

  drawMarks(scene, clock, isStill) {
    const { plan } = this;
    const { u } = plan;
    this.marks.begin();
    for (const one of scene.marks) {
      const age = clock - one.at;
      if (age < 0 || age > one.lasts) continue;
      const [kind, name] = one.place.split(/:(.*)/s);
      const box = kind === "client" ? null : kind === "server" ? plan.servers.get(name) : kind === "redis" ? plan.redis : plan.nginx;
      const client = kind === "client" ? plan.clients.get(name) : null;
      if (!box && !client) continue;
      if (isStill && (one.kind === "pulse" || one.kind === "flash")) continue;
      const fade = isStill ? 1 : Math.min(1, (one.lasts - age) / 400);
      if (one.kind === "pulse" || one.kind === "flash") {
        const node = this.marks.take();
        set(node, "d", `M${box.x + 0.6 * u} ${box.y}h${box.w - 1.2 * u}a${0.6 * u} ${0.6 * u} 0 0 1 ${0.6 * u} ${0.6 * u}v${box.h - 1.2 * u}a${0.6 * u} ${0.6 * u} 0 0 1 ${-0.6 * u} ${0.6 * u}h${-(box.w - 1.2 * u)}a${0.6 * u} ${0.6 * u} 0 0 1 ${-0.6 * u} ${-0.6 * u}v${-(box.h - 1.2 * u)}a${0.6 * u} ${0.6 * u} 0 0 1 ${0.6 * u} ${-0.6 * u}z`);
        set(node, "class", one.kind);
        set(node, "opacity", fade.toFixed(2));
        set(node, "transform", "");
        continue;
      }
      if (one.kind === "lost" && plan.clients.has(one.from?.slice(7))) {
        const line = this.marks.take();
        set(line, "d", path(leg(plan, one.from, one.place)));
        set(line, "class", "lost-way");
        set(line, "opacity", fade.toFixed(2));
        set(line, "transform", "");
      }
      const node = this.marks.take();
      const [x, y] = client
        ? plan.isNarrow ? [client.x, client.y - 0.9 * u] : [client.x + (plan.isDense ? 0.5 : 1.7) * u, client.y - (plan.isDense ? 0.5 : 0.9) * u]
        : one.kind === "lost" && kind === "server" && !plan.isNarrow ? [Math.min(box.x + box.w + 1.1 * u, plan.width - 0.7 * u), box.y + box.h / 2]
          : plan.isNarrow ? [box.x + box.w / 2, box.y + box.h + 0.9 * u] : [box.x + box.w + 0.9 * u, box.y + box.h / 2];
      set(node, "d", one.kind === "arrived" ? `M${-0.5 * u} 0L${-0.12 * u} ${0.4 * u}L${0.55 * u} ${-0.45 * u}` : cross(0.5 * u));
      set(node, "class", one.kind);
      set(node, "opacity", fade.toFixed(2));
      set(node, "transform", `translate(${x.toFixed(1)} ${y.toFixed(1)})`);
    }
    this.marks.end();
  }

  /** The picture as an SVG file. The styles are copied into each node. */
  toFile(title) {
    const names = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-linejoin",
      "stroke-opacity", "opacity", "font-family", "font-size", "font-weight", "text-anchor", "paint-order"];
    const copy = this.svg.cloneNode(true);
    const originals = [this.svg, ...this.svg.querySelectorAll("*")];
    [copy, ...copy.querySelectorAll("*")].forEach((node, i) => {
      const style = getComputedStyle(originals[i]);
      if (style.display === "none") node.setAttribute("display", "none");
      else for (const name of names) if (style.getPropertyValue(name)) node.setAttribute(name, style.getPropertyValue(name));
    });
    const ground = document.createElementNS(SVG, "rect");
    for (const [name, value] of Object.entries({ width: "100%", height: "100%" })) ground.setAttribute(name, value);
    ground.setAttribute("fill", getComputedStyle(this.svg).backgroundColor);
    const heading = document.createElementNS(SVG, "title");
    heading.textContent = title;
    copy.prepend(heading, ground);
    copy.setAttribute("xmlns", SVG);
    for (const hidden of copy.querySelectorAll("[display=none]")) hidden.remove();
    return new XMLSerializer().serializeToString(copy);
  }
}

function clientNodes(lines, things, place, plan, address) {
  const { u } = plan;
  const halo = add(lines, "path");
  const line = add(lines, "path");
  const group = add(things, "g", { class: "client", "data-client": place.name, transform: `translate(${place.x} ${place.y})` });
  const title = add(group, "title");
  const mark = add(group, "path");
  const nodes = { halo, line, group, title, mark };
  if (plan.isDense) {
    text(group, /\d+$/.exec(place.name)?.[0] ?? place.name.slice(0, 2), 0, 0.28 * u, { class: "inside", "text-anchor": "middle" });
    return nodes;
  }
  if (plan.isNarrow) {
    text(group, short(place.name, 10), 0.85 * u, 0.32 * u, { class: "name" });
    return nodes;
  }
  const end = { "text-anchor": "end" };
  const name = text(group, short(place.name, 20), -1.1 * u, (plan.isDetailed ? -0.05 : 0.35) * u, { class: "name", ...end });
  if (!plan.isDetailed) {
    if (address) name.prepend(plain("tspan", `${address}   `));
    return nodes;
  }
  return { ...nodes, detail: text(group, "", -1.1 * u, 1.15 * u, { class: "small", ...end }) };
}

function detail(client, poll, clock, width) {
  if (client.status === "refused" && client.listed) return "refused";
  if (client.isBrowser) return "a browser or program";
  if (client.pipe) return `${client.address ? `${client.address} · ` : ""}WebSocket`;
  if (poll) {
    const seconds = Math.floor((clock - poll.at) / 1000);
    return `${client.address && width > 900 ? `${client.address} · ` : ""}poll held ${seconds} s`;
  }
  if (client.listed && client.status === "connecting") return client.attempts > 1 ? `connecting, attempt ${client.attempts}` : "connecting";
  return client.address;
}

function serverNodes(things, letter, box, plan) {
  const { u } = plan;
  const group = add(things, "g", { class: `server ${tone(letter)}`, "data-server": letter, transform: `translate(${box.x} ${box.y})` });
  add(group, "rect", { width: box.w, height: box.h, rx: 0.6 * u, class: "box" });
  add(group, "rect", { width: box.w, height: box.h, rx: 0.6 * u, class: "dead-box" });
  if (plan.isNarrow) {
    const middle = box.w / 2;
    add(group, "path", { d: shape(letter, 0.62 * u), class: "glyph", transform: `translate(${middle - 0.85 * u} ${1.6 * u})` });
    text(group, letter, middle + 0.1 * u, 2.2 * u, { class: "letter" });
    const at = { "text-anchor": "middle" };
    const pid = text(group, "", middle, 4 * u, { class: "small", ...at });
    const load = text(group, "", middle, 5.5 * u, { class: "load", ...at });
    add(group, "path", { d: cross(0.8 * u), class: "strike", transform: `translate(${middle - 0.85 * u} ${1.6 * u})` });
    return { group, pid, load };
  }
  add(group, "path", { d: shape(letter, 0.9 * u), class: "glyph", transform: `translate(${1.6 * u} ${box.h / 2})` });
  text(group, letter, 2.85 * u, box.h / 2 + 0.68 * u, { class: "letter" });
  const x = 4.5 * u;
  const pid = text(group, "", x, box.h / 2 - 0.35 * u, { class: "small" });
  const load = text(group, "", x, box.h / 2 + 1.15 * u, { class: "load" });
  add(group, "path", { d: cross(1.1 * u), class: "strike", transform: `translate(${1.6 * u} ${box.h / 2})` });
  return { group, pid, load };
}

/** The lines cross nginx's box. So the box is drawn below the lines, and its name above them. */
function nginxNodes(boxes, words, plan) {
  const { u, nginx: box } = plan;
  const transform = `translate(${box.x} ${box.y})`;
  add(add(boxes, "g", { class: "nginx", transform }), "rect", { width: box.w, height: box.h, rx: 0.6 * u, class: "box" });
  const group = add(words, "g", { class: "nginx", transform });
  const at = { "text-anchor": plan.isNarrow ? "start" : "middle" };
  const x = plan.isNarrow ? 0.8 * u : box.w / 2;
  text(group, "nginx", x, (plan.isNarrow ? 1.6 : 2) * u, { class: "title", ...at });
  const rows = plan.isNarrow ? [2.9, 4.1] : [3.5, 4.8];
  return { method: rows.map((y) => text(group, "", x, y * u, { class: "method", ...at })) };
}

/** The method, in two lines if it is long. */
function method(name) {
  if (!name) return ["round robin"];
  if (name.length <= 13) return [name];
  const spaces = [...name.matchAll(/ /g)].map((space) => space.index);
  const far = (index) => Math.abs(index - name.length / 2);
  const middle = spaces.sort((a, b) => far(a) - far(b))[0];
  return middle === undefined ? [name] : [name.slice(0, middle), name.slice(middle + 1)];
}

function redisNodes(things, plan) {
  const { u, redis: box } = plan;
  const group = add(things, "g", { class: "redis", transform: `translate(${box.x} ${box.y})`, "data-redis": "" });
  for (const kind of ["box", "dead-box"]) add(group, "rect", { width: box.w, height: box.h, rx: 0.6 * u, class: kind });
  const at = { "text-anchor": "middle" };
  const middle = box.h / 2;
  text(group, "Redis", box.w / 2, middle - (plan.isNarrow ? 0.1 : 0.5) * u, { class: "title", ...at });
  const note = text(group, "", box.w / 2, middle + (plan.isNarrow ? 1.15 : 0.9) * u, { class: "small", ...at });
  if (plan.isNarrow) return { group, note };
  // The link between the servers is named at the top of its lane.
  const choice = text(things, "", box.x + box.w, 1.5 * u, { class: "lane", "text-anchor": "end" });
  return { group, note, choice };
}

const tone = (letter) => (letter && "ABC".includes(letter) ? `tone-${letter.toLowerCase()}` : "tone-none");

/** A ● B ▲ C ■, around the origin. */
function shape(letter, r) {
  const n = (value) => value.toFixed(1);
  if (letter === "B") return `M0 ${n(-r * 1.1)}L${n(r * 1.1)} ${n(r * 0.85)}H${n(-r * 1.1)}Z`;
  if (letter === "C") return `M${n(-r * 0.9)} ${n(-r * 0.9)}H${n(r * 0.9)}V${n(r * 0.9)}H${n(-r * 0.9)}Z`;
  const half = `A${n(r)} ${n(r)} 0 0 0`;
  return `M${n(-r)} 0${half} ${n(r)} 0${half} ${n(-r)} 0Z`;
}

const strike = (r) => `M${-r * 0.7} ${r * 0.7}L${r * 0.7} ${-r * 0.7}`;
const cross = (r) => `M${-r} ${-r}L${r} ${r}M${r} ${-r}L${-r} ${r}`;

function pill(parent) {
  const group = add(parent, "g");
  const node = add(group, "rect");
  const label = text(group, "", 0, 0, { "text-anchor": "middle" });
  group.parts = [group, node, label];
  return group;
}

/** Nodes that are used again. Each frame takes the nodes that it needs. The others are hidden. */
class Pool {
  constructor(make) {
    this.make = make;
    this.clear();
  }

  clear() {
    this.nodes = [];
    this.taken = 0;
    this.shown = 0;
  }

  begin() {
    this.taken = 0;
  }

  take() {
    if (this.taken === this.nodes.length) this.nodes.push(this.make());
    const node = this.nodes[this.taken];
    if (this.taken >= this.shown) set(node, "display", "inline");
    this.taken += 1;
    return node;
  }

  end() {
    for (let i = this.taken; i < this.shown; i += 1) set(this.nodes[i], "display", "none");
    this.shown = this.taken;
  }
}

function add(parent, name, attributes = {}) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  parent.append(node);
  return node;
}

function plain(name, words) {
  const node = document.createElementNS(SVG, name);
  node.setAttribute("class", "small");
  node.textContent = words;
  return node;
}

function text(parent, words, x, y, attributes = {}) {
  const node = add(parent, "text", { x, y, ...attributes });
  node.textContent = words;
  return node;
}

/** Sets an attribute (or the text, if there is no name), if the value has changed. */
function set(node, name, value) {
  node.was ??= {};
  const key = name ?? "text";
  if (node.was[key] === value) return;
  node.was[key] = value;
  if (name === null) node.textContent = value;
  else node.setAttribute(name, value);
}
