/**
 * What is known of one node, beside the graph.
 *
 * @typedef {import("./draw.js").Node} Node
 */

import { stateOf } from "./draw.js";

/**
 * @param {HTMLElement} panel
 * @param {Node} node
 * @param {{choose: (id: string) => void, close: () => void}} actions
 */
export function showPanel(panel, node, { choose, close }) {
  const isJob = node.type === "JOB";
  const closer = make("button", { type: "button", class: "close", "aria-label": "Close" }, "×");
  closer.addEventListener("click", close);
  panel.replaceChildren(
    closer,
    make("p", { class: "kind" }, isJob ? "Job" : "Dataset"),
    make("h2", {}, node.data.name),
    ...(isJob ? jobParts(node) : datasetParts(node)),
    ...links(isJob ? "Reads" : "Written by", node.inEdges.map((edge) => edge.origin), choose),
    ...links(isJob ? "Writes" : "Read by", node.outEdges.map((edge) => edge.destination), choose),
    ...facetParts(node.data.facets, "Facets"),
  );
  panel.hidden = false;
  panel.scrollTop = 0;
  if (isJob && node.data.latestRun) void showRun(panel, node.data.latestRun.id);
}

/** @param {Node} node */
function datasetParts({ data }) {
  const statistics = data.facets.outputStatistics ?? {};
  return [
    facts([
      ["Namespace", data.namespace],
      ["About", data.description],
      ["Updated", time(data.updatedAt)],
      ["Newest version", data.currentVersion && code(data.currentVersion)],
      ["Its rows", isNumber(statistics.rowCount) && statistics.rowCount.toLocaleString("en")],
      ["Its size", isNumber(statistics.size) && bytes(statistics.size)],
    ]),
    ...checks(data.facets.dataQualityAssertions?.assertions),
    ...table("Fields", ["name", "type"], data.fields.map((/** @type {any} */ field) => [field.name, field.type ?? ""])),
  ];
}

/** @param {Node} node */
function jobParts(node) {
  const { data } = node;
  const run = data.latestRun;
  const state = make("span", { class: `state ${stateOf(node)}` }, stateOf(node));
  const place = data.facets.sourceCodeLocation ?? {};
  return [
    facts([
      ["Namespace", data.namespace],
      ["Kind", data.facets.jobType?.jobType],
      ["Code", [place.path, place.version?.slice?.(0, 12)].filter(Boolean).join(" @ ")],
      ["About", data.description],
    ]),
    make("h3", {}, "Latest run"),
    facts([
      ["State", state],
      ["Run", run && code(run.id)],
      ["Started", run && time(run.startedAt)],
      ["Took", isNumber(run?.durationMs) && `${(run.durationMs / 1000).toLocaleString("en")} s`],
    ]),
    make("div", { class: "run" }),
  ];
}

/** What only the run itself tells: its partition and its error. @param {HTMLElement} panel @param {string} id */
async function showRun(panel, id) {
  const place = panel.querySelector(".run");
  const response = await fetch(`/api/v1/jobs/runs/${encodeURIComponent(id)}`);
  if (!response.ok || !place?.isConnected) return;
  const run = await response.json();
  const error = run.facets.errorMessage?.message;
  place.append(
    facts([
      ["For", run.nominalStartTime && `${time(run.nominalStartTime)} to ${time(run.nominalEndTime)}`],
      ["Engine", [run.facets.processing_engine?.name, run.facets.processing_engine?.version].filter(Boolean).join(" ")],
    ]),
    ...(error ? [make("pre", { class: "error" }, String(error))] : []),
    ...facetParts(run.facets, "Facets of the run"),
  );
}

/** The failed ones first, and the rest on demand. @param {any} assertions */
function checks(assertions) {
  if (!Array.isArray(assertions)) return [];
  const failed = assertions.filter((item) => !item.success);
  const held = assertions.filter((item) => item.success);
  const rest = make("details", {}, make("summary", {}, `${held.length} hold`), checkTable(held));
  return [
    make("h3", {}, `Checks (${assertions.length})`),
    ...(failed.length ? [make("p", { class: "failed" }, `✕ ${failed.length} failed`), checkTable(failed)] : []),
    ...(held.length ? [rest] : []),
  ];
}

/** @param {any[]} assertions */
function checkTable(assertions) {
  const rows = assertions.map((item) => {
    const words = String(item.assertion ?? "").replace(/^expect_/, "").replaceAll("_", " ");
    return [item.column ?? "table", item.actual ? `${words} (${item.actual})` : words];
  });
  return grid(["column", "expectation"], rows);
}

/** @param {string} title @param {string[]} ids @param {(id: string) => void} choose */
function links(title, ids, choose) {
  if (!ids.length) return [];
  const items = ids.map((id) => {
    const button = make("button", { type: "button", class: "link" }, id.split(":").slice(2).join(":") || id);
    button.addEventListener("click", () => choose(id));
    return make("li", {}, button);
  });
  return [make("h3", {}, title), make("ul", {}, ...items)];
}

/** @param {Record<string, unknown>} facets @param {string} title */
function facetParts(facets, title) {
  const names = Object.keys(facets).sort();
  if (!names.length) return [];
  const details = names.map((name) =>
    make("details", {}, make("summary", {}, name), make("pre", {}, JSON.stringify(facets[name], null, 2))),
  );
  return [make("h3", {}, title), ...details];
}

/** @param {string} title @param {string[]} heads @param {string[][]} rows */
function table(title, heads, rows) {
  return rows.length ? [make("h3", {}, `${title} (${rows.length})`), grid(heads, rows)] : [];
}

/** @param {string[]} heads @param {string[][]} rows */
function grid(heads, rows) {
  const head = make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text)));
  const body = rows.map((row) => make("tr", {}, ...row.map((text) => make("td", {}, text))));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...body));
}

/** @param {[string, any][]} pairs those without a value are left out */
function facts(pairs) {
  const known = pairs.filter(([, value]) => value);
  return make("dl", {}, ...known.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

/** @param {string} text */
function code(text) {
  return make("code", { title: text }, text);
}

/** @param {unknown} value @returns {value is number} */
function isNumber(value) {
  return typeof value === "number";
}

/** @param {string | null} text */
function time(text) {
  return text && text.replace("T", " ").replace(/(\.\d+)?Z$/, "").replace(/ 00:00:00$/, "");
}

/** @param {number} count */
function bytes(count) {
  const power = Math.min(Math.floor(Math.log10(Math.max(count, 1)) / 3), 4);
  const scaled = (count / 1000 ** power).toLocaleString("en", { maximumFractionDigits: 1 });
  return `${scaled} ${["B", "kB", "MB", "GB", "TB"][power]}`;
}

/**
 * @param {string} name @param {Record<string, string>} attributes @param {...(Node | Element | string)} children
 * @returns {HTMLElement}
 */
export function make(name, attributes, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  // append() takes strings as text, never as markup.
  made.append(.../** @type {(Element | string)[]} */ (children));
  return made;
}
