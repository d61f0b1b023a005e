"""The verbs that ask what is different, and what rests on a thing: `headwater diff` and `headwater impact`."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lineage.errors import HeadwaterError
from lineage.settings import Settings
from orchestration.project import open_workspace

# Names that a line lists before it counts the rest.
_LISTED = 6


def diff(arguments: argparse.Namespace, settings: Settings) -> int:
    """`headwater diff A B`: 0 when nothing differs, 1 when something does, 2 when they cannot be compared."""
    from lineage.diff import diff as compare

    try:
        with open_workspace(settings) as space:
            found = compare(space, arguments.a, arguments.b, examples=arguments.examples)
    except HeadwaterError as error:
        # As with diff(1): 1 must mean that they differ.
        print(f"headwater: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps(found, indent=2, default=str, ensure_ascii=False))
    else:
        for label, text in _diff_lines(found):
            print(f"{label:<12}  {text}".rstrip())
    return 0 if found["same"] else 1


def impact(arguments: argparse.Namespace, settings: Settings) -> int:
    """`headwater impact DATASET[@VERSION] | FILE | SOURCE:ROW`."""
    from lineage.impact import impact as reached_from
    from lineage.impact import table_of
    from lineage.tracing.rownames import is_row
    from lineage.tracing.tracer import Tracer
    from lineage.where import where

    with open_workspace(settings) as space:
        if is_row(arguments.name):
            found = where(Tracer(space), arguments.name, limit=arguments.limit, offset=arguments.offset)
        else:
            found = reached_from(space, arguments.name, limit=arguments.limit, offset=arguments.offset)
    if arguments.json:
        print(json.dumps(found, indent=2, default=str, ensure_ascii=False))
    elif arguments.csv:
        csv.writer(sys.stdout, lineterminator="\n").writerows(table_of(found))
    else:
        for label, text in impact_lines(found):
            print(f"{label:<12}  {text}".rstrip())
    return 0


# --- diff


def _diff_lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for side in ("a", "b"):
        yield side, _about(found["kind"], found[side])
    for name, tell in _TELL.items():
        if (section := found.get(name)) is not None:
            lines = [*tell(section)]
            if section["same"] is None:
                lines = ["not compared"]
            elif section["same"]:
                lines = ["the same"]
            yield from _under(name, lines)
    for note in found["notes"]:
        yield "note", note
    yield ("same", "") if found["same"] else ("differ", ", ".join(found["differs"]))


def _under(label: str, lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        yield label, line
        label = ""


def _about(kind: str, side: Mapping[str, Any]) -> str:
    if kind == "prediction":
        return f"{side['name']}  made {side['made_at'][:19]}  key {side['key']}  margin {side['margin']!r}"
    name, _, version = side["name"].partition("@")
    rows = "" if side["row_count"] is None else f"  {side['row_count']:,} rows"
    written = f"  {side['written_at'][:19]}  run {side['run_id']}" if side["run_id"] else ""
    return f"{name}@{version[:12]}{rows}{written}"


def _code(section: Mapping[str, Any]) -> Iterator[str]:
    a, b = section["digests"]
    yield f"{_short(a)} → {_short(b)}"
    if section["definitions"]:
        yield from _changes(section["definitions"], values=False)


def _changes(section: Mapping[str, Any], *, values: bool = True) -> Iterator[str]:
    for word, mark in (("changed", "~"), ("added", "+"), ("gone", "-")):
        for name, value in section[word].items():
            if not values:
                yield f"{mark} {name}"
            elif word == "changed":
                yield f"{mark} {name}  {_short(value[0])} → {_short(value[1])}"
            else:
                yield f"{mark} {name}  {_short(value)}"


def _inputs(section: Mapping[str, Any]) -> Iterator[str]:
    for word, mark in (("replaced", "~"), ("added", "+"), ("gone", "-")):
        for item in section[word]:
            partition = f"[{item['partition']}]" if item["partition"] else ""
            versions = " → ".join(version[:12] for version in item["versions"])
            counts = " → ".join(f"{count:,}" for count in item["row_counts"] if count is not None)
            rows = f"  {counts} rows" if counts else ""
            yield f"{mark} {item['input']}  {item['dataset']}{partition}  {versions}{rows}"


def _schema(section: Mapping[str, Any]) -> Iterator[str]:
    yield from _changes({**section, "changed": section["retyped"]})
    if section["reordered"]:
        yield "the columns stand in another order"


def _rows(section: Mapping[str, Any]) -> Iterator[str]:
    if "key" not in section:
        return
    a, b = section["counts"]
    by = f"by {', '.join(section['key'])}" if section["key"] else "as whole rows"
    yield f"{a:,} → {b:,}, {by}"
    numbers = [(f"{section[kind]:,} {words}") for kind, words in _KINDS.items()]
    yield ", ".join(numbers)
    for column, number in sorted(section["cells"].items(), key=lambda item: (-item[1], item[0])):
        yield f"~ {column}  in {number:,} rows"
    for name in section["uncompared"]:
        yield f"? {name}  has types that cannot be compared"
    for kind, mark in (("changed", "~"), ("only_a", "-"), ("only_b", "+")):
        for example in section["examples"][kind]:
            cells = "".join(f"  {name} {a} → {b}" for name, (a, b) in example.get("cells", {}).items())
            yield f"{mark} {' '.join(str(value) for value in example['key'].values())}{cells}"


def _names(section: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"+ {name}" for name in section["added"])
    yield from (f"- {name}" for name in section["gone"])
    if section["reordered"]:
        yield "in another order"


def _pair(section: Mapping[str, Any]) -> Iterator[str]:
    a, b = section["values"]
    yield f"{_short(a)} → {_short(b)}"


def _short(value: Any) -> str:
    """A digest as its first digits, anything else as it is."""
    is_digest = isinstance(value, str) and len(value) == 64
    return value[:12] if is_digest else str(value)


_KINDS = {"changed": "changed", "only_a": "only in a", "only_b": "only in b", "unchanged": "the same"}
# In the order in which they are told.
_TELL = {
    "model": _changes,
    "row": _changes,
    "request": _pair,
    "engine": _pair,
    "code": _code,
    "inputs": _inputs,
    "parameters": _changes,
    "declaration": _changes,
    "environment": _changes,
    "schema": _schema,
    "metrics": _changes,
    "features": lambda section: _names(section) if "reordered" in section else _changes(section),
    "files": _changes,
    "rows": _rows,
    "margin": _pair,
    "bytes": _pair,
}


# --- impact


def impact_lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    count = len(found["versions"])
    yield "of", f"{found['name']}  {count} version{'' if count == 1 else 's'}"
    yield from _under("tables", _table_lines(found["tables"]) or ["none"])
    yield from beyond_lines(found)


def beyond_lines(found: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What rests on tables: bundles, what was decided on them, and predictions."""
    yield from _under("bundles", [_bundle_line(item) for item in found["bundles"]] or ["none"])
    yield from _under("deployments", [_deployment_line(item) for item in found["deployments"]] or ["none"])
    predictions = found["predictions"]
    ways = ", ".join(f"{number:,} through {way}" for way, number in predictions["by"].items())
    yield "predictions", f"{predictions['count']:,}{f' ({ways})' if ways else ''}"
    for name, through in zip(predictions["ids"], predictions["through"], strict=True):
        yield "", f"{name}  {', '.join(through)}"
    if predictions["next"] is not None:
        yield "", f"… more with --offset {predictions['next']}"


