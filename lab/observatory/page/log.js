// The events in words, one line for each. A screen reader does not read them all if they are fast.

const KEPT = 200;
/** With more new lines than this, a screen reader gets a summary instead. */
const READABLE = 3;
const PERIOD = 1000;

export class Log {
  constructor(list, summary) {
    this.list = list;
    this.summary = summary;
    this.waiting = [];
    this.unread = [];
    // A viewer who scrolls up wants to read. At its end, the log follows new lines again.
    this.isFollowing = true;
    list.addEventListener("scroll", () => {
      this.isFollowing = list.scrollTop + list.clientHeight > list.scrollHeight - 40;
    });
    new ResizeObserver(() => this.follow()).observe(list);
    setInterval(() => this.flush(), PERIOD / 4);
    setInterval(() => this.sum(), PERIOD * 3);
  }

  add(entry) {
    this.waiting.push(entry);
    if (this.waiting.length > KEPT) this.waiting.shift();
  }

  flush() {
    if (!this.waiting.length || this.isStepping) return;
    const isFast = this.waiting.length > READABLE;
    this.list.setAttribute("aria-live", isFast ? "off" : "polite");
    if (isFast) this.unread.push(...this.waiting);
    this.list.append(...this.waiting.flatMap(lines));
    this.waiting = [];
    while (this.list.childElementCount > KEPT) this.list.firstElementChild.remove();
    this.follow();
  }

  follow() {
    if (this.isFollowing) this.list.scrollTop = this.list.scrollHeight;
  }

  /** Sums up the lines that were too fast for a screen reader. */
  sum() {
    if (!this.unread.length) return;
    const refused = this.unread.filter(isBad).length;
    const total = this.unread.length;
    this.unread = [];
    this.summary.textContent = `${total} events: ${refused || "none"} failed. The log lists each one.`;
  }

  /** Shows the lines of these entries and marks the last one. */
  showUntil(entries) {
    this.isStepping = true;
    this.list.setAttribute("aria-live", "off");
    this.list.replaceChildren(...entries.flatMap(lines));
    this.list.lastElementChild?.classList.add("now");
    this.list.scrollTop = this.list.scrollHeight;
  }

  resume(entries) {
    this.waiting = [];
    this.list.replaceChildren(...entries.flatMap(lines));
    this.isFollowing = true;
    this.follow();
    this.isStepping = false;
  }
}

function lines(entry) {
  return entry.lines.map((words) => {
    const line = document.createElement("p");
    line.textContent = words;
    // In a replay, many events have the same second.
    line.dataset.at = entry.time === undefined ? time(entry.at) : `${(entry.time / 1000).toFixed(3)}`;
    const kind = entry.event?.event;
    if (isBad(entry)) line.className = "bad";
    if (kind === "message" && entry.event.arrived) line.className = "good";
    if (kind === "note") line.className = "note";
    if (kind === "chapter" || kind === "step") line.className = "head";
    return line;
  });
}

function isBad({ event }) {
  switch (event?.event) {
    case "exchange":
      return !event.outcome.Ok || event.outcome.Ok.status >= 400;
    case "forwarded":
      return event.status >= 400;
    case "message":
      return !event.arrived;
    case "claim":
      return !event.held;
    case "down":
      return true;
    default:
      return false;
  }
}

/** Minutes and seconds since the stage started. */
export function time(at) {
  const seconds = Math.floor(at / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}
