"""The runs behind a run: which wrote what it read, step by step."""

from __future__ import annotations

from uuid import UUID

from lineage.service.catalog import read_run, run_key
from lineage.service.marquez import Json, state_text, time_text
from lineage.store import Row, Store


def read_upstream_runs(store: Store, run_id: str, depth: int) -> Json:
    """A run and those behind it, at most `depth` steps, nearest first; raises NotFoundError.

    What wrote an input is the newest run that wrote the version that was read; where none is named, the newest that had
    written the dataset when the reading run began.
    """
    frontier = [UUID(read_run(store, run_id)["id"])]
    seen: dict[UUID, Json] = {}
    for _ in range(depth + 1):
        rows = store.rows("runs_and_producers", ids=frontier)
        found = {key: _described([row for row in rows if row["run_id"] == key]) for key in frontier}
        seen |= found
        producers = (run_key(item["producedByRunId"] or "") for run in found.values() for item in run["inputs"])
        frontier = [key for key in dict.fromkeys(producers) if key and key not in seen]
        if not frontier:
            break
    return {"runs": [*seen.values()]}


def _described(rows: list[Row]) -> Json:
    first = rows[0]
    return {
        "job": {"namespace": first["job_namespace"], "name": first["job"], "version": None},
        "run": {
            "id": str(first["run_id"]),
            "start": time_text(first["started_at"]),
            "end": time_text(first["ended_at"]),
            "status": state_text(first),
        },
        "inputs": [
            {
                "namespace": row["namespace"],
                "name": row["name"],
                "version": row["version"],
                "producedByRunId": str(row["producer"]) if row["producer"] else None,
            }
            for row in rows
            if row["name"]
        ],
    }
