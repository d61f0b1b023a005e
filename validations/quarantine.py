"""The expectations of a suite that put rows aside, as Polars expressions: what the runner parts a table by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from lineage.errors import SettingsError
from lineage.ports import QuarantineRule
from lineage.rows.expressions import made, tree
from lineage.rows.mixing import mixings
from validations.actions import QUARANTINE, action_of
from validations.suite import examine_suite, load_gx

# What names an expectation in the words of its author, apart from the columns.
_NOT_TOLD = frozenset({"mostly", "row_condition", "condition_parser", "ignore_row_if"})
_COLUMNS = ("column", "column_A", "column_B", "column_list")
# Characters of a value, such as a long set, in an expectation's text.
_LONGEST = 60


def rules(suite: Path, schema: pl.Schema, parameters: Mapping[str, Any] | None = None) -> tuple[QuarantineRule, ...]:
    """The expectations of a suite file that are marked `quarantine`, for a table of this schema.

    One that the table does not fit (no such column, another type) is left out: the check that follows says so, and what
    is wrong with others. Raises SettingsError for a suite that cannot be read, or marks what cannot put rows aside.
    """
    examined = examine_suite(suite, parameters)
    for at, error in examined.errors.items():
        if action_of(examined.entries[at]) == QUARANTINE:
            raise error
    marked = [item for item in examined.usable.values() if action_of(item) == QUARANTINE]
    if not marked:
        return ()
    engine = schema_engine(schema)
    found = []
    for item in marked:
        if expressions := row_expressions(item, engine, schema):
            _require_by_row(expressions, f"{suite}: expectation {int(item['id']) + 1} ({item['type']})")
            found.append(QuarantineRule(int(item["id"]), _text(item), *expressions, _mostly(item)))
    return tuple(found)


def schema_engine(schema: pl.Schema) -> Any:
    """A GX engine on a table of this schema that has no rows."""
    load_gx()
    from validations.engine import PolarsExecutionEngine

    engine = PolarsExecutionEngine()
    engine.load_batch_data("table", pl.DataFrame(schema=schema))
    return engine


def row_expressions(item: Mapping[str, Any], engine: Any, schema: pl.Schema) -> tuple[pl.Expr, pl.Expr] | None:
    """Whether a row breaks the expectation, and whether it is about the row at all.

    None where it is not about single rows, or the table does not fit.
    """
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    from validations.metrics import columns, rows
    from validations.metrics.condition import row_condition
    from validations.metrics.domain import Domain

    expectation = ExpectationConfiguration(**item).to_domain_obj()
    # Whose registered conditions these are: what they say is part of the code that a table depends on.
    assert columns, rows
    if not getattr(expectation, "map_metric", None) or (condition_of := row_condition(expectation.map_metric)) is None:
        return None
    try:
        asked = expectation.get_validation_dependencies(execution_engine=engine).metric_configurations
        metric = asked[f"{expectation.map_metric}.unexpected_count"]
        domain = Domain(engine, dict(metric.metric_domain_kwargs), dict(metric.metric_value_kwargs), {})
        condition = condition_of(domain)
        broken, about = condition.broken(domain).fill_null(False), _about(expectation.map_metric, condition, domain)
        pl.LazyFrame(schema=schema).select(broken=broken, about=about).collect_schema()
    except Exception:  # noqa: BLE001 - whatever is wrong with it is what the check of the table reports
        return None
    return broken, about


def _mostly(item: Mapping[str, Any]) -> float | None:
    given = item["kwargs"].get("mostly")
    return float(given) if isinstance(given, int | float) else None


def _require_by_row(expressions: Iterable[pl.Expr], where: str) -> None:
    """Raise SettingsError where a row condition counts rows, or asks for their numbers: a table comes in pieces."""
    if any(mixings(made(tree(each), each)) for each in expressions):
        raise SettingsError(
            f"{where} is marked {QUARANTINE}, but its row condition looks at other rows than the one that it judges; "
            "write a condition on the row's own columns, or mark it block or warn."
        )


def _about(metric: str, condition: Any, domain: Any) -> pl.Expr:
    """Whether GX counts a row among those of which `mostly` must pass: of one column, those that have a value."""
    nullity = metric in ("column_values.null", "column_values.nonnull")
    present = None if nullity or "column" not in domain.kwargs else domain.missing(domain.column).not_()
    about: pl.Expr | None = domain.rows(condition.mask, present)
    return pl.lit(True) if about is None else about.fill_null(False)


def _text(item: Mapping[str, Any]) -> str:
    """An expectation as its author wrote it: `expect_column_values_to_be_between on amount (min_value=0)`."""
    kwargs = item["kwargs"]
    names = [name for key in _COLUMNS for name in _listed(kwargs.get(key))]
    told = [f"{key}={_short(value)}" for key, value in kwargs.items() if key not in (*_COLUMNS, *_NOT_TOLD)]
    if condition := kwargs.get("row_condition"):
        told.append(f"where {_short(condition)}")
    said = f" ({', '.join(told)})" if told else ""
    return f"{item['type']} on {', '.join(names)}{said}"


def _listed(value: Any) -> list[str]:
    if value is None:
        return []
    return [str(name) for name in value] if isinstance(value, list | tuple) else [str(value)]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
