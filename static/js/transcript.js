// Transcripts: whole parts come as fragments of the server, in between the text as it is written.
//
// <div data-transcript="session:…" data-url="…/parts/">
//   <section data-turn="<message>" data-number="3">
//     <article data-part="<part>" data-index="0" data-state="open"> … <p data-raw>text so far</p>

const FETCH_MS = 80;
const wanted = new WeakMap(); // transcript → { ids, timer }
const early = new Map(); // part → deltas that came before the part
const counts = new WeakMap(); // raw element → number of characters, as the server counts them
const EARLY_PARTS = 50;

export const transcriptsOf = (topic) =>
  [...document.querySelectorAll("[data-transcript]")].filter((box) => box.dataset.transcript === topic);

export const refreshTranscripts = () =>
  document.querySelectorAll("[data-transcript]").forEach((box) => fetchParts(box, []));

export const refreshParts = (box, part) => {
  const waits = wanted.get(box) ?? { ids: new Set() };
  waits.ids.add(part);
  waits.timer ??= setTimeout(() => {
    wanted.delete(box);
    fetchParts(box, [...waits.ids]);
  }, FETCH_MS);
  wanted.set(box, waits);
};

// No ids: everything.
const fetchParts = async (box, ids) => {
  const query = new URLSearchParams(ids.map((id) => ["id", id]));
  let answer;
  try {
    answer = await fetch(`${box.dataset.url}?${query}`, { headers: { "HX-Request": "true" } });
  } catch {
    return setTimeout(() => box.isConnected && ids.forEach((id) => refreshParts(box, id)), 3000);
  }
  if (!answer.ok) return;
  const fragment = document.createElement("template");
  fragment.innerHTML = await answer.text();
  for (const turn of fragment.content.querySelectorAll("[data-turn]")) place(box, turn);
  box.querySelector("[data-nothing]")?.remove();
  follow(box);
};

const place = (box, turn) => {
  const shown = box.querySelector(`[data-turn="${turn.dataset.turn}"]`);
  if (!shown) {
    insert(box, turn, "number");
    turn.querySelectorAll("[data-part]").forEach(catchUp);
    return;
  }
  for (const part of [...turn.querySelectorAll("[data-part]")]) {
    const before = shown.querySelector(`[data-part="${part.dataset.part}"]`);
    if (before) {
      if (keepsMore(before, part)) continue;
      if (before.querySelector("details")?.open) part.querySelector("details")?.setAttribute("open", "");
      before.replaceWith(part);
    } else insert(shown, part, "index");
    catchUp(part);
  }
};

// An open part that has streamed on must not jump back to what the server had stored.
const keepsMore = (before, part) =>
  part.dataset.state === "open" && before.dataset.state === "open" && length(raw(before)) > length(raw(part));

const insert = (parent, element, key) => {
  const later = [...parent.children].find((child) => Number(child.dataset[key]) > Number(element.dataset[key]));
  parent.insertBefore(element, later ?? null);
};

const raw = (part) => part?.querySelector("[data-raw]");

const length = (element) => {
  if (!element) return 0;
  if (!counts.has(element)) counts.set(element, [...element.textContent].length);
  return counts.get(element);
};

export const appendDelta = (delta) => {
  const part = document.querySelector(`[data-part="${CSS.escape(delta.part)}"]`);
  if (part) return append(part, delta);
  if (!document.querySelector(`[data-transcript="session:${CSS.escape(delta.session)}"]`)) return;
  if (early.size >= EARLY_PARTS) early.delete(early.keys().next().value);
  early.set(delta.part, [...(early.get(delta.part) ?? []), delta]);
};

const catchUp = (part) => {
  const waiting = early.get(part.dataset.part) ?? [];
  early.delete(part.dataset.part);
  waiting.forEach((delta) => append(part, delta));
};

const append = (part, { offset, text }) => {
  const target = raw(part);
  if (!target || part.dataset.state !== "open") return;
  const have = length(target);
  const letters = [...text];
  if (offset + letters.length <= have) return;
  // Something is missing: the stored text may have it; if not, the gap shows until the whole part comes.
  if (offset > have) {
    if (target.dataset.asked !== String(offset)) {
      target.dataset.asked = String(offset);
      refreshParts(part.closest("[data-transcript]"), part.dataset.part);
    }
    target.append(" … ");
  }
  target.append(letters.slice(Math.max(0, have - offset)).join(""));
  counts.set(target, offset + letters.length);
  follow(part.closest("[data-transcript]"));
};

// Following the end is a wish of the reader: on by the button, off by any scroll of their own.
let following = false;
const button = () => document.querySelector("[data-follow]");

const setFollowing = (on) => {
  following = on;
  button()?.setAttribute("aria-pressed", String(on));
};

const follow = (box) => {
  if (following && box) box.lastElementChild?.scrollIntoView({ block: "end" });
};

document.addEventListener("click", (event) => {
  if (!event.target.closest?.("[data-follow]")) return;
  setFollowing(!following);
  document.querySelectorAll("[data-transcript]").forEach(follow);
});
document.addEventListener("wheel", (event) => event.deltaY < 0 && setFollowing(false), { passive: true });
document.addEventListener("touchmove", () => setFollowing(false), { passive: true });
document.addEventListener("keydown", ({ key }) => ["PageUp", "ArrowUp", "Home"].includes(key) && setFollowing(false));
