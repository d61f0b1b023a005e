"""Dagster as a door: what it is told of the pipelines, what it knows of their runs, and what makes it start some."""

import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import psycopg
import pytest
from dagster._core.definitions.data_version import CachingStaleStatusResolver
from dagster._core.loader import LoadingContextForTest
from dagster._core.scheduler.instigation import ScheduleInstigatorData
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from fastapi.testclient import TestClient
from ruamel.yaml import YAML

from lineage.api import create_app
from lineage.discover import Project, discover
from lineage.dvc import sync
from lineage.errors import SettingsError
from lineage.plan import Declared, step_code
from lineage.postgres import attach
from lineage.settings import Settings
from lineage.store import Store
from orchestration.build import asset_key, build_definitions
from orchestration.deployment import deployment_key
from orchestration.instance import dagster_environment, presence
from orchestration.materialize import bury
from orchestration.project import open_workspace
from orchestration.reach import asset_keys
from orchestration.reports import drain_reports
from orchestration.schedules import month_end, next_month
from orchestration.services import Services
from orchestration.up import dagster_services

# Dagster says of several of its interfaces that they may change; we pin its version.
pytestmark = [
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
]

REPOSITORY = Path(__file__).parents[2]
PACKAGE = "dagster_farm"
PIPELINE = '''"""Milk by cow and day, the weather of the day before, and which days will be good."""

import os
import time

import polars as pl

from lineage import Pipeline, by_time, files, from_package, monthly, suite

farm = Pipeline("farm")
MONTHS = monthly("2023-01", "2024-01", first=2)

farm.fetch("yields", from_package("farmdata", "farmdata/yields.csv"), split_by="month", partitions=MONTHS)
farm.source(
    "yields",
    files("data/raw/farm/yields/{partition}.csv"),
    partitions=MONTHS,
    checks=suite("yields"),
    schema={"year": "int32", "month": "int32", "day": "int32", "cow": "string", "litres": "float64"},
)
farm.source(
    "weather",
    files("data/raw/farm/weather/{partition}.csv"),
    partitions=MONTHS,
    schema={"day": "date", "rain": "float64"},
)
farm.source("cows", files("data/raw/farm/cows/cows.csv"), schema={"cow": "string", "breed": "string"})


@farm.table(key=["day", "cow"], look_back={"weather": 1})
def days(yields, weather, cows):
    """What a cow gave on a day, with the rain of the day before."""
    # So that a test can kill the process while it computes.
    time.sleep(float(os.environ.get("FARM_PAUSE_SECONDS", "0")))
    litres = pl.col("litres")
    # No number: it fails while it is computed.
    refused = pl.when(litres < 0).then(pl.lit("milk flows one way")).otherwise(litres.cast(pl.String))
    yields = yields.with_columns(refused.cast(pl.Float64).alias("litres"))
    before = weather.select(pl.col("day").dt.offset_by("1d"), "rain")
    known = yields.select(pl.date("year", "month", "day").alias("day"), "cow", "litres")
    return (
        known.join(before, on="day", how="left")
        .join(cows, on="cow", how="left")
        .with_columns(good=pl.col("litres") > 20)
    )


farm.model(
    "good",
    table="days",
    target="good",
    features=["breed", "rain"],
    split=by_time("day", tune_from="2023-01-16", test_from="2023-02-01"),
    rounds=4,
    max_depth=2,
)
'''
SUITE = {
    "name": "yields",
    "expectations": [
        {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "litres", "max_value": 60},
            "severity": "critical",
        }
    ],
}
COWS = ("Berta", "Erna", "Lotte")
LANDED = ("2023-01", "2023-02")
STEPS = ("raw_yields", "yields", "weather", "cows", "days", "good")


