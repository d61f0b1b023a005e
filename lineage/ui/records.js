/**
 * Records of a file as they stand in it, a page at a time.
 *
 * @typedef {{dataset: string, partition: string, count: number, ranges: number[][]}} Counted rows of one source
 * @typedef {{columns: string[] | null, rows: number[], values: (string | null)[][]}} Shown a value is null where the feature asked for did not come from it
 */

import { make } from "./panel.js";

export const PAGE = 100;
/** Ranges that are written out before the reader asks for all. */
const RANGES = 8;

/** @param {{dataset: string, partition: string}} item */
export const place = (item) => (item.partition ? `${item.dataset}[${item.partition}]` : item.dataset);

/** @param {number} number */
export const count = (number) => number.toLocaleString("en");

/** @param {string} url @returns {Promise<any>} the answer; throws an Error with a sentence that says what to do */
export async function get(url) {
  let response;
  try {
    response = await fetch(url);
  } catch {
    throw new Error("The lineage service does not answer. Start it with `headwater up`, then load this page again.");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(answer.error ?? `The lineage service answered ${response.status}; see its log.`);
  return answer;
}

/** Row numbers as runs, the rest on demand. @param {number[][]} ranges */
export function rangesOf(ranges) {
  const all = ranges.map(([first, last]) => (first === last ? `${first}` : `${first}–${last}`));
  if (all.length <= RANGES) return make("p", { class: "quiet" }, `Rows ${all.join(", ")}`);
  const more = make("details", {}, make("summary", {}, `Rows ${all.slice(0, RANGES).join(", ")} … ${count(all.length)} ranges`));
  // Thousands of numbers are written only for who wants to see them.
  more.addEventListener("toggle", () => more.children.length > 1 || more.append(make("p", {}, all.join(", "))), {
    once: true,
  });
  more.className = "quiet";
  return more;
}

/**
 * The records behind `name`, or behind one `feature` of it, in one source: those that are there, the next at a button.
 *
 * @param {string} name @param {Counted} source @param {Shown} shown @param {string} [feature]
 */
export function records(name, source, shown, feature) {
  const box = make("div", {});
  const body = make("tbody", {});
  const said = make("span", { class: "quiet", role: "status" });
  const next = make("button", { type: "button" });
  const label = `Records of ${place(source)}`;

  /** @param {Shown} page */
  const add = (page) => {
    page.rows.forEach((row, index) => {
      const cells = page.values[index].map((value) => make("td", {}, value ?? "·"));
      body.append(make("tr", {}, make("th", { scope: "row" }, String(row)), ...cells));
    });
    const left = source.count - body.children.length;
    said.textContent = `${count(body.children.length)} of ${count(source.count)} shown `;
    next.hidden = left <= 0;
    next.textContent = `Next ${Math.min(PAGE, left)}`;
  };
  next.addEventListener("click", async () => {
    next.disabled = true;
    try {
      add(await page(name, source, body.children.length, feature));
    } catch (error) {
      said.textContent = /** @type {Error} */ (error).message;
    }
    next.disabled = false;
  });
  if (!shown.columns) return make("p", { class: "failed" }, "These records cannot be read; the problems above say why.");
  const head = make("tr", {}, ...["row", ...shown.columns].map((text) => make("th", { scope: "col" }, text)));
  const table = make("table", { class: "records" }, make("thead", {}, head), body);
  box.append(make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": label }, table), said, next);
  add(shown);
  return box;
}

/** @param {string} name @param {Counted} source @param {number} offset @param {string} [feature] */
export function page(name, source, offset, feature) {
  const asked = new URLSearchParams({ source: source.dataset, partition: source.partition });
  asked.set("offset", String(offset));
  asked.set("limit", String(PAGE));
  if (feature) asked.set("feature", feature);
  return get(`/api/v1/traces/${encodeURIComponent(name)}/records?${asked}`);
}
