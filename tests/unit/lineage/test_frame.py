"""Every operation that Polars has on a lazy frame is followed, or refused in a sentence that says what to do."""

from __future__ import annotations

import copy
import pickle
import warnings
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from polars import concat as concat_of_polars
from polars.lazyframe.group_by import LazyGroupBy
from polars.testing import assert_frame_equal

from lineage import constant
from lineage.errors import RowsLostError
from lineage.rows.tracking import EXITS

from .followed import followed, plan

A = pl.DataFrame(
    {
        "k": [1, 1, 2, None],
        "v": [1.5, 2.5, None, float("nan")],
        "s": ["a", "b", None, "d"],
        "l": [[1], [2, 3], [], None],
        "t": [1, 2, 3, 4],
        "z": [{"q": 1, "w": 2}, {"q": 3, "w": 4}, None, {"q": 5, "w": 6}],
    }
)
B = pl.DataFrame({"k": [1, 2, 2, 5], "w": [10, 20, 30, 40]})
Step = Callable[[pl.LazyFrame, pl.LazyFrame], Any]
# Python code that Polars cannot look into.
HALF = pl.col("t").map_elements(lambda t: divmod(t, 2)[0], return_dtype=pl.Int64)

NUMBERS = [0, 1, 2, 3]
ALL = [NUMBERS] * 4
OWN = [[0], [1], [2], [3]]
WHOLE = [NUMBERS]

