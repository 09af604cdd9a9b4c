// A button beside what is to be copied: what has `data-copy`, which names it ("the token").

const selected = (element) => {
  const range = document.createRange();
  range.selectNodeContents(element);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
};

// Only a page that came over https, or from this machine, may write to the clipboard; elsewhere the text is selected.
const copied = async (element) => {
  try {
    await navigator.clipboard.writeText(element.textContent.trim());
    return "Copied";
  } catch {
    selected(element);
    return "Selected: copy it with Ctrl+C or ⌘C";
  }
};

for (const box of document.querySelectorAll("[data-copy]")) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "button small" });
  const said = Object.assign(document.createElement("span"), { className: "muted small" });
  button.textContent = `Copy ${box.dataset.copy}`;
  said.setAttribute("role", "status");
  button.addEventListener("click", async () => {
    said.textContent = ""; // said again when it is pressed again
    const text = await copied(box.querySelector("code") ?? box);
    requestAnimationFrame(() => (said.textContent = text));
  });
  const bar = Object.assign(document.createElement("p"), { className: "inline" });
  bar.append(button, said);
  box.after(bar);
}
