// A swarm seen again: the slider asks the server for one position at a time, and plays by the times of the events.
//
// <form data-replay action="…/replay/" data-live="swarm:…">   the slider `at`, play, speed; late events make it longer
// <div data-replay-box>                                       what the swarm was at that event, swapped as one piece

const form = document.querySelector("[data-replay]");
const box = document.querySelector("[data-replay-box]");
const slider = form.elements.at;
const playButton = form.querySelector("[data-play]");
const trouble = form.querySelector("[data-trouble]");
const base = form.getAttribute("action");

const SLIDE_MS = 60; // a slider that is dragged asks so often at most
const TICK_MS = 50;
const GAP_MS = 1000; // a longer silence is played as one of this length, if gaps are shortened
const AHEAD = 100; // times of so few events are left: ask for more

const fetched = (path, query, options = {}) =>
  fetch(`${base}${path}?${new URLSearchParams(query)}`, { headers: { "HX-Request": "true" }, ...options });

const last = () => Number(slider.max);
const shownAt = () => Number(box.firstElementChild.dataset.at);

const say = (text) => {
  trouble.hidden = !text;
  trouble.textContent = text;
};

// --- one position ------------------------------------------------------------------------------------------------

let asking = null; // AbortController of the request under way

const label = (says) => {
  form.querySelector("[data-place-of]").textContent = `${slider.value} of ${slider.max}`;
  slider.setAttribute("aria-valuetext", says ?? `Event ${slider.value} of ${slider.max}`);
};

const grow = (to) => {
  if (to <= last()) return;
  slider.max = to;
  label(slider.getAttribute("aria-valuetext"));
};

const show = async (at) => {
  asking?.abort();
  const mine = (asking = new AbortController());
  slider.value = at;
  label();
  box.setAttribute("aria-busy", "true");
  try {
    const answer = await fetched("now/", { at }, { signal: mine.signal });
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    const html = await answer.text();
    if (asking !== mine) return;
    await window.htmx.swap({ sourceElement: box, target: box, swap: "innerMorph", text: html });
    const { says, last: end } = box.firstElementChild.dataset;
    grow(Number(end));
    label(says);
    say("");
    window.history.replaceState(null, "", `${base}?at=${at}`);
  } catch (error) {
    if (error.name === "AbortError") return;
    pause();
    say("This position could not be loaded. Try again when the connection is back.");
  } finally {
    if (asking === mine) {
      asking = null;
      box.setAttribute("aria-busy", "false");
    }
  }
};

const go = (at) => {
  const to = Math.min(Math.max(1, at), last());
  if (player) player.from(to);
  return show(to);
};

let sliding = null;
slider.addEventListener("input", () => {
  label();
  clearTimeout(sliding);
  sliding = setTimeout(() => go(Number(slider.value)), SLIDE_MS);
});

box.addEventListener("click", async (event) => {
  const link = event.target.closest("a");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  const { step, at } = link.dataset;
  if (step || at) {
    event.preventDefault();
    await go(at ? Number(at) : shownAt() + Number(step));
  } else if ("jump" in link.dataset) {
    event.preventDefault();
    const answer = await fetch(link.href, { headers: { "HX-Request": "true" } }).catch(() => null);
    if (!answer?.ok) return say("The jump could not be made. Try again.");
    const found = await answer.json();
    if (found.at) await go(found.at);
    else say(found.says);
  }
  return undefined;
});

// --- playing -----------------------------------------------------------------------------------------------------

let player = null;

// The times of the events to come, and a clock that runs over them.
const play = () => {
  let events = []; // [number, moment on the clock in ms], in order
  let clock = 0;
  let read = 0; // number of the last event whose time is known
  let before = null; // its own time
  let loading = false;
  let timer = null;
  let wants = 0;
  let generation = 0;

  const load = async () => {
    if (loading || read >= last()) return;
    loading = true;
    const mine = generation;
    try {
      const answer = await fetched("times/", { after: read });
      if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
      const { last: end, moments } = await answer.json();
      if (mine !== generation) return;
      grow(end);
      for (const [seq, at] of moments) {
        const gap = before === null ? 0 : Math.max(0, at - before);
        const ends = events.length ? events.at(-1)[1] : clock;
        events.push([seq, ends + (form.querySelector("[data-gaps]").checked ? Math.min(gap, GAP_MS) : gap)]);
        [read, before] = [seq, at];
      }
    } catch {
      pause();
      say("The times of the events could not be loaded. Try again when the connection is back.");
    } finally {
      loading = false;
      if (mine !== generation) load();
    }
  };

  const tick = () => {
    clock += TICK_MS * Number(form.querySelector("[data-speed]").value);
    while (events.length && events[0][1] <= clock) wants = events.shift()[0];
    if (events.length < AHEAD) load();
    // One request at a time: a server that is slow makes larger steps, and no queue.
    if (wants > shownAt() && !asking) show(wants);
    if (!events.length && !loading && read >= last() && !asking && shownAt() >= last()) pause();
  };

  const from = (at) => {
    generation += 1;
    [events, clock, read, before, wants] = [[], 0, at - 1, null, at];
    load();
  };

  from(shownAt() >= last() ? 1 : shownAt());
  if (shownAt() >= last()) show(1);
  timer = setInterval(tick, TICK_MS);
  return { from, stop: () => clearInterval(timer) };
};

const word = (isPlaying) => {
  playButton.setAttribute("aria-pressed", String(isPlaying));
  playButton.querySelector("[data-play-word]").textContent = isPlaying ? "Pause" : "Play";
  playButton.querySelector("use").setAttribute("href", isPlaying ? "#i-pause" : "#i-play");
};

const pause = () => {
  player?.stop();
  player = null;
  word(false);
};

playButton.addEventListener("click", () => {
  if (player) return pause();
  player = play();
  return word(true);
});
// What was counted with other gaps is counted anew from here.
form.querySelector("[data-gaps]").addEventListener("change", () => player?.from(shownAt()));
form.addEventListener("submit", (event) => {
  event.preventDefault();
  go(Number(slider.value));
});

// --- late events -------------------------------------------------------------------------------------------------

form.addEventListener("refresh", async (event) => {
  event.stopPropagation();
  const answer = await fetched("times/", { after: last() }).catch(() => null);
  if (answer?.ok) grow((await answer.json()).last);
});

for (const hidden of form.querySelectorAll("[data-play], [data-speed-box]")) hidden.hidden = false;
form.querySelector("[data-go]").hidden = true;
label(box.firstElementChild.dataset.says);
