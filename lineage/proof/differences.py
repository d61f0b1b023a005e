"""What differs, in sentences: code, parameters and environment of two runs, and what `changes` finds in two tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.parquet as pq

from lineage.proof.changes import changed_columns, changed_nans, changed_rows, first_changed

# How many names, rows or values a sentence lists before it says how many more there are.
_LISTED = 5
# Characters of a value that a sentence quotes.
_LONGEST = 80

# Column -> its type, of the table on record and of the recomputed one.
_Types = tuple[Mapping[str, str], Mapping[str, str]]


def changed_code(before: Mapping[str, str] | None, now: Mapping[str, str]) -> list[str]:
    """Which definitions (`module:name` -> digest) changed, were added or are gone since; a sentence for each kind.

    Empty where all are the same; where none were recorded, a sentence that says so.
    """
    if before is None:
        return ["the code is another; which functions changed is not on record for this run"]
    kinds = {
        "changed": [name for name in before if name in now and before[name] != now[name]],
        "added": [name for name in now if name not in before],
        "gone": [name for name in before if name not in now],
    }
    return [f"{what}: {_listed(sorted(names))}" for what, names in kinds.items() if names]


def changed_values(before: Any, now: Any, name: str) -> list[str]:
    """Where two JSON values differ, each place once: `rounds: recorded 3, now 4`."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        places = list(dict.fromkeys([*before, *now]))
        return [
            line
            for key in places
            for line in changed_values(before.get(key), now.get(key), f"{name}.{key}" if name else str(key))
        ]
    return [] if _same(before, now) else [f"{name}: recorded {_quoted(before)}, now {_quoted(now)}"]


def changed_files(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """Which files (name -> sha256) differ, are missing or are new."""
    return [
        f"{name}: recorded {before.get(name, 'nothing')[:12]}, recomputed {now.get(name, 'nothing')[:12]}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


def changed_table(before: Path, now: Path, key: Sequence[str]) -> list[str]:
    """How the table in Parquet file `now` differs from that in `before`: columns, rows by `key`, cells.

    Without a key that is unique in both, rows are told by their number. Floats are compared by their bits. Where all
    cells are the same, it is said how the files differ else.
    """
    types = _types(before), _types(now)
    found, paired = _changed_rows(before, now, key)
    examples = found["examples"]["changed"]
    unseen = [cell for cell in found["cells"] if not any(cell in row["cells"] for row in examples)]
    examples = sorted([*examples, *first_changed(before, now, paired, unseen)], key=lambda row: row["rows"])
    lines = [*_columns(types), *_rows(found, types), *_cells(found, examples, types)]
    return lines or _changed_layout(before, now)


def _types(path: Path) -> dict[str, str]:
    return {name: str(kind) for name, kind in pl.read_parquet_schema(path).items()}


def _changed_rows(before: Path, now: Path, key: Sequence[str]) -> tuple[dict[str, Any], Sequence[str] | None]:
    """What `changes.changed_rows` finds, and by which key, or positions, it has paired rows."""
    found = changed_rows(before, now, key, examples=_LISTED)
    if found["only_a"] == found["only_b"] > 0 and not found["key"]:
        placed = changed_rows(before, now, None, examples=_LISTED)
        # As many rows are new as differ in their place: no row has moved.
        if placed["changed"] == found["only_a"]:
            return placed, None
    return found, found["key"]


def _columns(types: _Types) -> Iterator[str]:
    old, new = types
    found = changed_columns([*old.items()], [*new.items()])
    yield from (f"column {name!r} is gone" for name in found["gone"])
    yield from (f"column {name!r} is new" for name in found["added"])
    yield from (f"column {name!r} was of type {a}, and is {b}" for name, (a, b) in found["retyped"].items())
    if found["reordered"]:
        orders = [", ".join(name for name in side if name in old and name in new) for side in types]
        yield f"the columns were in the order {orders[0]}, and are in {orders[1]}"


def _rows(found: Mapping[str, Any], types: _Types) -> Iterator[str]:
    kinds = {"only_a": "recorded, not recomputed", "only_b": "recomputed, not recorded"}
    for side, (kind, what) in enumerate(kinds.items()):
        if found[kind]:
            first = ", ".join(_place(row, side, found["key"], types) for row in found["examples"][kind])
            yield f"{_count(found[kind], 'row')} {what}, first {first}"


def _cells(found: Mapping[str, Any], examples: Sequence[Mapping[str, Any]], types: _Types) -> Iterator[str]:
    """Of each column in how many of the rows that both have it differs, and its first values."""
    height = _count(found["changed"] + found["unchanged"], "row")
    for name, count in found["cells"].items():
        first = next(row for row in examples if name in row["cells"])
        a, b = (_cell(value, side[name]) for value, side in zip(first["cells"][name], types, strict=True))
        place = _place(first, 0, found["key"], types)
        yield f"column {name!r} differs in {count:,} of {height}, first at {place}: recorded {a}, recomputed {b}"


def _place(example: Mapping[str, Any], side: int, key: Sequence[str], types: _Types) -> str:
    """A row by its key, or by its number where it has none."""
    if not key:
        return f"row {example['rows'][side]}"
    return "+".join(f"{name}={_cell(example['key'][name], types[side][name])}" for name in key)


def _changed_layout(before: Path, now: Path) -> list[str]:
    """For files whose cells are the same and whose bytes are not."""
    old, new = pq.read_metadata(before), pq.read_metadata(now)
    if old.created_by != new.created_by:
        return [f"the cells are the same; the file was written by {old.created_by}, and is by {new.created_by}"]
    if changed_rows(before, now, None, examples=0)["changed"]:
        return ["the cells are the same, the order of the rows is not"]
    if names := changed_nans(before, now):
        return [f"the cells are the same, but NaN has other bits in {_listed(names)}"]
    if old.num_row_groups != new.num_row_groups:
        return [f"the cells are the same, in {old.num_row_groups} row groups and now in {new.num_row_groups}"]
    return ["the cells are the same, and are laid out otherwise in the file"]


def _same(before: Any, now: Any) -> bool:
    return type(before) is type(now) and bool(before == now)


def _quoted(value: Any) -> str:
    return _cut(repr(value))


def _cell(value: Any, kind: str) -> str:
    """A cell, as it is written in JSON, in words."""
    return _quoted(value) if kind == "String" else _cut(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _listed(names: Iterable[str]) -> str:
    first, *_ = names = list(names)
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{', '.join(names[:_LISTED])}{more}" if first else ""


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
