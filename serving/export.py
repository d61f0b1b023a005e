"""XGBoost trees as an ONNX graph whose margins equal XGBoost's to the last bit.

XGBoost adds float32 leaves, in the order of the trees, onto its float32 base margin. ONNX Runtime, on one
thread, adds the leaves of a TreeEnsemble in the same order but starts from zero; so the base margin goes in
as the first tree, a single leaf. Added after the trees it would change the last bits of nearly every row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lineage.errors import UnsupportedModelError

if TYPE_CHECKING:
    import xgboost

OBJECTIVES = ("binary:logistic", "reg:absoluteerror", "reg:squarederror")

# Codes of ai.onnx.ml 5 TreeEnsemble (https://onnx.ai/onnx/operators/onnx_aionnxml_TreeEnsemble.html).
_LESS_THAN, _MEMBER, _SUM = 1, 6, 1
_CATEGORICAL = 1  # XGBoost's split_type of a categorical split


def to_onnx(booster: xgboost.Booster, *, features: Sequence[str], categories: Mapping[str, Sequence[str]]) -> bytes:
    """A serialized ONNX model with one input per feature and one output `margin`, FLOAT of shape (N, 1).

    Numbers are FLOAT (N, 1), NaN for missing. The features named in `categories` are STRING (N, 1) and
    stand for their position in the sequence; any other string is missing. All trees are exported, so slice
    an early-stopped booster first. The bytes depend on the arguments alone.
    Raises UnsupportedModelError, naming the booster or objective, for what cannot be exact.
    """
    from onnx import ModelProto, TensorProto, helper

    model = json.loads(bytes(booster.save_raw("json")))
    _refuse_unsupported(model["learner"], features)
    trees = model["learner"]["gradient_booster"]["model"]["trees"]
    _refuse_unnamed_categories(trees, features, categories)
    nodes = _encoders(features, categories)
    nodes.append(_ensemble([_single_leaf(_base_margin(booster)), *trees]))
    kinds = {name: TensorProto.STRING if name in categories else TensorProto.FLOAT for name in features}
    inputs = [helper.make_tensor_value_info(name, kinds[name], [None, 1]) for name in features]
    output = helper.make_tensor_value_info("margin", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph(nodes, "trees", inputs, [output])
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 5)]
    proto: ModelProto = helper.make_model(graph, opset_imports=opsets, ir_version=10, producer_name="headwater")
    return bytes(proto.SerializeToString(deterministic=True))


def _refuse_unsupported(learner: Mapping[str, Any], features: Sequence[str]) -> None:
    booster, objective = learner["gradient_booster"], learner["objective"]["name"]
    shape = learner["learner_model_param"]
    if booster["name"] != "gbtree":
        raise _refusal(f"booster {booster['name']!r}")
    if objective not in OBJECTIVES:
        raise _refusal(f"objective {objective!r}")
    if int(shape["num_class"]) > 1 or int(shape["num_target"]) > 1:
        raise _refusal(f"objective {objective!r} with more than one output (multi_output_tree or multi-target)")
    if not booster["model"]["trees"]:
        raise _refusal("a booster without trees")
    if int(shape["num_feature"]) != len(features):
        raise _refusal(f"a booster of {shape['num_feature']} features under {len(features)} names")
    if taken := [name for name in features if name == "margin" or name.startswith("/")]:
        raise _refusal(f"features named {taken}, which the graph uses itself,")


def _refuse_unnamed_categories(
    trees: Sequence[Mapping[str, Any]], features: Sequence[str], categories: Mapping[str, Sequence[str]]
) -> None:
    for tree in trees:
        for node, members in _members(tree).items():
            name = features[tree["split_indices"][node]]
            if max(members) >= len(categories.get(name, ())):
                raise _refusal(f"a split on category {max(members)} of {name!r}, which no name was given for,")


def _refusal(what: str) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"{what} cannot be exported to ONNX bit for bit; serve this model with the xgboost engine."
    )


def _base_margin(booster: xgboost.Booster) -> float:
    """The float32 margin that XGBoost starts from, as XGBoost itself computes it.

    A model file holds the base score as a probability, and log(p / (1 - p)) of numpy and of XGBoost differ
    in the last bit for some p. So we ask: one round of the booster, with all its leaves set to zero.
    """
    import xgboost

    model = json.loads(bytes(booster[:1].save_raw("json")))
    for tree in model["learner"]["gradient_booster"]["model"]["trees"]:
        tree["split_conditions"] = [0.0] * len(tree["split_conditions"])
    emptied = xgboost.Booster({"device": "cpu"}, model_file=bytearray(json.dumps(model).encode()))
    row = np.zeros((1, booster.num_features()), np.float32)
    return float(emptied.inplace_predict(row, predict_type="margin")[0])


def _single_leaf(weight: float) -> dict[str, Any]:
    """A tree that always answers `weight`, in XGBoost's form; ONNX wants a root even there."""
    return {
        "left_children": [1, -1, -1],
        "right_children": [2, -1, -1],
        "split_indices": [0, 0, 0],
        "split_conditions": [0.0, weight, weight],
        "split_type": [0, 0, 0],
        "default_left": [1, 0, 0],
        "categories_nodes": [],
    }


