"""The evaluation that decides: two versions of a model answer the same test rows, and their losses are compared."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lineage.errors import DatabaseError, DeclarationError, IntegrityError
from lineage.plan import Workspace
from lineage.spec import Step
from lineage.versions import Version
from serving.card import answer_name
from serving.engines import open_engine
from serving.engines.columns import columns_of
from serving.promotion import Condition
from serving.registry import declared, load_version, require_bundle
from serving.rows import BATCH_ROWS, sliced
from serving.scores import loss_name, losses, mean, predicted, short

if TYPE_CHECKING:
    import polars as pl

    from serving.bundle import Bundle

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class _Answers:
    """What a version answered: its loss on each test row, and the truth; float64 of shape (rows,)."""

    bundle: Bundle
    losses: Numbers
    labels: Numbers

    @property
    def objective(self) -> str:
        """What the version learnt to be good at."""
        return str(self.bundle.signature["objective"])

    @property
    def score(self) -> str:
        """The name of the deciding score: the mean of the losses."""
        return loss_name(self.objective)

    @property
    def told(self) -> str:
        """The score as a sentence begins."""
        return f"{self.score} {mean(self.losses):.4g} on {len(self.losses):,} test rows"


def judge(space: Workspace, step: Step, challenger: str, champion: str | None) -> Condition:
    """Whether version `challenger` is not worse than `champion` on the test part of the model's present table.

    The deciding score is the logloss of a binary:logistic model, the MAE of any other. Worse means that the
    mean of the row by row differences of the losses exceeds one standard error of that mean. Where there is no
    champion to compare with, the score must be better than that of the best constant of its training rows. A version
    that cannot be scored does not pass, and the text says why; only DatabaseError is raised.
    """
    try:
        found = _answers(space, step, load_version(space, step, challenger))
    except DatabaseError:
        raise
    except Exception as error:  # noqa: BLE001 (a bundle of any trainer's making can fail in any way)
        return _condition(False, f"{name_of(challenger)} cannot be scored: {_sentence(error)}")
    if not len(found.losses):
        return _condition(False, _no_rows(space, step), score=found.score, rows=0)
    if champion is None:
        return _against_constant(found, "there is no champion yet")
    return _against_champion(space, step, found, champion)


def table_versions(space: Workspace, step: Step) -> list[list[str]]:
    """Partition and sha256 of every current version of the model's table: which rows a contest is about."""
    return [[version.partition, version.sha256] for version in space.store.current(_table(space, step)).values()]


def standard_error(differences: Numbers) -> float:
    """The standard error of the mean of `differences`, shape (n,); 0 for one of them, which shows no noise."""
    rows = len(differences)
    return float(np.std(differences, ddof=1)) / math.sqrt(rows) if rows > 1 else 0.0


def name_of(digest: str) -> str:
    """A version as sentences name it."""
    return f"version {digest[:12]}"


def _against_champion(space: Workspace, step: Step, found: _Answers, champion: str) -> Condition:
    who = f"champion {champion[:12]}"
    try:
        theirs = load_version(space, step, champion)
        if _question(theirs) != _question(found.bundle):
            return _against_constant(found, f"{who} was asked for {' of '.join(_question(theirs))}, something else")
        losses = _answers(space, step, theirs).losses
    except DatabaseError:
        raise
    except Exception as error:  # noqa: BLE001 (whatever it is, what is on record of the champion is left)
        return _against_record(space, step, found, champion, _sentence(error))
    return _compared(found, found.losses - losses, mean(losses), f"{who}{_learnt(space, step, champion)}")


def _against_record(space: Workspace, step: Step, found: _Answers, champion: str, why: str) -> Condition:
    who = f"champion {champion[:12]}, which cannot be scored on these rows ({why}),"
    recorded = (require_bundle(space, step, champion)["metrics"].get("test") or {}).get(found.score)
    if recorded is None:
        return _against_constant(found, f"{who} has no {found.score} on record either")
    return _compared(found, found.losses - recorded, recorded, f"{who} had on its own test rows")


def _compared(found: _Answers, differences: Numbers, theirs: float, who: str) -> Condition:
    worse, noise = mean(differences), standard_error(differences)
    if worse <= 0:
        verdict = f"better by {-worse:.2g}" if worse else "the same"
    elif worse <= noise:
        verdict = f"worse by {worse:.2g}, within one standard error of the difference ({noise:.2g})"
    else:
        verdict = f"worse by {worse:.2g}, more than one standard error of the difference ({noise:.2g})"
    numbers = {"champion": _rounded(theirs), "difference": _rounded(worse), "standard_error": _rounded(noise)}
    return _scored(worse <= noise, found, f"{who} {theirs:.4g}: {verdict}", numbers)


