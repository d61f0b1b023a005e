"""`headwater replay`: a prediction, a table or a model computed again, and its bytes compared."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lineage.errors import NotFoundError, RequestError
from lineage.ports import Ports
from lineage.settings import Settings
from orchestration.project import open_workspace

if TYPE_CHECKING:
    from lineage.plan import Workspace
    from lineage.proof.recompute import Replayed
    from lineage.versions import Version


def replay(arguments: argparse.Namespace, settings: Settings) -> int:
    """`headwater replay ID|NAME[@VERSION]`: 1 when bits differ, or something could not be tried."""
    with open_workspace(settings) as space:
        if _is_prediction(arguments.name):
            return _replay_prediction(arguments, space)
        return _replay_versions(arguments, space)


def _is_prediction(name: str) -> bool:
    from lineage.tracing.predictions import parse_id

    try:
        parse_id(name)
    except NotFoundError:
        return False
    return True


def _replay_prediction(arguments: argparse.Namespace, space: Workspace) -> int:
    from lineage.replay import replay as replay_prediction
    from lineage.replay import rests_on
    from lineage.tracing.rowreplay import recompute_row

    if arguments.partition is not None:
        raise RequestError(f"--partition says which part of a table to replay; {arguments.name} is a prediction.")
    found = replay_prediction(space, arguments.name, Ports(), recompute_row=recompute_row)
    if not arguments.json:
        print(f"{found['result']}: margin {found['margin']!r} (bits {found['margin_bits']}, {found['replayed_by']})")
        print(f"  feature row: {_row_line(found)}")
        _print_lines(found["differences"], found["changes"])
    good = not found["result"].startswith("different")
    if arguments.source or arguments.at_commit:
        versions = _replayed(arguments, space, rests_on(space, arguments.name))
        found["versions"] = [item.to_json() for item in versions]
        good = good and all(item.identical for item in versions)
    if arguments.json:
        _print_json(found)
    return 0 if good else 1


def _row_line(found: dict[str, Any]) -> str:
    if found["row"] is None:
        return f"not computed again: {found['row_reason']}"
    return f"{found['row']}, computed from only its source rows"


def _replay_versions(arguments: argparse.Namespace, space: Workspace) -> int:
    from lineage.names import find_current

    named = find_current(space, arguments.name, arguments.partition)
    versions = _replayed(arguments, space, [item.version for item in named])
    identical = all(item.identical for item in versions)
    if arguments.json:
        result = "identical" if identical else "different"
        _print_json({"result": result, "identical": identical, "versions": [item.to_json() for item in versions]})
    elif len(versions) > 1:
        print(f"{sum(item.identical for item in versions)} of {len(versions)} versions identical")
    return 0 if identical else 1


def _replayed(arguments: argparse.Namespace, space: Workspace, versions: Sequence[Version]) -> list[Replayed]:
    from lineage.proof.recompute import replay_versions

    return replay_versions(
        space,
        versions,
        Ports(),
        from_source=arguments.source is not None,
        at_commit=arguments.at_commit,
        progress=_show_progress if arguments.json else _print_replayed,
    )


def _show_progress(item: Replayed) -> None:
    """Where the answer is JSON, a person who waits sees what is done on stderr."""
    if sys.stderr.isatty():
        print(f"{_label(item)} {item.result}", file=sys.stderr, flush=True)


def _print_replayed(item: Replayed) -> None:
    print(f"{_label(item):<34} {item.result:<11} {item.version.sha256[:12]}", flush=True)
    _print_lines(item.differences, item.changes)


def _print_lines(differences: Sequence[str], changes: Any) -> None:
    for line in differences:
        print(f"  {line}")
    for cause, lines in changes.items():
        for line in lines:
            print(f"  {cause}: {line}")


def _label(item: Replayed) -> str:
    from lineage.names import dotted

    return dotted(item.version.dataset, item.version.partition)


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str, ensure_ascii=False))
