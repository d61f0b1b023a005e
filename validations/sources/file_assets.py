"""Assets of a Polars data source that are files: Parquet or CSV, whole or parted into batches.

A batch is a lazy frame: a partition of it is a filter, or a choice of files.
"""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, ClassVar, Literal

import polars as pl
from great_expectations.compatibility import pydantic
from great_expectations.core.batch_definition import BatchDefinition
from great_expectations.core.batch_spec import BatchSpec
from great_expectations.core.id_dict import IDDict
from great_expectations.datasource.fluent.batch_request import BatchRequest
from great_expectations.datasource.fluent.data_asset.path.file_asset import PathNotFoundError
from great_expectations.datasource.fluent.interfaces import Batch, TestConnectionError
from great_expectations.exceptions import InvalidBatchRequestError
from great_expectations.exceptions.exceptions import NoAvailableBatchesError

from validations.sources import files, partitions
from validations.sources.assets import PolarsAsset


class ScanSpec(BatchSpec):  # type: ignore[misc]
    """How a batch is read, in words that can be written as JSON; `scan()` is its frame."""

    def __init__(self, frame: pl.LazyFrame, words: Mapping[str, Any]) -> None:
        super().__init__(words)
        self._frame = frame

    def scan(self) -> pl.LazyFrame:
        """The rows of the batch, lazily."""
        return self._frame


class FileNotInAssetError(PathNotFoundError):  # type: ignore[misc]
    """GX's PathNotFoundError, with the files that there are."""

    def __init__(self, path: str, asset: str, names: Sequence[str]) -> None:
        there = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
        ValueError.__init__(self, f"The asset {asset!r} has no file {path!r}; give a name relative to it: {there}.")
        self.path = path


