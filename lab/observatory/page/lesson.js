// Plays the chapter's experiments again, from their recorded events. It plays them more slowly,
// so that a viewer can follow.

import { Trace } from "./trace.js";

/** How long the page shows an event before the next one, in milliseconds. */
const DWELL = { chapter: 1200, step: 2200, claim: 2200, message: 1200, up: 500, down: 1200 };
const READ_A_LETTER = 25;
/** The longest time for all requests and frames of one experiment, and for one of them. */
const EXPERIMENT = 20_000;
const SLOWEST = 1000;

export class Lesson {
  /** `events` are the stage's answer to GET /lesson, `state` is the present state of the stage. */
  constructor({ events }, state) {
    this.trace = new Trace();
    const nothingYet = { servers: [], nginx: null, redis: null, clients: [], switch: null, ledger: {} };
    this.trace.push({ type: "state", at: 0, state: { ...state, ...nothingYet, isLesson: true } });
    let at = 0;
    for (const experiment of experiments(events)) {
      const busy = experiment.filter(isTraffic).length;
      const pace = Math.min(SLOWEST, EXPERIMENT / Math.max(1, busy));
      for (const event of experiment) {
        this.trace.push({ type: "event", at, time: event.at, event, skipped: 0 });
        if (isTraffic(event)) at += pace;
        else if (event.event === "note") at += Math.min(500 + event.text.length * READ_A_LETTER, 4000);
        else at += DWELL[event.event] ?? 0;
      }
    }
    this.ends = at;
    // A viewer can step to every event, also to later ones.
    this.trace.advance(Infinity, () => {});
    this.playFrom(0);
  }

  /** Continues after that many entries. */
  playFrom(number) {
    this.trace.rewind(number);
    this.began = performance.now() - this.trace.scene.at;
  }

  /** The time that is shown now. */
  now() {
    return performance.now() - this.began;
  }

  isOver() {
    return this.now() > this.ends;
  }
}

const isTraffic = ({ event }) => event === "exchange" || event === "frame";

/** The events before the first experiment, and the events of each experiment. */
function experiments(events) {
  const parts = [[]];
  for (const event of events) {
    if (event.event === "step") parts.push([]);
    parts.at(-1).push(event);
  }
  return parts;
}
