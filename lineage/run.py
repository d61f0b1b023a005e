"""The one runner: read, compute, check, write, record. Nothing else in Headwater runs a step.

How a step is committed: objects into the cache, then the commit point, one Postgres transaction (run, version, checks,
events, what Dagster must hear), then files into place and dvc.lock. A crash before the transaction
leaves nothing; after it, the next start finishes (`recover`).
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from psycopg.types.json import Json, Jsonb

from lineage import dvc
from lineage.checks import record_checks
from lineage.errors import CheckFailedError, HeadwaterError, StaleRunError
from lineage.identity.environment import environment
from lineage.outputs import put_aside, record_outputs, restore
from lineage.plan import Plan, Workspace, chosen_partitions, label, make_plan, partitions_to_run
from lineage.ports import CheckReport, Ports, suite_parameters
from lineage.produce import Produced, explain, produce
from lineage.projection import record_event
from lineage.provenance import publish, sign_bundle
from lineage.quarantine import judged
from lineage.spec import Source, Step
from lineage.versions import Version, sha256_file

State = Literal["current", "restored", "complete"]
Progress = Callable[["Outcome"], None]


@dataclass(frozen=True)
class Door:
    """Through which door a run came: cli, dvc, dagster or test; `parent` is the orchestrator's (run id, job)."""

    name: str
    parent: tuple[uuid.UUID, str] | None = None
    session: uuid.UUID = field(default_factory=uuid.uuid4)


@dataclass(frozen=True)
class Outcome:
    """What became of one partition: already current, restored from the cache, or computed.

    `aside` are the rows that its checks put aside, None where they do not.
    """

    step: Step
    partition: str
    state: State
    version: Version
    run_id: uuid.UUID
    seconds: float
    checks: tuple[CheckReport, ...] = ()
    aside: Version | None = None

    @property
    def label(self) -> str:
        """Step and partition, as messages write them."""
        return label(self.step, self.partition)


@dataclass(frozen=True)
class Runner:
    """Everything a run needs: the workspace, the ports and the door it came through."""

    space: Workspace
    ports: Ports
    door: Door
    progress: Progress = lambda _: None


def run_steps(runner: Runner, steps: Iterable[Step], partition: str | None = None) -> list[Outcome]:
    """Run steps in the order given; with `partition`, only that one of the partitioned steps."""
    outcomes: list[Outcome] = []
    for step in steps:
        outcomes += run_step(runner, step, chosen_partitions(runner.space, step, partition))
    return outcomes


def run_step(runner: Runner, step: Step, partitions: Sequence[str]) -> list[Outcome]:
    """Bring the given partitions of a step up to date, then DVC's record of its stage.

    Raises StepFailedError, CheckFailedError, SourceError, IntegrityError or NotFoundError; the version
    that was current before stays so.
    """
    outcomes: list[Outcome] = []
    try:
        for partition in partitions:
            with runner.space.store.lock(f"step:{label(step, partition)}"):
                outcome = _run_partition(runner, step, partition)
            runner.progress(outcome)
            outcomes.append(outcome)
    except HeadwaterError:
        # What came before the failure stands, and is not left for the next start to finish.
        _record_with_dvc(runner, step, outcomes)
        raise
    _record_with_dvc(runner, step, outcomes)
    return outcomes


def is_current(space: Workspace, step: Step) -> bool:
    """Whether every partition of `step` that can exist now has a version from what is declared and recorded now.

    Only asks: files that are not in their place are put there by a run, which holds the partition's lock.
    """
    try:
        plans = [make_plan(space, step, partition) for partition in partitions_to_run(space, step)]
    except HeadwaterError:
        # An input without a version, a raw file that is gone: not up to date, and no reason to stop.
        return False
    return all(_last_version(space, plan) for plan in plans)


def _run_partition(runner: Runner, step: Step, partition: str) -> Outcome:
    started = time.monotonic()
    _adopt_changed_raw(runner, step, partition)
    plan = make_plan(runner.space, step, partition)
    if found := _last_outcome(runner.space, plan):
        run_id, version, state = found
        aside = put_aside(runner.space, version)
        return Outcome(step, partition, state, version, run_id, time.monotonic() - started, aside=aside)
    run_id = _new_run_id(runner, plan)
    # Locked before it is on record: a RUNNING run without a lock is one whose process died.
    with runner.space.store.lock(f"run:{run_id}"):
        _start(runner, plan, run_id)
        produced, checks = _execute(runner, plan, run_id)
    version, aside = produced.version, produced.aside.version if produced.aside else None
    return Outcome(step, partition, "complete", version, run_id, time.monotonic() - started, checks, aside)


def _adopt_changed_raw(runner: Runner, step: Step, partition: str) -> None:
    """A raw file that changed since its fetch step saw it is recorded by that step before it is read."""
    if not isinstance(step.detail, Source) or not step.inputs:
        return
    (upstream,) = runner.space.project.inputs(step)
    known = runner.space.store.current(upstream.dataset).get(partition)
    path = runner.space.root / step.detail.files.path(partition)
    if known is None or sha256_file(path) != known.sha256:
        run_step(runner, upstream, (partition,))


