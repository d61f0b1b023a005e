"""How a metric becomes known to Great Expectations: the one module that touches its registry.

GX's decorators know only its own engines, so metrics are registered by hand. A number `X` of the one
pass is two entries: `X`, which has no function, and `X.aggregate_fn`, which tells what to want from the
pass. GX bundles every `X` of a run and hands the bundle to the engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from great_expectations.core.id_dict import IDDict
from great_expectations.core.metric_function_types import MetricFunctionTypes, MetricPartialFunctionTypes
from great_expectations.exceptions import MetricComputationError
from great_expectations.expectations import registry
from great_expectations.expectations.metrics.metric_provider import MetricProvider
from great_expectations.validator.metric_configuration import MetricConfiguration

from validations.metrics.domain import Domain
from validations.scan import Counted, Fetched, Known, Reduced, Wanted

ENGINE = "PolarsExecutionEngine"

# Metrics that ask only whether a value is there.
_OF_ANY_TYPE = ("table.", "column_values.null.", "column_values.nonnull.", "column.non_null_count")

Dependencies = Callable[[MetricConfiguration], Mapping[str, MetricConfiguration]]


def register(name: str, want: Callable[[Domain], Wanted], needs: Dependencies | None = None, like: str = "") -> None:
    """Makes `want` the answer to metric `name` in the one pass.

    `needs` names metrics that must be known before; `like` is the metric whose keys a new name shares.
    """
    _keep(f"{name}.aggregate_fn", _wanting(name, want), MetricPartialFunctionTypes.AGGREGATE_FN, needs, like or name)
    _keep(name, None, MetricPartialFunctionTypes.AGGREGATE_FN, _partial(name), like or name)


def register_value(name: str, value: Callable[[Domain], Any], needs: Dependencies | None = None) -> None:
    """Makes `value` the answer to metric `name`: nothing that waits for the one pass."""

    def provider(**given: Any) -> Any:
        return value(_domain(given))

    _keep(name, provider, MetricFunctionTypes.VALUE, needs, name)


def borrow(name: str) -> None:
    """Takes GX's own function for a metric that only reckons with other metrics."""
    definition = registry._registered_metrics[name]
    definition["providers"][ENGINE] = definition["providers"]["PandasExecutionEngine"]


def known(name: str) -> bool:
    """Whether GX itself has a metric of that name."""
    return name in registry._registered_metrics


def same_domain(name: str, *value_keys: str) -> Dependencies:
    """Needs the metric `name` of the same domain, with those of the asking metric's values it takes."""

    def needs(metric: MetricConfiguration) -> Mapping[str, MetricConfiguration]:
        values = {key: metric.metric_value_kwargs[key] for key in value_keys if key in metric.metric_value_kwargs}
        return {name: MetricConfiguration(name, metric.metric_domain_kwargs, IDDict(values))}

    return needs


def together(*parts: Dependencies) -> Dependencies:
    """Needs all that the parts need."""
    return lambda metric: {name: needed for part in parts for name, needed in part(metric).items()}


def _partial(name: str) -> Dependencies:
    def needs(metric: MetricConfiguration) -> Mapping[str, MetricConfiguration]:
        partial = MetricConfiguration(f"{name}.aggregate_fn", metric.metric_domain_kwargs, metric.metric_value_kwargs)
        return {"metric_partial_fn": partial}

    return needs


def _wanting(name: str, want: Callable[[Domain], Wanted]) -> Callable[..., Any]:
    def provider(**given: Any) -> tuple[Wanted, dict[str, Any], dict[str, Any]]:
        domain = _domain(given)
        if not name.startswith(_OF_ANY_TYPE):
            domain.require_known_types()
        wanted = want(domain)
        if not isinstance(wanted, Known):
            _require_computable(wanted, domain)
        return wanted, dict(domain.kwargs), {}

    return provider


def _require_computable(wanted: Reduced | Fetched | Counted, domain: Domain) -> None:
    """Types are checked for each expectation alone, and without reading: one that is wrong spoils no other."""
    try:
        query = domain.frame.select(wanted.expression) if isinstance(wanted, Reduced) else wanted.rows
        query.collect_schema()
    except Exception as error:
        raise MetricComputationError(f"{domain.described()}: {str(error).partition(chr(10))[0]}") from error


def _domain(given: Mapping[str, Any]) -> Domain:
    return Domain(
        given["execution_engine"], given["metric_domain_kwargs"], given["metric_value_kwargs"], given["metrics"]
    )


def _keep(name: str, provider: Any, kind: Any, needs: Dependencies | None, like: str) -> None:
    keys = registry._registered_metrics[like]
    registry.register_metric(
        metric_name=name,
        metric_domain_keys=tuple(keys["metric_domain_keys"]),
        metric_value_keys=tuple(keys["metric_value_keys"]),
        execution_engine=_Named,
        metric_class=_provider_class(name, keys, needs),
        metric_provider=provider,
        metric_fn_type=kind,
    )


class _Named:
    """Stands for the engine, which imports this module: the registry asks for nothing but a name."""


_Named.__name__ = ENGINE


def _provider_class(name: str, keys: Mapping[str, Any], needs: Dependencies | None) -> type[MetricProvider]:
    # GX puts `_get_evaluation_dependencies` to the class, with everything by keyword.
    def dependencies(_cls: Any, /, metric: MetricConfiguration, **_given: Any) -> dict[str, MetricConfiguration]:
        return dict(needs(metric)) if needs else {}

    body = {
        "domain_keys": tuple(keys["metric_domain_keys"]),
        "value_keys": tuple(keys["metric_value_keys"]),
        "default_kwarg_values": dict(keys["default_kwarg_values"]),
        "_get_evaluation_dependencies": classmethod(dependencies),
    }
    return type(f"Polars {name}", (MetricProvider,), body)
