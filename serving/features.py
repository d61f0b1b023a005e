"""Feature values: looked up by key in a model's table, or taken from a request; always what was learnt from.

Numbers are float32, strings are strings, and what is missing is None (NaN inside a float32 array).
"""

from __future__ import annotations

import hashlib
import math
import reprlib
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lineage.errors import DeclarationError, IntegrityError, RequestError
from lineage.plan import Workspace
from lineage.spec import Step
from lineage.versions import Version
from serving.bundle import Bundle
from serving.keys import Keys, hashes

if TYPE_CHECKING:
    import polars as pl

Columns = Mapping[str, NDArray[Any]]
Value = float | str | None

# Between the columns of a composite key, as a caller writes it.
KEY_SEPARATOR = "|"


@dataclass(frozen=True)
class FeatureRow:
    """One row of a table version: `position` is its 0-based place in the file with this sha256."""

    key: str
    dataset: str
    partition: str
    sha256: str
    position: int
    features: Mapping[str, Value]


@dataclass(frozen=True)
class _Part:
    """One partition of the table in memory: its keys, and the model's features (Float32, or String)."""

    version: Version
    keys: Keys
    features: pl.DataFrame

    def row(self, key: str, hashed: np.uint64) -> FeatureRow | None:
        position = self.keys.place(key, hashed)
        if position is None:
            return None
        features = {name: plain(value) for name, value in self.features.row(position, named=True).items()}
        found = self.version
        return FeatureRow(key, found.dataset, found.partition, found.sha256, position, features)


class FeatureTable:
    """The rows of `table`, by key, as the model of `bundle` takes them; follows the table's new versions.

    A key is the text of the table's key column; of several columns, joined with `|`.
    """

    def __init__(self, space: Workspace, table: Step, bundle: Bundle, *, refresh_seconds: float = 1.0) -> None:
        self._space, self._table, self._bundle = space, table, bundle
        self._refresh_seconds = refresh_seconds
        self._due = -math.inf
        self._parts: dict[str, _Part] = {}

    @property
    def dataset(self) -> str:
        """The table's name, such as `flights/features`."""
        return self._table.dataset

    def look_up(self, keys: Sequence[str]) -> list[FeatureRow | None]:
        """The row of each key, None for a key that the table does not hold.

        Raises IntegrityError naming a file whose bytes are not the recorded ones, DeclarationError where
        the table has no key or lacks a feature.
        """
        self.refresh()
        return [self._row(key, hashed) for key, hashed in zip(keys, hashes(keys), strict=True)]

    def refresh(self) -> None:
        """Take in new versions of the table, if that has not been looked at for `refresh_seconds`."""
        if time.monotonic() < self._due:
            return
        current = self._space.store.current(self.dataset)
        self._parts = {partition: self._part(version) for partition, version in current.items()}
        # Only now: a version that was refused is refused again, not forgotten for a second.
        self._due = time.monotonic() + self._refresh_seconds

    def _row(self, key: str, hashed: np.uint64) -> FeatureRow | None:
        # A key is unique within a partition; of several partitions that hold it, the newest speaks.
        rows = (part.row(key, hashed) for part in reversed(self._parts.values()))
        return next((row for row in rows if row is not None), None)

    def _part(self, version: Version) -> _Part:
        held = self._parts.get(version.partition)
        return held if held and held.version.sha256 == version.sha256 else self._open(version)

    def _open(self, version: Version) -> _Part:
        import polars as pl

        names, bundle, data = self._key(), self._bundle, read_version(self._space, version)
        try:
            frame = pl.read_parquet(BytesIO(data), columns=list(dict.fromkeys((*names, *bundle.features))))
            features = frame.select(
                pl.col(name).cast(pl.String if name in bundle.categories else pl.Float32) for name in bundle.features
            )
        except pl.exceptions.PolarsError as error:
            raise DeclarationError(
                f"{version.file.path} does not have what model {bundle.name!r} was trained on "
                f"({str(error).splitlines()[0]}); run `headwater run` to train it on the table as it is."
            ) from error
        return _Part(version, Keys.of(_texts_of(frame, names)), features)

    def _key(self) -> tuple[str, ...]:
        if not self._table.key:
            raise DeclarationError(
                f"{self._table.full_name} declares no key, so no row can be named; give it one, or send features."
            )
        return self._table.key


