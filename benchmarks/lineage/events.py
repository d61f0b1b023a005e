"""OpenLineage events of about 4.6 kB: jobs in layers of a hundred, each reads two tables of the layer before."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

WIDTH, COLUMNS = 100, 6
DATABASE, ORCHESTRATOR = "postgres://db:5432", "airflow"
URL = "https://example.org/benchmark"

Json = dict[str, Any]


def table(number: int) -> str:
    return f"shop.public.table_{number}"


def sources(number: int, chance: random.Random) -> list[int]:
    """Two tables of the layer before; the first layer reads raw ones."""
    before = number - number % WIDTH - WIDTH
    return [before + chance.randrange(WIDTH) for _ in range(2)]


def facet(**body: Any) -> Json:
    return {"_producer": URL, "_schemaURL": URL, **body}


def dataset(number: int, version: int, reads: Iterable[int] = ()) -> Json:
    fields = [{"name": f"column_{place}", "type": "bigint"} for place in range(COLUMNS)]
    facets = {"schema": facet(fields=fields), "version": facet(datasetVersion=f"{number}.{version}")}
    if reads:
        facets["columnLineage"] = facet(fields={f"column_{place}": columns(place, reads) for place in range(COLUMNS)})
    return {"namespace": DATABASE, "name": table(number), "facets": facets}


def columns(place: int, reads: Iterable[int]) -> Json:
    same = [{"type": "DIRECT", "subtype": "IDENTITY"}]
    named = {"namespace": DATABASE, "field": f"column_{place}", "transformations": same}
    return {"inputFields": [{**named, "name": table(number)} for number in reads]}


def event(number: int, run: int, reads: list[int]) -> Json:
    """A COMPLETE event of a job's run; times ascend, so that the newest run is the last one sent."""
    time = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=run, microseconds=number)
    return {
        "eventTime": time.isoformat(),
        "eventType": "COMPLETE",
        "producer": URL,
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
        "run": {"runId": str(uuid.uuid4()), "facets": {"nominalTime": facet(nominalStartTime="2026-01-01T00:00:00Z")}},
        "job": {
            "namespace": ORCHESTRATOR,
            "name": f"dag_{number // 10}.task_{number}",
            "facets": {"jobType": facet(processingType="BATCH", integration="AIRFLOW", jobType="TASK")},
        },
        "inputs": [dataset(other, run) for other in reads],
        "outputs": [dataset(number, run, reads)],
    }
