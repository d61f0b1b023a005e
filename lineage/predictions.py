"""Recorded predictions, by their public id: `ID` for an answer of one row, `ID.i` for row i of a batch."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from uuid import UUID

from lineage.errors import NotFoundError
from lineage.store import Row, Store


@dataclass(frozen=True)
class Prediction:
    """One recorded row of an answer: `answer` as the store keeps it, `row` its row."""

    answer: Row
    row: Row

    @property
    def margin(self) -> float:
        """The recorded margin: a float32, widened."""
        value: float = struct.unpack(">f", bytes.fromhex(self.row["margin_bits"]))[0]
        return value


def find_prediction(store: Store, name: str) -> Prediction:
    """The prediction called `name`; NotFoundError says what is wrong with the id."""
    text, _, ordinal = name.partition(".")
    try:
        prediction_id = UUID(text)
    except ValueError:
        raise NotFoundError(f"{name!r} is no prediction id; one looks like {UUID(int=0)} or {UUID(int=0)}.0.") from None
    answer = store.row("prediction", prediction_id=prediction_id)
    if answer is None:
        raise NotFoundError(f"There is no prediction {text}; it was made in another project, or never.")
    if not ordinal and answer["row_count"] != 1:
        count = answer["row_count"]
        raise NotFoundError(f"Prediction {text} has {count} rows; name one, from {text}.0 to {text}.{count - 1}.")
    row = store.row("prediction_row", prediction_id=prediction_id, ordinal=_ordinal(ordinal, name))
    if row is None:
        raise NotFoundError(f"Prediction {text} has {answer['row_count']} rows; there is no row {ordinal!r}.")
    return Prediction(answer, row)


def _ordinal(text: str, name: str) -> int:
    if text and not (text.isdecimal() and len(text) < 10):
        raise NotFoundError(f"{name!r} is no prediction id: after the dot comes a row number.")
    return int(text or 0)
