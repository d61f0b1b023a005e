"""Assets of a Polars data source: what all of them share, and those whose frames a run brings along.

What GX keeps of a batch (names, metadata, batch spec) is plain JSON and never holds the frame.
"""

from __future__ import annotations

from typing import Any, Literal

from great_expectations.compatibility import pydantic
from great_expectations.core.batch import LegacyBatchDefinition
from great_expectations.core.batch_definition import BatchDefinition
from great_expectations.core.batch_spec import BatchSpec
from great_expectations.datasource.fluent.batch_identifier_util import make_batch_identifier
from great_expectations.datasource.fluent.batch_request import BatchRequest
from great_expectations.datasource.fluent.interfaces import Batch, DataAsset
from great_expectations.exceptions import InvalidBatchRequestError
from great_expectations.exceptions.exceptions import BuildBatchRequestError

from validations.engine import lazy_frame

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

    def get_batch_parameters_keys(self, partitioner: Any = None) -> tuple[str, ...]:  # noqa: ARG002 - GX's signature
        """`dataframe`."""
        return (FRAME,)

    def build_batch_request(
        self, options: dict[str, Any] | None = None, batch_slice: Any = None, partitioner: Any = None
    ) -> BatchRequest:
        """A request for the frame under `dataframe`; BuildBatchRequestError for anything else."""
        if batch_slice is not None or partitioner is not None:
            raise BuildBatchRequestError(f"the asset {self.name!r} has one batch, which is neither sliced nor parted.")
        if not options or set(options) != {FRAME} or options[FRAME] is None:
            raise BuildBatchRequestError(
                f"the asset {self.name!r} needs its frame, and nothing else; "
                f'run with batch_parameters={{"{FRAME}": frame}}.'
            )
        try:
            lazy_frame(options[FRAME])
        except TypeError as error:
            raise BuildBatchRequestError(f"the asset {self.name!r} got a wrong {FRAME!r}: {error}") from error
        return BatchRequest(datasource_name=self.datasource.name, data_asset_name=self.name, options=options)

    def get_batch_identifiers_list(self, batch_request: BatchRequest) -> list[dict[str, Any]]:
        """One batch, named without its frame."""
        return [make_batch_identifier(batch_request.options)]

    def get_batch(self, batch_request: BatchRequest) -> Batch:
        """The batch of the frame that the request brings."""
        self._validate_batch_request(batch_request)
        return self._batch(batch_request, BatchSpec(batch_data=batch_request.options[FRAME]))