# What each operation is tried with, and the rows of `a` that are then behind each row.
FOLLOWED: dict[str, tuple[Step, list[list[int]]]] = {
    "bottom_k": (lambda a, b: a.bottom_k(2, by="t"), [[0], [1]]),
    "cache": (lambda a, b: a.cache(), OWN),
    "cast": (lambda a, b: a.cast({"k": pl.Float32, "t": pl.String}), OWN),
    "clear": (lambda a, b: a.clear(), []),
    "clone": (lambda a, b: a.clone(), OWN),
    "count": (lambda a, b: a.count(), WHOLE),
    "drop": (lambda a, b: a.drop("v", pl.selectors.string()), OWN),
    "drop_nans": (lambda a, b: a.drop_nans(), OWN[:3]),
    "drop_nulls": (lambda a, b: a.drop_nulls("s"), [[0], [1], [3]]),
    "explode": (lambda a, b: a.explode("l", empty_as_null=True), [[0], [1], [1], [2], [3]]),
    "fill_nan": (lambda a, b: a.fill_nan(float("inf")), OWN),
    "fill_null": (lambda a, b: a.fill_null(0).fill_null("x"), OWN),
    "filter": (lambda a, b: a.filter(pl.col("t") > 1, k=1), [[1]]),
    "first": (lambda a, b: a.first(), [[0]]),
    "gather_every": (lambda a, b: a.gather_every(2, 1), [[1], [3]]),
    "group_by": (lambda a, b: a.group_by("k", maintain_order=True).agg(pl.len()), [[0, 1], [2], [3]]),
    "group_by_dynamic": (lambda a, b: a.group_by_dynamic("t", every="2i").agg(pl.len()), [[0], [1, 2], [3]]),
    "head": (lambda a, b: a.head(2), OWN[:2]),
    "interpolate": (lambda a, b: a.select("t").interpolate(), ALL),
    "join": (lambda a, b: a.join(b, on="k"), [[0], [1], [2], [2]]),
    "join_asof": (lambda a, b: a.join_asof(b.sort("w"), left_on="t", right_on="w"), OWN),
    "join_where": (lambda a, b: a.join_where(b, pl.col("t") * 20 < pl.col("w")), [[0], [0]]),
    "last": (lambda a, b: a.last(), [[3]]),
    "lazy": (lambda a, b: a.lazy(), OWN),
    "limit": (lambda a, b: a.limit(1), [[0]]),
    "match_to_schema": (lambda a, b: a.match_to_schema(a.collect_schema()), OWN),
    "max": (lambda a, b: a.select("k", "s").max(), WHOLE),
    "mean": (lambda a, b: a.mean(), WHOLE),
    "median": (lambda a, b: a.median(), WHOLE),
    "merge_sorted": (lambda a, b: a.head(2).merge_sorted(a.tail(3), "t"), [[0], [1], [1], [2], [3]]),
    "min": (lambda a, b: a.select("k", "s").min(), WHOLE),
    "null_count": (lambda a, b: a.null_count(), WHOLE),
    "pipe": (lambda a, b: a.pipe(lambda frame: frame.tail(1)), [[3]]),
    "pipe_with_schema": (lambda a, b: a.pipe_with_schema(lambda frame, schema: frame.select(list(schema)[:2])), OWN),
    "pivot": (
        lambda a, b: a.pivot("t", [1, 2], index="k", values="s", aggregate_function="first", maintain_order=True),
        [[0, 1], [2], [3]],
    ),
    "quantile": (lambda a, b: a.quantile(0.5), WHOLE),
    "remove": (lambda a, b: a.remove(pl.col("k") == 1), [[2], [3]]),
    "rename": (lambda a, b: a.rename(str.upper), OWN),
    "reverse": (lambda a, b: a.reverse(), OWN[::-1]),
    "rolling": (lambda a, b: a.rolling("t", period="2i").agg(pl.len()), [[0], [0, 1], [1, 2], [2, 3]]),
    "select": (lambda a, b: a.select("k", pl.col("t") * 2), OWN),
    "select_seq": (lambda a, b: a.select_seq("k"), OWN),
    "set_sorted": (lambda a, b: a.set_sorted("t"), OWN),
    "shift": (lambda a, b: a.shift(1), ALL),
    "slice": (lambda a, b: a.slice(1, 2), OWN[1:3]),
    "sort": (lambda a, b: a.sort("t", descending=True), OWN[::-1]),
    "std": (lambda a, b: a.std(), WHOLE),
    "sum": (lambda a, b: a.sum(), WHOLE),
    "tail": (lambda a, b: a.tail(1), [[3]]),
    "top_k": (lambda a, b: a.top_k(2, by="t"), [[3], [2]]),
    "unique": (lambda a, b: a.unique("k", keep="last", maintain_order=True), [[0, 1], [2], [3]]),
    "unnest": (lambda a, b: a.unnest("z"), OWN),
    "unpivot": (lambda a, b: a.unpivot(["k", "v"], index="t"), [*OWN, *OWN]),
    "var": (lambda a, b: a.var(2), WHOLE),
    "with_columns": (lambda a, b: a.with_columns(n=pl.col("t").sum().over("k")), [[0, 1], [0, 1], [2], [3]]),
    "with_columns_seq": (lambda a, b: a.with_columns_seq(n=pl.col("t") + 1), OWN),
    "with_row_index": (lambda a, b: a.with_row_index(), ALL),
    "__getitem__": (lambda a, b: a[1:3], OWN[1:3]),
    "__copy__": (lambda a, b: copy.copy(a), OWN),
    "__deepcopy__": (lambda a, b: copy.deepcopy(a), OWN),
}
# What is refused, by what is said.
REFUSED: dict[str, tuple[Step, str]] = {
    **{name: (lambda a, b, name=name: getattr(a, name), f"{name}() in the middle of a step") for name in EXITS},
    "gather": (lambda a, b: a.gather([0]), "gather(): rows cannot be followed through it; give the rows a key"),
    "update": (lambda a, b: a.update(b, on="k"), "join the other frame on a key and coalesce"),
    "map_batches": (lambda a, b: a.map_batches(lambda frame: frame), 'rows="1:1", "group:<columns>" or "all"'),
}
# What says something of a frame, and takes nothing out of it.
HARMLESS = frozenset(
    {"collect_schema", "columns", "dtypes", "explain", "schema", "show_graph", "width", "__contains__", "__bool__"}
    # Makes frames of another kind, out of nothing of this one.
    | {"deserialize", "from_lazyframe_resolver"}
)

