// The worker that all pages of a browser share: one connection to the server, however many tabs are open. Each tab gets
// what it asked for, from the position on at which its page was made, once.

import { Source } from "./source.js";

const MOST_TOPICS = 100;
const SILENT_MS = 180_000; // tabs say every 25 s that they are there, hidden ones once a minute

const tabs = new Map(); // port → { topics: Set, last, heard }
let state = "catching-up";

const say = (port, message) => port.postMessage(message);
const sayAll = (message) => [...tabs.keys()].forEach((port) => say(port, message));

// What comes is in order: with an event each tab has heard, of its topics, all that was before.
const receive = (message) => {
  const { id, data } = message;
  for (const [port, tab] of tabs) {
    const isOld = id !== null && tab.last !== null && id <= tab.last;
    if (id !== null && !isOld) tab.last = id;
    if (!isOld && concerns(tab, data)) say(port, { message });
  }
};

const concerns = (tab, { topic, session }) =>
  session
    ? tab.topics.has(`session:${session}`)
    : !topic || tab.topics.has(topic) || (topic.startsWith("swarm:") && tab.topics.has("swarms"));

const source = new Source(receive, (now) => {
  // One topic that is gone would keep the others from all tabs: each asks for its own.
  if (now === "refused") {
    sayAll({ alone: true });
    tabs.clear();
    return;
  }
  state = now;
  sayAll({ state });
});

// Is what is open enough for this tab?
const hears = (tab) =>
  [...tab.topics].every((topic) => source.topics.includes(topic)) && (tab.last ?? 0) >= (source.last ?? Infinity);

const join = (port, { topics, after }) => {
  forget();
  const tab = { topics: new Set(topics), last: after, heard: Date.now() };
  tabs.set(port, tab);
  const all = new Set([...tabs.values()].flatMap((one) => [...one.topics]));
  if (all.size > MOST_TOPICS) {
    tabs.delete(port);
    return say(port, { alone: true });
  }
  say(port, { joined: true });
  if (hears(tab)) return say(port, { state });
  const known = [...tabs.values()].map((one) => one.last).concat(source.topics.length ? [source.last] : []);
  const positions = known.filter((position) => position !== null);
  source.open([...all], positions.length ? Math.min(...positions) : null);
};

const leave = (port) => {
  tabs.delete(port);
  if (!tabs.size) source.close();
};

const forget = () => {
  for (const [port, tab] of tabs) if (Date.now() - tab.heard > SILENT_MS) leave(port);
};
setInterval(forget, SILENT_MS / 3);

const take = (port, data) => {
  if (data.join) join(port, data.join);
  else if (data.leave) leave(port);
  else if (data.alive) {
    const tab = tabs.get(port);
    if (tab) tab.heard = Date.now();
    else say(port, { forgotten: true });
  } else if (data.network === "on") source.hurry();
  else if (data.network === "off") source.drop();
};

self.addEventListener("connect", ({ ports: [port] }) => {
  port.addEventListener("message", ({ data }) => take(port, data));
  port.start();
});
self.addEventListener("online", () => source.hurry());
