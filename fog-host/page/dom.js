// Building the page's elements. Text is set as text: nothing that comes from a
// client, a device or a model is ever read as markup.

/** An element with properties and children; children that are no nodes are text. */
export function h(tag, properties = {}, ...children) {
  return fill(document.createElement(tag), properties, children);
}

/** The same for SVG. */
export function s(tag, properties = {}, ...children) {
  return fill(document.createElementNS("http://www.w3.org/2000/svg", tag), properties, children);
}

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

/** Replaces what is in a node. What has the focus keeps it, by its key, and so does what was opened. */
export function replace(node, ...children) {
  const focused = node.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
  const open = new Set([...node.querySelectorAll("details[open]")].map((details) => details.dataset.key));
  const scrolled = node.firstElementChild?.scrollTop ?? 0;
  node.replaceChildren(...children.flat(Infinity).filter((child) => child !== null));
  for (const details of node.querySelectorAll("details")) details.open = open.has(details.dataset.key);
  if (focused) [...node.querySelectorAll("[data-key]")].find((one) => one.dataset.key === focused)?.focus();
  if (scrolled && node.firstElementChild) node.firstElementChild.scrollTop = scrolled;
}

/** 1234567 as "1.23 M". */
export function count(number) {
  if (number >= 10_000) {
    const [size, unit] = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]].find(([one]) => number >= one);
    return `${(number / size).toPrecision(3)} ${unit}`;
  }
  return Number.isInteger(number) ? String(number) : number.toPrecision(3);
}

/** Bytes with a binary unit. */
export function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return `${unit ? number.toPrecision(3) : number} ${units[unit]}`;
}

/** Milliseconds in the unit that fits. */
export function millis(number) {
  if (number === null || number === undefined) return "–";
  if (number >= 1000) return `${(number / 1000).toPrecision(3)} s`;
  if (number >= 1) return `${number.toPrecision(3)} ms`;
  return `${Math.round(number * 1000)} µs`;
}

/** How long ago. */
export function ago(seconds) {
  if (seconds < 10) return "now";
  return `${span(seconds)} ago`;
}

/** A time span in its largest unit. */
export function span(seconds) {
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86400)} d`;
}

/** A digest, short, with all of it to be seen on demand. */
export function digest(text) {
  return h("code", { title: text }, text.replace(/^sha256:/, "").slice(0, 12));
}
