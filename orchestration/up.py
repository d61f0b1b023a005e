"""`headwater up`: Postgres, Dagster, the lineage service and serving, with the pipelines materialized.

With `--once`: all of it, then one prediction by key, traced and replayed; one JSON object is the last line.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType
from typing import Any, NoReturn

from lineage import dvc
from lineage.discover import discover
from lineage.errors import HeadwaterError
from lineage.plan import Declared, Workspace
from lineage.ports import Ports
from lineage.postgres import Attachment, attach
from lineage.relay import send_in_background
from lineage.settings import Settings
from lineage.spec import Step
from orchestration.instance import dagster_environment, dagster_home, presence, storage_is_prepared, storage_prepared
from orchestration.project import open_workspace
from orchestration.services import Service, Services, ask, free_port, require_free, spawn

_PORTS = {
    "ui_port": ("Dagster UI", "HEADWATER_UI_PORT"),
    "lineage_port": ("lineage service", "HEADWATER_LINEAGE_PORT"),
    "serving_port": ("serving API", "HEADWATER_SERVING_PORT"),
}

# What `up --once` says of its prediction; null where no model has a champion.
_ANSWER = ("prediction_id", "model", "model_version", "key", "margin", "probability", "trace", "replay")


@dataclass
class Clock:
    """Seconds per phase, in the order in which they ended."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str, text: str) -> Iterator[None]:
        """Say `text`, and keep how long the block took under `name`."""
        _say(text)
        started = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - started, 2)


def up(arguments: argparse.Namespace, settings: Settings) -> int:
    """Start everything; stay until SIGINT or SIGTERM, or with `--once` answer and stop."""
    settings = _with_ports(settings, once=arguments.once)
    # Also SIGINT: a shell starts background jobs with it ignored, and Python would leave it so.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    clock = Clock()
    try:
        return _up(settings, clock, once=arguments.once)
    except KeyboardInterrupt:
        _say("stopped.")
        return 0


def urls(settings: Settings) -> dict[str, str]:
    """Where people meet the running system."""
    return {
        "dagster": f"http://127.0.0.1:{settings.ui_port}",
        "lineage": settings.lineage_url,
        "serving": f"http://127.0.0.1:{settings.serving_port}",
    }


def _up(settings: Settings, clock: Clock, *, once: bool) -> int:
    started = time.monotonic()
    with clock.phase("declare", "reading the pipelines"):
        _sync_dvc(settings)
    with clock.phase("postgres", "starting Postgres"):
        attachment = attach(settings)
    with attachment, presence(settings) as alone:
        environment = _environment(settings, dagster_environment(settings, attachment))
        with clock.phase("dagster_storage", "preparing Dagster's storage"):
            _prepare_storage(settings, attachment, environment)
        with Services(environment, settings.root, settings.home / "logs") as services:
            _start(services, settings)
            with clock.phase("materialize", "materializing the pipelines through Dagster"):
                _materialize(environment, settings, alone=alone, once=once)
            with clock.phase("services", "waiting for the services"):
                services.wait_until_ready()
            if not once:
                _announce(settings)
                _stay(services, settings)
            _print_once(settings, clock, started)
        send_in_background(settings)
    return 0


def _materialize(environment: Mapping[str, str], settings: Settings, *, alone: bool, once: bool) -> None:
    command = [sys.executable, "-m", "orchestration.materialize", *(["--alone"] if alone else [])]
    try:
        _run_to_end(command, environment, settings)
    except HeadwaterError as error:
        if once:
            raise
        # Whoever stays wants to look: the previous versions are served, and the UI shows what failed.
        _say(f"{error} The services stay up with the versions there were before.")


def _with_ports(settings: Settings, *, once: bool) -> Settings:
    """Refuse a taken port; with `--once`, which nobody has to find, take a free one instead."""
    for name, (what, variable) in _PORTS.items():
        try:
            require_free(getattr(settings, name), what, variable)
        except HeadwaterError as error:
            if not once:
                raise
            port = free_port()
            _say(f"{error} Using {port} this once.")
            settings = _with_port(settings, name, port)
    return settings


def _with_port(settings: Settings, name: str, port: int) -> Settings:
    changed: Any = {name: port}
    return replace(settings, **changed)


def _environment(settings: Settings, environment: Mapping[str, str]) -> dict[str, str]:
    ports = {variable: str(getattr(settings, name)) for name, (_, variable) in _PORTS.items()}
    return {**environment, **ports}


def _sync_dvc(settings: Settings) -> None:
    space = Declared(settings, discover(settings))
    if not (settings.root / "dvc.yaml").exists():
        for name in dvc.sync(space):
            _say(f"wrote {name}")
    elif stale := dvc.stale_files(space):
        _say(f"{', '.join(stale)} are stale; run `headwater dvc sync`")


def dagster_services(settings: Settings) -> tuple[Service, Service, Service]:
    """Dagster's code server, daemon and UI; they find each other through a workspace file that this writes."""
    python, code_port = sys.executable, str(free_port())
    workspace = dagster_home(settings) / "workspace.yaml"
    where = f"{{host: 127.0.0.1, port: {code_port}, location_name: headwater}}"
    workspace.write_text(f"load_from:\n  - grpc_server: {where}\n")
    code = [python, "-m", "dagster", "code-server", "start", "-h", "127.0.0.1", "-p", code_port]
    ui = [python, "-m", "dagster_webserver", "-h", "127.0.0.1", "-p", str(settings.ui_port), "-w", str(workspace)]
    return (
        Service("code", [*code, "-m", "orchestration.definitions", "-d", str(settings.root)]),
        Service("daemon", [python, "-m", "dagster._daemon", "run", "-w", str(workspace)]),
        Service("webserver", ui, f"{urls(settings)['dagster']}/server_info"),
    )


