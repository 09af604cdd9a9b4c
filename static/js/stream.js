// Live pages. One line to the server (line.js) brings what happens, with the HTML that it adds to the page.
//
// <body data-topics="swarm:… session:…" data-after="17">     what to listen to, and from which position on
// <li data-place="swarm:…/node/parser">                      swapped for the HTML that comes for this place
// <ol data-feed="swarm:…" data-url="…/feed/">                newest first, items carry data-seq
// <div data-transcript="session:…" data-url="…/parts/">      parts, and text as it is written (transcript.js)
// <div data-live="swarm:…" data-kinds="node. approval." hx-get="…" hx-trigger="refresh">   fetched again after changes
// <div data-live="swarm:…" data-streamed …>                  the same, but only when its HTML did not come by the stream
// <div data-live="swarm:…" data-streamed="model. budget." …>   the same, where that holds for these kinds alone
// <div data-live="swarms" …>                                 the same, after changes of any swarm
// <div data-live="swarm:…" …> <p data-hinted="runner.">      the same, after hints of these kinds, and whenever the line
//                                                            is open anew: what is shown here no event tells of, only
//                                                            hints, and these may get lost
// <div data-topic="session:…">                               one more topic: what is fetched may bring some

import { AGAIN_MS, askUntilAnswered, isPassing } from "./asking.js";
import { showConnection } from "./connection.js";
import { openLine } from "./line.js";
import { swapPlace } from "./swap.js";
import { appendDelta, catchUpTranscripts, refreshPart, showParts } from "./transcript.js";

const REFRESH_MS = 150;
const REFRESH_AT_LATEST_MS = 600;
const FEED_LENGTH = 100;
const AWAY_MS = 60_000; // a hidden tab lets go of its line after this

const topics = () => {
  const named = [...document.querySelectorAll("[data-topic]")].map((el) => el.dataset.topic);
  const words = `${document.body.dataset.topics ?? ""} ${named.join(" ")}`.split(/\s+/);
  return [...new Set(words.filter(Boolean))];
};

// --- what is fetched ---------------------------------------------------------------------------------------------

const pending = new Map(); // element → { timer, since }

const soon = (el, act) => {
  const waits = pending.get(el) ?? { since: Date.now() };
  clearTimeout(waits.timer);
  const late = Date.now() - waits.since > REFRESH_AT_LATEST_MS;
  waits.timer = setTimeout(() => { pending.delete(el); act(el); }, late ? 0 : REFRESH_MS);
  pending.set(el, waits);
};

const refresh = (el) => el.isConnected && window.htmx.trigger(el, "refresh");

const names = (el, topic) => {
  const named = el.dataset.live.split(/\s+/);
  return named.includes(topic) || (topic.startsWith("swarm:") && named.includes("swarms"));
};

const isOneOf = (kinds = "", kind) => !kinds || kinds.split(/\s+/).some((prefix) => kind.startsWith(prefix));
const hears = (el, { topic, kind }) => names(el, topic) && isOneOf(el.dataset.kinds, kind);
const isStreamed = (el, { kind }) => "streamed" in el.dataset && isOneOf(el.dataset.streamed, kind);

// HTML that is on its way may be older than what the stream brings meanwhile: then it is asked for once more.
const onTheirWay = new Set();
document.addEventListener("htmx:before:request", ({ target }) => target.matches?.("[data-live]") && onTheirWay.add(target));
document.addEventListener("htmx:finally:request", ({ target }) => onTheirWay.delete(target));

// A region whose answer did not come is asked for again.
const askAgain = (el) => el.matches?.("[data-live]") && setTimeout(() => soon(el, refresh), AGAIN_MS);
document.addEventListener("htmx:error", ({ target }) => askAgain(target));
document.addEventListener("htmx:response:error", ({ target, detail }) => {
  if (isPassing(detail.ctx.response.status)) askAgain(target);
});

// Lines of a feed that are not told have to be fetched, and later ones may be told before these are here.
const gaps = new Map(); // feed → the number of the line before those that are missing
const fetching = new Set();

const numberOf = (line) => Number(line?.dataset.seq ?? 0);

const miss = (list) => {
  if (!gaps.has(list)) gaps.set(list, numberOf(list.querySelector("[data-seq]")));
  soon(list, fetchFeed);
};

