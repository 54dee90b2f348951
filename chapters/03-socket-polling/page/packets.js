// Explains packets. Engine.IO: https://socket.io/docs/v4/engine-io-protocol/,
// and inside its `4`, Socket.IO: https://socket.io/docs/v4/socket-io-protocol/.

const SEPARATOR = "\x1e";

/** The packets of a body or frame: `{ code, name, more }` each. */
export function packets(text) {
  return text ? text.split(SEPARATOR).map(packet) : [];
}

/** A short description of a body or frame: `40 connect · 2 ping`. */
export function inShort(text) {
  return packets(text)
    .map(({ code, name, brief }) => [code, name, brief].filter(Boolean).join(" "))
    .join(" · ");
}

function packet(text) {
  const known = engine(text) ?? { code: "", name: refusal(text) ?? text };
  return { text, brief: "", more: "", ...known };
}

function engine(text) {
  const rest = text.slice(1);
  switch (text[0]) {
    case "0":
      return { code: "0", name: "open", more: opened(rest) };
    case "1":
      return { code: "1", name: "close", more: "the session ends" };
    case "2":
      return rest === "probe"
        ? { code: "2probe", name: "ping", more: "does the WebSocket work?" }
        : { code: "2", name: "ping", more: "are you there?" };
    case "3":
      return rest === "probe"
        ? { code: "3probe", name: "pong", more: "yes, it works" }
        : { code: "3", name: "pong", more: "yes" };
    case "4":
      return socket(rest);
    case "5":
      return { code: "5", name: "upgrade", more: "the session moves to the WebSocket" };
    case "6":
      return { code: "6", name: "noop", more: "empty; it ends the held poll" };
    default:
      return null;
  }
}

function socket(text) {
  const code = `4${text[0] ?? ""}`;
  const rest = text.slice(1);
  switch (text[0]) {
    case "0":
      return rest
        ? { code, name: "connect", more: `you are ${parsed(rest)?.sid ?? "connected"}` }
        : { code, name: "connect", more: "to the namespace /" };
    case "1":
      return { code, name: "disconnect", more: "from the namespace /" };
    case "2": {
      const [event, ...values] = parsed(rest) ?? [rest];
      const said = values.map((value) => JSON.stringify(value)).join(", ");
      return { code, name: `event ${event}`, brief: said, more: "" };
    }
    case "3":
      return { code, name: "ack", more: rest };
    case "4":
      return { code, name: "connect error", more: rest };
    default:
      return { code, name: "message", more: rest };
  }
}

function opened(text) {
  const { sid, upgrades = [], pingInterval, pingTimeout } = parsed(text) ?? {};
  if (!sid) return "";
  return (
    `session ${sid}; upgrades offered: ${upgrades.join(", ") || "none"}; ` +
    `a ping every ${pingInterval / 1000} s; without an answer, the session ends after ${pingTimeout / 1000} s`
  );
}

function refusal(text) {
  return text.startsWith("<") ? "(an HTML page)" : parsed(text)?.message;
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
