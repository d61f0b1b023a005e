"""What is read from an expression is so: of all methods of Polars those that are said to leave rows apart do."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from lineage.errors import RowsLostError
from lineage.rows import expressions as ex
from lineage.rows.capture import Capture, Ways
from lineage.rows.mixing import WHOLE, height, mixings
from lineage.rows.tracking import Tracked

X, Y = pl.col("x"), pl.col("y")

COLUMNS: dict[str, tuple[list[Any], Any]] = {
    "whole": ([3, 1, None, 3, 2], pl.Int64),
    "real": ([1.5, None, float("nan"), -2.0, 1.5], pl.Float64),
    "flag": ([True, None, False, True, True], pl.Boolean),
    "text": (["1", "b", None, "b", "2020-01-02"], pl.String),
    "json": (['{"a": 1}', None, '{"a": 2}', "{}", "{}"], pl.String),
    "clock": (["10:01:02", "10:01:03", None, "23:00:00", "10:01:02"], pl.String),
    "bytes": ([b"abcdefgh", None, b"", b"bcdefghi", b"abcdefgh"], pl.Binary),
    "zoned": ([datetime(2020, 7, day) for day in (3, 1, 2, 4)] + [None], pl.Datetime("us", "Europe/Paris")),
    "instant": ([datetime(2020, 1, day) for day in (3, 1, 2)] + [None, datetime(2020, 1, 3)], pl.Datetime("us")),
    "day": ([date(2020, 1, day) for day in (3, 1, 2)] + [None, date(2020, 1, 3)], pl.Date),
    "hour": ([time(3), time(1), None, time(2), time(3)], pl.Time),
    "lapse": ([timedelta(hours=hours) for hours in (3, 1, 2)] + [None, timedelta(hours=3)], pl.Duration("us")),
    "money": ([Decimal("1.25"), None, Decimal("2"), Decimal("1.25"), Decimal("0")], pl.Decimal(10, 2)),
    "list": ([[2, 1], [], None, [3], [2, 1]], pl.List(pl.Int64)),
    "words": ([["b", "a"], [], None, ["c"], ["b", "a"]], pl.List(pl.String)),
    "array": ([[2, 1], [1, 1], None, [3, 0], [2, 1]], pl.Array(pl.Int64, 2)),
    "texts": ([["b", "a"], ["c", "c"], None, ["d", "e"], ["b", "a"]], pl.Array(pl.String, 2)),
    "struct": (
        [{"a": 1, "b": 2}, None, {"a": 3, "b": 2}, {"a": 1, "b": 2}, {"a": 0, "b": 0}],
        pl.Struct({"a": pl.Int64, "b": pl.Int64}),
    ),
    "pairs": (
        [[{"key": "a", "value": 1}], [], None, [{"key": "b", "value": 2}], []],
        pl.List(pl.Struct({"key": pl.String, "value": pl.Int64})),
    ),
    "map": ([{"a": 1}, None, {}, {"b": 2}, {"a": 3}], pl.Map(pl.String, pl.Int64)),
    "kind": (["a", "b", None, "a", "c"], pl.Enum(["a", "b", "c"])),
    "only": ([[1], [2], None, [3], [1]], pl.List(pl.Int64)),
    "trues": ([[True, False], [True], None, [], [False]], pl.List(pl.Boolean)),
    "switches": ([[True, False], [True, True], None, [False, False], [False, True]], pl.Array(pl.Boolean, 2)),
}

# With what methods are called that cannot be called with nothing; several where it matters.
ARGUMENTS: dict[str, list[tuple[Any, ...]]] = {
    **{
        key: [(Y,), (Y.sum(),)] for key in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "truncdiv", "dot")
    },
    **{key: [(Y,)] for key in ("eq", "ne", "ge", "gt", "le", "lt", "eq_missing", "ne_missing", "and_", "or_", "xor")},
    **{key: [(Y,)] for key in ("append", "max_by", "min_by", "sort_by", "index_of", "search_sorted", "is_close")},
    **{key: [(Y, 2)] for key in ("top_k_by", "bottom_k_by")},
    "alias": [("z",)],
    "approx_quantile": [(0.5,)],
    "bin_intervals": [([1, 2],)],
    "bin_quantiles": [([0.5],)],
    "bin_ranks": [([0.5],)],
    "cast": [(pl.String,)],
    "clip": [(Y, Y), (0, 2)],
    "cumulative_eval": [(pl.element().max(),)],
    "cut": [([1, 2],)],
    "ewm_mean_by": [(pl.col("at"),)],
    "ewm_sum_by": [(pl.col("at"),)],
    "exclude": [("x",)],
    "extend_constant": [(1, 2)],
    "fill_nan": [(0.0,)],
    "fill_null": [(0,), (Y,), (Y.max(),), (None, "forward"), ("x",)],
    "filter": [(Y.is_not_null(),)],
    "gather": [([0, 1],), (pl.lit(0),)],
    "gather_every": [(2,)],
    "get": [(0,)],
    "interpolate_by": [(pl.col("at"),)],
    "is_between": [(Y, Y)],
    "is_in": [([1, 2],), (Y,), (Y.implode(),)],
    "log": [(2.0,)],
    "over": [("g",)],
    "quantile": [(0.5,)],
    "qcut": [(2,)],
    "repeat_by": [(2,)],
    "replace": [({3: 4},), ({"b": "c"},), (Y, 1), (Y, Y)],
    "replace_strict": [({3: 4, 1: 1, 2: 2},)],
    "reshape": [((-1, 1),)],
    "rolling": [("at",)],
    **{
        f"rolling_{name}": [(2,)]
        for name in ("kurtosis", "max", "mean", "median", "min", "rank", "skew", "std", "sum", "var")
    },
    **{
        f"rolling_{name}_by": [("at", "1h")]
        for name in ("max", "mean", "median", "min", "quantile", "rank", "std", "sum", "var")
    },
    "rolling_quantile": [(0.5,)],
    "round_sig_figs": [(2,)],
    "sample": [()],
    "slice": [(0, 2)],
    "add_business_days": [(1,)],
    "agg": [(pl.element().max(),)],
    "cast_time_unit": [("ms",)],
    "combine": [(time(1),)],
    "concat": [(X,)],
    "contains": [(1,), ("b",), (b"a",)],
    "contains_any": [(["a", "b"],)],
    "convert_time_zone": [("UTC",)],
    "count_matches": [(1,), ("b",)],
    "decode": [
        ("hex",),
    ],
    "encode": [("hex",)],
    "ends_with": [("b",), (b"a",)],
    "eval": [(pl.element() + 1,), (pl.element().rank(),), (pl.field("a"),)],
    "extract": [("(b)",)],
    "extract_all": [("b",)],
    "extract_groups": [("(b)",)],
    "extract_many": [(["b"],)],
    "field": [("a",)],
    "find": [("b",)],
    "find_many": [(["b"],)],
    "join": [(",",)],
    "json_decode": [(pl.Struct({"a": pl.Int64}),)],
    "json_path_match": [("$.a",)],
    "offset_by": [("1d",)],
    "pad_end": [(3,)],
    "pad_start": [(3,)],
    "rename_fields": [(["q", "r"],)],
    "replace_all": [("b", "c")],
    "replace_many": [(["b"], ["c"])],
    "replace_time_zone": [("UTC",)],
    "dt.round": [("1d",)],
    "dt.truncate": [("1d",)],
    "dt.replace": [],
    "str.replace": [("b", "c")],
    "set_difference": [(X,)],
    "set_intersection": [(X,)],
    "set_symmetric_difference": [(X,)],
    "set_union": [(X,)],
    "list.filter": [(pl.element() > 1,)],
    "list.gather": [([0],)],
    "list.gather_every": [(2,)],
    "arr.dot": [(X,)],
    "list.to_struct": [(["a", "b"],)],
    "list.to_array": [(1,)],
    "split": [(",",)],
    "split_exact": [(",", 1)],
    "splitn": [(",", 2)],
    "starts_with": [("b",), (b"a",)],
    "strftime": [("%Y",)],
    "strip_prefix": [("b",)],
    "strip_suffix": [("b",)],
    "strptime": [(pl.Date, "%Y-%m-%d"), (pl.Date,)],
    "str.to_date": [("%Y-%m-%d",), ()],
    "str.to_decimal": [()],
    "to": [(pl.Int64,)],
    "to_string": [("%Y",), ()],
    "with_fields": [(pl.field("a").alias("c"),), (Y.alias("c"),), (Y.sum().alias("c"),)],
    "zfill": [(3,)],
    "struct.drop": [(["a"],)],
    "contains_key": [("a",)],
    "cat.ends_with": [("a",)],
    "cat.starts_with": [("a",)],
    "cat.to": [(pl.Enum(["a", "b", "c"]),)],
    "str.head": [(1,)],
    "str.tail": [(1,)],
    "map.get": [("a",)],
    "index_of": [(1,)],
    "truediv": [(2,)],
    "bin.get": [(0,)],
    "bin.decode": [("hex",)],
    "bin.reinterpret": [],
    "prefix": [("p",)],
    "prefix_fields": [("p",)],
    "suffix": [("p",)],
    "suffix_fields": [("p",)],
    "name.replace": [("x", "p")],
}
KEYWORDS: dict[str, dict[str, Any]] = {
    **{f"ewm_{name}": {"span": 2} for name in ("mean", "std", "sum", "var")},
    "ewm_mean_by": {"half_life": "1h"},
    "ewm_sum_by": {"half_life": "1h"},
    "rolling_quantile_by": {"quantile": 0.5},
    **{key: {"labels": False} for key in ("bin_intervals", "bin_quantiles", "bin_ranks")},
    "rolling": {"period": "1h"},
    "sample": {"fraction": 1.0, "seed": 1},
    "list.sample": {"n": 1, "seed": 1},
    "shuffle": {"seed": 1},
    "strptime": {"strict": False},
    "str.to_date": {"strict": False},
    "str.to_datetime": {"strict": False},
    "str.to_time": {"strict": False},
    "str.to_integer": {"strict": False},
    "str.decode": {"strict": False},
    "bin.reinterpret": {"dtype": pl.Int64},
    "reinterpret": {"dtype": pl.UInt64},
    "dt.replace": {"day": 1},
    "str.to_decimal": {"scale": 2},
    "str.encode": {},
    "bin.decode": {"strict": False},
    "bin.get": {"null_on_oob": True},
    "item": {"allow_empty": True},
}
# What is no expression on rows (accessors, and ways to write others), or needs a frame of one row or a type of its own.
NONE = frozenset({"deserialize", "ext.to", "inspect", "item", "meta", "pipe"})
# Python code: refused without rows=, whatever it does.
PYTHON = frozenset({"map_batches", "map_elements", "pipe_with_dtype", "rolling_map", "name.map", "name.map_fields"})
NAMESPACES = ("arr", "bin", "cat", "dt", "ext", "list", "map", "name", "str", "struct")


def _methods() -> Iterator[str]:
    for name in dir(pl.Expr):
        if not name.startswith("_") and name not in NAMESPACES:
            yield name
    for namespace in NAMESPACES:
        yield from (f"{namespace}.{name}" for name in dir(getattr(X, namespace)) if not name.startswith("_"))


def _frame(kind: str) -> pl.DataFrame:
    values, dtype = COLUMNS[kind]
    return pl.DataFrame(
        {
            "x": pl.Series(values, dtype=dtype),
            "y": pl.Series([*values[1:], values[0]], dtype=dtype),
            "g": [1, 1, 2, 2, 1],
            "at": pl.Series([datetime(2020, 1, 1, hour) for hour in range(5)], dtype=pl.Datetime("us")),
        }
    )


def _called(method: str) -> Iterator[pl.Expr]:
    namespace, _, name = method.rpartition(".")
    owner = getattr(X, namespace) if namespace else X
    for arguments in ARGUMENTS.get(method, ARGUMENTS.get(name, [()])) or [()]:
        yield getattr(owner, name)(*arguments, **KEYWORDS.get(method, KEYWORDS.get(name, {})))


def _applied(method: str) -> Iterator[tuple[pl.DataFrame, pl.Expr, pl.DataFrame]]:
    """The method on columns of every type that it takes: frame, expression and result."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for expr in _called(method):
            for kind in COLUMNS:
                try:
                    yield _frame(kind), expr, _frame(kind).select(expr)
                except (pl.exceptions.PolarsError, pl.exceptions.PanicException, TypeError):
                    continue


