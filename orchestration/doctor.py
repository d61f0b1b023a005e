"""`headwater doctor`: is everything there that Headwater needs? One sentence for each thing that is not."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib import metadata

from lineage import dvc
from lineage.discover import discover
from lineage.errors import HeadwaterError
from lineage.plan import Declared
from lineage.postgres import attach
from lineage.settings import Settings
from orchestration.services import require_free

_OLDEST, _NEWEST = (3, 11), (3, 13)
_FREE_BYTES = 2 << 30
_PACKAGES = ("dagster", "dagster-postgres", "dagster-webserver", "dvc", "great-expectations", "polars", "xgboost")

Check = Callable[[Settings], str]


def doctor(_arguments: argparse.Namespace, settings: Settings) -> int:
    """Run every check; 1 when one fails."""
    failed = 0
    for name, check in _CHECKS.items():
        try:
            print(f"ok       {name:<12} {check(settings)}")
        except HeadwaterError as error:
            failed += 1
            print(f"MISSING  {name:<12} {error}")
    return 1 if failed else 0


def _python(_settings: Settings) -> str:
    if not _OLDEST <= sys.version_info[:2] <= _NEWEST:
        raise HeadwaterError(f"Python {sys.version.split()[0]} runs this; Headwater needs 3.11, 3.12 or 3.13.")
    return sys.version.split()[0]


def _packages(_settings: Settings) -> str:
    missing = [name for name in _PACKAGES if not _installed(name)]
    if missing:
        raise HeadwaterError(f"{', '.join(missing)} not installed; run `make setup`.")
    return f"{len(_PACKAGES)} checked"


def _installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False


def _git(_settings: Settings) -> str:
    if not shutil.which("git"):
        raise HeadwaterError("git is not installed; without it runs are not tied to a commit.")
    return str(shutil.which("git"))


def _folder(settings: Settings) -> str:
    if not os.access(settings.root, os.W_OK):
        raise HeadwaterError(f"{settings.root} cannot be written to; clone the project to a folder of yours.")
    free = shutil.disk_usage(settings.root).free
    if free < _FREE_BYTES:
        raise HeadwaterError(f"{settings.root} has {free >> 20} MiB free; the example needs {_FREE_BYTES >> 20}.")
    return f"{settings.root}, {free >> 30} GiB free"


def _postgres(settings: Settings) -> str:
    with attach(settings):
        return "the server of DATABASE_URL" if settings.database_url else "embedded"


def _pipelines(settings: Settings) -> str:
    project = discover(settings)
    stale = dvc.stale_files(Declared(settings, project)) if (settings.root / "dvc.yaml").exists() else []
    if stale:
        raise HeadwaterError(f"{', '.join(stale)} are stale; run `headwater dvc sync`.")
    return f"{len(project.steps)} steps"


def _ports(settings: Settings) -> str:
    ports = list(_wanted_ports(settings))
    for port, what, variable in ports:
        require_free(port, what, variable)
    return ", ".join(str(port) for port, _, _ in ports)


def _wanted_ports(settings: Settings) -> Iterator[tuple[int, str, str]]:
    yield settings.ui_port, "Dagster UI", "HEADWATER_UI_PORT"
    yield settings.lineage_port, "lineage service", "HEADWATER_LINEAGE_PORT"
    yield settings.serving_port, "serving API", "HEADWATER_SERVING_PORT"


_CHECKS: dict[str, Check] = {
    "python": _python,
    "packages": _packages,
    "git": _git,
    "folder": _folder,
    "postgres": _postgres,
    "pipelines": _pipelines,
    "ports": _ports,
}
