"""Honest fingerprints: nothing that a result rests on can change unseen, and nothing stale is ever used again.

One project, one claim a test. Each plants a change and runs everything as a process does that starts then. Of the steps
it says which were `computed`, and which of these `changed` to another version. Then the change is taken back.
"""

from __future__ import annotations

import importlib
import os
import py_compile
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lineage.discover import discover
from lineage.plan import Workspace, make_plan
from lineage.ports import Ports
from lineage.run import Door, Runner, run_steps
from lineage.settings import Settings
from lineage.store import Store
from lineage.versions import sha256_file

PACKAGE = "mill"
ROWS = 12_000
FIRST = datetime(2020, 1, 1, tzinfo=UTC)

PIPELINE = '''"""Grain that is weighed, and what it is worth."""

import polars as pl

from lineage import Pipeline, files
from mill.worth import worth

mill = Pipeline("mill")
mill.source(
    "weighings",
    files("data/raw/mill/weighings/weighings.csv"),
    schema={"number": "int64", "at": "datetime_utc", "farm": "string", "kilos": "int32", "dry": "boolean"},
)


@mill.table(key="number")
def priced(weighings, *, fee: int = 3):
    """Each weighing with its worth."""
    return weighings.select("number", "farm", "at", "dry", worth=worth() - fee)


@mill.table(key="farm")
def farms(priced):
    """What each farm is owed for dry grain, since when, and the first it brought."""
    found = pl.col("worth").filter("dry").sum(), pl.col("at").min(), pl.col("number").min()
    return priced.group_by("farm").agg(*found)


@mill.table(key="farm", inputs={"table": "weighings"})
def kept(table):
    """Beside the rest: what reads the source and none of the helpers."""
    return table.group_by("farm").agg(pl.col("kilos").sum())
'''
WORTH = '''"""What grain is worth."""

import polars as pl

from mill.prices import price


def worth():
    """In cents."""
    return pl.col("kilos").cast(pl.Int64) * price("rye")
'''
PRICES = '''"""Prices of a kilo in cents."""

PRICES = {"rye": 21, "oats": 17}
ROUND = 1


def price(grain):
    """The price of a grain."""
    return PRICES[grain] * ROUND
'''
RAW = "data/raw/mill/weighings/weighings.csv"
HEADER = "number,at,farm,kilos,dry"
SOURCE = {"weighings"}
TABLES = {"priced", "farms", "kept"}


@dataclass(frozen=True)
class Seen:
    """What a run did: which steps computed, and which of them to another version than before."""

    computed: set[str]
    changed: set[str]


@dataclass
class Mill:
    """The project, its store, and how to run it as a process does that starts now."""

    root: Path
    store: Store

    @property
    def settings(self) -> Settings:
        """The project's settings."""
        return Settings(self.root, self.root / ".headwater", pipelines=PACKAGE)

    def space(self) -> Workspace:
        """The project as a new process would see it: modules imported anew, nothing remembered."""
        for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
            del sys.modules[name]
        importlib.invalidate_caches()
        return Workspace(self.settings, discover(self.settings), self.store)

    def run(self) -> Seen:
        """Run everything."""
        space = self.space()
        before = {step.name: self.versions(step.dataset) for step in space.project.steps}
        outcomes = run_steps(Runner(space, Ports(), Door("test")), space.project.steps)
        computed = {item.step.name for item in outcomes if item.state == "complete"}
        changed = {step.name for step in space.project.steps if self.versions(step.dataset) != before[step.name]}
        assert changed <= computed
        return Seen(computed, changed)

    def versions(self, dataset: str) -> dict[str, str]:
        """The sha256 of each current partition."""
        return {key: version.sha256 for key, version in self.store.current(dataset).items()}

    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of each step as it stands."""
        space = self.space()
        return {step.name: make_plan(space, step, "").fingerprint for step in space.project.steps}

    def path(self, name: str) -> Path:
        """A file of the project."""
        return self.root / name

    def write(self, name: str, text: str) -> None:
        """Write a file of the project; its bytecode stays where it is."""
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text)

    def edit(self, name: str, before: str, after: str) -> None:
        """Replace a piece of a file, which must be there once."""
        text = self.path(name).read_text()
        assert text.count(before) == 1, (name, before)
        self.write(name, text.replace(before, after))

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Whatever is changed inside is taken back, and run."""
        files = [path for top in (PACKAGE, "data/raw") for path in self.path(top).rglob("*.*") if path.suffix != ".pyc"]
        contents = {
            path: path.read_bytes()
            for path in [*files, self.path("uv.lock"), self.path("requirements.txt")]
            if path.exists()
        }
        try:
            yield
        finally:
            self.path("requirements.txt").unlink(missing_ok=True)
            for path, data in contents.items():
                path.write_bytes(data)
            self.run()


