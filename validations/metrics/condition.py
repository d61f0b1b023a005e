"""What a row-level expectation asks of each row, and the metrics that follow from it.

For every condition GX asks how many rows break it and, when some do, which values they have, at which
places, and what the whole rows are. All of the latter come from one query.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl
from great_expectations.core.id_dict import IDDict
from great_expectations.validator.metric_configuration import MetricConfiguration

from validations.exact import exact
from validations.metrics.domain import Domain, keyed
from validations.metrics.registration import Dependencies, known, register, together
from validations.scan import Counted, Fetched, Known, Reduced, Wanted

# GX never lists more values than this, whatever the result format.
MOST_VALUES = 200


@dataclass(frozen=True)
class Condition:
    """Which rows a condition is about, and which of those break it.

    `breaks` gets the columns with null for missing and tells, per row, whether the condition is broken;
    null counts as no. Where `ordered`, it looks at neighbouring rows, so it gets the domain's rows only, and
    they are counted by a query of their own.
    """

    columns: tuple[str, ...]
    breaks: Callable[[Sequence[pl.Expr]], pl.Expr]
    mask: pl.Expr | None = None
    ordered: bool = False

    def broken(self, domain: Domain) -> pl.Expr:
        """Whether a row of the frame breaks the condition; for an ordered one, of the domain's rows."""
        rows = domain.rows(self.mask)
        columns = [domain.present(name) for name in self.columns]
        if rows is None:
            return self.breaks(columns)
        if self.ordered:
            return self.breaks([column.filter(rows) for column in columns])
        return self.breaks(columns) & rows

    def count(self, domain: Domain, name: str) -> Wanted:
        """How many rows break the condition."""
        if not self.ordered:
            return Reduced(self.broken(domain).sum(), int)
        neighbours = self.breaks([domain.present(each) for each in self.columns])
        counted = domain.kept(domain.frame, self.mask).select(neighbours.sum())
        return Fetched(keyed(domain, name), counted, lambda found: int(found.item()))

    def breaking(self, domain: Domain, frame: pl.LazyFrame) -> pl.LazyFrame:
        """The rows of the frame that break the condition, in order."""
        if not self.ordered:
            return frame.filter(self.broken(domain))
        kept = domain.kept(frame, self.mask)
        return kept.filter(self.breaks([domain.present(name) for name in self.columns]))


@dataclass(frozen=True)
class Duplicates:
    """The condition that no two rows of the domain agree in all of the columns."""

    columns: tuple[str, ...]
    mask: pl.Expr | None = None

    def probe(self, domain: Domain) -> Wanted:
        """How many distinct keys the domain has: as many as rows means unique."""
        columns = [domain.present(name).alias(name) for name in dict.fromkeys(self.columns)]
        keys, key = domain.kept(domain.frame, self.mask).select(columns), keyed(domain, f"{self.columns} keys")
        if len(columns) > 1:
            # Polars streams distinct rows faster than distinct structs.
            return Fetched(key, keys.unique().select(pl.len()), lambda found: int(found.item()))
        rows = domain.rows(self.mask)
        values = columns[0] if rows is None else columns[0].filter(rows)
        return Counted(key, keys, values.n_unique(), int)

    def count(self, domain: Domain, rows: int, keys: int) -> Wanted:
        """How many rows have a key that another row has too."""
        if rows == keys:
            return Known(0)
        repeated = self._repeated(domain, domain.frame).select(pl.last().sum())
        return Fetched(keyed(domain, f"{self.columns} repeated"), repeated, lambda found: int(found.item()))

    def breaking(self, domain: Domain, frame: pl.LazyFrame) -> pl.LazyFrame:
        """The rows of the frame whose key occurs more than once, in order."""
        keys = [domain.present(name) for name in self.columns]
        return domain.kept(frame, self.mask).join(
            self._repeated(domain, frame), left_on=keys, right_on=[exact(name) for name in self.columns], how="semi",
            nulls_equal=True, maintain_order="left",
        )  # fmt: skip

    def _repeated(self, domain: Domain, frame: pl.LazyFrame) -> pl.LazyFrame:
        keys = [domain.present(name).alias(name) for name in self.columns]
        counted = f"{'_'.join(self.columns)}_rows"  # longer than any key's own name
        return domain.kept(frame, self.mask).group_by(keys).agg(pl.len().alias(counted)).filter(pl.col(counted) > 1)


