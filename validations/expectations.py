"""The expectations of GX that ask which engine runs them, taught the Polars one, and results that can be written.

The three type expectations compare with the types of the engine they find, and know only GX's own.
The quantile one answers with NumPy's bool, and any of them may list a duration: no checkpoint can write those as JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl
from great_expectations.expectations.core import (
    ExpectColumnMaxToBeBetween,
    ExpectColumnMeanToBeBetween,
    ExpectColumnMedianToBeBetween,
    ExpectColumnMinToBeBetween,
    ExpectColumnQuantileValuesToBeBetween,
    ExpectColumnSumToBeBetween,
    ExpectColumnTypeToBe,
    ExpectColumnValuesToBeInTypeList,
    ExpectColumnValuesToBeOfType,
)
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.metrics.util import get_dbms_compatible_column_names

from validations.metrics.literals import is_text
from validations.serialization import writable
from validations.temporal import comparable, is_temporal, moments

Validate = Callable[..., dict[str, Any]]

_LISTS = (pl.List, pl.Array)

# What suites that were written for other engines call a type, beside Polars' own names. NumPy's `int` and
# `float` are 64 bits wide; SQL's and Spark's names do not say how wide Polars must hold them.
_ALIASES: dict[str, Callable[[pl.DataType], bool]] = {
    **dict.fromkeys(("int", "long"), lambda dtype: dtype == pl.Int64),
    **dict.fromkeys(("float", "double"), lambda dtype: dtype == pl.Float64),
    **dict.fromkeys(
        ("integer", "bigint", "smallint", "tinyint", "integertype", "longtype", "shorttype", "bytetype"),
        lambda dtype: dtype.is_integer(),
    ),
    **dict.fromkeys(("real", "double_precision", "floattype", "doubletype"), lambda dtype: dtype.is_float()),
    **dict.fromkeys(
        ("str", "str_", "string", "text", "char", "varchar", "stringtype", "object", "object_", "o"),
        lambda dtype: is_text(dtype) or dtype.base_type() == pl.Object,
    ),
    **dict.fromkeys(("bool", "bool_", "bit", "booleantype"), lambda dtype: dtype == pl.Boolean),
    **dict.fromkeys(("date", "datetype"), lambda dtype: dtype == pl.Date),
    **dict.fromkeys(
        ("datetime", "timestamp", "timestamptype"),
        lambda dtype: dtype.base_type() == pl.Datetime,
    ),
    # NumPy's has no time zone.
    **dict.fromkeys(
        ("datetime64", "datetime64[ns]", "datetime64[us]", "datetime64[ms]"),
        lambda dtype: isinstance(dtype, pl.Datetime) and dtype.time_zone is None,
    ),
    **dict.fromkeys(("timedelta", "timedelta64", "timedelta64[ns]"), lambda dtype: dtype.base_type() == pl.Duration),
    **dict.fromkeys(("bytes", "binarytype"), lambda dtype: dtype == pl.Binary),
    **dict.fromkeys(("list", "arraytype"), lambda dtype: dtype.base_type() in _LISTS),
    **dict.fromkeys(("dict", "structtype"), lambda dtype: dtype.base_type() == pl.Struct),
    "category": lambda dtype: dtype.base_type() in (pl.Categorical, pl.Enum),
    "decimaltype": lambda dtype: dtype.is_decimal(),
}
_POLARS = {
    name.casefold(): getattr(pl, name) for name in pl.datatypes.__all__ if isinstance(getattr(pl, name, None), type)
}


def is_of_type(dtype: pl.DataType, name: str) -> bool | None:
    """Whether a dtype is the one that a suite names; None for a name that nobody knows.

    Known are Polars' names, with or without parameters (`Datetime`, `Datetime('us', 'UTC')`), and those of NumPy,
    pandas, Python, SQL and Spark that have a counterpart.
    """
    written = name.strip()
    if written in {str(dtype), repr(dtype)}:
        return True
    short = written.casefold()
    if short in _ALIASES:
        return _ALIASES[short](dtype)
    if short in _POLARS:
        return bool(dtype.base_type() == _POLARS[short])
    return False if short.partition("(")[0] in _POLARS else None


def _column_type(expectation: Any, metrics: dict[str, Any]) -> pl.DataType:
    types = {each["name"]: each["type"] for each in metrics["table.column_types"]}
    column = expectation.configuration.kwargs["column"]
    found: pl.DataType = types[str(get_dbms_compatible_column_names(column, list(types)))]
    return found


def _of_types(expectation: Any, metrics: dict[str, Any], names: Sequence[str] | None) -> dict[str, Any]:
    dtype = _column_type(expectation, metrics)
    verdicts = [True] if names is None else [is_of_type(dtype, name) for name in names]
    if all(verdict is None for verdict in verdicts):
        raise ValueError(f"Unrecognized type: {', '.join(names or [])}; the column's type is {dtype}.")
    return {"success": any(verdicts), "result": {"observed_value": str(dtype)}}


def _of_one_type(expectation: Any, metrics: dict[str, Any]) -> dict[str, Any]:
    name = expectation.configuration.kwargs.get("type_")
    return _of_types(expectation, metrics, None if name is None else [name])


def _of_listed_types(expectation: Any, metrics: dict[str, Any]) -> dict[str, Any]:
    return _of_types(expectation, metrics, expectation.configuration.kwargs.get("type_list"))


def _teach(kind: Any, answer: Callable[[Any, dict[str, Any]], dict[str, Any]]) -> None:
    own: Validate = kind._validate

    def validate(self: Any, metrics: Any, runtime_configuration: Any = None, execution_engine: Any = None) -> Any:
        if _is_polars(execution_engine):
            return answer(self, metrics)
        return own(self, metrics, runtime_configuration, execution_engine)

    kind._validate = validate


def _teach_plain_bools(kind: Any) -> None:
    own: Validate = kind._validate

    def validate(self: Any, metrics: Any, runtime_configuration: Any = None, execution_engine: Any = None) -> Any:
        found = own(self, metrics, runtime_configuration, execution_engine)
        if _is_polars(execution_engine):
            details = found["result"]["details"]
            details["success_details"] = [bool(each) for each in details["success_details"]]
            found["success"] = bool(found["success"])
        return found

    kind._validate = validate


def _teach_times(kind: Any, metric: str) -> None:
    """Bounds of what a column of dates and times comes to; those of numbers are GX's own business."""
    own: Validate = kind._validate

    def validate(self: Any, metrics: Any, runtime_configuration: Any = None, execution_engine: Any = None) -> Any:
        if not (_is_polars(execution_engine) and is_temporal([metrics[metric]])):
            return own(self, metrics, runtime_configuration, execution_engine)
        asked = _described(self, execution_engine)
        (value,), (low, high) = comparable([metrics[metric]], [self.min_value, self.max_value], asked)
        taught = self.copy(update={"min_value": low, "max_value": high})
        return own(taught, {**metrics, metric: value}, runtime_configuration, execution_engine)

    kind._validate = validate


