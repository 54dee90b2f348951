// The places of everything: lanes from left to right, or from top to bottom on a narrow page.
// All lengths are in pixels of the picture; `u` is the size of the page's text.

import { present } from "./model.js";

const NARROW = 700;
/** Up to this many clients have a row each, with what they do. */
const FEW = 6;
/** Up to this many have a row each, with their name. More clients form a grid and show a number. */
const SOME = 12;

export function layout(scene, width, u) {
  const clients = present(scene);
  const plan = {
    width,
    u,
    isNarrow: width < NARROW,
    isDetailed: clients.length <= FEW,
    isDense: clients.length > SOME,
    hasNginx: Boolean(scene.state?.nginx),
    hasRedis: Boolean(scene.state?.redis),
    clients: new Map(),
    boxes: [],
    servers: new Map(),
    lanes: [],
  };
  if (plan.isNarrow) down(plan, scene, groups(clients));
  else across(plan, scene, groups(clients));
  ports(plan);
  return plan;
}

/** Groups the clients of one /24. ip_hash sends all of them to one server. */
function groups(clients) {
  const nets = new Map();
  const alone = [];
  for (const client of clients) {
    const net = /^(\d+\.\d+\.\d+)\.\d+$/.exec(client.address)?.[1];
    if (!net) alone.push(client);
    else nets.set(net, [...(nets.get(net) ?? []), client]);
  }
  const found = [];
  const single = [];
  for (const [net, members] of nets) {
    if (members.length < 2) {
      single.push(...members);
      continue;
    }
    const addresses = new Set(members.map((client) => client.address));
    const label = addresses.size === 1 ? `one address: ${members[0].address}` : `one network: ${net}.0/24`;
    found.push({ label, members });
  }
  if (single.length + alone.length) found.push({ label: "", members: [...single, ...alone] });
  return found;
}

/** Puts clients in a grid. Returns its lower end. */
function grid(plan, found, { left, right, top }) {
  const { u, isDense, isDetailed, isNarrow } = plan;
  const cell = isNarrow
    ? { w: isDense ? 2.1 * u : 6.2 * u, h: isDense ? 2 * u : 2.2 * u }
    : { w: isDense ? 2.3 * u : right - left, h: isDense ? 2.1 * u : isDetailed ? 3.1 * u : 1.95 * u };
  const columns = Math.max(1, Math.floor((right - left + 1) / cell.w));
  let y = top;
  for (const group of found) {
    const head = group.label ? 1.9 * u : 0;
    const rows = Math.ceil(group.members.length / columns);
    const used = Math.min(columns, group.members.length);
    if (group.label) {
      plan.boxes.push({
        label: group.label,
        x: left - 0.5 * u,
        y,
        w: right - left + u,
        h: head + rows * cell.h + 0.5 * u,
      });
    }
    group.members.forEach((client, i) => {
      const column = i % columns;
      const row = Math.floor(i / columns);
      const x = isNarrow
        ? left + column * cell.w + 0.7 * u
        : right - (used - 1 - column) * cell.w - 0.7 * u;
      plan.clients.set(client.name, { x, y: y + head + (row + 0.5) * cell.h, name: client.name });
    });
    y += head + rows * cell.h + (group.label ? 1.2 * u : 0.4 * u);
  }
  return y;
}

function across(plan, scene, found) {
  const { u, width } = plan;
  const isTight = width < 46 * u;
  const pad = 1.2 * u;
  const top = 2.6 * u;
  const server = { w: isTight ? 11.2 * u : 12 * u, h: 5.2 * u };
  const clientsRight = pad + Math.max(11 * u, width * 0.26);
  const gridEnd = grid(plan, found, { left: pad + 0.4 * u, right: clientsRight, top });
  const letters = Object.keys(scene.servers);
  plan.height = Math.max(22.5 * u, gridEnd + u, top + letters.length * (server.h + 1 * u));

  let right = width - pad;
  if (plan.hasRedis) {
    const w = 5.2 * u;
    const h = 9 * u;
    plan.redis = { x: right - w, y: (top + plan.height) / 2 - h / 2, w, h };
    right -= w + (isTight ? 2.6 * u : 4.5 * u);
  }
  const serverLeft = right - server.w;
  const room = (plan.height - top - 0.8 * u) / Math.max(1, letters.length);
  letters.forEach((letter, i) => {
    plan.servers.set(letter, { x: serverLeft, y: top + room * (i + 0.5) - server.h / 2, ...server });
  });
  if (plan.hasNginx) {
    const w = Math.min(9.4 * u, (serverLeft - clientsRight) * 0.52);
    const h = Math.min(16 * u, plan.height - top - u);
    const middle = (clientsRight + serverLeft) / 2;
    plan.nginx = { x: middle - w / 2, y: (top + plan.height) / 2 - h / 2 - 0.8 * u, w, h };
  }
  plan.lanes.push({ text: "clients", x: clientsRight - 0.1 * u, anchor: "end" });
  plan.lanes.push({ text: "servers", x: serverLeft, anchor: "start" });
  // Few clients are placed in the middle of the height.
  const free = plan.height - u - gridEnd;
  if (free > 0) shift(plan, free / 2);
}

