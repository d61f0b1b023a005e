"""How many events, datasets, jobs and sources there were, hour by hour of a day or day by day of a week."""

from __future__ import annotations

from typing import Any, Literal

from lineage.service.marquez import Json, time_text
from lineage.store import Row, Store

Period = Literal["DAY", "WEEK"]
# Of each period: what its intervals are, and how many.
_INTERVALS: dict[Period, dict[str, Any]] = {
    "DAY": {"unit": "hour", "step": "1 hour", "steps": 24},
    "WEEK": {"unit": "day", "step": "1 day", "steps": 7},
}


def count_events(store: Store, period: Period, zone: str) -> list[Json]:
    """Events by type in each interval of the period; days are those of `zone`, to the hour of UTC."""
    rows = store.rows("event_counts", zone=zone, **_INTERVALS[period])
    return [
        {
            **_interval(row),
            "fail": row["fail"],
            "start": row["start_count"],
            "complete": row["complete"],
            "abort": row["abort"],
        }
        for row in rows
    ]


def count_nodes(store: Store, kind: str, period: Period, zone: str) -> list[Json]:
    """How many of a kind (dataset, job, source) there were at the end of each interval."""
    rows = store.rows("node_counts", kind=kind, zone=zone, **_INTERVALS[period])
    return [{**_interval(row), "count": row["count"]} for row in rows]


def _interval(row: Row) -> Json:
    return {"startInterval": time_text(row["start"]), "endInterval": time_text(row["finish"])}