def _teach_times_of_quantiles(kind: Any) -> None:
    own: Validate = kind._validate
    metric = "column.quantile_values"

    def validate(self: Any, metrics: Any, runtime_configuration: Any = None, execution_engine: Any = None) -> Any:
        found = metrics[metric]
        if not (_is_polars(execution_engine) and is_temporal(found)):
            return own(self, metrics, runtime_configuration, execution_engine)
        ranges = self.configuration.kwargs["quantile_ranges"]
        bounds = [bound for pair in ranges["value_ranges"] for bound in pair]
        # GX asks how close a value is to its bounds, which it can tell of datetimes only.
        values, bounds = map(moments, comparable(found, bounds, _described(self, execution_engine)))
        # For no bound GX takes infinity, which is no time.
        low, high = min(values), max(values)
        pairs = [
            (low if a is None else a, high if b is None else b) for a, b in zip(bounds[::2], bounds[1::2], strict=True)
        ]
        taught = self.copy(update={"quantile_ranges": {**ranges, "value_ranges": pairs}})
        return own(taught, {**metrics, metric: values}, runtime_configuration, execution_engine)

    kind._validate = validate


def _described(expectation: Any, engine: Any) -> str:
    """The expectation, its column and the column's type, for an error's first words."""
    schema = engine.batch({"batch_id": expectation.batch_id}).schema
    return f"{expectation.expectation_type} of {expectation.column} ({schema.get(expectation.column)})"


def _teach_writable_results() -> None:
    own = Expectation.metrics_validate

    def metrics_validate(
        self: Any, metrics: Any, runtime_configuration: Any = None, execution_engine: Any = None, **more: Any
    ) -> Any:
        found = own(self, metrics, runtime_configuration, execution_engine, **more)
        if _is_polars(execution_engine):
            found.result = writable(found.result)
        return found

    Expectation.metrics_validate = metrics_validate


def _is_polars(engine: Any) -> bool:
    # By name: the engine imports this module.
    return any(kind.__name__ == "PolarsExecutionEngine" for kind in type(engine).__mro__)


_teach(ExpectColumnValuesToBeOfType, _of_one_type)
_teach(ExpectColumnTypeToBe, _of_one_type)
_teach(ExpectColumnValuesToBeInTypeList, _of_listed_types)
_teach_plain_bools(ExpectColumnQuantileValuesToBeBetween)
_teach_times_of_quantiles(ExpectColumnQuantileValuesToBeBetween)
_teach_times(ExpectColumnMinToBeBetween, "column.min")
_teach_times(ExpectColumnMaxToBeBetween, "column.max")
_teach_times(ExpectColumnMeanToBeBetween, "column.mean")
_teach_times(ExpectColumnMedianToBeBetween, "column.median")
_teach_times(ExpectColumnSumToBeBetween, "column.sum")
_teach_writable_results()
