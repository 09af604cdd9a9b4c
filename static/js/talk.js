// Two-way: people say things to agents at work, and see who else is here. Without the websocket, forms are sent as usual.
//
// <span class="present" data-with="<swarm>">                         who looks at this swarm
// <form data-steer="say|answer" data-session="…" data-question="…">  fields key, text; a button may have data-steer itself

const OPEN = 1;
const ANSWER_MS = 5_000;
const LONGEST_PAUSE_MS = 10_000;
const HANDSHAKE_MS = 10_000; // Chrome makes one handshake with a host at a time: one that hangs must end

const box = document.querySelector("[data-with]");
const waiting = new Map(); // key → { form, timer }
let socket = null;
let attempt = 0;
let again = null;

// --- who is here -------------------------------------------------------------------------------------------------

const showPeople = (people) => {
  const chips = people.map(({ name, initials }) => {
    const chip = document.createElement("abbr");
    chip.textContent = initials;
    chip.title = name;
    return chip;
  });
  box.replaceChildren(...chips);
  box.setAttribute("aria-label", people.length ? `Looking at this swarm: ${people.map(({ name }) => name).join(", ")}` : "");
};

// --- what is said ------------------------------------------------------------------------------------------------

const tell = (form, text) => {
  const place = form.querySelector("[data-said]");
  if (place) place.textContent = text;
};

const settle = (key, refusal) => {
  const waits = waiting.get(key);
  if (!waits) return;
  clearTimeout(waits.timer);
  waiting.delete(key);
  const { form, text } = waits;
  form.elements.key.value = "";
  tell(form, refusal ?? "");
  // What was typed since then stays.
  const field = form.querySelector("textarea[name=text], input[name=text]");
  if (refusal === undefined && field?.value.trim() === text) field.value = "";
};

// Nobody answered: the form goes the usual way. Under its key it is said once, even if the words did arrive.
const sendAsForm = (key) => {
  const waits = waiting.get(key);
  if (!waits) return;
  waiting.delete(key);
  waits.form.requestSubmit(waits.button ?? undefined);
};

// Not crypto.randomUUID: that is for pages over HTTPS and of localhost only.
const newKey = () => {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 15) | 64;
  bytes[8] = (bytes[8] & 63) | 128;
  const digits = [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  return digits.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
};

const sent = (event) => {
  const { target: form, submitter } = event;
  if (!form.matches?.("form[data-steer]") || socket?.readyState !== OPEN || form.elements.key.value) return;
  event.preventDefault();
  event.stopPropagation();
  const what = submitter?.dataset.steer ?? form.dataset.steer;
  const text = (submitter?.name === "text" ? submitter.value : new FormData(form).get("text") ?? "").trim();
  if (!text && what !== "interrupt") return tell(form, "Say something.");
  const key = newKey();
  form.elements.key.value = key;
  waiting.set(key, { form, text, button: submitter, timer: setTimeout(() => sendAsForm(key), ANSWER_MS) });
  const { session, question } = form.dataset;
  socket.send(JSON.stringify({ type: what, key, session, text, ...(question ? { question } : {}) }));
};

// --- the connection ----------------------------------------------------------------------------------------------

const receive = ({ type, key, text, people }) => {
  if (type === "present") showPeople(people);
  else if (type === "done") settle(key);
  else if (type === "refused") settle(key, text);
};

const connect = () => {
  clearTimeout(again);
  if (!box || socket || document.visibilityState === "hidden") return;
  const opened = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/swarms/${box.dataset.with}/`);
  socket = opened;
  const tooLong = setTimeout(() => opened.close(), HANDSHAKE_MS);
  opened.addEventListener("open", () => { clearTimeout(tooLong); attempt = 0; });
  opened.addEventListener("message", ({ data }) => receive(JSON.parse(data)));
  opened.addEventListener("close", ({ code }) => {
    clearTimeout(tooLong);
    if (socket !== opened) return;
    socket = null;
    showPeople([]);
    [...waiting.keys()].forEach(sendAsForm);
    if (code === 4404) return; // no longer a member, or there is no such swarm
    attempt += 1;
    again = setTimeout(connect, Math.min(LONGEST_PAUSE_MS, 300 * 2 ** attempt) * (0.5 + Math.random() / 2));
  });
};

const leave = () => {
  const open = socket;
  socket = null;
  open?.close();
};

if (box) {
  // Before page.js, which lets each form be sent once.
  document.addEventListener("submit", sent, { capture: true });
  // Who does not look is not here.
  document.addEventListener("visibilitychange", () => (document.hidden ? leave() : connect()));
  window.addEventListener("online", connect);
  window.addEventListener("pageshow", (event) => event.persisted && connect());
  window.addEventListener("pagehide", leave);
  connect();
}
