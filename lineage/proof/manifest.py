"""Signed manifests: what a bundle rests on, version by version, file by file and run by run.

Its bytes are those of the provenance file beside the bundle, in one spelling, so that any byte that changes breaks the
signature. It is kept in the store as well, for versions whose place another one has taken.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from lineage.proof.foundation import Foundation
from lineage.store import Row, Store
from lineage.tracing.ancestry import Identity, Origin, identity
from lineage.versions import FileVersion, Version, files_to_json, json_digest

FORMAT = 1


@dataclass(frozen=True)
class Manifest:
    """The bytes of a provenance file and of the signature file over it."""

    body: bytes
    signature: bytes

    @property
    def sha256(self) -> str:
        """What the signature is over."""
        return hashlib.sha256(self.body).hexdigest()


def manifest_paths(dataset: str) -> tuple[str, str]:
    """Where provenance and signature of a model stand, relative to the root: beside the bundle's folder."""
    return f"data/models/{dataset}.provenance.json", f"data/models/{dataset}.manifest.sig"


def contents(origins: Iterable[Origin]) -> dict[str, Any]:
    """`format`, `versions` and `runs`: everything among `origins`, each by what identifies it."""
    origins = list(origins)
    writings = [
        _run_record(origin.run, _names(origin), origin.lineage, identity(origin.version))
        for origin in origins
        if origin.run
    ]
    return {"format": FORMAT, "versions": [_version_record(origin.version) for origin in origins], "runs": writings}


def spelled(record: Mapping[str, Any]) -> bytes:
    """JSON with one spelling: sorted keys, two spaces, UTF-8, a newline at the end, no NaN."""
    return f"{json.dumps(record, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)}\n".encode()


def moment(time: datetime) -> str:
    """A time in UTC, whatever zone the database answers in."""
    return time.astimezone(UTC).isoformat()


def read_manifest(store: Store, version: Version) -> Manifest | None:
    """The signed manifest of a bundle on record; None where there is none."""
    row = store.row("manifest", dataset=version.dataset, sha256=version.sha256)
    return Manifest(row["body"].encode(), row["signature"].encode()) if row and row["body"] is not None else None


def is_older(store: Store, version: Version) -> bool:
    """Whether a bundle without a manifest was on record before bundles were signed."""
    row = store.row("manifest", dataset=version.dataset, sha256=version.sha256)
    return row is not None and row["body"] is None


def store_manifest(store: Store, version: Version, manifest: Manifest) -> None:
    """Keep the signed manifest of a bundle, in place of any other."""
    store.run(
        "set_manifest",
        dataset=version.dataset,
        sha256=version.sha256,
        body=manifest.body.decode(),
        signature=manifest.signature.decode(),
    )


# A version that a manifest names, what is said to be wrong about (its record or that of its run), and what that is.
Disagreement = tuple[Identity, str, str]


def other_versions(manifest: Manifest, found: Foundation) -> Iterator[Disagreement]:
    """Versions of which other bytes are on record than were signed."""
    for entry in json.loads(manifest.body)["versions"]:
        version = found.versions.get(key := _key(entry))
        if version and (differing := _differing(entry, _version_record(version))):
            yield key, f"the record of {_named(key)}", f"says another {differing} than the signed manifest"


def other_ways(manifest: Manifest, found: Foundation) -> Iterator[Disagreement]:
    """Versions and runs that lie on the way by the manifest, and not, or not so, by the record."""
    record = json.loads(manifest.body)
    for key in map(_key, record["versions"]):
        if key not in found.versions:
            yield (
                key,
                f"the record of {_named(key)}",
                "is not what anything here came from, as the signed manifest says",
            )
    for entry in record["runs"]:
        key, subject = _key(entry["output"]), f"the record of run {entry['run_id']}"
        runs = {str(writing.run["run_id"]): writing for writing in found.writings.get(key, ())}
        writing = runs.get(entry["run_id"])
        if writing is None:
            yield key, subject, f"does not say that it wrote {_named(key)}, as the signed manifest does"
        elif differing := _differing(entry, _run_record(writing.run, writing.inputs, writing.lineage, key)):
            yield key, subject, f"says another {differing} than the signed manifest"


def _names(origin: Origin) -> list[tuple[str, Identity]]:
    return [(name, identity(version)) for name, version in origin.inputs]


def _version_record(version: Version) -> dict[str, Any]:
    return {
        **_reference(identity(version)),
        "row_count": version.row_count,
        "origin": version.origin,
        "files": files_to_json(version.files),
    }


def _run_record(
    run: Row,
    inputs: Iterable[tuple[str, Identity]],
    lineage: Iterable[FileVersion],
    output: Identity,
) -> dict[str, Any]:
    return {
        "run_id": str(run["run_id"]),
        "step": run["step"],
        "partition": run["partition"],
        "code": run["code"],
        "parameters": run["parameters"],
        "environment": json_digest(run["environment"]),
        "fingerprint": run["fingerprint"],
        "commit": run["commit_sha"],
        "started_at": moment(run["started_at"]),
        "ended_at": moment(run["ended_at"]),
        "inputs": [{"name": name, **_reference(key)} for name, key in inputs],
        "output": _reference(output),
        "row_lineage": files_to_json(lineage),
    }


def _reference(key: Identity) -> dict[str, str]:
    return dict(zip(("dataset", "partition", "version"), key, strict=True))


def _key(entry: Mapping[str, Any]) -> Identity:
    return entry["dataset"], entry["partition"], entry["version"]


def _named(key: Identity) -> str:
    dataset, partition, sha256 = key
    return f"{dataset}{f'[{partition}]' if partition else ''} {sha256[:12]}…"


def _differing(signed: Mapping[str, Any], recorded: Mapping[str, Any]) -> str:
    names = [name for name in sorted({*signed, *recorded}) if signed.get(name) != recorded.get(name)]
    return ", ".join(names)
