"""What the expressions of a plan take their values from, and what else decides about them.

What is not known is never left out: an expression that Polars does not show (Python code, a fold) may take anything
that its frame has, and says so by not being exact.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from lineage.columnar.edges import Direct, Edge, Indirect, Value, merged
from lineage.columnar.words import function_name, words

# Reductions and functions that give the same whichever order rows have; of functions also these families.
_ORDERLESS_AGGREGATES = frozenset({"count", "max", "mean", "median", "min", "n_unique", "std", "sum", "var"})
_ORDERLESS_FAMILIES = frozenset(
    {"ListFunction", "ArrayFunction", "StringFunction", "StructFunction", "TemporalFunction"}
)
_ORDERLESS = frozenset(
    {
        *("abs", "as_struct", "ceil", "clip", "coalesce", "cut", "entropy", "exp", "fill_null", "floor", "hash", "log"),
        *("kurtosis", "max_horizontal", "mean_horizontal", "min_horizontal", "negate", "null_count", "pow", "product"),
        *("quantile", "repeat_by", "replace", "replace_strict", "round", "round_sig_figs", "sign", "sin", "skew"),
        *("sqrt", "sum_horizontal", "to_physical"),
        *(f"BooleanFunction.{name}" for name in ("All", "Any", "HasNulls", "IsBetween", "IsDuplicated", "IsFinite")),
        *(f"BooleanFunction.{name}" for name in ("IsIn", "IsInfinite", "IsNan", "IsNotNan", "IsNotNull", "IsNull")),
        *(f"BooleanFunction.{name}" for name in ("IsUnique", "Not")),
    }
)
_ORDERED = frozenset({"StringFunction.ConcatVertical"})
# Functions that bring the values of rows together.
_REDUCING = frozenset(
    {
        *("approx_n_unique", "arg_max", "arg_min", "corr", "entropy", "index_of", "kurtosis", "max_by", "min_by"),
        *("null_count", "product", "quantile", "skew"),
        *("BooleanFunction.All", "BooleanFunction.Any", "BooleanFunction.HasNulls", "StringFunction.ConcatVertical"),
    }
)
_GATHERING = ("cum_", "rolling_", "RollingFunction", "EwmFunction")
# Functions of whose values it depends how many they give, so that a `select` of them decides which rows there are.
_CUTTING = frozenset(
    {
        *("arg_unique", "argwhere", "drop_nans", "drop_nulls", "hist", "mode", "repeat", "rle", "unique"),
        *("unique_counts", "value_counts"),
    }
)
# Of these only the first argument gives values, the others decide which.
_CHOOSING: Mapping[str, Indirect] = {"max_by": "SORT", "min_by": "SORT", "top_k_by": "SORT", "sample": "FILTER"}


@dataclass(frozen=True)
class Reader:
    """Reads the expressions of one plan (`nodes`, Polars' NodeTraverser) on the frame of node `at`, which has these
    `columns` and whose rows have come into their order by `order`."""

    nodes: Any
    at: int
    columns: Mapping[str, Value]
    order: Value
    struct: Value | None = None

    def value(self, number: int) -> Value:
        """Where the values of an expression come from, with the expression as text."""
        found = self._value(number)
        if self._is_column(number):
            return found
        text = words(self.nodes, number)
        edges = {
            cell: edge if edge.direct in (None, "IDENTITY") or not text else Edge(edge.direct, text, edge.indirect)
            for cell, edge in found.edges.items()
        }
        return replace(found, edges=edges)

    def decides(self, number: int, what: Indirect) -> Value:
        """The same of an expression that is only asked which rows, groups or values there are to be."""
        return self._value(number).deciding(what, words(self.nodes, number))

    def cuts(self, number: int) -> Iterator[Value]:
        """What within an expression makes it give more or fewer values than its frame has rows, if it gives several."""
        try:
            found = self.nodes.view_expression(number)
        except NotImplementedError:
            yield self._everything()
            return
        kind = type(found).__name__
        if kind in ("Alias", "Cast", "Sort", "SortBy"):
            yield from self.cuts(found.expr)
        elif kind == "Explode" or (kind == "Window" and found.options.kind == "explode"):
            yield self.decides(number, "FILTER")
        elif kind == "Filter":
            yield self.decides(found.by, "FILTER")
            yield from self.cuts(found.input)
        elif kind == "Gather":
            yield from self.cuts(found.idx)
        elif kind == "Slice":
            yield from (self.decides(item, "FILTER") for item in (found.offset, found.length))
            yield from self.cuts(found.input)
        elif kind == "BinaryExpr":
            yield from (cut for child in (found.left, found.right) for cut in self.cuts(child))
        elif kind == "Ternary":
            yield from (cut for child in (found.predicate, found.truthy, found.falsy) for cut in self.cuts(child))
        elif kind == "Function" and (name := function_name(found)) not in _REDUCING:
            # The others of ranges, IntRanges and so on, make a list in each row.
            if name in _CUTTING or (name.startswith("RangeFunction") and not name.endswith("s")):
                yield self.decides(number, "FILTER")
            yield from (cut for child in found.input for cut in self.cuts(child))

    def _everything(self) -> Value:
        return replace(merged([*self.columns.values(), self.order]).lifted("TRANSFORMATION"), exact=False)

    def _opaque(self, error: NotImplementedError) -> Value:
        # Within with_fields() Polars does not say which field it is: it is one of the struct's.
        return self.struct if self.struct is not None and str(error) == "field" else self._everything()

    def _value(self, number: int) -> Value:
        try:
            found = self.nodes.view_expression(number)
        except NotImplementedError as error:
            return self._opaque(error)
        read = getattr(self, f"_of_{type(found).__name__.lower()}", None)
        return self._everything() if read is None else read(found, number)

    def _is_column(self, number: int) -> bool:
        """Whether it is a column as it stands, perhaps under another name."""
        try:
            found = self.nodes.view_expression(number)
        except NotImplementedError:
            return False
        kind = type(found).__name__
        return kind == "Column" or (kind == "Alias" and self._is_column(found.expr))

    def _all(self, numbers: list[int]) -> Value:
        return merged(map(self._value, numbers))

    # One kind of expression each

    def _of_column(self, found: Any, _: int) -> Value:
        return self.columns[found.name]

    def _of_literal(self, _: Any, __: int) -> Value:
        return Value()

    _of_len = _of_literal

    def _of_alias(self, found: Any, _: int) -> Value:
        return self._value(found.expr)

    def _of_cast(self, found: Any, _: int) -> Value:
        return self._value(found.expr).lifted("TRANSFORMATION")

    def _of_binaryexpr(self, found: Any, _: int) -> Value:
        return self._all([found.left, found.right]).lifted("TRANSFORMATION")

    def _of_ternary(self, found: Any, _: int) -> Value:
        taken = self._all([found.truthy, found.falsy]).lifted("TRANSFORMATION")
        return merged([taken, self.decides(found.predicate, "CONDITIONAL")])

    def _of_agg(self, found: Any, _: int) -> Value:
        value = self._all(found.arguments).lifted("AGGREGATION")
        return value if found.name in _ORDERLESS_AGGREGATES else merged([value, self.order])

    def _of_window(self, found: Any, _: int) -> Value:
        keys = [*found.partition_by, *([] if found.order_by is None else [found.order_by])]
        value = self._value(found.function).lifted("TRANSFORMATION")
        spread = [] if found.options.kind == "groups_to_rows" else [self.order]
        return merged([value, *(self.decides(key, "WINDOW") for key in keys), *spread])

    def _of_rolling(self, found: Any, _: int) -> Value:
        value = self._value(found.function).lifted("TRANSFORMATION")
        return merged([value, self.decides(found.index_column, "WINDOW"), self.order])

    def _of_sort(self, found: Any, number: int) -> Value:
        value = self._value(found.expr)
        # Which row a value then stands in depends on where the rows are.
        return merged([value.lifted("TRANSFORMATION"), value.deciding("SORT", words(self.nodes, number)), self.order])

    def _of_sortby(self, found: Any, _: int) -> Value:
        value = self._value(found.expr).lifted("TRANSFORMATION")
        return merged([value, *(self.decides(key, "SORT") for key in found.by), self.order])

    def _of_filter(self, found: Any, _: int) -> Value:
        return merged([self._value(found.input).lifted("TRANSFORMATION"), self.decides(found.by, "FILTER"), self.order])

    def _of_gather(self, found: Any, _: int) -> Value:
        value = self._value(found.expr).lifted("TRANSFORMATION")
        return merged([value, self.decides(found.idx, "FILTER"), self.order])

    def _of_slice(self, found: Any, _: int) -> Value:
        value = self._value(found.input).lifted("TRANSFORMATION")
        return merged([value, *(self.decides(item, "FILTER") for item in (found.offset, found.length)), self.order])

    def _of_explode(self, found: Any, _: int) -> Value:
        return merged([self._value(found.expr).lifted("TRANSFORMATION"), self.order])

    def _of_structeval(self, found: Any, _: int) -> Value:
        struct = self._value(found.expr)
        inside = replace(self, struct=struct)
        return merged([struct, *(inside._value(item.node) for item in found.evaluation)]).lifted("TRANSFORMATION")

    def _of_function(self, found: Any, number: int) -> Value:
        name, given = function_name(found), list(found.input)
        if name == "as_struct":
            return self._struct(number, given)
        if name == "StructFunction.FieldByName":
            fields = self._value(given[0]).fields or {}
            if (field := str(found.function_data[1])) in fields:
                return fields[field]
        choosing: Indirect | None = "WINDOW" if name.startswith("RollingFunctionBy") else _CHOOSING.get(name)
        taken = given[:1] if choosing else given
        value = self._all(taken).lifted(_makes(name))
        parts = [value]
        if choosing:
            parts += [self.decides(item, choosing) for item in given[1:]]
        return merged(parts if _is_orderless(name) else [*parts, self.order])

    def _struct(self, number: int, given: list[int]) -> Value:
        values = list(map(self._value, given))
        fields = dict(zip(self._fields(number), values, strict=False))
        return replace(merged(values).lifted("TRANSFORMATION"), fields=fields if len(fields) == len(values) else None)

    def _fields(self, number: int) -> list[str]:
        """The names of the fields of a struct."""
        self.nodes.set_node(self.at)
        kind = self.nodes.get_dtype(number)
        return [field.name for field in kind.fields] if isinstance(kind, pl.Struct) else []


def _makes(name: str) -> Direct:
    return "AGGREGATION" if name in _REDUCING or name.startswith(_GATHERING) else "TRANSFORMATION"


def _is_orderless(name: str) -> bool:
    family = name.partition(".")[0]
    return name in _ORDERLESS or (family in _ORDERLESS_FAMILIES and name not in _ORDERED)
