"""A small shop: a project of its own in a temporary folder, with one step of each kind and real doors."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pytest

from lineage.discover import discover
from lineage.plan import Workspace
from lineage.ports import Ports
from lineage.run import Door, Runner, run_steps
from lineage.settings import Settings
from lineage.store import Store
from lineage.versions import Version, sha256_file

from .market import Market
from .market import make as make_market

BIN = Path(sys.executable).parent
PATIENCE_SECONDS = 120

PIPELINE = '''"""A shop: its orders and visits by month, its products, and which orders will be late."""

import polars as pl

from lineage import Pipeline, by_time, files, monthly
from {package}.money import price_in_cents

shop = Pipeline("shop")
MONTHS = monthly("2020-01", "2020-07")

shop.source(
    "orders",
    files("data/raw/shop/orders/{{partition}}.csv"),
    partitions=MONTHS,
    schema={{"id": "string", "at": "date", "product": "string", "amount": "int32", "late": "boolean"}},
)
shop.source(
    "visits",
    files("data/raw/shop/visits/{{partition}}.csv"),
    partitions=MONTHS,
    schema={{"day": "date", "visitors": "int32"}},
)
shop.source(
    "products",
    files("data/raw/shop/products/products.csv"),
    schema={{"product": "string", "price": "float64"}},
)


@shop.table(key="id", look_back={{"visits": 1}})
def features(orders, visits, products, *, lead_days: int = 1):
    """Orders with the price of the product and the visitors of the day before."""
    known = visits.select(pl.col("day").dt.offset_by(f"{{lead_days}}d").alias("at"), "visitors")
    return orders.join(products, on="product", how="left").join(known, on="at", how="left").with_columns(
        cents=price_in_cents()
    )


@shop.table(key="product", whole=True)
def totals(orders):
    """What was sold of each product."""
    return orders.group_by("product").agg(pl.col("amount").sum())


shop.model(
    "late_t0",
    table="features",
    target="late",
    features=["amount", "cents", "visitors"],
    split=by_time("at", tune_from="2020-01-15", test_from="2020-01-25"),
    trainer="{trainer}",
    rounds=3,
)
'''
MONEY = '''"""Prices."""

import polars as pl


def price_in_cents():
    """The price as an integer."""
    return (pl.col("price") * 100).round().cast(pl.Int32)
'''
TRAINER = '''"""A trainer that learns one number, so that most tests need no XGBoost."""

import hashlib
import json

import polars as pl

from lineage.ports import TrainedBundle


def fit(step, tables, folder, training):
    """The model is the sum of what was ordered; where that is even it has notes."""
    learnt = pl.scan_parquet(list(tables)).select(pl.col("amount").sum()).collect().item()
    files = {"model.txt": f"{learnt}\\n", **({"notes.txt": "even\\n"} if learnt % 2 == 0 else {})}
    sums = {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()}
    files["manifest.json"] = json.dumps({"files": sums}, indent=1, sort_keys=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    digest = hashlib.sha256(files["manifest.json"].encode()).hexdigest()
    return TrainedBundle(digest, tuple(sorted(files)), {"learnt": learnt})
'''
MONTHS = ("2020-01", "2020-02", "2020-03")
ALL = tuple(
    label
    for step in ("orders", "visits", "products", "features", "totals", "late_t0")
    for label in ([f"{step}[{month}]" for month in MONTHS] if step in ("orders", "visits", "features") else [step])
)


@dataclass(frozen=True)
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def states(self) -> dict[str, str]:
        """`step[partition]` -> what `headwater run` says became of it."""
        words = (line.split() for line in self.out.splitlines() if line.startswith("shop."))
        known = {"up": "up to date", "restored": "restored", "computed": "computed"}
        # A model has a second line, on what the gate said of it.
        return {name.removeprefix("shop."): known[state] for name, state, *_ in words if state in known}

    @property
    def computed(self) -> set[str]:
        """What was computed."""
        return {name for name, state in self.states.items() if state == "computed"}

    @property
    def json(self):
        """What was printed, parsed."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Shop:
    """A project on disk. `run` runs it in this process; `cli` and `dvc` in processes of their own."""

    root: Path
    package: str
    held: ExitStack = field(default_factory=ExitStack)

    # --- doors

    @property
    def environ(self) -> dict[str, str]:
        """The environment of a user who has activated the virtual environment and set nothing."""
        ours = ("HEADWATER_", "DATABASE_", "OPENLINEAGE_", "PYTHONDONTWRITEBYTECODE")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
        return {**kept, "PATH": path, "HEADWATER_PIPELINES": self.package}

    def start(self, *command: str) -> subprocess.Popen[str]:
        """A process in the project; whoever starts it waits for it."""
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        program = (str(BIN / command[0]), *command[1:]) if (BIN / command[0]).exists() else command
        return subprocess.Popen(program, cwd=self.root, env=self.environ, text=True, **pipes)

    def execute(self, *command: str) -> Ran:
        """A command in the project, from start to end."""
        with self.start(*command) as process:
            return finish(process)

    def cli(self, *arguments: str) -> Ran:
        """`headwater …`."""
        return self.execute("headwater", *arguments)

    def dvc(self, *arguments: str) -> Ran:
        """`dvc …`."""
        return self.execute("dvc", *arguments)

    def git(self, *arguments: str) -> str:
        """`git …`; must succeed."""
        who = ("-c", "user.name=Test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")
        ran = self.execute("git", *who, *arguments)
        assert ran.code == 0, ran.err
        return ran.out

    # --- in this process

    @cached_property
    def store(self) -> Store:
        """An open store, which also keeps the server running between the commands of a test."""
        return self.held.enter_context(Store(Settings(self.root, self.root / ".headwater", pipelines=self.package)))

    @cached_property
    def space(self) -> Workspace:
        """The workspace as declared at first use."""
        settings = Settings(self.root, self.root / ".headwater", pipelines=self.package)
        self.held.callback(self._forget_modules)
        return Workspace(settings, discover(settings), self.store)

    def run(self, *steps: str, partition: str | None = None) -> set[str]:
        """Run steps (all by default) in this process; what was computed."""
        wanted = [self.space.project.step(f"shop.{name}") for name in steps] or self.space.project.steps
        runner = Runner(self.space, Ports(), Door("test"))
        outcomes = run_steps(runner, wanted, partition)
        return {outcome.label.removeprefix("shop.") for outcome in outcomes if outcome.state == "complete"}

    def query(self, text: str) -> list[dict]:
        """Rows of any SQL, whichever query the store has a name for."""
        return self.store._connection.execute(text.encode()).fetchall()

    # --- files

    def path(self, name: str) -> Path:
        """A file of the project."""
        return self.root / name

    def raw(self, name: str) -> Path:
        """A raw file, by `orders/2020-01` or `products/products`."""
        return self.root / f"data/raw/shop/{name}.csv"

    def table(self, name: str) -> Path:
        """A table's file, by `features/2020-01` or `totals/all`."""
        return self.root / f"data/tables/shop/{name}.parquet"

    def write(self, name: str, text: str) -> None:
        """Write a file of the project."""
        self.path(name).parent.mkdir(parents=True, exist_ok=True)
        self.path(name).write_text(text)
        # An edit within a second of the last, of the same length, must not meet stale bytecode.
        shutil.rmtree(self.path(name).parent / "__pycache__", ignore_errors=True)

    def edit(self, name: str, before: str, after: str) -> None:
        """Replace a piece of a file, which must be there once."""
        text = self.path(name).read_text()
        assert text.count(before) == 1, f"{before!r} stands {text.count(before)} times in {name}"
        self.write(name, text.replace(before, after))

    def write_month(self, month: str) -> None:
        """Orders and visits of a month that did not land yet."""
        products = ("tea", "salt", "rice")
        orders = [
            f"{month}-{day},{month}-{day:02d},{products[day % 3]},{day % 7 + 1},{str(day % 4 == 0).lower()}"
            for day in range(1, 29)
        ]
        visits = [f"{month}-{day:02d},{day * 13 % 50}" for day in range(1, 29)]
        self.write(f"data/raw/shop/orders/{month}.csv", "\n".join(["id,at,product,amount,late", *orders, ""]))
        self.write(f"data/raw/shop/visits/{month}.csv", "\n".join(["day,visitors", *visits, ""]))

    def order_again(self, month: str) -> str:
        """Append one more order to a month; returns its id."""
        lines = self.raw(f"orders/{month}").read_text().splitlines()
        name = f"{month}-again-{len(lines)}"
        self.raw(f"orders/{month}").write_text("\n".join([*lines, f"{name},{month}-28,tea,1,false", ""]))
        return name

    def contents(self, *folders: str) -> dict[str, str]:
        """Path -> sha256 of every file below the folders (all that runs write, by default)."""
        tops = [self.root / name for name in folders or ("data/tables", "data/models", "data/metrics")]
        found = (path for top in tops for path in sorted(top.rglob("*")) if path.is_file())
        # Provenance names runs and times, and each clone signs with a key of its own: they stand beside the content.
        return {
            str(path.relative_to(self.root)): str(sha256_file(path))
            for path in found
            if not path.name.endswith((".provenance.json", ".manifest.sig"))
        }

    def current(self, name: str, partition: str = "") -> Version:
        """The current version of a step's output."""
        return self.store.current(f"shop/{name}")[partition]

    def object(self, version: Version, ending: str = "") -> Path:
        """Where the cache keeps a file of a version: its only one, or that whose path has this ending."""
        (file,) = (file for file in version.files if file.path.endswith(ending))
        return self.space.objects.path(file.md5)

    # --- making and unmaking

    def make(self, *, trainer: str) -> None:
        """Write the project, with three months of data, and commit it."""
        self.write(f"{self.package}/__init__.py", '"""Pipelines."""\n')
        self.write(f"{self.package}/shop.py", PIPELINE.format(package=self.package, trainer=trainer))
        self.write(f"{self.package}/money.py", MONEY)
        self.write(f"{self.package}/trainer.py", TRAINER)
        self.write(".gitignore", ".headwater/\n__pycache__/\n/data/tables/\n/data/models/\n")
        self.write("data/raw/shop/products/products.csv", "product,price\ntea,4.5\nsalt,0.79\nrice,2.35\n")
        for month in MONTHS:
            self.write_month(month)
        self.git("init", "--quiet", "--initial-branch=main")
        self.commit()

    def commit(self) -> None:
        """Commit everything."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "As it is")

    def _forget_modules(self) -> None:
        sys.path.remove(str(self.root))
        for name in [name for name in sys.modules if name.partition(".")[0] == self.package]:
            del sys.modules[name]


def finish(process: subprocess.Popen[str]) -> Ran:
    """Wait for a process; one that takes too long is killed, and the test fails."""
    try:
        out, err = process.communicate(timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        pytest.fail(f"{process.args} did not end within {PATIENCE_SECONDS} s\n{out}\n{err}")
    return Ran(process.returncode, out, err)


@pytest.fixture
def space():
    """A namespace that no other test uses."""
    return f"s3://{uuid.uuid4().hex}"


@pytest.fixture(scope="module")
def make_shop(tmp_path_factory) -> Iterator[Callable[..., Shop]]:
    """Makes projects that live as long as the module's tests."""
    with ExitStack() as made:

        def make(package: str = "assets", *, trainer: str = "") -> Shop:
            shop = Shop(tmp_path_factory.mktemp("shop"), package)
            made.callback(shop.held.close)
            shop.make(trainer=trainer or f"{package}.trainer:fit")
            return shop

        yield make