def read_version(space: Workspace, version: Version) -> bytes:
    """The bytes of a table's version, compared with its sha256; IntegrityError naming a file that differs.

    They come from the project's file. Where that is gone, or holds another recorded version (a run commits
    before it replaces the file), they come from the cache; bytes that nobody recorded are refused.
    """
    file, found, path = version.file, None, space.root
    for path in (space.root / file.path, space.objects.path(file.md5)):
        data = path.read_bytes() if path.is_file() else None
        found = None if data is None else hashlib.sha256(data).hexdigest()
        if data is not None and found == version.sha256:
            return data
        if found and not space.store.version(version.dataset, version.partition, found):
            break
    state = "is missing" if found is None else f"holds other bytes (sha256 {found[:12]}…)"
    raise IntegrityError(
        f"{file.path} {state}; the recorded version is {version.sha256[:12]}…. Restore it with `headwater run "
        f"{version.dataset.replace('/', '.')}`, then ask again.",
        str(path),
        version.sha256,
        found,
    )


def encode(bundle: Bundle, columns: Mapping[str, Sequence[Any]]) -> dict[str, NDArray[Any]]:
    """One value per row and feature, as an engine takes them: float32 with NaN, or object with None.

    Numbers are rounded to float32, as in training; None, and NaN for numbers, is a missing value. Raises
    RequestError naming the feature that is absent, unknown, of another length, or holds what it cannot.
    """
    _require_names(bundle, columns)
    _require_lengths(bundle.features, columns)
    strings = bundle.categories
    return {
        name: _texts(name, columns[name]) if name in strings else _numbers(name, columns[name])
        for name in bundle.features
    }


def rows_of(columns: Columns) -> list[dict[str, Value]]:
    """Encoded columns as one dict per row, exactly: every float32 is a float of the same value."""
    values = {name: [plain(value) for value in column] for name, column in columns.items()}
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def plain(value: Any) -> Value:
    """An encoded value as JSON knows it: NaN becomes None."""
    if value is None or isinstance(value, str):
        return value
    number = float(value)
    return None if math.isnan(number) else number


def require_text(where: str, value: Any) -> str:
    """`value` if it is a string that a database can keep; RequestError naming `where` otherwise."""
    if not isinstance(value, str):
        raise RequestError(f"{where} holds {shown(value)}; send a string.")
    # Postgres keeps neither NUL nor half of a surrogate pair.
    if "\0" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise RequestError(f"{where} holds {shown(value)}, which is not plain Unicode text.")
    return value


def shown(value: Any) -> str:
    """A value from a request as an error may quote it: on one line, short however large it is."""
    return "null" if value is None else reprlib.repr(value)


def _require_names(bundle: Bundle, columns: Iterable[str]) -> None:
    if missing := [name for name in bundle.features if name not in columns]:
        raise RequestError(
            f"feature{'s' * (len(missing) > 1)} {', '.join(map(repr, missing))} missing; model "
            f"{bundle.name!r} takes {', '.join(bundle.features)}."
        )
    if unknown := [name for name in columns if name not in bundle.features]:
        raise RequestError(
            f"unknown feature{'s' * (len(unknown) > 1)} {', '.join(map(shown, unknown))}; model "
            f"{bundle.name!r} takes {', '.join(bundle.features)}."
        )


def _require_lengths(names: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> None:
    for name in names:
        if not isinstance(columns[name], list | tuple | np.ndarray):
            raise RequestError(f"feature {name!r} is {shown(columns[name])}; send a list, one value per row.")
        if len(columns[name]) != len(columns[names[0]]):
            lengths = f"{len(columns[name])} values and {names[0]!r} has {len(columns[names[0]])}"
            raise RequestError(f"feature {name!r} has {lengths}; send one value per row for each.")


def _texts(name: str, values: Sequence[Any]) -> NDArray[Any]:
    found = np.empty(len(values), dtype=object)
    found[:] = [None if value is None else require_text(f"feature {name!r}", value) for value in values]
    return found


def _numbers(name: str, values: Sequence[Any]) -> NDArray[np.float32]:
    wide = np.array([_number(name, value) for value in values], np.float64)
    with np.errstate(over="ignore", under="ignore"):
        # Adding zero makes -0.0 plain 0.0: no tree tells them apart, and the log's JSON could not.
        numbers = wide.astype(np.float32) + np.float32(0)
    if endless := np.flatnonzero(np.isinf(numbers)).tolist():
        raise RequestError(
            f"feature {name!r} of row {endless[0]} is infinite as float32; send null for a missing value."
        )
    return numbers


def _number(name: str, value: Any) -> float:
    if value is None:
        return math.nan
    if not isinstance(value, Real):
        raise RequestError(f"feature {name!r} holds {shown(value)}; send numbers, or null for a missing value.")
    try:
        number = float(value)
    except OverflowError:
        return math.inf
    # One NaN of the many: it is recorded as null, and must come back as the same bits.
    return math.nan if math.isnan(number) else number


def _texts_of(frame: pl.DataFrame, names: Sequence[str]) -> pl.Series:
    import polars as pl

    texts = [pl.col(name).cast(pl.String) for name in names]
    return frame.select(pl.concat_str(texts, separator=KEY_SEPARATOR)).to_series()