def _start(services: Services, settings: Settings) -> None:
    for service in dagster_services(settings):
        services.start(service)
    for name, port in (("lineage", settings.lineage_port), ("serving", settings.serving_port)):
        command = [sys.executable, "-m", "orchestration.serve", name, str(port)]
        services.start(Service(name, command, f"{urls(settings)[name]}/health"))


def _prepare_storage(settings: Settings, attachment: Attachment, environment: Mapping[str, str]) -> None:
    """Create or migrate Dagster's tables, before several of its processes would do so at once."""
    if not storage_is_prepared(settings, attachment):
        command = [sys.executable, "-m", "dagster", "instance", "migrate"]
        _run_to_end(command, environment, settings, log="migrate.log")
        storage_prepared(settings)


def _run_to_end(
    command: list[str], environment: Mapping[str, str], settings: Settings, *, log: str | None = None
) -> None:
    """Run a helper process to its end; its lines are ours, or go to a log. HeadwaterError when it fails."""
    with _output(settings, log) as output:
        process = spawn(command, environment=environment, root=settings.root, output=output)
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            process.wait()
            raise
    if code != 0:
        where = f"see {settings.home / 'logs' / log}" if log else "what failed is said above"
        raise HeadwaterError(f"`{' '.join(command[2:])}` ended with {code}; {where}.")


@contextmanager
def _output(settings: Settings, log: str | None) -> Iterator[int]:
    if log is None:
        yield sys.stderr.fileno()
        return
    folder = settings.home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / log).open("ab") as stream:
        yield stream.fileno()


def _print_once(settings: Settings, clock: Clock, started: float) -> None:
    with open_workspace(settings) as space:
        found = _one_prediction(space, settings, clock)
        tables = _tables(space)
    clock.seconds["total"] = round(time.monotonic() - started, 2)
    print(json.dumps({**found, "tables": tables, "urls": urls(settings), "seconds": clock.seconds}), flush=True)


def _one_prediction(space: Workspace, settings: Settings, clock: Clock) -> dict[str, Any]:
    """One prediction by key through the serving API, its trace through the API too, and its replay."""
    from lineage.replay import replay
    from lineage.tracing.rowreplay import recompute_row

    models = [step for step in space.project.models() if space.project.step(_table_of(step)).key]
    if not (models := [step for step in models if _has_champion(space, step)]):
        _say("no model has a champion, so nothing was predicted; `headwater models list` shows what there is")
        return dict.fromkeys(_ANSWER)
    model = models[0].model_name
    serving = urls(settings)["serving"]
    with clock.phase("predict", f"asking {model} for one prediction"):
        answer = _call(f"{serving}/v1/models/{model}/predict", {"keys": [_some_key(space, models[0])]})
    with clock.phase("trace", "tracing it"):
        trace = _call(f"{serving}/v1/predictions/{answer['prediction_id']}/trace")
    with clock.phase("replay", "replaying it"):
        replayed = replay(space, answer["prediction_id"], Ports(), recompute_row=recompute_row)
    entry = answer["predictions"][0]
    return {
        "prediction_id": answer["prediction_id"],
        "model": model,
        "model_version": answer["model_version"],
        "key": entry["key"],
        "margin": entry["margin"],
        "probability": entry.get("probability"),
        "trace": trace,
        "replay": replayed,
    }


def _has_champion(space: Workspace, model: Step) -> bool:
    return space.store.row("champion", model=model.model_name) is not None


def _table_of(model: Any) -> str:
    return f"{model.pipeline}.{model.detail.table}"


def _some_key(space: Workspace, model: Any) -> str:
    """A key of the newest partition of the model's table that has rows: the same one every time."""
    import polars as pl

    from serving.features import KEY_SEPARATOR

    step = space.project.step(_table_of(model))
    # As text by Polars, like those that serving looks up: Python writes times and truth values otherwise.
    texts = [pl.col(name).cast(pl.String) for name in step.key]
    for version in reversed(space.store.current(step.dataset).values()):
        rows = pl.scan_parquet(space.root / version.file.path)
        if keys := rows.select(pl.concat_str(texts, separator=KEY_SEPARATOR)).tail(1).collect().to_series().to_list():
            return str(keys[0])
    raise HeadwaterError(f"{step.dataset} has no rows, so there is nothing to predict for {model.model_name}.")


def _tables(space: Workspace) -> dict[str, int]:
    rows: dict[str, int] = {}
    for version in space.store.all_current():
        if version.row_count is not None:
            rows[version.dataset] = rows.get(version.dataset, 0) + version.row_count
    return rows


def _call(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"content-type": "application/json"})  # noqa: S310
    try:
        with ask(request, timeout_seconds=30) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise HeadwaterError(f"{url} answered {error.code}: {error.read().decode(errors='replace')[:500]}") from error
    except OSError as error:
        raise HeadwaterError(f"{url} gave no answer ({error}); the logs of `headwater up` say more.") from error


def _announce(settings: Settings) -> None:
    _say("ready; Ctrl-C stops everything")
    for name, url in urls(settings).items():
        _say(f"  {name:<8} {url}")


def _stay(services: Services, settings: Settings) -> NoReturn:
    while True:
        time.sleep(1.0)
        if event := services.watch():
            _say(event)
        # Attaching starts the server again if somebody ended it.
        attach(settings).close()


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    print(f"headwater: {text}", file=sys.stderr, flush=True)