@dataclass(frozen=True)
class Farm:
    """A project on disk with its Dagster instance, both on the same embedded Postgres."""

    settings: Settings
    project: Project
    definitions: dg.Definitions
    instance: dg.DagsterInstance
    environment: dict[str, str]

    @property
    def root(self) -> Path:
        return self.settings.root

    def raw(self, source: str, month: str) -> Path:
        return self.root / f"data/raw/farm/{source}/{month}.csv"

    def python(self, *arguments: str, seconds: float = 120.0, **environment: str) -> str:
        """What a Python process printed that runs in the project to its end and succeeds."""
        command, env = [sys.executable, *arguments], {**self.environment, **environment}
        done = subprocess.run(command, cwd=self.root, env=env, capture_output=True, text=True, timeout=seconds)
        assert done.returncode == 0, f"{arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def headwater(self, *arguments: str) -> str:
        return self.python("-m", "orchestration.cli", *arguments)

    def materialize(self, *months: str, steps: tuple[str, ...] = STEPS) -> dg.ExecuteInProcessResult:
        """One Dagster run of `steps` for a range of months, as the UI starts it."""
        tags = {"dagster/asset_partition_range_start": months[0], "dagster/asset_partition_range_end": months[-1]}
        job = self.definitions.resolve_job_def("farm")
        keys = asset_keys(self.project, [f"farm.{name}" for name in steps])
        return job.execute_in_process(instance=self.instance, tags=tags, asset_selection=keys, raise_on_error=False)

    def look(self, cursor: str | None = None) -> Any:
        """What the sensor of raw files answers, evaluated from a cursor as the daemon does."""
        sensor = self.definitions.resolve_sensor_def("farm_raw_files")
        return sensor(dg.build_sensor_context(self.instance, cursor=cursor, definitions=self.definitions))

    def tick(self, now: date | None = None) -> Any:
        """What the schedule answers at a simulated date."""
        definitions = build_definitions(replace(self.settings, now=now), self.project)
        schedule = definitions.resolve_schedule_def("farm_next_month")
        return schedule(dg.build_schedule_context(self.instance))

    def drain(self) -> int:
        with open_workspace(self.settings) as space:
            return drain_reports(space, self.instance)

    def latest(self, step: str, month: str | None = None) -> dg.EventLogEntry:
        """The newest materialization of a step that Dagster knows."""
        record = self.instance.get_latest_data_version_record(
            dg.AssetKey(["farm", step]), is_source=False, partition_key=month
        )
        assert record is not None, f"{step}[{month}] was never materialized"
        return record.event_log_entry

    def count(self, step: str, month: str | None = None) -> int:
        """How many materializations of a step Dagster knows."""
        records = dg.AssetRecordsFilter(dg.AssetKey(["farm", step]), asset_partitions=[month] if month else None)
        return len(self.instance.fetch_materializations(records, limit=100).records)

    def stale(self) -> list[str]:
        """What Dagster calls neither fresh nor missing months that have not landed, and why."""
        graph = self.definitions.resolve_asset_graph()
        resolver = CachingStaleStatusResolver(self.instance, graph, LoadingContextForTest(self.instance))
        found = []
        assets = [(asset_key(step), self.landed() if step.partitions else (None,)) for step in self.project.steps]
        assets += [(deployment_key(step), (None,)) for step in self.project.models()]
        for key, months in assets:
            for month in months:
                status = resolver.get_status(key, month)
                if status.value != "FRESH":
                    causes = [cause.reason for cause in resolver.get_stale_causes(key, month)]
                    found.append(f"{key.to_user_string()}[{month}] {status.value} {causes}")
        return found

    def at_work(self) -> bool:
        """Whether Dagster has runs that have not ended."""
        runs = self.instance.get_runs(dg.RunsFilter(job_name="farm"))
        return any(not run.is_finished for run in runs)

    def unfinished(self, step: str | None = None) -> list[Any]:
        """Ids of runs that are at work, by our own store; of one step or all."""
        with Store(self.settings) as store:
            return [row["run_id"] for row in store.rows("unfinished_runs") if step in (None, row["step"])]

    def state(self, run_id: Any) -> str:
        """What became of one of our runs, once another process has looked after it."""
        with open_workspace(self.settings) as space:
            row = space.store.row("run", run_id=run_id)
            assert row is not None
            return str(row["state"])

    def landed(self) -> tuple[str, ...]:
        """Months that both sources have."""
        with open_workspace(self.settings) as space:
            return tuple(space.store.current("farm/days"))


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """A folder of installed distributions with one in it that carries a year of milk."""
    place = tmp_path_factory.mktemp("site")
    (place / "farmdata").mkdir()
    (place / "farmdata" / "yields.csv").write_text(yields_of(range(1, 13)))
    information = place / "farmdata-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: farmdata\nVersion: 1.0\n")
    (information / "RECORD").write_text("farmdata/yields.csv,,\n")
    return place


