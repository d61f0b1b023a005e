"""Twenty questions about a table of flights, asked five ways: the calls that `benchmarks.validation` measures.

`SUITE` has them as expectations of Great Expectations. Each function gets the table's folder and answers with the
counts of each question, by its name: what GX reports of it, or of pandera and pointblank, which report less, how many
values broke it. What a way needs is imported by `load`, so that it can be told apart from the work.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl

Counts = dict[str, dict[str, Any]]
Work = Callable[[Path], Counts]

CARRIERS = ["9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV"]
AIRPORTS = ["EWR", "JFK", "LGA"]
FLIGHT_ID = r"^[0-9A-Z]{2}[0-9]+-[A-Z]{3}-[0-9]{8}T[0-9]{2}Z(\+[0-9]+)?$"
TAILNUM = "^N[0-9A-Z]+$"
MANY = 10**9

# Some rows break six of them, as in real tables: GX then also lists values and places, which the select does not.
SUITE: dict[str, tuple[str, dict[str, Any]]] = {
    "rows": ("expect_table_row_count_to_be_between", {"min_value": 1, "max_value": MANY}),
    "one id each": ("expect_column_values_to_be_unique", {"column": "flight_id"}),
    "id": ("expect_column_values_to_not_be_null", {"column": "flight_id"}),
    "id's form": ("expect_column_values_to_match_regex", {"column": "flight_id", "regex": FLIGHT_ID}),
    "carrier": ("expect_column_values_to_be_in_set", {"column": "carrier", "value_set": CARRIERS}),
    "airline": (
        "expect_column_value_lengths_to_be_between",
        {"column": "airline", "min_value": 9, "max_value": 27},
    ),
    "aircraft": ("expect_column_values_to_not_be_null", {"column": "tailnum", "mostly": 0.99}),
    "aircraft's form": ("expect_column_values_to_match_regex", {"column": "tailnum", "regex": TAILNUM, "mostly": 0.99}),
    "origin": ("expect_column_values_to_be_in_set", {"column": "origin", "value_set": AIRPORTS}),
    "destination": ("expect_column_value_lengths_to_equal", {"column": "dest", "value": 3}),
    "arrival after departure": (
        "expect_column_pair_values_a_to_be_greater_than_b",
        {"column_A": "arrives_at", "column_B": "departs_at"},
    ),
    "weekday": ("expect_column_values_to_be_between", {"column": "weekday", "min_value": 1, "max_value": 7}),
    "minute": ("expect_column_values_to_be_between", {"column": "departure_minute", "min_value": 0, "max_value": 1439}),
    "minutes": ("expect_column_mean_to_be_between", {"column": "scheduled_minutes", "min_value": 1, "max_value": 720}),
    "distance": ("expect_column_values_to_be_between", {"column": "distance", "min_value": 50, "max_value": 5000}),
    "delay": (
        "expect_column_values_to_be_between",
        {"column": "dep_delay", "min_value": -60, "max_value": 900, "mostly": 0.99},
    ),
    "arrived": ("expect_column_values_to_not_be_null", {"column": "arr_delay", "mostly": 0.95}),
    "late": ("expect_column_values_to_not_be_null", {"column": "late", "mostly": 0.95}),
    "warmth": ("expect_column_values_to_be_between", {"column": "temp", "min_value": -20, "max_value": 120}),
    "sight": ("expect_column_values_to_be_between", {"column": "visib", "min_value": 0, "max_value": 10}),
}
UNIQUE = "one id each"

_ABOUT = {"expect_column_values_to_not_be_null": ("element_count", "unexpected_count")}
_ROW_LEVEL = ("element_count", "missing_count", "unexpected_count")


def scan(table: Path) -> pl.LazyFrame:
    """The table's files as one lazy frame."""
    return pl.scan_parquet(table / "*.parquet")


