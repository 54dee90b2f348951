// One user of the chat, with the official Socket.IO client.

import { tooLong } from "./losses.js";
import { LETTERS } from "./servers.js";

/** How long the server may take to acknowledge a message, in milliseconds. */
const PATIENCE = 5_000;

const SHAPES = { A: "●", B: "▲", C: "■" };

/** Why the connection was lost, if it was since the last message was sent. */
let loss = "";

const find = (id) => document.getElementById(id);
const user = new URLSearchParams(location.search).get("user")?.trim().slice(0, 40);
/** It is behind the `#`, a part of the address that a browser does not send. */
const token = new URLSearchParams(location.hash.slice(1)).get("token") ?? "";

if (user) chat();
else askForName();
showOriginOfClient();

function askForName() {
  find("who").hidden = false;
  find("name").focus();
  find("who").addEventListener("submit", (event) => {
    event.preventDefault();
    location.search = new URLSearchParams({ user: find("name").value.trim() });
  });
}

function chat() {
  find("room").hidden = false;
  find("me").textContent = user;
  document.title = `${user} · Chat`;
  find("to").value = { alice: "bob", bob: "alice" }[user] ?? "";
  if (!window.io) {
    show("lost", "the Socket.IO client has not loaded");
    return;
  }
  const socket = io({
    // In the same folder as this page, which a proxy may serve below a prefix.
    path: new URL("socket.io/", document.baseURI).pathname,
    auth: { user, token },
    reconnectionDelayMax: 2_000,
  });
  follow(socket);
  socket.on("message", hear);
  find("say").addEventListener("submit", (event) => {
    event.preventDefault();
    const [to, text] = [find("to").value.trim(), find("text").value];
    send(socket, `to ${to}`, text, "say", { to, text });
  });
  find("shout").addEventListener("click", () => {
    const text = find("text");
    if (text.reportValidity()) send(socket, "to everybody", text.value, "shout", text.value);
  });
}

/** Shows the state of the connection. */
function follow(socket) {
  let engine;
  const connected = () => show("connected", `connected over ${socket.io.engine.transport.name}`);

  socket.on("connect", async () => {
    connected();
    if (engine !== socket.io.engine) {
      engine = socket.io.engine;
      engine.on("upgrade", connected);
    }
    // The server that holds this connection answers.
    const { pid, port } = await socket.timeout(PATIENCE).emitWithAck("server").catch(() => ({}));
    if (pid) name(pid, port);
  });
  socket.on("disconnect", (reason, details) => {
    loss = tooLong(details);
    name();
    show("lost", `lost (${reason}), connecting again`);
    // The client reconnects by itself, unless the server ended the connection.
    if (reason === "io server disconnect") setTimeout(() => socket.connect(), 1_000);
  });
  socket.on("connect_error", (error) =>
    // If the server itself refuses the client, it does not try again.
    show("lost", socket.active ? `no connection (${why(error)}), trying again` : error.message),
  );
  socket.io.on("reconnect_attempt", (attempt) => show("connecting", `connecting again, attempt ${attempt}`));
}

/** Shows the server of this connection; without arguments: no server. */
function name(pid, port) {
  const letter = LETTERS[port] ?? "";
  find("server").dataset.letter = letter;
  const called = letter && `${SHAPES[letter] ?? "●"} ${letter} `;
  find("server").textContent = pid ? `${called}PID ${pid} on port ${port}` : "none";
}

/** The server's error message, if there is one. */
function why(error) {
  const { status, responseText } = error.context ?? {};
  if (!status) return error.message;
  try {
    return `${status} ${JSON.parse(responseText).message}`;
  } catch {
    return `${error.message}, ${status}`;
  }
}

function show(status, words) {
  find("connection").dataset.status = status;
  find("connection").textContent = words;
}

function hear({ from, to, text }) {
  const whom = to === user ? "" : ` to ${to === "all" ? "everybody" : to}`;
  add(find("heard"), from + whom, text);
}

/** Sends a message, and shows the server's answer. */
async function send(socket, whom, text, event, content) {
  const outcome = document.createElement("small");
  outcome.textContent = "waiting for the server";
  add(find("sent"), whom, text, outcome);
  find("text").value = "";
  find("text").focus();
  loss = "";
  try {
    const taken = await socket.timeout(PATIENCE).emitWithAck(event, content);
    outcome.dataset.outcome = taken ? "acknowledged" : "failed";
    outcome.textContent = taken ? "✓ acknowledged by the server" : "✕ the server could not pass it on";
  } catch (error) {
    outcome.dataset.outcome = "failed";
    outcome.textContent = `✕ ${loss || `not acknowledged (${error.message})`}`;
  }
}

/** Adds an entry at the top of a list. */
function add(list, whom, text, outcome = "") {
  const [item, name, words] = ["li", "b", "span"].map((tag) => document.createElement(tag));
  name.textContent = whom;
  words.textContent = text;
  item.append(name, words, outcome);
  list.prepend(item);
}

function showOriginOfClient() {
  const from = document.querySelector("script[data-from]")?.dataset.from;
  if (!from) return;
  find("from").textContent = `The Socket.IO client comes from ${from}.`;
  find("from").hidden = false;
}
