// The page: three clients, and three views of what they send.

import { element } from "./elements.js";
import { network } from "./network.js";
import { panel } from "./panel.js";
import { log, sequence } from "./sequence.js";

const PANELS = [
  {
    name: "polling",
    title: "Long polling",
    options: { transports: ["polling"] },
    says: "Only requests. The server holds one of them until it has a message.",
  },
  {
    name: "websocket",
    title: "WebSocket",
    options: { transports: ["websocket"] },
    says: "One request, answered 101. Then frames in both directions.",
  },
  {
    name: "default",
    title: "The default",
    options: {},
    says: "Begins with polling, tests a WebSocket, then moves the session to it.",
  },
];

const recorder = window.recorder;
const find = (id) => document.getElementById(id);

find("host").textContent = location.host;
const cdn = document.querySelector("script[data-from]")?.dataset.from;
if (cdn) find("from").textContent = `The client's script came from ${cdn}.`;

if (window.io) {
  find("panels").append(...PANELS.map(panel));
} else {
  find("panels").append(
    element("p", { class: "missing", role: "alert" }, "The client's script could not be loaded. Reload the page when there is a network."),
  );
}
for (const { name, title } of PANELS) {
  find("only").append(element("option", { value: name }, title));
}

const views = [
  network(),
  ...PANELS.map(({ name, title }) => {
    const { figure, draw } = sequence(name, title);
    find("sequences").append(figure);
    return { draw };
  }),
  log(find("log"), Object.fromEntries(PANELS.map(({ name, title }) => [name, title]))),
];

// The page draws once per frame, even if there are many changes.
let due = false;
function draw() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    for (const view of views) view.draw();
    const first = recorder.requests.find(({ status, kind }) => status && kind === "xhr");
    if (first) find("way").textContent = first.upstream ? ", through nginx" : ", without nginx";
  });
}

draw();
recorder.addEventListener("change", draw);
find("only").addEventListener("change", draw);
find("log").addEventListener("toggle", draw);
find("clear").addEventListener("click", () => {
  // Open requests stay, because they will change again.
  recorder.requests = recorder.requests.filter(({ state }) => state === "pending");
  draw();
});
