// One connection to /events, read as a stream of bytes so that silence is noticed. Comes back by itself, from the last
// position on. Runs in a page and in the worker that all pages of a browser share: it knows no document.

const SILENCE_MS = 35_000; // the server says something every 15 s
const LONGEST_PAUSE_MS = 8_000;
const NEVER = [401, 403, 404];

export class Source {
  #listen;
  #tell;
  #topics = [];
  #current = null; // AbortController of the open connection
  #again = null; // timer of the next try
  #attempt = 0;
  #pause = 0; // milliseconds to wait, as the server last said
  #isOff = false; // no network: somebody says when to try again

  // `listen` gets { event, id, data }; `tell` gets live, catching-up, offline, or refused.
  constructor(listen, tell) {
    this.#listen = listen;
    this.#tell = tell;
    this.last = null;
  }

  get topics() {
    return this.#topics;
  }

  // Listen to these topics from a position on (null: from now on), instead of what was listened to before.
  open(topics, after) {
    this.close();
    this.#topics = topics;
    this.last = after;
    this.#attempt = 0;
    this.#isOff = false;
    this.#connect();
  }

  close() {
    this.#topics = [];
    clearTimeout(this.#again);
    this.#current?.abort();
    this.#current = null;
  }

  // The network is back, or somebody looks again: do not wait for the next try.
  hurry() {
    this.#attempt = 0;
    this.#isOff = false;
    if (!this.#current) this.#connect();
  }

  // The network is gone, and whoever says so knows it before the connection does. `hurry` ends it.
  drop() {
    this.#isOff = true;
    clearTimeout(this.#again);
    if (this.#current) this.#current.abort();
    else this.#tell("offline");
  }

  async #connect() {
    if (this.#current || !this.#topics.length) return;
    clearTimeout(this.#again);
    const control = (this.#current = new AbortController());
    let watchdog;
    const alive = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => control.abort(), SILENCE_MS);
    };
    alive();
    this.#pause = 0;
    let refused = false;
    try {
      const query = new URLSearchParams([["as", "html"], ...this.#topics.map((topic) => ["topic", topic])]);
      const headers = { Accept: "text/event-stream" };
      if (this.last !== null) headers["Last-Event-ID"] = this.last;
      const answer = await fetch(`/events?${query}`, { headers, signal: control.signal, cache: "no-store" });
      refused = NEVER.includes(answer.status);
      if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
      this.#attempt = 0;
      this.#tell("live");
      await this.#read(answer.body, alive, control);
    } catch {
      // Whatever ended the connection, the remedy is the same: a new one, from the last position on.
    }
    clearTimeout(watchdog);
    control.abort();
    if (this.#current !== control) return; // somebody opened another one meanwhile, or closed it
    this.#current = null;
    if (refused) return this.#tell("refused");
    if (this.#isOff) return this.#tell("offline");
    this.#attempt += 1;
    this.#tell(this.#attempt > 2 || !navigator.onLine ? "offline" : "catching-up");
    const pause = this.#pause || Math.min(LONGEST_PAUSE_MS, 250 * 2 ** this.#attempt) * (0.5 + Math.random() / 2);
    this.#again = setTimeout(() => this.#connect(), pause);
  }

  async #read(body, alive, control) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    while (this.#current === control) {
      const { value, done } = await reader.read();
      if (done) return;
      alive();
      text += value;
      const blocks = text.split("\n\n");
      text = blocks.pop();
      for (const block of blocks) this.#receive(parse(block));
    }
  }

  #receive({ event, id, data, retry }) {
    if (event === "lagged") throw new Error("lagged"); // come back, and get what was missed
    if (id) this.last = Number(id);
    else if (retry && !data) this.#pause = Number(retry); // last words: this process ends
    if (data) this.#listen({ event, id: id ? Number(id) : null, data: JSON.parse(data) });
  }
}

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
