"""Runs as OpenLineage events: in spec in every state, and they say what the run knew."""

import copy
from dataclasses import replace
from uuid import UUID

import pytest

from lineage.columns import Column, ColumnLineage, Source, Transformation, read_facet
from lineage.events import RunFacts, run_event
from lineage.identity.commit import Commit
from lineage.ports import CheckReport, Expectation
from lineage.service.intake import find_fault
from lineage.spec import Step
from lineage.versions import FileVersion, Version

from .openlineage_schema import faults

RUN_ID = UUID("0190a0b1-7c3e-5d4a-9b6f-2f3c4d5e6f70")
STEP = Step("flights", "features", "table", {}, "", function=faults)


def version(dataset, partition="2013-01", sha256="a" * 64):
    file = FileVersion(f"data/tables/{dataset}/{partition}.parquet", sha256, "b" * 32, 4096)
    return Version(dataset, partition, sha256, (file,), row_count=27_004, fields=(("flight_id", "String"),))


BARE = RunFacts(RUN_ID, "headwater", STEP, "", (), None)
FULL = replace(
    BARE,
    partition="2013-01",
    inputs=(
        version("flights/legs"),
        version("flights/weather", "2012-12"),
        version("flights/weather", sha256="c" * 64),
    ),
    commit=Commit("5468547" + "0" * 33, "https://github.com/example/flights"),
    parent=(RUN_ID, "__ASSET_JOB"),
)
RAW = Version("flights/raw_planes", "", "d" * 64, (FileVersion("data/raw/planes.csv", "d" * 64, "e" * 32, 10),))
CHECKS = (
    CheckReport(
        "features",
        (
            Expectation(
                "expect_column_values_to_not_be_null",
                "flight_id",
                True,
                True,
                {},
                expected={"mostly": 0.9},
                wording={"expected": ["values must not be null, at least ", {"value": "90"}, " %", {"table": []}]},
            ),
            Expectation("expect_table_row_count_to_be_between", None, False, False, {"observed_value": 12}),
        ),
        columns={"flight_id": {"nullCount": 0, "count": 27_004, "quantiles": {"0.5": 1.5}}},
    ),
)
COLUMNS = ColumnLineage(
    {
        "flight_id": Column({Source("flights/legs", "flight_id"): (Transformation("DIRECT", "IDENTITY"),)}),
        "late": Column(
            {
                Source("flights/legs", "arr_delay"): (
                    Transformation("DIRECT", "TRANSFORMATION", "arr_delay >= 15"),
                    Transformation("INDIRECT", "CONDITIONAL", "arr_delay.is_not_null()"),
                )
            },
            exact=False,
        ),
        "one": Column({}),
    },
    Column({Source("flights/weather", "origin"): (Transformation("INDIRECT", "JOIN", "origin = origin"),)}),
)
CASES = {
    "start bare": (BARE, "START", {}),
    "start": (FULL, "START", {}),
    "complete bare": (BARE, "COMPLETE", {"output": RAW}),
    "complete": (FULL, "COMPLETE", {"output": version("flights/features")}),
    "complete with checks": (FULL, "COMPLETE", {"output": version("flights/features"), "checks": CHECKS}),
    "complete with columns": (FULL, "COMPLETE", {"output": version("flights/features"), "columns": COLUMNS}),
    "fail bare": (BARE, "FAIL", {"error": "ValueError: no"}),
    "fail with checks": (FULL, "FAIL", {"error": "2 checks failed", "checks": CHECKS}),
}


def built(case):
    facts, state, more = CASES[case]
    return run_event(facts, state, **more)


@pytest.mark.parametrize("case", CASES)
def test_event_is_in_spec(case):
    """Whatever a run knows or lacks, its event fits the spec, and our own service would take it."""
    event = built(case)

    assert [] == faults(event)
    assert find_fault(event) is None