def _against_constant(found: _Answers, why: str) -> Condition:
    """Nothing to be compared with: the version must know more than the best constant of its training rows."""
    margin = found.bundle.manifest.get("constant")
    if margin is None:
        return _condition(False, f"{why}, and {name_of(found.bundle.digest)} does not say what to beat; train it again")
    constant = np.full(len(found.labels), margin, np.float32)
    score = mean(losses(found.objective, found.labels, constant))
    better = mean(found.losses) < score
    verdict = "is beaten" if better else "is not beaten"
    what = f"{answer_name(found.objective, 'base')} {predicted(found.objective, constant)[0]:.4g}"
    text = f"{why}, and always answering the {what}, with {score:.4g}, {verdict}"
    return _scored(better, found, text, {"champion": None, "base": _rounded(score)})


def _answers(space: Workspace, step: Step, bundle: Bundle) -> _Answers:
    # XGBoost, which every bundle has, and whose answers are ONNX Runtime's: another condition sees to that.
    engine = open_engine(bundle, "xgboost_cpu")
    target = declared(step).target
    labels, margins = [np.empty(0)], [np.empty(0)]
    for rows in _test_rows(space, step, (*bundle.features, target)):
        labels.append(_labels(rows, target))
        columns = columns_of(rows, features=bundle.features, categories=bundle.categories)
        margins.append(engine.margin(columns).astype(np.float64))
    truth, answer = np.concatenate(labels), np.concatenate(margins)
    return _Answers(bundle, losses(bundle.signature["objective"], truth, answer), truth)


def _test_rows(space: Workspace, step: Step, columns: tuple[str, ...]) -> Iterator[pl.DataFrame]:
    """The test rows of the present table, a batch at a time, in the order of its files."""
    import polars as pl

    from serving.fit import cut

    versions = space.store.current(_table(space, step)).values()
    test = cut(pl.scan_parquet([_whole(space, version) for version in versions]), declared(step)).test
    return sliced(test.lazy().select(*dict.fromkeys(columns)), BATCH_ROWS)


def _whole(space: Workspace, version: Version) -> Path:
    file = version.file
    if path := space.objects.find(file):
        return path
    message = f"{file.path} is not what was recorded; run `headwater run {version.dataset.replace('/', '.')}`."
    raise IntegrityError(message, file.path, file.sha256, None)


def _labels(rows: pl.DataFrame, target: str) -> Numbers:
    import polars as pl

    # By way of float32, which is what is learnt from.
    labels = rows[target].cast(pl.Float32).to_numpy().astype(np.float64)
    if bad := int(np.sum(~np.isfinite(labels))):
        raise DeclarationError(f"{bad} test rows have a {target!r} that is no number; make it null or correct it.")
    return labels


def _learnt(space: Workspace, step: Step, champion: str) -> str:
    """That the champion saw some of the rows it is tested on, where the split has moved back since."""
    row = space.store.row("run", run_id=require_bundle(space, step, champion)["run_id"])
    then = ((row or {}).get("parameters") or {}).get("split") or {}
    now = vars(declared(step).split)
    if "test_from" in then and "test_from" in now:
        moved = _naive(then["test_from"]) > _naive(now["test_from"])
        return f", which learnt from rows before {then['test_from']}, these among them," if moved else ""
    return ", which was split otherwise and may have learnt from these," if then and then != now else ""


def _naive(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=None)


def _question(bundle: Bundle) -> tuple[str, str]:
    return str(bundle.signature["objective"]), str(bundle.manifest["target"])


def _table(space: Workspace, step: Step) -> str:
    (table,) = space.project.inputs(step)
    return table.dataset


def _no_rows(space: Workspace, step: Step) -> str:
    lacking = f"there are no test rows in {_table(space, step)}: {declared(step).split.lacking}"
    return f"{lacking}, or promote by hand with `headwater models promote {step.model_name}`"


def _scored(passed: bool, found: _Answers, text: str, numbers: dict[str, Any]) -> Condition:
    own = {"score": found.score, "rows": len(found.losses), "challenger": _rounded(mean(found.losses))}
    return _condition(passed, f"{found.told}; {text}", **own, **numbers)


def _condition(passed: bool, text: str, **measured: Any) -> Condition:
    return Condition("evaluation", passed, text, measured)


def _rounded(value: float) -> float | None:
    """A number as it goes on record, like the scores in a bundle's metrics; JSON knows no infinite one."""
    return short([value])[0] if math.isfinite(value) else None


def _sentence(error: Exception) -> str:
    """What went wrong, on one line."""
    text = " ".join(str(error).split()).rstrip(".")
    return text[:300] or type(error).__name__
