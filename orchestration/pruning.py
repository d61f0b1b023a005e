"""The verb that says for how long history is told: `headwater lineage prune`."""

from __future__ import annotations

import argparse
import json
import sys

from lineage.retention import Counts, Pruned, prune, purge, undo
from lineage.settings import Settings
from orchestration.integrity import rollback_targets
from orchestration.project import open_workspace


def prune_events(arguments: argparse.Namespace, settings: Settings) -> int:
    """`headwater lineage prune --older-than AGE|--undo|--purge AGE`: 0 when it is done."""
    if arguments.dry_run and not arguments.older_than:
        print("headwater: --dry-run is for --older-than.", file=sys.stderr)
        return 2
    with open_workspace(settings) as space:
        also = rollback_targets(space)
        if arguments.older_than:
            _show(prune(space.store, arguments.older_than, also=also, dry_run=arguments.dry_run), arguments)
        elif arguments.undo:
            _show_counts("brought back", undo(space.store), arguments)
        else:
            _show_counts("removed for good", purge(space.store, arguments.purge, also=also), arguments)
    return 0


def _show(done: Pruned, arguments: argparse.Namespace) -> None:
    if arguments.json:
        print(json.dumps(done.to_json(), indent=2))
        return
    verb = "would prune" if done.dry_run else "pruned"
    print(f"{verb} {_told(done.pruned)}, from before {done.before:%Y-%m-%dT%H:%M:%SZ}.")
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in done.reasons.items())
    print(f"kept {_told(done.kept)}, from before then{f'; of the runs: {reasons}' if reasons else ''}.")


def _show_counts(verb: str, done: Counts, arguments: argparse.Namespace) -> None:
    print(json.dumps(vars(done), indent=2) if arguments.json else f"{verb}: {_told(done)}.")


def _told(counts: Counts) -> str:
    events = "their events" if counts.events is None else f"{counts.events:,} events"
    return f"{counts.runs:,} runs, {counts.declarations:,} declarations and {events}"
