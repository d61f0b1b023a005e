"""What the environment says, read once per process at the door and passed down."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from lineage.errors import SettingsError

# A folder holding one of these is where a project begins.
_ROOT_MARKS = ("dvc.yaml", "pyproject.toml", ".git")
_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Settings:
    """All settings of one process.

    `root` is the project's folder; `home` holds everything that is neither code nor data (server,
    Dagster's files, secrets). `schedule` is the cron expression (UTC) at which the next month lands. Ports
    are TCP ports on loopback. `training_memory` is in bytes, `device` one of auto, cpu and cuda.
    """

    root: Path
    home: Path
    pipelines: str = "assets"
    namespace: str = "headwater"
    database_url: str | None = None
    openlineage_url: str | None = None
    now: date | None = None
    schedule: str = "*/5 * * * *"
    ui_port: int = 3000
    lineage_port: int = 5000
    serving_port: int = 8000
    training_memory: int = 2 * 2**30
    device: str = "auto"

    @property
    def lineage_url(self) -> str:
        """Where the lineage service of this project answers."""
        return f"http://127.0.0.1:{self.lineage_port}"


def find_root(start: Path) -> Path:
    """The nearest folder at or above `start` that holds a project; `start` itself if there is none."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if any((folder / mark).exists() for mark in _ROOT_MARKS):
            return folder
    return start


def read_settings(environ: Mapping[str, str] | None = None, start: Path | None = None) -> Settings:
    """Settings from `environ` (the process's own by default); raises SettingsError naming the variable."""
    env = os.environ if environ is None else environ
    root = _root(env, start)
    return Settings(
        root=root,
        home=(root / (env.get("HEADWATER_HOME") or ".headwater")).resolve(),
        pipelines=env.get("HEADWATER_PIPELINES") or "assets",
        namespace=env.get("HEADWATER_NAMESPACE") or "headwater",
        database_url=env.get("DATABASE_URL") or None,
        openlineage_url=_http_url(env, "OPENLINEAGE_URL"),
        now=_date(env, "HEADWATER_NOW"),
        schedule=env.get("HEADWATER_SCHEDULE") or Settings.schedule,
        ui_port=_port(env, "HEADWATER_UI_PORT", 3000),
        lineage_port=_port(env, "HEADWATER_LINEAGE_PORT", 5000),
        serving_port=_port(env, "HEADWATER_SERVING_PORT", 8000),
        training_memory=_bytes(env, "HEADWATER_TRAINING_MEMORY", Settings.training_memory),
        device=_device(env, "HEADWATER_DEVICE"),
    )


def _root(env: Mapping[str, str], start: Path | None) -> Path:
    if not env.get("HEADWATER_ROOT"):
        return find_root(start or Path.cwd())
    root = Path(env["HEADWATER_ROOT"]).resolve()
    if not root.is_dir():
        raise SettingsError(f"HEADWATER_ROOT={env['HEADWATER_ROOT']!r} is not a folder; name the project's.")
    return root


def _http_url(env: Mapping[str, str], name: str) -> str | None:
    url = env.get(name) or None
    if url is not None and not re.match(r"https?://[^/\s]", url):
        # Not quoted: people write passwords into URLs.
        raise SettingsError(f"{name} is not an HTTP URL; write it as https://lineage.example.org:5000.")
    return url


def _date(env: Mapping[str, str], name: str) -> date | None:
    if not env.get(name):
        return None
    try:
        return datetime.fromisoformat(env[name]).date()
    except ValueError as error:
        raise SettingsError(f"{name}={env[name]!r} is not a date; write it as 2013-04-01.") from error


def _port(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name) or str(default)
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise SettingsError(f"{name}={text!r} is not a TCP port; use a number from 1 to 65535.")
    return int(text)


def _bytes(env: Mapping[str, str], name: str, default: int) -> int:
    if not (text := env.get(name)):
        return default
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]iB|B|)", text, re.ASCII)
    size = int(float(found[1]) * _UNITS[found[2]]) if found else 0
    if size < 1:
        raise SettingsError(f"{name}={text!r} is not a size; write bytes, or a number with a unit, as 512MiB or 2GiB.")
    return size


def _device(env: Mapping[str, str], name: str) -> str:
    text = env.get(name) or Settings.device
    if text not in _DEVICES:
        raise SettingsError(f"{name}={text!r} is not a device; use one of {', '.join(_DEVICES)}.")
    return text