def by_hand(table: Path) -> Counts:
    """All counts from one streaming select; keys are counted one by one only if some come twice."""
    col, flights = pl.col, scan(table)
    found = (
        flights.select(
            pl.len().alias("rows"),
            col("^(flight_id|carrier|airline|tailnum|origin|dest|weekday|departure_minute)$").null_count(),
            col("distance", "dep_delay", "arr_delay", "late", "temp", "visib").null_count(),
            (col("arrives_at").is_null() & col("departs_at").is_null()).sum().alias("times"),
            (col("arrives_at") <= col("departs_at")).sum().alias("arrival after departure"),
            col("scheduled_minutes").mean().alias("minutes"),
            col("flight_id").n_unique().alias(UNIQUE),
            (~col("flight_id").str.contains(FLIGHT_ID)).sum().alias("id's form"),
            (~col("carrier").is_in(CARRIERS)).sum().alias("in carrier"),
            (~col("airline").str.len_chars().is_between(9, 27)).sum().alias("in airline"),
            (~col("tailnum").str.contains(TAILNUM)).sum().alias("aircraft's form"),
            (~col("origin").is_in(AIRPORTS)).sum().alias("in origin"),
            (col("dest").str.len_chars() != 3).sum().alias("destination"),
            (~col("weekday").is_between(1, 7)).sum().alias("in weekday"),
            (~col("departure_minute").is_between(0, 1439)).sum().alias("minute"),
            (~col("distance").is_between(50, 5000)).sum().alias("in distance"),
            (~col("dep_delay").is_between(-60, 900)).sum().alias("delay"),
            (~col("temp").is_between(-20, 120)).sum().alias("warmth"),
            (~col("visib").is_between(0, 10)).sum().alias("sight"),
        )
        .collect(engine="streaming")
        .row(0, named=True)
    )
    if found[UNIQUE] < found["rows"]:
        keys = flights.drop_nulls("flight_id").group_by("flight_id").len().filter(col("len") > 1)
        found[UNIQUE] = keys.select(col("len").sum()).collect(engine="streaming").item()
    else:
        found[UNIQUE] = 0
    return {name: _told(name, found) for name in SUITE}


def _told(name: str, found: Mapping[str, Any]) -> dict[str, Any]:
    kind, kwargs = SUITE[name]
    column = kwargs.get("column", "times")
    if "column" not in kwargs and "column_A" not in kwargs:
        return {"observed_value": found["rows"]}
    if "_mean_" in kind:
        return {"observed_value": found[name]}
    if kind in _ABOUT:
        return dict(zip(_ABOUT[kind], (found["rows"], found[column]), strict=True))
    broken = found[name] if f"in {name}" not in found else found[f"in {name}"]
    return dict(zip(_ROW_LEVEL, (found["rows"], found[column], broken), strict=True))


def expectations(*, unique: bool) -> list[dict[str, Any]]:
    """The questions as GX's own configurations, with or without the one about uniqueness."""
    return [
        {"type": kind, "kwargs": kwargs, "meta": {"question": name}}
        for name, (kind, kwargs) in SUITE.items()
        if unique or name != UNIQUE
    ]


def gx_on_polars(table: Path) -> Counts:
    """A saved checkpoint on a Parquet asset of `add_polars`, from opening its context on."""
    return run_checkpoint(open_context(table.parent, "polars").checkpoints.get(table.name))


def gx_on_pandas(table: Path) -> Counts:
    """The same expectations in a saved checkpoint on a frame that pandas reads first."""
    import pandas as pd

    frame = pd.read_parquet(table)
    return run_checkpoint(open_context(table.parent, "pandas").checkpoints.get(table.name), {"dataframe": frame})


def open_context(folder: Path, engine: str) -> Any:
    """GX's file context of that engine; made where there is none."""
    import great_expectations as gx

    context = gx.get_context(mode="file", project_root_dir=folder / f"on_{engine}")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    return context


