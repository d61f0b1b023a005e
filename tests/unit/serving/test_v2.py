"""Requests and answers of the Open Inference Protocol V2: what is taken, and how a refusal names what is wrong."""

import math
from pathlib import Path

import pytest

from lineage.errors import RequestError
from serving.bundle import Bundle
from serving.predict import Answer, Entry
from serving.v2 import decode, encode, model_metadata


def field(name: str, datatype: str, **more) -> dict:
    return {"name": name, "datatype": datatype, "shape": [-1, 1], **more}


BUNDLE = Bundle(
    Path(),
    "d" * 64,
    {
        "name": "shop-late",
        "inputs": [field("amount", "FP32"), field("channel", "BYTES", categories=["app", "web"])],
        "outputs": [field("margin", "FP32"), field("probability", "FP32")],
    },
    {},
)


def tensor(name: str, datatype: str, data, shape=None, **more) -> dict:
    return {"name": name, "datatype": datatype, "shape": [len(data)] if shape is None else shape, "data": data, **more}


AMOUNT, CHANNEL = tensor("amount", "FP32", [1.5, None]), tensor("channel", "BYTES", ["app", None])


def test_metadata_says_what_goes_in_and_out():
    """Names, datatypes and shapes come from the signature; the version is the digest."""
    assert model_metadata(BUNDLE, "onnxruntime_cpu") == {
        "name": "shop-late",
        "versions": ["d" * 64],
        "platform": "onnxruntime_onnx",
        "inputs": [
            {"name": "amount", "datatype": "FP32", "shape": [-1, 1]},
            {"name": "channel", "datatype": "BYTES", "shape": [-1, 1]},
        ],
        "outputs": [
            {"name": "margin", "datatype": "FP32", "shape": [-1]},
            {"name": "probability", "datatype": "FP32", "shape": [-1]},
        ],
    }


@pytest.mark.parametrize(
    ("amount", "values"),
    [
        (tensor("amount", "FP32", [1.5, 2]), [1.5, 2]),
        (tensor("amount", "FP32", [1.5, 2], [2, 1]), [1.5, 2]),
        (tensor("amount", "FP32", [[1.5], [2]], [2, 1]), [1.5, 2]),
        (tensor("amount", "FP64", [1.5, None]), [1.5, None]),
        (tensor("amount", "INT32", [1, 2]), [1, 2]),
        (tensor("amount", "UINT8", [1, 2]), [1, 2]),
        (tensor("amount", "BOOL", [True, False]), [True, False]),
    ],
)
def test_tensors_become_columns(amount, values):
    """Flat or nested data of any numeric datatype are one value per row."""
    request = decode({"id": "7", "inputs": [amount, CHANNEL]}, BUNDLE)

    assert (request.id, request.keys, request.outputs) == ("7", None, ("margin", "probability"))
    assert request.columns == {"amount": values, "channel": ["app", None]}


def test_key_alone_asks_for_rows_of_the_table():
    """An only input called key names rows."""
    request = decode({"inputs": [tensor("key", "BYTES", ["a", "b"])]}, BUNDLE)

    assert (request.keys, request.columns, request.id) == (["a", "b"], {}, None)


def test_outputs_are_answered_as_asked():
    """Requested outputs come in the order of the request, without the others."""
    request = decode({"inputs": [AMOUNT, CHANNEL], "outputs": [{"name": "probability"}]}, BUNDLE)

    answer = encode(request, Answer("ID", "shop-late", "d", "client", (Entry(None, 1.0, 0.5),)))

    assert answer == {
        "model_name": "shop-late",
        "model_version": "d",
        "parameters": {"prediction_id": "ID", "features_from": "client"},
        "outputs": [{"name": "probability", "datatype": "FP32", "shape": [1], "data": [0.5]}],
    }


def test_an_unknown_key_is_null_and_named():
    """Tensors have null where a key is unknown; the parameters, which hold only scalars, say why."""
    request = decode({"id": "7", "inputs": [tensor("key", "BYTES", ["a", "x"])]}, BUNDLE)
    entries = (Entry("a", 1.0, 0.5), Entry("x", error="There is no such key."))

    answer = encode(request, Answer("ID", "shop-late", "d", "table", entries))

    assert answer["id"] == "7"
    assert [output["data"] for output in answer["outputs"]] == [[1.0, None], [0.5, None]]
    assert answer["parameters"]["errors"] == "row 1: There is no such key."


