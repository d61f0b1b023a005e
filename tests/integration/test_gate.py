"""The gate on a real project: what is trained answers only if it may, through every door, whoever dies on the way."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Barrier, Thread

import dagster as dg
import numpy as np
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest

from lineage.discover import discover
from lineage.errors import NotFoundError
from lineage.plan import Workspace
from lineage.ports import Ports
from lineage.run import Door, Runner, run_steps
from lineage.settings import Settings
from lineage.store import Store
from lineage.verify import verify
from orchestration.build import asset_key, build_definitions
from orchestration.cli import main
from orchestration.deployment import deployment_key
from orchestration.reach import undecided
from orchestration.reports import drain_reports
from serving.gate import decide, promote, rollback
from serving.predict import Predictor
from serving.promotion import CHALLENGER, CHAMPION
from serving.registry import aliases

pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
]

REPOSITORY = Path(__file__).parents[2]
PACKAGE, MODEL, STEP = "gated_kiosk", "kiosk-late", "kiosk.late"
PATIENCE_SECONDS = 120
PIPELINE = '''"""A kiosk's sales, and which of them are late."""

import polars as pl

from lineage import Pipeline, by_time, files, monthly

kiosk = Pipeline("kiosk")
kiosk.source(
    "sales",
    files("data/raw/kiosk/sales/{partition}.csv"),
    partitions=monthly("2020-01", "2020-04"),
    schema={"id": "string", "at": "date", "size": "int32", "late": "boolean"},
)


@kiosk.table(key="id")
def features(sales):
    """Sales as the model takes them."""
    return sales


kiosk.model("late", table="features", target="late", features=["size"], rounds=8,
            split=by_time("at", tune_from="2020-01-20", test_from="2020-02-01"))
