"""What is different between two versions of a table, two bundles or two predictions.

Every section says whether it is the `same` in both; pairs of values are [that of a, that of b].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lineage.changes import compare
from lineage.errors import NotFoundError
from lineage.names import Recorded, dotted, find_version, recorded
from lineage.plan import Workspace
from lineage.store import Row
from lineage.tracing.predictions import Prediction, find_prediction, parse_id
from lineage.versions import Version

Section = dict[str, Any]


@dataclass(frozen=True)
class _Written:
    """A version, and the run that wrote it (None of a raw file that stood there); a bundle's model and metrics."""

    version: Version
    run: Row | None
    inputs: tuple[tuple[str, Version], ...]
    bundle: Row | None = None

    @property
    def kind(self) -> str:
        """What it is called."""
        return "bundle" if self.bundle else "table"

    @property
    def name(self) -> str:
        """`flights.features[2013-03]@<sha256>`, of a bundle `flights-late-t0@<digest>`."""
        name = self.bundle["model"] if self.bundle else dotted(self.version.dataset, self.version.partition)
        return f"{name}@{self.version.sha256}"


def diff(space: Workspace, a: str, b: str, *, examples: int = 10) -> dict[str, Any]:
    """What differs between `a` and `b`, as plain JSON values.

    Each is a version (`flights.features[2013-03]@3fa1b2c3`, `flights-late-t0@champion`; the current one without an @;
    `b` may be an @ alone), a run's id, which stands for what the run wrote, or a prediction (`ID` or `ID.i`).
    Keys: kind (table, bundle or prediction), a, b, same, differs (names of the sections that are not the same), the
    sections themselves, and notes on what could not be compared. A section whose `same` is None could not be.
    Raises NotFoundError for a name that nothing answers to, and where the two are not of one kind.
    """
    b = f"{a.partition('@')[0]}{b}" if b.startswith("@") else b
    one, other = _find(space, a), _find(space, b)
    if isinstance(one, Prediction) and isinstance(other, Prediction):
        kind, about, sections = "prediction", (_prediction(one), _prediction(other)), _predictions(one, other)
    elif isinstance(one, _Written) and isinstance(other, _Written) and one.version.dataset == other.version.dataset:
        kind, about, sections = one.kind, (_version(one), _version(other)), _versions(space, one, other, examples)
    else:
        words = [_in_words(item) for item in (one, other)]
        raise NotFoundError(
            f"{a} is {words[0]}, {b} {words[1]}; compare two versions of one table or model, or two predictions."
        )
    differs = [name for name, section in sections.items() if section["same"] is False]
    return {
        "kind": kind,
        "a": about[0],
        "b": about[1],
        "same": not differs,
        "differs": differs,
        **sections,
        "notes": [section["note"] for section in sections.values() if section.get("note")],
    }


def _find(space: Workspace, text: str) -> _Written | Prediction:
    store = space.store
    try:
        identifier, _ = parse_id(text)
    except NotFoundError:
        found = find_version(space, text)
        row = store.row("run_that_wrote", before=None, **_identity(found.version))
        return _written(space, found, row)
    if store.row("prediction", prediction_id=identifier) is None:
        rows = store.rows("outputs_of_run", run_id=identifier)
        if rows:
            return _written(space, recorded(rows[0]), {"run_id": identifier})
        raise NotFoundError(
            f"There is no prediction {text}, and no run of this id wrote anything; see `headwater list`."
        )
    return find_prediction(store, text)


def _written(space: Workspace, found: Recorded, row: Row | None) -> _Written:
    store, version = space.store, found.version
    run = store.row("run", run_id=row["run_id"]) if row else None
    bundle = store.row("bundle_of", dataset=version.dataset, digest=version.sha256)
    return _Written(version, run, tuple(store.run_inputs(run["run_id"])) if run else (), bundle)


def _identity(version: Version) -> dict[str, str]:
    return {"dataset": version.dataset, "partition": version.partition, "sha256": version.sha256}


def _in_words(found: _Written | Prediction) -> str:
    return "a prediction" if isinstance(found, Prediction) else f"a version of {dotted(found.version.dataset)}"