def save_checkpoint(folder: Path, engine: str, table: str, *, unique: bool = True) -> None:
    """Saves a checkpoint with the table's name: its suite, its data source and the definition that joins them."""
    import great_expectations as gx

    context = open_context(folder, engine)
    if engine == "polars":
        source = context.data_sources.add_or_update_polars(f"polars {table}")
        batch = source.add_parquet_asset("flights", folder / table).add_batch_definition_whole("all")
    else:
        source = context.data_sources.add_or_update_pandas(f"pandas {table}")
        batch = source.add_dataframe_asset("flights").add_batch_definition_whole_dataframe("all")
    suite = context.suites.add(gx.ExpectationSuite(name=table, expectations=expectations(unique=unique)))
    joined = context.validation_definitions.add(gx.ValidationDefinition(name=table, data=batch, suite=suite))
    context.checkpoints.add(gx.Checkpoint(name=table, validation_definitions=[joined]))


def run_checkpoint(checkpoint: Any, parameters: dict[str, Any] | None = None) -> Counts:
    """What GX counts; SystemExit for an expectation that could not be run."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (run,) = checkpoint.run(batch_parameters=parameters).run_results.values()
    counts = {}
    for found in run.results:
        name = found.expectation_config.meta["question"]
        asked = _ABOUT.get(SUITE[name][0], (*_ROW_LEVEL, "observed_value"))
        counts[name] = {key: found.result[key] for key in asked if key in found.result}
        if not counts[name]:
            raise SystemExit(f"GX could not run {name!r}: {found.exception_info}")
    return counts


def pandera(table: Path) -> Counts:
    """A schema of pandera on a frame that Polars reads first: pandera looks at values of eager frames only."""
    pa = import_module("pandera.polars")
    try:
        _pandera_schema(pa).validate(scan(table).collect(engine="streaming"), lazy=True)
        failures = pl.DataFrame(schema={"column": pl.String, "check": pl.String})
    except pa.errors.SchemaErrors as error:
        failures = error.failure_cases
    counted = {(row[0], row[1].partition("(")[0]): row[2] for row in failures.group_by("column", "check").len().rows()}
    return {name: {"unexpected_count": counted.get(_pandera_check(name), 0)} for name in SUITE}


_PANDERA = {
    "expect_column_values_to_be_unique": "field_uniqueness",
    "expect_column_values_to_not_be_null": "not_nullable",
    "expect_column_values_to_match_regex": "str_matches",
    "expect_column_values_to_be_in_set": "isin",
    "expect_column_value_lengths_to_be_between": "str_length",
    "expect_column_value_lengths_to_equal": "str_length",
    "expect_column_values_to_be_between": "in_range",
}


def _pandera_check(name: str) -> tuple[str, str]:
    kind, kwargs = SUITE[name]
    return (kwargs.get("column", "flights"), _PANDERA.get(kind, name))


def _pandera_schema(pa: Any) -> Any:
    is_, low, high = pa.Check, "min_value", "max_value"
    checks: dict[str, list[Any]] = {}
    strict: dict[str, dict[str, bool]] = {}
    for name, (kind, kwargs) in SUITE.items():
        column = kwargs.get("column", "")
        match _PANDERA.get(kind, name):
            case "field_uniqueness":
                strict.setdefault(column, {})["unique"] = True
            case "not_nullable":
                strict.setdefault(column, {})["nullable"] = False
            case "str_matches":
                checks.setdefault(column, []).append(is_.str_matches(kwargs["regex"]))
            case "isin":
                checks.setdefault(column, []).append(is_.isin(kwargs["value_set"]))
            case "str_length":
                ends = [kwargs.get("value", kwargs.get(end)) for end in (low, high)]
                checks.setdefault(column, []).append(is_.str_length(*ends))
            case "in_range":
                checks.setdefault(column, []).append(is_.in_range(kwargs[low], kwargs[high]))
            case "minutes":
                mean = pl.col(column).mean().is_between(kwargs[low], kwargs[high])
                checks.setdefault(column, []).append(is_(lambda data, mean=mean: data.lazyframe.select(mean)))
    whole = [
        is_(lambda data: data.lazyframe.select(pl.len().is_between(1, MANY)), name="rows"),
        is_(
            lambda data: data.lazyframe.select(pl.col("arrives_at") > pl.col("departs_at")),
            name="arrival after departure",
        ),
    ]
    columns = {
        column: pa.Column(checks=checks.get(column), **{"nullable": True, **strict.get(column, {})})
        for column in {**checks, **strict}
    }
    return pa.DataFrameSchema(columns, checks=whole, name="flights")


def pointblank(table: Path) -> Counts:
    """A validation plan of pointblank on the lazy frame; nothing but counts is kept."""
    pb = import_module("pointblank")
    plan = pb.Validate(data=scan(table))
    for kind, kwargs in SUITE.values():
        plan = _POINTBLANK[kind](plan, kwargs, pb)
    failed = iter(plan.interrogate(collect_extracts=False, collect_tbl_checked=False).n_failed().values())
    # A mean is two steps: at least, and at most.
    return {name: {"unexpected_count": next(failed) + ("_mean_" in SUITE[name][0] and next(failed))} for name in SUITE}


_POINTBLANK: dict[str, Callable[[Any, dict[str, Any], Any], Any]] = {
    "expect_table_row_count_to_be_between": lambda plan, _, __: plan.row_count_match(1, tol=(0, MANY)),
    "expect_column_values_to_be_unique": lambda plan, asked, _: plan.rows_distinct([asked["column"]]),
    "expect_column_values_to_not_be_null": lambda plan, asked, _: plan.col_vals_not_null(asked["column"]),
    "expect_column_values_to_match_regex": lambda plan, asked, _: plan.col_vals_regex(
        asked["column"], asked["regex"], na_pass=True
    ),
    # A plan has no `na_pass` for sets and lengths; the table has all of these values.
    "expect_column_values_to_be_in_set": lambda plan, asked, _: plan.col_vals_in_set(
        asked["column"], asked["value_set"]
    ),
    "expect_column_value_lengths_to_be_between": lambda plan, asked, _: plan.col_vals_expr(
        pl.col(asked["column"]).str.len_chars().is_between(asked["min_value"], asked["max_value"])
    ),
    "expect_column_value_lengths_to_equal": lambda plan, asked, _: plan.col_vals_expr(
        pl.col(asked["column"]).str.len_chars() == asked["value"]
    ),
    "expect_column_pair_values_a_to_be_greater_than_b": lambda plan, asked, pb: plan.col_vals_gt(
        asked["column_A"], pb.col(asked["column_B"]), na_pass=True
    ),
    "expect_column_values_to_be_between": lambda plan, asked, _: plan.col_vals_between(
        asked["column"], asked["min_value"], asked["max_value"], na_pass=True
    ),
    "expect_column_mean_to_be_between": lambda plan, asked, _: plan.col_avg_ge(
        asked["column"], asked["min_value"]
    ).col_avg_le(asked["column"], asked["max_value"]),
}


def _load_gx() -> None:
    from validations.suite import load_gx

    load_gx()


def _load_gx_on_polars() -> None:
    _load_gx()
    import validations.datasource  # noqa: F401


def _load_pandera() -> None:
    import_module("pandera.polars")


def _load_pointblank() -> None:
    import_module("pointblank")


WAYS: dict[str, tuple[Callable[[], None], Work]] = {
    "hand-written": (lambda: None, by_hand),
    "GX on Polars": (_load_gx_on_polars, gx_on_polars),
    "GX on pandas": (_load_gx, gx_on_pandas),
    "pandera": (_load_pandera, pandera),
    "pointblank": (_load_pointblank, pointblank),
}


def installed(way: str) -> bool:
    """Whether what a way needs is there; pandera and pointblank are no dependencies of the project."""
    return way not in ("pandera", "pointblank") or find_spec(way) is not None
