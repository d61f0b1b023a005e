"""`context.data_sources.add_polars(name)`: Polars frames and files as data sources of Great Expectations.

Importing this module is all that it takes; a file context that has a Polars data source needs the
import before it is opened.
"""

from __future__ import annotations

import os
from typing import Any, ClassVar, Literal

from great_expectations.compatibility.pydantic import Field
from great_expectations.datasource.fluent.interfaces import DataAsset, Datasource

from validations.engine import PolarsExecutionEngine
from validations.sources.assets import PolarsAsset, PolarsFrameAsset
from validations.sources.file_assets import PolarsCSVAsset, PolarsParquetAsset


class PolarsDatasource(Datasource):  # type: ignore[misc]
    """Frames and files, read by Polars.

    A relative path starts at the context's root directory (a file context's `gx` folder), else at the
    working directory.
    """

    asset_types: ClassVar[list[type[DataAsset]]] = [PolarsFrameAsset, PolarsParquetAsset, PolarsCSVAsset]
    type: Literal["polars"] = "polars"
    assets: list[PolarsAsset] = Field(default_factory=list)

    @property
    def execution_engine_type(self) -> Any:
        """The engine that runs expectations on the batches: the class PolarsExecutionEngine."""
        return PolarsExecutionEngine

    def test_connection(self, test_assets: bool = True) -> None:
        """Tests the assets; there is nothing else to connect to."""
        if test_assets:
            for asset in self.assets:
                asset._datasource = self
                asset.test_connection()

    def add_dataframe_asset(self, name: str, **kwargs: Any) -> PolarsFrameAsset:
        """An asset for frames that each run brings along."""
        added: PolarsFrameAsset = self._add_asset(PolarsFrameAsset(name=name, **kwargs))
        return added

    def add_parquet_asset(
        self, name: str, path: str | os.PathLike[str], batch_metadata: dict[str, Any] | None = None, **options: Any
    ) -> PolarsParquetAsset:
        """An asset for a Parquet file, a folder of them, or a glob; `options` are those of polars.scan_parquet.

        Of a folder come its .parquet files, in sub-folders too; folders such as `year=2013` give columns.
        """
        asset = PolarsParquetAsset(name=name, path=path, **_given(batch_metadata, options))
        added: PolarsParquetAsset = self._add_asset(asset)
        return added

    def add_csv_asset(
        self, name: str, path: str | os.PathLike[str], batch_metadata: dict[str, Any] | None = None, **options: Any
    ) -> PolarsCSVAsset:
        """An asset for a CSV file, a folder of them, or a glob; `options` are those of polars.scan_csv."""
        asset = PolarsCSVAsset(name=name, path=path, **_given(batch_metadata, options))
        added: PolarsCSVAsset = self._add_asset(asset)
        return added

    def add_directory_parquet_asset(
        self, name: str, data_directory: str | os.PathLike[str], **options: Any
    ) -> PolarsParquetAsset:
        """A Parquet asset for a folder, under the name that GX's Spark data sources have for it."""
        return self.add_parquet_asset(name, data_directory, **options)

    def add_directory_csv_asset(
        self, name: str, data_directory: str | os.PathLike[str], **options: Any
    ) -> PolarsCSVAsset:
        """A CSV asset for a folder, under the name that GX's Spark data sources have for it."""
        return self.add_csv_asset(name, data_directory, **options)


def _given(batch_metadata: dict[str, Any] | None, options: dict[str, Any]) -> dict[str, Any]:
    # GX saves what was given; what was not stays out of its YAML.
    fields = {"batch_metadata": batch_metadata, "reader_options": options}
    return {field: value for field, value in fields.items() if value}
