"""Events from outside: what is out of spec is refused by its JSON path, everything else is taken as it is."""

import copy
import gzip
import json

import pytest

from lineage.service.intake import MOST_BYTES, EventError, EventTooLargeError, find_fault, parse_time, read_json

RUN_ID = "0190a0b1-7c3e-7d4a-9b6f-2f3c4d5e6f70"
SCHEMA = "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/"
FRAME = {"eventTime": "2013-03-01T12:00:00Z", "producer": "https://example.org/tool"}
ORDERS = {"namespace": "s3://bucket", "name": "a/b.parquet"}
JOB = {"namespace": "shop", "name": "load"}
RUN_EVENT = {
    **FRAME,
    "schemaURL": SCHEMA + "RunEvent",
    "eventType": "COMPLETE",
    "run": {"runId": RUN_ID, "facets": {"unheard": {"of": [1, 2.5, None, "é"]}}},
    "job": {**JOB, "facets": {}},
    "inputs": [{**ORDERS, "inputFacets": {}}],
    "outputs": [{**ORDERS, "facets": {"schema": {"fields": [{"name": "id", "type": "int"}]}}, "outputFacets": {}}],
}
JOB_EVENT = {**FRAME, "schemaURL": SCHEMA + "JobEvent", "job": JOB, "inputs": [ORDERS]}
DATASET_EVENT = {**FRAME, "schemaURL": SCHEMA + "DatasetEvent", "dataset": ORDERS}
SCHEMA_FACET = ["outputs", 0, "facets", "schema"]
ABSENT = object()


def changed(event, path, value):
    """A copy of `event` with another value at a path of keys and positions."""
    event = copy.deepcopy(event)
    *above, last = path
    place = event
    for key in above:
        place = place[key]
    if value is ABSENT:
        del place[last]
    else:
        place[last] = value
    return event


@pytest.mark.parametrize("event", [RUN_EVENT, JOB_EVENT, DATASET_EVENT], ids=["run", "job", "dataset"])
def test_events_of_the_spec_are_taken(event):
    """Run-, Job- and DatasetEvents are in spec, with facets that nobody here knows."""
    assert find_fault(event) is None


@pytest.mark.parametrize(
    ("path", "value", "at", "reason"),
    [
        (["eventTime"], ABSENT, "$.eventTime", "is required"),
        (["eventTime"], 5, "$.eventTime", "is not a string"),
        (["eventTime"], "2013-03-01T12:00:00", "$.eventTime", "RFC 3339"),
        (["eventTime"], "2013-02-30T12:00:00Z", "$.eventTime", "RFC 3339"),
        (["eventTime"], "0001-01-01T00:00:00+14:00", "$.eventTime", "RFC 3339"),
        (["eventTime"], "yesterday", "$.eventTime", "RFC 3339"),
        (["eventType"], "DONE", "$.eventType", "is not one of START"),
        (["eventType"], ["START"], "$.eventType", "is not one of START"),
        (["producer"], ABSENT, "$.producer", "is required"),
        (["producer"], "my tool", "$.producer", "URI"),
        (["schemaURL"], ABSENT, "$.schemaURL", "is required"),
        (["schemaURL"], "OpenLineage.json", "$.schemaURL", "URI"),
        (["run"], ABSENT, "$.run", "is required"),
        (["run"], None, "$.run", "is not an object"),
        (["run", "runId"], ABSENT, "$.run.runId", "is required"),
        (["run", "runId"], "17", "$.run.runId", "is not a UUID"),
        (["run", "facets"], [], "$.run.facets", "is not an object"),
        (["run", "facets", "x y"], 1, '$.run.facets["x y"]', "is not an object"),
        (["job"], ABSENT, "$.job", "is required"),
        (["job"], "load", "$.job", "is not an object"),
        (["job", "namespace"], ABSENT, "$.job.namespace", "is required"),
        (["job", "name"], "", "$.job.name", "is empty"),
        (["job", "name"], "x" * 1300, "$.job", "more than 1,300 bytes"),
        (["job", "name"], "a\0b", "$.job.name", "NUL"),
        (["job", "name"], "\ud800", "$.job.name", "surrogate"),
        (["inputs"], {}, "$.inputs", "is not a list"),
        (["inputs"], None, "$.inputs", "is not a list"),
        (["inputs", 0], "a/b.parquet", "$.inputs[0]", "is not an object"),
        (["inputs", 0, "name"], ABSENT, "$.inputs[0].name", "is required"),
        (["inputs", 0, "inputFacets"], "x", "$.inputs[0].inputFacets", "is not an object"),
        (["outputs", 0, "namespace"], 7, "$.outputs[0].namespace", "is not a string"),
        ([*SCHEMA_FACET], [], "$.outputs[0].facets.schema", "is not an object"),
        ([*SCHEMA_FACET, "fields"], {}, "$.outputs[0].facets.schema.fields", "is not a list"),
        ([*SCHEMA_FACET, "fields", 0], "id", "$.outputs[0].facets.schema.fields[0]", "is not an object"),
        (["run", "facets", "unheard", "of"], {"a\0": 1}, "$.run.facets.unheard.of", "has a key with a NUL"),
        (["run", "facets", "unheard", "of"], [0, 1e999], "$.run.facets.unheard.of[1]", "too large"),
    ],
)  # fmt: skip
def test_fault_is_named(path, value, at, reason):
    """An event that is out of spec is refused with the path of the place and what is wrong there."""
    fault = find_fault(changed(RUN_EVENT, path, value))

    assert fault is not None
    assert at == fault.path
    assert reason in fault.reason


