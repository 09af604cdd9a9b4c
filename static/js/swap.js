// Swaps a piece of the page for newer HTML so that what somebody types, has opened or has in focus stays as it is.

const parsed = (html, isDrawn) => {
  const box = document.createElement("template");
  box.innerHTML = isDrawn ? `<svg>${html}</svg>` : html;
  return isDrawn ? box.content.firstElementChild.firstElementChild : box.content.firstElementChild;
};

// Makes a drawn element like another of the same build, without putting anything new in its place.
const liken = (old, fresh) => {
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName) return old.replaceWith(fresh);
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.nodeValue !== fresh.nodeValue) old.nodeValue = fresh.nodeValue;
    return undefined;
  }
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  if (old.childNodes.length !== fresh.childNodes.length) return old.replaceChildren(...fresh.childNodes);
  [...old.childNodes].forEach((child, place) => liken(child, fresh.childNodes[place] ?? child));
  return undefined;
};

// Returns the elements of this place.
export const swapPlace = (place, html) => {
  const found = [...document.querySelectorAll(`[data-place="${CSS.escape(place)}"]`)];
  for (const el of found) {
    if (el instanceof SVGElement) liken(el, parsed(html, true));
    else window.htmx.swap({ sourceElement: el, target: el, swap: "outerMorph", text: html });
  }
  return found;
};
