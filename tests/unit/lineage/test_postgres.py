"""The parts of lineage.postgres that need no server: URLs, TLS by default, places and their names."""

import os
import time
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import make_url

from lineage.errors import DatabaseError
from lineage.postgres import external_parameters, to_url
from lineage.server.account import Account, verify_private
from lineage.server.cluster import Cluster, socket_folder, sweep
from lineage.server.roles import State

HOSTILE = "p@ss:w/rd ?&=%#+é'\"\\"
US = Account("us", os.geteuid(), os.getegid(), foreign=False)


def external(url: str) -> dict[str, str]:
    return external_parameters(url, {"HOME": "/nonexistent"})


@pytest.mark.parametrize("host", ["db.example.org", "::1", "a.example,b.example", "/run/with space,comma"])
def test_url_round_trips_through_libpq(host):
    """libpq reads from the URL exactly the parameters that went into it."""
    parameters = {"user": HOSTILE, "password": HOSTILE, "host": host, "dbname": "head water", "port": "5433"}

    assert parameters == conninfo_to_dict(to_url(parameters))


def test_url_sets_role_and_search_path():
    """Settings travel as options, after those that the server's URL already had, and empty ones stay away."""
    parameters = {"user": "u", "dbname": "d", "options": "-c jit=off"}

    url = to_url(parameters, {"role": "r", "search_path": "s", "other": None})

    assert conninfo_to_dict(url)["options"] == "-c jit=off -c role=r -c search_path=s"


def test_sqlalchemy_reads_the_same_url():
    """SQLAlchemy sees the driver, the password and the socket folder of the URL."""
    parameters = {"user": "u", "password": HOSTILE, "dbname": "d", "host": "/a b/run"}

    url = make_url(to_url(parameters, {"role": "r"}, driver="postgresql+psycopg2"))

    assert (url.drivername, url.password, url.database) == ("postgresql+psycopg2", HOSTILE, "d")
    assert dict(url.query) == {"host": "/a b/run", "options": "-c role=r"}


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p@db.example.org/x",
        "postgresql+psycopg2://u:p@db.example.org/x",
        "postgres://u:p@localhost,db.example.org/x",
        "postgresql://u:p@localhost/x?hostaddr=192.0.2.7",
    ],
)
def test_tls_is_verified_by_default(url):
    """A server that may be on another machine is only spoken to over verified TLS."""
    assert external(url)["sslmode"] == "verify-full"


@pytest.mark.parametrize(
    "url", ["postgresql://u:p@localhost/x", "postgresql://u@[::1]/x", "postgresql://u@/x?host=/run/pg"]
)
def test_local_servers_need_no_tls(url):
    """Loopback and unix sockets are left to libpq's own defaults."""
    assert "sslmode" not in external(url)


def test_chosen_tls_is_left_alone():
    """What DATABASE_URL says about TLS is not changed."""
    parameters = external("postgresql://u@db.example.org/x?sslmode=require")

    assert (parameters["sslmode"], parameters.get("sslrootcert")) == ("require", None)


def test_certificates_of_the_system_are_trusted(tmp_path):
    """Without certificates of the user's own, those of the system verify the server."""
    bundle = tmp_path / "bundle.pem"
    bundle.touch()
    env = {"HOME": "/nonexistent", "SSL_CERT_FILE": str(bundle)}

    assert str(bundle) == external_parameters("postgresql://u@db.example.org/x", env)["sslrootcert"]


def test_own_certificates_come_first(tmp_path):
    """A root.crt where libpq looks for it stays libpq's business."""
    (tmp_path / ".postgresql").mkdir()
    (tmp_path / ".postgresql" / "root.crt").touch()

    parameters = external_parameters("postgresql://u@db.example.org/x", {"HOME": str(tmp_path)})

    assert "sslrootcert" not in parameters


def test_database_of_the_url_is_used():
    """A database that DATABASE_URL names is used; without one it is headwater."""
    assert external("postgresql://u@localhost/x")["dbname"] == "x"
    assert external("postgresql://u@localhost")["dbname"] == "headwater"


