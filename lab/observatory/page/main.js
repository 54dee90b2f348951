// The observatory. feed.js gets the stage's events, trace.js keeps them, and model.js computes a
// scene from them. scene.js draws the scene in each frame, and log.js shows the events in words.

import { Controls } from "./controls.js";
import { Feed, get } from "./feed.js";
import { Log, time } from "./log.js";
import { Lesson } from "./lesson.js";
import { isTickDue } from "./model.js";
import { Questions } from "./questions.js";
import { Picture } from "./scene.js";
import { Trace } from "./trace.js";
import { count } from "./words.js";

const $ = (id) => document.getElementById(id);
const LINES = 200;

const trace = new Trace();
const picture = new Picture($("picture"));
const log = new Log($("log"), $("summary"));
const calm = matchMedia("(prefers-reduced-motion: reduce)");
let state = null;
/** The lesson while it is played again. Live events are not shown then. */
let lesson = null;
/** While paused: the list of steps, and the scene of the chosen one. */
let paused = null;

const controls = new Controls(() => {
  backToLive();
  trace.push({ type: "act", at: feed.heard() });
});
const questions = new Questions((request) => controls.ask(request));

const feed = new Feed({
  state(next, at) {
    state = next;
    trace.push({ type: "state", at, state });
    $("title").textContent = state.title;
    document.title = `${state.title} · observatory`;
    document.body.dataset.talk = String(state.talk !== null);
    if (!lesson) sayLive();
    controls.update(state);
    questions.update(state);
  },
  event(event, at, skipped) {
    trace.push({ type: "event", at, event, skipped });
  },
  past(at) {
    // The log has the earlier events. The picture begins with the present state.
    trace.push({ type: "act", at });
    if (state) trace.push({ type: "state", at, state, isAll: true });
  },
  anew() {
    backToLive();
    trace.clear();
    log.resume([]);
    if (state) trace.push({ type: "state", at: 0, state });
  },
  lost() {
    if (!state) return;
    const command = document.createElement("code");
    command.textContent = `cargo run -p ${state.program}`;
    $("stage").replaceChildren("The stage has ended. Start it again: ", command);
    $("stage").dataset.lost = "true";
    controls.lost();
  },
});

function sayLive() {
  say(`Live: ${state.nginx ? `nginx at ${state.nginx.url}` : count(state.servers.length, "server")}`);
}

function say(words) {
  $("stage").dataset.lost = "false";
  if ($("stage").textContent !== words) $("stage").textContent = words;
}

function frame() {
  if (paused) {
    if (paused.isStale) {
      paused.isStale = false;
      show(paused.scene, paused.scene.at + 1, true, true);
    }
  } else if (lesson) {
    const now = lesson.now();
    lesson.trace.advance(now, (entry) => log.add(entry));
    show(lesson.trace.scene, Math.max(now, lesson.trace.scene.at), calm.matches);
    if (lesson.isOver()) say("The lesson has ended");
  } else {
    const now = feed.shown();
    trace.advance(now, (entry) => log.add(entry));
    if (trace.isCaughtUp() && isTickDue(trace.scene, now)) trace.push({ type: "tick", at: now });
    show(trace.scene, Math.max(now, trace.scene.at), calm.matches);
  }
  requestAnimationFrame(frame);
}

function show(scene, clock, isStill, isStep) {
  picture.draw(scene, clock, isStill, isStep);
  write($("why"), scene.why);
  write($("news"), scene.news);
  $("news").dataset.good = String(scene.isGoodNews);
  const ledger = scene.state?.ledger ?? {};
  for (const figure of $("ledger").querySelectorAll("[data-figure]")) {
    const name = figure.dataset.figure;
    const value = ledger[name] ?? 0;
    write(figure, String(value));
    figure.className = value && (name === "refused" || name === "lost") ? "bad" : value && name === "delivered" ? "good" : "";
  }
  const isSampled = scene.sampled > 1.05 && scene.at - scene.flow.since < 3000;
  $("sampled").hidden = !isSampled && !scene.isCrowded;
  const sampled = isSampled ? `sampled: ${share(scene.sampled)} drawn` : "";
  write($("sampled"), scene.isCrowded ? "the last 60 clients are drawn" : sampled);
}

function share(sampled) {
  return sampled < 1.5 ? `${Math.floor(10 / sampled)} of 10` : `1 of ${Math.round(sampled)}`;
}

function write(node, words) {
  if (node.textContent !== words) node.textContent = words;
}

