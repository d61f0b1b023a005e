"""Files that a data source reads: where a path leads, and how Polars opens what is there.

Nothing here knows Great Expectations. Wrong paths and options are ValueErrors whose text says what to do.
"""

from __future__ import annotations

import ast
import glob
import inspect
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path, PurePath
from typing import Any

import polars as pl

from validations import csv_rows

# What JSON cannot hold, what must not be saved, and what is decided by the asset's path.
_NOT_OPTIONS = frozenset(
    {"source", "glob", "hidden_file_prefix", "with_column_names", "cast_options", "cache"}
    | {"storage_options", "credential_provider", "decryption"}
)
_DTYPE_OPTIONS = ("schema", "schema_overrides", "hive_schema")


@dataclass(frozen=True)
class Files:
    """Files below a root, by their sorted names relative to it; `folder` tells that the path is that root."""

    root: Path
    names: tuple[str, ...]
    folder: bool = False

    def paths(self, names: Sequence[str] | None = None) -> list[Path]:
        """The files of these names, else all."""
        return [self.root / name for name in (self.names if names is None else names)]

    @property
    def hive_keys(self) -> frozenset[str]:
        """The keys of folders such as `year=2013` below the root."""
        return frozenset(_keys(part for name in self.names for part in PurePath(name).parent.parts))


