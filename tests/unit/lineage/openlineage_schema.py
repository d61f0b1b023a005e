"""A JSON Schema of the OpenLineage events that we send, written from the spec 2-0-2.

Stricter than the spec in one way: a facet that is not described here is an error, so that a new one is noticed.
"""

import re
from datetime import datetime
from urllib.parse import urlsplit
from uuid import UUID

from jsonschema import Draft202012Validator, FormatChecker

TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
TIME = {"type": "string", "format": "date-time"}
URI = {"type": "string", "format": "uri"}
RUN_ID = {"type": "string", "format": "uuid"}


def thing(required, **optional):
    """An object with these properties, and perhaps others that nobody here describes."""
    return {"type": "object", "properties": {**required, **optional}, "required": list(required)}


def facet(required, **optional):
    """A facet: its own properties, and who made it from which schema."""
    schema = thing({"_producer": URI, "_schemaURL": URI, **required}, **optional)
    return {**schema, "additionalProperties": False}


def facets(**known):
    """A set of facets, of which each may be there."""
    return {"type": "object", "properties": known, "additionalProperties": False}


JOB_NAME = {"namespace": TEXT, "name": TEXT}
FIELD = thing({"name": TEXT}, type=TEXT, description=TEXT, fields={"type": "array"})
ASSERTION = thing(
    {"assertion": TEXT, "success": {"type": "boolean"}},
    column=TEXT,
    severity={"enum": ["error", "warn"]},
    name=TEXT,
    description=TEXT,
    expected=TEXT,
    actual=TEXT,
)
NUMBER = {"type": "number"}
COLUMN_METRICS = {
    **thing(
        {},
        nullCount=COUNT,
        distinctCount=COUNT,
        sum=NUMBER,
        count=NUMBER,
        min=NUMBER,
        max=NUMBER,
        quantiles={"type": "object", "additionalProperties": NUMBER},
    ),
    "additionalProperties": False,
}
DIRECT = ("IDENTITY", "TRANSFORMATION", "AGGREGATION")
INDIRECT = ("JOIN", "GROUP_BY", "FILTER", "SORT", "WINDOW", "CONDITIONAL")
TRANSFORMATION = thing(
    {"type": {"enum": ["DIRECT", "INDIRECT"]}, "subtype": {"enum": [*DIRECT, *INDIRECT]}},
    description=TEXT,
    masking={"type": "boolean"},
)
INPUT_FIELDS = {
    "type": "array",
    "items": thing(
        {"namespace": TEXT, "name": TEXT, "field": TEXT}, transformations={"type": "array", "items": TRANSFORMATION}
    ),
}

DATASET_FACETS = facets(
    columnLineage=facet(
        {"fields": {"type": "object", "additionalProperties": thing({"inputFields": INPUT_FIELDS})}},
        dataset=INPUT_FIELDS,
    ),
    version=facet({"datasetVersion": TEXT}),
    schema=facet({"fields": {"type": "array", "items": FIELD}}),
    dataQualityAssertions=facet({"assertions": {"type": "array", "items": ASSERTION}}),
    dataQualityMetrics=facet(
        {"columnMetrics": {"type": "object", "additionalProperties": COLUMN_METRICS}},
        rowCount=COUNT,
        bytes=COUNT,
        fileCount=COUNT,
    ),
)
RUN_FACETS = facets(
    nominalTime=facet({"nominalStartTime": TIME}, nominalEndTime=TIME),
    parent=facet({"run": thing({"runId": RUN_ID}), "job": thing(JOB_NAME)}, root={"type": "object"}),
    errorMessage=facet({"message": TEXT, "programmingLanguage": TEXT}, stackTrace=TEXT),
    processing_engine=facet({"version": TEXT}, name=TEXT, openlineageAdapterVersion=TEXT),
)
JOB_FACETS = facets(
    jobType=facet({"processingType": {"enum": ["BATCH", "STREAMING"]}, "integration": TEXT}, jobType=TEXT),
    sourceCodeLocation=facet({"type": TEXT, "url": URI}, repoUrl=TEXT, path=TEXT, version=TEXT, tag=TEXT, branch=TEXT),
)
OUTPUT_FACETS = facets(outputStatistics=facet({}, rowCount=COUNT, size=COUNT, fileCount=COUNT))

INPUT = thing(JOB_NAME, facets=DATASET_FACETS, inputFacets=facets())
OUTPUT = thing(JOB_NAME, facets=DATASET_FACETS, outputFacets=OUTPUT_FACETS)
RUN_EVENT = thing(
    {
        "eventTime": TIME,
        "producer": URI,
        "schemaURL": {**URI, "const": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"},
        "run": thing({"runId": RUN_ID}, facets=RUN_FACETS),
        "job": thing(JOB_NAME, facets=JOB_FACETS),
    },
    eventType={"enum": ["START", "RUNNING", "COMPLETE", "ABORT", "FAIL", "OTHER"]},
    inputs={"type": "array", "items": INPUT},
    outputs={"type": "array", "items": OUTPUT},
)

# jsonschema checks these three only when packages are installed that nothing else here needs.
_FORMATS = FormatChecker(formats=())
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")


@_FORMATS.checks("date-time", ValueError)
def _is_time(text):
    return bool(_RFC3339.fullmatch(text)) and bool(datetime.fromisoformat(text))


@_FORMATS.checks("uuid", ValueError)
def _is_uuid(text):
    return str(UUID(text)) == text


@_FORMATS.checks("uri", ValueError)
def _is_uri(text):
    return text.isascii() and not re.search(r"\s", text) and bool(urlsplit(text).scheme)


def faults(event):
    """What the schema finds wrong with an event, by JSON path."""
    validator = Draft202012Validator(RUN_EVENT, format_checker=_FORMATS)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(event)]
