/**
 * The graph as SVG. Names come from events that anybody may send: they enter the page as text only.
 *
 * @typedef {import("./layout.js").Arrow} Arrow
 * @typedef {import("./layout.js").Place} Place
 * @typedef {{id: string, type: "DATASET" | "JOB", data: any, inEdges: Edge[], outEdges: Edge[]}} Node
 * @typedef {{origin: string, destination: string}} Edge
 */

import { layOut } from "./layout.js";

const SVG = "http://www.w3.org/2000/svg";
const LONGEST_LABEL = 30;
const GLYPHS = { completed: "✓", failed: "✕", running: "▸", aborted: "■", new: "·" };

/**
 * @param {Node[]} nodes
 * @param {(id: string) => void} choose called with the node that is clicked
 * @returns {SVGElement}
 */
export function drawGraph(nodes, choose) {
  const label = labeller(nodes);
  const boxes = nodes.map((node) => ({ id: node.id, ...sizeOf(node, label(node)) }));
  const arrows = nodes.flatMap((node) => node.outEdges.map((edge) => ({ from: edge.origin, to: edge.destination })));
  const layout = layOut(boxes, arrows);
  const { width, height } = layout;
  const svg = element("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "group" });
  svg.append(arrowHead());
  for (const [arrow, path] of layout.routes) svg.append(drawArrow(arrow, path));
  for (const node of nodes) {
    svg.append(drawNode(node, label(node), /** @type {Place} */ (layout.places.get(node.id)), choose));
  }
  return svg;
}

/** The state of a job's latest run, in lower case. @param {Node} node @returns {keyof GLYPHS} */
export function stateOf(node) {
  const state = String(node.data.latestRun?.state ?? "new").toLowerCase();
  return state in GLYPHS ? /** @type {keyof GLYPHS} */ (state) : "new";
}

/** What all names of a kind begin with, up to a separator: it says nothing about one of them.
 * @param {Node[]} nodes @param {"DATASET" | "JOB"} type */
export function sharedPrefix(nodes, type) {
  const names = nodes.filter((node) => node.type === type).map((node) => node.data.name);
  if (names.length < 2) return "";
  let end = 0;
  while (end < names[0].length && names.every((name) => name[end] === names[0][end])) end += 1;
  return names[0].slice(0, end).replace(/[^/.]*$/, "");
}

/** @param {Node[]} nodes @returns {(node: Node) => string} */
function labeller(nodes) {
  const prefixes = { DATASET: sharedPrefix(nodes, "DATASET"), JOB: sharedPrefix(nodes, "JOB") };
  const hasOneNamespace = new Set(nodes.map((node) => node.data.namespace)).size <= 1;
  return (node) => {
    const { namespace, name } = node.data;
    const text = hasOneNamespace ? name.slice(prefixes[node.type].length) : `${namespace} ${name}`;
    return text.length > LONGEST_LABEL ? `${text.slice(0, 11)}…${text.slice(-(LONGEST_LABEL - 12))}` : text;
  };
}

const ruler = document.createElement("canvas").getContext("2d");

/** @param {Node} node @param {string} label */
function sizeOf(node, label) {
  const isJob = node.type === "JOB";
  if (ruler) ruler.font = `${isJob ? 12 : 13}px system-ui, sans-serif`;
  const text = ruler ? ruler.measureText(label).width : label.length * 8;
  return isJob ? { width: Math.ceil(text) + 38, height: 24 } : { width: Math.ceil(text) + 28, height: 34 };
}

/** @param {Node} node @param {string} label @param {Place} place @param {(id: string) => void} choose */
function drawNode(node, label, place, choose) {
  const isJob = node.type === "JOB";
  const state = isJob ? stateOf(node) : null;
  const group = element("g", {
    class: `node ${isJob ? `job ${state}` : "dataset"}`,
    transform: `translate(${place.x} ${place.y})`,
    "data-id": node.id,
    tabindex: 0,
    role: "button",
    "aria-label": `${isJob ? `Job, ${state},` : "Dataset"} ${node.data.name}`,
  });
  const { width, height } = place;
  const box = { x: -width / 2, y: -height / 2, width, height, rx: isJob ? height / 2 : 7 };
  const title = element("title", {});
  title.textContent = `${node.data.namespace}: ${node.data.name}${state ? ` (${state})` : ""}`;
  group.append(title, element("rect", box), text(state ? `${GLYPHS[state]} ${label}` : label));
  group.addEventListener("click", () => choose(node.id));
  group.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    choose(node.id);
  });
  return group;
}

/** @param {Arrow} arrow @param {Place[]} path */
function drawArrow(arrow, path) {
  return element("path", {
    class: "arrow",
    d: curve(path),
    "marker-end": "url(#head)",
    "data-from": arrow.from,
    "data-to": arrow.to,
  });
}

/** @param {Place[]} path */
function curve(path) {
  const side = path[path.length - 1].x < path[0].x ? -1 : 1;
  let from = { x: path[0].x + (side * path[0].width) / 2, y: path[0].y };
  let d = `M${from.x} ${from.y}`;
  path.slice(1).forEach((place, index) => {
    const isLast = index === path.length - 2;
    const to = { x: place.x - (side * place.width) / 2 - (isLast ? side * 5 : 0), y: place.y };
    const middle = (from.x + to.x) / 2;
    d += ` C${middle} ${from.y} ${middle} ${to.y} ${to.x} ${to.y}`;
    from = { x: place.x + (side * place.width) / 2, y: place.y };
    if (!isLast) d += ` L${from.x} ${from.y}`;
  });
  return d;
}

function arrowHead() {
  const marker = element("marker", {
    id: "head",
    viewBox: "0 0 8 8",
    refX: 4,
    refY: 4,
    markerWidth: 7,
    markerHeight: 7,
    orient: "auto",
    markerUnits: "userSpaceOnUse",
  });
  marker.append(element("path", { d: "M0 0 L8 4 L0 8 z" }));
  const definitions = element("defs", {});
  definitions.append(marker);
  return definitions;
}

/** @param {string} content */
function text(content) {
  const label = element("text", { "text-anchor": "middle", "dominant-baseline": "central" });
  label.textContent = content;
  return label;
}

/** @param {string} name @param {Record<string, string | number>} attributes @returns {SVGElement} */
function element(name, attributes) {
  const made = /** @type {SVGElement} */ (document.createElementNS(SVG, name));
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
  return made;
}
