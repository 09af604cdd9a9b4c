// Live pages. One line to the server (line.js) brings what happens, with the HTML that it adds to the page.
//
// <body data-topics="swarm:… session:…" data-after="17">     what to listen to, and from which position on
// <li data-place="swarm:…/node/parser">                      swapped for the HTML that comes for this place
// <ol data-feed="swarm:…" data-url="…/feed/">                newest first, items carry data-seq
// <div data-transcript="session:…" data-url="…/parts/">      parts, and text as it is written (transcript.js)
// <div data-live="swarm:…" data-kinds="node. approval." hx-get="…" hx-trigger="refresh">   fetched again after changes
// <div data-live="swarm:…" data-streamed …>                  the same, but only when its HTML did not come by the stream
// <div data-live="swarms" …>                                 the same, after changes of any swarm
// <div data-live="team" data-hinted …>                       the same, and whenever the line is open anew: it shows what
//                                                            no event tells of, only hints, and these may get lost
// <div data-topic="session:…">                               one more topic: what is fetched may bring some

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

const hears = (el, { topic, kind }) => {
  if (!names(el, topic)) return false;
  const kinds = (el.dataset.kinds ?? "").split(/\s+/).filter(Boolean);
  return !kinds.length || kinds.some((prefix) => kind.startsWith(prefix));
};

// HTML that is on its way may be older than what the stream brings meanwhile: then it is asked for once more.
const onTheirWay = new Set();
document.addEventListener("htmx:before:request", ({ target }) => target.matches?.("[data-live]") && onTheirWay.add(target));
document.addEventListener("htmx:finally:request", ({ target }) => onTheirWay.delete(target));

const fetchFeed = async (list) => {
  const last = list.querySelector("[data-seq]")?.dataset.seq ?? 0;
  try {
    const answer = await fetch(`${list.dataset.url}?after=${last}`, { headers: { "HX-Request": "true" } });
    if (answer.ok) showLines(list, await answer.text());
  } catch {
    // The connection is gone too; what was missed is fetched when it is back.
  }
};

const showLines = (list, html) => {
  const box = document.createElement("template");
  box.innerHTML = html;
  const newest = Number(list.querySelector("[data-seq]")?.dataset.seq ?? 0);
  const items = [...box.content.querySelectorAll("[data-seq]")].filter((item) => Number(item.dataset.seq) > newest);
  list.querySelector("[data-nothing]")?.remove();
  list.prepend(...items);
  while (list.children.length > FEED_LENGTH) list.lastElementChild.remove();
};

// A region whose answer did not come is asked for again once the network is back.
document.addEventListener("htmx:error", ({ target }) => {
  if (target.matches?.("[data-live]")) setTimeout(() => soon(target, refresh), 3000);
});

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
    if (hears(el, change) && !(isShown && "streamed" in el.dataset)) soon(el, refresh);
  }
  if (change.owed) owed.add(change.topic);
  if (change.kind === "session.imported") return catchUpTranscripts(); // it tells of many parts at once
  if (isShown) return change.swaps.forEach((one) => swap(change.topic, one));
  feedsOf(change.topic).forEach((list) => soon(list, fetchFeed));
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

const hinted = () => document.querySelectorAll("[data-hinted]").forEach((el) => soon(el, refresh));

const everything = () => {
  document.querySelectorAll("[data-live]").forEach((el) => soon(el, refresh));
  document.querySelectorAll("[data-feed]").forEach((el) => soon(el, fetchFeed));
  catchUpTranscripts();
};

const receive = ({ event, data }) => {
  if (event === "hint" && !data.kind) hinted();
  else if (event === "change" || event === "hint") changed(data);
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
