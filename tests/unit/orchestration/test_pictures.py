"""Pictures of an evaluation: a small PNG for each CSV that has something to show."""

from __future__ import annotations

import base64
import subprocess
import sys

import numpy as np
import pytest

from orchestration.pictures import as_markdown, draw
from serving.evaluate import Table, evaluate

MONTHS = np.array(["2013-11", "2013-12"] * 500)
FEATURES = tuple((f"a_feature_with_a_long_name_{number}", 0.02, 1.0, 1) for number in range(50))


def plots(objective: str, rows: int = 1000) -> dict[str, bytes]:
    """The CSV files of a model, its baselines and fifty features."""
    rng = np.random.default_rng(0)
    margins = rng.normal(size=rows).astype(np.float32)
    labels = (margins > rng.normal(size=rows)).astype(np.float32)
    given = {"model": margins, "linear": margins / 2, "base": np.zeros(rows, np.float32)}
    gained = Table(("feature", "share", "gain", "splits"), FEATURES if rows else ())
    return evaluate(objective, labels, given, MONTHS[:rows], gained).plots()


@pytest.mark.parametrize(("objective", "curve"), [("binary:logistic", "gain"), ("reg:absoluteerror", "errors")])
def test_pictures_are_small_pngs(objective, curve):
    """Calibration, curve, months and importance are drawn, each as a PNG that an event can carry."""
    found = draw(plots(objective))

    assert ["calibration", curve, "months", "importance"] == list(found)
    assert all(png.startswith(b"\x89PNG\r\n") and len(png) < 40_000 for png in found.values())


def test_pictures_show_the_numbers():
    """Other numbers make another picture, the same numbers the same one."""
    given = plots("binary:logistic")
    moved = {**given, "calibration.csv": given["calibration.csv"].replace(b"1,100,", b"1,100,-", 1)}

    first, again, other = draw(given), draw(given), draw(moved)

    assert first == again
    assert [name for name in first if first[name] != other[name]] == ["calibration"]


def test_nothing_is_drawn_of_nothing():
    """CSVs without rows, and files of other names, have no picture."""
    assert {} == draw({**plots("binary:logistic", rows=0), "notes.csv": b"a,b\n1,2\n"})


def test_an_undefined_score_is_a_gap():
    """A month without a score does not stop the picture."""
    data = b"month,rows,model_logloss,linear_logloss\n2013-11,1,0.5,\n2013-12,1,0.4,0.6\n"

    assert ["months"] == list(draw({"months.csv": data}))


def test_other_columns_are_no_picture():
    """A trainer of somebody else's may call another table calibration.csv; it is left out, and nothing breaks."""
    assert {} == draw({"calibration.csv": b"x,y\n1,2\n", "months.csv": b"month,model_mae\n2013-11,many\n"})


def test_markdown_holds_the_picture():
    """What Dagster's page shows is the picture itself, not a link to a place that may be gone."""
    text = as_markdown("gain", b"\x89PNG")

    assert "![gain](data:image/png;base64," == text.partition(",")[0] + ","
    assert base64.b64decode(text.partition(",")[2].rstrip(")")) == b"\x89PNG"


def test_importing_draws_nothing():
    """Matplotlib is loaded by the first picture."""
    code = "import sys, orchestration.pictures; print('matplotlib' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)

    assert "False\n" == done.stdout
