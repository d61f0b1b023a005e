"""A plan read from its sources to its end: for each node the columns that it has, and what decided about its rows.

The plan is Polars' own, as it stands before it is optimised. Polars calls its form private and counts its versions: of
one that is not known here nothing is said.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from lineage.columnar.edges import Cell, Edge, Value, merged
from lineage.columnar.expressions import Reader
from lineage.columnar.frame import Frame, stacked
from lineage.columnar.joins import Join, joined, promised
from lineage.columnar.words import shown, words
from lineage.errors import ColumnsUnknownError

# The versions of Polars' plan that the readers here are right about.
KNOWN_VERSIONS = frozenset({16})

# Functions on frames that leave rows and columns as they are.
_UNCHANGED = frozenset({"hint_sorted", "rechunk", "hint"})


def visit(frame: pl.LazyFrame, *, optimized: pl.QueryOptFlags | None = None) -> Any:
    """Polars' own reader of the plan, as it is written unless `optimized` says otherwise.

    ColumnsUnknownError where this version of Polars has plans that are not known here.
    """
    flags = optimized or pl.QueryOptFlags.none()
    nodes = frame._ldf.with_optimizations(flags._pyoptflags).visit()
    version = nodes.version()
    if version[0] not in KNOWN_VERSIONS:
        raise ColumnsUnknownError(
            f"Polars {pl.__version__} writes plans of version {'.'.join(map(str, version))}, which column lineage does "
            f"not know; it knows {', '.join(map(str, sorted(KNOWN_VERSIONS)))}. Install the Polars of the lock file."
        )
    return nodes


@dataclass
class Plan:
    """A plan and what was read of it. `inputs` names the inputs by the path of the file that stands for them."""

    frame: pl.LazyFrame
    inputs: Mapping[str, str]
    opaque: bool = False
    _nodes: Any = None
    _once: Mapping[int, bool] = field(default_factory=dict)

    def read(self) -> Frame:
        """What is known at the end of the plan."""
        self._nodes = visit(self.frame)
        end = self._nodes.get_node()
        self._once = promised(self.frame, self._nodes)
        return self._at(end)

    def _at(self, number: int) -> Frame:
        nodes = self._nodes
        nodes.set_node(number)
        schema, below = list(nodes.get_schema()), list(nodes.get_inputs())
        try:
            found = nodes.view_current_node()
        except NotImplementedError:
            return self._unseen(schema, below)
        read: Callable[[Any, list[str]], Frame] | None = getattr(self, f"_of_{type(found).__name__.lower()}", None)
        if type(found).__name__ == "Join":
            return joined(self._join(found, number, schema))
        return self._unseen(schema, below) if read is None else read(found, schema)

    def _unseen(self, schema: Iterable[str], below: Iterable[int]) -> Frame:
        """What Python code made of whole frames: anything of anything."""
        self.opaque = True
        frames = [self._at(number) for number in below]
        every = merged(value for frame in frames for value in (*frame.columns.values(), frame.rows, frame.order))
        value = replace(every.lifted("TRANSFORMATION"), exact=False)
        return Frame(dict.fromkeys(schema, value), replace(every.deciding("FILTER", ""), exact=False))

    def _under(self, number: int) -> tuple[Frame, Reader]:
        """What is known of the node below, and who reads expressions on it."""
        frame = self._at(number)
        return frame, Reader(self._nodes, number, frame.columns, frame.order)

    # Where data comes from

    def _of_scan(self, found: Any, schema: list[str]) -> Frame:
        (path, *_) = found.paths
        if str(path) not in self.inputs:
            raise ColumnsUnknownError(f"the plan reads {path}, which is none of the step's inputs.")
        name, numbering = self.inputs[str(path)], (found.file_options.row_index or (None,))[0]
        columns = {column: Value({Cell(name, column): Edge("IDENTITY")}) for column in schema}
        return Frame(columns | ({numbering: Value(unordered=True)} if numbering else {}))

    def _of_dataframescan(self, _: Any, schema: list[str]) -> Frame:
        # What stands in the code comes from no input.
        return Frame(dict.fromkeys(schema, Value()))

    def _of_pythonscan(self, _: Any, __: list[str]) -> Frame:
        raise ColumnsUnknownError("the plan reads what Python code reads, which is none of the step's inputs.")

    def _of_cache(self, found: Any, _: list[str]) -> Frame:
        return self._at(found.input)

    # Columns

    def _of_select(self, found: Any, schema: list[str]) -> Frame:
        frame, reader = self._under(found.input)
        made = {item.output_name: reader.value(item.node) for item in found.expr}
        cut = [value for item in found.expr for value in reader.cuts(item.node)]
        if cut:
            made = {name: value.plain() for name, value in made.items()}
        return replace(frame, columns={name: made[name] for name in schema}).deciding(*cut)

    def _of_hstack(self, found: Any, schema: list[str]) -> Frame:
        frame, reader = self._under(found.input)
        made = {**frame.columns, **{item.output_name: reader.value(item.node) for item in found.exprs}}
        return replace(frame, columns={name: made[name] for name in schema})

    def _of_simpleprojection(self, found: Any, schema: list[str]) -> Frame:
        return self._at(found.input).only(schema)

    # Rows

    def _of_filter(self, found: Any, _: list[str]) -> Frame:
        frame, reader = self._under(found.input)
        return frame.deciding(reader.decides(found.predicate.node, "FILTER"))

    def _of_sort(self, found: Any, _: list[str]) -> Frame:
        frame, reader = self._under(found.input)
        keys = [reader.decides(item.node, "SORT") for item in found.by_column]
        # Rows that all have another number keep nothing of the order that they had.
        whole = bool(keys) and reader.value(found.by_column[0].node).unordered
        order = keys[0] if whole else merged([*keys, frame.order])
        after = replace(frame, order=order)
        return after if found.slice is None else after.deciding(order)

    def _of_slice(self, found: Any, _: list[str]) -> Frame:
        frame = self._at(found.input)
        return frame.deciding(frame.order)

    def _of_distinct(self, found: Any, schema: list[str]) -> Frame:
        frame = self._at(found.input)
        keys = schema if found.options[1] is None else found.options[1]
        return frame.deciding(frame.order, *(frame.columns[name].deciding("GROUP_BY", shown(name)) for name in keys))

    # Groups

    def _of_groupby(self, found: Any, schema: list[str]) -> Frame:
        frame, reader = self._under(found.input)
        options = found.options
        made = {item.output_name: reader.value(item.node) for item in found.keys}
        keys = [reader.decides(item.node, "GROUP_BY") for item in found.keys]
        values = {item.output_name: reader.value(item.node).lifted("AGGREGATION") for item in found.aggs}
        if (window := options.rolling) is not None:
            index = frame.columns[window.index_column]
            by_time = index.deciding("WINDOW", window.index_column)
            made[window.index_column] = index
            values = {name: merged([value, by_time]) for name, value in values.items()}
        elif (window := options.dynamic) is not None:
            index = frame.columns[window.index_column]
            names = (window.index_column, "_lower_boundary", "_upper_boundary")
            made |= dict.fromkeys(names, index.lifted("TRANSFORMATION", f"window of {window.index_column}"))
            keys.append(index.deciding("WINDOW", window.index_column))
        columns = {name: value.plain() for name, value in {**made, **values}.items()}
        return replace(frame, columns={name: columns[name] for name in schema}).deciding(*keys)

    # Frames together

    def _of_union(self, found: Any, schema: list[str]) -> Frame:
        return stacked([self._at(number) for number in found.inputs], schema)

    def _of_mergesorted(self, found: Any, schema: list[str]) -> Frame:
        frames = [self._at(found.input_left), self._at(found.input_right)]
        names = [found.key] if isinstance(found.key, str) else found.key
        keys = [frame.columns[name].deciding("SORT", name) for frame in frames for name in names]
        together = stacked(frames, schema)
        return replace(together, order=merged([together.order, *keys]))

    def _of_hconcat(self, found: Any, schema: list[str]) -> Frame:
        frames = [self._at(number) for number in found.inputs]
        columns = {name: value.plain() for frame in frames for name, value in frame.columns.items()}
        decided = [value for frame in frames for value in (frame.rows, frame.order)]
        order = merged(frame.order for frame in frames)
        # Rows stand beside each other by their number: so whatever brought them into their order decides too.
        return Frame({name: columns[name] for name in schema}, merged(decided), order)

    def _join(self, found: Any, number: int, schema: list[str]) -> Join:
        left, left_reader = self._under(found.input_left)
        right, right_reader = self._under(found.input_right)
        pairs = list(zip(found.left_on, found.right_on, strict=True))
        keys = [
            value
            for mine, theirs in pairs
            for text in [self._matched(mine.node, theirs.node)]
            for value in (
                left_reader.value(mine.node).deciding("JOIN", text),
                right_reader.value(theirs.node).deciding("JOIN", text),
            )
        ]
        names = [(mine.output_name, theirs.output_name) for mine, theirs in pairs]
        return Join(left, right, keys, names, found.options, schema, once=self._once.get(number, False))

    def _matched(self, left: int, right: int) -> str:
        mine, theirs = words(self._nodes, left), words(self._nodes, right)
        return f"{mine} = {theirs}" if mine and theirs else ""

    # Functions on frames

    def _of_mapfunction(self, found: Any, schema: list[str]) -> Frame:
        name, *given = found.function
        read: Callable[[Frame, list[Any], list[str]], Frame] | None = getattr(self, f"_made_by_{name}", None)
        if read is None and name not in _UNCHANGED:
            return self._unseen(schema, [found.input])
        frame = self._at(found.input)
        return frame.only(schema) if read is None else read(frame, given, schema)

    def _made_by_explode(self, frame: Frame, given: list[Any], schema: list[str]) -> Frame:
        opened = given[0]
        columns = {
            name: frame.columns[name].lifted("TRANSFORMATION", f"{name}.explode()")
            if name in opened
            else frame.columns[name].plain()
            for name in schema
        }
        decided = [frame.columns[name].deciding("FILTER", f"{name}.explode()") for name in opened]
        return replace(frame, columns=columns).deciding(*decided)

    def _made_by_unpivot(self, frame: Frame, given: list[Any], schema: list[str]) -> Frame:
        index, on, variable, *_ = given
        value = merged(frame.columns[name] for name in on or (name for name in frame.columns if name not in index))
        columns = {name: frame.columns[name].plain() for name in index}
        columns |= {
            name: Value() if name == (variable or "variable") else value for name in schema if name not in index
        }
        return replace(frame, columns=columns)

    def _made_by_unnest(self, frame: Frame, given: list[Any], schema: list[str]) -> Frame:
        opened = [frame.columns[name] for name in given[0]]
        columns = {name: value for name, value in frame.columns.items() if name not in given[0]}
        if given[1] is None:
            for value in opened:
                columns |= value.fields or {}
        whole = merged(opened).lifted("TRANSFORMATION")
        return replace(frame, columns={name: columns.get(name, whole) for name in schema})

    def _made_by_row_index(self, frame: Frame, _: list[Any], schema: list[str]) -> Frame:
        number = replace(frame.order, unordered=True)
        return replace(frame, columns={name: frame.columns.get(name, number) for name in schema})
