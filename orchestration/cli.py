"""The `headwater` command: parse, call one verb, and turn errors into one sentence and an exit code.

0: done; 1: the thing asked is not so, or could not be done; 2: usage.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import metadata

from lineage.errors import HeadwaterError
from lineage.settings import Settings, read_settings

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
    from orchestration.verbs import VERBS

    return VERBS[name]


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
    validate.add_argument("path", metavar="PATH", help="a Parquet or CSV file")
    validate.add_argument("--suite", required=True, metavar="NAME", help="pipeline/suite, or the path of a suite file")
    _json(validate)
    dvc = _add(verbs, "dvc", "keep DVC's files in step with the declarations", "headwater dvc sync")
    dvc.add_argument("action", choices=("sync", "check"), help="write dvc.yaml and params.yaml, or fail when stale")


def _add_tracing_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    for name, text in (
        ("trace", "follow a prediction back to its source files"),
        ("replay", "compute a prediction again and compare bits"),
    ):
        verb = _add(verbs, name, text, f"headwater {name} 4f6c2a0e-8d3b-4a55-9c1d-0a7d3c2b1e90.0")
        verb.add_argument("id", metavar="ID", help="a prediction id; ID.i is row i of a batch")
        _json(verb)
    _json(_add(verbs, "verify", "hash every file that models and predictions rest on", "headwater verify"))


def _add_serving_verbs(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    predict = _add(verbs, "predict", "predict by key or by features", "headwater predict flights-late-t0 --key KEY")
    predict.add_argument("model", metavar="MODEL")
    how = predict.add_mutually_exclusive_group(required=True)
    how.add_argument("--key", metavar="K", action="append", help="a key of the model's table; may be repeated")
    how.add_argument("--json", metavar="FILE", dest="features", help="a JSON file: feature -> list of values")
    models = _add(verbs, "models", "the registered models", "headwater models list")
    actions = models.add_subparsers(dest="action", required=True, metavar="list|show|promote|rollback")
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


def _add(
    verbs: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, example: str
) -> argparse.ArgumentParser:
    return verbs.add_parser(name, help=text, description=f"{text.capitalize()}.", epilog=f"example: {example}")


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print JSON for programs")


if __name__ == "__main__":
    sys.exit(main())
