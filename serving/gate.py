"""The deployment gate: the version that was trained last, the challenger, becomes champion if four conditions hold.

Its evaluation is not worse than the champion's, ONNX parity is exact, its trace is complete, and every file on the
way, row lineage included, is what was recorded and signed. By hand more is possible, but never a version whose bytes
are damaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from lineage.errors import HeadwaterError, NotFoundError
from lineage.gc import freed_on
from lineage.plan import WHOLE, Workspace
from lineage.spec import Step
from lineage.store import Row
from lineage.trace import damaged, unrecorded
from lineage.tracing.ancestry import Origin, ancestry, identity, raw_files, recorded_version
from lineage.verify import check_manifest, check_way
from lineage.versions import FileVersion, json_digest
from serving.contest import judge, table_versions
from serving.promotion import CHALLENGER, CHAMPION, Condition, Decision, champion_before, decision_of, decisions, record
from serving.registry import aliases, declared, find_model, find_version, load_version, require_bundle

# Raise it when the conditions change: a refusal under the old ones is then decided anew.
_RULES = 3

# What a hand overrides as it is, and what only `force` does. Nothing overrides the hashes.
_BY_HAND, _BY_FORCE = frozenset({"evaluation"}), frozenset({"evaluation", "parity", "trace"})


def decide(space: Workspace, step: Step, *, tell_dagster: bool = True) -> Decision:
    """Whether the challenger of a model step answers from now on: decided now, or found on record.

    Nothing is decided anew of a challenger that is the champion already, that was refused on the same facts,
    or that somebody replaced by hand (the gate goes on with the next version that is trained). Deciders wait for
    each other. `tell_dagster` queues a new decision for Dagster. Raises NotFoundError for a model that was never
    trained, DatabaseError; whatever else goes wrong with a version is a condition that does not hold.
    """
    _, challenger, champion = _pointed(space, step)
    if challenger == champion:
        return _standing(space, step, challenger)
    with _deciding(space, step):
        pointed, challenger, champion = _pointed(space, step)
        if challenger == champion:
            return _standing(space, step, challenger)
        rows = decisions(space, step.model_name)
        if by_hand := _decided_by_hand(rows, pointed[CHALLENGER]):
            return _settled(space, _left_alone(step, challenger, champion, by_hand))
        recorded = _recorded_conditions(space, step, challenger)
        facts = _facts(space, step, challenger, champion, recorded)
        if refused := next((row for row in rows if _is_refusal(row) and row["facts"] == facts), None):
            return _settled(space, decision_of(refused))
        conditions = (judge(space, step, challenger, champion), *recorded)
        promoted = all(condition.passed for condition in conditions)
        decision = Decision(step.model_name, challenger, champion, promoted, conditions)
        return record(space, step, decision, facts=facts, tell_dagster=tell_dagster)


def promote(space: Workspace, model: str, version: str = CHALLENGER, *, force: bool = False) -> Decision:
    """Let a version answer by hand: an alias, or how its digest begins.

    Overrides the evaluation, with `force` also parity and trace, and says so in the decision's conditions; never
    the hashes. Where something else is in the way the decision is not promoted. The champion itself is left as
    it is. Raises NotFoundError for an unknown model or version.
    """
    step = find_model(space, model)
    with _deciding(space, step):
        _, challenger, champion = _pointed(space, step)
        digest = challenger if version == CHALLENGER else find_version(space, step, version)
        if digest == champion:
            return _standing(space, step, digest)
        recorded = _recorded_conditions(space, step, digest)
        facts = _facts(space, step, digest, champion, recorded)
        conditions = (judge(space, step, digest, champion), *recorded)
        decision = _overridden(Decision(step.model_name, digest, champion, False, conditions, "promote"), force=force)
        return record(space, step, decision, facts=facts, tell_dagster=True)


def rollback(space: Workspace, model: str) -> Decision:
    """Let the champion before the present one answer again; a second rollback goes one further back.

    It answered before, so its evaluation is not asked for, and parity and trace hinder nothing; damaged bytes do:
    then the decision is not promoted. Raises NotFoundError where there was no champion before.
    """
    step = find_model(space, model)
    with _deciding(space, step):
        _, _, champion = _pointed(space, step)
        before = champion_before(decisions(space, step.model_name))
        if champion is None or before is None:
            raise NotFoundError(_nothing_before(step, champion))
        conditions = _recorded_conditions(space, step, before)
        facts = _facts(space, step, before, champion, conditions)
        decision = _overridden(Decision(step.model_name, before, champion, False, conditions, "rollback"), force=True)
        return record(space, step, decision, facts=facts, tell_dagster=True)


@contextmanager
def _deciding(space: Workspace, step: Step) -> Iterator[None]:
    with space.store.lock(f"gate:{step.model_name}"):
        yield


def _pointed(space: Workspace, step: Step) -> tuple[Mapping[str, Row], str, str | None]:
    """The aliases of a model, and where challenger and champion point."""
    pointed = aliases(space, step)
    champion = pointed[CHAMPION]["digest"] if CHAMPION in pointed else None
    # Before there was a gate whatever was trained became champion.
    challenger = pointed[CHALLENGER]["digest"] if CHALLENGER in pointed else champion
    if challenger is None:
        raise NotFoundError(
            f"Model {step.model_name!r} has not been trained yet; run `headwater run {step.full_name}` first."
        )
    return pointed, challenger, champion


def _standing(space: Workspace, step: Step, champion: str) -> Decision:
    """The decision that made the champion what it is."""
    rows = decisions(space, step.model_name)
    if row := next((row for row in rows if row["promoted"] and row["digest"] == champion), None):
        return decision_of(row)
    return Decision(step.model_name, champion, None, True, ())


def _is_refusal(row: Row) -> bool:
    """Whether the gate said no. A promotion on the same facts made a champion that another has replaced since."""
    return row["decided_by"] == "gate" and not row["promoted"]


def _settled(space: Workspace, decision: Decision) -> Decision:
    """The same decision, the challenger on record as looked at, or Dagster's sensor would ask again."""
    space.store.run("settle_challenger", model=decision.model, digest=decision.challenger)
    return decision