function shift(plan, by) {
  for (const place of plan.clients.values()) place.y += by;
  for (const box of plan.boxes) box.y += by;
}

function down(plan, scene, found) {
  const { u, width } = plan;
  const pad = 0.8 * u;
  let y = grid(plan, found, { left: pad + 0.3 * u, right: width - pad, top: 2.2 * u });
  if (!plan.clients.size) y += 2.4 * u;
  y += 3.2 * u;
  if (plan.hasNginx) {
    plan.nginx = { x: width * 0.16, y, w: width * 0.68, h: 4.2 * u };
    y += 4.2 * u + 4 * u;
  }
  const letters = Object.keys(scene.servers);
  const gap = 0.6 * u;
  const w = (width - 2 * pad - gap * (letters.length - 1)) / Math.max(1, letters.length);
  letters.forEach((letter, i) => {
    plan.servers.set(letter, { x: pad + i * (w + gap), y, w, h: 6.6 * u });
  });
  y += 6.6 * u;
  if (plan.hasRedis) {
    y += 3.6 * u;
    plan.redis = { x: width * 0.16, y, w: width * 0.68, h: 3.2 * u };
    y += 3.2 * u;
  }
  plan.height = y + (plan.hasRedis ? 1 : 3.2) * u;
  plan.lanes.push({ text: "clients", x: pad, anchor: "start" });
}

/** The points on nginx's box where lines enter and leave: one for each client and each server. */
function ports(plan) {
  const { nginx, isNarrow } = plan;
  plan.ports = new Map();
  if (!nginx) return;
  // The name stands above the lines, or to their left.
  const head = (isNarrow ? 7.5 : 5) * plan.u;
  const spread = (places, from, length, coordinate) => {
    const order = [...places].sort((a, b) => a[1][coordinate] - b[1][coordinate]);
    order.forEach(([key], i) => {
      plan.ports.set(key, from + head + (length - head) * (0.1 + 0.8 * ((i + 0.5) / order.length)));
    });
  };
  const clients = [...plan.clients].map(([name, place]) => [`client:${name}`, place]);
  const servers = [...plan.servers].map(([letter, place]) => [`server:${letter}`, place]);
  if (isNarrow) {
    spread(clients, nginx.x, nginx.w, "x");
    spread(servers, nginx.x, nginx.w, "x");
  } else {
    spread(clients, nginx.y, nginx.h, "y");
    spread(servers, nginx.y, nginx.h, "y");
  }
}

/** The point where lines to or from a place end. */
function anchor(plan, place, side) {
  const { u, isNarrow } = plan;
  const [kind, name] = place.split(/:(.*)/s);
  if (kind === "client") {
    const client = plan.clients.get(name);
    if (!client) return null;
    const out = (plan.isDense ? 0.75 : 0.58) * u;
    return isNarrow ? [client.x, client.y + out] : [client.x + out, client.y];
  }
  const box = kind === "server" ? plan.servers.get(name) : kind === "redis" ? plan.redis : plan.nginx;
  if (!box) return null;
  if (isNarrow) return [box.x + box.w / 2, side === "far" ? box.y + box.h : box.y];
  return [side === "far" ? box.x + box.w : box.x, box.y + box.h / 2];
}

