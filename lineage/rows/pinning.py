"""What Polars leaves open in an expression, pinned: floats are added in the order of rows, ties stay in their order.

Polars adds the values of a group or a frame in whichever order its threads come by, and a sum of floats depends on it.
Over a list it adds from first to last, so a sum becomes the sum of a list. What has no such form is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from lineage.rows.expressions import Node, mappings, name_of

# Reductions of floats whose bits depend on the order of additions, and that have no form that adds in row order.
_UNPINNED = {
    "Correlation": "corr or cov",
    "Skew": "skew",
    "Kurtosis": "kurtosis",
    "Entropy": "entropy",
}
# Over the last so many rows: sums and means of whole numbers are exact, the others are of floats whatever they are of.
_ROLLING_SUMS = ("Mean", "Sum")
_ROLLING = ("Std", "Var", "Skew", "Kurtosis", "CorrCov")
# Functions that give values in no order, or of ties any, and what to write instead.
_UNORDERED = {
    "TopKBy": ("top_k_by or bottom_k_by", "take sort_by(…).head(k)"),
    "MaxBy": ("max_by", "take sort_by(…, descending=True).first()"),
    "MinBy": ("min_by", "take sort_by(…).first()"),
    "ArgMax": ("arg_max", "take index_of(….max())"),
    "ArgMin": ("arg_min", "take index_of(….min())"),
    "ValueCounts": ("value_counts", "group_by the values and take len()"),
}
# Estimates: the quantile draws by chance, the count is another under another engine, also of the values of a list.
_ESTIMATES = {"ApproxQuantile": "quantile", "ApproxNUnique": "n_unique"}
# Sums of these stay exact in 53 bits.
_NARROW = (pl.Boolean, pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32)

KindOf = Callable[[Node], pl.DataType | None]


def is_random(node: Node) -> bool:
    """Whether it draws by chance without a seed."""
    return any(
        item.get("seed", 0) is None and any(word in str(item) for word in ("Sample", "Shuffle", "Random"))
        for item in mappings(node)
    )


def pinned(node: Node, kind_of: KindOf) -> Node:
    """The tree with nothing left open. `kind_of` gives the type of what a tree gives, or None if it is not known.

    Raises ValueError, saying what to do, where something has no pinned form.
    """
    if isinstance(node, list):
        return [pinned(child, kind_of) for child in node]
    if not isinstance(node, dict):
        return node
    # Within a list values are added one after the other.
    inner = {key: _ordered(value) if key == "evaluation" else pinned(value, kind_of) for key, value in node.items()}
    if isinstance(node.get("Agg"), dict):
        return _pinned_reduction(inner, kind_of)
    if isinstance(node.get("Function"), dict):
        _refuse_unpinned(node["Function"], kind_of)
    return _in_order(inner)


def _ordered(node: Node) -> Node:
    if isinstance(node, list):
        return [_ordered(child) for child in node]
    if isinstance(node, dict) and isinstance(node.get("Function"), dict):
        _refuse_estimate(node["Function"])
    return _in_order({key: _ordered(value) for key, value in node.items()}) if isinstance(node, dict) else node


def _in_order(node: dict[str, Any]) -> Node:
    """With the options that keep the order of rows, and of ties."""
    if node.get("maintain_order") is False:
        return {**node, "maintain_order": True}
    return {"Unique": True} if node == {"Unique": False} else node


def _pinned_reduction(node: dict[str, Any], kind_of: KindOf) -> Node:
    ((name, fields),) = node["Agg"].items()
    if name == "Sum" and _is_float(fields, kind_of):
        return _over_list(fields, name)
    if name == "Mean" and _is_wide(kind_of(fields)):
        return _over_list(fields, name)
    if name in ("Std", "Var"):
        value, degrees = fields
        kind = kind_of(value)
        # Over a list Polars knows the variance of floats only.
        if kind is None or not kind.is_float():
            value = {"Cast": {"expr": value, "dtype": {"Literal": "Float64"}, "options": "Strict"}}
        return _over_list(value, {name: degrees})
    return node


def _over_list(value: Node, reduction: Any) -> Node:
    imploded = {"Agg": {"Implode": {"input": value, "maintain_order": True}}}
    over_list = {"Function": {"input": [imploded], "function": {"ListExpr": reduction}}}
    if reduction != "Sum":
        return over_list
    # The sum of no values is then zero as well, and not minus zero.
    return {"BinaryExpr": {"left": over_list, "op": "Plus", "right": {"Literal": {"Dyn": {"Float": 0.0}}}}}


def _refuse_unpinned(fields: Mapping[str, Any], kind_of: KindOf) -> None:
    _refuse_estimate(fields)
    name = name_of(fields["function"])
    if name in _UNORDERED:
        what, instead = _UNORDERED[name]
        raise ValueError(f"{what} gives values in an order, or of ties those, that Polars leaves open; {instead}")
    if name in _UNPINNED:
        _refuse(_UNPINNED[name])
    if name == "Product" and _is_float(fields["input"][0], kind_of):
        _refuse("product")
    if name in ("RollingExpr", "RollingExprBy"):
        rolling = fields["function"][name]
        what = name_of(rolling.get("function") or rolling.get("function_by")).removesuffix("By")
        if what in _ROLLING or (what in _ROLLING_SUMS and not _is_whole(fields["input"][0], kind_of)):
            _refuse(f"a rolling {what.lower()}")


def _refuse_estimate(fields: Mapping[str, Any]) -> None:
    if instead := _ESTIMATES.get(name_of(fields["function"])):
        raise ValueError(f"approx_{instead} is an estimate that does not come out the same twice; take {instead}")


def _refuse(what: str) -> None:
    raise ValueError(
        f"{what} of floats depends on the order of additions, which Polars leaves open, so it could not be replayed "
        "bit for bit; make whole numbers or Decimals of them first, or use an aggregate over a list (implode().list…)"
    )


def _is_float(node: Node, kind_of: KindOf) -> bool:
    kind = kind_of(node)
    return kind is None or kind.is_float()


def _is_whole(node: Node, kind_of: KindOf) -> bool:
    kind = kind_of(node)
    return kind is not None and (kind.is_integer() or kind == pl.Boolean)


def _is_wide(kind: pl.DataType | None) -> bool:
    return kind is None or not (kind in _NARROW or kind in (pl.String, pl.Null))
