// Another application on the same Redis: two servers with Socket.IO's own adapter, in Node, and a
// client of the second. The first asks all servers for their clients. Prints one line of JSON.
//
//   node neighbour.mjs <redis-url>

import { createServer } from "node:http";

import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";
import { io as connect } from "socket.io-client";

const [url] = process.argv.slice(2);
const [first, second] = [await start(), await start()];
const client = connect(`http://127.0.0.1:${second.port}`, { transports: ["websocket"] });
await new Promise((resolve) => client.once("connect", resolve));
const outcome = await first.io.fetchSockets().then(
  (sockets) => ({ clients: sockets.length }),
  (error) => ({ error: error.message }),
);
console.log(JSON.stringify(outcome));
process.exit(0);

async function start() {
  const publisher = createClient({ url });
  const subscriber = publisher.duplicate();
  await Promise.all([publisher.connect(), subscriber.connect()]);
  const server = createServer();
  const io = new Server(server, { adapter: createAdapter(publisher, subscriber) });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { io, port: server.address().port };
}
