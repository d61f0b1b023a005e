"""The verbs of the command line that work on the project directly. Each returns an exit code."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lineage import dvc
from lineage.discover import discover
from lineage.errors import NotFoundError, RequestError
from lineage.plan import Declared, Workspace
from lineage.ports import CheckReport, describe
from lineage.quarantine import quarantine_of
from lineage.relay import send_in_background
from lineage.run import Door, Outcome, run_steps
from lineage.settings import Settings
from lineage.spec import Step
from orchestration.project import make_runner, open_workspace

if TYPE_CHECKING:
    from serving.promotion import Decision

_STATES = {"current": "up to date", "restored": "restored", "complete": "computed"}


def run(arguments: argparse.Namespace, settings: Settings) -> int:
    """`headwater run [STEP] [--partition P]`."""
    door = Door("dvc" if "DVC_STAGE" in os.environ else "cli")
    with open_workspace(settings) as space:
        steps = (space.project.step(arguments.step),) if arguments.step else space.project.steps
        runner = make_runner(space, door, _print_outcome)
        try:
            for step in steps:
                run_steps(runner, [step], arguments.partition)
                _decide(space, step)
        finally:
            send_in_background(settings)
        _warn_if_stale(space, steps)
    return 0


def list_steps(arguments: argparse.Namespace, settings: Settings) -> int:
    """`headwater list`."""
    with open_workspace(settings) as space:
        rows = [_step_row(space, step) for step in space.project.steps]
    if arguments.json:
        _print_json(rows)
    elif not rows:
        print(f"No pipelines are declared in {settings.pipelines}/; docs/tutorial.md shows how.")
    else:
        _print_table(("step", "kind", "partitions", "rows", "version"), [_list_line(row) for row in rows])
    return 0


def validate(arguments: argparse.Namespace, settings: Settings) -> int:
    """`headwater validate PATH --suite NAME`: 1 when a blocking expectation failed."""
    from validations.check import run_suite

    parameters = dict(arguments.parameters or ())
    report = run_suite(_suite_file(arguments.suite, settings), Path(arguments.path), parameters)
    if arguments.json:
        _print_json(_report_json(report))
    else:
        _print_report(report)
    return 0 if report.success else 1


def predict(arguments: argparse.Namespace, settings: Settings) -> int:
    """`headwater predict MODEL --key K | --json FILE`: 1 when a key is unknown."""
    from serving.predict import Predictor

    with open_workspace(settings) as space:
        predictor = Predictor(space)
        if arguments.key:
            answer = predictor.by_key(arguments.model, arguments.key)
        else:
            answer = predictor.by_features(arguments.model, _read_columns(Path(arguments.features)))
    found = answer.to_json()
    _print_json(found)
    return 1 if any("error" in entry for entry in found["predictions"]) else 0


def models(arguments: argparse.Namespace, settings: Settings) -> int:
    """`headwater models list|show|promote|rollback|export`: 1 when a version was not promoted."""
    with open_workspace(settings) as space:
        return _MODEL_VERBS[arguments.action](arguments, space)


def _list_models(arguments: argparse.Namespace, space: Workspace) -> int:
    from serving.registry import list_models

    found = list_models(space)
    if arguments.json:
        _print_json(found)
    else:
        columns = ("model", "version", "aliases", "trained at")
        rows = [(m["name"], m["digest"][:12], ", ".join(m["aliases"]) or "-", m["trained_at"]) for m in found]
        _print_table(columns, rows)
    return 0


def _show_model(arguments: argparse.Namespace, space: Workspace) -> int:
    from serving.registry import show_model

    found = show_model(space, arguments.model)
    if arguments.json:
        _print_json(found)
    else:
        _print_model(found)
    return 0


def _print_model(found: dict[str, Any]) -> None:
    print(f"{found['name']}  {found['step']} learns {found['target']} from {found['table']}")
    print(f"inputs      {', '.join(found['inputs'])}")
    for version in found["versions"]:
        scores = version["metrics"].get("test") or {}
        told = "  ".join(f"{name} {value:.4g}" for name, value in scores.items() if isinstance(value, float))
        print(f"version     {version['digest'][:12]}  {version['trained_at']}  {' '.join(version['aliases'])}  {told}")
    for decision in found["decisions"]:
        result = "promoted" if decision["promoted"] else "not promoted"
        print(f"{decision['decided_by']:<11} {decision['version'][:12]}  {decision['decided_at']}  {result}")
        for item in decision["conditions"]:
            holds = "holds" if item["passed"] else "overridden" if item["overridden"] else "does not hold"
            print(f"            {item['name']} {holds}: {item['text']}")


def _promote(arguments: argparse.Namespace, space: Workspace) -> int:
    from serving.gate import promote

    return _print_decision(promote(space, arguments.model, arguments.version, force=arguments.force), arguments)


def _rollback(arguments: argparse.Namespace, space: Workspace) -> int:
    from serving.gate import rollback

    return _print_decision(rollback(space, arguments.model), arguments)


def _export(arguments: argparse.Namespace, space: Workspace) -> int:
    from orchestration.integrity import export_model

    return export_model(arguments, space)


_MODEL_VERBS = {
    "list": _list_models,
    "show": _show_model,
    "promote": _promote,
    "rollback": _rollback,
    "export": _export,
}


def _print_decision(decision: Decision, arguments: argparse.Namespace) -> int:
    from serving.promotion import told

    if arguments.json:
        _print_json(decision.to_json())
    else:
        print(f"{decision.model:<34} {told(decision)}")
    return 0 if decision.promoted else 1


def _decide(space: Workspace, step: Step) -> None:
    """Let the gate decide on what a model step trained, also where it was current: a crash may have come between."""
    if step.kind != "model":
        return
    from serving.gate import decide
    from serving.promotion import told

    print(f"{step.full_name:<34} {told(decide(space, step))}", flush=True)


def dvc_files(arguments: argparse.Namespace, settings: Settings) -> int:
    """`headwater dvc sync|check`: needs no database."""
    space = Declared(settings, discover(settings))
    if arguments.action == "sync":
        for name in dvc.sync(space):
            print(f"wrote {name}")
        return 0
    stale = dvc.stale_files(space)
    if stale:
        print(f"{', '.join(stale)} not in step with the declarations; run `headwater dvc sync`.", file=sys.stderr)
    return 1 if stale else 0


def _print_outcome(outcome: Outcome) -> None:
    rows = "" if outcome.version.row_count is None else f"{outcome.version.row_count:>10,} rows"
    aside = f"  {outcome.aside.row_count:,} quarantined" if outcome.aside else ""
    print(f"{outcome.label:<34} {_STATES[outcome.state]:<11}{rows:>16}  {outcome.seconds:6.2f} s{aside}", flush=True)


def _warn_if_stale(space: Workspace, steps: Iterable[Step]) -> None:
    if (space.root / "dvc.yaml").exists() and any(dvc.stage_is_stale(space, step) for step in steps):
        print("dvc.yaml and params.yaml are stale; run `headwater dvc sync`.", file=sys.stderr)


def _step_row(space: Workspace, step: Step) -> dict[str, Any]:
    versions = space.store.current(step.dataset)
    counts = [version.row_count for version in versions.values() if version.row_count is not None]
    aside = space.store.current(quarantine_of(step.dataset)).values()
    return {
        "step": step.full_name,
        "kind": step.kind,
        "description": step.description,
        "inputs": [item.full_name for item in space.project.inputs(step)],
        "partitions": [key for key in versions if key],
        "versions": {key: version.sha256 for key, version in versions.items()},
        "row_count": sum(counts) if counts else None,
        "quarantined": sum(version.row_count or 0 for version in aside) if aside else None,
    }


def _list_line(row: dict[str, Any]) -> tuple[str, ...]:
    keys = row["partitions"]
    span = f"{keys[0]} … {keys[-1]} ({len(keys)})" if keys else "-"
    rows = "-" if row["row_count"] is None else f"{row['row_count']:,}"
    rows += f" ({row['quarantined']:,} quarantined)" if row["quarantined"] else ""
    versions = [*row["versions"].values()]
    return row["step"], row["kind"], span, rows, versions[-1][:12] if versions else "not yet"


def _suite_file(name: str, settings: Settings) -> Path:
    folder = settings.root / "validations" / "suites"
    for path in (Path(name), folder / f"{name}.json"):
        if path.is_file():
            return path
    known = sorted(str(path.relative_to(folder).with_suffix("")) for path in folder.rglob("*.json"))
    raise NotFoundError(f"There is no suite {name!r}; {', '.join(known) or 'none'} are in {folder}.", tuple(known))


def _report_json(report: CheckReport) -> dict[str, Any]:
    expectations = [{**vars(item), "observed": {**item.observed}} for item in report.expectations]
    return {"suite": report.suite, "success": report.success, "expectations": expectations}


def _print_report(report: CheckReport) -> None:
    passed = sum(item.success for item in report.expectations)
    if not report.expectations:
        print(f"{report.suite} has no expectations, so nothing was checked.")
        return
    print(f"{report.suite}: {passed} of {len(report.expectations)} expectations hold.")
    for item in report.expectations:
        if not item.success:
            print(f"  {'FAILED ' if item.blocking else 'warning'} {item.observed.get('exception') or describe(item)}")


def _read_columns(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} is not readable as JSON ({error}).") from error
    if not isinstance(found, dict):
        raise RequestError(f"{path} must hold an object: feature name -> list of values.")
    return found


def _print_table(columns: tuple[str, ...], rows: Any) -> None:
    lines = [columns, *rows]
    widths = [max(len(str(line[i])) for line in lines) for i in range(len(columns))]
    for line in lines:
        print("  ".join(f"{value!s:<{width}}" for value, width in zip(line, widths, strict=True)).rstrip())


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, default=str, ensure_ascii=False))


VERBS = {
    "run": run,
    "list": list_steps,
    "validate": validate,
    "predict": predict,
    "models": models,
    "dvc": dvc_files,
}