def test_schema_finds_faults():
    """The schema that the test above trusts notices what is missing, ill-typed and unknown."""
    event = copy.deepcopy(built("complete"))
    event["eventTime"] = "2013-03-01"
    event["run"]["runId"] = "17"
    del event["job"]["facets"]["jobType"]["_producer"]
    event["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] = "many"
    event["inputs"][0]["facets"]["surprise"] = {}

    paths = {fault.partition(":")[0] for fault in faults(event)}

    statistics = "$.outputs[0].outputFacets.outputStatistics.rowCount"
    assert {"$.eventTime", "$.run.runId", "$.job.facets.jobType", statistics, "$.inputs[0].facets"} == paths


def test_complete_says_what_was_written():
    """The output of a COMPLETE carries its content version, its schema and its size."""
    (output,) = built("complete")["outputs"]

    assert ("headwater", "flights/features") == (output["namespace"], output["name"])
    assert "a" * 64 == output["facets"]["version"]["datasetVersion"]
    assert ["flight_id"] == [field["name"] for field in output["facets"]["schema"]["fields"]]
    statistics = output["outputFacets"]["outputStatistics"]
    assert (27_004, 4096, 1) == (statistics["rowCount"], statistics["size"], statistics["fileCount"])


def test_dataset_is_one_input():
    """A dataset read in two partitions is one input, whose version depends on both and on their order."""
    event = built("start")
    turned = run_event(replace(FULL, inputs=FULL.inputs[::-1]), "START")

    versions = {item["name"]: item["facets"]["version"]["datasetVersion"] for item in event["inputs"]}
    others = {item["name"]: item["facets"]["version"]["datasetVersion"] for item in turned["inputs"]}
    assert ["flights/legs", "flights/weather"] == list(versions)
    assert versions["flights/legs"] == others["flights/legs"] == "a" * 64
    assert versions["flights/weather"] != others["flights/weather"]


@pytest.mark.parametrize(
    ("partition", "end"), [("2013-01", "2013-02-01T00:00:00Z"), ("2013-12", "2014-01-01T00:00:00Z")]
)
def test_partition_is_nominal_time(partition, end):
    """A monthly partition is the month from its first day to the next month's."""
    event = run_event(replace(FULL, partition=partition), "START")

    assert end == event["run"]["facets"]["nominalTime"]["nominalEndTime"]


def test_checks_are_assertions():
    """Each expectation is an assertion with its column, its weight and what was seen."""
    facet = built("complete with checks")["outputs"][0]["facets"]["dataQualityAssertions"]

    first, second = facet["assertions"]
    assert ("flight_id", True, "error") == (first["column"], first["success"], first["severity"])
    assert (False, "warn", "observed_value=12") == (second["success"], second["severity"], second["actual"])
    assert ("features", "mostly=0.9") == (first["name"], first["expected"])
    assert first["description"] == "values must not be null, at least 90 %"
    assert "description" not in second


def test_what_checks_measured_are_metrics():
    """Rows and bytes of the output, and what its suite happened to measure of columns; nothing without a suite."""
    (output,) = built("complete with checks")["outputs"]
    facet = output["facets"]["dataQualityMetrics"]

    assert (27_004, 4096, 1) == (facet["rowCount"], facet["bytes"], facet["fileCount"])
    assert facet["columnMetrics"]["flight_id"] == {"nullCount": 0, "count": 27_004, "quantiles": {"0.5": 1.5}}
    assert "dataQualityMetrics" not in built("complete")["outputs"][0]["facets"]


def test_fail_says_why():
    """A FAIL carries the error, and the checks that caused it."""
    event = built("fail with checks")

    assert "2 checks failed" == event["run"]["facets"]["errorMessage"]["message"]
    assert "dataQualityAssertions" in event["outputs"][0]["facets"]


def test_facts_of_the_run_travel():
    """Commit, orchestrator and engine are in the event when they are known, and absent when not."""
    full, bare = built("start"), built("start bare")

    assert FULL.commit.sha == full["job"]["facets"]["sourceCodeLocation"]["version"]
    assert "__ASSET_JOB" == full["run"]["facets"]["parent"]["job"]["name"]
    assert {"processing_engine"} == set(bare["run"]["facets"])
    assert {"jobType"} == set(bare["job"]["facets"])


def test_columns_are_a_facet_of_the_output():
    """Which columns an output's came from stands as OpenLineage has it, and can be read again."""
    (output,) = built("complete with columns")["outputs"]
    facet = output["facets"]["columnLineage"]

    assert facet["_schemaURL"].endswith("1-2-0/ColumnLineageDatasetFacet.json#/$defs/ColumnLineageDatasetFacet")
    (identity,) = facet["fields"]["flight_id"]["inputFields"]
    assert identity == {
        "namespace": "headwater",
        "name": "flights/legs",
        "field": "flight_id",
        "transformations": [{"type": "DIRECT", "subtype": "IDENTITY", "masking": False}],
    }
    assert [] == facet["fields"]["one"]["inputFields"]
    (late,) = facet["fields"]["late"]["inputFields"]
    assert ["upper bound: arr_delay >= 15", "upper bound: arr_delay.is_not_null()"] == [
        item["description"] for item in late["transformations"]
    ]
    assert [("flights/weather", "origin")] == [(item["name"], item["field"]) for item in facet["dataset"]]
    assert read_facet(facet) == COLUMNS


def test_rows_put_aside_come_from_the_same_columns():
    """What was put aside of a table has its column lineage too."""
    event = run_event(
        FULL, "COMPLETE", output=version("flights/legs"), aside=version("flights/legs.quarantine"), columns=COLUMNS
    )

    table, aside = (output["facets"]["columnLineage"] for output in event["outputs"])
    assert table == aside
