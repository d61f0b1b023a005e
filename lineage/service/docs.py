"""Data Docs: what suites found on the versions of tables, as pages. They need nothing but what the runs recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any

from lineage.errors import NotFoundError
from lineage.service.markup import Html, link, page, tag, text, wording
from lineage.store import Store

Row = Mapping[str, Any]

# How many results of a dataset, or of one of its partitions, a page lists.
LISTED, OTHERS = 200, 10
WHOLE_NAME = "all"
_TABLE_LEVEL = "Table-Level Expectations"
_STATES = {"failed": "Failed", "warned": "Passed, with warnings", "passed": "Passed"}


def result_path(dataset: str, partition: str, sha256: str) -> str:
    """Where the result of a version stands, below the service's address."""
    return f"/docs/validations/{dataset}/{partition or WHOLE_NAME}/{sha256[:12]}"


def index_page(store: Store) -> str:
    """Every dataset with its suites' newest results, failures first."""
    rows = store.rows("newest_check_results")
    groups = [list(found) for _, found in groupby(rows, lambda row: (row["dataset"], row["suite"]))]
    groups.sort(key=lambda group: (_rank(group), group[0]["dataset"], group[0]["suite"]))
    failed = sum(not row["success"] for row in rows)
    summary = f"{len(rows):,} newest results, {failed:,} failed" if rows else "No suite has run yet."
    return page("Index", (), tag("h2", text("Validation results")), tag("p", text(summary)), *map(_group, groups))


def dataset_page(store: Store, dataset: str) -> str:
    """The results of a dataset, newest first; NotFoundError where there is none."""
    rows = store.rows("check_results_of_dataset", dataset=dataset, partition=None, prefix=None, limit=LISTED)
    if not rows:
        raise NotFoundError(f"No suite has run on {dataset!r}; /docs/ lists what was checked.")
    shown = [tag("h2", text(dataset)), _history(rows)]
    if len(rows) == LISTED:
        shown.append(tag("p", text(f"The newest {LISTED}.")))
    return page(dataset, (link(f"/docs/validations/{dataset}", dataset),), *shown)


def result_page(store: Store, dataset: str, partition: str, prefix: str, run: str | None = None) -> str:
    """One version's result: the newest, or that of the run named; NotFoundError where there is none."""
    asked = "" if partition == WHOLE_NAME else partition
    rows = store.rows("check_results_of_dataset", dataset=dataset, partition=asked, prefix=prefix, limit=LISTED)
    row = next((row for row in rows if run in (None, str(row["run_id"]))), None)
    if row is None:
        of = f" by run {run}" if run else ""
        raise NotFoundError(
            f"No suite has run on version {prefix!r} of {dataset}[{partition}]{of}; /docs/validations/{dataset} lists "
            "its results."
        )
    others = store.rows("check_results_of_dataset", dataset=dataset, partition=asked, prefix=None, limit=OTHERS)
    title = f"{dataset}[{partition}]" if asked else dataset
    trail = (link(f"/docs/validations/{dataset}", dataset), text(partition))
    return page(title, trail, tag("h2", text(title)), _facts(row), *_expectations(row), _more(row, others))


def suite_page(store: Store, pipeline: str, suite: str) -> str:
    """What a suite expects, in the words of the newest result; NotFoundError where it never ran."""
    rows = store.rows("newest_results_of_suite", pipeline=pipeline, suite=suite)
    if not rows:
        raise NotFoundError(f"No suite {suite!r} has run in {pipeline!r}; /docs/ lists those that have.")
    parts = [_suite_of(row) for row in rows]
    return page(f"{pipeline}/{suite}", (text(f"{pipeline}/{suite}"),), tag("h2", text(f"{pipeline}/{suite}")), *parts)


def missing_page(error: NotFoundError) -> str:
    """The page that says that there is none."""
    return page("Not found", (), tag("h2", text("Not found")), tag("p", text(error)))


def _rank(rows: Sequence[Row]) -> int:
    return min(list(_STATES).index(_state(row)) for row in rows)


def _state(row: Row) -> str:
    if not row["success"]:
        return "failed"
    return "warned" if row["warnings"] else "passed"


def _badge(state: str, label: str | None = None) -> Html:
    return tag("span", text(label or _STATES[state]), class_=f"badge {state}")


def _group(rows: Sequence[Row]) -> Html:
    first = rows[0]
    dataset, suite = first["dataset"], first["suite"]
    state = list(_STATES)[_rank(rows)]
    head = tag("h3", link(f"/docs/validations/{dataset}", dataset), text(" "), _badge(state))
    about = tag("p", text("suite "), link(_suite_path(row=first), suite), text(f", {first['evaluated']} expectations"))
    ordered = sorted(rows, key=lambda row: (list(_STATES).index(_state(row)), row["partition"]))
    chips = [tag("li", link(_path(row), row["partition"] or "all rows", class_=_state(row))) for row in ordered]
    return tag("section", head, about, tag("ul", *chips, class_="chips"))


def _suite_path(row: Row) -> str:
    return f"/docs/expectations/{row['dataset'].partition('/')[0]}/{row['suite']}"


def _path(row: Row) -> str:
    return result_path(row["dataset"], row["partition"], row["sha256"])


