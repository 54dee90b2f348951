// The stage's live events (server-sent events), and the stage's clock.

/** Events are shown later by this time, in milliseconds. So a late batch is still shown in order. */
const DELAY = 120;

export class Feed {
  /**
   * Calls `on.state(state, at)`, `on.event(event, at, skipped)` and `on.lost()`. Calls `on.anew()`
   * for a new stage, and `on.past(at)` after the events from before the page was opened.
   */
  constructor(on) {
    this.on = on;
    this.offset = null;
    this.stopped = null;
    this.last = 0;
    this.lastAt = 0;
    this.connect();
  }

  connect() {
    const source = new EventSource("events");
    source.addEventListener("state", (message) => {
      this.isLost = false;
      this.stopped = null;
      this.on.state(JSON.parse(message.data), this.heard());
    });
    source.addEventListener("batch", (message) => this.batch(JSON.parse(message.data)));
    source.onopen = () => {
      if (this.isLost) this.isReturning = true;
    };
    source.onerror = () => {
      this.isLost = true;
      this.stopped ??= performance.now();
      this.on.lost();
      if (source.readyState !== EventSource.CLOSED) return;
      setTimeout(() => this.connect(), 2000);
    };
  }

  batch({ skipped, events }) {
    if (!events.length) return;
    // If the numbers start again, this is another stage.
    const newest = events.at(-1);
    if (newest.n < this.last || (newest.n > this.last && newest.at < this.lastAt)) {
      this.offset = null;
      this.last = 0;
      this.on.anew();
    }
    const now = newest.at - performance.now();
    this.offset = this.offset === null ? now : Math.max(this.offset, now);
    const isPast = this.last === 0;
    let left = skipped;
    for (const event of events) {
      if (event.n <= this.last && this.isReturning) continue;
      this.on.event(event, event.at, left);
      left = 0;
    }
    this.isReturning = false;
    this.last = newest.n;
    this.lastAt = newest.at;
    if (isPast) this.on.past(newest.at);
  }

  /** The present time of the stage, computed from its last events. */
  heard() {
    // The time of a stage that has ended stands still. Before its first event, the time is unknown.
    return this.offset === null ? 0 : (this.stopped ?? performance.now()) + this.offset;
  }

  /** The time of the stage that the page shows now. */
  shown() {
    return this.offset === null ? 0 : this.heard() - DELAY;
  }
}

/** Gets JSON from the stage. Throws an error with a sentence. */
export async function get(path) {
  const answer = await fetch(path).catch(() => null);
  if (!answer?.ok) throw new Error("The stage does not answer. Does it still run?");
  return answer.json();
}

/** Sends a request to the stage and returns its answer. Throws an error with the stage's sentence. */
export async function act(request) {
  let answer;
  try {
    answer = await fetch("do", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(request),
    });
  } catch {
    throw new Error("The stage does not answer. Does it still run?");
  }
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(said.error ?? `The stage answers ${answer.status}.`);
  return said;
}