@pytest.fixture(scope="module")
def farm(tmp_path_factory, site) -> Iterator[Farm]:
    """A farm whose first two months were materialized by one process, as `headwater up` does it."""
    root = tmp_path_factory.mktemp("farm")
    write_project(root)
    settings = Settings(root, root / ".headwater", pipelines=PACKAGE, schedule="* * * * *")
    with pytest.MonkeyPatch.context() as patch, attach(settings) as attachment:
        patch.syspath_prepend(str(site))
        environment = dict(dagster_environment(settings, attachment))
        environment |= {
            "PYTHONPATH": f"{site}{os.pathsep}{REPOSITORY}",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "HEADWATER_SCHEDULE": settings.schedule,
        }
        for name in ("DAGSTER_HOME", "HEADWATER_DAGSTER_URL"):
            patch.setenv(name, environment[name])
        project = discover(settings)
        with dg.DagsterInstance.get() as instance:
            made = Farm(settings, project, build_definitions(settings, project), instance, environment)
            sync(Declared(settings, project))
            made.python("-m", "orchestration.materialize")
            yield made
        patch.delitem(sys.modules, PACKAGE)
        sys.path.remove(str(root))


def yields_of(months: Any, *, berta: float = 10.0) -> str:
    """Milk of all cows on every day of `months`; what Berta gives can be changed."""
    lines = ["year,month,day,cow,litres"]
    for month in months:
        for day in range(1, 29):
            for place, cow in enumerate(COWS):
                litres = berta if cow == "Berta" else 15 + (day * 7 + place * 5 + month) % 12
                lines.append(f"2023,{month},{day},{cow},{litres}")
    return "\n".join(lines) + "\n"


def weather_of(month: int, *, rain: float = 1.5) -> str:
    return "day,rain\n" + "".join(f"2023-{month:02d}-{day:02d},{rain + day % 5}\n" for day in range(1, 29))


def write_project(root: Path) -> None:
    (root / PACKAGE).mkdir()
    (root / PACKAGE / "__init__.py").write_text(PIPELINE)
    (root / "validations" / "suites" / "farm").mkdir(parents=True)
    (root / "validations" / "suites" / "farm" / "yields.json").write_text(json.dumps(SUITE))
    for month in (1, 2):
        path = root / f"data/raw/farm/weather/2023-{month:02d}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(weather_of(month))
    (root / "data/raw/farm/cows").mkdir()
    (root / "data/raw/farm/cows/cows.csv").write_text("cow,breed\nBerta,Angler\nErna,Jersey\nLotte,Jersey\n")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True, timeout=60)


def md5_in_dvc(root: Path, step: str) -> dict[str, str]:
    """File name -> md5 of a step's output, as dvc.lock and the `.dir` object that it names have them."""
    lock = YAML(typ="safe").load((root / "dvc.lock").read_text())
    (out,) = [out for out in lock["stages"][f"farm-{step}"]["outs"] if out["path"].startswith("data/tables")]
    listing = root / ".dvc/cache/files/md5" / out["md5"][:2] / out["md5"][2:]
    return {entry["relpath"]: entry["md5"] for entry in json.loads(listing.read_text())}


def data_version(event: dg.EventLogEntry) -> str:
    return (event.tags or {})["dagster/data_version"]


@pytest.fixture
def changed(farm) -> Iterator[Callable[[Path, str], None]]:
    """Changes raw files; when the test ends they have their bytes back, and what was made from others is made again."""
    before: dict[Path, bytes | None] = {}

    def change(path: Path, text: str) -> None:
        before.setdefault(path, path.read_bytes() if path.exists() else None)
        path.write_text(text)

    yield change
    for path, data in before.items():
        path.unlink() if data is None else path.write_bytes(data)
    if farm.look().run_requests:
        assert farm.materialize(*LANDED).success


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """What a promise returns once it is true; the test fails when it never is."""

    def wait_for(promise: Callable[[], Any], what: str, *, seconds: float = 60.0) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := promise()):
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
            time.sleep(0.2)
        return found

    return wait_for


def requested(result: Any) -> tuple[set[str], str, str]:
    """Steps of the only run that a sensor requested, and the first and last month of its range.

    With the model goes its gate.
    """
    (request,) = result.run_requests
    tags = request.tags
    assets = {key.path[-1] for key in request.asset_selection}
    assert ("good" in assets) == ("deployment" in assets)
    return (
        assets - {"deployment"},
        tags["dagster/asset_partition_range_start"],
        tags["dagster/asset_partition_range_end"],
    )


