// Chapter 6's server in Node: users write to each other by name, wherever they are connected.
//
//   PORT=8000 REDIS_URL=redis://127.0.0.1:6379 node server.js

import { createServer } from "node:http";

import { createAdapter } from "@socket.io/redis-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

import { app, serve } from "./pid.js";

const url = process.env.REDIS_URL ?? "redis://127.0.0.1:6379";
const publisher = createClient({ url });
const subscriber = publisher.duplicate();
for (const client of [publisher, subscriber]) {
  // It connects again by itself; without a listener the first error would end the process.
  client.on("error", (error) => console.error(`Redis: ${error.message}`));
}
await Promise.all([publisher.connect(), subscriber.connect()]);

const server = createServer(app());
// The beginning of the channels: other applications may use this Redis too.
const key = `${process.env.APP_NAME ?? "socket-lab"}:node`;
const io = new Server(server, {
  adapter: createAdapter(publisher, subscriber, { key }),
  serveClient: false,
});

io.on("connection", (socket) => {
  const { user } = socket.handshake.auth;
  if (typeof user !== "string") {
    console.log(`${socket.id} did not say who it is`);
    socket.disconnect();
    return;
  }
  console.log(`${user} connected`);
  // The user's room: on whichever servers their devices are.
  socket.join(user);

  socket.on("say", ({ to, text }, acknowledge) => {
    socket.to(to).emit("message", { from: user, to, text });
    acknowledge?.(true);
  });
  socket.on("shout", (text, acknowledge) => {
    socket.broadcast.emit("message", { from: user, to: "all", text });
    acknowledge?.(true);
  });
  // Whatever it comes with, the acknowledgement is last.
  socket.on("server", (...sent) => {
    sent.at(-1)?.({ pid: process.pid, port: server.address().port });
  });
});

serve("Socket Server", server, () => io.close());
