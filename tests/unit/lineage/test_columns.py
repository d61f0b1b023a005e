"""Column lineage against what Polars computes: whatever changes when a source column changes must have been named."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lineage.columnar import plan as plans
from lineage.columnar.bounds import needed
from lineage.columnar.edges import Cell
from lineage.columns import ColumnLineage, Source, Transformation, column_lineage
from lineage.errors import ColumnsUnknownError

from .queries import BOUNDED, CASES, EXPRESSIONS, FRAMES, STEPS, A, B, Query


def scanned(folder: Path, a: pl.DataFrame, b: pl.DataFrame) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    a.write_parquet(folder / "a.parquet")
    b.write_parquet(folder / "b.parquet")
    return pl.scan_parquet(folder / "a.parquet"), pl.scan_parquet(folder / "b.parquet")


def names(folder: Path) -> dict[str, str]:
    return {str(folder / "a.parquet"): "a", str(folder / "b.parquet"): "b"}


def derived(folder: Path, query: Query) -> ColumnLineage:
    return column_lineage(query(*scanned(folder, A, B)), names(folder))


def spelled(text: str) -> frozenset[Source]:
    return frozenset(Source(*item.split(".")) for item in text.split())


def changed(values: pl.Series) -> Iterator[pl.Series]:
    """Other columns of the same type: nulls, other values, the same in another order."""
    kind, size = values.dtype, len(values)
    yield pl.Series(values.name, [None] * size, dtype=kind)
    yield values.reverse()
    yield pl.Series(values.name, [values[-1], *values[:-1]], dtype=kind)
    yield pl.Series(values.name, [None, *values[1:]], dtype=kind)
    yield pl.Series(values.name, [values[0]] * size, dtype=kind)
    if kind.is_numeric():
        yield values + 1
        yield -values
        yield values * 3 - 4
    elif kind == pl.String:
        yield values + "!"
        yield pl.Series(values.name, ["q", "p"] * size, dtype=kind).head(size)
    elif kind == pl.Datetime:
        yield values.dt.offset_by("25m")
        yield values.dt.offset_by("-3h")
        yield pl.Series(values.name, [values[0] + (value - values[0]) * 3 for value in values], dtype=kind)
    else:
        yield values.list.reverse()
        yield values.list.head(1)


def perturbed() -> Iterator[tuple[Source, pl.Series]]:
    """Each source column, changed in one way after the other."""
    for dataset, frame in FRAMES.items():
        for column in frame.columns:
            for values in changed(frame[column]):
                yield Source(dataset, column), values


def differing(before: pl.DataFrame, after: pl.DataFrame) -> list[str]:
    return [name for name in before.columns if not before[name].equals(after[name], null_equal=True)]


def assert_sound(folder: Path, query: Query) -> int:
    """Of how many changed values the source was named: of all."""
    found, seen = derived(folder, query), 0
    before = query(A.lazy(), B.lazy()).collect()
    assert list(found.columns) == before.columns
    for source, values in perturbed():
        a, b = (frame.with_columns(values) if source.dataset == dataset else frame for dataset, frame in FRAMES.items())
        try:
            after = query(a.lazy(), b.lazy()).collect()
        except pl.exceptions.PolarsError:
            continue  # such frames cannot be joined or rolled over: they say nothing
        for column in differing(before, after):
            assert source in found.sources(column), (column, values.to_list())
            seen += 1
    return seen


@pytest.mark.parametrize("name", [*CASES, *BOUNDED])
def test_whatever_changes_with_a_source_column_is_named(name: str, tmp_path: Path) -> None:
    query, _ = {**CASES, **BOUNDED}[name]
    assert assert_sound(tmp_path, query)


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_named_in_vain(name: str, tmp_path: Path) -> None:
    query, expected = CASES[name]
    found = derived(tmp_path, query)
    assert found.exact
    assert {column: found.sources(column) for column in expected} == {
        column: spelled(text) for column, text in expected.items()
    }


@pytest.mark.parametrize("name", BOUNDED)
def test_what_cannot_be_seen_is_bounded_and_says_so(name: str, tmp_path: Path) -> None:
    query, expected = BOUNDED[name]
    found = derived(tmp_path, query)
    assert not found.exact
    for column, text in expected.items():
        assert found.sources(column) == spelled(text)


@pytest.mark.parametrize("name", CASES)
def test_values_come_from_columns_that_polars_reads(name: str, tmp_path: Path) -> None:
    query, _ = CASES[name]
    frame = query(*scanned(tmp_path, A, B))
    found = column_lineage(frame, names(tmp_path))
    for name_, column in found.columns.items():
        read = needed(frame, name_, names(tmp_path))
        direct = {Cell(*source) for source, how in column.sources.items() if any(item.type == "DIRECT" for item in how)}
        assert direct <= read


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(sorted(STEPS)), min_size=2, max_size=4))
def test_operations_one_after_the_other_name_all_that_they_take(tmp_path_factory: Any, chosen: list[str]) -> None:
    def query(a: pl.LazyFrame, b: pl.LazyFrame) -> pl.LazyFrame:
        for name in chosen:
            a = STEPS[name](a, b)
        return a

    assert_sound(tmp_path_factory.mktemp("frames"), query)


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_order_and_number_of_rows_are_named_where_values_depend_on_them(name: str, tmp_path: Path) -> None:
    expr, checked = EXPRESSIONS[name], 0
    for query in (
        lambda a, _: a.select(expr.alias("z"), n=pl.lit(1)),
        lambda a, _: a.with_row_index("i").sort("s").with_columns(z=expr).sort("i"),
    ):
        try:
            query(A.lazy(), B.lazy()).collect()
        except pl.exceptions.PolarsError:
            continue  # as many values as there are rows cannot be had of all of them
        checked += assert_sound(tmp_path, query)
    assert checked


def test_transformations_are_those_of_openlineage(tmp_path: Path) -> None:
    found = derived(
        tmp_path,
        lambda a, b: (
            a.filter(pl.col("s") != "q")
            .join(b, on="k", how="left", validate="m:1")
            .select(
                "k",
                "y",
                late=pl.col("x") >= 3,
                mean=pl.col("x").mean().over("g"),
                taken=pl.when(pl.col("g") == 0).then("x").otherwise("k"),
            )
        ),
    )
    joined, doubled = "k = k", Transformation("INDIRECT", "CONDITIONAL", "g == 0")
    assert found.columns["k"].sources == {Source("a", "k"): (Transformation("DIRECT", "IDENTITY"),)}
    assert found.columns["y"].sources == {
        Source("a", "k"): (Transformation("INDIRECT", "JOIN", joined),),
        Source("b", "k"): (Transformation("INDIRECT", "JOIN", joined),),
        Source("b", "y"): (Transformation("DIRECT", "IDENTITY"),),
    }
    assert found.columns["late"].sources == {
        Source("a", "x"): (Transformation("DIRECT", "TRANSFORMATION", "x >= 3.0"),)
    }
    assert found.columns["mean"].sources == {
        Source("a", "g"): (Transformation("INDIRECT", "WINDOW", "g"),),
        Source("a", "x"): (Transformation("DIRECT", "AGGREGATION", "x.mean().over(g)"),),
    }
    assert found.columns["taken"].sources[Source("a", "g")] == (doubled,)
    assert found.rows.sources == {Source("a", "s"): (Transformation("INDIRECT", "FILTER", "s != 'q'"),)}


def test_a_query_of_an_unknown_plan_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "KNOWN_VERSIONS", frozenset({15}))
    with pytest.raises(ColumnsUnknownError, match=r"plans of version 16\.\d+, which column lineage does not know"):
        derived(tmp_path, CASES["select"][0])


def test_a_query_of_other_files_is_refused(tmp_path: Path) -> None:
    a, _ = scanned(tmp_path, A, B)
    with pytest.raises(ColumnsUnknownError, match="which is none of the step's inputs"):
        column_lineage(a, {str(tmp_path / "b.parquet"): "b"})
