"""The timelines of one frame in a folder: written once, then only mapped and searched."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from lineage.errors import NotFoundError
from lineage.tracing.dictionary import Array, Dictionary
from lineage.tracing.timeline import Timeline, in_order

_CONTENTS = "index.json"
# Counted up with every change of what the files hold.
FORMAT = 1
_Moment = tuple[tuple[str, ...], str]
_MOST_ROWS = 2**32 - 1


class Series(NamedTuple):
    """The rows of a frame that have `keys` and a time, and a value in the column `value` if one is named."""

    keys: tuple[str, ...]
    time: str
    value: str | None = None


class Timelines:
    """The timelines in `folder`; NotFoundError if there are none, or of another format."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            contents = json.loads((folder / _CONTENTS).read_bytes())
        except FileNotFoundError as error:
            raise NotFoundError(f"{folder} holds no index; build it.") from error
        if contents["format"] != FORMAT:
            raise NotFoundError(f"{folder} is an index of format {contents['format']}; remove it and build it again.")
        self._keys: list[str] = contents["keys"]
        self._timelines = _timelines(folder, [(tuple(keys), time) for keys, time in contents["timelines"]])
        self._gaps = {Series(tuple(keys), time, value): name for keys, time, value, name in contents["gaps"]}
        self._dictionaries: dict[str, Dictionary] = {}

    @classmethod
    def build(
        cls,
        frame: pl.LazyFrame,
        *,
        keys: Mapping[str, pl.Expr],
        times: Mapping[str, pl.Expr],
        series: Iterable[Series],
        folder: Path,
    ) -> Timelines:
        """Write the timelines that `series` need into `folder`; `keys` are comparable, `times` instants.

        The frame is computed once for each of its columns, so that few are held at once. The file that is written
        last says that all are there; who needs a folder to be whole or absent writes into a private one.
        """
        wanted = list(dict.fromkeys(series))
        timelines = _timelines(folder, list(dict.fromkeys((one.keys, one.time) for one in wanted)))
        codes = {
            key: Dictionary.build(_column(frame, expression), _dictionary(folder, place))
            for place, (key, expression) in enumerate(keys.items())
        }
        for time, expression in times.items():
            _build_timelines(_column(frame, expression), codes, [at for at in timelines.items() if at[0][1] == time])
        gaps = [(*one, name) for one, name in _gaps(frame, wanted, timelines)]
        contents = {"format": FORMAT, "keys": list(keys), "timelines": list(timelines), "gaps": gaps}
        (folder / _CONTENTS).write_text(json.dumps(contents))
        return cls(folder)

    def settled(self, series: Series) -> Series:
        """The series with the same rows that names no value, if no row lacks it."""
        return series if series in self._gaps else series._replace(value=None)

    def timeline(self, series: Series) -> Timeline:
        """The rows of a series, and others that lack its value."""
        return self._timelines[series.keys, series.time]

    def kept(self, series: Series) -> Array | None:
        """At which places of its timeline (uint32, ascending) rows have its value; None if they all have."""
        return self.timeline(series).kept(self._gaps[series]) if series in self._gaps else None

    def codes(self, key: str, column: pl.Series) -> Array:
        """The code (uint32) of each of these values of a key, which are comparable."""
        if key not in self._dictionaries:
            self._dictionaries[key] = Dictionary.open(_dictionary(self._folder, self._keys.index(key)))
        return self._dictionaries[key].codes(column)


def _timelines(folder: Path, wanted: Sequence[_Moment]) -> dict[_Moment, Timeline]:
    return {one: Timeline(folder / f"timeline{place}", len(one[0])) for place, one in enumerate(wanted)}


def _build_timelines(
    when: pl.Series, codes: Mapping[str, Array], timelines: Sequence[tuple[_Moment, Timeline]]
) -> None:
    """Those of one time, by which rows are sorted but once."""
    if len(when) > _MOST_ROWS:
        raise ValueError(f"{len(when)} rows are more than 32 bits can number; index the files apart")
    instants = when.to_physical().fill_null(0).to_numpy()
    order = in_order(instants, when.is_not_null().to_numpy())
    for (keys, _), timeline in timelines:
        timeline.build([codes[key] for key in keys], instants, order)


def _gaps(
    frame: pl.LazyFrame, wanted: Sequence[Series], timelines: Mapping[_Moment, Timeline]
) -> Iterator[tuple[Series, str]]:
    """Series of which rows lack the value, with the name of the places where they have it."""
    for place, value in enumerate(dict.fromkeys(one.value for one in wanted if one.value is not None)):
        present = _column(frame, pl.col(value).is_not_null()).to_numpy()
        for one in wanted:
            if one.value == value and timelines[one.keys, one.time].save_gaps(f"kept{place}", present):
                yield one, f"kept{place}"


def _column(frame: pl.LazyFrame, expression: pl.Expr) -> pl.Series:
    return frame.select(expression).collect().to_series()


def _dictionary(folder: Path, place: int) -> Path:
    return folder / f"key{place}.arrow"