def _members(tree: Mapping[str, Any]) -> dict[int, list[int]]:
    """Node -> the category codes that go right there; a node that was pruned away has left its set behind."""
    if not tree["categories_nodes"]:
        return {}
    spans = zip(tree["categories_nodes"], tree["categories_segments"], tree["categories_sizes"], strict=True)
    return {
        node: tree["categories"][start : start + size]
        for node, start, size in spans
        if tree["left_children"][node] >= 0
    }


def _columns(tree: Mapping[str, Any], first_node: int, first_leaf: int) -> dict[str, NDArray[Any]]:
    """One tree as columns of TreeEnsemble, whose nodes and leaves are numbered from the given places."""
    left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
    threshold = np.array(tree["split_conditions"], np.float32)
    leaf = left < 0
    inner = ~leaf
    member = np.array(tree["split_type"]) == _CATEGORICAL
    place = np.where(leaf, first_leaf + np.cumsum(leaf), first_node + np.cumsum(inner)) - 1
    # A number below the threshold goes left, a member of the set goes right: "true" is whichever that is.
    true, false = np.where(member, right, left)[inner], np.where(member, left, right)[inner]
    members = _members(tree)
    return {
        "nodes_featureids": np.array(tree["split_indices"])[inner],
        "nodes_splits": np.where(member, np.float32(0), threshold)[inner],
        "nodes_modes": np.where(member, _MEMBER, _LESS_THAN).astype(np.uint8)[inner],
        "nodes_missing_value_tracks_true": (np.array(tree["default_left"], bool) ^ member)[inner],
        "nodes_truenodeids": place[true],
        "nodes_trueleafs": leaf[true],
        "nodes_falsenodeids": place[false],
        "nodes_falseleafs": leaf[false],
        "leaf_weights": threshold[leaf],
        "leaf_targetids": np.zeros(leaf.sum(), np.int64),
        "membership_values": _ended_by_nan([members[node] for node in sorted(members)]),
    }


def _ended_by_nan(sets: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    return np.array([value for codes in sets for value in (*codes, np.nan)], np.float32)


def _ensemble(trees: Sequence[Mapping[str, Any]]) -> Any:
    """The TreeEnsemble node that sums `trees` in their order."""
    from onnx import helper, numpy_helper

    parts: list[dict[str, NDArray[Any]]] = []
    roots, leaves = [0], 0
    for tree in trees:
        # ONNX has no tree without a split, XGBoost does.
        split = tree if tree["left_children"][0] >= 0 else _single_leaf(tree["split_conditions"][0])
        parts.append(_columns(split, roots[-1], leaves))
        roots.append(roots[-1] + len(parts[-1]["nodes_modes"]))
        leaves += len(parts[-1]["leaf_weights"])
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if not len(columns["membership_values"]):
        del columns["membership_values"]
    tensors = ("nodes_splits", "nodes_modes", "leaf_weights", "membership_values")
    attributes = {
        name: numpy_helper.from_array(column, name) if name in tensors else column.astype(np.int64).tolist()
        for name, column in columns.items()
    }
    return helper.make_node(
        "TreeEnsemble",
        ["/features"],
        ["margin"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function=_SUM,
        post_transform=0,
        tree_roots=roots[:-1],
        **attributes,
    )


def _encoders(features: Sequence[str], categories: Mapping[str, Sequence[str]]) -> list[Any]:
    """Nodes that turn the inputs into one float matrix `/features`: strings to codes, then side by side."""
    from onnx import helper

    nodes = [
        helper.make_node(
            "LabelEncoder",
            [name],
            [f"/codes/{name}"],
            domain="ai.onnx.ml",
            # ONNX wants at least one key; a feature that was always missing has none.
            keys_strings=list(categories[name]) or [""],
            values_floats=[float(code) for code in range(len(categories[name]))] or [float("nan")],
            default_float=float("nan"),
        )
        for name in features
        if name in categories
    ]
    columns = [f"/codes/{name}" if name in categories else name for name in features]
    return [*nodes, helper.make_node("Concat", columns, ["/features"], axis=1)]
