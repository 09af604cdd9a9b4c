// The text of a part while it is written: pieces by their offset, in whatever order and however often they come.
// Offsets count characters as the server does, not UTF-16 units.

const MOST_WAITING = 500;

export class Growing {
  #waiting = []; // [offset, letters] of what cannot follow yet

  // Nothing is known of the text yet until `begin`.
  constructor() {
    this.length = null;
  }

  get hasGap() {
    return this.#waiting.length > 0;
  }

  // The text as the server has it. Returns what follows it already.
  begin(text) {
    this.length = [...text].length;
    return this.#follow();
  }

  // Another piece. Returns what can be appended now: nothing, this piece, or more that waited for it.
  take(offset, text) {
    const letters = [...text];
    if (this.length !== null && offset + letters.length <= this.length) return "";
    if (this.#waiting.length >= MOST_WAITING) this.#waiting.shift();
    this.#waiting.push([offset, letters]);
    return this.length === null ? "" : this.#follow();
  }

  #follow() {
    let text = "";
    for (let more = true; more; ) {
      more = false;
      this.#waiting = this.#waiting.filter(([offset, letters]) => {
        if (offset > this.length) return true;
        const fresh = letters.slice(this.length - offset);
        text += fresh.join("");
        this.length += fresh.length;
        more ||= fresh.length > 0;
        return false;
      });
    }
    return text;
  }
}
