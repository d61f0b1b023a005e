"""The application layer of serving: a question in, an answer that is on record out. It knows no transport.

Every door asks here, and only here are engines called, so no answer can escape the prediction log.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineage.errors import NotFoundError, RequestError
from lineage.plan import Workspace
from lineage.versions import json_digest
from serving.bundle import Bundle, load_bundle
from serving.engines import Engine, open_engine, probability
from serving.features import FeatureRow, FeatureTable, encode, require_text, rows_of
from serving.log import LOGISTIC, Asked, PredictedRow, PredictionLog
from serving.promotion import CHAMPION
from serving.registry import ServedModel, champion, champion_digest, copy_bundle, declared, list_models


@dataclass(frozen=True)
class Entry:
    """The answer to one row: its margin (and probability, for a binary model), or an error."""

    key: str | None
    margin: float | None = None
    probability: float | None = None
    error: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Only what is there."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Answer:
    """One recorded answer. Row i of `entries` is known as `<prediction_id>.i`.

    `features_from` is `table` or `client`; `features_as_of` maps each partition that was read to the sha256
    of its file.
    """

    prediction_id: str
    model: str
    model_version: str
    features_from: str
    entries: tuple[Entry, ...]
    dataset: str | None = None
    features_as_of: Mapping[str, str] | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; floats are the exact values of the float32 answers."""
        as_of = {"dataset": self.dataset, "versions": dict(self.features_as_of or {})}
        return {
            "prediction_id": self.prediction_id,
            "model": self.model,
            "model_version": self.model_version,
            "features_from": self.features_from,
            **({"features_as_of": as_of} if self.dataset else {}),
            "predictions": [entry.to_json() for entry in self.entries],
        }


@dataclass(frozen=True)
class Loaded:
    """A model that is ready to answer."""

    served: ServedModel
    engine: Engine
    table: FeatureTable

    @property
    def bundle(self) -> Bundle:
        """The bundle that answers."""
        return self.served.bundle

    @property
    def is_logistic(self) -> bool:
        """Whether a margin is log-odds, so that there is a probability."""
        return bool(self.bundle.signature["objective"] == LOGISTIC)


class Predictor:
    """Answers from the champions of `space`, one question at a time; may be called from several threads.

    Where the champion alias moved, or the feature table has a new version, is looked at once in
    `recheck_seconds`, when somebody asks.
    """

    def __init__(self, space: Workspace, *, recheck_seconds: float = 1.0) -> None:
        self._space = space
        self._recheck_seconds = recheck_seconds
        self._log = PredictionLog(space.store)
        # One connection, which is not for two threads at once, serves the registry, the tables and the log.
        self._lock = threading.RLock()
        self._models: dict[str, tuple[Loaded, float]] = {}

    def model(self, name: str, *, version: str | None = None) -> Loaded:
        """The model that answers, loaded and verified.

        Raises NotFoundError for a name, or a `version`, that is not served, IntegrityError naming a file of
        its bundle whose bytes are not the recorded ones.
        """
        with self._lock:
            loaded = self._current(name)
        if version not in (None, loaded.served.digest):
            raise NotFoundError(
                f"Version {version!r} of model {name!r} is not served; its champion is {loaded.served.digest}.",
                (loaded.served.digest,),
            )
        return loaded

    def by_key(self, model: str, keys: Sequence[str], *, version: str | None = None) -> Answer:
        """Predict the rows of the model's feature table that `keys` name; unknown keys become error entries.

        Raises RequestError for keys that are no strings, what `model` raises, and what `FeatureTable` raises.
        """
        _require_keys(keys)
        with self._lock:
            loaded = self.model(model, version=version)
            rows = enumerate(loaded.table.look_up(keys))
            found = {place: row for place, row in rows if row is not None}
            encoded = encode(loaded.bundle, _columns(loaded.bundle, found.values()))
            asked = _asked(loaded, "table", {"model": model, "keys": list(keys)})
            prediction_id, answered = self._predict(loaded, asked, encoded, found)
        unknown = f"There is no such key in {loaded.table.dataset}."
        entries = (answered.get(place) or Entry(key, error=unknown) for place, key in enumerate(keys))
        as_of = {row.partition: row.sha256 for row in found.values()}
        return _answer(prediction_id, asked, entries, dataset=loaded.table.dataset, as_of=as_of)

    def by_features(self, model: str, columns: Mapping[str, Sequence[Any]], *, version: str | None = None) -> Answer:
        """Predict rows whose features the caller sends: feature -> one value per row, None where missing.

        Numbers are rounded to float32. Raises RequestError naming the feature that does not fit, and what
        `model` raises.
        """
        with self._lock:
            loaded = self.model(model, version=version)
            encoded = encode(loaded.bundle, columns)
            rows = rows_of(encoded)
            if not rows:
                raise RequestError("there is no row to predict; send at least one value per feature.")
            asked = _asked(loaded, "client", {"model": model, "rows": rows})
            prediction_id, answered = self._predict(loaded, asked, encoded, dict.fromkeys(range(len(rows))))
        return _answer(prediction_id, asked, answered.values())

    def require_ready(self) -> None:
        """Return if the database answers and every declared, trained model loads; raise what hinders it."""
        with self._lock:
            for version in list_models(self._space):
                if CHAMPION in version["aliases"]:
                    self.model(version["name"])

    def _current(self, name: str) -> Loaded:
        held, due = self._models.get(name, (None, 0.0))
        if held and time.monotonic() < due:
            return held
        digest = champion_digest(self._space, name)
        loaded = held if held and held.served.digest == digest else self._load(name)
        self._models[name] = loaded, time.monotonic() + self._recheck_seconds
        return loaded

    def _load(self, name: str) -> Loaded:
        served = champion(self._space, name)
        step = served.step
        table = self._space.project.step(f"{step.pipeline}.{declared(step).table}")
        return Loaded(
            served,
            open_engine(served.bundle, _best_engine(served.bundle)),
            FeatureTable(self._space, table, served.bundle, refresh_seconds=self._recheck_seconds),
        )

    def _predict(
        self,
        loaded: Loaded,
        asked: Asked,
        encoded: Mapping[str, NDArray[Any]],
        found: Mapping[int, FeatureRow | None],
    ) -> tuple[str, dict[int, Entry]]:
        """Answer the rows of `encoded`, whose places in the request are the keys of `found`, on record."""
        margins = loaded.engine.margin(encoded)
        rows = [
            PredictedRow(place, features, margin, row)
            for (place, row), features, margin in zip(found.items(), rows_of(encoded), margins, strict=True)
        ]
        prediction_id = self._log.record(asked, rows)
        return str(prediction_id), {row.ordinal: _entry(row, logistic=loaded.is_logistic) for row in rows}


