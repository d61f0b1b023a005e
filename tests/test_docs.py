"""The docs name every verb and setting, run the code they show, and show no file that is not there."""

from __future__ import annotations

import argparse
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import lineage
from lineage import Pipeline
from orchestration.cli import build_parser

ROOT = Path(__file__).parent.parent
DOCS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SETTING = re.compile(r"\b(?:HEADWATER_[A-Z_]+|DATABASE_URL|OPENLINEAGE_[A-Z_]+)\b")
# Set by `headwater up` for the processes it starts, not by people.
INTERNAL = {"HEADWATER_DAGSTER_URL"}


def _verbs() -> list[str]:
    parser = build_parser()
    (actions,) = [item for item in parser._actions if isinstance(item, argparse._SubParsersAction)]
    return list(actions.choices)


@pytest.mark.parametrize("verb", _verbs())
def test_every_verb_is_in_the_readme(verb: str) -> None:
    """Whoever reads the README knows every verb."""
    assert f"`headwater {verb}" in (ROOT / "README.md").read_text()


def test_every_setting_is_documented() -> None:
    """docs/settings.md has every variable that the packages read, and no other."""
    modules = [
        path for name in ("lineage", "validations", "serving", "orchestration") for path in (ROOT / name).rglob("*.py")
    ]

    read = {found for path in modules for found in SETTING.findall(path.read_text())} - INTERNAL
    documented = set(SETTING.findall((ROOT / "docs" / "settings.md").read_text()))

    assert read == documented


@pytest.mark.parametrize("doc", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(doc: Path) -> None:
    """A relative link in the docs points at a file that exists."""
    links = re.findall(r"\]\((?!http|#)([^)#]+)", doc.read_text())

    missing = [link for link in links if not (doc.parent / link).exists()]

    assert not missing


def test_the_readme_pipeline_runs() -> None:
    """The pipeline in the README declares what it says and computes what it says."""
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.S)
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    shop = names["shop"]
    assert isinstance(shop, Pipeline)

    large = shop.steps["large"].function
    assert large is not None
    orders = pl.LazyFrame({"order_id": [1, 2], "amount": [99.0, 100.0]})

    assert large(orders, **shop.steps["large"].parameters).collect()["order_id"].to_list() == [2]


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("seattle", ["fetch", "source", "table", "model"]),
        ("tumours", ["source", "table", "model"]),
        ("shop", ["source", "table", "table"]),
    ],
)
def test_the_tutorial_pipelines_can_be_declared(name: str, kinds: list[str]) -> None:
    """The tutorial's code declares what its text says."""
    pipeline = _tutorial(name)[name]

    assert isinstance(pipeline, Pipeline)
    assert [step.kind for step in pipeline.steps.values()] == kinds


def test_the_tutorial_sees_yesterday_and_not_today() -> None:
    """A day that is asked about at six has seen the weather of the day before, and tomorrow that of the last."""
    days = _tutorial("seattle")["days"]
    weather = pl.LazyFrame({"date": ["2012/01/01", "2012/01/02"], "precipitation": [0.0, 10.9]}).with_columns(
        temp_max=pl.lit(10.0), temp_min=pl.lit(5.0), wind=pl.lit(1.0)
    )

    found = days(weather).collect()

    assert found["day"].cast(pl.String).to_list() == ["2012-01-01", "2012-01-02", "2012-01-03"]
    assert found["rain"].to_list() == [False, True, None]
    assert found["rain_yesterday"].to_list() == [None, 0.0, 10.9]
    assert found["rain_7d"].to_list() == [None, 0.0, 0.5]


def test_the_tutorial_history_computes() -> None:
    """The reference's aggregate sees what was known, and nothing else; its look-back is what the text says."""
    names = _tutorial("shop")
    noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
    hours = [noon + timedelta(hours=hour) for hour in range(3)]
    orders = pl.LazyFrame(
        {
            "customer": ["Ann"] * 3,
            "ordered_at": hours,
            "settled_at": [hours[1], hours[1], None],
            "returned": [True, False, None],
        }
    )

    found = names["features"](orders, orders).collect()["returned_90d"].to_list()

    assert found == [None, None, 0.5]
    assert [item.look_back for item in names["shop"].steps["features"].inputs] == [0, 5]


def _tutorial(pipeline: str) -> dict[str, Any]:
    """What the tutorial's Python block that declares `pipeline` defines."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "tutorial.md").read_text(), flags=re.S)
    (block,) = [block for block in blocks if f'Pipeline("{pipeline}")' in block]
    names: dict[str, Any] = {}
    exec(compile(block, f"tutorial.md: {pipeline}", "exec"), names)
    return names


def test_the_tutorial_names_everything_an_author_imports() -> None:
    """What `lineage` exports to authors is explained where authors look."""
    text = (ROOT / "docs" / "tutorial.md").read_text()

    assert [name for name in lineage.__all__ if name not in text] == []


@pytest.mark.parametrize("doc", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_commands_shown_are_commands(doc: Path) -> None:
    """Every `$ headwater …` in the docs is a verb with flags that it has."""
    shown = re.findall(r"^ *\$ headwater ([^|>#\n]*)", doc.read_text(), flags=re.M)

    # The parser ends the test itself, with its usage, where one is not.
    verbs = [build_parser().parse_args(shlex.split(words)).verb for words in shown]

    assert set(verbs) <= set(_verbs())
