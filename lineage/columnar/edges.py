"""What one column owes to others: edges from source columns, and how they add up along a plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

Direct = Literal["IDENTITY", "TRANSFORMATION", "AGGREGATION"]
Indirect = Literal["JOIN", "GROUP_BY", "FILTER", "SORT", "WINDOW", "CONDITIONAL"]

_RANK: dict[Direct, int] = {"IDENTITY": 0, "TRANSFORMATION": 1, "AGGREGATION": 2}


class Cell(NamedTuple):
    """A column of an input."""

    input: str
    column: str


@dataclass(frozen=True)
class Edge:
    """How a column feeds another: `direct` if its values become the other's, `indirect` if it decides which do.

    `text` is the expression that makes the values, `indirect` maps what a column decides to the expression in which it
    does.
    """

    direct: Direct | None = None
    text: str = ""
    indirect: Mapping[Indirect, str] = field(default_factory=dict)

    def with_(self, other: Edge) -> Edge:
        """Both: the values that are changed most stand for all."""
        mine, theirs = (-1 if edge.direct is None else _RANK[edge.direct] for edge in (self, other))
        stronger = other if theirs > mine else self
        return Edge(stronger.direct, stronger.text, {**other.indirect, **self.indirect})

    def lifted(self, by: Direct, text: str) -> Edge:
        """The edge after a further expression made something of its values."""
        if self.direct is None or by == "IDENTITY":
            return self
        most = by if _RANK[by] > _RANK[self.direct] else self.direct
        return replace(self, direct=most, text=text or self.text)

    def only_decides(self, what: Indirect, text: str) -> Edge:
        """The edge of a column that is only asked which values there are to be."""
        return Edge(indirect={**self.indirect, **({} if self.direct is None else {what: text})})


Edges = Mapping[Cell, Edge]
NOTHING: Edges = {}


def together(*found: Edges) -> Edges:
    """All edges; those from one column as one."""
    made: dict[Cell, Edge] = {}
    for edges in found:
        for cell, edge in edges.items():
            made[cell] = made[cell].with_(edge) if cell in made else edge
    return made


def deciding(edges: Edges, what: Indirect, text: str) -> Edges:
    """The edges of columns that are only asked which values there are to be."""
    return {cell: edge.only_decides(what, text) for cell, edge in edges.items()}


@dataclass(frozen=True)
class Value:
    """Where the values of a column come from. Not `exact`: perhaps not from all of these.

    `fields` are those of a struct, where they are known one by one. `unordered` if sorting by it leaves nothing of the
    order that there was: no two rows have the same.
    """

    edges: Edges = field(default_factory=dict)
    exact: bool = True
    fields: Mapping[str, Value] | None = None
    unordered: bool = False

    def lifted(self, by: Direct, text: str = "") -> Value:
        """What an expression makes of them."""
        return Value({cell: edge.lifted(by, text) for cell, edge in self.edges.items()}, self.exact)

    def deciding(self, what: Indirect, text: str) -> Value:
        """The same as what decides about values only."""
        return Value(deciding(self.edges, what, text), self.exact)

    def plain(self) -> Value:
        """Without what is known of rows: for where some may have become several."""
        return replace(self, unordered=False)


def merged(values: Iterable[Value]) -> Value:
    """One column of values from all of these."""
    found = list(values)
    return Value(together(*(value.edges for value in found)), all(value.exact for value in found))