def test_definitions_load():
    """`dg check defs`, the check that editors and CI run, accepts the definitions of this repository."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HEADWATER_", "DAGSTER_"))}
    program = Path(sys.executable).with_name("dg")

    done = subprocess.run(
        [program, "check", "defs"], cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=120
    )

    assert 0 == done.returncode, done.stdout + done.stderr


def test_steps_are_described(farm):
    """Every step is an asset that says what it is, by which code, and where its lineage is to be seen."""
    graph = farm.definitions.resolve_asset_graph()

    for step in farm.project.steps:
        asset = graph.get(asset_key(step))
        assert ("farm", step.description) == (asset.group_name, asset.description)
        assert asset.kinds, step.name
        assert step_code(Declared(farm.settings, farm.project), step).startswith(asset.code_version)
        assert f"dataset%3Aheadwater%3Afarm%2F{step.name}" in asset.metadata["lineage"].value
    assert {"yields", "weather", "cows"} == {
        key.path[-1] for key in graph.materializable_asset_keys if "dagster/column_schema" in graph.get(key).metadata
    }


def test_partitions_are_months(farm):
    """Partitioned assets have keys like 2023-01 and one policy for backfills; a look-back is a partition mapping."""
    graph = farm.definitions.resolve_asset_graph()
    assets = [graph.get(asset_key(step)) for step in farm.project.steps if step.partitions]

    keys = {tuple(asset.partitions_def.get_partition_keys()) for asset in assets}
    mapping = graph.get_partition_mapping(dg.AssetKey(["farm", "days"]), dg.AssetKey(["farm", "weather"]))

    assert {tuple(f"2023-{month:02d}" for month in range(1, 13))} == keys
    assert {dg.BackfillPolicy.single_run()} == {asset.backfill_policy for asset in assets}
    assert (-1, 0) == (mapping.start_offset, mapping.end_offset)
    checks = {(*key.asset_key.path, key.name) for key in graph.asset_check_keys}
    verified = ("farm", "good", "verified")
    assert {("farm", "yields", "suite_yields"), ("farm", "good", "deployment", "gate"), verified} == checks


def test_one_run_made_everything(farm):
    """All steps and landed months came from a single Dagster run, which left nothing stale."""
    runs = farm.instance.get_runs(dg.RunsFilter(job_name="farm"))

    assert [dg.DagsterRunStatus.SUCCESS] == [run.status for run in runs]
    assert LANDED == farm.landed()
    assert [] == farm.stale()


@pytest.mark.parametrize("step", ["yields", "weather", "days"])
def test_versions_are_dvcs(farm, step):
    """A month is materialized once a run; its data version is the md5 of its file, in dvc.lock as in Dagster."""
    folder = farm.root / "data" / "tables" / "farm" / step
    files = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in folder.glob("*.parquet")}

    events = {f"{month}.parquet": farm.latest(step, month) for month in LANDED}

    assert files == md5_in_dvc(farm.root, step) == {name: data_version(event) for name, event in events.items()}
    assert [1] * len(LANDED) == [farm.count(step, month) for month in LANDED]


def test_materializations_say_what_there_is(farm):
    """Rows, columns, version and run stand with each month's materialization."""
    facts = farm.latest("days", "2023-02").asset_materialization.metadata

    columns = [column.name for column in facts["dagster/column_schema"].value.columns]
    assert ["day", "cow", "litres", "rain", "breed", "good"] == columns
    assert 84 == facts["dagster/partition_row_count"].value
    assert {"version", "lineage", "headwater/run", "dagster/uri"} <= set(facts)


def test_materializations_say_which_columns_columns_came_from(farm):
    """Column by column, also of a source, whose columns came from the raw file's."""
    days = farm.latest("days", "2023-02").asset_materialization.metadata["dagster/column_lineage"].value
    weather = farm.latest("weather", "2023-02").asset_materialization.metadata["dagster/column_lineage"].value

    litres = [("farm/yields", "litres")]
    named = {
        name: [(dep.asset_key.to_user_string(), dep.column_name) for dep in deps]
        for name, deps in {**days.deps_by_column, "rained": weather.deps_by_column["rain"]}.items()
    }
    assert named == {
        "day": [("farm/yields", name) for name in ("day", "month", "year")],
        "cow": [("farm/yields", "cow")],
        "litres": litres,
        "rain": [("farm/weather", "rain")],
        "breed": [("farm/cows", "breed")],
        "good": litres,
        "rained": [("farm/raw_weather", "rain")],
    }


