// The official Socket.IO client, as the tests use it. Prints one line of JSON.
//
//   node client.mjs connect <options>            connects once, and says how that ended
//   node client.mjs write <alice> <bob> <text>   alice writes to bob, and says whether it arrived
//   node client.mjs lose <options> <length>      sends a message of that length, and says how the
//                                                connection ended
//
// Options are JSON: { url, transports?, forwardedFor?, user?, withCredentials?,
// upgradeMayFail?, version? }. Version 2 is the client of the article.

import { io } from "socket.io-client";
import io2 from "socket.io-client-2";

/** How long an answer may take, and how long a message before it counts as lost. */
const PATIENCE = 5_000;
const LOST_AFTER = 500;

const [command, ...rest] = process.argv.slice(2);
const outcome = await { connect, lose, write }[command](...rest);
console.log(JSON.stringify(outcome));
process.exit(0);

async function connect(options) {
  const parsed = JSON.parse(options);
  return settled(open(parsed), parsed.upgradeMayFail);
}

async function write(alice, bob, text) {
  const [from, to] = [JSON.parse(alice), JSON.parse(bob)];
  const [sender, receiver] = [open(from), open(to)];
  const connected = await Promise.all([settled(sender), settled(receiver)]);
  const failed = connected.find((outcome) => !outcome.connected);
  if (failed) return failed;

  const heard = new Promise((resolve) => {
    receiver.on("message", resolve);
    setTimeout(resolve, LOST_AFTER, null);
  });
  await sender.timeout(PATIENCE).emitWithAck("say", { to: to.user, text });
  const message = await heard;
  return { connected: true, arrived: message?.text === text && message?.from === from.user };
}

async function lose(options, length) {
  const socket = open(JSON.parse(options));
  const connected = await settled(socket);
  if (!connected.connected) return connected;
  const lost = new Promise((resolve) => {
    socket.on("disconnect", (reason, { context = {} } = {}) =>
      // A WebSocket's close event, or the request that was refused.
      resolve({
        reason,
        code: context.code ?? context.status,
        text: context.reason ?? context.responseText,
      }),
    );
    setTimeout(resolve, PATIENCE, { reason: "none" });
  });
  socket.emit("message", "x".repeat(Number(length)));
  return lost;
}

function open({ url, transports, forwardedFor, user, withCredentials, version }) {
  return (version === 2 ? io2 : io)(url, {
    transports: transports ?? ["polling", "websocket"],
    extraHeaders: forwardedFor ? { "x-forwarded-for": forwardedFor } : {},
    auth: { user },
    withCredentials,
    forceNew: true,
    // The tests ask how the first attempt ends, not how often the client tries.
    reconnection: false,
    timeout: PATIENCE,
  });
}

/** Connected, and upgraded where it may upgrade; or the first error, with the answer behind it. */
function settled(socket, upgradeMayFail = false) {
  // Listened for from the start: it may fail before the server's welcome is there.
  const upgradeFails = new Promise((resolve) => socket.io.engine.once("upgradeError", resolve));
  return new Promise((resolve) => {
    socket.on("connect", () => {
      const { engine } = socket.io;
      const done = () => resolve({ connected: true, transport: engine.transport.name });
      const upgrades = engine.opts.transports.includes("websocket") && engine.transport.name === "polling";
      if (upgrades) engine.once("upgrade", done);
      if (upgrades && upgradeMayFail) upgradeFails.then(done);
      if (!upgrades) done();
    });
    socket.on("connect_error", (error) => {
      const { status, responseText } = error.context ?? {};
      // Version 2 has no context. Over polling, its description is the status.
      const answered = [status, error.description].find(Number.isInteger);
      resolve({ connected: false, error: error.message, status: answered, body: responseText });
    });
    setTimeout(() => resolve({ connected: false, error: "nothing happened" }), PATIENCE);
  });
}