class PolarsFileAsset(PolarsAsset):
    """A file, the files of a folder, or those that a glob matches."""

    reader: ClassVar[files.Reader]
    path: str
    reader_options: dict[str, Any] = pydantic.Field(default_factory=dict)

    @pydantic.validator("path", pre=True)  # type: ignore[untyped-decorator]
    def _path_as_text(cls, path: str | os.PathLike[str]) -> str:  # noqa: N805 - pydantic's way
        return os.fspath(path)

    @pydantic.validator("reader_options", pre=True)  # type: ignore[untyped-decorator]
    def _known_options(cls, given: Any) -> dict[str, Any]:  # noqa: N805 - pydantic's way
        return cls.reader.options(given)

    def frame(self) -> pl.LazyFrame:
        """The rows of the whole asset, lazily; TestConnectionError if nothing is there or a CSV row is wrong."""
        return self._open_checked(self._files())

    def test_connection(self) -> None:
        """Finds the files and reads the schema; TestConnectionError says what is wrong."""
        self._open(self._files())

    def add_batch_definition_whole(self, name: str) -> BatchDefinition:
        """A batch definition for all rows of all files."""
        return self.add_batch_definition(name=name, partitioner=None)

    def add_batch_definition_whole_directory(self, name: str) -> BatchDefinition:
        """The same as `add_batch_definition_whole`, under GX's name for it."""
        return self.add_batch_definition_whole(name)

    def add_batch_definition_path(self, name: str, path: str | os.PathLike[str]) -> BatchDefinition:
        """A batch definition for one file, by its name relative to the asset; PathNotFoundError without it."""
        file = PurePath(path).as_posix()
        names = self._files().names
        if file not in names:
            raise FileNotInAssetError(file, self.name, names)
        return self.add_batch_definition(name=name, partitioner=partitions.by_path(file))

    def add_batch_definition_yearly(
        self,
        name: str,
        regex: str | re.Pattern[str] | None = None,
        sort_ascending: bool = True,
        *,
        column: str | None = None,
    ) -> BatchDefinition:
        """A batch a year: by names of files (`regex` with the group `year`), or by a `column` of dates."""
        return self._add_parted(name, partitions.YEARLY, regex, column, sort_ascending)

    def add_batch_definition_monthly(
        self,
        name: str,
        regex: str | re.Pattern[str] | None = None,
        sort_ascending: bool = True,
        *,
        column: str | None = None,
    ) -> BatchDefinition:
        """A batch a month: by names of files (groups `year`, `month`), or by a `column` of dates."""
        return self._add_parted(name, partitions.MONTHLY, regex, column, sort_ascending)

    def add_batch_definition_daily(
        self,
        name: str,
        regex: str | re.Pattern[str] | None = None,
        sort_ascending: bool = True,
        *,
        column: str | None = None,
    ) -> BatchDefinition:
        """A batch a day: by names of files (groups `year`, `month`, `day`), or by a `column` of dates."""
        return self._add_parted(name, partitions.DAILY, regex, column, sort_ascending)

    def get_batch_parameters_keys(self, partitioner: Any = None) -> tuple[str, ...]:
        """The names of the batch parameters: `path` for files, `year` and so on for parts."""
        return partitions.parameters(partitioner)

    def build_batch_request(
        self, options: dict[str, Any] | None = None, batch_slice: Any = None, partitioner: Any = None
    ) -> BatchRequest:
        """A request for a batch; InvalidBatchRequestError for parameters that the asset does not have."""
        keys = self.get_batch_parameters_keys(partitioner)
        for key, value in (options or {}).items():
            if key not in keys:
                raise InvalidBatchRequestError(
                    f"{self._named()} has no batch parameter {key!r} here; it has {', '.join(keys)}."
                )
            whole = isinstance(value, int) and not isinstance(value, bool)
            written = isinstance(value, str) and (key == partitions.PATH or value.isdecimal())
            if value is not None and not whole and not written and not isinstance(value, os.PathLike):
                raise InvalidBatchRequestError(f"The batch parameter {key!r} must be a whole number, not {value!r}.")
        return BatchRequest(
            datasource_name=self.datasource.name,
            data_asset_name=self.name,
            options=dict(options or {}),
            batch_slice=batch_slice,
            partitioner=partitioner,
        )

    def get_batch_identifiers_list(self, batch_request: BatchRequest) -> list[dict[str, Any]]:
        """The batches that exist and match the request, in order; by column, one scan of it tells them."""
        self._validate_batch_request(batch_request)
        return [IDDict(batch) for batch in self._batches(batch_request, self._files())]

    def get_batch(self, batch_request: BatchRequest) -> Batch:
        """The last batch that matches the request: a lazy frame; NoAvailableBatchesError if none does."""
        self._validate_batch_request(batch_request)
        found = self._files()
        batches = self._batches(batch_request, found)
        if not batches:
            raise NoAvailableBatchesError(
                f"{self._named()} has no batch for {self._asked(batch_request) or 'any parameters'}; "
                "get_batch_identifiers_list() of the batch definition lists those that exist."
            )
        chosen = batches[-1]
        request = copy.deepcopy(batch_request)
        request.options.update(chosen)
        return self._batch(request, self._spec(found, request.partitioner, chosen))

    def _add_parted(
        self, name: str, parts: tuple[str, ...], regex: Any, column: str | None, ascending: bool
    ) -> BatchDefinition:
        if (regex is None) == (column is None):
            raise ValueError(
                f"The batch definition {name!r} needs `regex` (names of files) or `column` (dates in rows): give one."
            )
        if column is None:
            return self.add_batch_definition(name=name, partitioner=partitions.by_name(parts, regex, ascending))
        try:
            partitions.require_dates(self._open(self._files()), column)
        except ValueError as error:
            raise ValueError(f"{self._named()}: {error}.") from error
        return self.add_batch_definition(name=name, partitioner=partitions.by_column(parts, column, ascending))

    def _batches(self, batch_request: BatchRequest, found: files.Files) -> list[dict[str, Any]]:
        partitioner, asked = batch_request.partitioner, self._asked(batch_request)
        if partitioner is None:
            batches = partitions.matching([{partitions.PATH: self.path}], asked)
        elif partitions.is_by_name(partitioner):
            batches = partitions.matching(partitions.batches_of_names(found.names, partitioner), asked)
        else:
            batches = self._dated(found, lambda frame: partitions.batches_of_column(frame, partitioner, asked))
        return partitions.ordered(batches, partitioner)[batch_request.batch_slice]

    def _spec(self, found: files.Files, partitioner: Any, batch: Mapping[str, Any]) -> ScanSpec:
        words = {
            "path": self.path,
            "reader_method": self.reader.method,
            "reader_options": self.reader_options,
            "batch_identifiers": dict(batch),
        }
        if partitioner is None:
            return ScanSpec(self._open_checked(found), words)
        if partitions.is_by_name(partitioner):
            return ScanSpec(self._open_checked(found, [batch[partitions.PATH]]), words)
        self._open_checked(found)
        frame = self._dated(found, lambda whole: whole.filter(partitions.within(whole, partitioner, batch)))
        return ScanSpec(frame, words | {"partitioner_kwargs": {"column_name": partitioner.column_name}})

    def _dated(self, found: files.Files, ask: Any) -> Any:
        try:
            return ask(self._open(found))
        except ValueError as error:
            raise InvalidBatchRequestError(f"{self._named()}: {error}.") from error

    @staticmethod
    def _asked(batch_request: BatchRequest) -> dict[str, Any]:
        # As in GX, None asks for nothing.
        given = {key: value for key, value in batch_request.options.items() if value is not None}
        return {key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in given.items()}

    def _files(self) -> files.Files:
        context = self.datasource.data_context
        root = context.root_directory if context is not None else None
        try:
            return files.find(self.path, self.reader.suffix, [*([Path(root)] if root else []), Path.cwd()])
        except (ValueError, OSError) as error:
            raise TestConnectionError(f"{self._named()} cannot be read: {error}.") from error

    def _open(self, found: files.Files, names: Sequence[str] | None = None) -> pl.LazyFrame:
        return self._opened(self.reader.open, found, names)

    def _open_checked(self, found: files.Files, names: Sequence[str] | None = None) -> pl.LazyFrame:
        return self._opened(self.reader.open_checked, found, names)

    def _opened(self, opening: Any, found: files.Files, names: Sequence[str] | None) -> pl.LazyFrame:
        try:
            return opening(found, names, self.reader_options)  # type: ignore[no-any-return]
        except (ValueError, OSError) as error:
            raise TestConnectionError(f"{self._named()} cannot be read: {error}.") from error

    def _named(self) -> str:
        return f"The asset {self.name!r} of the data source {self.datasource.name!r}"


class PolarsParquetAsset(PolarsFileAsset):
    """Parquet files, read with polars.scan_parquet."""

    reader = files.PARQUET
    type: Literal["parquet"] = "parquet"

    class Config:
        extra = pydantic.Extra.forbid


class PolarsCSVAsset(PolarsFileAsset):
    """CSV files, read with polars.scan_csv."""

    reader = files.CSV
    type: Literal["csv"] = "csv"

    class Config:
        extra = pydantic.Extra.forbid