def without(name: str) -> dict:
    return {key: value for key, value in AMOUNT.items() if key != name}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "inputs is null"),
        ({"inputs": []}, "inputs is \\[\\]"),
        ({"inputs": {"amount": [1]}}, "inputs is {'amount'"),
        ({"inputs": [1]}, "inputs\\[0\\] has no name"),
        ({"inputs": [without("name")]}, "inputs\\[0\\] has no name"),
        ({"inputs": [AMOUNT, AMOUNT]}, "'amount' twice"),
        ({"inputs": [AMOUNT]}, "missing input 'channel'"),
        ({"inputs": [AMOUNT, CHANNEL, tensor("size", "FP32", [1])]}, "unknown input 'size'"),
        ({"inputs": [AMOUNT, CHANNEL, tensor("key", "BYTES", ["a"])]}, "unknown input 'key'"),
        ({"inputs": [AMOUNT, tensor("channel", "BYTES", ["a"])]}, "'channel' has 1 rows and input 'amount' has 2"),
        ({"inputs": [tensor("key", "FP32", [1])]}, "'key' is FP32; this model takes BYTES"),
        ({"inputs": [AMOUNT, CHANNEL], "id": 7}, "id holds 7"),
        ({"inputs": [AMOUNT, CHANNEL], "id": "\ud800"}, "id holds"),
        ({"inputs": [AMOUNT, CHANNEL], "outputs": "margin"}, "outputs is 'margin'"),
        ({"inputs": [AMOUNT, CHANNEL], "outputs": [{"name": "class"}]}, "no output 'class'.* margin, probability"),
        (
            {"inputs": [AMOUNT, CHANNEL], "outputs": [{"name": "margin", "parameters": {"binary_data": True}}]},
            "output 'margin' asks for binary",
        ),
    ],
)
def test_a_refused_request_names_what_is_wrong(document, message):
    """A request that is not one for this model is refused, naming the field or tensor."""
    with pytest.raises(RequestError, match=message):
        decode(document, BUNDLE)


@pytest.mark.parametrize(
    ("amount", "message"),
    [
        (without("datatype"), "unknown datatype null"),
        (AMOUNT | {"datatype": "FLOAT"}, "unknown datatype 'FLOAT'"),
        (AMOUNT | {"datatype": ["FP32"]}, "unknown datatype \\['FP32'\\]"),
        (AMOUNT | {"datatype": "BYTES"}, "is BYTES; this model takes BOOL, FP16, FP32"),
        (without("shape"), "has shape null"),
        (AMOUNT | {"shape": 2}, "has shape 2"),
        (AMOUNT | {"shape": ["2"]}, "has shape \\['2'\\]"),
        (AMOUNT | {"shape": [True]}, "has shape \\[True\\]"),
        (AMOUNT | {"shape": [-1]}, "has shape \\[-1\\]; a dimension cannot be negative"),
        (AMOUNT | {"shape": [2, -1]}, "cannot be negative"),
        (AMOUNT | {"shape": []}, "send \\[n\\] or \\[n, 1\\]"),
        (AMOUNT | {"shape": [1, 2]}, "send \\[n\\] or \\[n, 1\\]"),
        (AMOUNT | {"shape": [2, 1, 1]}, "send \\[n\\] or \\[n, 1\\]"),
        (AMOUNT | {"shape": [3]}, "has 2 values for shape \\[3\\]; send 3"),
        (without("data"), "has data null"),
        (AMOUNT | {"data": "12"}, "has data '12'"),
        (AMOUNT | {"data": [1, "2"]}, "row 1, holds '2'; that is no FP32"),
        (AMOUNT | {"data": [1, True]}, "row 1, holds True; that is no FP32"),
        (AMOUNT | {"data": [[1], [2]]}, "row 0, holds \\[1\\]; that is no FP32"),
        (AMOUNT | {"data": [math.nan, 1]}, "row 0, holds nan; send null for a missing value"),
        (AMOUNT | {"datatype": "INT32", "data": [1, 1.5]}, "row 1, holds 1.5; that is no INT32"),
        (AMOUNT | {"datatype": "BOOL", "data": [1, 0]}, "row 0, holds 1; that is no BOOL"),
        (AMOUNT | {"parameters": {"binary_data_size": 8}}, "asks for binary data"),
        (AMOUNT | {"parameters": 1}, "has parameters 1"),
    ],
)
def test_a_refused_tensor_is_named(amount, message):
    """A tensor that is malformed is refused, naming it and what is wrong with it."""
    with pytest.raises(RequestError, match=f"input 'amount'.*{message}"):
        decode({"inputs": [amount, CHANNEL]}, BUNDLE)