def _history(rows: Iterable[Row]) -> Html:
    names = ("Result", "Partition", "Suite", "Version", "Failed", "Checked")
    head = tag("thead", tag("tr", *(tag("th", text(name), scope="col") for name in names)))
    lines = []
    for row in rows:
        failed = f"{row['failures'] + row['warnings']} of {row['evaluated']}"
        cells = (
            link(f"{_path(row)}?run={row['run_id']}", _STATES[_state(row)], class_=_state(row)),
            text(row["partition"] or WHOLE_NAME),
            link(_suite_path(row), row["suite"]),
            text(row["sha256"][:12]),
            text(failed),
            text(_time(row["ended_at"])),
        )
        lines.append(tag("tr", *(tag("td", cell) for cell in cells)))
    return tag("div", tag("table", head, tag("tbody", *lines)), class_="scroll")


def _time(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC" if moment else ""


def _facts(row: Row) -> Html:
    wrong = row["failures"] + row["warnings"]
    share = 100 * (row["evaluated"] - wrong) / row["evaluated"] if row["evaluated"] else 100
    facts: list[tuple[str, Html]] = [
        ("Suite", link(_suite_path(row), row["suite"])),
        ("Evaluated Expectations", text(row["evaluated"])),
        ("Successful Expectations", text(row["evaluated"] - wrong)),
        ("Unsuccessful Expectations", text(f"{wrong} ({row['failures']} blocking)" if wrong else 0)),
        ("Success Percent", text(f"{share:.4g}%")),
        ("Version", tag("code", text(row["sha256"][:12]), title=row["sha256"])),
        ("Run", tag("code", text(row["run_id"]))),
        ("Checked", text(_time(row["ended_at"]))),
    ]
    listed = (tag("div", tag("dt", text(name)), tag("dd", value)) for name, value in facts)
    state = _state(row)
    note = " This version was refused: it never became visible." if row["state"] != "COMPLETE" else ""
    return tag("div", tag("p", _badge(state), text(note)), tag("dl", *listed), class_="facts")


def _expectations(row: Row) -> list[Html]:
    """A section for each column, those with failures first, and a switch that hides what held."""
    items = list(zip(row["expectations"], row["wording"] or [{}] * len(row["expectations"]), strict=True))
    sections: dict[str, list[tuple[Row, Row]]] = {}
    for item, words in items:
        sections.setdefault(item["column"] or _TABLE_LEVEL, []).append((item, words))
    found: list[Html] = []
    if any(not item["success"] for item, _ in items):
        box = tag("input", type="checkbox", id="failed-only")
        found.append(tag("p", tag("label", box, text(" Failed only")), class_="switch"))
    if row["wording"] is None:
        found.append(tag("p", text("The words and sampled values of this result are not kept (any more).")))
    order = sorted(sections, key=lambda name: min(_weight(item) for item, _ in sections[name]))
    return [*found, *(_section(name, sections[name]) for name in order)]


def _weight(item: Row) -> int:
    """Blocking failures first, then warnings."""
    return 2 if item["success"] else 0 if item["blocking"] else 1


def _section(name: str, items: list[tuple[Row, Row]]) -> Html:
    held = all(item["success"] for item, _ in items)
    names = ("Status", "Expectation", "Observed Value")
    head = tag("thead", tag("tr", *(tag("th", text(name), scope="col") for name in names)))
    lines = (_line(item, words) for item, words in sorted(items, key=lambda pair: _weight(pair[0])))
    table = tag("table", head, tag("tbody", *lines))
    return tag("section", tag("h3", text(name)), table, class_="held" if held else "broken")


def _line(item: Row, words: Row) -> Html:
    state = "passed" if item["success"] else "failed" if item["blocking"] else "warned"
    label = {"passed": "Succeeded", "failed": "Failed", "warned": "Warning"}[state]
    expected = [wording(words.get("expected") or [item["kind"]])]
    if "found" in words:
        expected.append(tag("div", wording(words["found"]), class_=f"found {state}"))
    elif not words and item["observed"]:
        expected.append(tag("div", text(item["text"]), class_=f"found {state}"))
    if "rows" in words:
        expected.append(
            tag("details", tag("summary", text("Rows that broke it")), wording(words["rows"]), class_="rows", open=True)
        )
    cells = (_badge(state, label), Html("".join(expected)), wording(words.get("observed") or ["--"]))
    shown = (tag("td", tag("div", cell)) for cell in cells)
    return tag("tr", *shown, class_="held" if item["success"] else "broken", title=item["kind"])


def _more(row: Row, others: Sequence[Row]) -> Html:
    rest = [other for other in others if (other["run_id"], other["suite"]) != (row["run_id"], row["suite"])]
    return tag("section", tag("h3", text("Other results")), _history(rest)) if rest else Html("")


def _suite_of(row: Row) -> Html:
    sections: dict[str, list[Html]] = {}
    for item, words in zip(row["expectations"], row["wording"] or [{}] * len(row["expectations"]), strict=True):
        said = wording(words.get("expected") or [item["kind"]])
        badge = Html("") if item["blocking"] else tag("span", text("warning"), class_="badge warned")
        line = tag("li", said, text(" "), badge, title=item["kind"])
        sections.setdefault(item["column"] or _TABLE_LEVEL, []).append(line)
    listed = (tag("section", tag("h3", text(name)), tag("ul", *lines)) for name, lines in sections.items())
    when = f"{len(row['expectations'])} expectations, as last checked on {row['dataset']} at {_time(row['ended_at'])}: "
    last = {**row, "warnings": any(not item["success"] for item in row["expectations"])}
    state = _state(last)
    return tag("div", tag("p", text(when), link(_path(row), _STATES[state], class_=state)), *listed, class_="suite")
