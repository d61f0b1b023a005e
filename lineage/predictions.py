"""Recorded predictions, by their public id: `ID` for an answer of one row, `ID.i` for row i of a batch."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from lineage.errors import NotFoundError
from lineage.store import Row, Store

_ID = re.compile(r"(?P<id>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(?:\.(?P<row>\d{1,9}))?")


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


def find_prediction(store: Store, text: str) -> Prediction:
    """The prediction called `ID` (an answer of one row) or `ID.i`; NotFoundError says what is wrong with the id."""
    prediction_id, ordinal = parse_id(text)
    answer = store.row("prediction", prediction_id=prediction_id)
    if answer is None:
        raise NotFoundError(f"There is no prediction {prediction_id}; it was made in another project, or never.")
    rows = {row["ordinal"]: row for row in store.rows("prediction_rows", prediction_id=prediction_id)}
    if ordinal is None and len(rows) == 1:
        ordinal = next(iter(rows))
    if ordinal is None or ordinal not in rows:
        # Rows are numbered by their place in the request, where unknown keys leave gaps.
        what = "several rows" if ordinal is None else f"no row {ordinal}"
        raise NotFoundError(f"Prediction {prediction_id} has {what if rows else 'no row'}; {_listed(rows)}.")
    return Prediction(answer, rows[ordinal])


def parse_id(text: str) -> tuple[UUID, int | None]:
    """`ID` or `ID.i` as the prediction's id and the row's number; NotFoundError for any other text."""
    match = _ID.fullmatch(text)
    if match is None:
        raise NotFoundError(
            f"{text!r} is not a prediction's id; write it as it was answered, or ID.i for row i of a batch."
        )
    return UUID(match["id"]), int(match["row"]) if match["row"] else None


def _listed(rows: Iterable[int]) -> str:
    """Row numbers in words, the first few of many."""
    numbers = sorted(rows)
    if not numbers:
        return "none of its keys was known"
    more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
    return f"it has {', '.join(f'.{number}' for number in numbers[:5])}{more}"