def test_other_doors_are_reported(farm, changed):
    """What `headwater run` and `dvc repro` make, Dagster hears of once, with versions that leave nothing stale."""
    before = {month: farm.count("days", month) for month in LANDED}

    changed(farm.raw("weather", "2023-01"), weather_of(1, rain=3.0))
    farm.headwater("run")
    reported = farm.drain(), farm.drain()

    # The month, the one that looks back on it, the model, and what its gate decided.
    assert (5, 0) == reported
    assert {month: count + 1 for month, count in before.items()} == {m: farm.count("days", m) for m in LANDED}
    assert "dagster/column_lineage" in farm.latest("days", "2023-01").asset_materialization.metadata
    assert [] == farm.stale()

    changed(farm.raw("weather", "2023-02"), weather_of(2, rain=0.5))
    farm.python("-m", "dvc", "repro")
    reported = farm.drain(), farm.drain()

    assert (4, 0) == reported
    assert md5_in_dvc(farm.root, "days")["2023-02.parquet"] == data_version(farm.latest("days", "2023-02"))
    assert [] == farm.stale()


def test_what_came_before_is_told_before(farm, changed):
    """Reports that wait when `headwater up` begins are older than what it makes, and do not stand as the latest."""
    changed(farm.raw("weather", "2023-02"), weather_of(2, rain=6.0))
    farm.headwater("run")
    changed(farm.raw("weather", "2023-02"), weather_of(2, rain=7.0))

    farm.python("-m", "orchestration.materialize")

    assert md5_in_dvc(farm.root, "days")["2023-02.parquet"] == data_version(farm.latest("days", "2023-02"))
    assert [] == farm.stale()


def test_reported_before_a_crash(farm, changed):
    """A report that Dagster has got, and that a crash left in the queue, is closed without a second one."""
    changed(farm.raw("weather", "2023-02"), weather_of(2, rain=2.5))
    farm.headwater("run")
    farm.drain()
    before = farm.count("good")

    reopen = "update dagster_report set reported_at = null where dataset = 'farm/good'"
    with attach(farm.settings) as attachment, psycopg.connect(attachment.owner_url) as connection:
        # Of several, only the newest can have been left: reports are closed in order.
        connection.execute(f"{reopen} and report_id = (select max(report_id) from dagster_report)")

    assert (0, before) == (farm.drain(), farm.count("good"))


def test_nothing_changed(farm):
    """Where every raw file is the one on record the sensor starts nothing, also from its own cursor."""
    first = farm.look()

    second = farm.look(first.cursor)

    assert [[], []] == [first.run_requests, second.run_requests]
    assert "Nothing has changed" in second.skip_reason.skip_message


def test_touched_file(farm, changed):
    """A file that is only written again is looked at once and starts nothing."""
    cursor, path = farm.look().cursor, farm.raw("weather", "2023-01")

    changed(path, path.read_text())
    os.utime(path, ns=(0, 0))
    seen = farm.look(cursor)

    assert [] == seen.run_requests
    assert cursor != seen.cursor


def test_changed_month(farm, changed):
    """A changed month starts a run of that month and of those that look back on it, and only of what reads it."""
    cursor = farm.look().cursor

    changed(farm.raw("weather", "2023-01"), weather_of(1, rain=9.0))
    weather = farm.look(cursor)
    changed(farm.raw("yields", "2023-02"), yields_of([2], berta=11.0))
    both = farm.look(cursor)
    alone = farm.look(weather.cursor)

    assert ({"weather", "days", "good"}, "2023-01", "2023-02") == requested(weather)
    assert ({"raw_yields", "yields", "days", "good"}, "2023-02", "2023-02") == requested(alone)
    assert (requested(weather)[0] | requested(alone)[0], "2023-01", "2023-02") == requested(both)


def test_changed_whole(farm, changed):
    """A changed file without months starts a run of every landed month of what reads it."""
    cursor, path = farm.look().cursor, farm.root / "data/raw/farm/cows/cows.csv"

    changed(path, path.read_text().replace("Angler", "Anglian"))

    assert ({"cows", "days", "good"}, *LANDED) == requested(farm.look(cursor))


