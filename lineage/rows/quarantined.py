"""What the row lineage of a table says of the rows that its checks put aside, and that of these rows themselves.

The table's own ledger names the expectation as what dropped them (`note_cuts`). They have origins of their own: their
links, and a description beside them that is the table's, with their two columns more.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import polars as pl

from lineage.quarantine import EXPECTATIONS, HOW
from lineage.rows.capture import Capture, Cut, Ways
from lineage.rows.origins import stored_names
from lineage.versions import canonical_json

_FIRST = "first"


def note_cuts(capture: Capture, ways: Ways, kept: Path, aside: Path, table: Path) -> None:
    """Note what put rows aside as the last that dropped rows: a cut for each expectation that any row broke first.

    `kept` and `aside` are the written links of the rows that went on and of the others, `table` is that of the others.
    """
    names = {stored: column for column, stored in stored_names(ways.links).items()}
    broken = pl.read_parquet(table, columns=[EXPECTATIONS]).select(pl.col(EXPECTATIONS).list.first().alias(_FIRST))
    firsts = broken.to_series().unique(maintain_order=True).to_list()
    if not names or not firsts:
        return
    on = pl.scan_parquet(kept).rename(names)
    off = pl.concat([pl.read_parquet(aside).rename(names), broken], how="horizontal")
    for at, text in enumerate(firsts):
        before, after = (
            pl.concat([on, off.lazy().filter(pl.col(_FIRST).is_in(firsts[begin:])).drop(_FIRST)])
            for begin in (at, at + 1)
        )
        capture.cuts.append(Cut(cast(Any, HOW), text, before, after, ways.links))


def write_description(described: Path, judged: Iterable[str], path: Path) -> Path:
    """Write at `path` where the columns of rows that were put aside come from, by the table's own description; that
    they broke an expectation comes from the columns `judged`."""
    found: dict[str, Any] = json.loads(described.read_bytes())
    behind: dict[str, set[str]] = {}
    for name in judged:
        origins: Mapping[str, list[str]] = found["columns"].get(name, {})
        for link, columns in origins.items():
            behind.setdefault(link, set()).update(columns)
    found["columns"][EXPECTATIONS] = {link: sorted(columns) for link, columns in behind.items()}
    path.write_bytes(canonical_json(found) + b"\n")
    return path
