"""Run a suite of expectations on a table file.

Great Expectations is imported when the first suite runs: importing this module is light.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl

from lineage.ports import CheckReport, Expectation
from validations.actions import action_of
from validations.examples import example_rows
from validations.measured import column_metrics
from validations.readers import open_frame, unreadable
from validations.references import columns_read, lacking
from validations.suite import Examined, examine_suite, load_gx
from validations.wording import wording

# Facts are for a person's eye and for the lineage event: enough to recognize the fault, never the table.
SHOWN_VALUES = 5

# GX keeps the context in use, and Python its warning filters, once for the whole process.
_ONE_AT_A_TIME = threading.Lock()
_COUNTS = ("observed_value", "element_count", "unexpected_count", "missing_count")


def run_suite(suite: Path, table: Path, parameters: Mapping[str, Any] | None = None) -> CheckReport:
    """What a suite (GX's own JSON) finds on a file, in the order of the suite; `validations.readers` says which kinds.

    Null and NaN both count as missing. Severity `critical` blocks, `warning` and `info` do not. An
    expectation that raises, or that GX does not know, has failed; the others report. `parameters` are the values
    of the suite's `$PARAMETER`. Raises SettingsError for a file that is no suite, SourceError for a table that
    cannot be read.
    """
    examined = examine_suite(suite, parameters)
    frame = open_frame(table)
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        results = _results(examined, frame)
        expectations = tuple(_reported(examined, results, frame.collect_schema().names()))
        expectations = _with_examples(examined, expectations, frame)
    if any(_exception(result.exception_info) for result in results.values()):
        _require_readable(frame, table)
    return CheckReport(examined.name, expectations, columns=_plain_metrics(column_metrics(results.values())))


def _results(examined: Examined, frame: pl.LazyFrame) -> dict[str, Any]:
    """GX's result of each expectation, by its id: GX itself orders them by column, failures first."""
    gx = load_gx()
    # A context costs 4 ms and keeps the frames it has seen: a new one each time forgets them.
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    suite = gx.ExpectationSuite(name=examined.name, expectations=list(examined.usable.values()))
    form = {"result_format": "BASIC", "partial_unexpected_count": SHOWN_VALUES}
    found = _batch(context, frame).validate(suite, result_format=form)
    return {result.expectation_config.id: result for result in found.results}


def _reported(examined: Examined, results: Mapping[str, Any], columns: Sequence[str]) -> Iterator[Expectation]:
    for at, entry in enumerate(examined.entries):
        if (error := examined.errors.get(at)) is not None:
            yield _unusable(entry, error)
        else:
            result = results.get(str(at))
            yield _expectation(examined.usable[at], result, _problem(examined, at, result, columns))


def _with_examples(
    examined: Examined, expectations: tuple[Expectation, ...], frame: pl.LazyFrame
) -> tuple[Expectation, ...]:
    """Failed expectations with a few of the rows that broke them, among the words about them."""
    failed = {
        at: examined.usable[at]
        for at, item in enumerate(expectations)
        if not item.success and "exception" not in item.observed and item.observed.get("unexpected_count")
    }
    if not failed:
        return expectations
    rows = example_rows(frame, failed)
    return tuple(
        replace(item, wording={**item.wording, "rows": [rows[at]]}) if at in rows else item
        for at, item in enumerate(expectations)
    )


def _problem(examined: Examined, at: int, result: Any, columns: Sequence[str]) -> str | None:
    """Why an expectation could not be evaluated, with the names of all that is concerned; None where it was."""
    raised = "Great Expectations gave no result" if result is None else _exception(result.exception_info)
    if raised is None:
        return None
    kwargs = examined.usable[at]["kwargs"]
    for lost in lacking(kwargs, columns):
        return f"{examined.where(at)} {lost.told('the table')}"
    read = ", ".join(map(repr, dict.fromkeys(columns_read(kwargs))))
    return f"{examined.where(at)}{f' on {read}' if read else ''}: {raised}"


def _unusable(entry: Any, error: Exception) -> Expectation:
    """An expectation that nobody can check; it blocks unless it says that it would not."""
    given = entry if isinstance(entry, Mapping) else {}
    kwargs = given.get("kwargs")
    return Expectation(
        kind=str(given.get("type", "expectation")),
        column=kwargs.get("column") if isinstance(kwargs, Mapping) else None,
        success=False,
        blocking=given.get("severity") not in {"warning", "info"} and action_of(given) != "warn",
        observed={"exception": str(error)},
    )


def _require_readable(frame: pl.LazyFrame, table: Path) -> None:
    """SourceError where it is the file's bytes, and no expectation, that made GX fail."""
    try:
        frame.select(pl.all().null_count()).collect(engine="streaming")
    except (pl.exceptions.PolarsError, OSError) as error:
        raise unreadable(table, error) from error


def _batch(context: Any, frame: pl.LazyFrame) -> Any:
    """A frame as a GX batch: the one place that knows which engine runs the expectations."""
    import validations.datasource  # noqa: F401 - it teaches GX `add_polars`

    asset = context.data_sources.add_polars("tables").add_dataframe_asset("table")
    return asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": frame})


def _expectation(configuration: Mapping[str, Any], result: Any, exception: str | None) -> Expectation:
    """What came of an expectation; `exception` says why nothing could come of it."""
    success = exception is None and bool(result.success)
    observed = _facts(result.result) if exception is None else {"exception": exception}
    if not success and exception is None:
        observed |= _promised(configuration["kwargs"], observed)
    return Expectation(
        kind=configuration["type"],
        column=configuration["kwargs"].get("column"),
        success=success,
        blocking=configuration["severity"] == "critical",
        observed=observed,
        unexpected_percent=_percent(result) if exception is None else None,
        expected={name: _plain(value) for name, value in configuration["kwargs"].items() if name != "column"},
        wording={} if result is None else wording(result),
    )


def _percent(result: Any) -> float | None:
    percent = result.result.get("unexpected_percent")
    return None if percent is None or not math.isfinite(percent) else float(percent)


def _plain_metrics(found: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    return {column: _plain(metrics) for column, metrics in found.items()}


def _exception(info: Mapping[str, Any]) -> str | None:
    """The first line of what an expectation raised; GX keeps one entry, or one for each metric."""
    entries = [info] if "raised_exception" in info else list(info.values())
    raised = [str(entry["exception_message"]) for entry in entries if entry["raised_exception"]]
    return _first_line(raised[0]) if raised else None


def _facts(found: Mapping[str, Any]) -> dict[str, Any]:
    mismatched = found.get("details", {}).get("mismatched")
    if mismatched:
        return {"mismatched": _plain(mismatched)}
    facts = {name: _plain(found[name]) for name in _COUNTS if found.get(name) is not None}
    values = found.get("partial_unexpected_list")
    return facts | ({"unexpected_values": [str(_plain(value)) for value in values]} if values else {})


def _promised(kwargs: Mapping[str, Any], observed: Mapping[str, Any]) -> dict[str, Any]:
    """What was expected; of columns that differ, the difference says it all."""
    known = {"column", *(("column_set", "column_list") if "mismatched" in observed else ())}
    return {name: _plain(value) for name, value in kwargs.items() if name not in known}


def _plain(value: Any) -> Any:
    """A value that JSON can carry: no numpy, no NaN, no long list."""
    if isinstance(value, str):
        # Postgres keeps no NUL in JSON.
        return value.replace("\0", "\N{SYMBOL FOR NULL}")
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        rest = len(value) - SHOWN_VALUES
        shown = [_plain(item) for item in value[:SHOWN_VALUES]]
        return [*shown, f"… {rest} more"] if rest > 0 else shown
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return _plain(value.item()) if hasattr(value, "item") else str(value)


def _first_line(problem: object) -> str:
    return (str(problem).strip() or type(problem).__name__).partition("\n")[0]
