"""What is known of a frame at one node of a plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from lineage.columnar.edges import Value, merged


@dataclass(frozen=True)
class Frame:
    """Its columns, what decided which rows it has, and what brought them into their order."""

    columns: Mapping[str, Value]
    rows: Value = field(default_factory=Value)
    order: Value = field(default_factory=Value)

    def only(self, names: Iterable[str]) -> Frame:
        """With these columns."""
        return replace(self, columns={name: self.columns[name] for name in names})

    def deciding(self, *values: Value) -> Frame:
        """After these have decided which rows there are."""
        return replace(self, rows=merged([self.rows, *values])) if values else self

    def ordered(self, order: Value) -> Frame:
        """With its rows in another order."""
        return replace(self, order=order)


def stacked(frames: Iterable[Frame], schema: Iterable[str]) -> Frame:
    """The rows of frames that have the same columns, one frame under the other."""
    found = list(frames)
    columns = {name: merged(frame.columns[name] for frame in found) for name in schema}
    return Frame(columns, merged(frame.rows for frame in found), merged(frame.order for frame in found))
