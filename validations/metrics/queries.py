"""Metrics that an author writes as SQL: it runs on the batch's frame through Polars' own SQL.

`{batch}` stands for the batch, as in GX's other engines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import polars as pl
from great_expectations.expectations import registry
from great_expectations.expectations.metrics.query_metric_provider import QueryMetricProvider

from validations.metrics import sql
from validations.metrics.domain import Domain, keyed
from validations.metrics.registration import ENGINE, register, register_value, same_domain
from validations.scan import Fetched, Known, Wanted

# What GX reads of a query's rows at most.
MOST_ROWS = 200
_BATCH = "batch"


def run_query(query: str, tables: Mapping[str, pl.LazyFrame]) -> pl.LazyFrame:
    """The rows of a SELECT over named frames, lazily; ValueError for any other SQL, and for what it does not find."""
    readable = "{batch}" if list(tables) == [_BATCH] else f"the assets {', '.join(tables) or '(there are none)'}"
    if refused := sql.refusal(query, readable):
        raise ValueError(f"Polars cannot run the query {query!r}: {refused}.")
    try:
        rows = pl.SQLContext(dict(tables)).execute(query)
        rows.collect_schema()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ValueError(f"Polars cannot run the query {query!r}: {_told(error)}") from error
    return rows


def _told(error: BaseException) -> str:
    """What Polars says of a query, in one line; of a field that is not there it says the bare name."""
    said = str(error).partition("\n")[0]
    return said if " " in said else f"{type(error).__name__} {said!r}"


def _rows(domain: Domain, key: str, **columns: str) -> pl.LazyFrame:
    query = domain.values.get(key)
    if not isinstance(query, str) or not query:
        raise TypeError(f"`{key}` must be given, as the text of a query.")
    written = QueryMetricProvider._format_query(query, batch=_BATCH, **columns)
    batch = domain.frame if domain.admitted is None else domain.frame.filter(domain.admitted)
    return run_query(written, {_BATCH: batch})


def _records(domain: Domain, rows: pl.LazyFrame) -> Fetched:
    kept = rows if domain.values.get("fetch_all") else rows.head(MOST_ROWS)
    return Fetched(keyed(domain, "records"), kept, lambda found: found.to_dicts())


def _table(key: str) -> Callable[[Domain], Fetched]:
    return lambda domain: _records(domain, _rows(domain, key))


def _row_count(key: str) -> Callable[[Domain], Fetched]:
    def want(domain: Domain) -> Fetched:
        counted = _rows(domain, key).select(pl.len())
        return Fetched(keyed(domain, "query rows"), counted, lambda found: int(found.item()))

    return want


def _unexpected_rows(domain: Domain) -> Wanted:
    if not domain.metrics["unexpected_rows_query.row_count"]:
        return Known([])
    return _records(domain, _rows(domain, "unexpected_rows_query"))


def _of_column(domain: Domain) -> Fetched:
    return _records(domain, _rows(domain, "query", col=domain.values["column"], column=domain.values["column"]))


def _of_pair(domain: Domain) -> Fetched:
    columns = {key: domain.values[key] for key in ("column_A", "column_B")}
    return _records(domain, _rows(domain, "query", **columns))


def _of_columns(domain: Domain) -> Fetched:
    columns = {f"col_{at}": name for at, name in enumerate(domain.values["columns"], 1)}
    return _records(domain, _rows(domain, "query", **columns))


def _of_template(domain: Domain) -> Fetched:
    template = {name: str(value).format(batch=_BATCH) for name, value in domain.values["template_dict"].items()}
    return _records(domain, _rows(domain, "query", **template))


def _elsewhere(metric: str, query: str, source: str) -> Callable[[Domain], Any]:
    """Rows of a query on another data source: its assets are the tables of a Polars one; SQL ones run it themselves."""

    def value(domain: Domain) -> Any:
        from great_expectations.data_context.data_context.context_factory import project_manager

        name = domain.values.get(source)
        sources = project_manager.get_datasources()
        if name not in sources:
            raise ValueError(f"There is no data source {name!r}; there are {', '.join(sources) or 'none'}.")
        other = sources[name]
        if other.execution_engine_type.__name__ == ENGINE:
            return _on_assets(other, domain.values[query])
        provider_class, provider = registry.get_metric_provider(metric, other.get_execution_engine())
        return provider(
            cls=provider_class,
            execution_engine=other.get_execution_engine(),
            metric_domain_kwargs=domain.kwargs,
            metric_value_kwargs=domain.values,
            metrics=domain.metrics,
            runtime_configuration={},
        )

    return value


def _on_assets(source: Any, query: str) -> list[dict[str, Any]]:
    tables = {asset.name: asset.frame() for asset in source.assets if hasattr(asset, "frame")}
    return run_query(query, tables).head(MOST_ROWS).collect(engine="streaming").to_dicts()


def register_all() -> None:
    register("query.table", _table("query"))
    register("base_query.table", _table("base_query"))
    register("query.row_count", _row_count("query"))
    register("query.column", _of_column)
    register("query.column_pair", _of_pair)
    register("query.multiple_columns", _of_columns)
    register("query.template_values", _of_template)
    register("unexpected_rows_query.row_count", _row_count("unexpected_rows_query"))
    counted = same_domain("unexpected_rows_query.row_count", "unexpected_rows_query")
    register("unexpected_rows_query.table", _unexpected_rows, counted)
    compared = "comparison_query.data_source_table"
    register_value(compared, _elsewhere(compared, "comparison_query", "comparison_data_source_name"))
    register_value("query.data_source_table", _elsewhere("query.data_source_table", "query", "data_source_name"))
