// The entries of the last minutes, and the scene at any moment in that time.

import { apply, beginning } from "./model.js";

const KEPT_MS = 5 * 60 * 1000;
const KEPT = 30_000;
/** After this many entries, a copy of the scene is kept. A step back starts from a copy. */
const EVERY = 250;

export class Trace {
  constructor() {
    this.clear();
  }

  clear() {
    /** The kept entries. `first` is the number of entries that were dropped before them. */
    this.entries = [];
    this.first = 0;
    /** The scene after `applied` entries. */
    this.scene = beginning();
    this.applied = 0;
    this.copies = [{ after: 0, scene: beginning() }];
  }

  push(entry) {
    const last = this.entries.at(-1)?.at ?? 0;
    this.entries.push({ ...entry, at: Math.max(entry.at, last) });
    // A hidden page draws no frames. It must not keep more entries for that reason.
    if (this.entries.length > KEPT) this.advance(Infinity, () => {});
  }

  /** Whether all entries have been applied. */
  isCaughtUp() {
    return this.applied - this.first === this.entries.length;
  }

  /** Applies the entries until `at`. Calls `told` with each entry that has lines. */
  advance(at, told) {
    let applied = 0;
    while (this.applied - this.first < this.entries.length) {
      const entry = this.entries[this.applied - this.first];
      if (entry.at > at) break;
      entry.lines = apply(this.scene, entry);
      this.applied += 1;
      applied += 1;
      if (entry.lines.length) told(entry);
      if (this.applied % EVERY === 0) {
        this.copies.push({ after: this.applied, scene: structuredClone(this.scene) });
        this.trim();
      }
    }
    return applied;
  }

  /** The scene as it was after `number` entries. */
  sceneAfter(number) {
    const copy = this.copies.findLast((one) => one.after <= number) ?? this.copies[0];
    const scene = structuredClone(copy.scene);
    // A moment before the oldest copy is shown as the oldest copy.
    for (let i = copy.after; i < number; i += 1) apply(scene, this.entries[i - this.first]);
    return scene;
  }

  /** The numbers of the entries with lines. A viewer can step to each of them. */
  steps() {
    const steps = [];
    for (let i = this.copies[0].after; i < this.first + this.entries.length; i += 1) {
      if (this.entries[i - this.first].lines?.length) steps.push(i + 1);
    }
    return steps;
  }

  /** Goes back to the scene after `number` entries. The later entries can be applied again. */
  rewind(number) {
    this.scene = this.sceneAfter(number);
    this.applied = number;
    this.copies = this.copies.filter((copy) => copy.after <= number);
  }

  entry(number) {
    return this.entries[number - 1 - this.first];
  }

  /** The entries with lines among the `count` last ones until `number`. */
  linesUntil(number, count) {
    const found = [];
    for (let i = number; i > this.first && found.length < count; i -= 1) {
      if (this.entry(i)?.lines?.length) found.unshift(this.entry(i));
    }
    return found;
  }

  trim() {
    const oldest = (this.entries.at(-1)?.at ?? 0) - KEPT_MS;
    while (this.copies.length > 1) {
      const next = this.copies[1].after;
      const entry = this.entries[next - 1 - this.first];
      if (entry && entry.at >= oldest && this.entries.length <= KEPT) break;
      this.entries.splice(0, next - this.first);
      this.first = next;
      this.copies.shift();
    }
  }
}
