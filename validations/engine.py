"""Great Expectations on Polars: an execution engine whose batches are lazy frames.

`import validations.engine` teaches GX the engine and its metrics; nothing else of Headwater is
loaded. GX hands over all numbers of a run at once, and one streaming pass answers them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
from great_expectations.core.batch import BatchData, BatchMarkers
from great_expectations.exceptions import MetricResolutionError, ValidationError
from great_expectations.execution_engine import ExecutionEngine
from great_expectations.execution_engine.execution_engine import MetricComputationConfiguration

import validations.expectations
import validations.metrics  # noqa: F401 - both teach GX this engine
from validations.conditions import row_filter
from validations.elsewhere import asset_frame
from validations.scan import scan

# A panic within Polars is no Exception.
FAILURES = (Exception, pl.exceptions.PanicException)


class PolarsBatchData(BatchData):  # type: ignore[misc]
    """A lazy frame and its schema, as GX keeps the data of a batch."""

    def __init__(self, engine: PolarsExecutionEngine, frame: pl.LazyFrame) -> None:
        super().__init__(execution_engine=engine)
        self.frame = frame
        self.schema = frame.collect_schema()

    @property
    def dataframe(self) -> pl.LazyFrame:
        """The frame, under the name that GX's own engines use."""
        return self.frame