# --- versions


def _version(found: _Written) -> dict[str, Any]:
    run = found.run or {}
    return {
        "name": found.name,
        "dataset": found.version.dataset,
        "partition": found.version.partition,
        "version": found.version.sha256,
        "row_count": found.version.row_count,
        "run_id": str(run["run_id"]) if run else None,
        "written_at": run["ended_at"].isoformat() if run else None,
        "commit": run.get("commit_sha"),
    }


def _versions(space: Workspace, a: _Written, b: _Written, examples: int) -> dict[str, Section]:
    found = {
        "code": _code(space, a.run, b.run),
        "inputs": _inputs(a, b),
        "parameters": compare(_field(a.run, "parameters") or {}, _field(b.run, "parameters") or {}),
        "declaration": _declaration(a.run, b.run),
        "environment": compare(_environment(a.run), _environment(b.run)),
    }
    if a.bundle and b.bundle:
        return found | _bundle(a, b)
    found["schema"] = _schema(a.version, b.version)
    found["rows"] = _rows(space, a, b, examples)
    found["bytes"] = _pair(a.version.sha256, b.version.sha256)
    return found


def _code(space: Workspace, a: Row | None, b: Row | None) -> Section:
    """Digests, commits, and which definitions changed: None where a run is from before they were recorded."""
    digests = [_field(run, "code") for run in (a, b)]
    rows = [space.store.row("code_definitions", digest=digest) for digest in digests]
    definitions: Section | None = None
    if all(rows):
        definitions = compare(*(row["definitions"] for row in rows if row))
    found = {"same": digests[0] == digests[1], "digests": digests}
    found["commits"] = [_field(run, "commit_sha") for run in (a, b)]
    found["definitions"] = definitions
    if not found["same"] and definitions is None:
        found["note"] = "which functions changed is not on record: one of the runs is from before it was recorded"
    return found


def _inputs(a: _Written, b: _Written) -> Section:
    """Which versions were read instead of which, by input and partition."""
    one, other = ({(name, v.dataset, v.partition): v for name, v in written.inputs} for written in (a, b))
    changes = compare(*({key: v.sha256 for key, v in inputs.items()} for inputs in (one, other)))
    return {
        "same": changes["same"],
        "replaced": [_input(key, one[key], other[key]) for key in changes["changed"]],
        "added": [_input(key, other[key]) for key in changes["added"]],
        "gone": [_input(key, one[key]) for key in changes["gone"]],
    }


def _input(key: tuple[str, str, str], *versions: Version) -> dict[str, Any]:
    place = dict(zip(("input", "dataset", "partition"), key, strict=True))
    return {**place, "versions": [v.sha256 for v in versions], "row_counts": [v.row_count for v in versions]}


def _declaration(a: Row | None, b: Row | None) -> Section:
    """What a step says beside code and parameters: key, look-back, checks; unknown of runs that did not record it."""
    one, other = (_field(run, "declaration") for run in (a, b))
    if one is None or other is None:
        return {"same": None, "changed": {}, "added": {}, "gone": {}}
    flat = ({**(item.get("shape") or {}), "checks": item.get("checks")} for item in (one, other))
    return compare(*flat)


def _environment(run: Row | None) -> dict[str, Any]:
    found = _field(run, "environment") or {}
    return {**{name: value for name, value in found.items() if name != "packages"}, **found.get("packages", {})}


def _schema(a: Version, b: Version) -> Section:
    """Columns that are new, gone or of another type, and whether those that stayed stand in another order."""
    from lineage.proof.changes import changed_columns

    return changed_columns(a.fields, b.fields)


def _is_reordered(a: Sequence[str], b: Sequence[str]) -> bool:
    """Whether what is in both stands in another order."""
    return [name for name in a if name in b] != [name for name in b if name in a]