def _decided_by_hand(rows: Sequence[Row], challenger: Row) -> Row | None:
    """The decision by hand that chose another version than this challenger, if the last one about it did."""
    digest, since = challenger["digest"], challenger["set_at"]
    by_hand = (row for row in rows if row["promoted"] and row["decided_by"] != "gate")
    about = (row for row in by_hand if row["decided_at"] >= since or digest in (row["digest"], row["champion_before"]))
    last = next(about, None)
    return last if last and last["digest"] != digest else None


def _left_alone(step: Step, challenger: str, champion: str | None, by_hand: Row) -> Decision:
    text = (
        f"somebody chose version {by_hand['digest'][:12]} by hand ({by_hand['decided_by']}, "
        f"{by_hand['decided_at']:%Y-%m-%d %H:%M}); the gate goes on with the next version that is trained, "
        f"and `headwater models promote {step.model_name} {challenger[:12]}` takes this one"
    )
    conditions = (Condition("by hand", False, text),)
    return Decision(step.model_name, challenger, champion, False, conditions, decided_at=by_hand["decided_at"])


def _facts(space: Workspace, step: Step, digest: str, champion: str | None, recorded: Sequence[Condition]) -> str:
    split = vars(declared(step).split)
    question = [declared(step).target, split, table_versions(space, step)]
    return json_digest([_RULES, digest, champion, question, [[item.name, item.passed, item.text] for item in recorded]])


def _recorded_conditions(space: Workspace, step: Step, digest: str) -> tuple[Condition, ...]:
    """What the record and the files say of a version, without asking it anything."""
    row = require_bundle(space, step, digest)
    origins = ancestry(space.store, [recorded_version(space.store, row["dataset"], WHOLE, digest)])
    return _parity(space, step, row), _trace(space, origins), _hashes(space, origins)


def _trace(space: Workspace, origins: list[Origin]) -> Condition:
    raw = {identity(version) for _, version, _ in raw_files(origins)}
    gaps = unrecorded(origins) if raw else ["no raw file is on record that it was made from"]
    gaps += [str(damage) for damage in check_way(space, origins[0].version)]
    text = f"{len(origins):,} versions on record, back to {len(raw):,} raw files"
    return Condition("trace", not gaps, "; ".join(gaps) or text)


def _hashes(space: Workspace, origins: list[Origin]) -> Condition:
    bundle, *way = origins
    # A version is served from the cache; the files in place are those of what was trained last.
    lost = [
        f"{file.path}: the stored bytes of version {file.sha256[:12]}… are {_gone(space, file)}"
        for file in bundle.version.files
        if not space.objects.is_whole(file)
    ]
    lost += damaged(space, way)
    lost += _lost_row_lineage(space, way)
    lost += [str(damage) for damage in check_manifest(space, bundle.version)]
    files = sum(len(origin.version.files) + len(origin.lineage) for origin in origins)
    return Condition("hashes", not lost, "; ".join(lost) or f"{files:,} files are what was recorded")


def _lost_row_lineage(space: Workspace, origins: list[Origin]) -> list[str]:
    return [
        f"{file.path}: what says which rows {origin.version.dataset} {origin.version.sha256[:12]}… came from is "
        f"{_gone(space, file)}"
        for origin in origins
        for file in origin.lineage
        if space.objects.find(file) is None
    ]


def _gone(space: Workspace, file: FileVersion) -> str:
    freed = None if space.objects.path(file.md5).exists() else freed_on(space.store, file)
    return f"gone: freed by `headwater gc` on {freed}; train it again" if freed else "gone or changed"


def _parity(space: Workspace, step: Step, row: Row) -> Condition:
    found = row["metrics"].get("onnx_parity")
    if found:
        rows, exact = found["rows"], found["exact"]
        text = f"ONNX Runtime gives XGBoost's bits on {exact:,} of {rows:,} test rows"
        return Condition("parity", exact == rows, text, {"rows": rows, "exact": exact})
    if refused := _export_refused(space, step, row["digest"]):
        return Condition("parity", True, f"XGBoost answers, for the model cannot be exported: {refused}")
    return Condition(
        "parity", False, f"how far ONNX Runtime and XGBoost agree is not in the metrics of {step.full_name}"
    )


def _export_refused(space: Workspace, step: Step, digest: str) -> str | None:
    try:
        refused: str | None = load_version(space, step, digest).manifest.get("export_refused")
    except (HeadwaterError, OSError):
        return None  # the hashes, or the evaluation, say what is wrong with it
    return refused


def _overridden(decision: Decision, *, force: bool) -> Decision:
    """The decision promoted, unless something is in the way that a hand cannot move."""
    may = _BY_FORCE if force else _BY_HAND
    if any(not condition.passed and condition.name not in may for condition in decision.conditions):
        return decision
    conditions = tuple(replace(condition, overridden=not condition.passed) for condition in decision.conditions)
    return replace(decision, promoted=True, conditions=conditions)


def _nothing_before(step: Step, champion: str | None) -> str:
    if champion is None:
        return (
            f"{step.model_name} has no champion, so there is nothing to go back from; `headwater models show` says why."
        )
    return (
        f"{step.model_name} had no champion before {champion[:12]}, so there is nothing to go back to; `headwater "
        f"models promote {step.model_name} VERSION` lets any version answer that `headwater models list` shows."
    )