def test_new_month(farm, changed):
    """A new file of a source that nothing fetches is taken up; what also reads another source waits for that."""
    cursor = farm.look().cursor

    changed(farm.raw("weather", "2023-03"), weather_of(3))
    alone = farm.look(cursor)
    changed(farm.raw("yields", "2023-03"), yields_of([3]))
    both = farm.look(cursor)

    assert ({"weather"}, "2023-03", "2023-03") == requested(alone)
    assert ({"raw_yields", "yields", "weather", "days", "good"}, "2023-03", "2023-03") == requested(both)


def test_changed_back_and_forth(farm, changed):
    """Every change asks for a run of its own: Dagster takes up a key only once."""
    cursor, path, keys = farm.look().cursor, farm.raw("weather", "2023-02"), []

    for number, rain in enumerate((7.0, 8.0, 7.0)):
        changed(path, weather_of(2, rain=rain))
        os.utime(path, (number, number))
        keys += [request.run_key for request in farm.look(cursor).run_requests]

    assert 3 == len(set(keys))


def test_failed_look(farm, changed, monkeypatch):
    """A look that fails loses nothing: the next one, from the same cursor, starts the run."""
    cursor = farm.look().cursor
    changed(farm.raw("weather", "2023-02"), weather_of(2, rain=6.0))

    with monkeypatch.context() as patch:
        patch.setattr("orchestration.sensors.sha256_file", _unreadable)
        with pytest.raises(OSError, match="disk"):
            farm.look(cursor)
    again = farm.look(cursor)

    assert ({"weather", "days", "good"}, "2023-02", "2023-02") == requested(again)


def test_run_at_work(farm, changed):
    """While a run of the pipeline is at work the sensor waits, and keeps its cursor."""
    changed(farm.raw("weather", "2023-02"), weather_of(2, rain=6.0))
    job = farm.definitions.resolve_job_def("farm")
    run = farm.instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)

    waiting = farm.look()
    farm.instance.report_run_failed(run)

    assert "at work" in waiting.skip_message
    assert ({"weather", "days", "good"}, "2023-02", "2023-02") == requested(farm.look())


def _unreadable(_path):
    raise OSError("the disk is gone")


def test_refused_by_a_check(farm, changed):
    """A bad month fails its run and is kept with its failures; the version before stays, the month before is done."""
    place = farm.root / "data/tables/farm/yields/2023-02.parquet"
    before = data_version(farm.latest("yields", "2023-02")), farm.count("yields", "2023-02"), place.read_bytes()
    good = farm.count("yields", "2023-01")

    changed(farm.raw("yields", "2023-02"), yields_of([2], berta=99.0))
    result = farm.materialize(*LANDED)

    (evaluation,) = result.get_asset_check_evaluations()
    (failed,) = result.filter_events(lambda event: event.is_step_failure)
    after = data_version(farm.latest("yields", "2023-02")), farm.count("yields", "2023-02"), place.read_bytes()
    assert (False, False) == (result.success, evaluation.passed)
    assert "litres" in evaluation.metadata["failures"].value[0]
    (row,) = results(evaluation)
    assert (row["partition"], row["success"], row["severity"]) == ("2023-02", False, "critical")
    assert (row["expectation"], row["column"]) == ("expect_column_values_to_be_between", "litres")
    assert "99.0" in row["sample"]
    assert 0 < row["unexpected_percent"] < 100
    assert "| litres |" in evaluation.metadata["sample_rows"].value
    assert "| 99.0 |" in evaluation.metadata["sample_rows"].value
    assert docs_text(farm, evaluation).count("This version was refused") == 1
    assert "farm.yields[2023-02]" in failed.step_failure_data.user_failure_data.description
    assert before == after
    assert good + 1 == farm.count("yields", "2023-01")


def results(evaluation):
    """The table of expectations in an evaluation's metadata."""
    return [record.data for record in evaluation.metadata["results"].value.records]


def docs_text(farm, evaluation):
    """The Data Docs page that an evaluation links to."""
    place = evaluation.metadata["data_docs"].value.removeprefix(farm.settings.lineage_url)
    with TestClient(create_app(farm.settings, {})) as client:
        response = client.get(place)
    assert response.status_code == 200, place
    return response.text


def newest_check(farm):
    """The newest evaluation of the suite that Dagster knows."""
    key = dg.AssetCheckKey(dg.AssetKey(["farm", "yields"]), "suite_yields")
    record = farm.instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
    return record.event.asset_check_evaluation


