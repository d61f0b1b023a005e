"""The tutorial, executed: its files are written, its commands run, and each must say what the page shows."""

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("lineage", "validations", "serving", "orchestration")

# A file is a fenced block after a line that ends with its name; a command is an indented line with a prompt, and
# the indented lines below it are what it says.
FILE = r"`(?P<name>[\w/.]+)`:\n\n```\w+\n(?P<text>(?s:.*?))```"
COMMAND = r"^    \$ (?P<command>.+)\n(?P<shown>(?:    (?!\$ ).*\n|\n(?=    (?!\$ )))*)"
# A line that stands for any number of lines.
OMITTED = "…"

# Other from run to run: ids and hashes, which must be other consistently, and times.
NAME = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b[0-9a-f]{12}(?:[0-9a-f]{52})?\b")
TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:(?:\.\d+)?\+00:00)?| *\b\d+\.\d\d s$", re.M)
# How the command line says that it failed, with exit code 1.
FAILED = re.compile(r"^headwater: ", re.M)


@dataclass
class Reader:
    """Somebody who follows the page in a folder of their own, and compares."""

    system: object
    names: dict[str, str] = field(default_factory=dict)

    def follow(self, page):
        """Do what the page says, in its order; returns the commands."""
        commands = []
        for item in re.finditer(f"{FILE}|{COMMAND}", page, flags=re.M):
            if item["name"]:
                (self.system.root / item["name"]).write_text(item["text"])
            else:
                commands.append(item["command"])
                self.run(item["command"], re.sub("^    ", "", item["shown"], flags=re.M).strip())
        return commands

    def run(self, command, shown):
        """Run a command of the page, with our ids in place of its, and compare what is said with what is shown."""
        ours = NAME.sub(lambda found: self.names.get(found[0], found[0]), command)
        done = self.system.run("sh", "-c", f"({ours}) 2>&1")
        said = abridged(done.stdout.strip(), shown)

        assert plain(said) == plain(shown), f"$ {command}\n{done.stdout}"
        assert done.returncode == (1 if FAILED.search(shown) else 0), f"$ {command}\n{done.stdout}"
        for theirs, found in zip(NAME.findall(shown), NAME.findall(said), strict=True):
            # A hash stands on the page in full and as its first twelve digits.
            short = slice(None if "-" in theirs else 12)
            assert self.names.setdefault(theirs[short], found[short]) == found[short], f"$ {command}\n{done.stdout}"
        assert len(set(self.names.values())) == len(self.names), f"$ {command}\n{done.stdout}"


def abridged(said, shown):
    """What was said without the lines that the page omits."""
    before, omitted, after = f"{shown}\n".partition(f"\n{OMITTED}\n")
    if not omitted:
        return said
    lines, first, last = said.splitlines(), len(before.splitlines()), len(after.splitlines())
    return "\n".join([*lines[:first], OMITTED, *lines[len(lines) - last :]])


def plain(text):
    """Text whose ids, hashes and times are like all others."""
    return TIME.sub(" TIME", NAME.sub("NAME", text))


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


@pytest.mark.parametrize(
    "page",
    [
        "    $ echo 0.41\n    0.42\n",
        "    $ printf 'one\\ntwo\\n'\n    one\n",
        "    $ echo one\n    one\n    two\n",
        "    $ echo 1f6e11ca0e26 421c63036890\n    1f6e11ca0e26 1f6e11ca0e26\n",
        "    $ echo 1f6e11ca0e26 1f6e11ca0e26\n    1f6e11ca0e26 421c63036890\n",
        "    $ false\n",
    ],
    ids=["number", "line more", "line less", "same hash", "other hash", "exit code"],
)
def test_a_page_that_is_not_what_happens_fails(make_system, tmp_path, page):
    """What differs is found: a number, a line, a hash that is not the one it was, a failure."""
    with pytest.raises(AssertionError):
        Reader(make_system(tmp_path)).follow(page)
