"""Queries as authors write them, and what their columns come from: for `test_columns`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import polars as pl
import polars.selectors as cs

import lineage
from lineage.history import history, with_history

Query = Callable[[pl.LazyFrame, pl.LazyFrame], pl.LazyFrame]

col, lit = pl.col, pl.lit
_NOON = datetime(2013, 1, 1, 12)

A = pl.DataFrame(
    {
        "k": [1, 2, 2, 3, None, 5],
        "x": [1.5, -2.0, 3.25, None, 0.5, 8.0],
        "s": ["a b", "b", "p", "q", "p", None],
        "t": [_NOON + timedelta(minutes=20 * number) for number in range(6)],
        "l": [[1, 2], [3], [], [4, 5, 6], None, [7]],
        "g": [0, 1, 0, 1, 1, 0],
    }
)
B = pl.DataFrame(
    {
        "k": [1, 2, 3, 4, 6],
        "y": [10.0, 20.0, None, 40.0, 60.0],
        "s": ["a b", "q", "z", "p", None],
        "t": [_NOON + timedelta(minutes=30 * number - 5) for number in range(5)],
        "g": [0, 1, 1, 0, 2],
    }
)
FRAMES = {"a": A, "b": B}


def doubled(value: float) -> float:
    return sum([value, value])


def is_even(value: float) -> bool:
    return {0: True}.get(int(value) % 2, False)


# What an author might write, and for some of its columns what they come from: exactly these, with what decides rows.
CASES: dict[str, tuple[Query, dict[str, str]]] = {
    "select": (lambda a, _: a.select("k", z=col("x") * 2 + col("g")), {"k": "a.k", "z": "a.x a.g"}),
    "selectors": (lambda a, _: a.select(cs.numeric() + 1, cs.string()), {"k": "a.k", "x": "a.x", "s": "a.s"}),
    "all but": (lambda a, _: a.select(pl.exclude("l", "t").name.suffix("_")), {"k_": "a.k"}),
    "pattern": (lambda a, _: a.with_columns(col("^[kx]$").cast(pl.String)), {"k": "a.k", "s": "a.s"}),
    "rename": (lambda a, _: a.rename({"k": "x", "x": "k"}), {"x": "a.k", "k": "a.x"}),
    "rename by function": (lambda a, _: a.rename(str.upper), {"K": "a.k"}),
    "drop": (lambda a, _: a.drop("l"), {"k": "a.k"}),
    "cast": (lambda a, _: a.cast({"k": pl.Float64}), {"k": "a.k"}),
    "literal": (lambda a, _: a.select("k", one=lit(1), word=lit("x")), {"one": "", "word": ""}),
    "overwritten": (lambda a, _: a.with_columns(x=lit(1)).with_columns(z=col("x") + col("k")), {"z": "a.k"}),
    "constant": (
        lambda a, _: a.join(lineage.constant({"g": [0, 1], "n": ["u", "v"]}), on="g", how="left", validate="m:1"),
        {"n": "a.g", "x": "a.x"},
    ),
    # Expressions
    "when": (lambda a, _: a.select(z=pl.when(col("g") > 0).then("x").otherwise("k")), {"z": "a.g a.x a.k"}),
    "coalesce": (lambda a, _: a.select(z=pl.coalesce("x", "k")), {"z": "a.x a.k"}),
    "horizontal": (
        lambda a, _: a.select(z=pl.sum_horizontal("x", "k"), w=pl.max_horizontal("k", "g")),
        {"z": "a.x a.k", "w": "a.k a.g"},
    ),
    "fill_null": (lambda a, _: a.with_columns(col("x").fill_null(col("k"))), {"x": "a.x a.k", "k": "a.k"}),
    "strings": (
        lambda a, _: a.select(
            z=col("s").str.split(" ").list.first(), w=pl.format("{}-{}", "s", "k"), v=pl.concat_str("s", "g")
        ),
        {"z": "a.s", "w": "a.s a.k", "v": "a.s a.g"},
    ),
    "lists": (
        lambda a, _: a.select(z=col("l").list.sum(), w=col("l").list.get(col("g"), null_on_oob=True)),
        {"z": "a.l", "w": "a.l a.g"},
    ),
    "times": (lambda a, _: a.select(z=col("t").dt.truncate("1h"), w=col("t") + pl.duration(hours="g")), {"z": "a.t"}),
    "struct fields": (
        lambda a, _: a.select(z=pl.struct("x", n=col("k") + 1)).select(
            x=col("z").struct.field("x"), n=col("z").struct["n"], both="z"
        ),
        {"x": "a.x", "n": "a.k", "both": "a.x a.k"},
    ),
    "with_fields": (
        lambda a, _: a.select(z=pl.struct("x", "g").struct.with_fields(n=pl.field("x") + col("k"))),
        {"z": "a.x a.g a.k"},
    ),
    "unnest": (lambda a, _: a.select("g", z=pl.struct("x", "s")).unnest("z"), {"x": "a.x", "s": "a.s"}),
    "unnest with separator": (
        lambda a, _: a.select("x", z=pl.struct("k", "s")).unnest("z", separator="."),
        {"x": "a.x"},
    ),
    "is_in": (lambda a, _: a.select(z=col("k").is_in([1, 2]), w=col("k").is_in(col("g").implode())), {"z": "a.k"}),
    "replace": (lambda a, _: a.select(z=col("k").replace_strict({1: 5}, default=col("g"))), {"z": "a.k a.g"}),
    # Rows
    "filter": (lambda a, _: a.filter(col("x") > 0, g=0), {"s": "a.s a.x a.g"}),
    "remove": (lambda a, _: a.remove(col("k") == 2), {"x": "a.x a.k"}),
    "drop_nulls": (lambda a, _: a.drop_nulls("x"), {"k": "a.k a.x"}),
    "filter by window": (lambda a, _: a.filter(col("x").sum().over("g") > 0), {"s": "a.s a.x a.g"}),
    "sort": (lambda a, _: a.sort("g", col("x").abs(), maintain_order=True), {"s": "a.s a.g a.x"}),
    "top_k": (lambda a, _: a.top_k(2, by="x"), {"s": "a.s a.x"}),
    "sort and head": (lambda a, _: a.sort("x").head(3).drop("x"), {"s": "a.s a.x"}),
    "head": (lambda a, _: a.head(2), {"k": "a.k"}),
    "sorted back": (
        lambda a, _: a.with_row_index("i").sort("x").with_columns(z=col("k") + 1).sort("i").drop("i"),
        {"z": "a.k", "s": "a.s"},
    ),
    "sorted values": (
        lambda a, _: a.with_row_index("i").sort("s").with_columns(z=col("x").sort()).sort("i"),
        {"z": "a.x a.s", "s": "a.s"},
    ),
    "numbered while sorted": (
        lambda a, _: (
            a.with_row_index("i").sort("x").with_columns(z=pl.int_range(pl.len()), w=col("k").cum_sum()).sort("i")
        ),
        {"w": "a.k a.x", "s": "a.s"},
    ),
    "unique": (lambda a, _: a.unique("g", keep="first", maintain_order=True), {"k": "a.k a.g"}),
    "unique of sorted": (lambda a, _: a.sort("x").unique("g", keep="last", maintain_order=True), {"k": "a.k a.g a.x"}),
    "unique of all": (lambda a, _: a.select("k", "g").unique(maintain_order=True), {"k": "a.k a.g"}),
    "with_row_index": (lambda a, _: a.sort("x").with_row_index("i"), {"i": "a.x", "k": "a.k a.x"}),
    "reverse": (lambda a, _: a.reverse(), {"k": "a.k"}),
    "shift": (lambda a, _: a.select(z=col("x").shift(1), w=col("k").diff()), {"z": "a.x", "w": "a.k"}),
    "gather_every": (lambda a, _: a.gather_every(2), {"k": "a.k"}),
    "shorter column": (
        lambda a, _: a.select(lit(1), z=col("x").filter(col("g") == 0)),
        {"literal": "a.g", "z": "a.x a.g"},
    ),
    "values in select": (lambda a, _: a.select(z=col("k").drop_nulls().unique().sort()), {"z": "a.k"}),
    "explode": (lambda a, _: a.explode("l"), {"k": "a.k a.l", "l": "a.l"}),
    "exploded expression": (lambda a, _: a.select(col("l").explode(), n=lit(1)), {"n": "a.l"}),
    "cumulative": (lambda a, _: a.select(z=col("x").cum_sum(), w=col("k").rank()), {"z": "a.x", "w": "a.k"}),
    # Groups and windows
    "aggregates": (
        lambda a, _: a.select(n=pl.len(), z=col("x").sum(), w=col("k").first()),
        {"n": "", "z": "a.x", "w": "a.k"},
    ),
    "group_by": (
        lambda a, _: a.group_by("g", maintain_order=True).agg(
            col("x").mean(), pl.len(), col("s"), f=col("k").filter(col("x") > 0).sum(), b=col("s").sort_by("x").first()
        ),
        {"g": "a.g", "x": "a.x a.g", "len": "a.g", "s": "a.s a.g", "f": "a.k a.x a.g", "b": "a.s a.x a.g"},
    ),
    "group_by expression": (
        lambda a, _: a.group_by(z=col("k") % 2, maintain_order=True).agg(cs.float().max()),
        {"z": "a.k", "x": "a.x a.k"},
    ),
    "having": (
        lambda a, _: a.group_by("g", maintain_order=True).having(col("x").sum() > 1).agg(col("k").max()),
        {"k": "a.k a.g a.x"},
    ),
    "first of sorted": (
        lambda a, _: a.sort("x").group_by("g", maintain_order=True).agg(col("s").last()),
        {"s": "a.s a.g a.x"},
    ),
    "over": (
        lambda a, _: a.with_columns(
            z=col("x").sum().over("g"), n=pl.len().over("s"), w=col("x").cum_sum().over("g", order_by="k")
        ),
        {"z": "a.x a.g", "n": "a.s", "w": "a.x a.g a.k", "x": "a.x"},
    ),
    "over exploded": (
        lambda a, _: a.sort("g").select(z=col("x").over("g", mapping_strategy="explode"), n=lit(1)),
        {"z": "a.x a.g"},
    ),
    "rolling expression": (
        lambda a, _: a.select(z=col("x").sum().rolling("t", period="1h"), w=col("x").rolling_mean_by("t", "1h")),
        {"z": "a.x a.t", "w": "a.x a.t"},
    ),
    "rolling rows": (lambda a, _: a.select(z=col("x").rolling_mean(2, min_samples=1)), {"z": "a.x"}),
    "rolling": (
        lambda a, _: a.rolling("t", period="1h").agg(col("x").sum(), pl.len()),
        {"t": "a.t", "x": "a.x a.t", "len": "a.t"},
    ),
    "rolling by group": (
        lambda a, _: a.rolling("t", period="1h", group_by="g").agg(col("x").sum()),
        {"x": "a.x a.t a.g", "t": "a.t a.g"},
    ),
    "group_by_dynamic": (
        lambda a, _: a.group_by_dynamic("t", every="1h", group_by="g", include_boundaries=True).agg(col("x").sum()),
        {"x": "a.x a.t a.g", "t": "a.t a.g", "_lower_boundary": "a.t a.g"},
    ),
    "pivot": (
        lambda a, _: a.select("s", "g", "x").pivot("s", ["p", "q"], index="g", values="x", aggregate_function="sum"),
        {"g": "a.g", "p": "a.x a.s a.g"},
    ),
    "unpivot": (
        lambda a, _: a.select("k", "x", "g").unpivot(["x", "g"], index="k"),
        {"k": "a.k", "variable": "", "value": "a.x a.g"},
    ),
    "unpivot of all": (lambda a, _: a.select("x", "g").unpivot(variable_name="n", value_name="v"), {"v": "a.x a.g"}),
    # Frames together
    "left join": (
        lambda a, b: a.join(b, on="k", how="left", validate="m:1", maintain_order="left"),
        {"k": "a.k", "x": "a.x", "y": "b.y b.k a.k", "s_right": "b.s b.k a.k"},
    ),
    "left join that may multiply": (
        lambda a, b: a.join(b, on="g", how="left", maintain_order="left_right"),
        {"x": "a.x a.g b.g", "y": "b.y a.g b.g"},
    ),
    "left join after a filter": (
        lambda a, b: a.join(b.filter(col("y") > 10), on="k", how="left", validate="m:1", maintain_order="left"),
        {"x": "a.x", "s_right": "b.s b.k a.k b.y"},
    ),
    "left join by expressions": (
        lambda a, b: a.join(b, left_on=col("k") + 1, right_on=col("k"), how="left", maintain_order="left_right"),
        {"k_right": "b.k a.k", "x": "a.x a.k b.k"},
    ),
    "inner join": (
        lambda a, b: a.join(b, left_on="k", right_on="g", maintain_order="left_right"),
        {"k_right": "b.k a.k b.g", "x": "a.x a.k b.g"},
    ),
    "right join": (
        lambda a, b: a.join(b, on="k", how="right", maintain_order="right_left"),
        {"k": "b.k a.k", "x": "a.x a.k b.k", "y": "b.y a.k b.k"},
    ),
    "full join": (
        lambda a, b: a.join(b, on="k", how="full", maintain_order="left_right"),
        {"k": "a.k b.k", "k_right": "b.k a.k", "x": "a.x a.k b.k"},
    ),
    "full join, coalesced": (
        lambda a, b: a.join(b, on=["k", "g"], how="full", coalesce=True, maintain_order="left_right"),
        {"k": "a.k b.k a.g b.g", "x": "a.x a.k b.k a.g b.g"},
    ),
    "semi join": (lambda a, b: a.join(b, on="k", how="semi", maintain_order="left"), {"x": "a.x a.k b.k"}),
    "anti join": (
        lambda a, b: a.join(b.filter(col("y") > 15), on="k", how="anti", maintain_order="left"),
        {"x": "a.x a.k b.k b.y"},
    ),
    "cross join": (
        lambda a, b: a.select("k").join(b.select("y"), how="cross", maintain_order="left_right"),
        {"k": "a.k", "y": "b.y"},
    ),
    "join_where": (
        lambda a, b: a.join_where(b, col("x") < col("y"), col("g") == col("g_right")).sort(pl.all().exclude("l")),
        {},
    ),
    "join_asof": (
        lambda a, b: a.join_asof(b, on="t", by="g", check_sortedness=False),
        {"x": "a.x", "y": "b.y b.t b.g a.t a.g", "k_right": "b.k b.t b.g a.t a.g"},
    ),
    "join_asof of other names": (
        lambda a, b: a.join_asof(
            b.rename({"t": "u"}), left_on="t", right_on="u", coalesce=False, strategy="nearest", check_sortedness=False
        ),
        {"x": "a.x", "u": "b.t a.t", "y": "b.y b.t a.t"},
    ),
    "concat": (
        lambda a, b: pl.concat([a.select("k", "s"), b.select("k", "s")]),
        {"k": "a.k b.k", "s": "a.s b.s"},
    ),
    "concat diagonal": (
        lambda a, b: pl.concat([a.select("k", "x"), b.select("k", "y")], how="diagonal"),
        {"k": "a.k b.k", "x": "a.x", "y": "b.y"},
    ),
    "concat relaxed": (
        lambda a, b: pl.concat([a.select("k"), b.select(k="y")], how="vertical_relaxed"),
        {"k": "a.k b.y"},
    ),
    "concat horizontal": (
        lambda a, b: pl.concat([a.select("k").sort("k").head(5), b.select("y")], how="horizontal"),
        {"k": "a.k", "y": "b.y a.k"},
    ),
    "merge_sorted": (
        lambda a, b: a.select("t", v="x").merge_sorted(b.select("t", v="y"), "t"),
        {"t": "a.t b.t", "v": "a.x b.y a.t b.t"},
    ),
    "joined with itself": (
        lambda a, _: a.join(
            a.group_by("g").agg(m=col("x").mean()), on="g", how="left", validate="m:1", maintain_order="left"
        ),
        {"m": "a.x a.g", "k": "a.k"},
    ),
    "cached": (lambda a, _: (lambda c: pl.concat([c, c]))(a.select("k", "x").cache()), {"k": "a.k", "x": "a.x"}),
    # History
    "history": (
        lambda a, b: with_history(
            a.select("k", "x", "t", "g"),
            at="t",
            events=b,
            aggregates={
                "m": history(keys="g", value="y", known_at="t", window="2h", decimals=2),
                "n": history(keys="g", value="k", known_at="t", window="2h", agg="count"),
                "all": history(known_at="t", window="2h", agg="count"),
                "last": history(keys="g", value="s", known_at="t", window="2h", agg="last"),
            },
        ),
        {
            "m": "b.y b.g b.t a.g a.t",
            "n": "b.k b.g b.t a.g a.t",
            "all": "b.t a.t",
            "last": "b.s b.g b.t a.g a.t",
            "x": "a.x",
        },
    ),
}
# Not exact: what Python code, a fold or an evaluation in lists takes is bounded by what Polars would read.
BOUNDED: dict[str, tuple[Query, dict[str, str]]] = {
    "map_elements": (
        lambda a, _: a.with_columns(z=col("x").map_elements(doubled, return_dtype=pl.Float64)),
        {"z": "a.x"},
    ),
    "map_batches of columns": (
        lambda a, _: a.with_columns(z=pl.map_batches(["x", "k"], lambda s: s[0] + s[1], return_dtype=pl.Float64)),
        {"z": "a.x a.k"},
    ),
    "map_batches": (lambda a, _: a.select("k", "x").map_batches(lambda frame: frame), {"k": "a.k a.x"}),
    "map_groups": (
        lambda a, _: a.select("g", "x").group_by("g", maintain_order=True).map_groups(lambda f: f, schema=None),
        {"g": "a.g a.x"},
    ),
    "fold": (lambda a, _: a.with_columns(z=pl.fold(lit(0.0), lambda m, n: m + n, ["x", "k"])), {"z": "a.x a.k"}),
    "reduce": (lambda a, _: a.with_columns(z=pl.reduce(lambda m, n: m + n, ["x", "k"])), {"z": "a.x a.k"}),
    "list.eval": (lambda a, _: a.with_columns(z=col("l").list.eval(pl.element() * 2)), {"z": "a.l"}),
    "filter by Python": (
        lambda a, _: a.select("k", "x").filter(col("x").map_elements(is_even, return_dtype=pl.Boolean)),
        {"k": "a.k a.x"},
    ),
}

# Operations that leave the columns of A in place, to be combined.
STEPS: dict[str, Callable[[pl.LazyFrame, pl.LazyFrame], pl.LazyFrame]] = {
    "filter": lambda f, _: f.filter(col("g") == 0),
    "filter by window": lambda f, _: f.filter(col("k") >= col("k").min().over("g")),
    "sort": lambda f, _: f.sort("x", "k", maintain_order=True),
    "head": lambda f, _: f.head(4),
    "reverse": lambda f, _: f.reverse(),
    "unique": lambda f, _: f.unique("g", keep="last", maintain_order=True),
    "explode": lambda f, _: f.explode("l").with_columns(pl.concat_list("l")),
    "x by k": lambda f, _: f.with_columns(x=col("k") * 2.0),
    "k by g": lambda f, _: f.with_columns(k=pl.when(col("g") > 0).then("k").otherwise(pl.len())),
    "s first": lambda f, _: f.with_columns(s=col("s").first().over("k")),
    "g numbers rows": lambda f, _: f.with_columns(g=pl.int_range(pl.len(), dtype=pl.Int64) % 2),
    "x adds up": lambda f, _: f.with_columns(x=col("x").cum_sum()),
    "swapped": lambda f, _: f.rename({"k": "g", "g": "k"}).select("k", "x", "s", "t", "l", "g"),
    "numbered": lambda f, _: f.with_row_index("i").sort("s").with_columns(k=col("k").shift(1)).sort("i").drop("i"),
    "struct": lambda f, _: f.with_columns(z=pl.struct("s", x="x")).drop("x", "s").unnest("z"),
    "joined once": lambda f, b: f.join(
        b.select("k", z="y"), on="k", how="left", validate="m:1", maintain_order="left"
    ).select("k", x="z", s="s", t="t", l="l", g="g"),
    "joined": lambda f, b: f.join(b.select("g", z="s"), on="g", maintain_order="left_right").select(
        "k", "x", "t", "l", "g", s="z"
    ),
    "as of": lambda f, b: f.sort("t").join_asof(b.select("t", z="y"), on="t").with_columns(x="z").drop("z"),
    "semi": lambda f, b: f.join(b.filter(col("y") > 15), on="k", how="semi", maintain_order="left"),
    "grouped": lambda f, _: f.group_by("g", maintain_order=True).agg(
        col("k").max(), col("x").sum(), col("s").first(), col("t").min(), col("l").first()
    ),
    "twice": lambda f, _: pl.concat([f, f.filter(col("x") > 0)]),
}

# Expressions whose values depend on the order of rows, or decide how many there are.
EXPRESSIONS: dict[str, pl.Expr] = {
    "sort": col("x").sort(),
    "sort_by": col("s").sort_by("k"),
    "reverse": col("x").reverse(),
    "cum_sum": col("x").cum_sum(),
    "cum_count": col("x").cum_count(),
    "rank": col("x").rank("ordinal"),
    "first": col("s").first(),
    "arg_max": col("x").arg_max(),
    "max_by": col("s").max_by("x"),
    "top_k_by": col("x").top_k_by("k", 2),
    "gather": col("x").gather(col("g")),
    "head": col("x").head(col("g").sum()),
    "forward fill": col("x").forward_fill(),
    "interpolate": col("x").interpolate(),
    "ewm": col("x").fill_null(0).ewm_mean(alpha=0.5),
    "rle_id": col("g").rle_id(),
    "is_first_distinct": col("g").is_first_distinct(),
    "drop_nulls": col("x").drop_nulls(),
    "unique": col("g").unique(maintain_order=True),
    "mode": col("g").mode(maintain_order=True),
    "value_counts": col("g").value_counts(sort=True),
    "arg_true": (col("k") > 1).arg_true(),
    "int_range": pl.int_range(col("g").sum() + 1),
    "int_ranges": pl.int_ranges(0, "g"),
    "datetime_range": pl.datetime_range(col("t").min(), col("t").max(), "1h"),
    "str.join": col("s").str.join("-"),
    "implode": col("x").implode(),
    "filter": col("x").filter(col("g") == 0),
    "explode": col("l").explode(),
    "over joined": col("x").over("g", mapping_strategy="join"),
}