def _read(frame: pl.DataFrame, expr: pl.Expr) -> list[ex.Expression]:
    return Tracked(Capture(()), frame.lazy(), Ways((), {}, frozenset())).read([expr])


@pytest.mark.parametrize("method", [name for name in _methods() if name not in NONE | PYTHON])
def test_what_leaves_rows_apart_does(method):
    """Each method of an expression, on every type that it takes: unless it is said to mix rows, each row alone
    gives what it gives among the others."""
    tried = 0
    for frame, expr, whole in _applied(method):
        tried += 1
        try:
            items = _read(frame, expr)
        except RowsLostError:
            continue
        if {"rows"} == set(map(height, items)) and not any(map(mixings, items)):
            alone = pl.concat([frame[place].select(item.expr for item in items) for place in range(len(frame))])

            assert_frame_equal(whole, alone)
        elif {"rows"} == set(map(height, items)):
            assert_frame_equal(whole, frame.select(item.expr for item in items))

    assert tried, f"say how {method} is called"


DATA = pl.DataFrame({"x": [1.5, None, -2.0, 4.0], "y": [1, 2, 2, None], "g": ["a", "b", "a", "a"]})
WITH_NAN = DATA.with_columns(n=pl.Series([1.0, float("nan"), None, 2.0]))
MIXED: dict[str, tuple[pl.Expr, list[tuple[str, tuple[str, ...]]]]] = {
    "a value": (X + pl.col("y") * 2, []),
    "a mean": (X - X.mean(), [("whole", ("x",))]),
    "of another column": (X - pl.col("y").max(), [("whole", ("y",))]),
    "of a group": (X.sum().over("g"), [("partition", ("x", "g"))]),
    "two groups": (X.sum().over("g") + X.max().over("y"), [("partition", ("x", "g")), ("partition", ("x", "y"))]),
    "in an order": (X.first().over("g", order_by="y"), [("partition", ("x", "g", "y"))]),
    "of groups that mix": (X.sum().over(pl.col("y").rank()), [("whole", ("x", "y"))]),
    "a number": (pl.int_range(pl.len()), [("whole", ())]),
    "a shift": (X.shift(), [("whole", ("x",))]),
    "a window": (X.max().rolling("y", period="2i"), [("window", ("x", "y"))]),
    "a window of values": (X.rolling_max_by("y", "2i"), [("window", ("x", "y"))]),
    "a window of what mixes": (X.shift().rolling_max_by("y", "2i"), [("whole", ("x", "y"))]),
    "in a list": (pl.concat_list("x", "y").list.eval(pl.element().rank()), []),
    "among values": (pl.col("g").is_in(["a"]), []),
    "among a column": (pl.col("g").is_in(pl.col("g")), [("whole", ("g",))]),
    "a series": (X + pl.lit(pl.Series([1.0, 2.0, 3.0, 4.0])), [("whole", ())]),
    "when": (pl.when(X > X.mean()).then("y").otherwise(pl.col("y").shift()), [("whole", ("x", "y"))]),
}


