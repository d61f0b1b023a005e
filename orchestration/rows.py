"""The verbs that ask about single rows going forwards: `headwater where` and `headwater excluded`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lineage.settings import Settings
from orchestration.project import open_workspace
from orchestration.questions import beyond_lines

# Ranges that a line lists before it counts the rest.
_LISTED = 4


def where(arguments: argparse.Namespace, settings: Settings) -> int:
    """`headwater where SOURCE:ROW`."""
    from lineage.tracing.tracer import Tracer
    from lineage.where import where as reached

    with open_workspace(settings) as space:
        found = reached(Tracer(space), arguments.name, limit=arguments.limit, offset=arguments.offset)
    if arguments.json:
        print(json.dumps(found, indent=2, default=str, ensure_ascii=False))
    else:
        _print((*_row_lines(found["row"]), *_reached_lines(found), *beyond_lines(found)))
    return 0


def excluded(arguments: argparse.Namespace, settings: Settings) -> int:
    """`headwater excluded TABLE[PARTITION]`."""
    from lineage.exclusions import ledger
    from lineage.tracing.tracer import Tracer

    with open_workspace(settings) as space:
        found = ledger(Tracer(space), arguments.name)
    if arguments.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        _print(_ledger_lines(found))
    return 0


def _row_lines(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "row", f"{row['file']}:{row['position']}  version {row['version'][:12]}"
    if "values" in row:
        yield "", ", ".join(f"{name}={value}" for name, value in zip(row["columns"], row["values"], strict=True))


def _reached_lines(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    tables = found["tables"]
    width = max((len(_place(item)) for item in tables), default=0)
    label = "tables"
    for item in tables:
        state = "" if item["current"] else "  superseded"
        rows = f"{item['rows']:>9,} row{' ' if item['rows'] == 1 else 's'}  {_ranges(item['ranges'])}{state}"
        yield label, f"{_place(item):<{width}}{rows}"
        label = ""
    if not tables:
        yield "tables", "none"
    for item in found["dropped"]:
        place = f"{item['step']}{_some(item['partitions'])}"
        yield "dropped", f"by {place}, as {item['input']}: {item['how']}: {item['reason']}"


def _place(item: Mapping[str, Any]) -> str:
    partition = f"[{item['partition']}]" if item["partition"] else ""
    return f"{item['dataset']}{partition}@{item['version'][:12]}"


def _some(partitions: Sequence[str]) -> str:
    more = f" and {len(partitions) - 1} more" if len(partitions) > 1 else ""
    return f"[{partitions[0]}{more}]" if partitions else ""


def _ranges(ranges: Sequence[Sequence[int]]) -> str:
    told = [str(first) if first == last else f"{first}-{last}" for first, last in ranges[:_LISTED]]
    more = f" and {len(ranges) - _LISTED:,} more ranges" if len(ranges) > _LISTED else ""
    return ", ".join(told) + more


def _ledger_lines(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "table", f"{_place(found)}  {found['rows']:,} rows"
    for item in found["inputs"]:
        lost = item["rows"] - item["reached"]
        said = f"{item['rows']:,} rows: {item['reached']:,} reached it, {lost:,} did not"
        yield item["input"], f"{_place(item)}  {said}"
        for part in item["excluded"]:
            yield "", f"{part['count']:>9,}  {part['how']}: {part['reason']}"


def _print(lines: Sequence[tuple[str, str]] | Iterator[tuple[str, str]]) -> None:
    for label, text in lines:
        print(f"{label:<12}  {text}".rstrip())


ROWS = {"where": where, "excluded": excluded}
