"""Recorded predictions, by their public id: `ID` for an answer of one row, `ID.i` for row i of a batch."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from lineage.errors import NotFoundError
from lineage.store import Row, Store

_ID = re.compile(r"(?P<id>[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(?:\.(?P<row>\d{1,9}))?")


@dataclass(frozen=True)
class Prediction:
    """One recorded row of an answer, as the store keeps it: what was answered, and the row."""

    answer: Row
    row: Row

    @property
    def margin(self) -> float:
        """The recorded margin: a float32, widened."""
        value: float = struct.unpack(">f", bytes.fromhex(self.row["margin_bits"]))[0]
        return value


def find_prediction(store: Store, text: str) -> Prediction:
    """The prediction called `ID` (an answer of one row) or `ID.i`; NotFoundError says what is wrong with the id."""
    (found,) = find_predictions(store, [text])
    if isinstance(found, NotFoundError):
        raise found
    return found


def find_predictions(store: Store, texts: Sequence[str]) -> list[Prediction | NotFoundError]:
    """For each id its prediction, or what is wrong with the id."""
    asked = [_parsed(text) for text in texts]
    good = {place: item for place, item in enumerate(asked) if not isinstance(item, NotFoundError)}
    ids, ordinals = [item[0] for item in good.values()], [item[1] for item in good.values()]
    rows: dict[int, list[Row]] = {place: [] for place in good}
    places = [*good]
    for row in store.rows("predicted", ids=ids, ordinals=ordinals):
        rows[places[row["place"] - 1]].append(row)
    return [
        item if isinstance(item, NotFoundError) else _only(store, *item, rows[place])
        for place, item in enumerate(asked)
    ]


def _parsed(text: str) -> tuple[UUID, int | None] | NotFoundError:
    try:
        return parse_id(text)
    except NotFoundError as error:
        return error


def _only(store: Store, prediction_id: UUID, ordinal: int | None, rows: Sequence[Row]) -> Prediction | NotFoundError:
    """The one row that was found of an answer."""
    if not rows:
        return NotFoundError(f"There is no prediction {prediction_id}; it was made in another project, or never.")
    if len(rows) == 1 and rows[0]["ordinal"] is not None:
        return Prediction(rows[0], rows[0])
    # Rows are numbered by their place in the request, where unknown keys leave gaps.
    known = [row["ordinal"] for row in store.rows("prediction_rows", prediction_id=prediction_id)]
    what = "several rows" if ordinal is None else f"no row {ordinal}"
    return NotFoundError(f"Prediction {prediction_id} has {what if known else 'no row'}; {_listed(known)}.")


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
