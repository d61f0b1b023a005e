"""Tables of the flights example: real ones as the runner writes them, and made-up ones of the derived steps."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from lineage.ports import CheckReport
from lineage.sources import fetch, read
from lineage.tables import write_table
from validations.check import run_suite
from validations.suite import load_gx

SUITES = Path(__file__).parents[3] / "validations" / "suites" / "flights"

# As in the data, airports lacks four of them.
PLACES = {
    "IAH": (29.98, -95.34, 97, 1400),
    "LAX": (33.94, -118.41, 126, 2475),
    "SJU": (None, None, None, 1598),
    "ORD": (41.98, -87.9, 668, 725),
    "BQN": (None, None, None, 1576),
    "MIA": (25.79, -80.29, 8, 1090),
}
DELAYS = (
    "origin_delay_2h",
    "origin_carrier_delay_4h",
    "all_delay_2h",
    "origin_arrival_delay_4h",
    "carrier_arrival_delay_1d",
    "dest_arrival_delay_12h",
    "aircraft_arrival_delay_1d",
)
SHARES = ("carrier_late_14d", "dest_late_28d", "route_late_28d")
LEGS = 400


@pytest.fixture(scope="session")
def real(tmp_path_factory) -> Callable[..., Path]:
    """Real sources as the runner writes them, each written when it is first asked for."""
    steps = pytest.importorskip("assets.flights").flights.steps
    folder = tmp_path_factory.mktemp("tables")

    def written(name: str, month: str | None = None) -> Path:
        path, raw = folder / f"{name}-{month}.parquet", folder / "raw.csv"
        if not path.exists():
            raw.write_bytes(fetch(steps[f"raw_{name}"].detail, month))
            write_table(read(raw, steps[name].detail, name), path, key=(), keep_order=True)
        return path

    return written


@pytest.fixture
def found_in(tmp_path) -> Callable[..., CheckReport]:
    """What the suite of that name finds on a frame, or those of its promises that read one of `columns`."""

    def run(name: str, frame: pl.DataFrame, columns: Collection[str] | None = None) -> CheckReport:
        suite = json.loads((SUITES / f"{name}.json").read_text())
        if columns is not None:
            asked = [item for item in suite["expectations"] if any(column in str(item["kwargs"]) for column in columns)]
            suite["expectations"] = asked
        (tmp_path / "suite.json").write_text(json.dumps(suite))
        frame.write_parquet(tmp_path / "table.parquet")
        return run_suite(tmp_path / "suite.json", tmp_path / "table.parquet")

    return run


@pytest.fixture(scope="session")
def good(real) -> Callable[[str], pl.DataFrame]:
    """Good rows of each table: a month or a thirtieth of it where it is real, else made up."""
    made = legs()
    made_features = features(made)
    tables = {
        "departures": lambda: pl.read_parquet(real("departures", "2013-01")).gather_every(30),
        "weather": lambda: pl.read_parquet(real("weather", "2013-04")),
        "legs": lambda: made,
        "features": lambda: made_features,
        "pushback_features": lambda: made_features.with_columns(
            made["dep_delay"], predicts_at=made["departed_at"]
        ).drop_nulls("dep_delay"),
    }
    return lambda name: tables[name]() if name in tables else pl.read_parquet(real(name))


def legs() -> pl.DataFrame:
    """Flights of February, one every 97 minutes: some cancelled, a few diverted, a third late."""
    row = pl.int_range(LEGS, dtype=pl.Int32)
    local = pl.col("departs_at").dt.convert_time_zone("America/New_York")
    cancelled, diverted = row % 25 == 7, row % 200 == 3
    return (
        pl.select(
            flight=row + 1,
            carrier=_cycle("UA", "B6", "DL"),
            airline=_cycle("United Air Lines Inc.", "JetBlue Airways", "Delta Air Lines Inc."),
            tailnum=pl.when(~cancelled).then(pl.format("N{}UA", row + 100)),
            origin=_cycle("EWR", "JFK", "LGA"),
            dest=_cycle(*PLACES),
            departs_at=pl.lit(datetime(2013, 2, 1, 11, tzinfo=UTC)) + pl.duration(minutes=row * 97),
            arrival_minute=row * 31 % 1440,
            distance=_cycle(*(distance for *_, distance in PLACES.values())).cast(pl.Int32),
            departures_that_hour=(row % 20 + 1).cast(pl.UInt32),
            dep_delay=pl.when(~cancelled).then(row * 37 % 50 - 15),
            arr_delay=pl.when(~cancelled & ~diverted).then(row * 37 % 50 - 15 - row % 13),
        )
        .with_columns(
            flight_id=pl.format("{}{}-{}-{}", "carrier", "flight", "origin", local.dt.strftime("%Y%m%dT%HZ")),
            scheduled_minutes=(pl.col("distance") // 12 + 60).cast(pl.Int32),
            weekday=local.dt.weekday().cast(pl.Int32),
            departure_minute=local.dt.hour().cast(pl.Int32) * 60 + local.dt.minute(),
            late=pl.col("arr_delay") >= 15,
        )
        .with_columns(arrives_at=pl.col("departs_at") + pl.duration(minutes="scheduled_minutes"))
        .with_columns(
            departed_at=pl.col("departs_at") + pl.duration(minutes="dep_delay"),
            arrived_at=pl.col("arrives_at") + pl.duration(minutes="arr_delay"),
        )
    )


def features(legs: pl.DataFrame) -> pl.DataFrame:
    """The rows that the models would see of these legs, with made-up weather and history."""
    row = pl.int_range(LEGS, dtype=pl.Int32)
    flights = (row % 40).cast(pl.UInt32)
    kept = ("airline", "tailnum", "arrives_at", "departed_at", "arrived_at", "dep_delay", "arr_delay", "late")
    return legs.drop(kept).with_columns(
        legs["arr_delay"],
        legs["late"],
        pl.col("departs_at").alias("predicts_at"),
        *(_cycle(*(place[at] for place in PLACES.values())).alias(f"dest_{n}") for at, n in enumerate(("lat", "lon"))),
        _cycle(*(place[2] for place in PLACES.values())).cast(pl.Int32).alias("dest_alt"),
        *(_measured(40.0).alias(name) for name in ("temp", "dewp", "humid", "wind_dir")),
        *(_measured(8.0).alias(name) for name in ("wind_speed", "precip", "visib")),
        *(
            pl.when(row % 7 != 0).then(149).cast(pl.Int32).alias(f"plane_{name}")
            for name in ("built", "engines", "seats")
        ),
        pl.when(row % 4 == 0).then(25.0).alias("wind_gust"),
        pl.when(row % 10 != 0).then(1013.0).alias("pressure"),
        *(pl.when(flights > 0).then(row * 7 % 60 - 10.0).alias(name) for name in DELAYS),
        *(pl.when(flights > 0).then(row % 11 / 10).alias(name) for name in SHARES),
        *(flights.alias(f"{name}_flights") for name in (*DELAYS, *SHARES)),
    )


def _cycle(*values: object) -> pl.Expr:
    return pl.lit(pl.Series(values)).gather(pl.int_range(LEGS) % len(values))


def _measured(value: float) -> pl.Expr:
    """One hour in fifty has no observation."""
    return pl.when(pl.int_range(LEGS) % 50 != 9).then(value + pl.int_range(LEGS) % 2)


@pytest.fixture(scope="module")
def context() -> Any:
    """A context of Great Expectations that knows `add_polars`."""
    import validations.datasource  # noqa: F401 - it teaches it

    found = load_gx().get_context(mode="ephemeral")
    found.variables.progress_bars = {"globally": False, "metric_calculations": False}
    return found


@pytest.fixture(scope="module")
def frames(context) -> Any:
    """A batch definition for frames that are handed over."""
    asset = context.data_sources.add_polars("frames").add_dataframe_asset("frame")
    return asset.add_batch_definition_whole_dataframe("all")
