"""The tutorial, executed: its files are written, its commands run, and each must say what the page shows."""

import shutil
from pathlib import Path

import pytest

from .pages import Reader

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("lineage", "validations", "serving", "orchestration")


@pytest.fixture(scope="module")
def page():
    """The tutorial as far as it is to be followed."""
    return (REPOSITORY / "docs" / "tutorial.md").read_text().partition("\n## Reference\n")[0]


@pytest.fixture(scope="module")
def reader(make_system, tmp_path_factory):
    """An empty folder, and our packages as if they were installed: without the example."""
    place = tmp_path_factory.mktemp("tutorial")
    for name in PACKAGES:
        shutil.copytree(REPOSITORY / name, place / "installed" / name, ignore=shutil.ignore_patterns("__pycache__"))
    (place / "rain").mkdir()
    system = make_system(place / "rain", code=place / "installed")
    for role in ("AUTHOR", "COMMITTER"):
        system.extra |= {f"GIT_{role}_NAME": "Test", f"GIT_{role}_EMAIL": "test@example.org"}
    return Reader(system)


def test_the_page_is_what_happens(reader, page):
    """Whoever follows the tutorial sees what it shows: every line, and every number that is not a time."""
    commands = reader.follow(page)

    verbs = {command.split()[1] for command in commands if command.startswith("headwater ")}
    assert {"run", "list", "models", "predict", "trace", "replay", "dvc"} == verbs
    assert "dvc repro" in commands


def test_a_page_may_omit_lines(make_system, tmp_path):
    """At the end, in the middle and more than once; none is one of any number."""
    page = "    $ printf 'one\\ntwo\\nthree\\n  four\\nfive\\n'\n    one\n      …\n    three\n    …\n    five\n    …\n"

    assert 1 == len(Reader(make_system(tmp_path)).follow(page))


@pytest.mark.parametrize(
    "page",
    [
        "    $ echo 0.41\n    0.42\n",
        "    $ printf 'one\\ntwo\\n'\n    one\n",
        "    $ echo one\n    one\n    two\n",
        "    $ echo 1f6e11ca0e26 421c63036890\n    1f6e11ca0e26 1f6e11ca0e26\n",
        "    $ echo 1f6e11ca0e26 1f6e11ca0e26\n    1f6e11ca0e26 421c63036890\n",
        "    $ false\n",
        "    $ printf 'one\\ntwo\\nthree\\n'\n    one\n    …\n    two\n",
        "    $ printf 'one\\ntwo\\nthree\\nfour\\n'\n    one\n    …\n    2\n    …\n    four\n",
    ],
    ids=["number", "line more", "line less", "same hash", "other hash", "exit code", "not the end", "not the middle"],
)
def test_a_page_that_is_not_what_happens_fails(make_system, tmp_path, page):
    """What differs is found: a number, a line, a hash that is not the one it was, a failure."""
    with pytest.raises(AssertionError):
        Reader(make_system(tmp_path)).follow(page)
