// The sentences: what the picture shows, in words.

const PACKETS = {
  0: "open", 1: "close", 2: "ping", 3: "pong", 5: "upgrade", 6: "noop",
  40: "connect", 41: "disconnect", 42: "event", 43: "acknowledgement", 44: "connect error",
};

const TOO_LONG = " (the message is too long)";

/** The line of the log for an event, or "" for an event that is not shown. */
export function line(scene, event, facts) {
  switch (event.event) {
    case "chapter":
      return event.title;
    case "step":
      return `Experiment: ${event.title}.`;
    case "note":
      return event.text.trim();
    case "claim":
      return `${event.held ? "✓" : "✗"} ${event.text}${event.seen ? ` (${event.seen})` : ""}`;
    case "up": {
      const config = configIn(event);
      if (config) return `nginx runs with nginx/${config}.`;
      return `${part(event.part)} is up${event.pid ? `, PID ${event.pid}` : ""}.`;
    }
    case "down":
      return `${part(event.part)} is gone: ${event.how}.`;
    case "said":
      return `${part(event.part)} writes: ${event.line}`;
    case "exchange":
      return exchange(scene, event, facts);
    case "frame":
      return `${who(event.client)} ${event.sent ? "sends" : "receives"} a frame: ${packet(event.text)}.`;
    case "forwarded": {
      const asked = event.tried.map((address) => letter(scene, address) ?? address);
      return `${event.client} (a browser or another program) sends ${event.request.replace(/ HTTP\/.*/, "")}. `
        + `The answer is ${event.status}${event.status === 413 ? TOO_LONG : ""}, from ${asked.length ? asked.at(-1) : "nginx: it asked no server"}.`;
    }
    case "published":
      return `Redis passes a message of ${event.bytes} bytes on to its subscribers.`;
    case "message":
      return event.arrived ? `${event.from} to ${event.to}: “${event.text}” arrives.` : lost(scene, event);
    default:
      return "";
  }
}

function exchange(scene, event, facts) {
  const { method, target, outcome, tried } = event;
  const client = who(event.client);
  const first = tried.slice(0, -1).map((address) => letter(scene, address) ?? address);
  const detour = first.length ? ` nginx asked ${list(first)} first, and got no answer.` : "";
  if (!outcome.Ok) return `${client} gets no answer: ${outcome.Err}.${detour}`;
  const { status, body } = outcome.Ok;
  const server = facts.server ?? "the server";
  if (status === 400 && body.includes("Session ID unknown")) {
    return `${client} asks ${server}: 400 Session ID unknown.${facts.owner && facts.owner !== server ? ` Its session ${lives(scene, facts.owner)} ${facts.owner}.` : ""}${detour}`;
  }
  if (status === 101) return `${client} opens a WebSocket to ${server}.${detour}`;
  if (status >= 400) return `${client} asks ${server}: ${status}${status === 413 ? TOO_LONG : ""}.${detour}`;
  if (!target.includes("transport=")) return `${client} asks ${target}: ${server} answers ${status}.${detour}`;
  if (!target.includes("sid=")) return `${client} opens a session on ${server}.${detour}`;
  if (method === "POST") return `${client} posts to ${server}: ${packet(event.sent ?? "")}.${detour}`;
  const held = facts.held ? ` after ${seconds(event.took)}` : "";
  return `${client} polls ${server}, which answers${held}: ${packet(body)}.${detour}`;
}

/** The config that nginx uses after this event, if the event names one. */
export function configIn({ part, detail }) {
  return part === "nginx" ? / with nginx\/(\S+)/.exec(detail)?.[1] : undefined;
}

/** Why a request was refused. */
export function refusal(scene, { client: name, asked, owner }) {
  const client = who(name);
  const method = scene.state?.nginx?.method;
  const balancing = method ? `nginx (${method})` : "nginx";
  const answer = "400 Session ID unknown.";
  if (!owner) return `${client} sent a session ID to ${asked}. ${asked} does not know the session: ${answer}`;
  const session = client === name ? `${name}'s session` : `The session of “${name}”`;
  if (owner === asked) {
    return `${upper(session)} was on ${owner}. ${owner} does not know it any more: ${answer}`;
  }
  return `${upper(session)} ${lives(scene, owner)} ${owner}. ${balancing} sent the request to ${asked}. ${asked} does not know the session: ${answer}`;
}

const lives = (scene, owner) => (scene.servers[owner]?.up ? "is on" : "was lost with");

/** Says what is known about a message that did not arrive. */
export function lost(scene, { from, to, text }) {
  const on = (name) => {
    const owner = scene.clients[name]?.owner;
    return owner ? `${name} (on ${owner})` : name;
  };
  const { state } = scene;
  const how = [];
  if (state?.switch) how.push(`${state.switch.label}: ${state.switch.chosen}`);
  if (state?.redis && !scene.redisUp) how.push("Redis is stopped");
  const [mine, theirs] = [from, to].map((name) => scene.clients[name]?.owner);
  if (state && !state.redis && mine && theirs && mine !== theirs) {
    how.push(`${mine} can only deliver to its own clients (chapter 5 changes that)`);
  }
  return `${on(from)} wrote “${text}” to ${on(to)}. It did not arrive.${how.length ? ` ${upper(how.join("; "))}.` : ""}`;
}

export function held(client) {
  return `${who(client.name)} polls. ${client.owner ?? "The server"} holds the request until it has data.`;
}

/** Names the packets in a POST or a frame. */
export function packet(text) {
  const packets = text.split("\u001e");
  const named = packets.slice(0, 3).map((one) => {
    const name = PACKETS[one.slice(0, 2)] ?? PACKETS[one[0]] ?? (one[0] === "4" ? "message" : "");
    return name ? `${name} (${short(one, 44)})` : short(one, 44) || "nothing";
  });
  return named.join(", ") + (packets.length > 3 ? `, ${packets.length - 3} more` : "");
}

export function count(number, one, many = `${one}s`) {
  return `${number} ${number === 1 ? one : many}`;
}

export const upper = (text) => text.charAt(0).toUpperCase() + text.slice(1);
export const short = (text, length) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

function seconds(milliseconds) {
  return milliseconds < 1000 ? `${Math.round(milliseconds)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

/** A client's name at the beginning of a sentence. Experiments call theirs "you" and "friend". */
function who(name) {
  return name === "you" || name === "friend" ? `The client “${name}”` : name;
}

function part(one) {
  if (one === "nginx") return "nginx";
  if (one === "redis") return "Redis";
  return one?.server ?? one?.program ?? "A program";
}

function letter(scene, address) {
  return Object.values(scene.servers).find((server) => server.address === address)?.letter;
}

function list(names) {
  return names.length < 2 ? names.join("") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

/** Names a server's process: one of the stage, one that a learner started by hand, or none. */
export function processOf({ up, pid, byHand }) {
  if (pid) return `PID ${pid}`;
  if (byHand) return "by hand";
  return up ? "PID ?" : "dead";
}
