"""The verbs about suites themselves: `headwater suite propose` and `headwater suite check`. They need no database."""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from pathlib import Path
from typing import Any

from lineage.discover import discover
from lineage.errors import NotFoundError, SettingsError
from lineage.objects import write_bytes
from lineage.plan import Declared
from lineage.settings import Settings
from lineage.spec import Step
from validations.inspection import Inspection, inspect_suites, stored_files


def suite(arguments: argparse.Namespace, settings: Settings) -> int:
    """`headwater suite propose|check`."""
    return {"propose": propose, "check": check}[arguments.action](arguments, settings)


def propose(arguments: argparse.Namespace, settings: Settings) -> int:
    """`headwater suite propose TABLE`: 2 for options that do not go together."""
    from validations.drafting.proposal import suite_text
    from validations.readers import KINDS

    is_file = Path(arguments.table).suffix.lower() in KINDS
    if wrong := _wrong_use(arguments, is_file):
        print(f"headwater: {wrong}", file=sys.stderr)
        return 2
    out = Path(arguments.out) if arguments.out else None
    if out is not None and out.exists() and not arguments.force:
        raise SettingsError(f"{out} exists; name another file, or replace it with --force.")
    drafted = _of_file(Path(arguments.table), out) if is_file else _of_step(arguments, settings, out)
    if out is None:
        print(suite_text(drafted), end="")
    else:
        write_bytes(out, suite_text(drafted).encode())
        print(f"wrote {out}: {len(drafted['expectations'])} expectations; edit it before a step declares it.")
    return 0


def check(arguments: argparse.Namespace, settings: Settings) -> int:
    """`headwater suite check [SUITE…]`: 1 when something has to be corrected."""
    found = inspect_suites(Declared(settings, discover(settings)), arguments.suites)
    if arguments.json:
        print(json.dumps(_inspection_json(found), indent=2, ensure_ascii=False))
    else:
        _print_inspection(found)
    return 0 if found.good else 1


def _wrong_use(arguments: argparse.Namespace, is_file: bool) -> str | None:
    if is_file and arguments.partition:
        return "--partition is of a step; a file is one table."
    if arguments.force and not arguments.out:
        return "--force needs --out FILE."
    return None


def _of_file(path: Path, out: Path | None) -> dict[str, Any]:
    from validations.drafting.proposal import Drafted, propose

    return propose([path], Drafted((out or path).stem))


def _of_step(arguments: argparse.Namespace, settings: Settings, out: Path | None) -> dict[str, Any]:
    from validations.drafting.proposal import Drafted, propose

    space = Declared(settings, discover(settings))
    step = space.project.step(arguments.table)
    name = step.full_name
    if step.kind not in ("source", "table"):
        raise NotFoundError(f"{name} is a {step.kind}, which has no rows; name a source or a table.")
    _require_partition(step, arguments.partition)
    if not (files := stored_files(space, step, arguments.partition)):
        place = f"{name}[{arguments.partition}]" if arguments.partition else name
        raise NotFoundError(f"{place} has no file in data/tables; run `headwater run {name}` first.")
    return propose(files, Drafted(out.stem if out else step.name, step.key, monthly=step.partitions is not None))


def _require_partition(step: Step, partition: str | None) -> None:
    if partition is None:
        return
    if step.partitions is None:
        raise NotFoundError(f"{step.full_name} has no partitions; leave --partition out.")
    keys = step.partitions.keys
    if partition not in keys:
        near = tuple(difflib.get_close_matches(partition, keys, n=3))
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has {keys[0]} to {keys[-1]}."
        raise NotFoundError(f"{step.full_name} has no partition {partition!r}; {hint}", near)


def _inspection_json(found: Inspection) -> dict[str, Any]:
    findings = [{"wrong": item.wrong, **vars(item)} for item in found.findings]
    return {
        "success": found.good,
        "suites": found.suites,
        "expectations": found.expectations,
        "findings": findings,
    }


def _print_inspection(found: Inspection) -> None:
    for item in found.findings:
        print(f"{'WRONG  ' if item.wrong else 'warning'} {item.text}")
    wrong = sum(item.wrong for item in found.findings)
    told = f"{wrong} wrong" if wrong else "nothing wrong"
    warnings = len(found.findings) - wrong
    more = f", {_many(warnings, 'warning')}" if warnings else ""
    looked = f"{_many(len(found.suites), 'suite')} with {_many(found.expectations, 'expectation')}"
    print(f"{looked}: {told}{more}.")


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
