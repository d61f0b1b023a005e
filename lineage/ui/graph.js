/**
 * The page: load the graph, draw it, follow what the reader chooses and searches.
 *
 * The chosen node is in the address (?nodeId=…), so that a view can be sent to somebody.
 *
 * @typedef {import("./draw.js").Node} Node
 */

import { drawGraph, sharedPrefix } from "./draw.js";
import { showPanel } from "./panel.js";

const NARROW_DEPTH = 4;
const SMALLEST_FIT = 0.6;

/** @param {string} id @returns {any} */
const find = (id) => document.getElementById(id);

/** @type {Map<string, Node>} */
let nodes = new Map();
/** @type {SVGElement | null} */
let svg = null;
let zoom = 1;
/** Whether there is more than what is drawn. */
let isPartial = false;
/** Whether the reader has not chosen a zoom, so that the graph follows the room it has. */
let isFitted = true;

async function start() {
  try {
    const graph = await load(chosenInAddress());
    nodes = new Map(graph.graph.map((/** @type {Node} */ node) => [node.id, node]));
    isPartial = graph.isPartial;
    describe(graph);
    if (nodes.size) draw();
    follow();
  } catch (error) {
    say(`The graph cannot be shown: ${error instanceof Error ? error.message : error}`);
  }
}

/** All of the graph; where that is too much, what is around the chosen node. @param {string | null} chosen */
async function load(chosen) {
  const graph = await get("/api/v1/lineage");
  if (!graph.isPartial || !chosen) return graph;
  return get(`/api/v1/lineage?depth=${NARROW_DEPTH}&nodeId=${encodeURIComponent(chosen)}`);
}

/** @param {string} url */
async function get(url) {
  const response = await fetch(url);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

/** @param {{graph: Node[], isPartial: boolean, totalCount?: number}} graph */
function describe(graph) {
  const all = [...nodes.values()];
  const namespaces = new Set(all.map((node) => node.data.namespace));
  const prefix = sharedPrefix(all, "DATASET").replace(/[/.]$/, "");
  if (namespaces.size === 1) find("scope").textContent = [...namespaces, prefix].filter(Boolean).join(" / ");
  if (!all.length) say("Nothing has been recorded yet. Run a step: headwater run");
  else if (isPartial) say(`These are ${all.length} of ${graph.totalCount ?? "more"} nodes; choose one to see around it.`);
  else say("");
}

function draw() {
  svg = drawGraph([...nodes.values()], choose);
  find("canvas").append(svg);
}

/** @param {string} text */
function say(text) {
  find("message").textContent = text;
  find("message").hidden = !text;
}

const chosenInAddress = () => new URLSearchParams(location.search).get("nodeId");

/** @param {string} id */
function choose(id) {
  const address = `?nodeId=${encodeURIComponent(id)}`;
  if (isPartial) {
    location.assign(address);
    return;
  }
  if (id !== chosenInAddress()) history.pushState(null, "", address);
  find("search").value = "";
  follow();
}

function close() {
  history.pushState(null, "", location.pathname);
  follow();
}

/** Show what the address says. */
function follow() {
  const id = chosenInAddress();
  const node = id ? nodes.get(id) : undefined;
  if (id && !node) say(`There is no ${id} here.`);
  if (node) showPanel(find("panel"), node, { choose, close });
  else find("panel").hidden = true;
  if (isFitted) fit();
  mark(node ? related(node.id) : null, node?.id);
  if (node) elementOf(node.id)?.scrollIntoView({ block: "nearest", inline: "nearest" });
}

/** The node with all it comes from and all that comes from it. @param {string} id */
function related(id) {
  const found = new Set([id]);
  for (const towards of [
    (/** @type {Node} */ node) => node.inEdges.map((edge) => edge.origin),
    (/** @type {Node} */ node) => node.outEdges.map((edge) => edge.destination),
  ]) {
    const seen = new Set([id]);
    const open = [id];
    while (open.length) {
      const node = nodes.get(/** @type {string} */ (open.pop()));
      for (const next of node ? towards(node) : []) {
        if (seen.has(next)) continue;
        seen.add(next);
        open.push(next);
      }
    }
    for (const item of seen) found.add(item);
  }
  return found;
}

/** Dim everything outside `shown` (null: nothing). @param {Set<string> | null} shown @param {string} [chosen] */
function mark(shown, chosen) {
  for (const item of svg?.querySelectorAll(".node") ?? []) {
    const id = item.getAttribute("data-id") ?? "";
    item.classList.toggle("dim", shown !== null && !shown.has(id));
    item.classList.toggle("chosen", id === chosen);
  }
  for (const item of svg?.querySelectorAll(".arrow") ?? []) {
    const ends = ["data-from", "data-to"].map((name) => item.getAttribute(name) ?? "");
    const isShown = shown !== null && ends.every((id) => shown.has(id));
    item.classList.toggle("dim", shown !== null && !isShown);
    item.classList.toggle("lit", Boolean(chosen) && isShown);
  }
}

/** @param {string} id */
function elementOf(id) {
  return svg?.querySelector(`.node[data-id="${CSS.escape(id)}"]`);
}

function search() {
  const words = find("search").value.toLowerCase().split(/\s+/).filter(Boolean);
  if (!words.length) {
    find("matches").textContent = "";
    follow();
    return [];
  }
  const found = [...nodes.values()].filter((node) => words.every((word) => node.id.toLowerCase().includes(word)));
  mark(new Set(found.map((node) => node.id)));
  find("matches").textContent = `${found.length} found`;
  return found;
}

/** @param {KeyboardEvent} event */
function onKey(event) {
  const isTyping = event.target instanceof HTMLInputElement;
  if (event.key === "/" && !isTyping) {
    event.preventDefault();
    find("search").focus();
  } else if (event.key === "Escape") {
    if (isTyping) {
      find("search").value = "";
      find("search").blur();
      search();
    } else if (chosenInAddress()) close();
  } else if (event.key === "Enter" && isTyping) {
    const [first] = search();
    find("matches").textContent = "";
    if (first) choose(first.id);
  }
}

/** As much of the graph as can be read at once. */
function fit() {
  if (!svg) return;
  const { width, height } = svg.viewBox.baseVal;
  const room = find("canvas");
  isFitted = true;
  setZoom(Math.min(1.15, Math.max(SMALLEST_FIT, Math.min(room.clientWidth / width, room.clientHeight / height))));
}

/** @param {number} factor */
function zoomBy(factor) {
  isFitted = false;
  if (svg) setZoom(zoom * factor);
}

/** @param {number} value */
function setZoom(value) {
  zoom = Math.min(3, Math.max(0.15, value));
  const { width, height } = /** @type {any} */ (svg).viewBox.baseVal;
  svg?.setAttribute("width", String(width * zoom));
  svg?.setAttribute("height", String(height * zoom));
}

find("search").addEventListener("input", search);
find("fit").addEventListener("click", fit);
find("larger").addEventListener("click", () => zoomBy(1.2));
find("smaller").addEventListener("click", () => zoomBy(1 / 1.2));
window.addEventListener("resize", () => isFitted && fit());
document.addEventListener("keydown", onKey);
window.addEventListener("popstate", follow);
void start();