Asked = Condition | Duplicates

# By metric, the conditions that are one expression for each row of a frame.
_BY_ROW: dict[str, Callable[[Domain], Condition]] = {}


def row_condition(name: str) -> Callable[[Domain], Condition] | None:
    """The condition of a metric, such as `column_values.between`; None of one that is no expression on rows."""
    return _BY_ROW.get(name)


def register_condition(
    name: str, condition: Callable[[Domain], Asked], needs: Dependencies | None = None, duplicates: bool = False
) -> None:
    """Registers what GX asks of a row-level condition: its count and what shows the rows that break it."""
    counted = f"{name}.unexpected_count"
    if duplicates:
        _register_duplicates(name, condition)
    else:
        _BY_ROW[name] = condition  # type: ignore[assignment]
        register(counted, lambda domain: condition(domain).count(domain, counted), needs)  # type: ignore[call-arg, arg-type]
    shown = together(_count_first(counted), *([needs] if needs else []))
    for metric, show in _SHOWN.items():
        register(f"{name}.{metric}", _if_any(counted, condition, show), shown)
    if known(f"{name}.filtered_row_count"):
        register(f"{name}.filtered_row_count", lambda domain: _filtered(domain, condition(domain)))


def _register_duplicates(name: str, condition: Callable[[Domain], Any]) -> None:
    counted, about, keys = (f"{name}.{part}" for part in ("unexpected_count", "probe.rows", "probe.keys"))
    register(about, lambda domain: _filtered(domain, condition(domain)), like=counted)
    register(keys, lambda domain: condition(domain).probe(domain), like=counted)

    def needs(metric: MetricConfiguration) -> Mapping[str, MetricConfiguration]:
        asked = metric.metric_domain_kwargs, metric.metric_value_kwargs
        return {probed: MetricConfiguration(probed, *asked) for probed in (about, keys)}

    def count(domain: Domain) -> Wanted:
        found: Wanted = condition(domain).count(domain, domain.metrics[about], domain.metrics[keys])
        return found

    register(counted, count, needs)


def _count_first(counted: str) -> Dependencies:
    def needs(metric: MetricConfiguration) -> Mapping[str, MetricConfiguration]:
        values = {key: value for key, value in metric.metric_value_kwargs.items() if key != "result_format"}
        return {counted: MetricConfiguration(counted, metric.metric_domain_kwargs, IDDict(values))}

    return needs


def _filtered(domain: Domain, condition: Asked) -> Reduced:
    rows = domain.rows(condition.mask)
    return Reduced(pl.len() if rows is None else rows.sum(), int)


Show = Callable[[Domain, Asked], Wanted]


def _if_any(counted: str, condition: Callable[[Domain], Asked], show: Show) -> Callable[[Domain], Wanted]:
    """Rows are read only for a condition that some break."""

    def want(domain: Domain) -> Wanted:
        wanted = show(domain, condition(domain))
        if not isinstance(wanted, Fetched):
            return wanted
        if domain.metrics[counted]:
            # A condition and its opposite have the same columns and arguments, and not the same rows.
            return replace(wanted, key=f"{counted} {wanted.key}")
        return Known(wanted.finish(pl.DataFrame(schema=wanted.rows.collect_schema())))

    return want


