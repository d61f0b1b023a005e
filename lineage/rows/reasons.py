"""Why rows of a step's inputs reach no row of its table, written beside the table for the exclusion ledger.

While a step's function is followed, every operation that may drop rows is noted (`lineage.rows.capture.Cut`). Where
only one operation concerns an input, and nothing else can lose rows of it, it is why all of them are missing; otherwise
the rows that each operation dropped are worked out when the table is written, for then its code and its plans are at
hand. `lineage.exclusions` reads what is written here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from lineage.rows.capture import GROUP, Capture, Cut, Link, Stage, Ways
from lineage.rows.origins import parquet_writer
from lineage.versions import canonical_json

REASONS = "exclusions.json"
DROPPED = "exclusions.parquet"
FORMAT = 1

_UNMATCHED = {"how": "unmatched", "text": "no row of the table came from it"}
_UNSEEN = {"how": "window", "text": "in no row's window"}

# What dropped rows: how it did (filter, join, dedup, slice, window or unmatched), and a text such as the predicate.
Reason = Mapping[str, str]


def write_reasons(capture: Capture, ways: Ways, folder: Path) -> list[Path]:
    """Write what dropped rows of each input beside a table, whose own ways are `ways`; returns the files."""
    leads = _Leads(capture)
    said: dict[str, Any] = {}
    unclear: list[tuple[int, int, str, Cut]] = []
    for number, name in enumerate(capture.inputs):
        cuts = [cut for cut in capture.cuts if leads.to(cut.links, name)]
        by_one = len(cuts) == 1 and leads.stays_after(cuts[0], ways, name)
        said[name] = {
            "number": number,
            "cuts": [{"how": cut.how, "text": cut.text} for cut in cuts],
            "by_one": by_one,
            "otherwise": _UNSEEN if leads.only_by_window(ways.links, name) else _UNMATCHED,
        }
        if not by_one:
            unclear += [(number, place, name, cut) for place, cut in enumerate(cuts)]
    path = folder / REASONS
    path.write_bytes(canonical_json({"format": FORMAT, "inputs": said}) + b"\n")
    return [path, _write_dropped(leads, unclear, folder / DROPPED)] if unclear else [path]


def _write_dropped(leads: _Leads, unclear: Sequence[tuple[int, int, str, Cut]], path: Path) -> Path:
    found = leads.collected([cut for *_, cut in unclear])
    parts = []
    for number, place, name, cut in unclear:
        before, after = (leads.rows(frame, cut.links, name) for frame in found[id(cut)])
        parts.append(_numbered(number, place, np.setdiff1d(before, after)))
    table = pl.concat(parts).to_arrow()
    with parquet_writer(path, table.schema) as writer:
        writer.write_table(table)
    return path


def _numbered(number: int, place: int, rows: np.ndarray) -> pl.DataFrame:
    """The rows of an input that an operation dropped, with the numbers of both."""
    count = len(rows)
    columns = {"input": np.full(count, number), "cut": np.full(count, place), "position": rows}
    return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.UInt32))


@dataclass
class _Leads:
    """Which links lead to an input, straight or through stages, and to which of its rows."""

    capture: Capture
    _members: dict[str, pl.DataFrame] = field(default_factory=dict)

    def to(self, links: Iterable[Link], name: str) -> bool:
        """Whether any of these links leads to input `name`, other than by looking at the past."""
        return any(link.to == name or self.to(self._inside(link, but=("past",)), name) for link in links)

    def stays_after(self, cut: Cut, ways: Ways, name: str) -> bool:
        """Whether the table has a link that led to input `name` before `cut`: then nothing after it lost rows of it.

        Rows of groups and windows may be lost without an operation that is noted, but not those that have a link.
        """
        return any(link.to == name and link in cut.links for link in ways.links)

    def only_by_window(self, links: Sequence[Link], name: str) -> bool:
        """Whether rows of the input are looked at in windows or as the past of others, and in no other way."""
        apart = (self._inside(link, but=("window", "past")) for link in links)
        return self._mentions(links, name) and not any(
            link.to == name or self._mentions(inside, name) for link, inside in zip(links, apart, strict=True)
        )

    def collected(self, cuts: Iterable[Cut]) -> dict[int, tuple[pl.DataFrame, pl.DataFrame]]:
        """The links of the rows before and after each cut, by its id: computed together, as most is the same."""
        unique = {id(cut): cut for cut in cuts}
        plans = [_links_of(plan, cut.links) for cut in unique.values() for plan in (cut.before, cut.after)]
        frames = iter(pl.collect_all(plans, engine="streaming"))
        return dict(zip(unique, zip(frames, frames, strict=True), strict=True))

    def rows(self, frame: pl.DataFrame, links: Iterable[Link], name: str) -> np.ndarray:
        """The rows of input `name` that those of these links lead to that the frame still has: sorted, unique."""
        there = set(frame.columns)
        parts = [
            self._behind(frame, link, name) for link in links if set(link.columns) <= there and self.to([link], name)
        ]
        return np.unique(np.concatenate([np.empty(0, np.int64), *parts]))

    def _behind(self, frame: pl.DataFrame, link: Link, name: str) -> np.ndarray:
        if link.to == name:
            return frame[link.columns[0]].drop_nulls().unique().to_numpy().astype(np.int64)
        stage = self._stages[link.to]
        members = self._all_members(stage)
        chosen = _in_windows(frame, link, members) if stage.kind == "window" else _in_groups(frame, link, members)
        return self.rows(chosen, stage.ways.links, name)

    def _all_members(self, stage: Stage) -> pl.DataFrame:
        if stage.name not in self._members:
            self._members[stage.name] = stage.plan.collect(engine="streaming")
        return self._members[stage.name]

    def _mentions(self, links: Iterable[Link], name: str) -> bool:
        """Whether any of these links leads to input `name`, however."""
        return any(link.to == name or self._mentions(self._inside(link), name) for link in links)

    def _inside(self, link: Link, *, but: Sequence[str] = ()) -> Iterable[Link]:
        """The links of the stage that a link leads to, unless it leads to an input or a stage of these kinds."""
        stage = self._stages.get(link.to)
        return stage.ways.links if stage and stage.kind not in but else ()

    @property
    def _stages(self) -> dict[str, Stage]:
        return {stage.name: stage for stage in self.capture.stages}


def _links_of(plan: pl.LazyFrame, links: Iterable[Link]) -> pl.LazyFrame:
    """The columns of those links that the plan still has: what an operation made groups of has lost its own."""
    there = set(plan.collect_schema())
    kept = [link.columns for link in links if set(link.columns) <= there]
    return plan.select(*dict.fromkeys(column for columns in kept for column in columns))


def _in_groups(frame: pl.DataFrame, link: Link, members: pl.DataFrame) -> pl.DataFrame:
    return members.filter(pl.col(GROUP).is_in(frame[link.columns[0]].drop_nulls().unique().implode()))


def _in_windows(frame: pl.DataFrame, link: Link, members: pl.DataFrame) -> pl.DataFrame:
    bounds = frame.select(link.columns).drop_nulls()
    # How many windows begin less how many have ended, at each row.
    depth = np.zeros(members.height + 1, np.int64)
    np.add.at(depth, bounds[link.columns[0]].to_numpy(), 1)
    np.subtract.at(depth, bounds[link.columns[1]].to_numpy().astype(np.int64) + 1, 1)
    return members.filter(pl.Series(np.cumsum(depth[:-1]) > 0))
