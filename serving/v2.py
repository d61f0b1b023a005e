"""The Open Inference Protocol V2 as documents: requests to feature columns, answers to tensors.

Tensors are JSON, of shape [n] or [n, 1], with flat or nested data. Any numeric datatype is taken for a
numeric feature and rounded to float32, as in training; null is a missing value. A request whose only input
is `key` (BYTES) asks for rows of the model's feature table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from lineage.errors import RequestError
from serving.bundle import Bundle
from serving.features import require_text, shown
from serving.predict import Answer

KEY = "key"

_PLATFORMS = {"onnxruntime_cpu": "onnxruntime_onnx", "xgboost_cpu": "xgboost_ubj"}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# What one element of each datatype may be in JSON, beside null.
_ELEMENTS: dict[str, Callable[[Any], bool]] = {
    "BYTES": lambda value: isinstance(value, str),
    "BOOL": lambda value: isinstance(value, bool),
    **dict.fromkeys(("FP16", "FP32", "FP64"), _is_number),
    **{f"{sign}INT{bits}": _is_whole for sign in ("", "U") for bits in (8, 16, 32, 64)},
}


@dataclass(frozen=True)
class InferRequest:
    """A decoded request: `keys` to look up, or else feature `columns`; `outputs` in the order asked for."""

    id: str | None
    keys: list[str] | None
    columns: Mapping[str, list[Any]]
    outputs: tuple[str, ...]


def server_metadata() -> dict[str, Any]:
    """What answers here, and which extensions of the protocol it has (none)."""
    return {"name": "headwater", "version": version("headwater"), "extensions": []}


def model_metadata(bundle: Bundle, engine: str) -> dict[str, Any]:
    """Name, version, platform and tensors of a model; -1 is the number of rows."""
    return {
        "name": bundle.name,
        "versions": [bundle.digest],
        "platform": _PLATFORMS.get(engine, engine),
        "inputs": [_described(field) for field in bundle.signature["inputs"]],
        "outputs": [{**_described(field), "shape": [-1]} for field in bundle.signature["outputs"]],
    }


def decode(document: Mapping[str, Any], bundle: Bundle) -> InferRequest:
    """An infer request to the model of `bundle`; RequestError names the field or tensor that does not fit."""
    name = document.get("id")
    if name is not None:
        require_text("id", name)
    inputs = _named(document.get("inputs"), "inputs")
    outputs = _outputs(document.get("outputs"), bundle)
    if set(inputs) == {KEY} and KEY not in bundle.features:
        return InferRequest(name, _column(KEY, inputs[KEY], ("BYTES",)), {}, outputs)
    _require_inputs(inputs, bundle)
    columns = {feature: _column(feature, tensor, _datatypes(feature, bundle)) for feature, tensor in inputs.items()}
    _require_one_length(columns)
    return InferRequest(name, None, columns, outputs)


def encode(request: InferRequest, answer: Answer) -> dict[str, Any]:
    """The infer response: float32 tensors of shape [n], as JSON numbers of the same value.

    The row of an unknown key is null in every tensor; `parameters.errors` says which rows these are.
    """
    return {
        "model_name": answer.model,
        "model_version": answer.model_version,
        **({"id": request.id} if request.id is not None else {}),
        "parameters": _parameters(answer),
        "outputs": [_tensor(name, [getattr(entry, name) for entry in answer.entries]) for name in request.outputs],
    }


def _described(field: Mapping[str, Any]) -> dict[str, Any]:
    return {name: field[name] for name in ("name", "datatype", "shape")}


def _parameters(answer: Answer) -> dict[str, str]:
    errors = [f"row {place}: {entry.error}" for place, entry in enumerate(answer.entries) if entry.error]
    return {
        "prediction_id": answer.prediction_id,
        "features_from": answer.features_from,
        **({"errors": " ".join(errors)} if errors else {}),
    }


def _tensor(name: str, data: list[Any]) -> dict[str, Any]:
    return {"name": name, "datatype": "FP32", "shape": [len(data)], "data": data}


def _named(tensors: Any, field: str) -> dict[str, Mapping[str, Any]]:
    """The objects of a list by their names, each of which may occur once."""
    if not isinstance(tensors, list) or not tensors:
        raise RequestError(f"{field} is {shown(tensors)}; send a list of at least one tensor.")
    found: dict[str, Mapping[str, Any]] = {}
    for place, tensor in enumerate(tensors):
        name = tensor.get("name") if isinstance(tensor, dict) else None
        if not isinstance(name, str):
            raise RequestError(f"{field}[{place}] has no name; send an object with a name.")
        if name in found:
            raise RequestError(f"{field} names {shown(name)} twice; send each once.")
        found[name] = tensor
    return found


def _outputs(wanted: Any, bundle: Bundle) -> tuple[str, ...]:
    known = tuple(field["name"] for field in bundle.signature["outputs"])
    if wanted is None or wanted == []:
        return known
    named = _named(wanted, "outputs")
    for name, output in named.items():
        if name not in known:
            raise RequestError(f"there is no output {shown(name)}; model {bundle.name!r} answers {', '.join(known)}.")
        _refuse_binary(f"output {name!r}", output)
    return tuple(named)


def _require_inputs(inputs: Mapping[str, Any], bundle: Bundle) -> None:
    takes = f"model {bundle.name!r} takes {', '.join(bundle.features)} (or {KEY!r} alone)."
    if unknown := [name for name in inputs if name not in bundle.features]:
        raise RequestError(f"unknown input {', '.join(map(shown, unknown))}; {takes}")
    if missing := [name for name in bundle.features if name not in inputs]:
        raise RequestError(f"missing input {', '.join(map(repr, missing))}; {takes}")


def _require_one_length(columns: Mapping[str, Sequence[Any]]) -> None:
    (first, rows), *others = ((name, len(column)) for name, column in columns.items())
    for name, found in others:
        if found != rows:
            raise RequestError(
                f"input {name!r} has {found} rows and input {first!r} has {rows}; send as many for each."
            )


def _datatypes(feature: str, bundle: Bundle) -> tuple[str, ...]:
    return ("BYTES",) if feature in bundle.categories else tuple(name for name in _ELEMENTS if name != "BYTES")


def _column(name: str, tensor: Mapping[str, Any], accepted: tuple[str, ...]) -> list[Any]:
    """The elements of one input tensor, one per row."""
    where = f"input {name!r}"
    _refuse_binary(where, tensor)
    datatype = tensor.get("datatype")
    if not isinstance(datatype, str) or datatype not in _ELEMENTS:
        raise RequestError(f"{where} has the unknown datatype {shown(datatype)}; use one of {', '.join(accepted)}.")
    if datatype not in accepted:
        raise RequestError(f"{where} is {datatype}; this model takes {', '.join(accepted)} there.")
    values = _flat(where, tensor.get("data"), _shape(where, tensor.get("shape")))
    for row, value in enumerate(values):
        _require_element(f"{where}, row {row},", value, datatype)
    return values


def _shape(where: str, shape: Any) -> list[int]:
    if not isinstance(shape, list) or not all(map(_is_whole, shape)):
        raise RequestError(f"{where} has shape {shown(shape)}; send a list of whole numbers, [n] or [n, 1].")
    if any(size < 0 for size in shape):
        raise RequestError(f"{where} has shape {shown(shape)}; a dimension cannot be negative.")
    if len(shape) not in (1, 2) or shape[1:] not in ([], [1]):
        raise RequestError(f"{where} has shape {shown(shape)}; send [n] or [n, 1].")
    return list(shape)


def _flat(where: str, data: Any, shape: list[int]) -> list[Any]:
    """`data`, flat or nested as `shape` says, as one value per row."""
    if not isinstance(data, list):
        raise RequestError(f"{where} has data {shown(data)}; send a list.")
    nested = len(shape) == 2 and all(isinstance(row, list) and len(row) == 1 for row in data)
    values = [value for (value,) in data] if nested else list(data)
    if len(values) != shape[0]:
        raise RequestError(f"{where} has {len(values)} values for shape {shape}; send {shape[0]}.")
    return values


def _require_element(where: str, value: Any, datatype: str) -> None:
    if value is None or (_ELEMENTS[datatype](value) and value == value):
        return
    hint = "send null for a missing value" if value != value else f"that is no {datatype}"
    raise RequestError(f"{where} holds {shown(value)}; {hint}.")


def _refuse_binary(where: str, tensor: Mapping[str, Any]) -> None:
    parameters = tensor.get("parameters")
    if parameters is not None and not isinstance(parameters, dict):
        raise RequestError(f"{where} has parameters {shown(parameters)}; send an object.")
    if parameters and ("binary_data_size" in parameters or parameters.get("binary_data")):
        raise RequestError(f"{where} asks for binary data, which is not served here; send and ask for JSON.")
