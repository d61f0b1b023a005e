"""Values at places of a column in order: the same as from a sort, whatever the numbers are like."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from validations.suite import load_gx

load_gx()

from great_expectations.validator.metric_configuration import MetricConfiguration  # noqa: E402
from great_expectations.validator.metrics_calculator import MetricsCalculator  # noqa: E402

from validations.engine import PolarsExecutionEngine  # noqa: E402

QUANTILES = [0.0, 0.1, 0.25, 0.5, 0.501, 0.9, 1.0]
NUMBERS: dict[str, list[Any]] = {
    "one value many times": [7] * 50,
    "both signs and many sizes": [sign * base**power for sign in (-1, 1) for base in (2, 3) for power in range(40)],
    "integers that no float tells apart": [2**62 + step for step in range(40, -40, -1)],
    "floats": [value / 7 for value in range(-300, 300)] + [float("inf"), -float("inf"), 0.0, -1e-300, None],
    "decimals": [Decimal(value) / 100 for value in range(400, -400, -7)],
    "days": [date(1950 + at % 90, 1 + at % 12, 1 + at % 28) for at in range(500)],
    "none": [None, None],
}


@pytest.mark.parametrize("values", NUMBERS.values(), ids=NUMBERS)
def test_quantiles_and_median_are_those_of_the_sorted_column(values):
    """Buckets must neither split equal values nor change the order."""
    column = pl.Series("n", values, dtype=pl.Int64 if values[0] is None else None).shuffle(seed=1)
    ordered = column.drop_nulls().sort()

    found = computed(column, "column.quantile_values", quantiles=QUANTILES, allow_relative_error="lower")

    assert found == [ordered[int(at * (len(ordered) - 1))] if len(ordered) else None for at in QUANTILES]
    assert computed(column, "column.median") == plain(column.median())


def test_what_is_fetched_is_near_the_places(monkeypatch):
    """Of 10,000 different values no more leave the query than the median's bucket has."""
    fetched: list[int] = []
    one = pl.LazyFrame.collect

    def collect(frame: pl.LazyFrame, **options: Any) -> Any:
        found = one(frame, **options)
        fetched.append(found.height)
        return found

    monkeypatch.setattr(pl.LazyFrame, "collect", collect)

    assert computed(pl.Series("n", range(1, 10_001)), "column.median") == 5000.5
    assert 1 < fetched[-1] < 50


def plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


def computed(column: pl.Series, metric: str, **values: Any) -> Any:
    """What GX gets when it asks for a metric of the column `n`."""
    engine = PolarsExecutionEngine()
    engine.load_batch_data("rows", column.to_frame())
    asked = MetricConfiguration(metric, {"column": "n", "batch_id": "rows"}, values)
    return MetricsCalculator(execution_engine=engine, show_progress_bars=False).get_metric(asked)