@pytest.mark.parametrize("name", MIXED)
def test_what_is_brought_together_is_named(name):
    """Which rows, and which of their columns."""
    expr, expected = MIXED[name]

    (item,) = _read(DATA, expr)

    assert expected == [(mixing.kind, columns) for mixing, columns in mixings(item)]


SPREAD: dict[str, tuple[pl.Expr, list[list[str]]]] = {
    "all": (pl.all(), [["x"], ["y"], ["g"]]),
    "some, with another": (pl.col("x", "y") + pl.col("y"), [["x", "y"], ["y"]]),
    "of a type": (pl.col(pl.Float64).fill_null(0), [["x"]]),
    "by a pattern": (pl.col("^[xy]$").name.suffix("_2"), [["x"], ["y"]]),
    "all but one": (pl.all().exclude("g"), [["x"], ["y"]]),
    "two selections side by side": (pl.col("x", "y") + pl.col("y", "x"), [["x", "y"], ["y", "x"]]),
    "none": (pl.col(pl.Date), []),
    "all in one": (pl.struct(pl.all()), [["x", "y", "g"]]),
    "some in one": (pl.concat_list(pl.col("x", "y")), [["x", "y"]]),
    "across": (pl.max_horizontal(pl.col("x", "y")), [["x", "y"]]),
    "taken apart again": (pl.struct("x", "y").struct.unnest(), [["x", "y"]]),
}


