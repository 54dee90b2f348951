// Sends a message to a user of the chat; no Socket.IO server in here.
//
//   REDIS_URL=redis://127.0.0.1:6379 node emit.js bob "hello from outside"

import { Emitter } from "@socket.io/redis-emitter";
import { createClient } from "redis";

const [user, text] = process.argv.slice(2);
const redis = createClient({ url: process.env.REDIS_URL ?? "redis://127.0.0.1:6379" });
await redis.connect();
const key = `${process.env.APP_NAME ?? "socket-lab"}:node`;
new Emitter(redis, { key }).to(user).emit("message", { from: "emit", to: user, text });
await redis.close();