GROUPED: dict[str, Step] = {
    "agg": lambda a, b: a.group_by("k", maintain_order=True).agg(pl.col("t").sum(), pl.all().first().name.suffix("_f")),
    **{
        name: lambda a, b, name=name: getattr(a.select("k", "v", "t").group_by("k", maintain_order=True), name)()
        for name in ("all", "first", "head", "last", "max", "mean", "median", "min", "n_unique", "sum", "tail")
    },
    "having": lambda a, b: a.group_by("k", maintain_order=True).having(pl.col("t").sum() > 0).agg(pl.len()),
    "len": lambda a, b: a.group_by("k", maintain_order=True).len("n"),
    "quantile": lambda a, b: a.select("k", "t").group_by("k", maintain_order=True).quantile(0.5),
}
OPAQUE_GROUPED = frozenset({"map_groups"})


def _public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_every_operation_of_polars_is_known():
    """A method that a new Polars brings is followed or refused, not overlooked."""
    assert set() == _public(pl.LazyFrame) - {*FOLLOWED, *REFUSED, *HARMLESS}
    assert set() == _public(LazyGroupBy) - {*GROUPED, *OPAQUE_GROUPED}


@pytest.mark.parametrize("name", FOLLOWED)
def test_an_operation_is_followed(name, tmp_path):
    """It gives what it gives on an ordinary frame, and the rows behind each row are known."""
    function, expected = FOLLOWED[name]

    found = followed(function, tmp_path, {"a": A, "b": B})

    assert_frame_equal(
        function(A.lazy(), B.lazy()).collect(engine="in-memory"), found.table, check_row_order=name != "top_k"
    )
    assert expected == [sorted(row for source, row in ids if source == "a") for ids in found.back()]


@pytest.mark.parametrize("name", GROUPED)
def test_a_group_is_followed(name, tmp_path):
    """All rows of a group are behind what is made of it."""
    found = followed(GROUPED[name], tmp_path, {"a": A, "b": B})

    assert_frame_equal(GROUPED[name](A.lazy(), B.lazy()).collect(engine="in-memory"), found.table)
    # Two rows of the first group where single rows come out again.
    expected = [[0, 1], [0, 1], [2], [3]] if name in ("head", "tail") else [[0, 1], [2], [3]]
    assert expected == [sorted(row for _, row in ids) for ids in found.back()]


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_an_operation_is_refused(name, tmp_path):
    """The sentence names the operation and says what to do."""
    function, said = REFUSED[name]

    with pytest.raises(RowsLostError) as raised:
        plan(function, tmp_path, {"a": A, "b": B})

    assert said in str(raised.value)


def test_what_is_asked_of_a_frame_is_answered(tmp_path):
    """Schemas and plans are those of the columns that an author sees."""

    def step(a):
        assert A.schema == a.collect_schema() == a.schema
        assert A.columns == a.columns
        assert A.width == a.width
        assert A.dtypes == a.dtypes
        assert "k" in a
        assert "rows:" not in a.explain()
        return a

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pl.exceptions.PerformanceWarning)
        plan(step, tmp_path, {"a": A})


