"""The verb `headwater trace`: where a prediction, or a row of a table, comes from, told for people or as JSON."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from lineage.settings import Settings
from orchestration.project import open_workspace

# Records of a source, ranges of rows and partitions that a story shows; --source and --json have all.
_RECORDS = 5
_RANGES = 6
_PARTITIONS = 4
_NOT_FED = "·"

Line = tuple[str, str]


def trace(arguments: argparse.Namespace, settings: Settings) -> int:
    """`headwater trace ID|TABLE[PARTITION]:ROW`: 0 if complete, 1 if not; with --source, a page of its records."""
    from lineage.trace import Traces, to_json

    if arguments.source is None and (arguments.offset or arguments.limit is not None):
        print("headwater: --offset and --limit page the records of a --source; name one.", file=sys.stderr)
        return 2
    with open_workspace(settings) as space:
        traces = Traces(space)
        if arguments.source is not None:
            found = traces.records(
                arguments.name,
                _source(arguments.source),
                arguments.offset,
                100 if arguments.limit is None else arguments.limit,
                feature=arguments.feature,
            )
        else:
            found = traces.of(arguments.name, feature=arguments.feature)
        plain = json.loads(to_json(found))
    _print(plain, as_json=arguments.json)
    return 0 if plain.get("complete", True) else 1


def _print(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    for label, text in _page_lines(found) if "offset" in found else _story(found):
        print(f"{label:<12}  {text}".rstrip())


def _source(text: str) -> tuple[str, str]:
    dataset, _, partition = text.removesuffix("]").partition("[")
    return dataset, partition


def _story(found: Mapping[str, Any]) -> Iterator[Line]:
    if "prediction" in found:
        yield from _under("prediction", _prediction(found["prediction"]))
        yield from _under("model", _bundle(found))
        yield from _under("training", _training(found["training"]))
    yield from _under("row", _row(found))
    yield from _under("tables", [_table(step) for step in found["steps"]])
    for source in found["sources"]:
        yield from _under("source", _source_lines(source))
    yield from _under("features" if "features" in found else "columns", _features(found))
    yield from (("note", note) for note in found["notes"])
    yield from (("PROBLEM", problem) for problem in found["problems"])
    yield ("complete", "") if found["complete"] else ("NOT complete", "")


def _prediction(item: Mapping[str, Any]) -> Iterator[str]:
    yield str(item["id"])
    key = f", key {item['key']}" if item["key"] is not None else ""
    yield f"made {_moment(item['made_at'])} for {item['caller']} by {item['engine']}{key}"
    probability = f", probability {item['probability']!r}" if "probability" in item else ""
    yield f"margin {item['margin']!r} (bits {item['margin_bits']}){probability}"
    came = {"table": "features from the table", "client": "features sent by the client"}
    yield f"request {item['request_sha256'][:12]}, {came.get(item['inputs'], item['inputs'])}"


def _bundle(found: Mapping[str, Any]) -> Iterator[str]:
    bundle = found["bundle"]
    yield f"{found['prediction']['model']}@{bundle['version'][:12]}  {bundle['dataset']}, {len(bundle['files'])} files"


def _training(item: Mapping[str, Any]) -> Iterator[str]:
    if item["run_id"] is None:
        yield "no run is on record"
        return
    yield f"run {item['run_id']} of {item['step']}, ended {_moment(item['ended_at'])}"
    yield f"code {item['code'][:12]}, commit {(item['commit'] or 'none')[:12]}"
    yield f"parameters {_settings(item['parameters'])}"
    environment = item["environment"] or {}
    packages = " ".join(f"{name} {version}" for name, version in environment.get("packages", {}).items())
    place = " ".join(str(environment[name]) for name in ("machine", "processor") if environment.get(name))
    yield f"environment Python {environment.get('python')}, {packages}, {place}"
    yield f"{item['rows']:,} rows of {_tables(item['tables'])}"


def _settings(parameters: Mapping[str, Any] | None) -> str:
    """Numbers and words; of a list only how long it is."""
    told = []
    for name, value in sorted((parameters or {}).items()):
        if isinstance(value, list):
            told.append(f"{len(value)} {name}")
        elif isinstance(value, dict):
            told.append(f"{name} {' '.join(f'{key}={each}' for key, each in sorted(value.items()))}")
        else:
            told.append(f"{name}={value}")
    return ", ".join(told)


def _tables(tables: Iterable[Mapping[str, Any]]) -> str:
    by_dataset: dict[str, list[str]] = {}
    for item in tables:
        by_dataset.setdefault(item["dataset"], []).append(f"{item['partition'] or 'all'}@{item['version'][:12]}")
    told = []
    for dataset, versions in by_dataset.items():
        more = f" and {len(versions) - _PARTITIONS} more" if len(versions) > _PARTITIONS else ""
        told.append(f"{dataset} ({', '.join(versions[:_PARTITIONS])}{more})")
    return ", ".join(told)


def _row(found: Mapping[str, Any]) -> Iterator[str]:
    place = found.get("table") or found["features"]
    if place["dataset"] is None:
        yield "as the client sent it; the request is known by its digest"
        return
    yield f"{_place(place)}:{place['position']}  version {place['version'][:12]}"


def _table(step: Mapping[str, Any]) -> str:
    rows = "" if step["rows"] is None else f"  {step['rows']:,} of {step['row_count'] or 0:,} rows"
    commit = f" at commit {step['commit'][:12]}" if step["commit"] else ""
    return f"{_place(step)}@{step['version'][:12]}{rows}  run {step['run_id']}, code {step['code'][:12]}{commit}"


def _source_lines(source: Mapping[str, Any]) -> Iterator[str]:
    yield f"{_place(source)}  {source['file']}  version {source['version'][:12]}"
    yield f"{source['count']:,} of {source['records']:,} records: {_ranges(source['ranges'])}"
    for check in source["checks"]:
        yield f"{check['passed']} of {check['expectations']} expectations of {check['suite']} hold"
        yield from (f"  not {text}" for text in check["failed"])
        yield from (f"  {rows:,} rows quarantined by {text}" for text, rows in check.get("quarantined", ()))
    if not source.get("exact", True):
        yield "at most from these columns:"
    if source["columns"]:
        yield from _aligned(source["columns"], source["rows"][:_RECORDS], source["values"][:_RECORDS])
    if source["count"] > _RECORDS:
        yield f"… {source['count'] - _RECORDS:,} more with --source '{_place(source)}'"


def _features(found: Mapping[str, Any]) -> Iterator[str]:
    """A line a feature: its value, and how many records of each source it came from."""
    features = found.get("features") or {"values": found["values"], "origins": found["columns"]}
    names = [name for name in features["values"] if name in features["origins"] or not features["origins"]]
    lines = [
        (name, _value(features["values"][name]), ", ".join(_counts(features["origins"].get(name, ()))))
        for name in names
    ]
    widths = [max((len(line[place]) for line in lines), default=0) for place in (0, 1)]
    for name, value, counts in lines:
        yield f"{name:<{widths[0]}}  {value:<{widths[1]}}  {counts}".rstrip()


def _counts(sources: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    return (f"{item['count']:,} of {_place(item)}" for item in sources)


def _page_lines(found: Mapping[str, Any]) -> Iterator[Line]:
    first, shown = found["offset"], len(found["rows"])
    yield "source", f"{_place(found)}  {found['file']}  version {found['version'][:12]}"
    yield "", f"records {first + 1:,} to {first + shown:,} of {found['count']:,}" if shown else "no more records"
    yield from (("", line) for line in _aligned(found["columns"], found["rows"], found["values"]))
    if first + shown < found["count"]:
        yield "", f"… more with --offset {first + shown}"


def _aligned(columns: Sequence[str], rows: Sequence[int], values: Sequence[Sequence[str | None]]) -> Iterator[str]:
    """Records as a table, each with its row number; a newline in a value is shown, not made.

    A cell that the feature asked for did not come from is a dot.
    """
    records = ([_NOT_FED if value is None else _shown(value) for value in record] for record in values)
    lines = [["row", *columns], *([str(row), *record] for row, record in zip(rows, records, strict=True))]
    lines = [line + [""] * (max(map(len, lines)) - len(line)) for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        yield "  ".join(f"{text:<{width}}" for text, width in zip(line, widths, strict=True)).rstrip()


def _ranges(found: Sequence[Sequence[int]]) -> str:
    told = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in found[:_RANGES])
    more = f" and {len(found) - _RANGES:,} more ranges" if len(found) > _RANGES else ""
    return f"{told}{more}" or "none"


def _under(label: str, lines: Iterable[str]) -> Iterator[Line]:
    for line in lines:
        yield label, line
        label = ""


def _place(item: Mapping[str, Any]) -> str:
    return f"{item['dataset']}[{item['partition']}]" if item["partition"] else str(item["dataset"])


def _moment(text: str) -> str:
    return text[:19].replace("T", " ")


def _value(value: Any) -> str:
    return "null" if value is None else _shown(str(value))


def _shown(text: str) -> str:
    """Text on one line, and without what a terminal would obey."""
    return text if text.isprintable() else "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