def _table_lines(tables: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line a dataset: which partitions have current versions that rest on it, and how many were superseded."""
    current: dict[str, list[str]] = {}
    superseded: dict[str, int] = {}
    for item in tables:
        partitions = current.setdefault(item["dataset"], [])
        if item["current"]:
            partitions.append(f"{item['partition'] or 'all'}@{item['version'][:12]}")
        else:
            superseded[item["dataset"]] = superseded.get(item["dataset"], 0) + 1
    width = max(map(len, current), default=0)
    lines = []
    for dataset, partitions in current.items():
        more = f" and {len(partitions) - _LISTED} more" if len(partitions) > _LISTED else ""
        told = [f"{len(partitions)} current: {', '.join(partitions[:_LISTED])}{more}"] if partitions else []
        told += [f"{superseded[dataset]} superseded"] if dataset in superseded else []
        lines.append(f"{dataset:<{width}}  {'; '.join(told)}")
    return lines


def _bundle_line(item: Mapping[str, Any]) -> str:
    state = ", ".join(item["aliases"]) or "no alias"
    answers = "; it answers" if item["answers"] else ""
    return f"{item['model']}@{item['version'][:12]}  trained {item['trained_at'][:19]}  {state}{answers}"


def _deployment_line(item: Mapping[str, Any]) -> str:
    result = "promoted" if item["promoted"] else "not promoted"
    return f"{item['model']}@{item['version'][:12]}  {item['decided_at'][:19]}  {result} by {item['decided_by']}"


QUESTIONS = {"diff": diff, "impact": impact}
