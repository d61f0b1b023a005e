"""What a suite's results happen to say of columns: counts, extremes, quantiles. Nothing is computed for it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

# Expectations whose observed value is a number of the column, as OpenLineage names it.
_OBSERVED = {
    "expect_column_min_to_be_between": "min",
    "expect_column_max_to_be_between": "max",
    "expect_column_sum_to_be_between": "sum",
    "expect_column_unique_value_count_to_be_between": "distinctCount",
}
_MEDIAN = "expect_column_median_to_be_between"
_QUANTILES = "expect_column_quantile_values_to_be_between"


def column_metrics(results: Iterable[Any]) -> dict[str, dict[str, Any]]:
    """column -> `nullCount`, `count` (of values), `distinctCount`, `sum`, `min`, `max` and `quantiles` where known.

    Of GX's validation results; what looked at some of the rows only (a row condition) is left out. OpenLineage has no
    mean.
    """
    found: dict[str, dict[str, Any]] = {}
    for result in results:
        kwargs = result.expectation_config.kwargs
        column = kwargs.get("column")
        if not isinstance(column, str) or kwargs.get("row_condition") or not result.result:
            continue
        if metrics := _metrics(result.expectation_config.type, result.result):
            found.setdefault(column, {}).update(metrics)
    return found


def _metrics(kind: str, found: Mapping[str, Any]) -> dict[str, Any]:
    observed = found.get("observed_value")
    if name := _OBSERVED.get(kind):
        return {name: observed} if _is_number(observed) else {}
    if kind == _MEDIAN:
        return {"quantiles": {"0.5": observed}} if _is_number(observed) else {}
    if kind == _QUANTILES and isinstance(observed, Mapping):
        pairs = zip(observed["quantiles"], observed["values"], strict=True)
        quantiles = {f"{quantile:g}": value for quantile, value in pairs if _is_number(value)}
        return {"quantiles": quantiles} if quantiles else {}
    missing = found.get("missing_count")
    if kind == "expect_column_values_to_not_be_null":
        missing = found.get("unexpected_count")
    if missing is None or found.get("element_count") is None:
        return {}
    return {"nullCount": int(missing), "count": int(found["element_count"]) - int(missing)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
