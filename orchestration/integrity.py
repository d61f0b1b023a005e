"""The verbs that answer whether what is kept is what was recorded: verify, gc, and the export of a signed bundle."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineage.plan import WHOLE, Workspace
from lineage.settings import Settings
from orchestration.project import open_workspace

if TYPE_CHECKING:
    from lineage.gc import Collected
    from lineage.proof.archive import Checked
    from lineage.versions import Version

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def verify(arguments: argparse.Namespace, settings: Settings) -> int:
    """`headwater verify`: 1 when any file is not what was recorded and signed, or dvc.lock names other versions.

    With `--bundle FOLDER` an exported bundle, without a project; with `--public-key` alone this project's key.
    """
    if arguments.bundle:
        return _verify_archive(arguments)
    if arguments.public_key is not None:
        return _print_key(arguments, settings)
    from lineage.verify import verify as verify_files

    with open_workspace(settings) as space:
        found = verify_files(space)
    if arguments.json:
        _print_json(found.to_json())
    else:
        manifests = f"{found.manifests} signed manifest{'s' * (found.manifests != 1)}"
        print(
            f"{found.files} files of {found.versions} versions and {manifests} compared, {len(found.damaged)} damaged."
        )
        for item in found.damaged:
            print(f"  {item}")
        if found.lock:
            print(f"dvc.lock differs from the record in {len(found.lock)} ways; no data is damaged by that.")
        for text in found.lock:
            print(f"  {text}")
    return 1 if found.damaged or found.lock else 0


def gc(arguments: argparse.Namespace, settings: Settings) -> int:
    """`headwater gc [--dry-run]`."""
    from lineage.gc import collect

    def say(name: str) -> None:
        print(f"waiting for {name} to end", file=sys.stderr, flush=True)

    with open_workspace(settings) as space:
        found = collect(space, also=rollback_targets(space), dry_run=arguments.dry_run, waiting=say)
    if arguments.json:
        _print_json(found.to_json())
    else:
        _print_collected(found)
    return 0


def export_model(arguments: argparse.Namespace, space: Workspace) -> int:
    """`headwater models export NAME[@VERSION] FOLDER`."""
    from lineage.proof.archive import write_archive
    from lineage.tracing.ancestry import recorded_version
    from serving.promotion import CHALLENGER, CHAMPION
    from serving.registry import aliases, find_model, find_version

    name, _, wanted = arguments.model.partition("@")
    step = find_model(space, name)
    wanted = wanted or (CHAMPION if CHAMPION in aliases(space, step) else CHALLENGER)
    digest = find_version(space, step, wanted)
    key = write_archive(space, recorded_version(space.store, step.dataset, WHOLE, digest), Path(arguments.folder))
    if arguments.json:
        _print_json({"model": name, "version": digest, "folder": arguments.folder, "signed_by": key.fingerprint})
    else:
        print(f"{name} {digest[:12]} is in {arguments.folder}, signed by {key.fingerprint}")
    return 0


def rollback_targets(space: Workspace) -> dict[str, list[Version]]:
    """What `headwater models rollback` would go back to: it has no alias any more, and must still be whole."""
    from lineage.tracing.ancestry import recorded_version
    from serving.promotion import champion_before, decisions

    before = {step.dataset: champion_before(decisions(space, step.model_name)) for step in space.project.models()}
    versions = [recorded_version(space.store, name, WHOLE, digest) for name, digest in before.items() if digest]
    return {"champions before, for rollback": versions}


def _verify_archive(arguments: argparse.Namespace) -> int:
    from lineage.proof.archive import check_archive
    from lineage.proof.signing import read_public_key

    if arguments.public_key == "":
        print("headwater: --public-key needs a FILE beside --bundle.", file=sys.stderr)
        return 2
    key = read_public_key(Path(arguments.public_key)) if arguments.public_key else None
    found = check_archive(Path(arguments.bundle), key)
    if arguments.json:
        _print_json(vars(found))
    else:
        _print_checked(found)
    return 1 if found.faults else 0


def _print_key(arguments: argparse.Namespace, settings: Settings) -> int:
    from lineage.proof.signing import own_key

    if arguments.public_key:
        print("headwater: --public-key FILE is for --bundle FOLDER; alone it takes no FILE.", file=sys.stderr)
        return 2
    key = own_key(settings.home)
    if arguments.json:
        _print_json({"fingerprint": key.fingerprint, "pem": key.pem})
    else:
        print(key.pem, end="")
        print(f"fingerprint {key.fingerprint}", file=sys.stderr)
    return 0


def _print_checked(found: Checked) -> None:
    print(
        f"{found.dataset or 'bundle'} {found.version[:12]}: {found.files} files compared, {len(found.faults)} faults."
    )
    for text in found.faults:
        print(f"  {text}")
    if found.faults:
        return
    print(f"  by its provenance it rests on {found.versions} versions, from {found.sources} raw files")
    print(f"  signed by {found.signed_by}")
    if not found.trusted:
        print("  That key came with the bundle. Compare its fingerprint with the one that")
        print(
            "  `headwater verify --public-key` prints in the project that signed, or name its key: --public-key FILE."
        )


def _print_collected(found: Collected) -> None:
    verb = "would free" if found.dry_run else "freed"
    print(f"{verb} {found.objects:,} objects, {_size(found.size_bytes)}, and {found.indexes:,} indexes")
    for kept in found.kept:
        if kept.objects:
            print(f"  {kept.objects:,} objects, {_size(kept.size_bytes)} stay: {kept.reason}")


def _size(size_bytes: float) -> str:
    for unit in _UNITS:
        if size_bytes < 1024 or unit == _UNITS[-1]:
            break
        size_bytes /= 1024
    return f"{size_bytes:,.0f} {unit}" if unit == "B" else f"{size_bytes:,.1f} {unit}"


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str, ensure_ascii=False))


VERBS = {"verify": verify, "gc": gc}
