// The chip in the header: Live, Catching up, Offline since 12:03.

const chip = document.getElementById("connection");
let since = null;

const clock = (date) => date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

export const showConnection = (state) => {
  if (!chip) return;
  if (state === "offline") since ??= new Date();
  else since = null;
  const words = { live: "Live", "catching-up": "Catching up", offline: since && `Offline since ${clock(since)}` };
  chip.hidden = false;
  if (chip.dataset.connection === state) return;
  chip.dataset.connection = state;
  chip.querySelector(".chip-text").textContent = words[state];
};
