// Builds elements, of HTML and of SVG.

import { LETTERS } from "./servers.js";

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; a child is an element or text. */
export function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same for a drawing. */
export function drawn(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

const SHAPES = { A: "●", B: "▲", C: "■" };

/** A server: its address, and its letter, shape and colour where they are known. */
export function server(address) {
  const letter = LETTERS[address.split(":").pop()];
  if (!letter) return element("span", { class: "server" }, address);
  return element(
    "span",
    { class: `server server-${letter.toLowerCase()}` },
    `${SHAPES[letter] ?? "●"} ${letter}, ${address}`,
  );
}
