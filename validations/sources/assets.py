"""Assets of a Polars data source: what all of them share, and those whose frames a run brings along.

What GX keeps of a batch (names, metadata, batch spec) is plain JSON and never holds the frame.
"""

from __future__ import annotations

import copy
from typing import Any, Literal

from great_expectations.compatibility import pydantic
from great_expectations.core.batch import LegacyBatchDefinition
from great_expectations.core.batch_definition import BatchDefinition
from great_expectations.core.batch_spec import BatchSpec
from great_expectations.datasource.fluent.batch_identifier_util import make_batch_identifier
from great_expectations.datasource.fluent.batch_request import BatchRequest
from great_expectations.datasource.fluent.interfaces import Batch, DataAsset
from great_expectations.exceptions import InvalidBatchRequestError
from great_expectations.exceptions.exceptions import BuildBatchRequestError, NoAvailableBatchesError

from validations.engine import lazy_frame
from validations.sources import partitions

FRAME = "dataframe"
# What results of every data source of GX have here.
CONNECTOR = "fluent"


class PolarsAsset(DataAsset):  # type: ignore[misc]
    """What all assets of a Polars data source share."""

    class Config:
        # GX reads an asset from disk as this class first, then as the kind that its `type` names.
        extra = pydantic.Extra.allow

    def test_connection(self) -> None:
        """Nothing to connect to."""

    def get_batch_parameters_keys(self, partitioner: Any = None) -> tuple[str, ...]:
        """The names of the batch parameters that a run may give."""
        raise NotImplementedError

    # GX's methods are abstract, and GX makes an object of this class when it reads an asset from disk.
    def get_batch_identifiers_list(self, batch_request: BatchRequest) -> list[dict[str, Any]]:
        """The batches that match a request."""
        raise NotImplementedError

    def get_batch(self, batch_request: BatchRequest) -> Batch:
        """The last batch that matches a request."""
        raise NotImplementedError

    def _validate_batch_request(self, batch_request: BatchRequest) -> None:
        asked, own = (batch_request.datasource_name, batch_request.data_asset_name), (self.datasource.name, self.name)
        if asked != own:
            raise InvalidBatchRequestError(f"A batch request for the asset {asked} was put to the asset {own}.")

    def _batch(self, batch_request: BatchRequest, spec: BatchSpec) -> Batch:
        data, markers = self.datasource.get_execution_engine().get_batch_data_and_markers(batch_spec=spec)
        # The frame itself is no part of a batch's name, nor of what is written about it.
        metadata = self._get_batch_metadata_from_batch_request(batch_request=batch_request, ignore_options=(FRAME,))
        definition = LegacyBatchDefinition(
            datasource_name=self.datasource.name,
            data_connector_name=CONNECTOR,
            data_asset_name=self.name,
            batch_identifiers=make_batch_identifier(batch_request.options),
            batch_spec_passthrough=None,
        )
        return Batch(
            datasource=self.datasource,
            data_asset=self,
            batch_request=batch_request,
            data=data,
            metadata=metadata,
            batch_markers=markers,
            batch_spec=spec,
            batch_definition=definition,
        )


class PolarsFrameAsset(PolarsAsset):
    """A DataFrame or LazyFrame that each run brings as the batch parameter `dataframe`."""

    type: Literal["dataframe"] = "dataframe"

    class Config:
        extra = pydantic.Extra.forbid

    def add_batch_definition_whole_dataframe(self, name: str) -> BatchDefinition:
        """A batch definition for the whole frame."""
        return self.add_batch_definition(name=name, partitioner=None)

    def add_batch_definition_yearly(self, name: str, column: str, sort_ascending: bool = True) -> BatchDefinition:
        """A batch a year, by a column of dates."""
        return self._add_parted(name, partitions.YEARLY, column, sort_ascending)

    def add_batch_definition_monthly(self, name: str, column: str, sort_ascending: bool = True) -> BatchDefinition:
        """A batch a month, by a column of dates."""
        return self._add_parted(name, partitions.MONTHLY, column, sort_ascending)

    def add_batch_definition_daily(self, name: str, column: str, sort_ascending: bool = True) -> BatchDefinition:
        """A batch a day, by a column of dates."""
        return self._add_parted(name, partitions.DAILY, column, sort_ascending)

    def get_batch_parameters_keys(self, partitioner: Any = None) -> tuple[str, ...]:
        """`dataframe`, and `year` and so on for parts of it."""
        return (FRAME, *(partitions.parameters(partitioner) if partitioner else ()))

    def build_batch_request(
        self, options: dict[str, Any] | None = None, batch_slice: Any = None, partitioner: Any = None
    ) -> BatchRequest:
        """A request for the frame under `dataframe`, or a part of it; BuildBatchRequestError for anything else."""
        keys = self.get_batch_parameters_keys(partitioner)
        given = dict(options or {})
        if given.get(FRAME) is None or not set(given) <= set(keys):
            more = f", beside it {', '.join(keys[1:])}" if keys[1:] else ", and nothing else"
            raise BuildBatchRequestError(
                f'the asset {self.name!r} needs its frame{more}; run with batch_parameters={{"{FRAME}": frame}}.'
            )
        try:
            lazy_frame(given[FRAME])
        except TypeError as error:
            raise BuildBatchRequestError(f"the asset {self.name!r} got a wrong {FRAME!r}: {error}") from error
        return BatchRequest(
            datasource_name=self.datasource.name,
            data_asset_name=self.name,
            options=given,
            batch_slice=batch_slice,
            partitioner=partitioner,
        )

    def get_batch_identifiers_list(self, batch_request: BatchRequest) -> list[dict[str, Any]]:
        """The batches that match the request, named without their frame."""
        return [make_batch_identifier({**batch_request.options, **batch}) for batch in self._batches(batch_request)]

    def get_batch(self, batch_request: BatchRequest) -> Batch:
        """The frame that the request brings, or the last part that matches; NoAvailableBatchesError if none does."""
        self._validate_batch_request(batch_request)
        batches = self._batches(batch_request)
        if not batches:
            raise NoAvailableBatchesError(f"The frame given to the asset {self.name!r} has no such batch.")
        frame, partitioner, chosen = lazy_frame(batch_request.options[FRAME]), batch_request.partitioner, batches[-1]
        if partitioner is not None:
            frame = frame.filter(partitions.within(frame, partitioner, chosen))
        request = copy.copy(batch_request)
        request.options = {**batch_request.options, **chosen}
        return self._batch(request, BatchSpec(batch_data=frame))

    def _add_parted(self, name: str, parts: tuple[str, ...], column: str, ascending: bool) -> BatchDefinition:
        return self.add_batch_definition(name=name, partitioner=partitions.by_column(parts, column, ascending))

    def _batches(self, batch_request: BatchRequest) -> list[dict[str, Any]]:
        if (partitioner := batch_request.partitioner) is None:
            return [{}]
        asked = {key: value for key, value in batch_request.options.items() if key != FRAME and value is not None}
        try:
            found = partitions.batches_of_column(lazy_frame(batch_request.options[FRAME]), partitioner, asked)
        except ValueError as error:
            raise InvalidBatchRequestError(f"The frame given to the asset {self.name!r}: {error}.") from error
        return partitions.ordered(found, partitioner)[batch_request.batch_slice]