@dataclass(frozen=True)
class Reader:
    """One of Polars' scans, the files of a folder that it takes, and what must be true of each."""

    method: str
    format: str
    suffix: str

    def options(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Options of the scan in their JSON form (data types as text); ValueError for one that it does not have."""
        known = [name for name in inspect.signature(self._scan).parameters if self._is_option(name)]
        for name in given:
            if name not in known:
                near = get_close_matches(name, known)
                hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(known)}."
                raise ValueError(f"polars.{self.method} has no option {name!r} that can be saved; {hint}")
        return {name: _saved(name, value) for name, value in given.items()}

    def open(self, files: Files, names: Sequence[str] | None, options: Mapping[str, Any]) -> pl.LazyFrame:
        """The rows of these files (else of all), of which only the schema is read; ValueError for other files."""
        paths = files.paths(names)
        loaded = {name: _loaded(name, value) for name, value in options.items()}
        hive = self.format == "Parquet" and files.folder and loaded.get("hive_partitioning", bool(files.hive_keys))
        if self.format == "Parquet":
            _require_parquet(paths)
        try:
            if self.format == "CSV":
                _require_distinct_names(paths, loaded)
            frame: pl.LazyFrame = self._scan(paths, **loaded | ({"hive_partitioning": True} if hive else {}))
            columns = frame.collect_schema().names()
        except (pl.exceptions.PolarsError, OSError, TypeError) as error:
            raise self._unreadable(paths, _first_line(error)) from error
        # Polars also takes `key=value` folders above the root for partitions.
        above = _keys(files.root.parts) - files.hive_keys if hive else set()
        return frame.drop(above.intersection(columns)) if above else frame

    def open_checked(self, files: Files, names: Sequence[str] | None, options: Mapping[str, Any]) -> pl.LazyFrame:
        """The same rows as `open`, of which each field of a CSV file has been read once; ValueError names a wrong one.

        Later passes skip the columns that nobody asks about, and with them what is wrong there.
        """
        frame = self.open(files, names, options)
        if self.format != "CSV":
            return frame
        paths, loaded = files.paths(names), {name: _loaded(name, value) for name, value in options.items()}
        try:
            return csv_rows.readable_rows(frame, paths, loaded)
        except pl.exceptions.PolarsError as error:
            raise self._wrong_rows(paths, frame.collect_schema(), loaded, error) from error

    def _wrong_rows(
        self, paths: Sequence[Path], schema: pl.Schema, options: Mapping[str, Any], error: Exception
    ) -> ValueError:
        for path in paths:
            if len(paths) > 1:
                try:
                    csv_rows.readable_rows(self._scan(path, **{**options, "schema": schema}), [path], options)
                except pl.exceptions.PolarsError as found:
                    if _first_line(found) != _first_line(error):
                        continue
                else:
                    continue
            return self._unreadable([path], csv_rows.told(path, options, error))
        return self._unreadable(paths, _first_line(error))

    def _unreadable(self, paths: Sequence[Path], said: str) -> ValueError:
        return ValueError(
            f"Polars cannot read {_listed(paths)} as {self.format} ({said}); "
            "look at the file, or at the asset's reader options"
        )

    @property
    def _scan(self) -> Callable[..., pl.LazyFrame]:
        scan: Callable[..., pl.LazyFrame] = getattr(pl, self.method)
        return scan

    @staticmethod
    def _is_option(name: str) -> bool:
        return not name.startswith("_") and name not in _NOT_OPTIONS


PARQUET = Reader("scan_parquet", "Parquet", ".parquet")
CSV = Reader("scan_csv", "CSV", ".csv")


def find(path: str, suffix: str, bases: Sequence[Path]) -> Files:
    """The file, the files of the folder, or those that the glob matches; ValueError where there is none.

    A relative path starts at the first base that has it. Of a folder come all files with the suffix, in
    sub-folders too, save hidden ones: any part of the name that begins with a dot or an underscore.
    """
    if "://" in path:
        raise ValueError(f"{path!r} is no local path: scan it with Polars and give the frame to a dataframe asset")
    expanded = Path(path).expanduser()
    for place in [expanded] if expanded.is_absolute() else [base / expanded for base in bases]:
        if place.is_file():
            return Files(place.parent.absolute(), (place.name,))
        if place.is_dir():
            return Files(place.absolute(), _files_of(place, path, suffix), folder=True)
        if found := _matched(place):
            return found
    looked = "" if expanded.is_absolute() else f" in {' or in '.join(str(base) for base in bases)}"
    raise ValueError(f"there is no file or folder {path!r}{looked}: correct `path`, or write the data first")


def dtype(text: str) -> pl.DataType | type[pl.DataType]:
    """The Polars data type that prints as this text, such as `Datetime('us', 'UTC')`; ValueError for others."""
    try:
        found: pl.DataType | type[pl.DataType] = _dtype(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{text!r} is no data type of Polars; write it as Polars prints it, such as Int64 or Datetime('us', 'UTC')."
        ) from error
    return found


def _dtype(node: ast.expr) -> Any:
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "pl":
        node = ast.Name(node.attr)
    if isinstance(node, ast.Name):
        found = getattr(pl, node.id, None)
        if isinstance(found, type) and issubclass(found, pl.DataType):
            return found
        raise ValueError(node.id)
    if isinstance(node, ast.Call):
        named = {word.arg: _dtype(word.value) for word in node.keywords if word.arg}
        return _dtype(node.func)(*map(_dtype, node.args), **named)
    if isinstance(node, ast.Dict):
        return {ast.literal_eval(key): _dtype(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    return ast.literal_eval(node)


def _saved(name: str, value: Any) -> Any:
    if name in _DTYPE_OPTIONS and isinstance(value, Mapping):
        value = {column: str(kind) for column, kind in value.items()}
        for kind in value.values():
            dtype(kind)
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"The option {name!r} cannot be saved as JSON ({error}); "
            "scan the files with Polars and give the frame to a dataframe asset."
        ) from error


def _loaded(name: str, value: Any) -> Any:
    if name in _DTYPE_OPTIONS and isinstance(value, Mapping):
        return {column: dtype(kind) for column, kind in value.items()}
    return value


def _files_of(folder: Path, path: str, suffix: str) -> tuple[str, ...]:
    names = (file.relative_to(folder) for file in folder.rglob(f"*{suffix}") if file.is_file())
    kept = sorted(name.as_posix() for name in names if not any(part.startswith((".", "_")) for part in name.parts))
    if not kept:
        raise ValueError(
            f"the folder {path!r} ({folder.absolute()}) has no {suffix} file: "
            "write the data first, or give a glob for files of other names"
        )
    return tuple(kept)


def _matched(place: Path) -> Files | None:
    fixed = [at for at, part in enumerate(place.parts) if glob.has_magic(part)]
    if not fixed:
        return None
    root, pattern = Path(*place.parts[: fixed[0]]), str(Path(*place.parts[fixed[0] :]))
    # Path.glob finds no files for `**` before Python 3.13.
    names = (name for name in glob.glob(pattern, root_dir=root, recursive=True) if (root / name).is_file())  # noqa: PTH207
    kept = tuple(sorted(PurePath(name).as_posix() for name in names))
    return Files(root.absolute(), kept) if kept else None


def _require_parquet(paths: Sequence[Path]) -> None:
    # Polars' own error does not say which of many files it means.
    for path in paths:
        with path.open("rb") as file:
            start = file.read(4)
        if start not in (b"PAR1", b"PARE"):
            raise ValueError(f"{path} is no Parquet file: correct `path`, or write the file again")


def _require_distinct_names(paths: Sequence[Path], options: Mapping[str, Any]) -> None:
    for path in paths:
        try:
            csv_rows.require_distinct_names(path, options)
        except ValueError as error:
            raise ValueError(f"{path} is no table ({error})") from error


def _keys(parts: Iterator[str] | Sequence[str]) -> set[str]:
    return {part.partition("=")[0] for part in parts if "=" in part}


def _listed(paths: Sequence[Path]) -> str:
    return str(paths[0]) if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