def test_check_says_what_it_saw(farm):
    """One month: every expectation, what was observed, and its page; several months: the page of the table."""
    (one,) = farm.materialize("2023-01", steps=("yields",)).get_asset_check_evaluations()
    (both,) = farm.materialize(*LANDED, steps=("yields",)).get_asset_check_evaluations()

    (row,) = results(one)
    assert (row["success"], row["unexpected_percent"]) == (True, 0.0)
    assert "element_count=" in row["observed"]
    assert "<h2>farm/yields[2023-01]</h2>" in docs_text(farm, one)
    assert both.metadata["data_docs"].value.endswith("/docs/validations/farm/yields")
    assert (both.metadata["expectations"].value, both.metadata["failed"].value) == (2, 0)
    assert "<h2>farm/yields</h2>" in docs_text(farm, both)


def test_check_of_another_door(farm, changed):
    """What the command line checked, Dagster hears with the materialization, in the same form."""
    changed(farm.raw("yields", "2023-02"), yields_of([2], berta=21.5))
    farm.headwater("run", "farm.yields", "--partition", "2023-02")
    farm.drain()

    evaluation = newest_check(farm)
    (row,) = results(evaluation)
    assert (evaluation.passed, row["partition"], row["success"]) == (True, "2023-02", True)
    assert "<h2>farm/yields[2023-02]</h2>" in docs_text(farm, evaluation)


def test_refused_through_another_door(farm, changed):
    """What the command line refused is a failed check in Dagster too, with the rows that broke it; the asset stays."""
    farm.drain()
    before = data_version(farm.latest("yields", "2023-02")), farm.count("yields", "2023-02")

    changed(farm.raw("yields", "2023-02"), yields_of([2], berta=99.0))
    with pytest.raises(AssertionError, match="blocking check"):
        farm.headwater("run", "farm.yields", "--partition", "2023-02")

    # With what the steps above it had to do anew.
    assert farm.drain() >= 1
    assert farm.drain() == 0
    evaluation = newest_check(farm)
    (row,) = results(evaluation)
    assert (evaluation.passed, row["partition"], row["success"]) == (False, "2023-02", False)
    assert "| 99.0 |" in evaluation.metadata["sample_rows"].value
    assert docs_text(farm, evaluation).count("This version was refused") == 1
    assert before == (data_version(farm.latest("yields", "2023-02")), farm.count("yields", "2023-02"))


def test_failed_in_the_middle(farm, changed):
    """A step that raises fails its run with one sentence; the months that it had done are known to Dagster."""
    before = {month: farm.count("days", month) for month in LANDED}

    changed(farm.raw("yields", "2023-02"), yields_of([2], berta=-1.0))
    result = farm.materialize(*LANDED)

    run = farm.instance.get_run_by_id(result.run_id)
    (failed,) = result.filter_events(lambda event: event.is_step_failure)
    description = failed.step_failure_data.user_failure_data.description
    assert (dg.DagsterRunStatus.FAILURE, "farm__days") == (run.status, failed.step_key)
    assert "farm.days[2023-02]" in description
    assert "milk flows one way" in description
    assert {"2023-01": before["2023-01"] + 1, "2023-02": before["2023-02"]} == {
        m: farm.count("days", m) for m in LANDED
    }


def test_range_with_months_to_come(farm):
    """Of a range that reaches beyond what has landed, the months that are there are done."""
    result = farm.materialize("2023-01", "2023-06", steps=("weather", "days"))

    assert result.success
    assert LANDED == farm.landed()
    assert 0 == farm.count("weather", "2023-03")


def test_month_that_cannot_be(farm):
    """Asked for a month alone that has no file, a run fails and says which file is missing."""
    result = farm.materialize("2023-06", "2023-06", steps=("weather",))

    (failed,) = result.filter_events(lambda event: event.is_step_failure)
    assert "data/raw/farm/weather/2023-06.csv" in failed.step_failure_data.user_failure_data.description


def test_killed_run(farm, changed, eventually):
    """kill -9 of a run leaves it ABORTed in our store and failed in Dagster, and the next run does its work."""
    changed(farm.raw("weather", "2023-02"), weather_of(2, rain=4.0))
    command = [sys.executable, "-m", "orchestration.materialize"]
    environment = {**farm.environment, "FARM_PAUSE_SECONDS": "60"}
    with subprocess.Popen(command, cwd=farm.root, env=environment, stderr=subprocess.DEVNULL) as process:
        try:
            # The one that pauses: those before it may end between the look and the kill.
            (unfinished,) = eventually(lambda: farm.unfinished("farm.days"), "a run at work")
        finally:
            process.kill()

    bury(farm.instance, before=time.time())
    eventually(lambda: farm.state(unfinished) != "RUNNING", "the run given up")
    left, state = farm.unfinished(), farm.state(unfinished)
    (killed, *_) = farm.instance.get_runs(dg.RunsFilter(job_name="farm"), limit=1)
    result = farm.materialize(*LANDED)

    assert ([], "ABORT", dg.DagsterRunStatus.FAILURE) == (left, state, killed.status)
    assert result.success
    assert [] == farm.stale()


