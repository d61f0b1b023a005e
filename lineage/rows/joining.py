"""Tracked frames together: joins, and one under the other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from lineage.frame import TrackedFrame
from lineage.rows import expressions as ex
from lineage.rows.capture import HIDDEN, POSITION, Link, Origin, Origins, Ways, lost

# Polars' own, which a step's `pl.concat` is not while it runs (`lineage.rows.following`).
_concat = pl.concat

_Keys = tuple[list[ex.Expression], list[ex.Expression]]


def join(left: TrackedFrame, other: pl.LazyFrame, on: Any, how: Any, options: dict[str, Any]) -> TrackedFrame:
    """`LazyFrame.join`; of rows that match more than once the order is that of the left, then of the right frame."""
    right = left.followed(other, "join")
    keys = _keys(left, right, on, options)
    if how in ("semi", "anti"):
        return _matched(left, right, keys, how, nulls_equal=options.get("nulls_equal", False))
    right = right.apart_from(left)
    options["maintain_order"] = "right_left" if how == "right" else "left_right"
    if how != "cross":
        options["left_on"], options["right_on"] = ([key.expr for key in side] for side in keys)
    plan = left.plan.join(right.plan, how=how, **options)
    once = how == "left" and options.get("validate") in ("m:1", "1:1")
    joined = _beside(left, right, plan, keys, how, once=once)
    text = _words(keys)
    if how in ("inner", "right"):
        joined = left.cut("join", text, joined)
    return right.cut("join", text, joined) if how in ("inner", "left") else joined


def join_asof(left: TrackedFrame, other: pl.LazyFrame, options: dict[str, Any]) -> TrackedFrame:
    """`LazyFrame.join_asof`: each row with at most one of the other frame."""
    right = left.followed(other, "join_asof").apart_from(left)
    sides = (("on", "left_on", "by", "by_left"), ("on", "right_on", "by", "by_right"))
    left_keys, right_keys = (
        frame.read_apart([options[name] for name in names if options.get(name) is not None], "join_asof()")
        for frame, names in zip((left, right), sides, strict=True)
    )
    keys = (left_keys, right_keys)
    plan = left.plan.join_asof(right.plan, **options)
    return right.cut("join", _words(keys), _beside(left, right, plan, keys, "left", once=True))


def join_where(
    left: TrackedFrame, other: pl.LazyFrame, predicates: Sequence[Any], options: dict[str, Any]
) -> TrackedFrame:
    """`LazyFrame.join_where`: pairs in the order of the left, then of the right frame."""
    if options.get("how", "inner") != "inner":
        raise lost(f"join_where(how={options['how']!r})", "use join_where(…), and join its rows to the frame by a key")
    right = left.followed(other, "join_where").apart_from(left)
    suffix = options.get("suffix", "_right")
    pairs = _beside(left, right, left.plan.join(right.plan, how="cross", suffix=suffix), ([], []), "cross", once=False)
    items = pairs.read_apart(predicates, "join_where()")
    exprs = [item.expr for item in items]
    # Polars gives the pairs in no order.
    first, second = left.capture.column(), left.capture.column()
    plan = left.plan.with_row_index(first).join_where(right.plan.with_row_index(second), *exprs, **options)
    plan = plan.sort(first, second).drop(first, second)
    made = pairs._next(plan, rows=pairs.ways.of(name for item in items for name in item.columns))
    text = " & ".join(map(str, exprs))
    return left.cut("join", text, right.cut("join", text, made))


def merge_sorted(left: TrackedFrame, other: pl.LazyFrame, key: Any, how: dict[str, Any]) -> TrackedFrame:
    """`LazyFrame.merge_sorted`; of equal rows those of the left frame first."""
    first, second = _alike([left, left.followed(other, "merge_sorted")])
    plan = first.plan.merge_sorted(second.plan, key, **{**how, "maintain_order": True})
    return first._next(plan, keeps_rows=False)


def concat(items: Any, **options: Any) -> Any:
    """`polars.concat`, which also takes tracked frames; rows stay those of the frame that they come from."""
    frames = list(items)
    tracked = [frame for frame in frames if isinstance(frame, TrackedFrame)]
    if not tracked or len(frames) == 1:
        return _concat(frames, **options)
    followed = [tracked[0].followed(frame, "concat") for frame in frames]
    how = str(options.get("how", "vertical"))
    if how.startswith("align"):
        raise lost(f"concat(how={how!r})", "join the frames on the columns that they share")
    if how.startswith("horizontal"):
        return _side_by_side(followed, options)
    same = _alike(followed)
    plan = _concat([frame.plan for frame in same], **options)
    visible = [name for name in plan.collect_schema() if not name.startswith(HIDDEN)]
    return same[0]._next(plan.select(*visible, *same[0].linked), keeps_rows=False)


def _alike(frames: Sequence[TrackedFrame]) -> list[TrackedFrame]:
    """The frames with the same hidden columns and ways each, in the same order; null where a frame has none of them.

    A link that does not serve all of them for the same columns is one of its own in each, so that rows of one frame do
    not come from what only those of another do.
    """
    own: list[tuple[TrackedFrame, dict[Link, Link], Ways]] = []
    given: dict[tuple[Link, frozenset[str | None]], Link] = {}
    for frame in frames:
        ways = frame.ways.only()
        links = {}
        for link in ways.links:
            use = (link, ways.uses(link))
            taken = {served for served, _ in given}
            given.setdefault(use, frame.fresh(link) if link in taken else link)
            links[link] = given[use]
        own.append((frame, links, ways.with_links(links)))
    names = dict.fromkeys(name for *_, ways in own for name in ways.columns)
    columns = {name: frozenset[Origin]().union(*(ways.of([name]) for *_, ways in own)) for name in names}
    rows = frozenset[Origin]().union(*(ways.rows for *_, ways in own))
    together = Ways(tuple(dict.fromkeys(link for *_, ways in own for link in ways.links)), columns, rows)
    return [_filled(frame, links, together) for frame, links, _ in own]


def _filled(frame: TrackedFrame, links: Mapping[Link, Link], ways: Ways) -> TrackedFrame:
    """The frame with the columns of all links of `ways`: of its own `links` under other names, and otherwise null."""
    there = {new: old for link, other in links.items() for old, new in zip(link.columns, other.columns, strict=True)}
    hidden = dict.fromkeys(column for link in ways.links for column in link.columns)
    filled = (pl.col(there[name]) if name in there else pl.lit(None, dtype=POSITION) for name in hidden)
    plan = frame.plan.select(*frame.types, *(expr.alias(name) for expr, name in zip(filled, hidden, strict=True)))
    return TrackedFrame(frame.capture, plan, ways)


def side_by_side(left: TrackedFrame, right: TrackedFrame, columns: Mapping[str, Origins]) -> TrackedFrame:
    """The rows of two frames by their number: those of `right` are made of the rows of `left`, one of each."""
    plan = _concat([left.plan, right.plan], how="horizontal").select(*columns, *left.hidden, *right.linked)
    return left._next(plan, columns=columns, links=right.ways.links)


def _side_by_side(frames: Sequence[TrackedFrame], options: dict[str, Any]) -> TrackedFrame:
    left = frames[0]
    for frame in frames[1:]:
        right = frame.apart_from(left)
        plan = _concat([left.plan, right.plan], **options)
        columns = {**left.ways.columns, **right.ways.columns}
        left = left._next(plan, columns=columns, rows=right.ways.rows, links=right.ways.links, keeps_rows=False)
    return left


def _keys(left: TrackedFrame, right: TrackedFrame, on: Any, options: dict[str, Any]) -> _Keys:
    """What rows of the left and of the right frame are matched by."""
    sides = (options.get("left_on"), options.get("right_on")) if on is None else (on, on)
    left_keys, right_keys = (
        [] if side is None else frame.read_apart([side], "join()")
        for frame, side in zip((left, right), sides, strict=True)
    )
    return left_keys, right_keys


def _behind(frame: TrackedFrame, keys: Iterable[ex.Expression]) -> Origins:
    return frame.ways.of(name for key in keys for name in key.columns)


def _beside(
    left: TrackedFrame, right: TrackedFrame, plan: pl.LazyFrame, keys: _Keys, how: str, *, once: bool
) -> TrackedFrame:
    """A join of two frames: that two rows stand beside each other comes from both being there, and from their keys.

    Where each left row stays one row (`once`), it does not owe it to the other frame.
    """
    met = right.ways.rows | _behind(left, keys[0]) | _behind(right, keys[1])
    made = [name for name in plan.collect_schema() if not name.startswith(HIDDEN)]
    columns: dict[str, Origins] = {}
    for name, (frame, own) in zip(made, _sides(left, right, keys, how, len(made)), strict=True):
        columns[name] = frame.ways.of([own]) | (met if once and frame is right else frozenset())
    if how == "full" and len(made) < len(left.types) + len(right.types):
        # A key is that of whichever row there is.
        pairs = zip(_plain(keys[0]), _plain(keys[1]), strict=False)
        columns |= {mine: columns[mine] | right.ways.of([theirs]) for mine, theirs in pairs}
    return left._next(plan, columns=columns, rows=() if once else met, links=right.ways.links, keeps_rows=once)


def _sides(
    left: TrackedFrame, right: TrackedFrame, keys: _Keys, how: str, count: int
) -> list[tuple[TrackedFrame, str]]:
    """For each of the `count` columns of a join the frame and the name that it has there."""
    mine, theirs = list(left.types), list(right.types)
    lacking = len(mine) + len(theirs) - count
    # Keys that are in both stand there once; of those of join_asof perhaps the last only, by which rows are grouped.
    if how == "right":
        mine = _without(mine, _plain(keys[0]), lacking)
    else:
        theirs = _without(theirs, _plain(keys[1]), lacking)
    return [*((left, name) for name in mine), *((right, name) for name in theirs)]


def _without(names: list[str], keys: list[str], count: int) -> list[str]:
    gone = keys[-count:] if count else []
    return [name for name in names if name not in gone]


def _plain(keys: Sequence[ex.Expression]) -> list[str]:
    return [key.columns[0] for key in keys if key.expr.meta.is_column()]


def _matched(left: TrackedFrame, right: TrackedFrame, on: _Keys, how: str, *, nulls_equal: bool) -> TrackedFrame:
    """Semi and anti joins: all rows that match are behind a row that has a match."""
    names = [left.capture.column() for _ in on[1]]
    keyed = right._next(right.plan.with_columns(key.expr.alias(name) for name, key in zip(names, on[1], strict=True)))
    grouped = keyed.partitioned([pl.col(name) for name in names])
    found = grouped.ways.links[-1]
    column = left.capture.column()
    matches = grouped.plan.select(*names, pl.col(found.columns[0]).alias(column)).unique(
        names, keep="first", maintain_order=True
    )
    mine = [key.expr for key in on[0]]
    text = f"{how} join {_words(on)}"
    own = {left.capture.column(): key.expr for key in on[0]}
    if how == "anti":
        # Whatever it matches or not, a row of the other frame gets no further.
        right.cut("join", f"anti {_words(on)}", right._next(right.plan.limit(0)))
        plan = left.plan.join(
            matches, left_on=mine, right_on=names, how="anti", nulls_equal=nulls_equal, maintain_order="left"
        )
        return left.cut("join", text, left._next(plan, rows=_behind(left, on[0])))
    link = Link((column,), found.to)
    met = left.plan.select(**own)
    kept = matches.join(met, left_on=names, right_on=list(own), how="semi", nulls_equal=nulls_equal)
    groups, after = (TrackedFrame(left.capture, rows, Ways((link,), {}, frozenset())) for rows in (matches, kept))
    groups.cut("join", _words(on), after)
    plan = (
        left.plan.with_columns(**own)
        .join(matches, left_on=list(own), right_on=names, how="inner", maintain_order="left", nulls_equal=nulls_equal)
        .drop(*own, *names, strict=False)
    )
    theirs = {(link, name) for key in on[1] for name in (*key.columns, None)}
    return left.cut("join", text, left._next(plan, rows=_behind(left, on[0]) | theirs, links=[link]))


def _words(keys: _Keys) -> str:
    """What frames are joined on, as one would write it."""
    left, right = (
        ", ".join(key.columns[0] if key.expr.meta.is_column() else str(key.expr) for key in side) for side in keys
    )
    return f"on {left}" if left == right else f"on {left} = {right}"
