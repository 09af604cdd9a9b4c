// Small things: ages and clocks that go on, buttons that are pressed once, arrows in the graph.

const two = (number) => String(number).padStart(2, "0");

const clock = (seconds) => {
  const [hours, minutes, rest] = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.floor(seconds % 60)];
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
};

const ago = (seconds) => {
  if (seconds < 5) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  return seconds < 172_800 ? `${Math.floor(seconds / 3600)} h ago` : `${Math.floor(seconds / 86_400)} d ago`;
};

const passed = (iso) => Math.max(0, (Date.now() - Date.parse(iso)) / 1000);

const set = (element, text) => {
  if (element.textContent !== text) element.textContent = text;
};

setInterval(() => {
  if (document.hidden) return;
  document.querySelectorAll("[data-since]").forEach((el) => set(el, clock(passed(el.dataset.since))));
  document.querySelectorAll("[data-ago]").forEach((el) => set(el, ago(passed(el.dateTime))));
}, 1000);

document.addEventListener("submit", (event) => {
  const form = event.target;
  if ("download" in form.dataset) return undefined; // the answer is a file, and the page stays
  if (form.method !== "post" || form.dataset.sent) return form.dataset.sent && event.preventDefault();
  form.dataset.sent = "yes";
  // Until the answer is there; a page that comes back from the history can be used again.
  window.addEventListener("pageshow", () => delete form.dataset.sent, { once: true });
});

// A browser passes over `autofocus` where the address names a place of the page.
if (document.activeElement === document.body) document.querySelector("[autofocus]")?.focus();

// Escape closes a menu, and goes back to its button.
document.addEventListener("keydown", (event) => {
  const menu = event.key === "Escape" && event.target.closest?.(".menu[open]");
  if (!menu) return;
  menu.open = false;
  menu.querySelector("summary").focus();
});

const neighbour = (node, key) => {
  const [list, step] = { ArrowRight: ["down", 0], ArrowLeft: ["up", 0], ArrowDown: ["", 1], ArrowUp: ["", -1] }[key];
  const nodes = [...node.ownerSVGElement.querySelectorAll(".node")];
  if (!list) return nodes[nodes.indexOf(node) + step];
  const wanted = node.dataset[list].split(" ")[0];
  return nodes.find((other) => other.dataset.key === wanted);
};

document.addEventListener("keydown", (event) => {
  const node = event.target.closest?.(".graph .node");
  if (!node || !event.key.startsWith("Arrow")) return;
  const next = neighbour(node, event.key);
  if (!next) return;
  event.preventDefault();
  next.focus();
  next.scrollIntoView({ block: "nearest", inline: "nearest" });
});
