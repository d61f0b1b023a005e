"""What Dagster shows of a trained model: scores as numbers, the comparison, pictures and the model card."""

from __future__ import annotations

import csv
import io
import json
from pathlib import PurePosixPath
from typing import Any

import dagster as dg

from lineage.plan import Workspace
from lineage.versions import Version
from orchestration.pictures import as_markdown, draw


def evaluation_metadata(space: Workspace, version: Version) -> dict[str, Any]:
    """The metadata of a model's version, read from the files that it is made of; what it lacks is left out.

    Test scores are numbers, which Dagster draws over time. Pictures are small PNGs inside Markdown.
    """
    files = _files(space, version)
    metrics = json.loads(files.get(f"data/metrics/{version.dataset}.json", b"{}"))
    plots = {PurePosixPath(path).name: data for path, data in files.items() if path.endswith(".csv")}
    found: dict[str, Any] = {f"test {name}": value for name, value in _numbers(metrics.get("test")).items()}
    if comparison := _comparison(plots.get("scores.csv", b"")):
        found["comparison"] = comparison
    if plots:
        found |= {name: dg.MetadataValue.md(as_markdown(name, png)) for name, png in draw(plots).items()}
    if card := files.get(f"data/models/{version.dataset}/card.md"):
        found["card"] = dg.MetadataValue.md(card.decode())
    return found


def _files(space: Workspace, version: Version) -> dict[str, bytes]:
    """Path -> bytes of the version's small files, as the cache has them; a lost one is `headwater verify`'s to name."""
    wanted = (file for file in version.files if file.path.endswith((".csv", ".json", ".md")))
    places = {file.path: space.objects.path(file.md5) for file in wanted}
    return {path: place.read_bytes() for path, place in places.items() if place.exists()}


def _numbers(scores: Any) -> dict[str, float]:
    found = scores.items() if isinstance(scores, dict) else ()
    return {name: float(value) for name, value in found if isinstance(value, int | float)}


def _comparison(scores: bytes) -> dg.TableMetadataValue | None:
    rows = list(csv.DictReader(io.StringIO(scores.decode())))
    if not rows:
        return None
    columns = [dg.TableColumn(name, "string" if name == "answer" else "float") for name in rows[0]]
    records = [dg.TableRecord({name: _cell(name, text) for name, text in row.items()}) for row in rows]
    return dg.MetadataValue.table(records, dg.TableSchema(columns=columns))


def _cell(name: str, text: str) -> str | float | None:
    if name == "answer":
        return text
    return float(text) if text else None