def _values(domain: Domain, condition: Asked) -> Wanted:
    """The values that break the condition: one column's as they are, a pair's as tuples, more as dicts."""

    def finish(rows: pl.DataFrame) -> list[Any]:
        shown = rows.head(_most_values(domain))
        if "column" in domain.kwargs:
            return shown[condition.columns[0]].to_list()
        tuples = zip(*(_sortable(shown[name]) for name in condition.columns), strict=True)
        if "column_A" in domain.kwargs:
            return list(tuples)
        return [dict(zip(condition.columns, values, strict=True)) for values in tuples]

    return _shared(domain, condition, finish)


def _sortable(column: pl.Series) -> list[Any]:
    """The values with NaN for missing: GX sorts them to count them, and gives up counting where it meets None."""
    # Decimal raises an error of its own when it is compared with NaN, on which GX does not reckon.
    missing = None if column.dtype.is_decimal() else math.nan
    return [missing if value is None else value for value in column.to_list()]


def _index_list(domain: Domain, condition: Asked) -> Wanted:
    """Where they are: row numbers, or the values of the columns that the author named to know rows by."""
    names = _index_columns(domain)

    def finish(rows: pl.DataFrame) -> list[Any]:
        if not names:
            return rows[domain.place].to_list()
        if domain.values["result_format"].get("exclude_unexpected_values"):
            return [rows.select(map(exact, names)).to_dict(as_series=False)] if rows.height else []
        return rows.select(map(exact, dict.fromkeys([*condition.columns, *names]))).to_dicts()

    return _shared(domain, condition, finish)


def _index_query(domain: Domain, condition: Asked) -> Wanted:
    """Polars that selects the rows from the frame; None unless it will be shown."""
    form = domain.values["result_format"]
    asked = form.get("return_unexpected_index_query")
    if asked is False or not (asked or form["result_format"] == "COMPLETE"):
        return Known(None)

    def finish(rows: pl.DataFrame) -> str:
        return f"df[{rows[domain.place].to_list()}]"

    if form["result_format"] == "COMPLETE":
        return _shared(domain, condition, finish)
    rows = _numbered(domain, condition).select(domain.place)
    return Fetched(keyed(domain, "unexpected_index_query"), rows, finish)


def _whole_rows(domain: Domain, condition: Asked) -> Wanted:
    rows = condition.breaking(domain, domain.frame).head(_most_values(domain))
    return Fetched(keyed(domain, "unexpected_rows"), rows, lambda found: found.to_dicts())


_SHOWN: Mapping[str, Show] = {
    "unexpected_values": _values,
    "unexpected_index_list": _index_list,
    "unexpected_index_query": _index_query,
    "unexpected_rows": _whole_rows,
}


def _shared(domain: Domain, condition: Asked, finish: Callable[[pl.DataFrame], Any]) -> Fetched:
    """Values and places from one query, which reads no further than what will be shown."""
    form = domain.values["result_format"]
    columns = [domain.present(name).alias(name) for name in dict.fromkeys(condition.columns)]
    others = [exact(name) for name in _index_columns(domain) if name not in condition.columns]
    if form["result_format"] == "BASIC":
        rows = condition.breaking(domain, domain.frame).select(*columns, *others)
    else:
        rows = _numbered(domain, condition).select(domain.place, *columns, *others)
    if form["result_format"] != "COMPLETE":
        rows = rows.head(form["partial_unexpected_count"])
    return Fetched(keyed(domain, f"{condition.columns} broken"), rows, finish)


def _numbered(domain: Domain, condition: Asked) -> pl.LazyFrame:
    return condition.breaking(domain, domain.frame.with_row_index(domain.place))


def _index_columns(domain: Domain) -> list[str]:
    return [domain.named(name) for name in domain.values["result_format"].get("unexpected_index_column_names") or []]


def _most_values(domain: Domain) -> int:
    form = domain.values["result_format"]
    return MOST_VALUES if form["result_format"] == "COMPLETE" else min(form["partial_unexpected_count"], MOST_VALUES)
