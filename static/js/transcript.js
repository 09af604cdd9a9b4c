// Transcripts: parts come as HTML of the server, in between the text as it is written. Of a long transcript a window is
// shown, in chunks that the browser need not lay out while they are out of sight.
//
// <div data-transcript="session:…" data-url="…/parts/">
//   <button data-load="earlier">
//   <div class="chunk"> <section data-turn="<message>" data-number="3">
//     <article id="part-<uuid>" data-part="<uuid>" data-index="0" data-state="open"> … <p data-raw>text so far</p>
//   <button data-load="later"> <button data-load="latest">

import { ask, askUntilAnswered } from "./asking.js";
import { Growing } from "./pieces.js";

const CHUNK = 200; // parts
const MOST = 2_000; // parts that are kept when the rest is out of sight
const FAR_TOO_MANY = 4_000; // then what lies below is let go of, too
const FETCH_MS = 80;
const AT_ONCE = 100; // ids of one request
const GAP_MS = 600;
const BUSY_MS = 40; // parts that come in a stream are put in so often: each time costs a layout
const EARLY_PARTS = 50;

const keyOf = (part) => [Number(part.closest("[data-turn]").dataset.number), Number(part.dataset.index)];
const compare = (one, other) => one[0] - other[0] || one[1] - other[1];
const written = ([number, index]) => `${number}.${index}`;
const nextFrame = (act) => (document.hidden ? setTimeout(act, 100) : requestAnimationFrame(act));
const parsed = (html) => {
  const box = document.createElement("template");
  box.innerHTML = html;
  return box.content;
};
const chunkOf = (html) => (html === null ? null : parsed(html).querySelector(".chunk"));

class Transcript {
  #box;
  #arrived = []; // HTML that waits for the next frame
  #flushed = 0; // when there was one last
  #wanted = new Set(); // ids of parts to be fetched
  #fetching = null;
  #isBehind = false; // everything has to be fetched anew
  #isCatchingUp = false;
  #isAtEnd = true; // false: what is new is not shown, only counted
  #newer = 0;

  constructor(box) {
    this.#box = box;
    box.addEventListener("click", ({ target }) => {
      const button = target.closest?.("[data-load]");
      if (button) this.#load(button.dataset.load);
    });
    this.#parts().forEach(begin);
  }

  get topic() {
    return this.#box.dataset.transcript;
  }

  // --- what comes

