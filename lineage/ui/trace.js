/**
 * The page that tells where one prediction, or one row, comes from.
 *
 * What is asked is in the address (/trace/NAME?feature=…), so that what is seen can be sent to somebody.
 */

import { make } from "./panel.js";
import { get } from "./records.js";
import { featureTable, sourceSection, verdict, way } from "./story.js";

/** @param {string} id @returns {any} */
const find = (id) => document.getElementById(id);

const named = () => decodeURIComponent(location.pathname.replace(/^\/trace\/?/, ""));
const featureInAddress = () => new URLSearchParams(location.search).get("feature");

async function start() {
  const name = named();
  find("name").value = name;
  if (name) await show(name);
  else {
    say(
      "Enter the id of a prediction, as it came with the answer (ID.i is row i of a batch), or a row of a table or " +
        "source, such as flights.features[2013-11]:1000.",
    );
    find("name").focus();
  }
  find("story").removeAttribute("aria-busy");
}

/** @param {string} name */
async function show(name) {
  document.title = `${name} · Headwater trace`;
  let found;
  try {
    found = await get(`/api/v1/traces/${encodeURIComponent(name)}`);
  } catch (error) {
    say(/** @type {Error} */ (error).message);
    return;
  }
  const sources = found.sources.map((/** @type {any} */ source) => sourceSection(name, source));
  const features = featureTable(name, found, remember);
  find("story").replaceChildren(
    make("h2", {}, name, " ", make("a", { href: location.pathname, id: "permalink" }, "permalink")),
    verdict(found),
    way(found),
    make("h2", {}, `Sources (${sources.length})`),
    ...(sources.length ? sources : [make("p", {}, "None: nothing on record leads to the rows of a file.")]),
    make("h2", {}, found.table ? "Columns" : "Features"),
    ...(sources.length ? [make("p", { class: "quiet" }, "Open one to see the records that its value came from.")] : []),
    make("div", { class: "scroll features-box" }, features),
  );
  const feature = featureInAddress();
  if (feature) open(feature);
}

/** @param {string} feature */
function open(feature) {
  const row = document.querySelector(`[data-feature="${CSS.escape(feature)}"]`);
  const opener = row?.querySelector("button");
  opener?.click();
  (opener ?? row)?.scrollIntoView({ block: "start" });
}

/** @param {string | null} feature */
function remember(feature) {
  const address = feature ? `?feature=${encodeURIComponent(feature)}` : location.pathname;
  history.replaceState(null, "", address);
  find("permalink").href = location.href;
}

/** @param {string} text */
function say(text) {
  find("story").replaceChildren(make("p", { id: "message", role: "status" }, text));
}

/** @param {SubmitEvent} event */
function ask(event) {
  event.preventDefault();
  const name = find("name").value.trim();
  if (name) location.assign(`/trace/${encodeURIComponent(name)}`);
}

find("ask").addEventListener("submit", ask);
void start();
