"""The features of a flight in plain Python, from a handful of records as they stand in the raw files.

Loops, dictionaries and the clocks of the standard library, and nothing of the pipeline's own code: what proves that a
trace names every record that a row came from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

Record = Mapping[str, str]

CARIBBEAN = dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")
# Aggregate -> the keys, the value, when it was known, and how far back.
PAST = {
    "origin_delay_2h": (("origin",), "dep_delay", "departed_at", timedelta(hours=2)),
    "origin_carrier_delay_4h": (("origin", "carrier"), "dep_delay", "departed_at", timedelta(hours=4)),
    "all_delay_2h": ((), "dep_delay", "departed_at", timedelta(hours=2)),
    "origin_arrival_delay_4h": (("origin",), "arr_delay", "arrived_at", timedelta(hours=4)),
    "carrier_arrival_delay_1d": (("carrier",), "arr_delay", "arrived_at", timedelta(days=1)),
    "dest_arrival_delay_12h": (("dest",), "arr_delay", "arrived_at", timedelta(hours=12)),
    "aircraft_arrival_delay_1d": (("tailnum",), "arr_delay", "arrived_at", timedelta(days=1)),
    "carrier_late_14d": (("carrier",), "late", "arrived_at", timedelta(days=14)),
    "dest_late_28d": (("dest",), "late", "arrived_at", timedelta(days=28)),
    "route_late_28d": (("origin", "dest", "carrier"), "late", "arrived_at", timedelta(days=28)),
}
WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")


def features(flight_id: str, records: Mapping[str, Iterable[Record]], *, pushback: bool) -> dict[str, Any]:
    """A row of flights.features (or of flights.pushback_features) from records by source, such as `departures`."""
    zones = {row["faa"]: row["tzone"] for row in records.get("airports", ())} | CARIBBEAN
    flown = [_flown(row, zones) for row in records["departures"]]
    (own,) = (leg for leg in flown if leg["flight_id"] == flight_id)
    known_at = min(own["departs_at"], own["departed_at"]) if pushback else own["departs_at"]
    same_hour = [leg for leg in flown if (leg["origin"], leg["hour"]) == (own["origin"], own["hour"])]
    found = {
        **{name: own[name] for name in _OWN},
        **({"dep_delay": own["dep_delay"]} if pushback else {}),
        "departures_that_hour": len(same_hour),
        "predicts_at": own["departed_at"] if pushback else own["departs_at"],
        **_weather(records.get("weather", ()), own["origin"], known_at),
        **_plane(records.get("planes", ()), own["tailnum"]),
        **_place(records.get("airports", ()), own["dest"]),
    }
    for name, (keys, value, time, window) in PAST.items():
        seen = [
            leg[value]
            for leg in flown
            if all(own[key] is not None and leg[key] == own[key] for key in keys)
            and leg[time] is not None
            and leg[value] is not None
            and known_at - window <= leg[time] < known_at
        ]
        found |= {name: sum(seen) / len(seen) if seen else None, f"{name}_flights": len(seen)}
    return found


_OWN = (
    *("flight_id", "carrier", "flight", "origin", "dest", "departs_at", "weekday", "departure_minute"),
    *("arrival_minute", "scheduled_minutes", "distance", "arr_delay", "late"),
)


def _flown(row: Record, zones: Mapping[str, str]) -> dict[str, Any]:
    hour = datetime.fromisoformat(row["time_hour"])
    day = datetime(int(row["year"]), int(row["month"]), int(row["day"]))
    clock, dep_delay, arr_delay = int(row["sched_arr_time"]), _number(row["dep_delay"]), _number(row["arr_delay"])
    minute = (clock // 100 * 60 + clock % 100) % 1440
    departs_at = hour + timedelta(minutes=int(row["minute"]))
    arrives_at = _arrival(day + timedelta(minutes=minute), zones.get(row["dest"]), departs_at)
    return {
        "flight_id": f"{row['carrier']}{row['flight']}-{row['origin']}-{hour:%Y%m%dT%H}Z",
        "carrier": row["carrier"],
        "flight": int(row["flight"]),
        "tailnum": _text(row["tailnum"]),
        "origin": row["origin"],
        "dest": row["dest"],
        "hour": hour,
        "departs_at": departs_at,
        "departed_at": None if dep_delay is None else departs_at + timedelta(minutes=dep_delay),
        "arrived_at": None if arr_delay is None or arrives_at is None else arrives_at + timedelta(minutes=arr_delay),
        "weekday": day.isoweekday(),
        "departure_minute": int(row["hour"]) * 60 + int(row["minute"]),
        "arrival_minute": minute,
        "scheduled_minutes": None if arrives_at is None else int((arrives_at - departs_at).total_seconds()) // 60,
        "distance": int(row["distance"]),
        "dep_delay": dep_delay,
        "arr_delay": arr_delay,
        "late": None if arr_delay is None else arr_delay >= 15,
    }


def _arrival(clock: datetime, zone: str | None, departs_at: datetime) -> datetime | None:
    """A clock time at the destination as an instant: on this day, or the next if no flight could be there by then."""
    if zone is None:
        return None
    same_day, next_day = (_instant(clock + timedelta(days=later), ZoneInfo(zone)) for later in (0, 1))
    return same_day if same_day >= departs_at + timedelta(minutes=20) else next_day


def _instant(clock: datetime, zone: ZoneInfo) -> datetime:
    found = clock.replace(tzinfo=zone).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == clock:
        return found
    # An hour that the clock skipped.
    return (clock + timedelta(hours=1)).replace(tzinfo=zone).astimezone(UTC)


def _weather(rows: Iterable[Record], origin: str, known_at: datetime) -> dict[str, float | None]:
    hour = known_at.replace(minute=0, second=0, microsecond=0) - timedelta(hours=1)
    for row in rows:
        if row["origin"] == origin and datetime.fromisoformat(row["time_hour"]) == hour:
            found = {name: _decimal(row[name]) for name in WEATHER}
            wind = found["wind_speed"]
            return {**found, "wind_speed": None if wind is None or wind > 200 else wind}
    return dict.fromkeys(WEATHER)


def _plane(rows: Iterable[Record], tailnum: str | None) -> dict[str, int | None]:
    for row in rows:
        if tailnum is not None and row["tailnum"] == tailnum:
            return {f"plane_{name}": _number(row[field]) for name, field in _PLANE.items()}
    return {f"plane_{name}": None for name in _PLANE}


_PLANE = {"built": "year", "engines": "engines", "seats": "seats"}


def _place(rows: Iterable[Record], dest: str) -> dict[str, Any]:
    for row in rows:
        if row["faa"] == dest:
            return {"dest_lat": float(row["lat"]), "dest_lon": float(row["lon"]), "dest_alt": int(row["alt"])}
    return {"dest_lat": None, "dest_lon": None, "dest_alt": None}


def _text(value: str) -> str | None:
    return None if value in ("", "NA") else value


def _number(value: str) -> int | None:
    return None if _text(value) is None else int(value)


def _decimal(value: str) -> float | None:
    return None if _text(value) is None else float(value)
