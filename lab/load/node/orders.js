// Chapter 2's server in Node: it says who it is, and takes orders, which it writes into a
// book that all servers share.
//
//   PORT=8000 ORDERS=/tmp/orders node orders.js

import { appendFile } from "node:fs/promises";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

import { app, serve } from "./pid.js";

const orders = app().post("/orders/:id", async (request, response) => {
  const { id } = request.params;
  await appendFile(process.env.ORDERS, `${id} ${process.pid}\n`);
  await sleep(100);
  response.type("text/plain").send(`order ${id} executed, PID: ${process.pid}`);
});

serve("Server", createServer(orders));