@pytest.fixture(scope="session")
def market(tmp_path_factory) -> Iterator[tuple[Shop, Market]]:
    """A market, up to date, and the same in plain Python; its tests change nothing of it."""
    shop = Shop(tmp_path_factory.mktemp("market"), "market_rows")
    with shop.held:
        shop.make(trainer="market_rows.trainer:fit")
        yield shop, make_market(shop)


@pytest.fixture(scope="module")
def clone_shop(tmp_path_factory) -> Iterator[Callable[[Shop], Shop]]:
    """Makes clean clones of a project, as git gives them."""
    with ExitStack() as made:

        def clone(shop: Shop) -> Shop:
            cloned = Shop(tmp_path_factory.mktemp("clone"), shop.package)
            made.callback(cloned.held.close)
            cloned.git("clone", "--quiet", str(shop.root), ".")
            return cloned

        yield clone


@pytest.fixture
def headwater(shop, monkeypatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in this process, in the folder of the module's `shop`; returns (exit code, stdout, stderr)."""
    from orchestration.cli import main

    monkeypatch.chdir(shop.root)
    for name in ("HEADWATER_ROOT", "HEADWATER_HOME", "HEADWATER_NOW", "DATABASE_URL", "OPENLINEAGE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HEADWATER_PIPELINES", shop.package)

    def run(*arguments: str) -> tuple[int, str, str]:
        try:
            code = main(arguments)
        except SystemExit as ended:
            code = ended.code
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def finished() -> Callable[[subprocess.Popen[str]], Ran]:
    """Waits for a process that `Shop.start` started."""
    return finish


@pytest.fixture(scope="session")
def everything() -> tuple[str, ...]:
    """All partitions of all steps of a new shop, in running order."""
    return ALL


@pytest.fixture(scope="session")
def damage() -> Callable[[Path], None]:
    """Flips the lowest bit of a file's middle byte, whatever its permissions say."""

    def flip(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.chmod(0o644)
        path.write_bytes(bytes(data))

    return flip