def test_presence(farm):
    """Only the first `headwater up` of a project may take unfinished runs for dead."""
    with presence(farm.settings) as first, presence(farm.settings) as second:
        pass
    with presence(farm.settings) as later:
        pass

    assert (True, False, True) == (first, second, later)


@pytest.mark.parametrize(
    ("landed", "expected"),
    [
        ({"farm.raw_yields": set()}, "2023-01"),
        ({"farm.raw_yields": {"2023-01", "2023-03"}}, "2023-02"),
        ({"farm.raw_yields": {f"2023-{month:02d}" for month in range(1, 13)}}, None),
    ],
)
def test_next_month(farm, landed, expected):
    """The clock stands before the first month that has not landed, also where a later one has."""
    fetches = [step for step in farm.project.steps if step.kind == "fetch"]

    assert expected == next_month(fetches, landed)


def test_month_end():
    """A month is over on the first day of the next one, a December in the next year."""
    assert [date(2023, 3, 1), date(2024, 1, 1)] == [month_end("2023-02"), month_end("2023-12")]


def test_tick(farm):
    """A tick asks for the next month of what is fetched, and of what can be made from it without the other source."""
    request = farm.tick()

    assert "2023-03" == request.partition_key
    assert {"raw_yields", "yields"} == {key.path[-1] for key in request.asset_selection}


def test_tick_by_the_clock(farm):
    """With HEADWATER_NOW set, a month is asked for on the day after it ended and not before."""
    before, after = farm.tick(date(2023, 3, 31)), farm.tick(date(2023, 4, 1))

    assert "2023-03 is not over" in before.skip_message
    assert "2023-03" == after.partition_key


def test_no_such_cron(farm):
    """A schedule that cannot be read is refused by the name of its setting."""
    with pytest.raises(SettingsError, match="HEADWATER_SCHEDULE='every day'"):
        build_definitions(replace(farm.settings, schedule="every day"), farm.project)


@pytest.mark.filterwarnings("ignore:Error loading repository location:UserWarning")  # until its server answers
def test_daemon(farm, eventually, tmp_path):
    """The real daemon lands the next month on schedule, and its sensors bring what lies there: a month from both."""
    farm.raw("weather", "2023-03").write_text(weather_of(3))
    (code, daemon, _) = dagster_services(farm.settings)

    with Services(farm.environment, farm.root, tmp_path) as services:
        services.start(code)
        start_schedule(farm, eventually)
        services.start(daemon)
        eventually(lambda: "2023-03" in farm.landed(), "the month landed", seconds=150)
        eventually(lambda: farm.count("days", "2023-03"), "Dagster knows the month")
        eventually(lambda: not farm.at_work(), "no run at work")

    raw = farm.raw("yields", "2023-03").read_bytes()
    assert yields_of([3]).encode() == raw
    assert md5_in_dvc(farm.root, "days")["2023-03.parquet"] == data_version(farm.latest("days", "2023-03"))
    assert [] == farm.stale()


def start_schedule(farm: Farm, eventually: Callable[..., Any]) -> None:
    """Turn the schedule on as the UI does, as of a minute ago: the daemon makes up for a tick that it missed."""
    target = WorkspaceFileTarget([str(farm.settings.home / "dagster" / "workspace.yaml")])
    with WorkspaceProcessContext(farm.instance, target) as process:
        location = eventually(lambda: loaded(process), "the code location")
        schedule = location.get_repository("__repository__").get_schedule("farm_next_month")
        state = farm.instance.start_schedule(schedule)
    data = ScheduleInstigatorData(schedule.cron_schedule, start_timestamp=time.time() - 60)
    farm.instance.update_instigator_state(state.with_data(data))


def loaded(process: WorkspaceProcessContext) -> Any:
    """The code location once its server answers."""
    process.refresh_workspace()
    entry = process.create_request_context().get_code_location_entries()["headwater"]
    return entry.code_location