def _rows(space: Workspace, a: _Written, b: _Written, examples: int) -> Section:
    """Changed rows, from the objects themselves; only their number where nothing needs to, or can, be read."""
    counts = [a.version.row_count, b.version.row_count]
    if None in counts:
        note = f"{dotted(a.version.dataset)} is kept as raw bytes; rows are known of the source that reads it"
        return {"same": None, "counts": counts, "note": note}
    if a.version.sha256 == b.version.sha256:
        return {"same": True, "counts": counts, "unchanged": counts[0]}
    paths = [space.objects.find(item.version.file) for item in (a, b)]
    gone = [item.name for item, path in zip((a, b), paths, strict=True) if path is None]
    if paths[0] is None or paths[1] is None:
        return {"same": None, "counts": counts, "note": f"rows cannot be compared: the bytes of {gone[0]} are gone"}
    from lineage.proof.changes import changed_rows

    found = changed_rows(paths[0], paths[1], _key(space, a, b), examples=examples)
    return {"same": not (found["only_a"] or found["only_b"] or found["changed"]), **found}


def _key(space: Workspace, a: _Written, b: _Written) -> tuple[str, ...]:
    """The key that is declared now, or the one that both were written with; none where there is neither."""
    for step in space.project.steps:
        if step.dataset == a.version.dataset:
            return step.key
    keys = [((_field(item.run, "declaration") or {}).get("shape") or {}).get("key") for item in (a, b)]
    return tuple(keys[0]) if keys[0] and keys[0] == keys[1] else ()


# --- bundles


def _bundle(a: _Written, b: _Written) -> dict[str, Section]:
    metrics = [_flat(item.bundle["metrics"]) if item.bundle else {} for item in (a, b)]
    features = [(_field(item.run, "parameters") or {}).get("features", []) for item in (a, b)]
    files = [{file.path: file.sha256 for file in item.version.files} for item in (a, b)]
    return {
        "metrics": compare(*metrics),
        "features": {
            "same": features[0] == features[1],
            "added": [name for name in features[1] if name not in features[0]],
            "gone": [name for name in features[0] if name not in features[1]],
            "reordered": _is_reordered(features[0], features[1]),
        },
        "files": compare(*files),
        "bytes": _pair(a.version.sha256, b.version.sha256),
    }


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one, with dots: `test.auc`."""
    found: dict[str, Any] = {}
    for name, item in value.items():
        found |= _flat(item, f"{prefix}{name}.") if isinstance(item, Mapping) else {prefix + name: item}
    return found


# --- predictions


def _prediction(found: Prediction) -> dict[str, Any]:
    answer, row = found.answer, found.row
    return {
        "name": f"{answer['prediction_id']}.{row['ordinal']}",
        "model": answer["model"],
        "version": answer["digest"],
        "made_at": answer["made_at"].isoformat(),
        "key": row["key"],
        "margin": found.margin,
    }


def _predictions(a: Prediction, b: Prediction) -> dict[str, Section]:
    models, origins = ([*pair] for pair in zip(*(_sides(item) for item in (a, b)), strict=True))
    margins = _pair(a.row["margin_bits"], b.row["margin_bits"])
    return {
        "model": compare(*models),
        "row": compare(*origins),
        "features": compare(a.row["features"], b.row["features"]),
        "request": _pair(a.answer["request_sha256"], b.answer["request_sha256"]),
        "engine": _pair(a.answer["engine"], b.answer["engine"]),
        "margin": {"same": margins["same"], "values": [a.margin, b.margin], "bits": margins["values"]},
    }


def _sides(found: Prediction) -> tuple[dict[str, Any], dict[str, Any]]:
    """Which version of which model answered, and which row of which table version it was asked about."""
    model = {"name": found.answer["model"], "version": found.answer["digest"]}
    names = {"dataset": "dataset", "partition": "partition", "version": "sha256", "position": "position", "key": "key"}
    return model, {"from": found.answer["features_from"], **{name: found.row[key] for name, key in names.items()}}


# --- values


def _field(run: Row | None, name: str) -> Any:
    """What is on record of a run; None where nothing is."""
    return run.get(name) if run else None


def _pair(a: Any, b: Any) -> Section:
    return {"same": a == b, "values": [a, b]}
