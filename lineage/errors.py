"""What can go wrong, as one tree.

    HeadwaterError
    ├── SettingsError        a setting or a file of the project is missing or malformed
    ├── DeclarationError     a pipeline says something impossible (unknown input, cycle, two of one name)
    ├── NotFoundError        a name or id that nothing answers to
    ├── SourceError          raw bytes cannot be read as they were declared
    ├── IntegrityError       bytes are not the version that was recorded
    ├── CheckFailedError     a blocking check refused a new version
    ├── StepFailedError      a step's own function raised
    ├── RowsLostError        a step does what rows cannot be followed through (lineage/frame.py)
    ├── StaleRunError        a run was given up by somebody else while it was computing
    ├── UnsupportedModelError   a booster that cannot be exported exactly
    ├── RequestError         a prediction request that the model cannot answer
    ├── DeviceError          a GPU was asked for and cannot be used (serving/device.py)
    ├── EventError           a posted body that is no OpenLineage event (lineage/service/intake.py)
    ├── BusyError            somebody else is at work in the cache (lineage/gc.py)
    └── DatabaseError        Postgres cannot be started or reached

Messages say what failed, with which names, and what to do next. Data travels as attributes;
doors translate into exit codes and HTTP statuses.
"""

from __future__ import annotations

from typing import Any


class HeadwaterError(Exception):
    """Base of everything Headwater raises on purpose."""


class SettingsError(HeadwaterError):
    """A setting or a file of the project is missing or malformed."""


class DeclarationError(HeadwaterError):
    """A pipeline declares something impossible."""


class NotFoundError(HeadwaterError):
    """A name or id that nothing answers to; `candidates` are the nearest names, if any."""

    def __init__(self, message: str, candidates: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.candidates = candidates


class SourceError(HeadwaterError):
    """Raw bytes cannot be read as they were declared; `path` is the file."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.path = path


class IntegrityError(HeadwaterError):
    """Bytes at `path` are not the version that was recorded."""

    def __init__(self, message: str, path: str, expected: str, found: str | None) -> None:
        super().__init__(message)
        self.path, self.expected, self.found = path, expected, found


class CheckFailedError(HeadwaterError):
    """A blocking check refused a new version; `failures` describe the expectations that failed.

    `checks` are the reports (`lineage.ports.CheckReport`) on `version` (`lineage.versions.Version`).
    """

    def __init__(
        self, message: str, failures: tuple[str, ...], *, version: Any = None, checks: tuple[Any, ...] = ()
    ) -> None:
        super().__init__(message)
        self.failures, self.version, self.checks = failures, version, checks


class StepFailedError(HeadwaterError):
    """The function of `step` raised; the cause is chained."""

    def __init__(self, message: str, step: str, partition: str | None) -> None:
        super().__init__(message)
        self.step, self.partition = step, partition


class RowsLostError(HeadwaterError):
    """A step's function does something that rows cannot be followed through, and does not say how rows map."""


class ColumnsUnknownError(HeadwaterError):
    """Of a query nobody can say which columns its columns came from: its plan is not one that is known."""


class StaleRunError(HeadwaterError):
    """A run was given up by somebody else while it was computing, so it must not publish."""


class UnsupportedModelError(HeadwaterError):
    """A booster or objective that the exporter cannot reproduce bit for bit."""


class RequestError(HeadwaterError):
    """A prediction request that the model cannot answer."""


class DatabaseError(HeadwaterError):
    """Postgres cannot be started or reached."""