def _last_outcome(space: Workspace, plan: Plan) -> tuple[uuid.UUID, Version, State] | None:
    if (found := _last_version(space, plan)) is None:
        return None
    states = {
        restore(space, version, space.store.run_lineage(found[0], version.dataset))
        for version in space.store.run_outputs(found[0])
    }
    return None if None in states else (*found, "restored" if "restored" in states else "current")


def _last_version(space: Workspace, plan: Plan) -> tuple[uuid.UUID, Version] | None:
    """The current version and the run that wrote it, if a run of `plan` would write it again."""
    store, step = space.store, plan.step
    current = store.current(step.dataset).get(plan.partition)
    last = store.row("last_complete_run", step=step.full_name, partition=plan.partition)
    if current is None or last is None or last["sha256"] != current.sha256:
        return None
    same = last["fingerprint"] == plan.fingerprint
    if step.kind == "fetch":
        same = _is_on_record(space, current, same)
    return (last["run_id"], current) if same else None


def _is_on_record(space: Workspace, raw: Version, same: bool) -> bool:
    """Whether a raw file is the version on record, which it is as long as nobody changed it or where it comes from.

    What somebody corrected comes from nowhere else: it is put back if it is missing.
    """
    present = sha256_file(space.root / raw.file.path)
    if present is None:
        return (same or raw.origin == "local") and space.objects.is_whole(raw.file)
    return same and present == raw.sha256


def _new_run_id(runner: Runner, plan: Plan) -> uuid.UUID:
    attempts = runner.space.store.row("attempts", step=plan.step.full_name, partition=plan.partition)
    assert attempts is not None
    parent = runner.door.parent[0] if runner.door.parent else runner.door.session
    return uuid.uuid5(parent, f"{plan.label}#{attempts['count']}")


def _start(runner: Runner, plan: Plan, run_id: uuid.UUID) -> None:
    from lineage.events import run_event

    space, store = runner.space, runner.space.store
    facts = _facts(runner, plan, run_id)
    for version in plan.raw:
        space.objects.adopt_copy(space.root / version.file.path, version.file)
    with store.transaction():
        store.run("insert_code", digest=plan.code, definitions=Jsonb(plan.definitions))
        store.run(
            "insert_run",
            run_id=run_id,
            step=plan.step.full_name,
            partition=plan.partition,
            fingerprint=plan.fingerprint,
            code=plan.code,
            parameters=Jsonb(dict(plan.step.parameters)),
            declaration=Json(plan.declaration),
            environment=Jsonb(environment(space.root)),
            door=runner.door.name,
            commit_sha=facts.commit.sha if facts.commit else None,
            started_at=datetime.now(UTC),
        )
        _insert_inputs(runner, plan, run_id)
        _record(runner, run_event(facts, "START"))


def _insert_inputs(runner: Runner, plan: Plan, run_id: uuid.UUID) -> None:
    store = runner.space.store
    for version in plan.raw:
        store.add_version(version)
    for ordinal, (name, version) in enumerate(plan.inputs):
        store.run(
            "insert_run_input",
            run_id=run_id,
            ordinal=ordinal,
            name=name,
            dataset=version.dataset,
            partition=version.partition,
            sha256=version.sha256,
        )


def _execute(runner: Runner, plan: Plan, run_id: uuid.UUID) -> tuple[Produced, tuple[CheckReport, ...]]:
    objects = runner.space.objects
    checks: tuple[CheckReport, ...] = ()
    produced: Produced | None = None
    try:
        with objects.workshop() as folder:
            produced = produce(runner.space, plan, folder, runner.ports)
            checks = _check(runner, plan, produced)
            for file, path in produced.files.items():
                objects.adopt(path, file)
        _commit(runner, plan, run_id, produced, checks)
    except StaleRunError:
        raise
    except Exception as error:
        # Recorded, whatever it was, and passed on: a run that failed unseen could not be traced.
        failure = explain(plan, error)
        _fail(runner, plan, run_id, str(failure), checks, produced.version if produced else None)
        if failure is not error:
            raise failure from error
        raise
    for version in (produced.version, *([produced.aside.version] if produced.aside else ())):
        publish(runner.space, version)
    return produced, checks


def _check(runner: Runner, plan: Plan, produced: Produced) -> tuple[CheckReport, ...]:
    if plan.suite is None:
        return ()
    table = next(iter(produced.files.values()))
    report = runner.ports.check(plan.suite, table, suite_parameters(plan.partition))
    return (judged(report, produced.aside.tallies) if produced.aside else report,)