class PolarsExecutionEngine(ExecutionEngine):  # type: ignore[misc]
    """Runs expectations on Polars frames.

    Float NaN is missing, as null is. All counts and aggregates of a run are one streaming pass; the
    rows of expectations that failed are a second one.
    """

    def load_batch_data(self, batch_id: str, batch_data: Any) -> None:
        """Keeps a DataFrame, a LazyFrame or a PolarsBatchData under a batch id; TypeError for anything else."""
        if not isinstance(batch_data, PolarsBatchData):
            batch_data = PolarsBatchData(self, lazy_frame(batch_data))
        super().load_batch_data(batch_id=batch_id, batch_data=batch_data)

    def get_batch_data_and_markers(self, batch_spec: Any) -> tuple[PolarsBatchData, BatchMarkers]:
        """The batch that a spec describes: a frame under `batch_data`, or a scan that the spec's `scan()` opens."""
        loaded = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        if "batch_data" in batch_spec:
            frame = lazy_frame(batch_spec.pop("batch_data"))
            # The spec is written into results as JSON; the frame itself has no place there.
            batch_spec["batch_data"] = "PolarsLazyFrame"
        else:
            frame = batch_spec.scan()
        return PolarsBatchData(self, frame), BatchMarkers({"ge_load_time": loaded})

    def batch(self, domain_kwargs: dict[str, Any]) -> PolarsBatchData:
        """The batch that a metric's domain names, else the one loaded last; with `table`, an asset of that name."""
        if other := domain_kwargs.get("table"):
            return self._other(other)
        batch_id = domain_kwargs.get("batch_id") or self.batch_manager.active_batch_data_id
        if batch_id not in self.batch_manager.batch_data_cache:
            raise ValidationError(f"There is no batch {batch_id!r}: load one before computing metrics.")
        found: PolarsBatchData = self.batch_manager.batch_data_cache[batch_id]
        return found

    def _other(self, name: str) -> PolarsBatchData:
        """A batch that was loaded from the asset of that name, else the asset's whole frame."""
        for batch_id, loaded in self.batch_manager.batch_data_cache.items():
            if batch_id.endswith(f"-{name}"):
                return loaded  # type: ignore[no-any-return]
        return PolarsBatchData(self, asset_frame(name))

    def get_domain_records(self, domain_kwargs: dict[str, Any]) -> pl.LazyFrame:
        """The rows of a domain: those that its row condition admits."""
        batch = self.batch(domain_kwargs)
        admitted = self.admitted(domain_kwargs)
        return batch.frame if admitted is None else batch.frame.filter(admitted)

    def admitted(self, domain_kwargs: dict[str, Any]) -> pl.Expr | None:
        """Whether a row meets the domain's row condition (never null); None without a condition."""
        condition = domain_kwargs.get("row_condition")
        if not condition:
            return None
        parser = domain_kwargs.get("condition_parser")
        return row_filter(condition, parser, self.batch(domain_kwargs).schema)

    def get_compute_domain(
        self, domain_kwargs: dict[str, Any], domain_type: Any, accessor_keys: Iterable[str] | None = None
    ) -> tuple[pl.LazyFrame, dict[str, Any], dict[str, Any]]:
        """The rows of a domain and its kwargs, parted in those that choose rows and those that choose columns."""
        parts = self._partition_domain_kwargs(domain_kwargs, domain_type, accessor_keys)
        return self.get_domain_records(domain_kwargs), parts.compute, parts.accessor

    def resolve_metrics(
        self,
        metrics_to_resolve: Iterable[Any],
        metrics: dict[Any, Any] | None = None,
        runtime_configuration: Any = None,
    ) -> dict[Any, Any]:
        """The values of metrics, by id; MetricResolutionError names the one that failed.

        GX throws a round's other results away when one metric fails. They are put into `metrics`
        before the error is raised, so that a suite with one bad expectation still reads its data once.
        """
        if not metrics_to_resolve:
            return metrics or {}
        direct, bundled = self._build_direct_and_bundled_metric_computation_configurations(
            metrics_to_resolve=metrics_to_resolve, metrics=metrics, runtime_configuration=runtime_configuration
        )
        resolved, failures = self._direct(direct)
        more, failed = self._bundled(bundled)
        resolved |= more
        failures += failed
        if failures:
            if metrics is not None:
                metrics.update(resolved)
            configuration, error = failures[0]
            raise MetricResolutionError(message=str(error), failed_metrics=(configuration,)) from error
        return resolved

    def resolve_metric_bundle(self, metric_fn_bundle: Sequence[MetricComputationConfiguration]) -> dict[Any, Any]:
        """The values of metrics that wait for data: one pass over each batch that they ask about."""
        batches = defaultdict(list)
        for metric in metric_fn_bundle:
            batches[self.batch(metric.compute_domain_kwargs)].append(metric)
        return {
            metric.metric_configuration.id: value
            for batch, asked in batches.items()
            for metric, value in zip(asked, scan(batch.frame, [each.metric_fn for each in asked]), strict=True)
        }

    @staticmethod
    def _direct(metrics: Sequence[MetricComputationConfiguration]) -> tuple[dict[Any, Any], list[Any]]:
        resolved, failures = {}, []
        for metric in metrics:
            try:
                resolved[metric.metric_configuration.id] = metric.metric_fn(**metric.metric_provider_kwargs)
            except FAILURES as error:  # whatever a metric raises belongs to its expectation, not to the run
                failures.append((metric.metric_configuration, error))
        return resolved, failures

    def _bundled(self, metrics: Sequence[MetricComputationConfiguration]) -> tuple[dict[Any, Any], list[Any]]:
        try:
            return self.resolve_metric_bundle(metrics), []
        except FAILURES as error:  # one value that cannot be cast must not cost the others
            if len(metrics) == 1:
                return {}, [(metrics[0].metric_configuration, error)]
        # Halves find the one that fails in fewer passes than one by one.
        middle = len(metrics) // 2
        resolved, failures = self._bundled(metrics[:middle])
        more, failed = self._bundled(metrics[middle:])
        return resolved | more, failures + failed

    def _comparison_condition_to_filter_clause(self, condition: Any) -> pl.Expr:
        return self._clause(condition)

    def _nullity_condition_to_filter_clause(self, condition: Any) -> pl.Expr:
        return self._clause(condition)

    def _and_condition_to_filter_clause(self, condition: Any) -> pl.Expr:
        return self._clause(condition)

    def _or_condition_to_filter_clause(self, condition: Any) -> pl.Expr:
        return self._clause(condition)

    def _clause(self, condition: Any) -> pl.Expr:
        return row_filter(condition, None, self.batch({}).schema)


def lazy_frame(data: Any) -> pl.LazyFrame:
    """The lazy frame of a DataFrame or LazyFrame; TypeError for anything else says what to give."""
    if isinstance(data, pl.DataFrame | pl.LazyFrame):
        return data.lazy()
    kind = f"{type(data).__module__.partition('.')[0]}.{type(data).__name__}"
    hint = f"polars.scan_parquet({str(data)!r})" if isinstance(data, str | Path) else "polars.from_pandas(…)"
    raise TypeError(f"A batch for Polars must be a polars DataFrame or LazyFrame, not {kind}; give {hint}.")