// Pause, and steps back in time.

function pause() {
  const from = lesson?.trace ?? trace;
  paused = { trace: from, steps: from.steps() };
  const current = paused.steps.findLastIndex((number) => number <= from.applied);
  $("pause").textContent = "Resume";
  $("pause").setAttribute("aria-pressed", "true");
  $("steps").hidden = false;
  $("step").max = Math.max(0, paused.steps.length - 1);
  $("step").value = Math.max(0, current);
  document.body.dataset.paused = "true";
  step();
}

function resume() {
  // The lesson continues at the chosen step. The live view continues at the present.
  if (lesson) lesson.playFrom(paused.number);
  paused = null;
  $("pause").textContent = "Pause";
  $("pause").setAttribute("aria-pressed", "false");
  $("steps").hidden = true;
  document.body.dataset.paused = "false";
  if (!lesson) trace.advance(feed.shown(), () => {});
  const played = lesson?.trace ?? trace;
  log.resume(played.linesUntil(played.applied, LINES));
}

function step() {
  paused.number = paused.steps[Number($("step").value)] ?? paused.trace.applied;
  paused.scene = paused.trace.sceneAfter(paused.number);
  paused.isStale = true;
  const shown = paused.trace.linesUntil(paused.number, LINES);
  log.showUntil(shown);
  const back = paused.steps.length - 1 - Number($("step").value);
  const ago = (trace.scene.at - paused.scene.at) / 1000;
  const live = back > 0 ? `${count(back, "event")}, ${ago.toFixed(1)} s back` : "the last event";
  $("step-says").textContent = lesson ? `${Number($("step").value) + 1} of ${paused.steps.length}` : live;
  $("step").setAttribute("aria-valuetext", `${time(paused.scene.at)} ${shown.at(-1)?.lines.join(" ") ?? ""}`);
  $("back").disabled = Number($("step").value) === 0;
  $("forward").disabled = $("step").value === $("step").max;
}

$("pause").addEventListener("click", () => (paused ? resume() : pause()));
$("step").addEventListener("input", step);
for (const [id, by] of [["back", -1], ["forward", 1]]) {
  $(id).addEventListener("click", () => {
    $("step").value = Number($("step").value) + by;
    step();
  });
}
// Replay of the lesson, from its beginning.

$("lesson").addEventListener("click", async () => {
  if (lesson) {
    backToLive();
    return;
  }
  const told = await get("lesson").catch((error) => say(error.message));
  if (!told) return;
  if (paused) resume();
  lesson = new Lesson(told, state);
  log.resume([]);
  say("The lesson plays again. The space bar pauses it");
  $("lesson").textContent = "Back to live";
  stand(true);
});

/** During a replay, the controls and the questions are disabled. */
function stand(isLesson) {
  document.body.dataset.lesson = String(isLesson);
  for (const id of ["question", "controls"]) $(id).inert = isLesson;
}

function backToLive() {
  const wasLesson = lesson !== null;
  lesson = null;
  if (paused) resume();
  if (!wasLesson) return;
  trace.advance(feed.shown(), () => {});
  log.resume(trace.linesUntil(trace.applied, LINES));
  $("lesson").textContent = "Watch the lesson";
  stand(false);
  sayLive();
}

document.addEventListener("keydown", (event) => {
  if (event.key !== " " || (document.activeElement && document.activeElement !== document.body)) return;
  event.preventDefault();
  if (paused) resume();
  else pause();
});

// Downloads.

function save(name, kind, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

$("export-trace").addEventListener("click", () => {
  const events = trace.entries.filter((entry) => entry.type === "event").map((entry) => entry.event);
  save("trace.json", "application/json", JSON.stringify({ title: state?.title, state, events }, null, 1));
});
$("export-picture").addEventListener("click", () => {
  save("picture.svg", "image/svg+xml", picture.toFile(state?.title ?? "The observatory"));
});

// The picture takes the whole width, in real pixels. So its text has the page's size. On a large
// screen the text is larger, so that people at the back of a room can read it.

function measure() {
  const width = $("figure").clientWidth;
  const text = parseFloat(getComputedStyle(document.documentElement).fontSize);
  const largest = Math.min((text * width) / 1000, innerHeight / 41);
  if (width) picture.resize(width, Math.max(text, largest));
  if (paused) paused.isStale = true;
}

addEventListener("resize", measure);
new ResizeObserver(measure).observe($("figure"));
measure();
requestAnimationFrame(frame);