@pytest.mark.parametrize("event", [None, 5, "event", [RUN_EVENT]])
def test_other_json_is_no_event(event):
    """What is not even an object is refused as a whole."""
    assert str(find_fault(event)) == "$ is not a JSON object"


def test_dataset_event_needs_its_dataset():
    """Without eventType and run, the schemaURL says which part is missing."""
    assert str(find_fault(changed(DATASET_EVENT, ["dataset"], ABSENT))) == "$.dataset is required"


def test_depth_is_bounded():
    """A facet too deep for Postgres to keep is refused, however deep it is."""
    facet = {}
    for _ in range(500):
        facet = {"x": facet}

    fault = find_fault(changed(RUN_EVENT, ["run", "facets"], {"deep": facet}))

    assert fault is not None
    assert "250 levels" in fault.reason


def test_gzip_is_unpacked():
    """A gzipped body reads as the JSON inside, also when it was packed in pieces."""
    text = json.dumps(RUN_EVENT).encode()

    assert read_json(gzip.compress(text[:90]) + gzip.compress(text[90:]), "GZIP").value == RUN_EVENT


@pytest.mark.parametrize(
    ("body", "encoding", "reason"),
    [
        (b"", "", "is not JSON"),
        (b"{", "", "is not JSON"),
        (b"\xff", "", "is not JSON"),
        (b'{"x": NaN}', "", "NaN is no JSON number"),
        (b'{"x": ' + b"9" * 5000 + b"}", "", "is not JSON"),
        (b"[" * 200_000, "", "too deeply nested"),
        (b"{}", "gzip", "is not gzip"),
        (gzip.compress(b"{}", mtime=0)[:-4], "gzip", "is not gzip"),
        (b"{}", "br", "Content-Encoding 'br'"),
    ],
)
def test_unreadable_body_is_refused(body, encoding, reason):
    """A body that is no JSON, or packed otherwise than it says, is refused with the reason."""
    with pytest.raises(EventError) as caught:
        read_json(body, encoding)

    assert reason in caught.value.fault.reason


def test_unpacked_size_is_bounded():
    """A small body that unpacks to a huge one is refused before it is unpacked."""
    with pytest.raises(EventTooLargeError):
        read_json(gzip.compress(b" " * (MOST_BYTES + 1)), "gzip")


@pytest.mark.parametrize("text", ["2013-03-01T14:00:00.123456789+02:00", "2013-03-01t12:00:00.123456z"])
def test_times_are_read_in_utc(text):
    """Any zone and any number of digits is read; the time is in UTC."""
    time = parse_time(text)

    assert time is not None
    assert time.isoformat() == "2013-03-01T12:00:00.123456+00:00"