  show(html) {
    this.#arrived.push(html);
    if (this.#arrived.length > 1) return;
    const wait = this.#flushed + BUSY_MS - performance.now();
    if (wait > 0) setTimeout(() => this.#flush(), wait);
    else nextFrame(() => this.#flush());
  }

  refresh(id) {
    this.#wanted.add(id);
    this.#fetching ??= setTimeout(() => this.#fetchWanted(), FETCH_MS);
  }

  // Too much was missed to be told: everything in the window is fetched anew, and what follows it.
  async catchUp() {
    this.#isBehind = true;
    if (this.#isCatchingUp) return; // it looks once more before it ends
    this.#isCatchingUp = true;
    while (this.#isBehind) {
      this.#isBehind = false;
      await this.#readAnew();
    }
    this.#isCatchingUp = false;
  }

  async #readAnew() {
    const first = this.#parts()[0];
    let from = first ? keyOf(first) : [0, 0];
    from = from[1] ? [from[0], from[1] - 1] : [from[0] - 1, 999_999_999];
    const end = this.#isAtEnd ? [Infinity, 0] : keyOf(this.#parts().at(-1));
    for (let pages = 0, more = true; more; pages += 1) {
      const query = { after: written(from[0] < 0 ? [0, 0] : from) };
      const chunk = chunkOf(await askUntilAnswered(this.#address(query)));
      const parts = this.#parts(chunk);
      if (!parts.length) return;
      if (this.#isAtEnd && pages * CHUNK >= MOST) return this.#load("latest", askUntilAnswered);
      from = keyOf(parts.at(-1));
      more = chunk.dataset.hasLater === "yes" && compare(from, end) < 0;
      parts.filter((part) => compare(keyOf(part), end) > 0).forEach((part) => part.remove());
      this.show(chunk.innerHTML);
    }
  }

  #flush() {
    this.#flushed = performance.now();
    const arrived = parsed(this.#arrived.splice(0).join(""));
    for (const turn of arrived.querySelectorAll("[data-turn]")) this.#place(turn);
    this.#box.querySelector("[data-nothing]")?.remove();
    this.#trim();
    this.#tidy();
  }

  async #fetchWanted() {
    const ids = [...this.#wanted];
    this.#wanted.clear();
    this.#fetching = null;
    for (let place = 0; place < ids.length; place += AT_ONCE) {
      const some = ids.slice(place, place + AT_ONCE);
      const chunk = chunkOf(await askUntilAnswered(this.#address(some.map((id) => ["id", id]))));
      if (chunk) this.show(chunk.innerHTML);
    }
  }

  #address(query) {
    return `${this.#box.dataset.url}?${new URLSearchParams(query)}`;
  }

  // --- where it goes

  #place(turn) {
    for (const part of [...turn.querySelectorAll("[data-part]")]) {
      const before = document.getElementById(part.id);
      if (before) replace(before, part);
      else this.#insert(turn, part);
    }
  }

  #insert(turn, part) {
    const key = [Number(turn.dataset.number), Number(part.dataset.index)];
    const chunks = this.#chunks();
    const lastPart = this.#parts(chunks.at(-1)).at(-1);
    const isNewest = !lastPart || compare(key, keyOf(lastPart)) > 0;
    if (isNewest && !this.#isAtEnd) return void (this.#newer += 1);
    let chunk = chunks.at(-1);
    if (!isNewest) {
      chunk = chunks.findLast((one) => compare(keyOf(this.#parts(one)[0]), key) < 0);
      // Before everything that is shown: loaded when somebody looks there.
      if (!chunk && this.#hasEarlier) return undefined;
      chunk ??= chunks[0];
    }
    if (!chunk || (isNewest && this.#parts(chunk).length >= CHUNK)) chunk = this.#append(newChunk());
    insert(this.#turn(chunk, turn), part, "index");
    begin(part);
    return undefined;
  }

  // The part's message in this chunk. Only its first piece has a head.
  #turn(chunk, turn) {
    const { number } = turn.dataset;
    const known = chunk.querySelector(`:scope > [data-number="${number}"]`);
    if (known) return known;
    const made = turn.cloneNode(false);
    const before = chunk.previousElementSibling?.querySelector?.(`:scope > [data-number="${number}"]`);
    const head = turn.querySelector(".turn-head");
    if (head && !before) made.append(head.cloneNode(true));
    insert(chunk, made, "number");
    return made;
  }

  #append(chunk) {
    const last = this.#chunks().at(-1) ?? this.#button("earlier").parentElement;
    last.after(chunk);
    return chunk;
  }

  // --- the window

  async #load(what, asking = ask) {
    const [first, last] = [this.#parts()[0], this.#parts().at(-1)];
    const asked = { earlier: first && { before: written(keyOf(first)) }, later: last && { after: written(keyOf(last)) } };
    const chunk = chunkOf(await asking(this.#address(asked[what] ?? {})));
    if (!chunk) return;
    if (what === "earlier") this.#prepend(chunk, first);
    else {
      if (what === "latest") {
        this.#chunks().forEach((one) => one.remove());
        this.#hasEarlier = chunk.dataset.hasEarlier === "yes";
      }
      this.#isAtEnd = what === "latest" || chunk.dataset.hasLater === "no";
      this.#newer = 0;
      [...chunk.querySelectorAll("[data-part]")].filter((part) => document.getElementById(part.id)).forEach((part) => part.remove());
      this.#append(chunk);
      this.#parts(chunk).forEach(begin);
      if (what === "latest") setFollowing(true);
    }
    this.#trim();
    this.#tidy();
  }

  // What was at the top of the window stays where it is on the screen.
  #prepend(chunk, first) {
    const top = first?.getBoundingClientRect().top;
    this.#hasEarlier = chunk.dataset.hasEarlier === "yes";
    this.#button("earlier").parentElement.after(chunk);
    this.#parts(chunk).forEach(begin);
    if (first) window.scrollBy(0, first.getBoundingClientRect().top - top);
  }

  #trim() {
    let count = this.#parts().length;
    for (let chunks = this.#chunks(); count > MOST && chunks.length > 1; chunks = this.#chunks()) {
      const [first, last] = [chunks[0], chunks.at(-1)];
      if (following || first.getBoundingClientRect().bottom < -window.innerHeight) {
        this.#hasEarlier = true;
        count -= this.#parts(first).length;
        first.remove();
      } else if (count > FAR_TOO_MANY && last.getBoundingClientRect().top > 2 * window.innerHeight) {
        this.#isAtEnd = false;
        this.#newer += this.#parts(last).length;
        count -= this.#parts(last).length;
        last.remove();
      } else return;
    }
  }

  #tidy() {
    const [later, latest] = [this.#button("later"), this.#button("latest")];
    later.hidden = latest.hidden = this.#isAtEnd;
    if (!this.#isAtEnd) latest.textContent = `Jump to the latest (${this.#newer} more)`;
    follow(this.#box);
  }

  get #hasEarlier() {
    return !this.#button("earlier").hidden;
  }

  set #hasEarlier(yes) {
    this.#button("earlier").hidden = !yes;
  }

  #button(what) {
    return this.#box.querySelector(`[data-load="${what}"]`);
  }

  #chunks() {
    return [...this.#box.querySelectorAll(":scope > .chunk")];
  }

  #parts(inside = this.#box) {
    return inside ? [...inside.querySelectorAll("[data-part]")] : [];
  }
}

const newChunk = () => {
  const chunk = document.createElement("div");
  chunk.className = "chunk";
  return chunk;
};

const insert = (parent, element, key) => {
  let later = null;
  for (let child = parent.lastElementChild; child; child = child.previousElementSibling) {
    if (!(key in child.dataset) || Number(child.dataset[key]) < Number(element.dataset[key])) break;
    later = child;
  }
  parent.insertBefore(element, later);
};

const replace = (before, part) => {
  if (keepsMore(before, part)) return;
  if (before.querySelector("details")?.open) part.querySelector("details")?.setAttribute("open", "");
  before.replaceWith(part);
  begin(part);
};

// An open part that has streamed on must not jump back to what the server had stored; nor one that ended to open.
const keepsMore = (before, part) =>
  part.dataset.state === "open" &&
  (before.dataset.state !== "open" || (growing.get(part.dataset.part)?.length ?? 0) > [...(raw(part)?.textContent ?? "")].length);

// --- text as it is written ---------------------------------------------------------------------------------------

const growing = new Map(); // id of a part → Growing

const raw = (part) => part?.querySelector("[data-raw]");

const begin = (part) => {
  const { part: id, state } = part.dataset;
  if (state !== "open" || !raw(part)) return void growing.delete(id);
  const text = growing.get(id) ?? new Growing();
  growing.set(id, text);
  raw(part).append(text.begin(raw(part).textContent));
  mark(part, text);
};

export const appendDelta = ({ session, part: id, offset, text }) => {
  const part = document.getElementById(`part-${id}`);
  if (!part) {
    if (!transcripts.some((one) => one.topic === `session:${session}`)) return;
    if (!growing.has(id) && growing.size >= EARLY_PARTS) growing.delete(growing.keys().next().value);
    growing.set(id, growing.get(id) ?? new Growing());
    growing.get(id).take(offset, text);
    return;
  }
  const known = growing.get(id);
  if (!known || part.dataset.state !== "open") return;
  const more = known.take(offset, text);
  if (more) raw(part).append(more);
  mark(part, known);
  follow(part.closest("[data-transcript]"));
};

// Something is missing in between: the server may have it by now. If not, the whole part comes when it is done.
const mark = (part, text) => {
  part.toggleAttribute("data-gap", text.hasGap);
  if (!text.hasGap || part.dataset.asks) return;
  part.dataset.asks = "yes";
  setTimeout(() => {
    delete part.dataset.asks;
    if (part.isConnected && text.hasGap) refreshPart(part.closest("[data-transcript]").dataset.transcript, part.dataset.part);
  }, GAP_MS);
};

// --- following ---------------------------------------------------------------------------------------------------

// Following the end is a wish of the reader: on by a button or the End key, off by any scroll of their own.
let following = false;

const setFollowing = (on) => {
  following = on;
  document.querySelector("[data-follow]")?.setAttribute("aria-pressed", String(on));
};

const follow = (box) => {
  if (following && box) box.lastElementChild?.scrollIntoView({ block: "end" });
};

const followAll = () => document.querySelectorAll("[data-transcript]").forEach(follow);
const isTyping = ({ target }) => target.matches?.("input, textarea, select, [contenteditable]");

document.addEventListener("click", (event) => {
  if (!event.target.closest?.("[data-follow]")) return;
  setFollowing(!following);
  followAll();
});
document.addEventListener("wheel", (event) => event.deltaY < 0 && setFollowing(false), { passive: true });
document.addEventListener("touchmove", () => setFollowing(false), { passive: true });
document.addEventListener("keydown", (event) => {
  if (isTyping(event)) return;
  if (["PageUp", "ArrowUp", "Home"].includes(event.key)) setFollowing(false);
  if (event.key === "End" && transcripts.length) {
    setFollowing(true);
    followAll();
  }
});

// --- for stream.js -----------------------------------------------------------------------------------------------

const transcripts = [...document.querySelectorAll("[data-transcript]")].map((box) => new Transcript(box));

const of = (topic) => transcripts.filter((one) => one.topic === topic);

export const showParts = (topic, html) => of(topic).forEach((one) => one.show(html));

export const refreshPart = (topic, id) => of(topic).forEach((one) => one.refresh(id));

export const catchUpTranscripts = () => transcripts.forEach((one) => one.catchUp());