const fetchFeed = async (list) => {
  if (fetching.has(list)) return; // it looks once more before it ends
  fetching.add(list);
  for (let last; (last = gaps.get(list)) !== undefined; ) {
    gaps.delete(list);
    showLines(list, (await askUntilAnswered(`${list.dataset.url}?after=${last}`)) ?? "");
  }
  fetching.delete(list);
};

const showLines = (list, html) => {
  const box = document.createElement("template");
  box.innerHTML = html;
  for (const line of box.content.querySelectorAll("[data-seq]")) {
    const next = [...list.querySelectorAll("[data-seq]")].find((one) => numberOf(one) <= numberOf(line));
    if (!next || numberOf(next) < numberOf(line)) list.insertBefore(line, next ?? null);
  }
  if (list.querySelector("[data-seq]")) list.querySelector("[data-nothing]")?.remove();
  while (list.children.length > FEED_LENGTH) list.lastElementChild.remove();
};

// --- what comes --------------------------------------------------------------------------------------------------

const owed = new Set(); // topics of which more is on its way; if the line breaks before that comes, it is fetched

const feedsOf = (topic) => [...document.querySelectorAll("[data-feed]")].filter((list) => list.dataset.feed === topic);

const swap = (topic, [place, html]) => {
  if (place === "feed") feedsOf(topic).forEach((list) => showLines(list, html));
  else if (place === "transcript") showParts(topic, html);
  else {
    for (const el of swapPlace(place, html)) {
      for (const region of onTheirWay) if (region.contains(el)) soon(region, refresh);
    }
  }
};

const changed = (change) => {
  const isShown = "swaps" in change;
  for (const el of document.querySelectorAll("[data-live]")) {
    if (hears(el, change) && !(isShown && isStreamed(el, change))) soon(el, refresh);
  }
  if (change.owed) owed.add(change.topic);
  if (change.kind === "session.imported") return catchUpTranscripts(); // it tells of many parts at once
  if (isShown) return change.swaps.forEach((one) => swap(change.topic, one));
  feedsOf(change.topic).forEach(miss);
  if (change.kind === "part.recorded") refreshPart(change.topic, change.part);
};

const streamed = (topic) => {
  for (const el of document.querySelectorAll("[data-live][data-streamed]")) if (names(el, topic)) soon(el, refresh);
};

const rest = ({ topic, swaps }) => {
  owed.delete(topic);
  if (swaps) swaps.forEach((one) => swap(topic, one));
  else streamed(topic);
};

// `kind`: of a hint; without one, any may have been missed.
const hinted = (kind) => {
  for (const el of document.querySelectorAll("[data-hinted]")) {
    if (!kind || isOneOf(el.dataset.hinted, kind)) soon(el.closest("[data-live]"), refresh);
  }
};

const everything = () => {
  document.querySelectorAll("[data-live]").forEach((el) => soon(el, refresh));
  document.querySelectorAll("[data-feed]").forEach(miss);
  catchUpTranscripts();
};

const receive = ({ event, data }) => {
  if (event === "hint") hinted(data.kind);
  else if (event === "change") changed(data);
  else if (event === "swaps") rest(data);
  else if (event === "delta") appendDelta(data);
  else if (event === "reset") everything();
};

// --- the line ----------------------------------------------------------------------------------------------------

const after = document.body.dataset.after;
const line = openLine({
  topics,
  position: after ? Number(after) : null,
  receive,
  tell: (state) => {
    showConnection(navigator.onLine ? state : "offline");
    if (state !== "live") return;
    owed.forEach(streamed);
    owed.clear();
    hinted();
  },
});

let isAway = false;
let leaving = null;
let joined = []; // topics that the line was asked for
const leave = () => { isAway = true; line.leave(); };
const join = () => {
  joined = topics();
  if (!joined.length) return;
  isAway = false;
  line.join();
};

// From the last event that was heard on: what was fetched is not older than that.
document.addEventListener("htmx:after:swap", () => {
  if (!isAway && topics().some((topic) => !joined.includes(topic))) join();
});
document.addEventListener("visibilitychange", () => {
  clearTimeout(leaving);
  if (document.hidden) leaving = setTimeout(leave, AWAY_MS);
  else if (isAway) join();
  else line.network("on");
});
window.addEventListener("online", () => line.network("on"));
window.addEventListener("offline", () => line.network("off"));
window.addEventListener("pageshow", (event) => event.persisted && join());
window.addEventListener("pagehide", leave);
join();
