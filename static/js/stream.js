// Live pages: one connection to /events for the whole page, read as a stream of bytes so that silence is noticed.
//
// <body data-topics="swarm:… session:…" data-after="17">     what to listen to, and from which position on
// <div data-live="swarm:…" data-kinds="node. approval." hx-get="…" hx-trigger="refresh">   fetched again after changes
// <ol data-feed="swarm:…" data-url="…/feed/">                newest first, items carry data-seq
// <div data-transcript="session:…" data-url="…/parts/">      parts, and text as it is written

import { showConnection } from "./connection.js";
import { appendDelta, refreshParts, refreshTranscripts, transcriptsOf } from "./transcript.js";

const SILENCE_MS = 35_000; // the server says something every 15 s
const REFRESH_MS = 150;
const REFRESH_AT_LATEST_MS = 600;
const FEED_LENGTH = 100;
const AWAY_MS = 60_000; // a hidden tab lets go of its connection after this

const topics = () => {
  const named = [...document.querySelectorAll("[data-topic]")].map((el) => el.dataset.topic);
  const words = `${document.body.dataset.topics ?? ""} ${named.join(" ")}`.split(/\s+/);
  return [...new Set(words.filter(Boolean))].slice(0, 20);
};

// --- what changes on the page ------------------------------------------------------------------------------------

const pending = new Map(); // element → { timer, since }

const soon = (el, act) => {
  const waits = pending.get(el) ?? { since: Date.now() };
  clearTimeout(waits.timer);
  const late = Date.now() - waits.since > REFRESH_AT_LATEST_MS;
  waits.timer = setTimeout(() => { pending.delete(el); act(el); }, late ? 0 : REFRESH_MS);
  pending.set(el, waits);
};

const refresh = (el) => el.isConnected && window.htmx.trigger(el, "refresh");

const hears = (el, { topic, kind }) => {
  if (!el.dataset.live.split(/\s+/).includes(topic)) return false;
  const kinds = (el.dataset.kinds ?? "").split(/\s+/).filter(Boolean);
  return !kinds.length || kinds.some((prefix) => kind.startsWith(prefix));
};

const fetchFeed = async (list) => {
  const last = list.querySelector("[data-seq]")?.dataset.seq ?? 0;
  let answer;
  try {
    answer = await fetch(`${list.dataset.url}?after=${last}`, { headers: { "HX-Request": "true" } });
  } catch {
    return; // the connection is gone too; what was missed is fetched when it is back
  }
  if (!answer.ok) return;
  const box = document.createElement("template");
  box.innerHTML = await answer.text();
  const newest = Number(list.querySelector("[data-seq]")?.dataset.seq ?? 0);
  const items = [...box.content.querySelectorAll("[data-seq]")].filter((item) => Number(item.dataset.seq) > newest);
  list.querySelector("[data-nothing]")?.remove();
  list.prepend(...items);
  while (list.children.length > FEED_LENGTH) list.lastElementChild.remove();
};

const changed = (change) => {
  for (const el of document.querySelectorAll("[data-live]")) if (hears(el, change)) soon(el, refresh);
  for (const list of document.querySelectorAll("[data-feed]")) if (list.dataset.feed === change.topic) soon(list, fetchFeed);
  if (change.kind === "part.recorded") {
    for (const box of transcriptsOf(change.topic)) refreshParts(box, change.payload.part);
  }
};

const everything = () => {
  document.querySelectorAll("[data-live]").forEach((el) => soon(el, refresh));
  document.querySelectorAll("[data-feed]").forEach((el) => soon(el, fetchFeed));
  refreshTranscripts();
};

// A region whose answer did not come is asked for again once the network is back.
document.addEventListener("htmx:error", ({ target }) => {
  if (target.matches?.("[data-live]")) setTimeout(() => soon(target, refresh), 3000);
});

// --- the connection ----------------------------------------------------------------------------------------------

let last = document.body.dataset.after ?? "";
let attempt = 0;
let current = null; // AbortController of the open connection
let again = null; // timer of the next try
let stopped = false;

const receive = ({ event, id, data }) => {
  if (id) last = id;
  if (!data) return;
  if (event === "change") changed(JSON.parse(data));
  else if (event === "delta") appendDelta(JSON.parse(data));
  else if (event === "reset") everything();
  else if (event === "lagged") throw new Error("lagged"); // come back, and get what was missed
};

const read = async (body, alive) => {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    alive();
    text += value;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    blocks.forEach((block) => receive(parse(block)));
  }
};

const parse = (block) => {
  const fields = { event: "message", data: "" };
  for (const line of block.split("\n")) {
    const at = line.indexOf(":");
    if (at < 1) continue;
    const value = line.slice(at + 1).replace(/^ /, "");
    const name = line.slice(0, at);
    fields[name] = name === "data" && fields.data ? `${fields.data}\n${value}` : value;
  }
  return fields;
};

const connect = async () => {
  const wanted = topics();
  if (stopped || current || !wanted.length) return;
  clearTimeout(again);
  const control = (current = new AbortController());
  let watchdog;
  const alive = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(() => control.abort(), SILENCE_MS);
  };
  alive();
  try {
    const query = new URLSearchParams(wanted.map((topic) => ["topic", topic]));
    const headers = { Accept: "text/event-stream" };
    if (last) headers["Last-Event-ID"] = last;
    const answer = await fetch(`/events?${query}`, { headers, signal: control.signal, cache: "no-store" });
    if (answer.status === 404 || answer.status === 401 || answer.status === 403) stopped = true;
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    attempt = 0;
    showConnection("live");
    await read(answer.body, alive);
  } catch {
    // Whatever ended the connection, the remedy is the same: a new one, from the last position on.
  } finally {
    clearTimeout(watchdog);
    if (current === control) current = null;
    control.abort();
  }
  if (document.hidden && awaySince) return;
  attempt += 1;
  showConnection(stopped || attempt > 2 || !navigator.onLine ? "offline" : "catching-up");
  if (!stopped) again = setTimeout(connect, Math.min(8000, 250 * 2 ** attempt) * (0.5 + Math.random() / 2));
};

const now = () => {
  attempt = 0;
  connect();
};

let awaySince = 0;
let away = null;
document.addEventListener("visibilitychange", () => {
  clearTimeout(away);
  if (document.hidden) away = setTimeout(() => { awaySince = Date.now(); current?.abort(); }, AWAY_MS);
  else { awaySince = 0; now(); }
});
window.addEventListener("online", now);
window.addEventListener("offline", () => { showConnection("offline"); current?.abort(); });
window.addEventListener("pageshow", (event) => event.persisted && now());
window.addEventListener("pagehide", () => current?.abort());
connect();
