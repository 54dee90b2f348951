// Chapter 3's server with the original Socket.IO: it passes a `message` on to all other clients.
//
//   PORT=8000 node server.js

import { createServer } from "node:http";

import { Server } from "socket.io";

const server = createServer();
const io = new Server(server, { serveClient: false });

io.on("connection", (socket) => {
  socket.on("message", (text) => socket.broadcast.emit("message", text));
});

const port = Number(process.env.PORT ?? 8000);
server.on("error", (error) => {
  console.error(`error: cannot listen on port ${port}: ${error.message}`);
  process.exit(1);
});
server.listen(port, "127.0.0.1", () => {
  console.log(`Node Server running on ${port} port, PID: ${process.pid}`);
});
for (const signal of ["SIGTERM", "SIGINT"]) {
  // This also closes the connections and the HTTP server.
  process.once(signal, () => io.close(() => process.exit(0)));
}
