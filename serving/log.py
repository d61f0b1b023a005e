"""The prediction log: what was answered, from which row of which table version, with which bits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import psycopg
from psycopg.types.json import Jsonb

from lineage.errors import DatabaseError, NotFoundError
from lineage.store import Row, Store
from lineage.tracing.predictions import parse_id
from serving.engines import probability
from serving.features import FeatureRow, Value

LOGISTIC = "binary:logistic"


@dataclass(frozen=True)
class Asked:
    """The request as it will be remembered: for which version, by which engine, from whose features.

    `features_from` is `table` or `client`; `request_sha256` identifies the request without keeping it.
    """

    model: str
    digest: str
    engine: str
    features_from: str
    request_sha256: str
    caller: str = "local"


@dataclass(frozen=True)
class PredictedRow:
    """One answered row; `ordinal` is its place in the request, `found` the table row it was looked up in."""

    ordinal: int
    features: Mapping[str, Value]
    margin: np.float32
    found: FeatureRow | None = None


class PredictionLog:
    """Writes predictions to the store and reads them back."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def record(self, asked: Asked, rows: Sequence[PredictedRow]) -> UUID:
        """Keep one answer and return its id; when this returns, the answer survives a crash.

        Raises DatabaseError when it could not be kept, in which case nothing of it was.
        """
        prediction_id = uuid4()
        try:
            with self._store.transaction():
                self._insert_head(prediction_id, asked)
                self._insert_rows(prediction_id, rows)
        except psycopg.OperationalError as error:
            reason = str(error).strip().partition("\n")[0]
            raise DatabaseError(
                f"The prediction could not be recorded ({reason}), so it is not given; try again."
            ) from error
        return prediction_id

    def read(self, text: str) -> dict[str, Any]:
        """The prediction called `ID`, or one row of it called `ID.i`, as JSON; NotFoundError otherwise."""
        prediction_id, ordinal = parse_id(text)
        head = self._store.row("prediction", prediction_id=prediction_id)
        if head is None:
            raise NotFoundError(f"There is no prediction {text!r}; ids come with every answer.")
        rows = self._store.rows("prediction_rows", prediction_id=prediction_id)
        if ordinal is not None:
            rows = [row for row in rows if row["ordinal"] == ordinal]
            if not rows:
                raise NotFoundError(f"Prediction {prediction_id} has no row {ordinal}; it was not answered.")
        logistic = self._objective(head) == LOGISTIC
        return {**_head_json(head), "rows": [_row_json(row, logistic=logistic) for row in rows]}

    def _insert_head(self, prediction_id: UUID, asked: Asked) -> None:
        made_at = datetime.now(UTC)
        self._store.run("insert_prediction", prediction_id=prediction_id, made_at=made_at, **vars(asked))

    def _insert_rows(self, prediction_id: UUID, rows: Sequence[PredictedRow]) -> None:
        records = Jsonb([_row_record(row) for row in rows])
        self._store.run("insert_prediction_rows", prediction_id=prediction_id, rows=records)

    def _objective(self, head: Row) -> Any:
        """What the run that trained the bundle was told to learn: the record, not today's declaration."""
        run = self._store.row("run", run_id=head["bundle_run_id"])
        return run["parameters"].get("objective") if run else None


def margin_bits(margin: np.float32) -> str:
    """The eight hex digits of a float32, most significant first."""
    return np.asarray(margin, ">f4").tobytes().hex()


def margin_of(bits: str) -> np.float32:
    """The inverse of `margin_bits`."""
    return np.float32(np.frombuffer(bytes.fromhex(bits), ">f4")[0])


def _row_record(row: PredictedRow) -> dict[str, Any]:
    place = ("key", "dataset", "partition", "sha256", "position")
    return {
        "ordinal": row.ordinal,
        **{name: getattr(row.found, name, None) for name in place},
        "features": dict(row.features),
        "margin_bits": margin_bits(row.margin),
    }


def _head_json(head: Row) -> dict[str, Any]:
    return {
        "prediction_id": str(head["prediction_id"]),
        "model": head["model"],
        "model_version": head["digest"],
        "made_at": head["made_at"].isoformat(),
        "caller": head["caller"],
        "engine": head["engine"],
        "request_sha256": head["request_sha256"],
        "features_from": head["features_from"],
    }


def _row_json(row: Row, *, logistic: bool) -> dict[str, Any]:
    margin = margin_of(row["margin_bits"])
    place = {name: row[name] for name in ("dataset", "partition", "sha256", "position")}
    return {
        "id": f"{row['prediction_id']}.{row['ordinal']}",
        "key": row["key"],
        "features": row["features"],
        "margin": float(margin),
        "margin_bits": row["margin_bits"],
        **({"probability": float(probability(np.asarray(margin)))} if logistic else {}),
        "table": place if row["dataset"] else None,
    }
