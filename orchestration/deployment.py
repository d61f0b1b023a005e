"""The gate of each model as a Dagster asset: what answers from now on, and why another version does not."""

# No `from __future__ import annotations` here: Dagster compares the annotation of `context` with its own class.

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import dagster as dg

from lineage.plan import Declared
from lineage.spec import Step
from orchestration.project import open_workspace
from serving.gate import decide
from serving.promotion import Condition, Decision, deployment_dataset, told

_CHECK = "gate"

# Dagster keeps what this logger says with the run; `headwater up` prints it.
_logger = logging.getLogger("headwater.run")


def deployment_key(step: Step) -> dg.AssetKey:
    """The asset of a model's gate: pipeline/model/deployment. No step has such a key."""
    return dg.AssetKey(deployment_dataset(step).split("/"))


def deployment_asset(space: Declared, step: Step) -> dg.AssetsDefinition:
    """Decides on the version that the model's asset trained; says why, also in a check, when it is not promoted.

    A refusal fails neither the run nor the asset: the champion before goes on answering, or none does, which the
    check calls an error.
    """

    @dg.asset(
        key=deployment_key(step),
        deps=[dg.AssetKey([step.pipeline, step.name])],
        group_name=step.pipeline,
        description=f"Which version of {step.model_name} answers; a new one only if the gate lets it.",
        kinds={"postgres"},
        backfill_policy=dg.BackfillPolicy.single_run(),
        check_specs=[_check_spec(step)],
    )
    def deployment() -> Iterator[Any]:
        with open_workspace(space.settings) as opened:
            decision = decide(opened, step, tell_dagster=False)
        _logger.info("%-34s %s", step.full_name, told(decision))
        yield dg.MaterializeResult(
            metadata=deployment_metadata(decision),
            data_version=dg.DataVersion(decision.champion or "none"),
            check_results=[_check_result(decision)],
        )

    return deployment


def deployment_metadata(decision: Decision) -> dict[str, Any]:
    """A decision as Dagster shows it: what was decided, on which versions with which scores, and why."""
    measured = decision.measured
    scores = {name: measured[name] for name in ("challenger", "champion") if measured.get(name) is not None}
    return {
        "promoted": decision.promoted,
        "decided_by": decision.by,
        "challenger": decision.challenger,
        "champion": decision.champion or "none",
        "champion_before": decision.champion_before or "none",
        "conditions": dg.MetadataValue.md(_table(decision.conditions)),
        **{f"{measured['score']}_{name}": value for name, value in scores.items()},
    }


def _table(conditions: Sequence[Condition]) -> str:
    if not conditions:
        return "It answers since before there was a gate."
    rows = [f"| {item.name} | {_state(item)} | {item.text.replace('|', '/')} |" for item in conditions]
    return "\n".join(["| condition | holds | why |", "|---|---|---|", *rows])


def _state(condition: Condition) -> str:
    return "yes" if condition.passed else "overridden" if condition.overridden else "**no**"


def _check_spec(step: Step) -> dg.AssetCheckSpec:
    description = f"Whether the version of {step.model_name} that was trained last is the one that answers."
    return dg.AssetCheckSpec(_CHECK, asset=deployment_key(step), description=description, blocking=False)


def _check_result(decision: Decision) -> dg.AssetCheckResult:
    passed = decision.champion == decision.challenger
    return dg.AssetCheckResult(
        passed=passed,
        check_name=_CHECK,
        # A champion that is old answers; nothing at all is worse.
        severity=dg.AssetCheckSeverity.WARN if decision.champion else dg.AssetCheckSeverity.ERROR,
        description=told(decision),
        metadata={"reasons": list(decision.reasons)},
    )
