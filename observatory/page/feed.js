// The stage's events, as they come (server-sent events), and the stage's clock.

/** Events are shown so much later than they came, so that a late batch still plays in order. */
const DELAY = 120;

export class Feed {
  /**
   * Calls `on.state(state, at)`, `on.event(event, at, skipped)`, `on.lost()`, `on.anew()`, and
   * `on.past(at)` when a batch of what happened before the page was opened is over.
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
    // Numbers that start again are another stage.
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

  /** The stage's time now, as far as it was heard. */
  heard() {
    // A stage that has ended has no time: nothing waits any longer.
    // Before its first event, its time is not known, and nothing is shown that needs it.
    return this.offset === null ? 0 : (this.stopped ?? performance.now()) + this.offset;
  }

  /** The stage's time that is shown now. */
  shown() {
    return this.offset === null ? 0 : this.heard() - DELAY;
  }
}

/** What the stage has at a path, or an error with a sentence. */
export async function get(path) {
  const answer = await fetch(path).catch(() => null);
  if (!answer?.ok) throw new Error("The stage does not answer. Does it still run?");
  return answer.json();
}

/** Asks the stage to do something; its answer, or an error with its sentence. */
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