def _require_success(plan: Plan, version: Version, checks: tuple[CheckReport, ...]) -> None:
    failures = tuple(line for report in checks for line in report.failures)
    if failures:
        raise CheckFailedError(
            f"{plan.label}: {len(failures)} blocking check{'s' if len(failures) > 1 else ''} of suite "
            f"{checks[0].suite!r} failed: {'; '.join(failures)}. The previous version stays; correct the input "
            "or the suite and run again.",
            failures,
            version=version,
            checks=checks,
        )


def _commit(runner: Runner, plan: Plan, run_id: uuid.UUID, produced: Produced, checks: tuple[CheckReport, ...]) -> None:
    from lineage.columnar.steps import columns_of
    from lineage.events import run_event

    store, version = runner.space.store, produced.version
    _require_success(plan, version, checks)
    aside = produced.aside.version if produced.aside else None
    columns = columns_of(runner.space, plan, runner.ports)
    facts = _facts(runner, plan, run_id)
    event = run_event(facts, "COMPLETE", output=version, aside=aside, checks=checks, columns=columns)
    with store.transaction():
        _end(runner, run_id, "COMPLETE", None)
        record_outputs(store, run_id, produced)
        record_checks(store, run_id, version, checks)
        _insert_bundle(runner, plan, run_id, produced)
        _record(runner, event)
        if runner.door.name != "dagster":
            report = Jsonb(dagster_report(plan, version, run_id, aside))
            store.run("insert_dagster_report", dataset=version.dataset, partition=version.partition, body=report)


def dagster_report(plan: Plan, version: Version, run_id: uuid.UUID, aside: Version | None = None) -> dict[str, Any]:
    """What Dagster must know of a materialization: data version, code version, those of its inputs, rows put aside."""
    return {
        "data_version": dvc.data_version(version),
        "code_version": plan.code[:16],
        "run_id": str(run_id),
        "row_count": version.row_count,
        "fields": [list(pair) for pair in version.fields],
        "sha256": version.sha256,
        "path": version.files[0].path,
        "quarantined": aside and aside.row_count,
        "inputs": [
            {"dataset": item.dataset, "partition": item.partition, "data_version": dvc.data_version(item)}
            for item in plan.versions
        ],
    }


def _insert_bundle(runner: Runner, plan: Plan, run_id: uuid.UUID, produced: Produced) -> None:
    if produced.metrics is None:
        return
    store, model = runner.space.store, plan.step.model_name
    digest = produced.version.sha256
    store.run(
        "insert_bundle",
        model=model,
        digest=digest,
        dataset=plan.step.dataset,
        run_id=run_id,
        metrics=Jsonb(dict(produced.metrics)),
    )
    # What is trained is only a candidate: whether it answers is for the gate to say (serving/gate.py).
    store.run("set_alias", model=model, alias="challenger", digest=digest)
    sign_bundle(runner.space, produced.version)


def _fail(
    runner: Runner, plan: Plan, run_id: uuid.UUID, text: str, checks: tuple[CheckReport, ...], refused: Version | None
) -> None:
    from lineage.events import run_event

    with runner.space.store.transaction():
        _end(runner, run_id, "FAIL", text)
        if refused is not None:
            # A result that nobody could look up would be of no use where it is needed most.
            record_checks(runner.space.store, run_id, refused, [report for report in checks if not report.success])
            if runner.door.name != "dagster":
                body = Jsonb({"refused": True, "run_id": str(run_id), "sha256": refused.sha256})
                place = {"dataset": refused.dataset, "partition": refused.partition}
                runner.space.store.run("insert_dagster_report", **place, body=body)
        _record(runner, run_event(_facts(runner, plan, run_id), "FAIL", error=text, checks=checks))


def _end(runner: Runner, run_id: uuid.UUID, state: str, error: str | None) -> None:
    ended = runner.space.store.run("end_run", run_id=run_id, state=state, ended_at=datetime.now(UTC), error=error)
    if not ended:
        raise StaleRunError(f"Run {run_id} was given up by another process while it computed; run the step again.")


def _facts(runner: Runner, plan: Plan, run_id: uuid.UUID) -> Any:
    from lineage.events import RunFacts
    from lineage.identity.commit import read_commit

    settings = runner.space.settings
    commit = read_commit(settings.root)
    return RunFacts(run_id, settings.namespace, plan.step, plan.partition, plan.versions, commit, runner.door.parent)


def _record(runner: Runner, event: dict[str, Any]) -> None:
    record_event(runner.space.store, event, relay=runner.space.settings.openlineage_url is not None)


def _record_with_dvc(runner: Runner, step: Step, outcomes: Sequence[Outcome]) -> None:
    space = runner.space
    # Inside a DVC stage, DVC itself writes the lock when the stage ends.
    if "DVC_STAGE" not in os.environ:
        with space.store.lock("dvc.lock"):
            dvc.record_stage(space, step, up_to_date=lambda: is_current(space, step))
    with space.store.transaction():
        for version in (item for outcome in outcomes for item in (outcome.version, outcome.aside) if item):
            space.store.run(
                "delete_publication",
                dataset=version.dataset,
                partition=version.partition,
                sha256=version.sha256,
            )