/** The curves from one place to the next: a list of cubic Béziers, eight numbers each. */
export function leg(plan, from, to) {
  const kinds = [from, to].map((place) => place.split(":")[0]);
  if (kinds.includes("redis")) {
    const server = kinds[0] === "redis" ? to : from;
    const a = anchor(plan, server, "far");
    const box = plan.redis;
    if (!a || !box) return [];
    const b = plan.isNarrow
      ? [box.x + box.w * (0.25 + (0.5 * a[0]) / plan.width), box.y]
      : [box.x, box.y + box.h * (0.2 + (0.6 * a[1]) / plan.height)];
    return turned([bend(plan, a, b)], kinds[0] === "redis");
  }
  const nginx = plan.nginx;
  if (kinds[0] === "server" && kinds[1] === "server" && nginx) {
    // nginx had no answer from one server and asks the next.
    const a = anchor(plan, from);
    const b = anchor(plan, to);
    if (!a || !b) return [];
    const out = farPort(plan, from);
    const back = farPort(plan, to);
    return [bend(plan, a, out), straight(out, back), bend(plan, back, b)];
  }
  const isBack = kinds[0] !== "client" && kinds[1] === "client";
  const [client, other] = isBack ? [to, from] : [from, to];
  const a = anchor(plan, client);
  const b = anchor(plan, other);
  if (!a || !b) return [];
  if (!nginx) return turned([bend(plan, a, b)], isBack);
  const entry = nearPort(plan, client);
  if (other === "nginx") return turned([bend(plan, a, entry)], isBack);
  const out = farPort(plan, other);
  return turned([bend(plan, a, entry), straight(entry, out), bend(plan, out, b)], isBack);
}

export function nearPort(plan, place) {
  const { nginx } = plan;
  const at = plan.ports.get(place);
  return plan.isNarrow ? [at ?? nginx.x + nginx.w / 2, nginx.y] : [nginx.x, at ?? nginx.y + nginx.h / 2];
}

export function farPort(plan, place) {
  const { nginx } = plan;
  const at = plan.ports.get(place);
  return plan.isNarrow
    ? [at ?? nginx.x + nginx.w / 2, nginx.y + nginx.h]
    : [nginx.x + nginx.w, at ?? nginx.y + nginx.h / 2];
}

export function bend(plan, [x1, y1], [x2, y2]) {
  if (plan.isNarrow) {
    const middle = (y1 + y2) / 2;
    return [x1, y1, x1, middle, x2, middle, x2, y2];
  }
  const middle = (x1 + x2) / 2;
  return [x1, y1, middle, y1, middle, y2, x2, y2];
}

function straight([x1, y1], [x2, y2]) {
  return [x1, y1, x1 + (x2 - x1) / 3, y1 + (y2 - y1) / 3, x1 + ((x2 - x1) * 2) / 3, y1 + ((y2 - y1) * 2) / 3, x2, y2];
}

function turned(curves, isTurned) {
  if (!isTurned) return curves;
  return curves.reverse().map(([a, b, c, d, e, f, g, h]) => [g, h, e, f, c, d, a, b]);
}

/** The curves as the `d` of a path. */
export function path(curves) {
  return curves
    .map(([a, b, c, d, e, f, g, h], i) => {
      const n = (value) => value.toFixed(1);
      return `${i ? "L" : "M"}${n(a)} ${n(b)}C${n(c)} ${n(d)} ${n(e)} ${n(f)} ${n(g)} ${n(h)}`;
    })
    .join("");
}

/** The point after the share `t` of the curves, and the direction there in degrees. */
export function along(curves, t) {
  if (!curves.length) return null;
  // The short curve through nginx takes less time than the curves to it and from it.
  const weights = curves.length === 3 ? [0.42, 0.16, 0.42] : curves.map(() => 1 / curves.length);
  let rest = Math.min(Math.max(t, 0), 1);
  let i = 0;
  while (i < curves.length - 1 && rest > weights[i]) {
    rest -= weights[i];
    i += 1;
  }
  const s = Math.min(rest / weights[i], 1);
  const [a, b, c, d, e, f, g, h] = curves[i];
  const r = 1 - s;
  const x = r * r * r * a + 3 * r * r * s * c + 3 * r * s * s * e + s * s * s * g;
  const y = r * r * r * b + 3 * r * r * s * d + 3 * r * s * s * f + s * s * s * h;
  const dx = r * r * (c - a) + 2 * r * s * (e - c) + s * s * (g - e);
  const dy = r * r * (d - b) + 2 * r * s * (f - d) + s * s * (h - f);
  return [x, y, (Math.atan2(dy, dx) * 180) / Math.PI];
}