# Ways past what is followed: what is done, and what is said of it.
LOST: dict[str, tuple[Step, str]] = {
    "a frame of Polars' own joined in": (
        lambda a, b: a.join(pl.LazyFrame({"k": [1]}), on="k"),
        "join with a frame that",
    ),
    "a file read in the step": (lambda a, b: a.join(pl.scan_csv("x.csv"), on="k"), "make it an input"),
    "joined to one of Polars' own": (
        lambda a, b: pl.LazyFrame({"k": [1]}).join(a, on="k"),
        "join() is given a tracked frame",
    ),
    "under one of Polars' own": (
        lambda a, b: pl.concat([pl.LazyFrame({"k": [1]}), a.select("k")]),
        "concat with a frame",
    ),
    "concat imported by its name": (lambda a, b: concat_of_polars([a, a]), "only pl.concat is followed"),
    "union": (lambda a, b: pl.union([a, a]), "union() is given a tracked frame"),
    "aligned": (lambda a, b: pl.concat([a, b], how="align"), "join the frames on the columns that they share"),
    "collect_all": (lambda a, b: pl.collect_all([a, b]), "collect_all() is given a tracked frame"),
    "pl.sql": (lambda a, b: pl.sql("select * from a"), "sql() is given a tracked frame"),
    "a context of SQL": (lambda a, b: pl.SQLContext(x=a), "SQLContext() is given a tracked frame"),
    "pickled": (lambda a, b: pickle.dumps(a), "in the middle of a step"),
    "another how of join_where": (
        lambda a, b: a.join_where(b, pl.col("t") < pl.col("w"), how="left"),
        "join_where(how='left')",
    ),
    "a join on what mixes": (
        lambda a, b: a.join(b, left_on=pl.col("k").rank(), right_on="k"),
        "join() by what mixes rows",
    ),
    "pairs by what mixes": (
        lambda a, b: a.join_where(b, pl.col("t") < pl.col("w").max()),
        "join_where() by what mixes rows",
    ),
    "a filter by a list": (lambda a, b: a.filter([True, False, True, True]), "make it a column of an input"),
    "a filter by a series": (lambda a, b: a.filter(pl.Series([True] * 4)), "make it a column of an input"),
    "pivot that adds floats": (
        lambda a, b: a.pivot("k", [1, 2], index="s", values="v", aggregate_function="mean"),
        "aggregate with group_by and filter() instead",
    ),
    "columns that are inserted": (
        lambda a, b: a.match_to_schema({**A.schema, "new": pl.Int64}, missing_columns="insert"),
        "add it with with_columns",
    ),
    "a function without rows=": (
        lambda a, b: a.with_columns(pl.col("k").map_elements(lambda x: x, return_dtype=pl.Int64)),
        "a user-defined function is Python code",
    ),
    "a function in an aggregation": (
        lambda a, b: a.group_by("k").agg(pl.col("t").map_batches(lambda x: x, return_dtype=pl.Int64)),
        "a user-defined function in an aggregation",
    ),
    "a function that gives keys": (
        lambda a, b: a.group_by(HALF).agg(pl.len()),
        "a user-defined function is Python code",
    ),
    "a function that tells duplicates": (lambda a, b: a.unique(HALF), "a user-defined function is Python code"),
    "a function to join on": (lambda a, b: a.join(b, left_on=HALF, right_on="k"), "a user-defined function is Python"),
    "a function of pairs": (lambda a, b: a.join_where(b, pl.col("w") < HALF), "a user-defined function is Python code"),
    "a function of time": (lambda a, b: a.rolling(HALF, period="1i"), "a user-defined function is Python code"),
    "a function that parts windows": (
        lambda a, b: a.group_by_dynamic("t", every="1i", group_by=HALF),
        "a user-defined function is Python code",
    ),
    "a function on groups": (lambda a, b: a.group_by("k").map_groups(lambda x: x, schema=None), "map_groups is Python"),
    "a function that folds": (lambda a, b: a.select(pl.fold(0, lambda x, y: x + y, ["k", "t"])), "is Python code"),
    "chance": (lambda a, b: a.with_columns(pl.col("k").shuffle()), "draws by chance"),
    "correlation": (lambda a, b: a.select(pl.corr("v", "t")), "corr or cov of floats"),
    "a rolling mean": (lambda a, b: a.with_columns(pl.col("v").rolling_mean(2)), "a rolling mean of floats"),
    "groups by windows of what mixes": (
        lambda a, b: a.rolling(pl.col("t").cum_sum(), period="1i"),
        "with_columns first",
    ),
    "windows that are judged": (
        lambda a, b: a.rolling("t", period="1i").having(pl.len() > 1),
        "filter the rows that come",
    ),
    "windows given to Python": (
        lambda a, b: a.rolling("t", period="1i").map_groups(lambda x: x, schema=None),
        "map_groups",
    ),
}


@pytest.mark.parametrize("name", LOST)
def test_losing_rows_is_refused(name, tmp_path):
    """Whatever would lose them says so where it is called, and what to do instead."""
    function, said = LOST[name]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(RowsLostError) as raised:
            plan(function, tmp_path, {"a": A, "b": B})

    assert said in str(raised.value)