@pytest.mark.parametrize("url", ["postgresql://u:s3cret@h:5432/x?nonsense=1", "s3cret", "postgresql://u:s3cret@["])
def test_malformed_url_is_refused_without_its_password(url):
    """A DATABASE_URL that is none is named as such, and not quoted: a password may be in it."""
    with pytest.raises(DatabaseError, match="DATABASE_URL is not a Postgres URL") as caught:
        external(url)

    assert "s3cret" not in str(caught.value)


def test_socket_lies_in_the_place():
    """A short path keeps its socket to itself."""
    place = Path("/srv/clone/.headwater/postgres")

    assert socket_folder(place, 7, "0123456789") == place / "run-01234567"


def test_long_path_gets_a_short_socket_folder():
    """A path that is too long for a socket, or has a comma, gets a short folder of its own."""
    long = Path("/srv") / ("x" * 200)
    arguments = [(long, 7, "a"), (long / "y", 7, "a"), (long, 8, "a"), (long, 7, "b"), (Path("/srv/a,b"), 7, "a")]

    folders = {socket_folder(*each) for each in arguments}

    assert len(folders) == len(arguments)
    assert all(len(os.fsencode(folder / ".s.PGSQL.5432")) <= 100 for folder in folders)


def test_folder_of_somebody_else_is_refused(tmp_path):
    """A socket folder that another user owns is not trusted."""
    somebody = Account("somebody", US.uid + 1, US.gid, foreign=True)
    tmp_path.chmod(0o700)

    with pytest.raises(DatabaseError, match="find out who made it"):
        verify_private(tmp_path, somebody)


def test_link_is_refused_as_private_folder(tmp_path):
    """A link in place of the socket folder is not followed."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "real")

    verify_private(tmp_path / "real", US)
    with pytest.raises(DatabaseError, match="find out who made it"):
        verify_private(tmp_path / "link", US)


def test_open_folder_is_refused_as_private(tmp_path):
    """A socket folder that others may enter is not trusted."""
    tmp_path.chmod(0o755)

    with pytest.raises(DatabaseError, match="mode 0700"):
        verify_private(tmp_path, US)


def data_elsewhere(base: Path, name: str, home: str, *, age_seconds: float) -> Path:
    data = base / name / "data"
    data.mkdir(parents=True)
    (base / name / "home").write_text(home)
    os.utime(data, times=(time.time() - age_seconds,) * 2)
    return data


def test_sweep_removes_only_data_of_temporary_homes_long_gone(tmp_path):
    """Data kept elsewhere are only removed when their home lay in /tmp and has been gone for a while."""
    gone, day = "/tmp/surely/not/there", 86400.0
    old = data_elsewhere(tmp_path, "old", gone, age_seconds=day)
    young = data_elsewhere(tmp_path, "young", gone, age_seconds=0)
    alive = data_elsewhere(tmp_path, "alive", "/tmp", age_seconds=day)
    elsewhere = data_elsewhere(tmp_path, "elsewhere", "/mnt/surely/not/there", age_seconds=day)

    sweep(tmp_path)

    assert [path.exists() for path in (old, young, alive, elsewhere)] == [False, True, True, True]


def test_complaint_prefers_what_was_fatal(tmp_path):
    """The reason of a failed start is the last FATAL line after the mark, not the chatter that follows."""
    cluster = Cluster(tmp_path, tmp_path, US)
    cluster.log.write_text("FATAL:  old\n")
    mark = cluster.log.stat().st_size
    with cluster.log.open("a") as log:
        log.write("LOG:  starting\nFATAL:  no room\nLOG:  database system is shut down\n")

    assert cluster.complaint(mark) == "FATAL:  no room"


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State("", may_create=True, roles=[]), True),
        (State("", may_create=False, roles=[]), False),
        (State("", may_create=False, roles=["headwater_app"]), False),
        (State("", may_create=False, roles=["headwater_app", "headwater_dagster", "headwater_owner"]), True),
        (State("headwater 1: one user", may_create=True, roles=[]), False),
        (State("headwater 1: roles", may_create=False, roles=[]), True),
    ],
)
def test_roles_are_used_where_they_can_be(state, expected):
    """What the database was made with stays; otherwise roles are used by who may create or become them."""
    assert expected == state.with_roles