'''
ENVIRONMENT = {"HEADWATER_PIPELINES": PACKAGE}


@dataclass(frozen=True)
class Kiosk:
    """A project on disk whose raw files decide how good a model is."""

    space: Workspace

    @property
    def root(self) -> Path:
        return self.space.root

    @property
    def step(self):
        return self.space.project.step(STEP)

    def write(self, month: str, seed: int, *, learnable: bool = True, noise: float = 0.0, rows: int = 200) -> None:
        """Sales of a month. Large ones are late, but for a share of noise; or, to mislead, the small ones."""
        rng = np.random.default_rng(seed)
        lines = ["id,at,size,late"]
        for place in range(rows):
            size = int(rng.integers(1, 11))
            late = (size > 5) == learnable if rng.random() >= noise else rng.random() < 0.5
            lines.append(f"{month}-{place:03d},{month}-{place % 28 + 1:02d},{size},{str(bool(late)).lower()}")
        path = self.root / f"data/raw/kiosk/sales/{month}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")

    def train(self, seed: int, *, learnable: bool = True, noise: float = 0.0) -> str:
        """Train on a new January, without any gate; the new version's digest."""
        self.write("2020-01", seed, learnable=learnable, noise=noise)
        run_steps(Runner(self.space, Ports(), Door("test")), self.space.project.steps)
        return self.alias(CHALLENGER)

    def alias(self, name: str) -> str | None:
        found = aliases(self.space, self.step)
        return found[name]["digest"] if name in found else None

    def decisions(self) -> int:
        return len(self.space.store.rows("promotions", model=MODEL))

    def stored(self, digest: str, name: str) -> Path:
        """The object of one file of a version."""
        version = self.space.store.version("kiosk/late", "", digest)
        (file,) = (file for file in version.files if file.path.endswith(name))
        return self.space.objects.path(file.md5)

    def execute(self, text: str) -> None:
        self.space.store._connection.execute(text.encode())

    def program(self, *arguments: str) -> subprocess.CompletedProcess:
        """A Python process in the project, run to its end."""
        env = {**os.environ, **ENVIRONMENT, "PYTHONPATH": str(REPOSITORY)}
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, timeout=PATIENCE_SECONDS)


@pytest.fixture(scope="module")
def kiosk(tmp_path_factory) -> Iterator[Kiosk]:
    root = tmp_path_factory.mktemp("kiosk")
    (root / PACKAGE).mkdir()
    (root / PACKAGE / "__init__.py").write_text(PIPELINE)
    subprocess.run(["git", "init", "-q"], cwd=root, check=True, timeout=60)
    settings = Settings(root, root / ".headwater", pipelines=PACKAGE)
    try:
        with Store(settings) as store:
            made = Kiosk(Workspace(settings, discover(settings), store))
            made.write("2020-02", 2, noise=0.1)
            yield made
    finally:
        sys.path.remove(str(root))
        sys.modules.pop(PACKAGE, None)


@pytest.fixture
def champion(kiosk, request) -> str:
    """A fair version of this test's own that answers, which a good one beats: where every test begins."""
    digest = kiosk.train(hash_of(request.node.name), noise=0.4)
    promote(kiosk.space, MODEL)
    return digest


@pytest.fixture
def bad(kiosk, champion, request) -> str:
    """A challenger that learnt the opposite, not yet decided on."""
    digest = kiosk.train(hash_of(request.node.name) + 1, learnable=False)
    assert digest != champion
    return digest


@pytest.fixture
def headwater(kiosk, monkeypatch, capsys):
    """Runs the command in this process, in the project's folder; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(kiosk.root)
    for name in ("HEADWATER_ROOT", "HEADWATER_HOME", "HEADWATER_NOW", "DATABASE_URL", "OPENLINEAGE_URL", "DVC_STAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HEADWATER_PIPELINES", PACKAGE)

    def run(*arguments):
        return main(arguments), *capsys.readouterr()

    return run


def hash_of(name: str) -> int:
    """A seed of its own for each test."""
    return sum(ord(letter) * place for place, letter in enumerate(name, 1))


@contextmanager
def flipped(path: Path) -> Iterator[None]:
    """A file with its middle byte changed; put back afterwards."""
    data = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :])
    try:
        yield
    finally:
        path.write_bytes(data)


# --- the gate


def test_training_promotes_nothing(kiosk, champion, bad):
    """What is trained is challenger in its run's own transaction; the champion goes on answering."""
    assert (kiosk.alias(CHALLENGER), kiosk.alias(CHAMPION)) == (bad, champion)
    assert verify(kiosk.space).damaged == ()


def test_a_good_version_is_promoted(kiosk, champion):
    """All four conditions hold: the version answers, and each of them says what it found."""
    challenger = kiosk.train(77)

    decision = decide(kiosk.space, kiosk.step)

    assert decision.promoted, decision.reasons
    assert (decision.champion_before, decision.champion, decision.is_new) == (champion, challenger, True)
    assert [item.name for item in decision.conditions] == ["evaluation", "parity", "trace", "hashes"]
    assert kiosk.alias(CHAMPION) == challenger == Predictor(kiosk.space).by_key(MODEL, ["2020-02-001"]).model_version


def test_a_worse_version_is_refused(kiosk, champion, bad):
    """The champion stays, the refused version stays challenger, and the reason names the scores of both."""
    decision = decide(kiosk.space, kiosk.step)

    (reason,) = decision.reasons
    assert not decision.promoted
    assert "more than one standard error" in reason
    assert champion[:12] in reason
    assert decision.measured["challenger"] > decision.measured["champion"]
    assert (kiosk.alias(CHALLENGER), kiosk.alias(CHAMPION)) == (bad, champion)
    assert Predictor(kiosk.space).by_key(MODEL, ["2020-02-001"]).model_version == champion


def test_the_same_facts_are_decided_once(kiosk, bad):
    """Asked again the gate repeats itself and records nothing; with more test rows it decides anew."""
    first = decide(kiosk.space, kiosk.step)
    count = kiosk.decisions()

    again = decide(kiosk.space, kiosk.step)
    kiosk.write("2020-03", 3)
    run_steps(Runner(kiosk.space, Ports(), Door("test")), kiosk.space.project.steps[:2])
    try:
        anew = decide(kiosk.space, kiosk.step)
    finally:
        (kiosk.root / "data/raw/kiosk/sales/2020-03.csv").unlink()
        kiosk.execute("delete from current_version where partition = '2020-03'")

    assert (first.is_new, again.is_new, anew.is_new) == (True, False, True)
    assert again.reasons == first.reasons
    assert anew.measured["rows"] == 2 * first.measured["rows"]
    assert kiosk.decisions() == count + 1


def test_a_promotion_is_no_answer_for_ever(kiosk, champion):
    """A version that was promoted, replaced and trained again is promoted again, not said to be: A, B, A, B."""
    pair = (70, 71)

    for seed in (*pair, *pair):
        challenger = kiosk.train(seed)
        decision = decide(kiosk.space, kiosk.step)

        assert (decision.promoted, decision.is_new) == (True, True), decision.reasons
        assert kiosk.alias(CHAMPION) == challenger


def test_a_version_that_is_trained_again_is_settled(kiosk, champion, request):
    """Refused on known facts, or left alone after a choice by hand, it is no news for Dagster's sensor."""
    seed = hash_of(request.node.name)
    taken_back = kiosk.train(seed + 1)
    assert decide(kiosk.space, kiosk.step).promoted
    rollback(kiosk.space, MODEL)
    refused = kiosk.train(seed + 2, learnable=False)
    assert decide(kiosk.space, kiosk.step).is_new
    found = []

    for number, learnable in ((1, True), (2, False)):
        challenger = kiosk.train(seed + number, learnable=learnable)
        before, decision = undecided(kiosk.space, "kiosk"), decide(kiosk.space, kiosk.step)
        found.append((challenger, before, decision.is_new, decision.promoted, undecided(kiosk.space, "kiosk")))

    assert found == [(version, {STEP: version}, False, False, {}) for version in (taken_back, refused)]


def test_every_condition_is_reported(kiosk, bad):
    """The first that does not hold does not hide the others."""
    kiosk.execute(
        f'update bundle set metrics = metrics || \'{{"onnx_parity": {{"rows": 9, "exact": 8}}}}\' '
        f"where digest = '{bad}'"
    )
    with flipped(kiosk.stored(bad, "model.onnx")):
        decision = decide(kiosk.space, kiosk.step)

    assert [item.passed for item in decision.conditions] == [False, False, True, False]
    assert "8 of 9" in decision.conditions[1].text
    assert "data/models/kiosk/late/model.onnx" in decision.conditions[3].text


def test_a_manifest_that_was_not_signed_so_is_refused(kiosk, champion):
    """Bytes that are right are not enough: what the version rests on must be what was signed."""
    challenger = kiosk.train(180)
    kiosk.execute(f"update manifest set body = replace(body, 'kiosk', 'kiosks') where sha256 = '{challenger}'")

    decision = decide(kiosk.space, kiosk.step)
    forced = promote(kiosk.space, MODEL, challenger, force=True)
    run_steps(Runner(kiosk.space, Ports(), Door("test")), kiosk.space.project.steps)
    repaired = decide(kiosk.space, kiosk.step)

    assert (decision.promoted, forced.promoted, repaired.promoted) == (False, False, True)
    assert f"the signed manifest of kiosk/late {challenger[:12]}… was signed over other bytes" in decision.reasons[0]


def test_lost_row_lineage_is_refused(kiosk, champion):
    """A table whose file on which rows it came from is gone has no complete trace; the file is named."""
    challenger = kiosk.train(181)
    table = kiosk.space.store.current("kiosk/features")["2020-02"]
    where = f"where dataset = 'kiosk/features' and sha256 = '{table.sha256}'"
    (row,) = kiosk.space.store._connection.execute(f"select lineage from run_output {where}".encode()).fetchall()
    lost = [{"path": "data/lineage/lost.bin", "sha256": "0" * 64, "md5": "0" * 32, "size_bytes": 9}]
    kiosk.execute(f"update run_output set lineage = '{json.dumps(lost)}' {where}")
    try:
        decision = decide(kiosk.space, kiosk.step)
    finally:
        kiosk.execute(f"update run_output set lineage = '{json.dumps(row['lineage'])}' {where}")

    assert not decision.promoted
    assert "data/lineage/lost.bin: what says which rows kiosk/features" in decision.conditions[3].text
    assert decide(kiosk.space, kiosk.step).champion == challenger


def test_a_repaired_version_is_decided_anew(kiosk, champion):
    """What was refused for damage alone is promoted once its bytes are back."""
    challenger = kiosk.train(78)
    with flipped(kiosk.stored(challenger, "model.ubj")):
        damaged = decide(kiosk.space, kiosk.step)

    repaired = decide(kiosk.space, kiosk.step)

    assert (damaged.promoted, repaired.promoted, kiosk.alias(CHAMPION)) == (False, True, challenger)


def test_a_champion_from_before_the_gate_stays(kiosk, champion):
    """Where there is a champion and no challenger, nothing is decided; the next version is compared with it."""
    kiosk.execute(f"delete from model_alias where alias = '{CHALLENGER}'")
    count = kiosk.decisions()

    decision = decide(kiosk.space, kiosk.step)
    following = kiosk.train(79)

    assert (decision.promoted, decision.champion, kiosk.decisions()) == (True, champion, count)
    assert decide(kiosk.space, kiosk.step).champion_before == champion
    assert kiosk.alias(CHAMPION) == following


# --- by hand


def test_a_hand_overrides_the_evaluation(kiosk, champion, bad, headwater):
    """`models promote` lets a worse version answer, says what it overrode, and keeps it on record."""
    code, out, _ = headwater("models", "promote", MODEL, bad[:8])
    shown = json.loads(headwater("models", "show", MODEL, "--json")[1])

    assert (code, kiosk.alias(CHAMPION)) == (0, bad)
    assert f"promoted    {bad[:12]}" in out
    assert "overridden: logloss" in out
    last = shown["decisions"][0]
    assert (shown["champion"], last["version"], last["decided_by"], last["champion_before"]) == (
        bad,
        bad,
        "promote",
        champion,
    )
    assert [item["name"] for item in last["conditions"] if item["overridden"]] == ["evaluation"]


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["by hand", "by force"])
def test_damage_is_never_promoted(kiosk, champion, bad, headwater, force):
    """Neither a hand nor force lets a version answer whose bytes are not those on record."""
    with flipped(kiosk.stored(bad, "model.onnx")):
        code, out, _ = headwater("models", "promote", MODEL, *force)

    assert (code, kiosk.alias(CHAMPION)) == (1, champion)
    assert "not promoted" in out
    assert "model.onnx" in out


def test_force_overrides_parity_and_trace(kiosk, champion, bad, headwater):
    """Unproven parity and a broken trace are in a hand's way, not in that of --force; all reasons are on record."""
    kiosk.execute(f"update bundle set metrics = metrics - 'onnx_parity' where digest = '{bad}'")
    kiosk.execute(f"delete from run_input where run_id = (select run_id from bundle where digest = '{bad}')")

    refused, forced = headwater("models", "promote", MODEL), headwater("models", "promote", MODEL, "--force", "--json")

    found = json.loads(forced[1])
    assert (refused[0], forced[0], kiosk.alias(CHAMPION)) == (1, 0, bad)
    assert {item["name"] for item in found["conditions"] if item["overridden"]} == {"evaluation", "parity", "trace"}


def test_a_rollback_holds(kiosk, champion, headwater):
    """The version that was rolled back from is left alone by the gate; the next one that is trained is not."""
    taken_back = kiosk.train(80)
    assert decide(kiosk.space, kiosk.step).promoted

    code, out, _ = headwater("models", "rollback", MODEL)
    ran = headwater("run", STEP)
    held = kiosk.alias(CHAMPION)
    following = kiosk.train(81)

    assert (code, held) == (0, champion)
    assert f"rolled back to {champion[:12]}" in out
    assert (ran[0], "not promoted" in ran[1], "by hand (rollback" in ran[1]) == (0, True, True)
    assert kiosk.alias(CHALLENGER) != taken_back
    assert decide(kiosk.space, kiosk.step).champion == following


def test_rollbacks_go_further_back(kiosk, champion):
    """The second rollback does not return to what the first one took away."""
    for seed in (82, 83):
        kiosk.train(seed)
        promote(kiosk.space, MODEL)

    back = [rollback(kiosk.space, MODEL).champion for _ in range(2)]

    assert back[1] == champion
    assert len({champion, *back, kiosk.alias(CHALLENGER)}) == 3


def test_nothing_to_go_back_to(kiosk, champion, headwater):
    """A model that had no other champion says so in one sentence."""
    kiosk.execute(f"delete from promotion where model = '{MODEL}'")

    code, out, err = headwater("models", "rollback", MODEL)

    assert (code, out, err.count("\n")) == (1, "", 1)
    assert f"no champion before {champion[:12]}" in err


@pytest.mark.parametrize(("version", "said"), [("zzzz", "is no version"), ("", "begins")])
def test_an_unknown_version_names_those_there_are(kiosk, champion, version, said):
    """A prefix of no version, or of several, is refused with the versions that there are."""
    kiosk.train(84)

    with pytest.raises(NotFoundError, match=said) as refused:
        promote(kiosk.space, MODEL, version)

    assert champion[:12] in str(refused.value)


# --- doors


def test_run_says_what_became_of_a_version(kiosk, champion, headwater):
    """`headwater run` promotes or refuses in one line and ends with 0; with nothing to do it names the champion."""
    kiosk.write("2020-01", 85)
    promoted = headwater("run")
    nothing = headwater("run", STEP)
    kiosk.write("2020-01", 86, learnable=False)
    refused = headwater("run")

    lines = [
        [line for line in out.splitlines() if line.startswith(f"{STEP} ")][-1]
        for _, out, _ in (promoted, nothing, refused)
    ]
    assert [code for code, _, _ in (promoted, nothing, refused)] == [0, 0, 0]
    assert "promoted " in lines[0]
    assert ", before 0." in lines[0]
    assert "champion " in lines[1]
    assert "not promoted: " in lines[2]


def test_nothing_to_decide_loads_nothing_heavy(kiosk, champion):
    """Where the challenger answers already, `headwater run` of a model loads neither XGBoost nor Dagster."""
    code = (
        "import sys; from orchestration.cli import main; main(['run', 'kiosk.late']); "
        "print(*sorted({'xgboost', 'onnx', 'onnxruntime', 'dagster'} & set(sys.modules)), 'end')"
    )

    ran = kiosk.program("-c", code)

    assert (ran.returncode, ran.stdout.splitlines()[-1]) == (0, "end"), ran.stderr
    assert f"champion    {champion[:12]}" in ran.stdout


def test_dagster_says_why(kiosk, champion):
    """The gate is an asset: a refusal fails its check and not its run; a promotion passes; both say the scores."""
    with dg.DagsterInstance.ephemeral() as instance:
        job = build_definitions(kiosk.space.settings, kiosk.space.project).resolve_job_def("kiosk")
        tags = {"dagster/asset_partition_range_start": "2020-01", "dagster/asset_partition_range_end": "2020-02"}
        seen = []
        for seed, learnable in ((87, False), (88, True)):
            kiosk.write("2020-01", seed, learnable=learnable)
            result = job.execute_in_process(instance=instance, tags=tags)
            (check,) = result.get_asset_check_evaluations()
            event = instance.get_latest_materialization_event(deployment_key(kiosk.step))
            seen.append((result.success, check, event.asset_materialization.metadata, kiosk.alias(CHAMPION)))

    (ran, failed, why, still), (_, passed, _, after) = seen
    assert (ran, failed.passed, failed.blocking, failed.severity) == (True, False, False, dg.AssetCheckSeverity.WARN)
    assert "more than one standard error" in failed.description
    assert (why["promoted"].value, why["champion"].value, still) == (False, champion, champion)
    assert "| evaluation | **no** |" in why["conditions"].value
    assert why["logloss_challenger"].value > why["logloss_champion"].value
    assert passed.passed
    assert after == kiosk.alias(CHALLENGER) != champion


def test_dagster_hears_of_other_doors(kiosk, champion):
    """A decision of the command line is reported once, as the gate would, and leaves the gate's asset fresh."""
    definitions = build_definitions(kiosk.space.settings, kiosk.space.project)
    with dg.DagsterInstance.ephemeral() as instance:
        drain_reports(kiosk.space, instance)
        challenger = kiosk.train(89)
        decide(kiosk.space, kiosk.step)

        counts = drain_reports(kiosk.space, instance), drain_reports(kiosk.space, instance)

        event = instance.get_latest_materialization_event(deployment_key(kiosk.step))
        resolver = CachingStaleStatusResolver(
            instance, definitions.resolve_asset_graph(), LoadingContextForTest(instance)
        )
        status = [resolver.get_status(key).value for key in (asset_key(kiosk.step), deployment_key(kiosk.step))]
    assert counts[1] == 0
    told = event.asset_materialization.metadata
    assert told["version"].value == told["challenger"].value == challenger
    assert (told["promoted"].value, told["champion_before"].value) == (True, champion)
    assert "| evaluation | yes | logloss" in told["conditions"].value
    assert told["logloss_challenger"].value < told["logloss_champion"].value
    assert status == ["FRESH", "FRESH"]


def test_the_daemon_lets_the_gate_catch_up(kiosk, champion):
    """A version that was trained and not decided on starts a run of its gate alone; once decided, it starts nothing."""
    challenger = kiosk.train(91)
    definitions = build_definitions(kiosk.space.settings, kiosk.space.project)
    sensor = definitions.resolve_sensor_def("kiosk_raw_files")
    with dg.DagsterInstance.ephemeral() as instance:

        def look():
            return sensor(dg.build_sensor_context(instance, definitions=definitions)).run_requests

        (request,), (again,) = look(), look()
        job = definitions.resolve_job_def("kiosk")
        result = job.execute_in_process(instance=instance, asset_selection=request.asset_selection)
        after = look()

    assert request.asset_selection == [deployment_key(kiosk.step)]
    assert (request.run_key, result.success, after) == (again.run_key, True, [])
    assert kiosk.alias(CHAMPION) == challenger


# --- crashes and races


CRASH = """
import os, signal, sys
from lineage.store import Store
run = Store.run
def dying(self, query, /, **given):
    if query == {query!r} and given.get("alias", "champion") == "champion":
        os.kill(os.getpid(), signal.SIGKILL)
    return run(self, query, **given)
Store.run = dying
import serving.gate as gate
if {query!r} == "nothing decided":
    gate.judge = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
from orchestration.cli import main
sys.exit(main(["run"]))
"""


@pytest.mark.parametrize("query", ["nothing decided", "set_alias", "insert_dagster_report"])
def test_a_crash_before_the_decision_is_nothing(kiosk, champion, headwater, query):
    """kill -9 anywhere before the commit leaves alias and record as they were; the next run decides, and trains not."""
    kiosk.write("2020-01", 90 + len(query))
    kiosk.execute("update dagster_report set reported_at = now()")
    if query == "insert_dagster_report":
        # Not the model's own report, which is of an earlier transaction.
        run_steps(Runner(kiosk.space, Ports(), Door("test")), kiosk.space.project.steps)
    count = kiosk.decisions()

    died = kiosk.program("-c", CRASH.format(query=query))
    between = kiosk.alias(CHAMPION), kiosk.decisions()
    code, out, _ = headwater("run", STEP)

    assert died.returncode == -signal.SIGKILL, died.stderr
    assert between == (champion, count)
    assert kiosk.alias(CHALLENGER) != champion
    assert (code, "up to date" in out, "promoted " in out) == (0, True, True)
    assert (kiosk.alias(CHAMPION), kiosk.decisions()) == (kiosk.alias(CHALLENGER), count + 1)


def test_two_deciders_decide_once(kiosk, bad):
    """Of two at once one decides and the other finds its decision."""
    count, barrier, found = kiosk.decisions(), Barrier(2, timeout=60), []

    def run():
        with Store(kiosk.space.settings) as store:
            space = Workspace(kiosk.space.settings, kiosk.space.project, store)
            barrier.wait()
            found.append(decide(space, kiosk.step))

    threads = [Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)

    assert sorted(item.is_new for item in found) == [False, True]
    assert found[0].reasons == found[1].reasons
    assert kiosk.decisions() == count + 1
