"""Decisions on which version of a model answers: what was asked of it, what was decided, and the record of both."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb

from lineage import dvc
from lineage.plan import WHOLE, Workspace, step_code
from lineage.spec import Step
from lineage.store import Row
from lineage.tracing.ancestry import recorded_version

# The aliases of a model: the version that answers, and the one that was trained last.
CHAMPION, CHALLENGER = "champion", "challenger"

Decider = Literal["gate", "promote", "rollback"]


@dataclass(frozen=True)
class Condition:
    """One condition of a promotion: whether it holds, a sentence that says so, and the numbers behind it.

    `overridden` is set where it does not hold and somebody promoted the version all the same.
    """

    name: str
    passed: bool
    text: str
    measured: Mapping[str, Any] = field(default_factory=dict)
    overridden: bool = False


@dataclass(frozen=True)
class Decision:
    """Whether version `challenger` of `model` was to replace `champion_before`, and under which conditions.

    `is_new` says that it was made just now; one that was found on record has `decided_at` as well. A version
    that answers since before there was a gate has neither date nor conditions.
    """

    model: str
    challenger: str
    champion_before: str | None
    promoted: bool
    conditions: tuple[Condition, ...]
    by: Decider = "gate"
    decided_at: datetime | None = None
    is_new: bool = False

    @property
    def champion(self) -> str | None:
        """The version that answers after it."""
        return self.challenger if self.promoted else self.champion_before

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why it was not promoted, or what was overridden: the sentences of the conditions that do not hold."""
        return tuple(condition.text for condition in self.conditions if not condition.passed)

    @property
    def measured(self) -> Mapping[str, Any]:
        """The scores of both versions: score, rows, challenger, champion (None where there was none to compare)."""
        return next((item.measured for item in self.conditions if item.name == "evaluation"), {})

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "model": self.model,
            "version": self.challenger,
            "champion_before": self.champion_before,
            "promoted": self.promoted,
            "decided_by": self.by,
            "decided_at": self.decided_at.isoformat() if self.decided_at else None,
            "conditions": _plain(self.conditions),
        }


def decisions(space: Workspace, model: str) -> list[Row]:
    """Every decision on record for `model`, newest first; `decision_of` reads one."""
    return space.store.rows("promotions", model=model)


def decision_of(row: Mapping[str, Any]) -> Decision:
    """The decision in a row of the promotion table."""
    return Decision(
        model=row["model"],
        challenger=row["digest"],
        champion_before=row["champion_before"],
        promoted=row["promoted"],
        conditions=tuple(Condition(**item) for item in row["conditions"]),
        by=row["decided_by"],
        decided_at=row["decided_at"],
    )


def read_decision(found: Mapping[str, Any]) -> Decision:
    """The decision that `Decision.to_json` wrote."""
    at = found["decided_at"]
    decided_at = datetime.fromisoformat(at) if at else None
    return decision_of({**found, "digest": found["version"], "decided_at": decided_at})


def champion_before(rows: Sequence[Row]) -> str | None:
    """The version that a rollback goes back to, by the decisions on record (newest first); None without one.

    Promotions pile up and each rollback takes one away, so that a second rollback goes further back instead
    of forward to what the first one took out.
    """
    before: list[str] = []
    for row in reversed(rows):
        if row["promoted"] and row["decided_by"] == "rollback":
            del before[-1:]
        elif row["promoted"] and row["champion_before"]:
            before.append(row["champion_before"])
    return before[-1] if before else None


def record(space: Workspace, step: Step, decision: Decision, *, facts: str, tell_dagster: bool) -> Decision:
    """Keep a decision, and move the champion's alias if it says so: both or neither, also when the power fails.

    `facts` is the digest of what it rests on. With `tell_dagster` it is queued for Dagster, which did not make it.
    """
    store = space.store
    with store.transaction():
        row = store.row(
            "insert_promotion",
            model=decision.model,
            digest=decision.challenger,
            champion_before=decision.champion_before,
            promoted=decision.promoted,
            decided_by=decision.by,
            facts=facts,
            conditions=Jsonb(_plain(decision.conditions)),
        )
        assert row is not None
        decided = replace(decision, decided_at=row["decided_at"], is_new=True)
        if decision.promoted:
            store.run("set_alias", model=decision.model, alias=CHAMPION, digest=decision.challenger)
        if tell_dagster:
            body = Jsonb(_dagster_report(space, step, decided))
            store.run("insert_dagster_report", dataset=deployment_dataset(step), partition=WHOLE, body=body)
    return decided


def told(decision: Decision) -> str:
    """A decision in a line: what became of the version, with the scores of both, or why nothing did."""
    version = decision.challenger[:12]
    if not decision.promoted:
        return f"not promoted: {version}, {'; '.join(decision.reasons)}"
    if not decision.is_new:
        return f"champion    {version}"
    word = "rolled back to" if decision.by == "rollback" else "promoted   "
    overridden = "".join(f"; overridden: {item.text}" for item in decision.conditions if item.overridden)
    return f"{word} {version}{_scores(decision.measured)}{overridden}"


def _scores(measured: Mapping[str, Any]) -> str:
    if "challenger" not in measured:
        return ""
    before = measured.get("champion")
    then = "the first champion" if before is None else f"before {before:.4g}"
    return f" ({measured['score']} {measured['challenger']:.4g}, {then})"


def deployment_dataset(step: Step) -> str:
    """`pipeline/model/deployment`: how Dagster names what the gate of a model brings about."""
    return f"{step.dataset}/deployment"


def _dagster_report(space: Workspace, step: Step, decision: Decision) -> dict[str, Any]:
    """A decision in the form of a materialization: its data version is the version that answers after it."""
    model = recorded_version(space.store, step.dataset, WHOLE, decision.challenger)
    answers = decision.champion or ""
    return {
        "data_version": answers[:32],
        "code_version": step_code(space, step)[:16],
        "run_id": str(uuid.uuid4()),
        "row_count": None,
        "fields": [],
        "sha256": answers,
        "path": f"data/models/{step.dataset}",
        "inputs": [{"dataset": step.dataset, "partition": WHOLE, "data_version": dvc.data_version(model)}],
        "decision": decision.to_json(),
    }


def _plain(conditions: Sequence[Condition]) -> list[dict[str, Any]]:
    return [{**vars(item), "measured": dict(item.measured)} for item in conditions]
