/** What a trace says, as sections of a page: from the prediction back to the records of files. */

import { make } from "./panel.js";
import { count, page, place, rangesOf, records } from "./records.js";

/** @param {string} text a digest */
const short = (text) => make("code", { title: text }, text.slice(0, 12));

/** @param {string | null} text a time of day, in UTC */
const moment = (text) => text && `${text.slice(0, 19).replace("T", " ")} UTC`;

/** @param {[string, any][]} pairs those without a value are left out */
function facts(pairs) {
  const known = pairs.filter(([, value]) => value !== null && value !== undefined && value !== "");
  return make("dl", {}, ...known.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

/** @param {string} title @param {...(Element | string)} parts */
const card = (title, ...parts) => make("li", { class: "card" }, make("h3", {}, title), ...parts);

/** Whether it is all there, and what is not. @param {any} found */
export function verdict(found) {
  const words = found.complete ? "Complete: every step back to the files is on record, and their bytes are right." : "Not complete.";
  const said = [...found.problems, ...found.notes].map((text) => make("li", {}, text));
  const list = said.length ? [make("ul", {}, ...said)] : [];
  return make("div", { class: found.complete ? "verdict" : "verdict broken" }, make("p", {}, words), ...list);
}

/** Prediction, model, training and row, in the order of the way back. @param {any} found */
export function way(found) {
  const cards = found.prediction ? [predictionCard(found.prediction), modelCard(found), trainingCard(found.training)] : [];
  return make("ol", { class: "way" }, ...cards, rowCard(found));
}

/** @param {any} item */
function predictionCard(item) {
  const [answer, what] = item.probability === undefined ? [item.margin, "margin"] : [item.probability, "probability"];
  return card(
    "Prediction",
    make("p", { class: "big" }, `${answer} `, make("small", {}, what)),
    facts([
      ["Key", item.key],
      ["Made", moment(item.made_at)],
      ["For", item.caller],
      ["Engine", item.engine],
      ["Margin", `${item.margin} (bits ${item.margin_bits})`],
      ["Request", short(item.request_sha256)],
      ["Inputs", item.inputs === "client" ? "client: the features came with the request" : "the feature table"],
    ]),
  );
}

/** @param {any} found */
function modelCard({ prediction, bundle }) {
  const files = make("ul", {}, ...bundle.files.map((/** @type {any} */ file) => make("li", {}, file.path, " ", short(file.sha256))));
  return card(
    "Model",
    facts([
      ["Name", prediction.model],
      ["Bundle", short(bundle.version)],
      ["Step", bundle.dataset],
    ]),
    make("details", {}, make("summary", {}, `${bundle.files.length} files`), files),
  );
}

/** @param {any} item */
function trainingCard(item) {
  if (!item.run_id) return card("Training", make("p", {}, "No run is on record."));
  const packages = Object.entries(item.environment?.packages ?? {}).map(([name, version]) => `${name} ${version}`);
  const tables = item.tables.map((/** @type {any} */ table) =>
    make("li", {}, `${place(table)} `, short(table.version), ` ${count(table.row_count ?? 0)} rows`),
  );
  return card(
    "Training",
    facts([
      ["Step", item.step],
      ["Run", short(item.run_id)],
      ["Ended", moment(item.ended_at)],
      ["Code", short(item.code)],
      ["Commit", item.commit ? short(item.commit) : "none"],
      ["Learnt from", `${count(item.rows)} rows`],
      ["Environment", [`Python ${item.environment?.python}`, ...packages].join(", ")],
    ]),
    make("details", {}, make("summary", {}, `${tables.length} table versions`), make("ul", {}, ...tables)),
    make("details", {}, make("summary", {}, "Parameters"), facts(parameters(item.parameters ?? {}))),
  );
}

/** @param {Record<string, any>} found @returns {[string, string][]} */
function parameters(found) {
  return Object.keys(found).sort().map((name) => {
    const value = found[name];
    return [name, typeof value === "object" ? JSON.stringify(value) : String(value)];
  });
}

/** @param {any} found */
function rowCard(found) {
  const row = found.table ?? found.features;
  if (!row.dataset) return card("Row", make("p", {}, "The features came with the request: there are no source rows behind them."));
  const steps = found.steps.map((/** @type {any} */ step) => make("li", {}, `${place(step)} `, short(step.version), rowsOf(step)));
  return card(
    found.table ? "Row" : "Feature row",
    facts([
      ["Table", place(row)],
      ["Row", String(row.position)],
      ["Version", short(row.version)],
    ]),
    make("details", {}, make("summary", {}, `${steps.length} table versions on the way`), make("ul", {}, ...steps)),
  );
}

/** @param {any} step */
function rowsOf(step) {
  return step.rows === null ? "" : ` ${count(step.rows)} of ${count(step.row_count ?? 0)} rows`;
}

/** @param {string} name @param {any} source @param {string} [feature] */
export function sourceSection(name, source, feature) {
  return make(
    "section",
    { class: "card", "data-source": place(source) },
    make("h3", {}, place(source)),
    facts([
      ["File", source.file],
      ["Version", short(source.version)],
      ["Origin", source.origin && make("span", { title: source.origin }, source.origin.replace(/(sha256=\w{12})\w+/, "$1…"))],
      ["Records", `${count(source.count)} of ${count(source.records)}`],
      ["Checks", checks(source.checks)],
    ]),
    rangesOf(source.ranges),
    records(name, source, source, feature),
  );
}

/** @param {any[]} found */
function checks(found) {
  if (!found.length) return "none";
  const parts = found.map((item) => {
    const words = `${item.passed} of ${item.expectations} expectations of ${item.suite} hold`;
    const failed = item.failed.map((/** @type {string} */ text) => make("li", {}, text));
    if (!failed.length) return make("div", { class: "held" }, `✓ ${words}`);
    const state = item.success ? "running" : "failed";
    return make("details", {}, make("summary", { class: state }, words), make("ul", {}, ...failed));
  });
  return make("div", {}, ...parts);
}

/**
 * A table of the features; each that has sources opens to its rows. `opened` is told which one is open.
 *
 * @param {string} name @param {any} found @param {(feature: string | null) => void} opened
 */
export function featureTable(name, found, opened) {
  const { values, origins } = found.features ?? { values: found.values, origins: found.columns };
  const body = make("tbody", {});
  for (const [feature, value] of Object.entries(values)) {
    const sources = origins[feature] ?? [];
    body.append(featureRow(name, feature, value, sources, opened));
  }
  const head = ["name", "value", "records by source"].map((text) => make("th", { scope: "col" }, text));
  return make("table", { class: "features" }, make("thead", {}, make("tr", {}, ...head)), body);
}

/** @param {string} name @param {string} feature @param {any} value @param {any[]} sources @param {(feature: string | null) => void} opened */
function featureRow(name, feature, value, sources, opened) {
  const counts = sources.map((item) => `${count(item.count)} of ${place(item)}`).join(", ");
  const opener = make("button", { type: "button", class: "opener", "aria-expanded": "false" }, feature);
  const row = make(
    "tr",
    { "data-feature": feature },
    make("td", {}, sources.length ? opener : feature),
    make("td", {}, value === null ? make("span", { class: "quiet" }, "null") : String(value)),
    make("td", {}, counts),
  );
  opener.addEventListener("click", () => {
    const isOpen = opener.getAttribute("aria-expanded") === "true";
    opener.setAttribute("aria-expanded", String(!isOpen));
    if (isOpen) row.nextElementSibling?.remove();
    else row.after(opening(name, feature, sources));
    opened(isOpen ? null : feature);
  });
  return row;
}

/** @param {string} name @param {string} feature @param {any[]} sources */
function opening(name, feature, sources) {
  const cell = make("td", { colspan: "3" });
  for (const source of sources) {
    const place_ = make("div", {}, make("p", { class: "quiet" }, "Loading…"));
    cell.append(make("h3", {}, `${place(source)}: ${count(source.count)}`), rangesOf(source.ranges), place_);
    page(name, source, 0, feature).then(
      (shown) => place_.replaceChildren(records(name, source, shown, feature)),
      (error) => place_.replaceChildren(make("p", { class: "failed" }, error.message)),
    );
  }
  return make("tr", { class: "opened" }, cell);
}
