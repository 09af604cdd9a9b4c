// A page's line to the server: through the worker that all tabs share; where there is none, a connection of its own.

import { Source } from "./source.js";

const ALIVE_MS = 25_000;
const ANSWER_MS = 5_000; // a worker that says nothing for so long is not waited for
const PROTOCOL = "waggle-live-2"; // another name when what page and worker say to each other changes

// `page`: { topics(), position, receive({ event, id, data }), tell(state) }; `position` is kept up to date here.
export const openLine = (page) => {
  let line = null;
  const receive = (message) => {
    if (message.id !== null) page.position = message.id;
    page.receive(message);
  };
  const goAlone = () => {
    line?.leave();
    line = ownLine(page, receive);
    line.join();
  };
  line = "SharedWorker" in window ? sharedLine(page, receive, goAlone) : ownLine(page, receive);
  return { join: () => line.join(), leave: () => line.leave(), network: (how) => line.network(how) };
};

const ownLine = (page, receive) => {
  const source = new Source(receive, (state) => page.tell(state === "refused" ? "offline" : state));
  return {
    join: () => source.open(page.topics(), page.position),
    leave: () => source.close(),
    network: (how) => (how === "on" ? source.hurry() : source.drop()),
  };
};

const sharedLine = (page, receive, goAlone) => {
  const worker = new SharedWorker(new URL("./shared.js", import.meta.url), { type: "module", name: PROTOCOL });
  let joined = false;
  let unanswered = null;
  const say = (message) => worker.port.postMessage(message);
  const giveUp = () => {
    clearInterval(pulse);
    clearTimeout(unanswered);
    worker.port.close();
    goAlone();
  };
  const join = () => {
    joined = true;
    clearTimeout(unanswered);
    unanswered = setTimeout(giveUp, ANSWER_MS);
    say({ join: { topics: page.topics(), after: page.position } });
  };
  worker.addEventListener("error", giveUp, { once: true });
  worker.port.addEventListener("message", ({ data }) => {
    clearTimeout(unanswered);
    if (!joined) return;
    if (data.alone) giveUp();
    else if (data.forgotten) join();
    else if (data.state) page.tell(data.state);
    else if (data.message) receive(data.message);
  });
  worker.port.start();
  const pulse = setInterval(() => joined && say({ alive: true }), ALIVE_MS);
  return {
    join,
    leave: () => {
      joined = false;
      clearTimeout(unanswered);
      say({ leave: true });
    },
    network: (how) => say({ network: how }),
  };
};
