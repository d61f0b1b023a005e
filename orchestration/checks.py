"""Results of suites as Dagster shows them: what each expectation saw, and a link to its page in Data Docs."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import dagster as dg

from lineage.plan import WHOLE
from lineage.ports import CheckReport, Expectation
from lineage.service.docs import result_path
from lineage.settings import Settings
from lineage.spec import Step
from lineage.store import Row, Store
from lineage.versions import Version

# Rows of a table that Dagster keeps with an event and draws in one piece.
MOST_ROWS = 200
# Failed expectations whose rows it shows; Data Docs have all.
MOST_EXAMPLES = 10
_COLUMNS = (
    ("partition", "string"),
    ("expectation", "string"),
    ("column", "string"),
    ("success", "bool"),
    ("severity", "string"),
    ("observed", "string"),
    ("unexpected_percent", "float"),
    ("sample", "string"),
)


@dataclass(frozen=True)
class Checked:
    """What one suite found on one version."""

    version: Version
    report: CheckReport


def check_name(step: Step) -> str:
    """The asset check of a step's suite."""
    assert step.checks is not None
    return f"suite_{step.checks.name}"


def docs_url(settings: Settings, version: Version) -> str:
    """The Data Docs page of a version."""
    return f"{settings.lineage_url}{result_path(version.dataset, version.partition, version.sha256)}"


def check_metadata(settings: Settings, found: Sequence[Checked]) -> dict[str, Any]:
    """What a suite found on one or several partitions: counts, a table of expectations (failures first), Data Docs.

    Of several partitions the table has only the expectations that failed.
    """
    items = [(checked, item) for checked in found for item in checked.report.expectations]
    failed = [pair for pair in items if not pair[1].success]
    rows = failed if len(found) > 1 else [*failed, *(pair for pair in items if pair[1].success)]
    metadata: dict[str, Any] = {
        "expectations": len(items),
        "failed": len(failed),
        "warnings": [f"{_label(checked)}: {_name(item)}" for checked, item in failed if not item.blocking],
        "partitions": sorted(_label(checked) for checked in found),
    }
    if rows:
        records = [_record(checked, item) for checked, item in rows[:MOST_ROWS]]
        schema = dg.TableSchema(columns=[dg.TableColumn(name, kind) for name, kind in _COLUMNS])
        metadata["results"] = dg.MetadataValue.table(records, schema)
    if any(item.quarantined for _, item in items):
        # A row may have broken several.
        metadata["quarantined"] = [
            f"{_label(checked)}: {_name(item)}: {item.quarantined:,} rows"
            for checked, item in items
            if item.quarantined
        ]
    if examples := [(checked, item) for checked, item in failed if "rows" in item.wording]:
        shown = (_examples(checked, item) for checked, item in examples[:MOST_EXAMPLES])
        metadata["sample_rows"] = dg.MetadataValue.md("\n\n".join(shown))
    if found:
        metadata["data_docs"] = dg.MetadataValue.url(_place(settings, found))
    return metadata


def stored_checks(store: Store, run_id: Any) -> tuple[CheckReport, ...]:
    """The check results that a run recorded."""
    rows = store.rows("check_results_of_run", run_id=run_id)
    return tuple(_report(row) for row in rows)


def check_evaluation(settings: Settings, step: Step, found: Checked) -> dg.AssetCheckEvaluation:
    """The event for Dagster's log of a suite that another door ran."""
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(step.dataset.split("/")),
        check_name=check_name(step),
        passed=found.report.success,
        metadata=check_metadata(settings, [found]),
        blocking=True,
    )


def _place(settings: Settings, found: Sequence[Checked]) -> str:
    if len(found) == 1:
        return docs_url(settings, found[0].version)
    return f"{settings.lineage_url}/docs/validations/{found[0].version.dataset}"


def _label(checked: Checked) -> str:
    version = checked.version
    name = version.dataset.replace("/", ".")
    return name if version.partition == WHOLE else f"{name}[{version.partition}]"


def _name(item: Expectation) -> str:
    return f"{item.kind} {', '.join(item.columns)}".strip()


def _record(checked: Checked, item: Expectation) -> dg.TableRecord:
    observed = {
        name: value for name, value in item.observed.items() if name not in ("unexpected_values", *item.expected)
    }
    return dg.TableRecord(
        {
            "partition": checked.version.partition or "all",
            "expectation": item.kind,
            "column": ", ".join(item.columns),
            "success": item.success,
            "severity": "critical" if item.blocking else "warning",
            "observed": ", ".join(f"{name}={value}" for name, value in observed.items()),
            "unexpected_percent": item.unexpected_percent,
            "sample": ", ".join(map(str, item.observed.get("unexpected_values", ()))),
        }
    )


def _examples(checked: Checked, item: Expectation) -> str:
    """The rows of a failed expectation as Markdown."""
    (table,) = item.wording["rows"]
    header = table["header"]
    lines = [header, ["---"] * len(header), *([str(cell) for (cell,) in row] for row in table["table"])]
    drawn = "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)
    return f"{_label(checked)}: {_escaped(_name(item))}\n\n{drawn}"


def _escaped(text: str) -> str:
    """A text that Markdown takes for nothing else: it comes from anybody's data."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~])", r"\\\1", " ".join(text.split()))


def _report(row: Row) -> CheckReport:
    words = row["wording"] or [{}] * len(row["expectations"])
    return CheckReport(row["suite"], tuple(map(_expectation, row["expectations"], words)))


def _expectation(item: Mapping[str, Any], words: Mapping[str, Any]) -> Expectation:
    return Expectation(
        item["kind"],
        item["column"],
        item["success"],
        item["blocking"],
        item["observed"],
        quarantined=item.get("quarantined", 0),
        # Results from before these were recorded lack them.
        unexpected_percent=item.get("unexpected_percent"),
        expected=item.get("expected", {}),
        wording=words,
    )
