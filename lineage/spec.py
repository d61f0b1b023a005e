"""What can be declared: frozen steps (fetch, source, table, model) and the values they are made of.

Everything else (Dagster assets, DVC stages, OpenLineage events, the serving signature) is derived from
these, so they cannot disagree. `lineage.pipeline` is what an author writes them with.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from lineage.errors import DeclarationError

Kind = Literal["fetch", "source", "table", "model"]

_SHORTEST_MONTH = timedelta(days=28)
_UNITS = {
    "us": timedelta(microseconds=1),
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(hours=24),
    "w": timedelta(days=7),
}
_PART = r"(\d+)(us|ms|s|m|h|d|w)"
_MONTH = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")

Aggregation = Literal["count", "sum", "mean", "share", "min", "max", "last"]

COLUMN_TYPES = ("string", "int64", "int32", "float64", "boolean", "date", "datetime_utc", "datetime")


@dataclass(frozen=True)
class Partitions:
    """Monthly partition keys, oldest first; `first` is how many land before the clock starts."""

    keys: tuple[str, ...]
    first: int

    def before(self, key: str, count: int) -> tuple[str, ...]:
        """`key` preceded by up to `count` earlier keys."""
        end = self.keys.index(key) + 1
        return self.keys[max(0, end - 1 - count) : end]


@dataclass(frozen=True)
class Files:
    """Raw files of a source: a path below the project's root; `{partition}` stands for the key."""

    pattern: str

    def path(self, partition: str | None) -> str:
        """The path of one partition's file, relative to the root."""
        return self.pattern.replace("{partition}", partition or "")

    @property
    def folder(self) -> str:
        """The folder that holds the files of all partitions."""
        return self.pattern.partition("{partition}")[0].rpartition("/")[0]


@dataclass(frozen=True)
class PackageFile:
    """A data file inside an installed distribution, found through its metadata and never imported."""

    distribution: str
    path: str


@dataclass(frozen=True)
class Suite:
    """A Great Expectations suite, by the name of its JSON file under validations/suites/<pipeline>/."""

    name: str


@dataclass(frozen=True)
class TimeSplit:
    """Rows before `tune_from` train, rows before `test_from` tune, the rest tests: ISO dates on the clock of `zone`."""

    column: str
    tune_from: str
    test_from: str
    zone: str = "UTC"

    @property
    def rule(self) -> str:
        """Which rows are for what, in words."""
        begin, tune, test = f"trained on those before {self.tune_from}", f"before {self.test_from}", "the later ones"
        return f"{begin}, stopped early on those {tune}, scored on {test}"

    @property
    def lacking(self) -> str:
        """What to say where no row is for testing."""
        return f"no row has {self.column} at or after {self.test_from}; move test_from in by_time"


@dataclass(frozen=True)
class HashSplit:
    """Rows by a digest of `column`: the share `tune` tunes, the share `test` tests, the rest trains.

    Where a row goes depends on its own value alone, so that new rows move no old one.
    """

    column: str
    tune: float
    test: float

    @property
    def rule(self) -> str:
        """Which rows are for what, in words."""
        train = 1 - self.tune - self.test
        return f"by a digest of it {train:.0%} trained, {self.tune:.0%} stopped early, {self.test:.0%} scored"

    @property
    def lacking(self) -> str:
        """What to say where no row is for testing."""
        return f"no row falls into the {self.test:.0%} for testing by its {self.column}; give by_hash a larger test"


@dataclass(frozen=True)
class Fetch:
    """Where raw bytes come from, and the column pair (year, month) that splits them, if any."""

    origin: PackageFile
    split_by: Literal["month"] | None
    target: Files


@dataclass(frozen=True)
class Source:
    """Raw files and how their columns are to be read."""

    files: Files
    schema: Mapping[str, str]
    null_values: tuple[str, ...]


@dataclass(frozen=True)
class Model:
    """What is learnt from which table; `trainer` is the dotted name of the function that does it."""

    table: str
    target: str
    features: tuple[str, ...]
    split: TimeSplit | HashSplit
    objective: str
    trainer: str


@dataclass(frozen=True)
class History:
    """One declared aggregate; make it with `lineage.history.history`."""

    keys: tuple[str, ...]
    value: str | None
    known_at: str
    window: str
    agg: Aggregation
    decimals: int | None
    known_within: str = "28d"

    @property
    def span(self) -> timedelta:
        """The window as elapsed time: a day has 24 hours, also where the clock is put back."""
        return duration(self.window)

    @property
    def reach(self) -> timedelta:
        """How long before a row's time an event that counts can have happened."""
        return self.span + duration(self.known_within)


@dataclass(frozen=True)
class Input:
    """One input: the name it goes by, how many earlier partitions are also read, and of which step (the one
    of that name, if none is given)."""

    name: str
    look_back: int = 0
    of: str = ""

    @property
    def step(self) -> str:
        """The name of the step that is read."""
        return self.of or self.name


