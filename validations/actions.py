"""What becomes of a table when an expectation fails, as its author marks it: `"meta": {"action": "quarantine"}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lineage.errors import SettingsError

QUARANTINE = "quarantine"
# What GX calls it: `severity` says the same of an expectation that has no action.
_SEVERITIES = {"block": "critical", "warn": "warning"}
ACTIONS = (*_SEVERITIES, QUARANTINE)

_OTHER_ROWS = "whether a row breaks it depends on other rows"
_NEIGHBOURS = "it compares a row with the one before it"
_WHOLE_COLUMN = "it needs to know the whole column before it can judge a row"
_TYPE = "a type is the column's, so all rows break it or none"
_NOT_BY_ROW = {
    "column_values.unique": _OTHER_ROWS,
    "compound_columns.unique": _OTHER_ROWS,
    "column_values.increasing": _NEIGHBOURS,
    "column_values.decreasing": _NEIGHBOURS,
    "column_values.z_score.under_threshold": _WHOLE_COLUMN,
    "column_values.not_outliers": _WHOLE_COLUMN,
    "column_values.of_type": _TYPE,
    "column_values.in_type_list": _TYPE,
}


def action_of(entry: Any) -> str | None:
    """The action that an expectation of a suite file is marked with; None where it has none."""
    meta = entry.get("meta") if isinstance(entry, Mapping) else None
    action: str | None = meta.get("action") if isinstance(meta, Mapping) else None
    return action


def severity_of(entry: Mapping[str, Any], where: str) -> str:
    """The severity of an expectation: what its action says, or else its own; SettingsError for an unknown action."""
    action = action_of(entry)
    if action is not None and action not in ACTIONS:
        raise SettingsError(f"{where} has the unknown action {action!r}; it is one of {', '.join(ACTIONS)}.")
    return _SEVERITIES.get(action or "") or str(entry.get("severity") or "critical")


def require_by_row(kind: str, where: str) -> None:
    """Raise SettingsError unless an expectation of this type judges each row by itself: only such rows can be put
    aside."""
    from great_expectations.expectations.registry import get_expectation_impl

    metric = getattr(get_expectation_impl(kind), "map_metric", None)
    why = _NOT_BY_ROW.get(metric) if metric else "it judges the table or a column as a whole, and no rows"
    if metric and why is None and not _is_known(metric):
        why = f"its metric {metric!r} is not one that Headwater can compute"
    if why:
        raise SettingsError(
            f"{where} is marked {QUARANTINE}, but {why}; only expectations that judge each row by itself put rows "
            f"aside. Mark it {' or '.join(_SEVERITIES)}."
        )


def _is_known(metric: str) -> bool:
    import validations.engine  # noqa: F401 - teaches the conditions
    from validations.metrics.condition import row_condition

    return row_condition(metric) is not None
