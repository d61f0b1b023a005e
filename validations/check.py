"""Run a suite of expectations on a table file.

Great Expectations is imported when the first suite runs: importing this module is light.
"""

from __future__ import annotations

import math
import tempfile
import threading
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lineage.errors import SourceError
from lineage.ports import CheckReport, Expectation
from validations.suite import SuiteFile, load_gx, read_suite

# Facts are for a person's eye and for the lineage event: enough to recognize the fault, never the table.
SHOWN_VALUES = 5

# GX keeps the context in use, and Python its warning filters, once for the whole process.
_ONE_AT_A_TIME = threading.Lock()
_COUNTS = ("observed_value", "element_count", "unexpected_count", "missing_count")
_INTEGERS = ("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64")


def run_suite(suite: Path, table: Path) -> CheckReport:
    """What a suite (GX's own JSON) finds on a Parquet file, in the order of the suite.

    Null and NaN both count as missing. Severity `critical` blocks, `warning` and `info` do not. An
    expectation that raises has failed. Raises SettingsError for a suite, SourceError for a table that
    cannot be read.
    """
    promises = read_suite(suite)
    with _ONE_AT_A_TIME, warnings.catch_warnings():
        results = _results(promises, table)
    return CheckReport(
        promises.name, tuple(_expectation(item, results.get(item["id"])) for item in promises.expectations)
    )


def validate_file(path: Path, suite: Path) -> CheckReport:
    """What a suite finds on a .parquet or .csv file; in CSV, empty and NA mean null and types are inferred.

    Raises SourceError naming a file that is missing, unreadable or of another kind.
    """
    if path.suffix.lower() == ".parquet":
        return run_suite(suite, path)
    if path.suffix.lower() != ".csv":
        raise SourceError(f"{path} is neither .parquet nor .csv, so it cannot be validated.", str(path))
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / f"{path.stem}.parquet"
        _convert_csv(path, table)
        return run_suite(suite, table)


def _convert_csv(path: Path, table: Path) -> None:
    import pyarrow as pa
    import pyarrow.csv as pc
    import pyarrow.parquet as pq

    options = pc.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True)
    rows = _read(path, "CSV", lambda: pc.read_csv(path, convert_options=options))
    # Arrow takes a column that is not UTF-8 for binary, and no expectation can read that.
    undecoded = [field.name for field in rows.schema if pa.types.is_binary(field.type)]
    if undecoded:
        raise SourceError(f"{path} is not UTF-8 in the columns {', '.join(undecoded)}; convert it.", str(path))
    pq.write_table(rows, table)


def _results(promises: SuiteFile, table: Path) -> dict[str, Any]:
    """GX's result of each expectation, by its id: GX itself orders them by column, failures first."""
    gx = load_gx()
    # A context costs 4 ms and keeps the frames it has seen: a new one each time forgets them.
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False, "metric_calculations": False}
    suite = gx.ExpectationSuite(name=promises.name, expectations=list(promises.expectations))
    form = {"result_format": "BASIC", "partial_unexpected_count": SHOWN_VALUES}
    # Pandas warns of groups in the pattern, which GX does not want to extract.
    warnings.filterwarnings("ignore", "This pattern is interpreted as a regular expression", UserWarning)
    found = _batch(context, table).validate(suite, result_format=form)
    return {result.expectation_config.id: result for result in found.results}


def _batch(context: Any, table: Path) -> Any:
    """A Parquet file as a GX batch: the one place that knows which engine runs the expectations."""
    asset = context.data_sources.add_pandas("tables").add_dataframe_asset("table")
    return asset.add_batch_definition_whole_dataframe("all").get_batch({"dataframe": _frame(table)})


def _frame(table: Path) -> Any:
    """A Parquet file in pandas, whose integers stay integers beside nulls."""
    import pandas as pd
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {getattr(pa, name.lower())(): getattr(pd, f"{name}Dtype")() for name in _INTEGERS}
    kinds[pa.bool_()] = pd.BooleanDtype()
    rows = _read(table, "Parquet", lambda: pq.ParquetFile(table).read())
    return rows.to_pandas(types_mapper=kinds.get, ignore_metadata=True)


def _read(path: Path, kind: str, reader: Callable[[], Any]) -> Any:
    import pyarrow as pa

    try:
        return reader()
    except FileNotFoundError as error:
        raise SourceError(f"There is no file {path}.", str(path)) from error
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{path} is not readable as {kind} ({_first_line(error)}).", str(path)) from error


def _expectation(configuration: Mapping[str, Any], result: Any) -> Expectation:
    exception = "Great Expectations gave no result" if result is None else _exception(result.exception_info)
    success = exception is None and bool(result.success)
    observed = _facts(result.result) if exception is None else {"exception": exception}
    if not success:
        observed |= _promised(configuration["kwargs"], observed)
    return Expectation(
        kind=configuration["type"],
        column=configuration["kwargs"].get("column"),
        success=success,
        blocking=configuration["severity"] == "critical",
        observed=observed,
    )


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
    if value is None or isinstance(value, str | bool | int):
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
