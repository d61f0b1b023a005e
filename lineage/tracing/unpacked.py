"""What a run wrote beside a table, unpacked for reading: arrays mapped into memory, and indexes of looks into the past.

Unpacking is done once, into HEADWATER_HOME (`lineage.indexes`), and can be done again at any time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import pyarrow as pa

from lineage.errors import IntegrityError
from lineage.indexes import arrays, index, save
from lineage.rows.capture import GROUP
from lineage.rows.origins import ASKER, DESCRIPTION, ROWS
from lineage.spec import History
from lineage.tracing.past import Asked, Past
from lineage.versions import FileVersion, json_digest

# Stands for the rows of the table itself where otherwise a stage is named.
TABLE = "rows"
# What a link holds that leads nowhere.
NOWHERE = np.uint32(2**32 - 1)
# Counted up when what an index holds changes.
_FORMAT = 3
# What of a declared aggregate decides which events count.
_WINDOW = ("keys", "known_at", "window", "value")

# Where the files of an input are, in their order; raises if their bytes are not those that were read.
Find = Callable[[str], Sequence[Path]]


class Behind(NamedTuple):
    """One link of a place: the columns that hold it, where it leads, and the columns there that are behind."""

    held: tuple[str, ...]
    to: str
    columns: frozenset[str]


@dataclass(frozen=True, eq=False)
class Unpacked:
    """The origins of one table's rows. `files` are those beside the table by name, `digests` their sha256; `inputs`
    finds the files of an input by its name; `home` is HEADWATER_HOME."""

    files: Mapping[str, Path]
    digests: Mapping[str, str]
    inputs: Find
    home: Path

    @cached_property
    def ways(self) -> dict[str, Any]:
        """The links, columns, rows and stages as `origins.json` describes them."""
        found: dict[str, Any] = json.loads(self.files[DESCRIPTION].read_bytes())
        return found

    def kind(self, name: str) -> str | None:
        """Of which kind stage `name` is; None if it is an input."""
        stage = self.ways["stages"].get(name)
        return None if stage is None else str(stage["kind"])

    def behind(self, place: str, columns: Iterable[str]) -> tuple[Behind, ...]:
        """What is behind the values of `columns`, and the rows themselves, of a stage or of `TABLE`."""
        key = (place, frozenset(columns))
        if key not in self._links:
            self._links[key] = self._found_behind(*key)
        return self._links[key]

    def _found_behind(self, place: str, columns: frozenset[str]) -> tuple[Behind, ...]:
        ways = self.ways if place == TABLE else self.ways["stages"][place]
        found: dict[int, set[str]] = {}
        for origins in (ways["rows"], *(ways["columns"].get(name, {}) for name in sorted(columns))):
            for number, names in origins.items():
                found.setdefault(int(number), set()).update(names)
        links = {number: ways["links"][number] for number in sorted(found)}
        return tuple(
            Behind(tuple(link["columns"]), link["to"], frozenset(found[number])) for number, link in links.items()
        )

    def inputs_behind(self, link: Behind) -> frozenset[str]:
        """The inputs that a link leads to, straight or through stages."""
        if link not in self._inputs:
            self._inputs[link] = self._found_inputs(link)
        return self._inputs[link]

    def _found_inputs(self, link: Behind) -> frozenset[str]:
        if (kind := self.kind(link.to)) is None:
            return frozenset([link.to])
        columns = link.columns
        if kind == "past":
            if events := self.events(link.to):
                return frozenset([events])
            columns = frozenset[str]().union(*self.aggregates(link.to, columns).values())
        return frozenset[str]().union(*map(self.inputs_behind, self.behind(link.to, columns)))

    @cached_property
    def _links(self) -> dict[tuple[str, frozenset[str]], tuple[Behind, ...]]:
        return {}

    @cached_property
    def _inputs(self) -> dict[Behind, frozenset[str]]:
        return {}

    def array(self, place: str, column: str) -> np.ndarray:
        """A column of the links of a stage, or of `TABLE`: uint32, `NOWHERE` where it leads nowhere."""
        return self._arrays[f"{place}-{column}"]

    def groups(self, stage: str) -> tuple[np.ndarray, np.ndarray]:
        """The ids of the groups of a stage, ascending, and where the rows of each begin, with the end of all."""
        return self.array(stage, "ids"), self.array(stage, "offsets")

    def size(self, stage: str) -> int:
        """How many rows a window stage has."""
        return int(self.array(stage, "count")[0])

    # Looks into the past

    def aggregates(self, stage: str, names: Iterable[str] | None = None) -> dict[str, frozenset[str]]:
        """Of these names (of all, if None) those of aggregates, with the columns of the events that each looks at."""
        declared = self.ways["stages"][stage]["past"]["aggregates"]
        return {
            name: frozenset([*item["keys"], item["known_at"], *filter(None, [item["value"]])])
            for name, item in declared.items()
            if names is None or name in names
        }

    def windows(self, name: str, columns: frozenset[str]) -> frozenset[str]:
        """What of a place decides which rows are behind `columns` of it: of a look into the past not which aggregates
        they are, but of which events; of anything else the columns themselves."""
        if self.kind(name) != "past":
            return columns
        declared = self.ways["stages"][name]["past"]["aggregates"]
        told = {item: declared.get(item, {}) for item in columns}
        # All but the latest of several events count alike, whatever is made of them.
        return frozenset(
            json.dumps([*(said.get(part) for part in _WINDOW), said.get("agg") == "last"]) for said in told.values()
        )

    def events(self, stage: str) -> str | None:
        """The input that the events are as it stands, if they are."""
        found: str | None = self.ways["stages"][stage]["past"]["events"]
        return found

    def askers(self, stage: str) -> np.ndarray:
        """The ids of the rows that looked into the past, ascending."""
        return self.array(stage, "askers")

    def asked(self, stage: str, askers: np.ndarray) -> pl.DataFrame:
        """What rows of these ids asked: their keys and their time."""
        places = np.searchsorted(self.askers(stage), askers)
        return pl.DataFrame(pl.from_arrow(_mapped(self._folder / f"{stage}-asked.arrow").take(pa.array(places))))

    def some_events(self, stage: str, ordinals: np.ndarray) -> tuple[pl.DataFrame, np.ndarray]:
        """Events by their number (uint32), as they stand, of what is looked at in them; and their numbers."""
        wanted = sorted(frozenset[str]().union(*self.aggregates(stage).values()))
        scan = pl.scan_parquet(list(self._call(stage).files), row_index_name=_PLACE).select(_PLACE, *wanted)
        found = scan.filter(pl.col(_PLACE).is_in(pl.Series(ordinals).implode())).collect()
        return found.drop(_PLACE), found[_PLACE].to_numpy()

    def past(self, stage: str) -> Past:
        """The index that says which events counted for whom."""
        return _past(self.home, self._call(stage))

    def asking(self, stage: str) -> Asked:
        """The index that says for whom events counted."""
        return _asked(self.home, self._call(stage))

    def _call(self, stage: str) -> _Call:
        said = self.ways["stages"][stage]["past"]
        # Each time anew: an index that was removed is built again, and not of files that were damaged since.
        events = tuple(self.inputs(said["events"])) if said["events"] else (self.files[f"{stage}.parquet"],)
        if (stage, events) not in self._calls:
            asked, text = self.files[f"{stage}-asked.parquet"], json.dumps(said, sort_keys=True)
            self._calls[stage, events] = _Call(events, asked, text, self._name(stage, said, events))
        return self._calls[stage, events]

    @cached_property
    def _calls(self) -> dict[tuple[str, tuple[Path, ...]], _Call]:
        return {}

    def _name(self, stage: str, said: Mapping[str, Any], files: Iterable[Path]) -> str:
        """The name of the indexes of a look into the past: events that are an input are known by their files' names,
        which are digests in the cache, and elsewhere by when they were written."""
        if said["events"]:
            states = [(path.name, path.stat()) for path in files]
            events: list[Any] = [[name, state.st_size, state.st_mtime_ns] for name, state in states]
        else:
            events = [self.digests[f"{stage}.parquet"]]
        return json_digest([_FORMAT, said, events, self.digests[f"{stage}-asked.parquet"]])

    # Arrays

    @cached_property
    def _arrays(self) -> Mapping[str, np.ndarray]:
        return arrays(self._folder)

    @cached_property
    def _folder(self) -> Path:
        return index(self.home, json_digest([_FORMAT, dict(self.digests)]), self._unpack)

    def _unpack(self, folder: Path) -> None:
        _unpack_columns(folder, TABLE, pl.read_parquet(self.files[ROWS]))
        for name, stage in self.ways["stages"].items():
            if stage["kind"] == "past":
                asked = pl.read_parquet(self.files[f"{name}-asked.parquet"])
                save(folder, **{f"{name}-askers": asked[ASKER].to_numpy()})
                _write_whole(asked.drop(ASKER), folder / f"{name}-asked.arrow")
            if f"{name}.parquet" not in self.files:
                continue
            members = pl.read_parquet(self.files[f"{name}.parquet"])
            links = dict.fromkeys(column for link in stage["links"] for column in link["columns"])
            _unpack_columns(folder, name, members.select(list(links)))
            if stage["kind"] == "group":
                ids, begins = np.unique(members[GROUP].to_numpy(), return_index=True)
                save(folder, **{f"{name}-ids": ids, f"{name}-offsets": np.append(begins, members.height)})
            if stage["kind"] == "window":
                save(folder, **{f"{name}-count": np.array([members.height])})


def located(files: Iterable[FileVersion], find: Mapping[str, Path]) -> tuple[dict[str, Path], dict[str, str]]:
    """The paths and the digests of files by name, whose bytes `find` has by sha256; IntegrityError if some are gone."""
    paths, digests = {}, {}
    for file in files:
        if (path := find.get(file.sha256)) is None:
            message = f"{file.path}: the bytes of {file.sha256[:12]}… are gone, so rows cannot be followed through them"
            raise IntegrityError(f"{message}; run the step again.", file.path, file.sha256, None)
        name = file.path.rpartition("/")[2]
        paths[name], digests[name] = path, file.sha256
    return paths, digests


_PLACE = "__place"


class _Call(NamedTuple):
    """A look into the past: the files of its events and of what asked, what is declared, what its indexes are named."""

    files: tuple[Path, ...]
    asked: Path
    said: str
    name: str

    @property
    def declared(self) -> tuple[str, dict[str, History]]:
        said = json.loads(self.said)
        items = {name: History(**{**item, "keys": tuple(item["keys"])}) for name, item in said["aggregates"].items()}
        return said["at"], items

    @property
    def events(self) -> pl.LazyFrame:
        return pl.scan_parquet(list(self.files))

    @property
    def rows(self) -> pl.LazyFrame:
        return pl.scan_parquet(self.asked).drop(ASKER)


def _unpack_columns(folder: Path, place: str, frame: pl.DataFrame) -> None:
    for name in frame.columns:
        save(folder, **{f"{place}-{name}": frame[name].fill_null(int(NOWHERE)).cast(pl.UInt32).to_numpy()})


def _write_whole(frame: pl.DataFrame, path: Path) -> None:
    """The frame as one batch: to take rows from several takes a hundred times as long."""
    oldest = pl.CompatLevel.oldest()
    frame.write_ipc(path, compression="uncompressed", compat_level=oldest, record_batch_size=max(1, len(frame)))


@lru_cache(maxsize=64)
def _mapped(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


@lru_cache(maxsize=64)
def _past(home: Path, call: _Call) -> Past:
    at, aggregates = call.declared
    rows = call.rows.collect_schema()

    def build(folder: Path) -> None:
        Past.build(call.events, rows=rows, at=at, aggregates=aggregates, folder=folder)

    return Past.open(index(home, json_digest([call.name, "events"]), build))


@lru_cache(maxsize=64)
def _asked(home: Path, call: _Call) -> Asked:
    at, aggregates = call.declared
    events = call.events.collect_schema()

    def build(folder: Path) -> None:
        Asked.build(call.rows, events=events, at=at, aggregates=aggregates, folder=folder)

    return Asked.open(index(home, json_digest([call.name, "rows"]), build))