@pytest.mark.parametrize("name", SPREAD)
def test_an_expression_of_several_columns_is_one_each(name):
    """Each column that comes out knows its own columns; what Polars puts into one stays together."""
    expr, expected = SPREAD[name]

    items = _read(DATA, expr)

    assert expected == [item.columns for item in items]
    assert_frame_equal(DATA.select(expr), DATA.select(item.expr for item in items))


ADDED: list[pl.Expr] = [
    reduced.alias("r")
    for column in (
        X,
        X.cast(pl.Float32),
        pl.col("n"),
        pl.col("y"),
        pl.col("y") > 1,
        X.cast(pl.Decimal(10, 2)),
    )
    for value in (column, column.filter(pl.col("g") == "b"), column.filter(pl.col("g") == "z"))
    for reduced in (value.sum(), value.mean(), value.std(), value.var(0), value.sum() - value.mean())
]


@pytest.mark.parametrize("place", range(len(ADDED)))
def test_pinned_additions_are_those_of_polars(place):
    """Added in the order of rows the value is the same within rounding, of the same type: of a frame, of groups, over
    groups, with nulls, NaN, and nothing to add."""
    (item,) = _read(WITH_NAN, ADDED[place])
    uses: list[Any] = [
        lambda frame, expr: frame.select(expr),
        lambda frame, expr: frame.with_columns(expr),
        lambda frame, expr: frame.with_columns(expr.over("g")),
        lambda frame, expr: frame.group_by("g", maintain_order=True).agg(expr),
        lambda frame, expr: frame.clear().select(expr),
        lambda frame, expr: frame.clear().group_by("g").agg(expr),
    ]

    for use in uses:
        assert_frame_equal(use(WITH_NAN, ADDED[place]), use(WITH_NAN, item.expr))