def score(files: tuple[tuple[str, Path], ...], features: Mapping[str, Any], engine: str) -> bytes:
    """The margin of one feature row as 4 bytes, little-endian float32, computed anew.

    `files` are (name, where its bytes are) of a bundle's files; names may have folders, and files that the
    manifest does not name are ignored. Raises IntegrityError for bytes that are not the manifest's,
    NotFoundError for an engine or a file that is not there, RequestError for features that do not fit.
    """
    places = {PurePosixPath(name).name: path for name, path in files}
    with tempfile.TemporaryDirectory() as made:
        copy_bundle(places, Path(made))
        bundle = load_bundle(Path(made))
        columns = encode(bundle, {name: [value] for name, value in features.items()})
        margin = open_engine(bundle, engine).margin(columns)
    return margin.astype("<f4").tobytes()


def _best_engine(bundle: Bundle) -> str:
    """ONNX Runtime, unless the booster could not be exported to it."""
    return "onnxruntime_cpu" if "model.onnx" in bundle.manifest["files"] else "xgboost_cpu"


def _require_keys(keys: Sequence[str]) -> None:
    if isinstance(keys, str) or not keys:
        raise RequestError("there is no key to predict; send a list with at least one.")
    for place, key in enumerate(keys):
        require_text(f"key {place}", key)


def _columns(bundle: Bundle, rows: Collection[FeatureRow]) -> dict[str, list[Any]]:
    return {name: [row.features[name] for row in rows] for name in bundle.features}


def _asked(loaded: Loaded, features_from: str, request: Mapping[str, Any]) -> Asked:
    served = loaded.served
    return Asked(served.name, served.digest, loaded.engine.name, features_from, json_digest(request))


def _entry(row: PredictedRow, *, logistic: bool) -> Entry:
    key = row.found.key if row.found else None
    return Entry(key, float(row.margin), float(probability(np.asarray(row.margin))) if logistic else None)


def _answer(
    prediction_id: str,
    asked: Asked,
    entries: Iterable[Entry],
    *,
    dataset: str | None = None,
    as_of: Mapping[str, str] | None = None,
) -> Answer:
    who = (prediction_id, asked.model, asked.digest, asked.features_from)
    return Answer(*who, tuple(entries), dataset=dataset, features_as_of=as_of)
