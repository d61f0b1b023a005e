"""The `headwater` command: parse, call one verb, and turn errors into one sentence and an exit code.

0: done; 1: the thing asked is not so, or could not be done; 2: usage.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

from lineage.errors import HeadwaterError
from lineage.settings import Settings, read_settings
from orchestration.moments import moment, moment_past

Verb = Callable[[argparse.Namespace, Settings], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parsed = build_parser().parse_args(arguments)
    try:
        code = _verb(parsed.verb)(parsed, read_settings())
        # Here, where a reader that has gone is expected, and not when the interpreter ends.
        sys.stdout.flush()
    except HeadwaterError as error:
        print(f"headwater: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("headwater: interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader (head, less) has gone; nothing is left to be said, at the end neither.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(
            f"headwater: {error.strerror or error}{f': {error.filename}' if error.filename else ''}.", file=sys.stderr
        )
        return 1
    return code


def _verb(name: str) -> Verb:
    # Verbs load what they need: `headwater run` must not wait for the imports of `headwater up`.
    if name == "up":
        from orchestration.up import up

        return up
    if name == "doctor":
        from orchestration.doctor import doctor

        return doctor
    if name == "trace":
        from orchestration.tracing import trace

        return trace
    if name == "replay":
        from orchestration.replaying import replay

        return replay
    if name in ("verify", "gc"):
        from orchestration.integrity import VERBS as INTEGRITY_VERBS

        return INTEGRITY_VERBS[name]
    if name in ("diff", "impact"):
        from orchestration.questions import QUESTIONS

        return QUESTIONS[name]
    if name == "graph":
        from orchestration.graphing import graph

        return graph
    if name in ("where", "excluded"):
        from orchestration.rows import ROWS

        return ROWS[name]
    if name == "lineage":
        return _lineage
    if name == "suite":
        from orchestration.suites import suite

        return suite
    from orchestration.verbs import VERBS

    return VERBS[name]


def _lineage(arguments: argparse.Namespace, settings: Settings) -> int:
    if arguments.action == "prune":
        from orchestration.pruning import prune_events

        return prune_events(arguments, settings)
    from orchestration.resending import resend_events

    return resend_events(arguments, settings)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="headwater",
        description="Data pipelines whose every prediction can be traced to the bytes it came from, and replayed.",
        epilog="Settings come from the environment; docs/settings.md lists them.",
    )
    parser.add_argument("--version", action="version", version=f"headwater {metadata.version('headwater')}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _add_pipeline_verbs(verbs)
    _add_tracing_verbs(verbs)
    _add_questions(verbs)
    _add_graph(verbs)
    _add_lineage_verbs(verbs)
    _add_serving_verbs(verbs)
    return parser


def _add_pipeline_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    up = _add(verbs, "up", "start everything and materialize the pipelines", "headwater up --once")
    up.add_argument("--once", action="store_true", help="do it all, trace and replay one prediction, print JSON, stop")
    run = _add(verbs, "run", "bring one step, or everything, up to date", "headwater run flights.features")
    run.add_argument("step", nargs="?", metavar="STEP", help="pipeline.step; without it, all steps in order")
    run.add_argument("--partition", metavar="P", help="only this partition, for example 2013-03")
    _json(_add(verbs, "list", "list the declared steps and their current versions", "headwater list"))
    _add(verbs, "doctor", "check that everything Headwater needs is there", "headwater doctor")
    validate = _add(
        verbs, "validate", "run a suite on a file", "headwater validate march.csv --suite flights/departures"
    )
    validate.add_argument(
        "path", metavar="PATH", help="a file or a folder of files of one kind: Parquet, CSV, TSV, JSON, NDJSON or Arrow"
    )
    validate.add_argument("--suite", required=True, metavar="NAME", help="pipeline/suite, or the path of a suite file")
    text = "a value that the suite asks for by $PARAMETER, such as month=3; may be repeated"
    validate.add_argument(
        "--parameter", metavar="NAME=VALUE", dest="parameters", action="append", type=_parameter, help=text
    )
    _json(validate)
    _add_suite(verbs)
    dvc = _add(verbs, "dvc", "keep DVC's files in step with the declarations", "headwater dvc sync")
    dvc.add_argument("action", choices=("sync", "check"), help="write dvc.yaml and params.yaml, or fail when stale")


def _add_suite(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    suite = _add(verbs, "suite", "draft suites, and check that they fit their tables", "headwater suite check")
    actions = suite.add_subparsers(dest="action", required=True, metavar="propose|check")
    text = "draft a suite from what a table holds"
    propose = _add(actions, "propose", text, "headwater suite propose flights.legs --out suite.json")
    propose.add_argument("table", metavar="TABLE", help="pipeline.step, or a file that validate reads")
    propose.add_argument("--partition", metavar="P", help="of a step, only this partition, for example 2013-03")
    propose.add_argument("--out", metavar="FILE", help="write the suite into this file rather than print it")
    propose.add_argument("--force", action="store_true", help="replace FILE where there is one")
    text = "find expectations on columns that are gone, and suites that cannot be used"
    check = _add(actions, "check", text, "headwater suite check flights/legs")
    check.add_argument("suites", metavar="SUITE", nargs="*", help="pipeline/suite, or a suite's file; else all")
    _json(check)


def _add_tracing_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    example = "4f6c2a0e-8d3b-4a55-9c1d-0a7d3c2b1e90.0"
    text = "follow a prediction or a row back to the records of files that it came from"
    trace = _add(verbs, "trace", text, f"headwater trace {example}")
    trace.add_argument(
        "name",
        metavar="ID|TABLE[PARTITION]:ROW",
        help="a prediction id (ID.i is row i of a batch), or a row: flights.features[2013-11]:1000",
    )
    trace.add_argument("--feature", metavar="NAME", help="only what this feature, or column, came from")
    trace.add_argument(
        "--source", metavar="DATASET[PARTITION]", help="print the records of one source: flights/departures[2013-11]"
    )
    trace.add_argument("--offset", type=_count, default=0, metavar="N", help="with --source, records to pass over (0)")
    trace.add_argument("--limit", type=_count, metavar="N", help="with --source, how many records to print (100)")
    _json(trace)
    _add_replay(verbs)
    _add_integrity_verbs(verbs)


def _add_replay(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "compute a prediction, a table or a model again and compare bytes"
    replay = _add(verbs, "replay", text, "headwater replay flights.features --partition 2013-03 --from source")
    replay.add_argument(
        "name",
        metavar="ID|NAME[@VERSION]",
        help="a prediction id (ID.i is row i of a batch), flights.features[2013-03]@3fa1b2c3 (or @current, @previous), "
        "flights-late-t0@champion, or a recorded file's path",
    )
    replay.add_argument("--partition", metavar="P", help="of a table, only this partition, for example 2013-03")
    replay.add_argument(
        "--from", dest="source", choices=("source",), help="also compute all it came from, from the raw files upwards"
    )
    replay.add_argument("--at-commit", action="store_true", help="with the code of the recorded commit, in a worktree")
    _json(replay)


def _add_integrity_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    verify = _add(
        verbs,
        "verify",
        "hash every file that models and predictions rest on, and check what was signed",
        "headwater verify; headwater verify --bundle exported --public-key theirs.pem",
    )
    verify.add_argument("--bundle", metavar="FOLDER", help="an exported bundle instead; needs no project")
    verify.add_argument(
        "--public-key",
        metavar="FILE",
        nargs="?",
        const="",
        help="with --bundle, the key that must have signed it; alone, print this project's key as PEM",
    )
    _json(verify)
    gc = _add(verbs, "gc", "free stored objects that nothing on record needs", "headwater gc --dry-run")
    gc.add_argument("--dry-run", action="store_true", help="only say what would be freed, and why the rest stays")
    _json(gc)


def _add_questions(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    diff = _add(
        verbs, "diff", "compare two versions or two predictions", "headwater diff flights-late-t0@champion @challenger"
    )
    names = "flights.features[2013-03]@3fa1b2c3 (or @current, @previous), flights-late-t0@champion, a prediction's id"
    diff.add_argument("a", metavar="A", help=f"{names}, or a run's")
    diff.add_argument("b", metavar="B", help="another; @VERSION alone is one of the same thing")
    diff.add_argument("--examples", type=_count, default=5, metavar="N", help="how many changed rows to show (5)")
    _json(diff)
    impact = _add(verbs, "impact", "list everything that rests on a thing", "headwater impact flights.weather[2013-03]")
    impact.add_argument(
        "name",
        metavar="DATASET[@VERSION]|FILE|SOURCE:ROW",
        help="flights.weather[2013-03]@3fa1b2c3, a recorded file's path, or one row: flights.weather[2013-03]:17",
    )
    impact.add_argument("--limit", type=_count, default=20, metavar="N", help="how many predictions to list (20)")
    impact.add_argument("--offset", type=_count, default=0, metavar="N", help="how many predictions to pass over (0)")
    where = _add(verbs, "where", "follow one row forwards", "headwater where 'flights/departures[2013-01]:826'")
    where.add_argument("name", metavar="SOURCE:ROW", help="a row of a source, its file or a table, counted from 0")
    where.add_argument("--limit", type=_count, default=20, metavar="N", help="how many predictions to list (20)")
    where.add_argument("--offset", type=_count, default=0, metavar="N", help="how many predictions to pass over (0)")
    _json(where)
    counted = "headwater excluded flights.legs[2013-01]"
    excluded = _add(verbs, "excluded", "count the rows that reached no row, and why", counted)
    excluded.add_argument("name", metavar="TABLE[PARTITION]", help="a table's partition: flights.features[2013-03]")
    _json(excluded)
    form = impact.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="print a line a thing, for spreadsheets")
    _json(form)


def _add_graph(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "draw what a thing comes from and goes into"
    graph = _add(verbs, "graph", text, "headwater graph flights.features --depth 4")
    graph.add_argument(
        "name",
        metavar="NODE",
        help="flights.features, flights.features[2013-03]@current (the graph of runs), or a node's id: "
        "dataset:NAMESPACE:NAME, job:NAMESPACE:NAME, run:UUID",
    )
    graph.add_argument("--depth", type=_count, default=20, metavar="N", help="how many edges far (20)")
    ways = ("upstream", "downstream", "both")
    graph.add_argument(
        "--direction", choices=ways, default="both", help="what it comes from, goes into, or both (both)"
    )
    graph.add_argument("--as-of", metavar="TIME", type=moment, help="as it was: 2013-03-01T12:00:00Z")
    graph.add_argument("--limit", type=_some, default=2_000, metavar="N", help="how many nodes at most (2000)")
    form = graph.add_mutually_exclusive_group()
    forms = ("text", "json", "dot", "mermaid", "openlineage", "prov")
    form.add_argument("--format", choices=forms, dest="form", default="text", help="how to tell it (text)")
    form.add_argument("--json", action="store_const", const="json", dest="form", help="the same as --format json")
    form.add_argument("--dot", action="store_const", const="dot", dest="form", help="the same as --format dot")


def _add_lineage_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    lineage = _add(verbs, "lineage", "the events on record", "headwater lineage replay --to http://127.0.0.1:5001")
    actions = lineage.add_subparsers(dest="action", required=True, metavar="replay|prune")
    replay = _add(
        actions,
        "replay",
        "send the events on record to an OpenLineage backend, oldest first",
        "headwater lineage replay --to https://lineage.example.org --since 2013-03-01T00:00:00Z",
    )
    replay.add_argument("--to", metavar="URL", required=True, help="the backend; its key in OPENLINEAGE_API_KEY")
    replay.add_argument("--since", metavar="TIME", type=moment, help="only those from then on")
    replay.add_argument("--until", metavar="TIME", type=moment, help="only those before then")
    replay.add_argument("--namespace", metavar="NS", help="only those of jobs and datasets of this namespace")
    replay.add_argument("--after", metavar="PLACE", help="go on where an earlier run ended")
    replay.add_argument("--batch", metavar="N", type=_count, default=100, help="events of one request (100)")
    _json(replay)
    _add_prune(actions)


def _add_prune(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    prune = _add(
        actions,
        "prune",
        "leave old runs and events out of answers, but for what something needs",
        "headwater lineage prune --older-than 90d; headwater lineage prune --purge 30d",
    )
    what = prune.add_mutually_exclusive_group(required=True)
    what.add_argument("--older-than", metavar="AGE|TIME", type=moment_past, help="those from before: 90d, or a time")
    what.add_argument("--undo", action="store_true", help="bring back everything that was not purged")
    what.add_argument("--purge", metavar="AGE|TIME", type=moment_past, help="remove for good what was pruned before")
    prune.add_argument("--dry-run", action="store_true", help="with --older-than: only say what would be pruned")
    _json(prune)


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise argparse.ArgumentTypeError(f"{text!r} is no count; write 0, 1, 2, …")
    return int(text)


def _some(text: str) -> int:
    if not (count := _count(text)):
        raise argparse.ArgumentTypeError("0 is too few; write 1, 2, 3, …")
    return count


def _parameter(text: str) -> tuple[str, Any]:
    """NAME=VALUE; the value as JSON has it (numbers, true, lists), and text where it is no JSON."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=VALUE; write for example month=3")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _add_serving_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    predict = _add(verbs, "predict", "predict by key or by features", "headwater predict flights-late-t0 --key KEY")
    predict.add_argument("model", metavar="MODEL")
    how = predict.add_mutually_exclusive_group(required=True)
    how.add_argument("--key", metavar="K", action="append", help="a key of the model's table; may be repeated")
    how.add_argument("--json", metavar="FILE", dest="features", help="a JSON file: feature -> list of values")
    models = _add(verbs, "models", "the registered models", "headwater models list")
    actions = models.add_subparsers(dest="action", required=True, metavar="list|show|promote|rollback|export")
    _json(_add(actions, "list", "every version, and which is champion or challenger", "headwater models list"))
    show = _add(
        actions, "show", "one model: versions, metrics, inputs, decisions", "headwater models show flights-late-t0"
    )
    show.add_argument("model", metavar="MODEL")
    _json(show)
    promote = _add(
        actions, "promote", "let a version answer, by hand", "headwater models promote flights-late-t0 3fa1b2c3"
    )
    promote.add_argument("model", metavar="MODEL")
    promote.add_argument(
        "version", metavar="VERSION", nargs="?", default="challenger", help="how its digest begins; else the challenger"
    )
    promote.add_argument("--force", action="store_true", help="override parity and trace as well; never the hashes")
    _json(promote)
    rollback = _add(
        actions, "rollback", "let the champion before answer again", "headwater models rollback flights-late-t0"
    )
    rollback.add_argument("model", metavar="MODEL")
    _json(rollback)
    export = _add(
        actions,
        "export",
        "write a bundle with its signed provenance into a folder",
        "headwater models export flights-late-t0@champion exported",
    )
    export.add_argument("model", metavar="MODEL[@VERSION]", help="an alias or how a digest begins; else the champion")
    export.add_argument("folder", metavar="FOLDER", help="a new or an empty folder")
    _json(export)


def _add(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, example: str
) -> argparse.ArgumentParser:
    return verbs.add_parser(name, help=text, description=f"{text.capitalize()}.", epilog=f"example: {example}")


def _json(parser: argparse._ActionsContainer) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


if __name__ == "__main__":
    sys.exit(main())
