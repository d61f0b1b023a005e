"""Runs as OpenLineage events. The only module that knows the openlineage package.

START is recorded when a run begins, COMPLETE or FAIL in the transaction that ends it; sending them to
another backend is the relay's business, so a dead backend costs a run nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from openlineage.client import event_v2 as ol
from openlineage.client.generated import (
    column_lineage_dataset as fed,
)
from openlineage.client.generated import (
    data_quality_assertions_dataset as quality,
)
from openlineage.client.generated import (
    data_quality_metrics_dataset as measured,
)
from openlineage.client.generated import (
    dataset_version_dataset,
    error_message_run,
    job_type_job,
    nominal_time_run,
    output_statistics_output_dataset,
    parent_run,
    processing_engine_run,
    schema_dataset,
    source_code_location_job,
)
from openlineage.client.serde import Serde

from lineage.columns import UPPER_BOUND, Column, ColumnLineage
from lineage.identity.commit import Commit
from lineage.identity.module import PLATFORM
from lineage.ports import CheckReport
from lineage.spec import Step
from lineage.versions import Version, json_digest

PRODUCER = "https://github.com/headwater/headwater"
_STATES = {"START": ol.RunState.START, "COMPLETE": ol.RunState.COMPLETE, "FAIL": ol.RunState.FAIL}


@dataclass(frozen=True)
class RunFacts:
    """What every event of one run says: who it is, what it read, where its code stands.

    `parent` is (run id, job name) of the orchestrator's own run, if there is one.
    """

    run_id: UUID
    namespace: str
    step: Step
    partition: str
    inputs: tuple[Version, ...]
    commit: Commit | None
    parent: tuple[UUID, str] | None = None


def run_event(
    facts: RunFacts,
    state: str,
    *,
    output: Version | None = None,
    aside: Version | None = None,
    checks: Iterable[CheckReport] = (),
    columns: ColumnLineage | None = None,
    error: str | None = None,
) -> dict[str, Any]:
    """The OpenLineage RunEvent of `facts` in `state` (START, COMPLETE or FAIL), as plain JSON values.

    `aside` are the rows that the checks put aside: a second dataset that the run wrote. `columns` says which columns of
    the inputs the output's came from, and those of the rows put aside.
    """
    fed_by = {} if columns is None else {"columnLineage": _column_lineage(facts, columns)}
    event = ol.RunEvent(
        eventTime=datetime.now(UTC).isoformat(),
        eventType=_STATES[state],
        run=ol.Run(str(facts.run_id), _run_facets(facts, error)),
        job=ol.Job(facts.namespace, facts.step.full_name, _job_facets(facts)),
        inputs=_inputs(facts),
        outputs=[_output(facts, output, tuple(checks), fed_by), *([_written(facts, aside, fed_by)] if aside else ())],
        producer=PRODUCER,
    )
    return dict(Serde.to_dict(event))


def _run_facets(facts: RunFacts, error: str | None) -> dict[str, Any]:
    facets: dict[str, Any] = {
        "processing_engine": processing_engine_run.ProcessingEngineRunFacet(
            version=_polars_version(), name="polars", producer=PRODUCER
        )
    }
    if facts.partition:
        start, end = _month_bounds(facts.partition)
        facets["nominalTime"] = nominal_time_run.NominalTimeRunFacet(start, end, producer=PRODUCER)
    if facts.parent:
        run_id, job = facts.parent
        facets["parent"] = parent_run.ParentRunFacet(
            parent_run.Run(str(run_id)), parent_run.Job(facts.namespace, job), producer=PRODUCER
        )
    if error:
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(error, "python", producer=PRODUCER)
    return facets


def _job_facets(facts: RunFacts) -> dict[str, Any]:
    facets: dict[str, Any] = {
        "jobType": job_type_job.JobTypeJobFacet("BATCH", "HEADWATER", facts.step.kind.upper(), producer=PRODUCER)
    }
    if facts.commit:
        facets["sourceCodeLocation"] = source_code_location_job.SourceCodeLocationJobFacet(
            "git", facts.commit.url, path=_code_path(facts.step), version=facts.commit.sha, producer=PRODUCER
        )
    return facets


def _inputs(facts: RunFacts) -> list[ol.InputDataset]:
    """One input per dataset: a dataset read in several partitions names all their versions as one."""
    grouped: dict[str, list[Version]] = {}
    for version in facts.inputs:
        grouped.setdefault(version.dataset, []).append(version)
    return [
        ol.InputDataset(facts.namespace, name, facets=_dataset_facets(versions)) for name, versions in grouped.items()
    ]


def _output(
    facts: RunFacts, version: Version | None, checks: tuple[CheckReport, ...], fed_by: dict[str, Any]
) -> ol.OutputDataset:
    if version is None:
        return ol.OutputDataset(facts.namespace, facts.step.dataset, facets=_assertions(checks))
    return _written(facts, version, {**fed_by, **_assertions(checks), **_metrics(version, checks)})


def _written(facts: RunFacts, version: Version, more: dict[str, Any]) -> ol.OutputDataset:
    statistics = output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        rowCount=version.row_count, size=version.size_bytes, fileCount=len(version.files), producer=PRODUCER
    )
    facets = {**_dataset_facets([version]), **more}
    return ol.OutputDataset(
        facts.namespace, version.dataset, facets=facets, outputFacets={"outputStatistics": statistics}
    )


def _dataset_facets(versions: list[Version]) -> dict[str, Any]:
    # Several partitions read as one dataset have one content version: the digest of theirs, in order.
    name = versions[0].sha256 if len(versions) == 1 else json_digest([item.sha256 for item in versions])
    facets: dict[str, Any] = {"version": dataset_version_dataset.DatasetVersionDatasetFacet(name, producer=PRODUCER)}
    if versions[-1].fields:
        fields = [schema_dataset.SchemaDatasetFacetFields(name, kind) for name, kind in versions[-1].fields]
        facets["schema"] = schema_dataset.SchemaDatasetFacet(fields, producer=PRODUCER)
    return facets


def _column_lineage(facts: RunFacts, columns: ColumnLineage) -> fed.ColumnLineageDatasetFacet:
    fields = {name: fed.Fields(_input_fields(facts, column)) for name, column in columns.columns.items()}
    return fed.ColumnLineageDatasetFacet(fields, _input_fields(facts, columns.rows), producer=PRODUCER)


def _input_fields(facts: RunFacts, column: Column) -> list[fed.InputField]:
    """The source columns of one column; where that may be too many, each says so, for the spec has no place for it."""
    bound = "" if column.exact else UPPER_BOUND
    return [
        fed.InputField(
            facts.namespace,
            source.dataset,
            source.column,
            [
                fed.Transformation(item.type, item.subtype, f"{bound}{item.text}" or None, masking=False)
                for item in transformations
            ],
        )
        for source, transformations in column.sources.items()
    ]


def _assertions(checks: tuple[CheckReport, ...]) -> dict[str, Any]:
    found = [
        quality.Assertion(
            assertion=item.kind,
            success=item.success,
            column=item.column,
            severity="error" if item.blocking else "warn",
            name=report.suite,
            description=_sentence(item.wording.get("expected", ())),
            expected=_text(item.expected),
            actual=_text(item.observed),
            params=None,
        )
        for report in checks
        for item in report.expectations
    ]
    if not found:
        return {}
    return {"dataQualityAssertions": quality.DataQualityAssertionsDatasetFacet(found, producer=PRODUCER)}


def _metrics(version: Version, checks: tuple[CheckReport, ...]) -> dict[str, Any]:
    if not checks:
        return {}
    columns = {
        name: measured.ColumnMetrics(**{"quantiles": None, **metrics})
        for report in checks
        for name, metrics in report.columns.items()
    }
    facet = measured.DataQualityMetricsDatasetFacet(
        columnMetrics=columns,
        rowCount=version.row_count,
        bytes=version.size_bytes,
        fileCount=len(version.files),
        producer=PRODUCER,
    )
    return {"dataQualityMetrics": facet}


def _sentence(parts: Iterable[Any]) -> str | None:
    """The words of an expectation in one line, without tables."""
    texts = (part if isinstance(part, str) else str(part.get("value", "")) for part in parts)
    return " ".join("".join(texts).split()) or None


def _text(observed: Mapping[str, Any]) -> str | None:
    return ", ".join(f"{name}={value}" for name, value in observed.items()) or None


def _month_bounds(partition: str) -> tuple[str, str]:
    year, month = int(partition[:4]), int(partition[5:])
    after = f"{year + month // 12:04d}-{month % 12 + 1:02d}"
    return f"{partition}-01T00:00:00Z", f"{after}-01T00:00:00Z"


def _code_path(step: Step) -> str:
    module = step.function.__module__ if step.function else PLATFORM[0]
    return module.replace(".", "/")


def _polars_version() -> str:
    import polars

    return polars.__version__