def line(number: int) -> list[str]:
    """One weighing."""
    at = (FIRST + timedelta(minutes=number)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return [str(number), at, f"farm {number % 7}", str(100 + number % 89), str(number % 3 == 0).lower()]


def records(mill: Mill) -> list[list[str]]:
    """The records of the raw file."""
    return [text.split(",") for text in mill.path(RAW).read_text().splitlines()[1:]]


def rewrite(mill: Mill, rows: list[list[str]], header: str = HEADER) -> None:
    """Write the raw file anew."""
    mill.write(RAW, "\n".join([header, *(",".join(row) for row in rows), ""]))


@pytest.fixture(scope="module")
def project(tmp_path_factory) -> Iterator[Mill]:
    """The project after its first run; bytecode is written, as it is for users."""
    root = tmp_path_factory.mktemp("mill")
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, False
    with Store(Settings(root, root / ".headwater", pipelines=PACKAGE)) as store:
        made = Mill(root, store)
        texts = {"mill": PIPELINE, "worth": WORTH, "prices": PRICES, "__init__": ""}
        for name, text in texts.items():
            made.write(f"{PACKAGE}/{name}.py", text)
        made.write("uv.lock", "polars = 2\n")
        rewrite(made, [line(number) for number in range(ROWS)])
        assert made.run() == Seen(SOURCE | TABLES, SOURCE | TABLES)
        yield made
    sys.dont_write_bytecode = written
    sys.path.remove(str(root))
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


@pytest.fixture
def mill(project: Mill) -> Iterator[Mill]:
    """The project with everything up to date; a test's changes are taken back."""
    with project.kept():
        yield project


def test_without_a_change_nothing_runs(mill):
    """The claims below mean something: a new process finds the same fingerprints and computes nothing."""
    before = mill.fingerprints()

    assert (mill.run(), mill.fingerprints()) == (Seen(set(), set()), before)


# --- cells, rows, columns


def _late_cell(rows):
    rows[-1][3] = "999"
    return rows


def _overwritten(rows):
    return [*rows[:10_000], *([row[0], *rows[0][1:]] for row in rows[10_000:])]


def _flipped(rows):
    return [[*row[:4], "false" if row[4] == "true" else "true"] for row in rows]


def _shifted(rows):
    return [[row[0], row[1].replace("2020-", "2021-"), *row[2:]] for row in rows]


CONTENT: dict[str, tuple[Callable[[list[list[str]]], list[list[str]]], set[str]]] = {
    "one cell of the last row": (_late_cell, SOURCE | {"priced", "kept"}),
    "every row past the 10,000th": (_overwritten, SOURCE | {"priced", "farms", "kept"}),
    "every boolean": (_flipped, SOURCE | {"priced", "farms"}),
    "all timestamps, by a year": (_shifted, SOURCE | {"priced", "farms"}),
    "a row that is missing": (lambda rows: rows[:-1], SOURCE | {"priced", "kept"}),
    "a row that is twice": (lambda rows: [*rows, [str(ROWS), *rows[-1][1:]]], SOURCE | {"priced", "kept"}),
    "a cell that is empty": (
        lambda rows: [[*rows[0][:3], "", rows[0][4]], *rows[1:]],
        SOURCE | {"priced", "farms", "kept"},
    ),
}


@pytest.mark.parametrize("plant", CONTENT)
def test_a_change_of_content_is_another_version(mill, plant):
    """Whatever cell changes, wherever it stands: the source, and every table in which it shows, become others."""
    change, least = CONTENT[plant]
    rewrite(mill, change(records(mill)))

    seen = mill.run()

    assert {"weighings", "priced", "kept"} <= seen.computed
    assert least <= seen.changed


def test_the_order_of_rows_is_content(mill):
    """Shuffled rows are another source, and are read again; tables that are ordered by a key come out the same."""
    rows = records(mill)
    rewrite(mill, [rows[number * 7919 % ROWS] for number in range(ROWS)])

    assert mill.run() == Seen({"weighings", "priced", "kept"}, SOURCE)


def test_the_order_of_columns_is_content(mill):
    """Columns that are declared in another order make another table, though a mapping is the same to JSON."""
    mill.edit("mill/mill.py", '"farm": "string", "kilos": "int32"', '"kilos": "int32", "farm": "string"')

    seen = mill.run()

    assert SOURCE <= seen.changed
    assert {"priced", "kept"} <= seen.computed


def test_the_name_of_a_column_is_content(mill):
    """A column that is renamed, in file and declaration, is another source with the same values."""
    rewrite(mill, records(mill), HEADER.replace("kilos", "weight"))
    mill.edit("mill/mill.py", '"kilos": "int32"', '"weight": "int32"')
    mill.edit("mill/mill.py", 'pl.col("kilos").sum()', 'pl.col("weight").sum()')
    mill.edit("mill/worth.py", 'pl.col("kilos")', 'pl.col("weight")')

    assert mill.run() == Seen({"weighings", "priced", "kept"}, SOURCE | {"kept"})


def test_the_type_of_a_column_is_content(mill):
    """Another declared type is another version, also where every value prints the same."""
    mill.edit("mill/mill.py", '"kilos": "int32"', '"kilos": "int64"')

    assert mill.run() == Seen({"weighings", "priced", "kept"}, SOURCE | {"kept"})


def test_the_type_of_a_tables_column_is_content(mill):
    """A step that casts otherwise gives another version, and what reads it runs."""
    mill.edit("mill/mill.py", "worth=worth() - fee", "worth=(worth() - fee).cast(pl.Int32)")

    seen = mill.run()

    assert (seen.computed, "priced" in seen.changed) == ({"priced", "farms"}, True)


def test_what_counts_as_missing_is_declared(mill):
    """A value that is declared to mean null makes another source of the same bytes."""
    mill.edit("mill/mill.py", '"dry": "boolean"},', '"dry": "boolean"},\n    null_values=["", "false"],')

    seen = mill.run()

    assert (SOURCE | {"priced"}, SOURCE | {"priced", "kept", "farms"}) == (seen.changed, seen.computed)


# --- files behind their paths


def test_a_file_is_known_by_its_bytes(mill):
    """Other bytes under the same name, of the same size and time: a path, a size and a date prove nothing."""
    path = mill.path(RAW)
    before, text = path.stat(), path.read_text()
    path.write_text(text.replace("farm 6", "farm 5"))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()

    assert (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns)
    assert mill.run() == Seen(SOURCE | TABLES, SOURCE | TABLES)


def test_a_file_that_is_replaced_is_read(mill):
    """Another file moved to the same name between two runs."""
    other = mill.path("data/raw/mill/other.csv")
    other.write_text(mill.path(RAW).read_text().replace(",true", ",false"))
    other.replace(mill.path(RAW))

    assert SOURCE | {"priced", "farms"} <= mill.run().changed


@pytest.mark.parametrize("name", ["weighings", "priced", "farms"])
def test_a_table_in_its_place_is_not_believed(mill, name):
    """What somebody wrote over a table is read by nobody: the recorded bytes are put back."""
    version = mill.store.current(f"mill/{name}")[""]
    path = mill.path(version.file.path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    assert mill.run() == Seen(set(), set())
    assert sha256_file(path) == version.sha256


# --- code


@pytest.mark.parametrize(
    ("file", "before", "after", "computed"),
    [
        pytest.param("mill/worth.py", "pl.Int64) *", "pl.Int64) * 2 *", {"priced", "farms"}, id="a helper"),
        pytest.param("mill/prices.py", "* ROUND", "* ROUND + 1", {"priced", "farms"}, id="a helper two modules away"),
        pytest.param("mill/prices.py", "ROUND = 1", "ROUND = 2", {"priced", "farms"}, id="a constant two modules away"),
        pytest.param("mill/prices.py", '"rye": 21', '"rye": 22', {"priced", "farms"}, id="an entry of a table"),
        pytest.param("mill/mill.py", "fee: int = 3", "fee: int = 4", {"priced", "farms"}, id="a parameter"),
        pytest.param("mill/mill.py", '.filter("dry")', "", {"farms"}, id="the step itself"),
    ],
)
def test_a_change_of_code_is_computed(mill, file, before, after, computed):
    """What a step reaches, however far away, decides whether it runs; what it does not reach does not."""
    earlier = mill.fingerprints()
    mill.edit(file, before, after)

    assert mill.run() == Seen(computed, computed)
    assert {name for name, now in mill.fingerprints().items() if now != earlier[name]} >= computed


def test_an_edit_that_bytecode_cannot_tell_is_run(mill):
    """Python itself would run the old bytecode of a helper that was edited within the second; no run does."""
    path = mill.path("mill/prices.py")
    before = path.stat()
    assert py_compile.compile(str(path))
    mill.edit("mill/prices.py", '"rye": 21', '"rye": 23')
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert mill.run() == Seen({"priced", "farms"}, {"priced", "farms"})


def test_a_change_that_gives_the_same_bytes_ends_there(mill):
    """Code that changed is run; where the same bytes come out, nothing that reads them is."""
    mill.edit("mill/worth.py", '* price("rye")', '* (price("rye") + 0)')

    assert mill.run() == Seen({"priced"}, set())


def test_what_is_not_reached_does_not_count(mill):
    """Comments, docstrings and names that nobody uses are no reason to compute."""
    mill.edit("mill/prices.py", '"""The price of a grain."""', '"""The price of one kilo."""  # in cents')
    mill.edit("mill/prices.py", "ROUND = 1", "ROUND = 1\nUNUSED = 2")

    assert mill.run() == Seen(set(), set())


# --- the environment


def test_the_lock_file_counts(mill):
    """Another lock may be another library: everything is computed, and here gives the same bytes."""
    mill.write("uv.lock", "polars = 3\n")

    assert mill.run() == Seen(SOURCE | TABLES, set())


def test_a_second_lock_file_counts(mill):
    """Nobody knows which of two locks was installed from, so both count."""
    mill.write("requirements.txt", "polars==2\n")
    with_both = mill.run()
    mill.write("requirements.txt", "polars==3\n")

    assert [with_both, mill.run()] == [Seen(SOURCE | TABLES, set())] * 2


def test_a_change_taken_back_is_the_version_before(mill):
    """The same bytes are the same version, and never mistaken for those that came between."""
    before = {name: mill.versions(f"mill/{name}") for name in SOURCE | TABLES}
    with mill.kept():
        rewrite(mill, _flipped(records(mill)))
        mill.run()
        between = {name: mill.versions(f"mill/{name}") for name in SOURCE | TABLES}

    assert before == {name: mill.versions(f"mill/{name}") for name in SOURCE | TABLES}
    assert {name for name in before if before[name] != between[name]} == SOURCE | {"priced", "farms"}
