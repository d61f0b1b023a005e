"""The store: one connection to our schema, and every read and write that the runner and the doors need."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow, dict_row, tuple_row
from psycopg.types.json import Jsonb

from lineage.errors import DatabaseError
from lineage.postgres import APP_ROLE, OWNER_ROLE, STORE_SCHEMA, Attachment, attach
from lineage.settings import Settings
from lineage.store.migrate import migrate
from lineage.store.queries import sql
from lineage.versions import FileVersion, Version, files_from_json, files_to_json

Row = DictRow

# Rows that a stream fetches at a time.
_STREAMED = 10_000


class Store:
    """An open store. Close it, or use it in a `with` block; it keeps an embedded server alive until then."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._attachment: Attachment = attach(settings)
        migrate(self._attachment.owner_url, role=OWNER_ROLE, schema=STORE_SCHEMA)
        self._connection = self._connect()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection and the server back."""
        self._connection.close()
        self._attachment.close()

    @property
    def attachment(self) -> Attachment:
        """The server this store is on."""
        return self._attachment

    def rows(self, query: str, /, **parameters: Any) -> list[Row]:
        """All rows of the named query."""
        return self._execute(query, parameters).fetchall()

    def row(self, query: str, /, **parameters: Any) -> Row | None:
        """The first row of the named query, None if there is none."""
        return self._execute(query, parameters).fetchone()

    def stream(self, query: str, /, **parameters: Any) -> Iterator[tuple[Any, ...]]:
        """The rows of the named query as plain tuples, fetched a few at a time: for those too many to hold."""
        with self.transaction(), self._connection.cursor(query, binary=True, row_factory=tuple_row) as cursor:
            cursor.itersize = _STREAMED
            yield from cursor.execute(sql(query), parameters)

    def run(self, query: str, /, **parameters: Any) -> int:
        """Execute the named statement; returns the number of rows it touched."""
        return self._execute(query, parameters).rowcount

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Everything inside is committed together, durably, or not at all."""
        self._reconnect_if_lost()
        try:
            with self._connection.transaction():
                yield
        except psycopg.OperationalError as error:
            raise DatabaseError(f"The database went away before a commit ({_first_line(error)}); try again.") from error

    @contextmanager
    def lock(self, name: str) -> Iterator[None]:
        """Hold the advisory lock `name`, waiting for it; the server drops it if this process dies."""
        self._execute("lock", {"number": lock_number(name)})
        try:
            yield
        finally:
            # A connection that was lost holds nothing any more.
            if not (self._connection.broken or self._connection.closed):
                self._execute("unlock", {"number": lock_number(name)})

    def is_locked(self, name: str) -> bool:
        """Whether another connection holds the advisory lock `name`."""
        number = lock_number(name)
        row = self._execute("try_lock", {"number": number}).fetchone()
        if not (row and row["got"]):
            return True
        self._execute("unlock", {"number": number})
        return False

    def current(self, dataset: str) -> dict[str, Version]:
        """The current version of every partition of `dataset`, by partition, oldest first."""
        return {row["partition"]: version_of(row) for row in self.rows("current_version", dataset=dataset)}

    def all_current(self) -> list[Version]:
        """The current versions of all datasets."""
        return [version_of(row) for row in self.rows("all_current_versions")]

    def version(self, dataset: str, partition: str, sha256: str) -> Version | None:
        """One recorded version."""
        row = self.row("version", dataset=dataset, partition=partition, sha256=sha256)
        return version_of(row) if row else None

    def add_version(self, version: Version) -> None:
        """Record a version; recording it again changes nothing."""
        self.run(
            "insert_version",
            dataset=version.dataset,
            partition=version.partition,
            sha256=version.sha256,
            files=Jsonb(files_to_json(version.files)),
            size_bytes=version.size_bytes,
            row_count=version.row_count,
            fields=Jsonb([list(pair) for pair in version.fields]),
            origin=version.origin,
        )

    def run_inputs(self, run_id: UUID) -> list[tuple[str, Version]]:
        """(input name, version) pairs of a run, in order."""
        return [(row["name"], version_of(row)) for row in self.rows("run_inputs", run_id=run_id)]

    def run_outputs(self, run_id: UUID) -> list[Version]:
        """What a run wrote: its table or model, and then the rows that its checks put aside, if they do."""
        return [version_of(row) for row in self.rows("run_outputs", run_id=run_id)]

    def run_lineage(self, run_id: UUID, dataset: str | None = None) -> tuple[FileVersion, ...]:
        """The files that say which rows of its inputs an output of a run came from: its table, if none is named."""
        row = self.row("run_lineage", run_id=run_id, dataset=dataset)
        return files_from_json(row["lineage"]) if row else ()

    def _execute(self, query: str, parameters: Mapping[str, Any]) -> psycopg.Cursor[Row]:
        self._reconnect_if_lost()
        try:
            return self._connection.execute(sql(query), parameters)
        except psycopg.OperationalError as error:
            raise DatabaseError(
                f"The database went away during {query!r} ({_first_line(error)}); try again."
            ) from error

    def _reconnect_if_lost(self) -> None:
        if self._connection.broken or self._connection.closed:
            self._connection.close()
            self._attachment.close()
            self._attachment = attach(self._settings)
            self._connection = self._connect()

    def _connect(self) -> psycopg.Connection[Row]:
        url = self._attachment.url(role=APP_ROLE, schema=STORE_SCHEMA)
        try:
            return psycopg.connect(url, autocommit=True, row_factory=dict_row, application_name="headwater")
        except psycopg.OperationalError as error:
            raise DatabaseError(f"The database cannot be reached ({_first_line(error)}).") from error


def version_of(row: Mapping[str, Any]) -> Version:
    """The Version in a row of the version table."""
    return Version(
        dataset=row["dataset"],
        partition=row["partition"],
        sha256=row["sha256"],
        files=files_from_json(row["files"]),
        row_count=row["row_count"],
        fields=tuple((name, kind) for name, kind in row["fields"]),
        origin=row["origin"],
    )


def lock_number(name: str) -> int:
    """A signed 64-bit advisory lock key for a name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)


def references(versions: Iterable[Version]) -> list[dict[str, str]]:
    """Dataset, partition and sha256 of each version, as JSON."""
    return [{"dataset": v.dataset, "partition": v.partition, "sha256": v.sha256} for v in versions]


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