@dataclass(frozen=True)
class Step:
    """One declared step. `parameters` are JSON values; `detail` is what its kind adds; `rows` says how Python code in a
    table's function maps rows ("1:1", "group:<columns>" or "all")."""

    pipeline: str
    name: str
    kind: Kind
    parameters: Mapping[str, Any]
    description: str
    function: Callable[..., Any] | None = None
    inputs: tuple[Input, ...] = ()
    partitions: Partitions | None = None
    key: tuple[str, ...] = ()
    checks: Suite | None = None
    detail: Fetch | Source | Model | None = None
    rows: str | None = None

    @property
    def full_name(self) -> str:
        """`pipeline.step`: the name in the CLI and of the OpenLineage job."""
        return f"{self.pipeline}.{self.name}"

    @property
    def dataset(self) -> str:
        """`pipeline/step`: the OpenLineage dataset, the Dagster asset key, the folder under data/."""
        return f"{self.pipeline}/{self.name}"

    @property
    def stage(self) -> str:
        """`pipeline-step`: the DVC stage."""
        return f"{self.pipeline}-{self.name}"

    @property
    def model_name(self) -> str:
        """`pipeline-model` with dashes: the name in the registry and in the serving API."""
        return self.stage.replace("_", "-")


def monthly(start: str, end: str, *, first: int | None = None) -> Partitions:
    """Months from `start` to before `end`, both `YYYY-MM`; `first` (all) land before the clock starts."""
    for text in (start, end):
        if not _MONTH.fullmatch(text):
            raise DeclarationError(f"monthly({start!r}, {end!r}): {text!r} is not a month; write it as 2013-01.")
    begin, stop = (int(text[:4]) * 12 + int(text[5:]) - 1 for text in (start, end))
    keys = tuple(f"{month // 12:04d}-{month % 12 + 1:02d}" for month in range(begin, stop))
    if not keys:
        raise DeclarationError(f"monthly({start!r}, {end!r}) holds no month; the end is exclusive.")
    landed = len(keys) if first is None else first
    if not 0 <= landed <= len(keys):
        raise DeclarationError(f"monthly({start!r}, {end!r}, first={first}): it holds {len(keys)} months.")
    return Partitions(keys, landed)


def files(pattern: str) -> Files:
    """Raw files below the project's root, for example `data/raw/flights/departures/{partition}.csv`."""
    parts = pattern.split("/")
    if len(parts) < 2 or not all(parts) or {".", ".."} & set(parts):
        raise DeclarationError(f"files({pattern!r}) must name a file in a folder below the project's root.")
    if set("{}*?") & set(pattern.replace("{partition}", "")):
        raise DeclarationError(f"files({pattern!r}): only {{partition}} stands for something else.")
    if pattern.startswith("{partition}"):
        raise DeclarationError(f"files({pattern!r}) needs a folder that holds the files of all partitions.")
    return Files(pattern)


def from_package(distribution: str, path: str) -> PackageFile:
    """A data file of an installed distribution; a `.zip` of one member stands for that member."""
    return PackageFile(distribution, path)


def suite(name: str) -> Suite:
    """The suite in validations/suites/<pipeline>/<name>.json."""
    return Suite(name)


def by_time(column: str, *, tune_from: str, test_from: str, zone: str = "UTC") -> TimeSplit:
    """A temporal split on `column`: train before `tune_from`, tune before `test_from`, test after.

    Where the column is UTC, the dates are those of `zone` (such as America/New_York), and so are the months by
    which the model is scored.
    """
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, ZoneInfoNotFoundError) as error:
        raise DeclarationError(
            f"by_time({column!r}): there is no time zone {zone!r}; write America/New_York."
        ) from error
    if not _instant(column, tune_from) < _instant(column, test_from):
        raise DeclarationError(f"by_time({column!r}): tune_from={tune_from} must be before test_from={test_from}.")
    return TimeSplit(column, tune_from, test_from, zone)


def by_hash(column: str, *, tune: float = 0.2, test: float = 0.2) -> HashSplit:
    """For rows that know no time: a split by a digest of `column`, such as the key, into shares of about this size."""
    if not (0 <= tune < 1 and 0 < test < 1 and tune + test < 1):
        raise DeclarationError(
            f"by_hash({column!r}): tune={tune} and test={test} must be shares that leave rows to train on."
        )
    return HashSplit(column, tune, test)


def duration(text: str) -> timedelta:
    """The elapsed time that is written as 4h, 14d or 1h30m: 1d is 24 hours, 1w is 7 of these days."""
    if not re.fullmatch(f"({_PART})+", text):
        raise DeclarationError(f"{text!r} is no duration; write one such as 4h, 14d or 1h30m.")
    try:
        return sum((int(count) * _UNITS[unit] for count, unit in re.findall(_PART, text)), timedelta())
    except OverflowError as error:
        raise DeclarationError(f"{text!r} is longer than time can be counted.") from error


def months_back(aggregates: Mapping[str, History]) -> int:
    """How many earlier monthly partitions hold every event that `aggregates` can see.

    The longest window and its `known_within`, in months of 28 days, which no month is shorter than. An event
    stands in the month in which it happened; it may have become known up to `known_within` later. The time of a
    row must lie in the month of its own partition: a later one would miss events of months that are not read, an
    earlier one needs a `known_within` that is longer by as much.
    """
    longest = max((item.reach for item in aggregates.values()), default=_SHORTEST_MONTH)
    return -(-longest // _SHORTEST_MONTH)


def _instant(column: str, text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError as error:
        raise DeclarationError(f"by_time({column!r}): {text!r} is not a date; write it as 2013-09-01.") from error
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