def test_a_frame_of_another_call_is_refused(tmp_path):
    """A frame that a step kept from an earlier run has rows of other files."""
    kept = []
    (tmp_path / "first").mkdir()
    plan(lambda a: kept.append(a) or a, tmp_path / "first", {"a": A})

    with pytest.raises(RowsLostError, match="join with a frame that is none of the step's inputs"):
        plan(lambda a: a.join(kept[0], on="t"), tmp_path, {"a": A})


# Of Python code that gives a key: the rows of its groups, and what is declared to be behind their keys.
BY_HALVES = {"1:1": [[0], [1, 2], [3]], "all": [NUMBERS] * 3, "group:k": [[0, 1], [0, 1, 2], [3]]}
MAPPED: dict[str, tuple[Step, dict[str, list[list[int]]]]] = {
    "a function of values": (
        lambda a, b: a.with_columns(n=pl.col("t").map_elements(lambda t: t + 1, return_dtype=pl.Int64)),
        {"1:1": OWN, "all": ALL, "group:k": [[0, 1], [0, 1], [2], [3]]},
    ),
    "a function of all values": (
        lambda a, b: a.select(n=pl.col("t").map_batches(lambda values: values + 1, return_dtype=pl.Int64)),
        {"1:1": OWN, "all": WHOLE * 4, "group:k": [[0, 1], [0, 1], [2], [3]]},
    ),
    "a function that gives keys": (lambda a, b: a.group_by(HALF, maintain_order=True).agg(pl.len()), BY_HALVES),
    "a function that tells duplicates": (
        lambda a, b: a.unique(HALF, keep="first", maintain_order=True),
        BY_HALVES,
    ),
    "a function of the frame": (
        lambda a, b: a.map_batches(
            lambda frame: frame.with_columns(n=pl.col("t") + 1), schema={**a.collect_schema(), "n": pl.Int64}
        ),
        {"1:1": OWN, "all": ALL, "group:k": [[0, 1], [0, 1], [2], [3]]},
    ),
    "a function of groups": (
        lambda a, b: a.group_by("k", maintain_order=True).map_groups(lambda frame: frame.head(1), A.schema),
        {key: [[0, 1], [2], [3]] for key in ("1:1", "all", "group:k")},
    ),
    "a function in an aggregation": (
        lambda a, b: a.group_by("k", maintain_order=True).agg(
            pl.col("t").map_batches(lambda values: values.max(), return_dtype=pl.Int64, returns_scalar=True)
        ),
        {key: [[0, 1], [2], [3]] for key in ("1:1", "all", "group:k")},
    ),
}


@pytest.mark.parametrize(("name", "rows"), [(name, rows) for name in MAPPED for rows in ("1:1", "all", "group:k")])
def test_python_maps_rows_as_its_step_declares(name, rows, tmp_path):
    """A step that says how rows map may do what it likes with them."""
    function, expected = MAPPED[name]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pl.exceptions.PolarsInefficientMapWarning)
        found = followed(function, tmp_path, {"a": A, "b": B}, rows)
        plain = function(A.lazy(), B.lazy()).collect(engine="in-memory")

    assert_frame_equal(plain, found.table)
    assert expected[rows] == [sorted(row for _, row in ids) for ids in found.back()]


def test_python_to_join_on_is_taken_where_it_leaves_rows_apart(tmp_path):
    """Declared otherwise it mixes rows, and is to be a column first."""

    def joined(a, b):
        return a.join(b, left_on=HALF, right_on="k")

    assert [[1], [2], [3], [3]] == [
        sorted(row for name, row in ids if name == "a")
        for ids in followed(joined, tmp_path, {"a": A, "b": B}, "1:1").back()
    ]
    with pytest.raises(RowsLostError, match="join\\(\\) by what mixes rows"):
        plan(joined, tmp_path, {"a": A, "b": B}, "all")


