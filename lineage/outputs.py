"""What a run wrote, as the store keeps it: its table or model, and the rows that its checks put aside, if they do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal
from uuid import UUID

from psycopg.types.json import Jsonb

from lineage.plan import Workspace
from lineage.produce import Produced
from lineage.provenance import is_published, publish
from lineage.quarantine import quarantine_of
from lineage.store import Store
from lineage.versions import FileVersion, Version, files_to_json, sha256_file


def record_outputs(store: Store, run_id: UUID, produced: Produced) -> None:
    """Record what a run wrote as the current versions, still to be put into place; call it in a transaction."""
    for version, lineage in _outputs(produced):
        where = {"dataset": version.dataset, "partition": version.partition, "sha256": version.sha256}
        store.add_version(version)
        store.run("insert_run_output", run_id=run_id, lineage=Jsonb(files_to_json(lineage)), **where)
        store.run("set_current_version", run_id=run_id, **where)
        store.run("insert_publication", **where)
    if produced.aside is None:
        # Its checks may have put rows aside once.
        version = produced.version
        store.run("delete_current_version", dataset=quarantine_of(version.dataset), partition=version.partition)


def _outputs(produced: Produced) -> Iterator[tuple[Version, tuple[FileVersion, ...]]]:
    yield produced.version, produced.lineage
    if produced.aside is not None:
        yield produced.aside.version, produced.aside.lineage


def put_aside(space: Workspace, version: Version) -> Version | None:
    """The current version of the rows that were put aside of a table's partition; None if its checks put none aside."""
    return space.store.current(quarantine_of(version.dataset)).get(version.partition)


def restore(
    space: Workspace, version: Version, lineage: Sequence[FileVersion]
) -> Literal["current", "restored"] | None:
    """Put a current version's files back where they are missing or changed, and those that say which rows it came from;
    None if the cache lost them."""
    files = (*version.files, *lineage)
    wrong = [file for file in files if sha256_file(space.root / file.path) != file.sha256]
    if not all(space.objects.is_whole(file) for file in wrong):
        return None
    for file in set(files) - set(wrong):
        # A damaged or missing object is made whole from the file that is right.
        space.objects.adopt_copy(space.root / file.path, file)
    if wrong or not is_published(space, version):
        publish(space, version)
    return "restored" if wrong else "current"
