// Chapter 1's server in Node, as the article has it: it says who it is.
//
//   PORT=8000 node pid.js

import { createServer } from "node:http";

import express from "express";

/** The whole application: one route. */
export function app() {
  return express().get("/", (request, response) => {
    response.type("text/plain").send(`Hi, PID: ${process.pid}`);
  });
}

/** Serves on the port that `PORT` names; 8000 if it names none. Ends on SIGTERM. */
export function serve(name, server, drain = () => {}) {
  const port = Number(process.env.PORT ?? 8000);
  server.on("error", (error) => {
    console.error(`error: port ${port} cannot be had: ${error.message}`);
    process.exit(1);
  });
  // The backlog that Tokio asks for; Node asks for 511.
  server.listen({ port, host: "127.0.0.1", backlog: 1024 }, () => {
    console.log(`${name} running on ${port} port, PID: ${process.pid}`);
  });
  for (const signal of ["SIGTERM", "SIGINT"]) {
    process.once(signal, () => {
      drain();
      // What is being answered is answered; idle connections are closed.
      server.close(() => process.exit(0));
    });
  }
}

if (import.meta.main ?? process.argv[1] === import.meta.filename) {
  serve("Server", createServer(app()));
}