def test_a_declared_group_has_its_columns(tmp_path):
    """Where Python code runs over a frame without them, the step is refused by their name."""
    with pytest.raises(RowsLostError, match="rows='group:nope' names column 'nope', which the frame lacks"):
        plan(lambda a: a.with_columns(HALF), tmp_path, {"a": A}, "group:nope")


def test_python_that_names_columns_touches_no_row(tmp_path):
    """A function that is given names and no values needs no declaration."""
    found = followed(lambda a: a.select(pl.all().name.map(str.upper)), tmp_path, {"a": A})

    assert [name.upper() for name in A.columns] == found.table.columns
    assert [sorted(row for _, row in ids) for ids in found.back()] == OWN


def test_python_that_cannot_be_pickled_is_followed_as_declared(tmp_path, monkeypatch):
    """Polars shows no tree of it where nothing can pickle it; its columns are known all the same."""
    monkeypatch.setitem(__import__("sys").modules, "cloudpickle", None)

    def step(a):
        return a.select("t", n=pl.col("k").map_batches(lambda k: k + 1, return_dtype=pl.Int64))

    found = followed(step, tmp_path, {"a": A}, "1:1")

    assert A["k"].to_list() == (found.table["n"] - 1).to_list()
    assert [frozenset({("a", row)}) for row in NUMBERS] == found.back(["n"])


def test_one_to_one_is_checked(tmp_path):
    """A function that is declared to map rows one to one and does not is refused when it runs."""
    with pytest.raises(RowsLostError, match="of 4 rows map_batches made 2"):
        followed(lambda a: a.map_batches(lambda frame: frame.head(2)), tmp_path, {"a": A}, "1:1")


def test_constants_come_from_nowhere(tmp_path):
    """What is written in the code can be joined and put under an input; no row of an input is behind it."""

    def step(a):
        more = constant({"k": [1, 7], "name": ["one", "seven"]})
        return pl.concat([a.select("k").join(more, on="k", how="left"), more])

    found = followed(step, tmp_path, {"a": A})

    assert [1, 1, 2, None, 1, 7] == found.table["k"].to_list()
    assert [[0], [1], [2], [3], [], []] == [sorted(row for _, row in ids) for ids in found.back()]


def test_a_lookup_that_is_declared_single_decides_nothing_but_its_columns(tmp_path):
    """With validate="m:1" only columns of the other frame come from it; a second match is then an error."""

    def step(a, b):
        return a.select("k", "t").join(b, on="k", how="left", validate="m:1")

    found = followed(step, tmp_path, {"a": A, "b": B.unique("k", keep="first", maintain_order=True)})

    assert [frozenset({("a", 2)})] == found.back(["t"])[2:3]
    assert [frozenset({("a", 2), ("b", 1)})] == found.back(["w"])[2:3]
    (tmp_path / "twice").mkdir()
    with pytest.raises(pl.exceptions.ComputeError, match="join keys did not fulfill m:1 validation"):
        followed(step, tmp_path / "twice", {"a": A, "b": B})


def test_an_empty_frame_has_nothing_behind_it(tmp_path):
    """The one row that sums up no rows comes from none."""
    found = followed(lambda a: a.select(pl.len(), pl.col("t").sum()), tmp_path, {"a": A.clear()})

    assert [(0, 0)] == found.table.rows()
    assert [frozenset()] == found.back()


def test_windows_stay_beside_their_rows_whatever_the_order_of_keys(tmp_path):
    """Polars puts null before numbers and behind texts; the row of a window is its own all the same."""
    keys = pl.DataFrame(
        {"s": ["b", None, "a", "é", None, "a"], "n": [2, None, 1, -1, 2, None], "t": [1, 1, 2, 2, 3, 3]}
    )

    def step(a):
        return a.rolling("t", group_by=["s", "n"], period="1i", closed="left").agg(pl.len())

    found = followed(step, tmp_path, {"a": keys})

    assert [[("a", row)] for row in map(keys.rows().index, found.table.drop("len").rows())] == [
        sorted(ids) for ids in found.back(["t"])
    ]
