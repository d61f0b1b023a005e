"""What is noted while a step's function puts its plan together: hidden columns that carry where rows come from, and the
stages at which rows were brought together.

A *link* is one or two hidden columns of a frame that lead to rows of an input or of a stage: a position, the id of a
group, or the bounds of a window. A *stage* is the rows of a frame just before they were grouped, in the order or by the
ids that its links lead to. Every stage is computed and written beside the table when the table is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from lineage.errors import RowsLostError

# How hidden columns are named; no author's column begins so.
HIDDEN = "\x1frows:"
# The column of a stage that holds the id of the group of each of its rows.
GROUP = "group"
# The column of what rows asked of the past that holds whose row it is.
ASKED = "__asked"

POSITION = pl.UInt32

Kind = Literal["group", "window", "past"]
How = Literal["filter", "join", "dedup", "slice"]


@dataclass(frozen=True)
class Link:
    """Hidden columns that lead to rows of `to`, an input or a stage by name: one position or id, or first and last."""

    columns: tuple[str, ...]
    to: str

    def renamed(self, names: Mapping[str, str]) -> Link:
        """The link under other names of its columns."""
        return Link(tuple(names.get(column, column) for column in self.columns), self.to)


# Where a value came from: a column of the rows that a link leads to, or (None) that they are there at all.
Origin = tuple[Link, str | None]
Origins = frozenset[Origin]


@dataclass(frozen=True)
class Ways:
    """Where the rows of a frame came from: its links, for each visible column the origins of its values, and what
    decided that a row is there."""

    links: tuple[Link, ...]
    columns: Mapping[str, Origins]
    rows: Origins

    def of(self, names: Iterable[str]) -> Origins:
        """Where the values of these columns came from."""
        return frozenset().union(*(self.columns.get(name, frozenset()) for name in names))

    def only(self, names: Iterable[str] | None = None) -> Ways:
        """What is behind the columns of these names (all, if None) and the rows, without links that nothing needs."""
        wanted = self.columns if names is None else dict.fromkeys(names)
        columns = {name: origins for name, origins in self.columns.items() if name in wanted}
        needed = {link for origins in (*columns.values(), self.rows) for link, _ in origins}
        return Ways(tuple(link for link in self.links if link in needed), columns, self.rows)

    def uses(self, link: Link) -> frozenset[str | None]:
        """The columns that a link is behind, and None if the rows are there because of it."""
        found = {name for name, origins in self.columns.items() if any(each == link for each, _ in origins)}
        return frozenset(found | {None for each, _ in self.rows if each == link})

    def with_links(self, links: Mapping[Link, Link]) -> Ways:
        """The same with other links instead of some."""

        def exchanged(origins: Origins) -> Origins:
            return frozenset((links.get(link, link), column) for link, column in origins)

        columns = {name: exchanged(origins) for name, origins in self.columns.items()}
        return Ways(tuple(links.get(link, link) for link in self.links), columns, exchanged(self.rows))


@dataclass(frozen=True)
class Stage:
    """Rows that were brought together: a plan of their own links, by `GROUP` or in the order of a window's bounds.

    `past` and `asked` belong to a look into the past: what is declared of it, and the plan of what each row asked.
    """

    name: str
    kind: Kind
    plan: pl.LazyFrame
    ways: Ways
    past: Mapping[str, Any] = field(default_factory=dict)
    asked: pl.LazyFrame | None = None

    def events_needed(self, aggregates: Iterable[str]) -> set[str]:
        """The columns of the events that these aggregates over the past look at."""
        declared = [self.past["aggregates"][name] for name in aggregates if name in self.past["aggregates"]]
        return {name for item in declared for name in (*item["keys"], item["known_at"], item["value"]) if name}


@dataclass(frozen=True)
class Cut:
    """Where rows may have been dropped: what did it, in words, and the plans of the rows before and after it."""

    how: How
    text: str
    before: pl.LazyFrame
    after: pl.LazyFrame
    links: tuple[Link, ...]


@dataclass
class Capture:
    """The notes of one call of one step's function. `rows` is how its opaque parts map rows, if it has any."""

    inputs: tuple[str, ...]
    rows: str | None = None
    stages: list[Stage] = field(default_factory=list)
    cuts: list[Cut] = field(default_factory=list)
    opaque: bool = False
    _columns: int = 0

    def column(self) -> str:
        """A new hidden column."""
        self._columns += 1
        return f"{HIDDEN}{self._columns}"

    def stage(
        self,
        kind: Kind,
        plan: pl.LazyFrame,
        ways: Ways,
        past: Mapping[str, Any] | None = None,
        asked: pl.LazyFrame | None = None,
    ) -> str:
        """Note a stage; returns its name."""
        name = f"stage{len(self.stages) + 1}"
        self.stages.append(Stage(name, kind, plan, ways, past or {}, asked))
        return name

    def declared(self, what: str) -> str:
        """How the step says that its opaque parts map rows; refused where it does not."""
        if self.rows is None:
            raise RowsLostError(
                f"{what} is Python code, which rows cannot be followed through; write it as Polars expressions, or say "
                'how rows map with rows="1:1", "group:<columns>" or "all" on the step'
            )
        self.opaque = True
        return self.rows


def lost(what: str, remedy: str) -> RowsLostError:
    """The refusal of an operation that rows cannot be followed through."""
    return RowsLostError(f"{what}: rows cannot be followed through it; {remedy}")