def test_a_sum_of_floats_is_pinned_and_one_of_whole_numbers_is_left_alone():
    """What is exact in any order costs nothing."""
    assert "list.sum" in str(_read(DATA, X.sum())[0].expr)
    assert "list.mean" in str(_read(DATA, pl.col("y").mean())[0].expr)
    assert str(pl.col("y").sum()) == str(_read(DATA, pl.col("y").sum())[0].expr)
    assert str(X.max()) == str(_read(DATA, X.max())[0].expr)


@pytest.mark.parametrize(
    ("expr", "said"),
    [
        (pl.corr("x", "y"), "corr or cov of floats"),
        (X.skew(), "skew of floats"),
        (X.product(), "product of floats"),
        (X.rolling_sum(2), "a rolling sum of floats"),
        (pl.col("y").rolling_std(2), "a rolling std of floats"),
        (X.rolling_mean_by("y", "2i"), "a rolling mean of floats"),
        (X.top_k_by("y", 2), "take sort_by(…).head(k)"),
        (X.max_by("y"), "take sort_by(…, descending=True).first()"),
        (X.min_by("y"), "take sort_by(…).first()"),
        (X.arg_max(), "take index_of(….max())"),
        (X.arg_min(), "take index_of(….min())"),
        (X.value_counts(), "group_by the values and take len()"),
        (X.approx_quantile(0.5), "take quantile"),
        (X.approx_n_unique(), "take n_unique"),
        (X.implode().list.eval(pl.element().approx_quantile(0.5)).list.first(), "take quantile"),
        (X.shuffle(), "draws by chance"),
        (X.rank("random"), "draws by chance"),
        (pl.col(pl.Float64).fill_null(float("inf")), "name its columns one by one"),
        (X.fill_null(float("nan")).sum(), "in a with_columns of its own"),
    ],
)
def test_what_cannot_come_out_the_same_twice_is_refused(expr, said):
    """By the name of what an author wrote, with what to write instead."""
    with pytest.raises(RowsLostError) as raised:
        _read(DATA, expr)

    assert said in str(raised.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_json_has_no_word_for_are_kept(value):
    """An expression with NaN or an infinity is computed as it was written."""
    (item,) = _read(DATA, X.fill_null(value))

    assert_frame_equal(DATA.select(X.fill_null(value)), DATA.select(item.expr))


def test_ties_stay_in_their_order():
    """Options that let Polars take any order are set to keep it."""
    (item,) = _read(DATA, pl.col("y").sort_by("g").unique().implode(maintain_order=False))

    assert "maintain_order: false" not in str(item.expr)
    assert "unique_stable" in str(item.expr)


def test_a_whole_frame_takes_in_its_parts():
    """Who depends on all rows need not be told of some of them."""
    frame = Tracked(Capture(()), DATA.lazy(), Ways((), dict.fromkeys(DATA.columns, frozenset()), frozenset()))

    _, (origins,) = frame.mixed(frame.read([X.sum().over("g") + pl.col("y").max()]))

    assert {"stage1"} == {link.to for link, _ in origins}
    assert {"x", "g", "y", None} == {column for _, column in origins}
    assert WHOLE in dict(mixings(*frame.read([X.sum().over("g") + pl.col("y").max()])))
