"""What is asked of a trace: a row of a table's version, by the name of a prediction or by its own."""

from __future__ import annotations

import difflib
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from lineage.errors import NotFoundError
from lineage.names import dotted
from lineage.store import version_of
from lineage.tracing.ancestry import Identity, identity, recorded_version
from lineage.tracing.predictions import Prediction, find_prediction, parse_id
from lineage.tracing.recent import Recent
from lineage.tracing.rownames import find_row, is_row, without_number
from lineage.tracing.tracer import Tracer
from lineage.versions import Version

# Versions of which it is kept what was looked up, some kB each.
_KEPT = 4_096


@dataclass(frozen=True)
class AskedRow:
    """A row of a version as it was used before a time, and its columns that count: a `feature`, or all of them."""

    version: Version
    position: int
    before: datetime | None
    columns: tuple[str, ...]
    feature: str | None = None


@dataclass
class Register:
    """Finds what is asked in the record; what does not change is looked up once."""

    tracer: Tracer
    _versions: Recent[Identity, Version] = field(default_factory=lambda: Recent(_KEPT))
    _written: Recent[Identity, list[tuple[datetime, list[datetime]]]] = field(default_factory=lambda: Recent(_KEPT))

    def named(self, name: str, feature: str | None = None) -> AskedRow:
        """The row that a prediction (`ID`, `ID.i`) was made from, or a row by its own name."""
        if is_row(name):
            return self.row(*self.find_table_row(name), feature)
        self.require_id(name)
        asked = self.predicted(find_prediction(self.tracer.space.store, name), feature)
        if asked is None:
            raise _client_sent(name)
        return asked

    def predicted(self, found: Prediction, feature: str | None = None) -> AskedRow | None:
        """The row that a prediction was made from; None if the client sent it."""
        row = found.row
        if row["dataset"] is None:
            if feature is not None:
                raise _client_sent(f"{row['prediction_id']}.{row['ordinal']}")
            return None
        version = self.version(row["dataset"], row["partition"], row["sha256"])
        before = self.before(version, found.answer["made_at"])
        return AskedRow(version, row["position"], before, _columns(row["features"], feature), feature)

    def row(self, version: Version, position: int, feature: str | None = None) -> AskedRow:
        """A row of a table as it is now; NotFoundError for a row or column that it does not have."""
        count = version.row_count or 0
        if not 0 <= position < count:
            place = dotted(version.dataset, version.partition)
            raise NotFoundError(f"{place} has no row {position}; it has {count} rows, 0 to {count - 1}.")
        before = self.before(version, datetime.now(UTC))
        return AskedRow(version, position, before, _columns((name for name, _ in version.fields), feature), feature)

    def find_table_row(self, name: str) -> tuple[Version, int]:
        """The table's version and the row that are called so; a raw file's row is that of the source that read it."""
        version, position = find_row(self.tracer, name)
        if version.row_count is not None:
            return version, position
        row = self.tracer.space.store.row("table_read_from", **_parameters(identity(version)))
        if row is None:
            raise NotFoundError(f"{version.file.path} has not been read by a source; run `headwater run`.")
        return self._row_of_record(version_of(row), position)

    def _row_of_record(self, table: Version, record: int) -> tuple[Version, int]:
        """Where a record of a raw file is: in the source's table, or among the rows that were put aside of it."""
        origin = self.tracer.origin(table, None)
        outputs = self.tracer.space.store.run_outputs(origin.run["run_id"]) if origin.lineage and origin.run else ()
        for version in outputs or (table,):
            rows = self.tracer.rows_of_record(self.tracer.origin(version, None), record)
            if len(rows):
                return version, int(rows[0])
        raise NotFoundError(f"{dotted(table.dataset, table.partition)} has no record {record}.")

    def require_id(self, name: str) -> None:
        """Raise NotFoundError for what is no prediction's id; of a table without a row's number, how to write it."""
        try:
            parse_id(name)
        except NotFoundError as error:
            raise without_number(self.tracer, name) or error from error

    def version(self, dataset: str, partition: str, sha256: str) -> Version:
        """A recorded version."""
        key = (dataset, partition, sha256)
        return self._versions.get(key, lambda: recorded_version(self.tracer.space.store, *key))

    def before(self, version: Version, used_at: datetime) -> datetime | None:
        """A time that stands for `used_at`: one for all times at which the same run had written `version` last."""
        key = identity(version)
        # What was asked last is kept as the only one of a list, for it is asked again when it is older than the use.
        known = self._written.get(key, lambda: [self._asked_now(key)])
        asked_at, ends = known[0]
        if asked_at < used_at:
            asked_at, ends = known[0] = self._asked_now(key)
        if not ends:
            return None
        place = bisect_right(ends, used_at)
        return ends[place - 1] if place else ends[0] - timedelta(microseconds=1)

    def _asked_now(self, key: Identity) -> tuple[datetime, list[datetime]]:
        """The present time, and when the runs ended that have written a version."""
        asked_at = datetime.now(UTC)
        row = self.tracer.space.store.row("runs_that_wrote_ended", **_parameters(key))
        return asked_at, row["ended_at"] if row else []


def _client_sent(name: str) -> NotFoundError:
    return NotFoundError(f"The features of prediction {name} came with the request; they have no source rows.")


def _columns(known: Iterable[str], feature: str | None) -> tuple[str, ...]:
    names = tuple(known)
    if feature is None:
        return names
    if feature not in names:
        near = tuple(difflib.get_close_matches(feature, names, n=3))
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(names)}."
        raise NotFoundError(f"There is no feature {feature!r}; {hint}", near)
    return (feature,)


def _parameters(key: Identity) -> dict[str, str]:
    return dict(zip(("dataset", "partition", "sha256"), key, strict=True))
