"""The one Postgres of a project: the embedded server, or the one that DATABASE_URL names.

`attach` gives an Attachment; as long as it is open, its URLs lead to a running server. Without DATABASE_URL
any process attaches to the server under `<home>/postgres` or starts it, and the last one out stops it
(`lineage.server.keeper` says how). With DATABASE_URL nothing is started; TLS is verified unless that server is local.
`lineage.server.roles` says who may do what in the database, also where an external user may not create roles.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from lineage.errors import DatabaseError
from lineage.server.cluster import ADMIN
from lineage.server.embedded import connect_embedded, hold_server, login_parameters
from lineage.server.roles import (
    APP_ROLE,
    DAGSTER_ROLE,
    DAGSTER_SCHEMA,
    LOGIN_ROLE,
    OWNER_ROLE,
    STORE_SCHEMA,
    create_database,
    ensure_roles,
    one_line,
)
from lineage.settings import Settings

__all__ = [
    "APP_ROLE",
    "DAGSTER_ROLE",
    "DAGSTER_SCHEMA",
    "DATABASE",
    "LOGIN_ROLE",
    "OWNER_ROLE",
    "STORE_SCHEMA",
    "Attachment",
    "attach",
]

DATABASE = "headwater"
_ATTEMPTS = 3
_CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_LOCAL_HOSTS = ("", "localhost", "127.0.0.1", "::1")


class Attachment:
    """A server that runs at least until this is closed; close it, or use it as a context manager.

    The hold on an embedded server is a lock that the kernel drops with the process. Programs started by this
    process do not inherit it, but a plain fork shares it: the server then runs until both have let go.
    """

    def __init__(
        self, login: Mapping[str, str], owner: Mapping[str, str], *, with_roles: bool, hold: BinaryIO | None
    ) -> None:
        self._login, self._owner = dict(login), dict(owner)
        self._with_roles, self._hold = with_roles, hold

    def url(self, role: str | None = None, schema: str | None = None, driver: str = "postgresql") -> str:
        """A libpq URL that logs in, becomes `role` and looks in `schema` first; it contains the password.

        `driver="postgresql+psycopg2"` is for SQLAlchemy. On an external server without our roles `role` is
        left out: there one user owns everything.
        """
        settings = {"role": role if self._with_roles else None, "search_path": schema}
        return to_url(self._login, settings, driver=driver)

    @property
    def owner_url(self) -> str:
        """A URL for migrations: the superuser (or the external user), acting as OWNER_ROLE in its schema.

        What it creates belongs to OWNER_ROLE, so that APP_ROLE may use it; `set role none` gives the user's
        own rights back.
        """
        role = OWNER_ROLE if self._with_roles else None
        return to_url(self._owner, {"role": role, "search_path": STORE_SCHEMA})

    def close(self) -> None:
        """Let go of the server; the last one to do so stops it. Closing again does nothing."""
        if self._hold:
            self._hold.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def attach(settings: Settings, environ: Mapping[str, str] | None = None) -> Attachment:
    """The project's Postgres, running, with its database, roles and schemas; raises DatabaseError.

    `environ` (the process's own by default) may name HEADWATER_PG_BIN, a folder of Postgres programs, and
    HEADWATER_PG_USER, the account that runs the embedded server when we are root.
    """
    env = os.environ if environ is None else environ
    _hide_from_git(settings.home)
    if settings.database_url:
        return _attach_external(settings.database_url, env)
    hold = hold_server(settings.home / "postgres")
    try:
        return _attach_embedded(settings.home / "postgres", hold, env)
    except BaseException:
        hold.close()
        raise


def _hide_from_git(home: Path) -> None:
    """Passwords and logs lie in `home`: they must not be committed where somebody else's .gitignore misses them."""
    ignore = home / ".gitignore"
    if not ignore.exists():
        home.mkdir(parents=True, exist_ok=True)
        ignore.write_text("*\n")


def _attach_embedded(folder: Path, hold: BinaryIO, env: Mapping[str, str]) -> Attachment:
    name = f"the embedded Postgres in {folder}"
    for _ in range(_ATTEMPTS):
        connection, cluster = connect_embedded(folder, DATABASE, env)
        with suppress(psycopg.OperationalError), connection:  # when the server is killed just now
            login, owner = (login_parameters(cluster, user, DATABASE) for user in (LOGIN_ROLE, ADMIN))
            _ensure_roles(connection, login["password"], name)
            return Attachment(login, owner, with_roles=True, hold=hold)
    raise DatabaseError(f"{name} stops whenever it is spoken to; read {folder / 'server.log'}.")


def _attach_external(url: str, env: Mapping[str, str]) -> Attachment:
    parameters = external_parameters(url, env)
    name = _server_name(parameters)
    try:
        with _connect(parameters) as connection:
            with_roles = _ensure_roles(connection, None, name)
    except psycopg.OperationalError as error:
        reason = one_line(error)
        tls = ", see to its certificate (sslrootcert and sslmode say how it is verified)"
        raise DatabaseError(
            f"Cannot connect to database {parameters['dbname']} on {name} ({reason}); start it, correct "
            f"DATABASE_URL{tls if 'SSL' in reason or 'certificate' in reason else ''}, or unset it to use the "
            "embedded server."
        ) from None
    return Attachment(parameters, parameters, with_roles=with_roles, hold=None)


def _ensure_roles(connection: psycopg.Connection[Any], password: str | None, name: str) -> bool:
    try:
        return ensure_roles(connection, password)
    except psycopg.OperationalError:  # the server is going away, which the caller can act on
        raise
    except psycopg.Error as error:
        user = connection.info.user
        raise DatabaseError(
            f"User {user} could not set up roles and schemas on {name} ({one_line(error)}); have an "
            f"administrator grant {user} create on the database, and {OWNER_ROLE}, {DAGSTER_ROLE} and "
            f"{APP_ROLE} where these exist."
        ) from error


def external_parameters(url: str, env: Mapping[str, str]) -> dict[str, str]:
    """The libpq parameters of DATABASE_URL; what it leaves open is database headwater and verified TLS."""
    scheme, separator, rest = url.partition("://")
    try:
        found = conninfo_to_dict(scheme.partition("+")[0] + separator + rest)
    except psycopg.Error:
        # Neither the URL nor libpq's remark about it, which quotes from it: there is a password in it.
        raise DatabaseError(
            "DATABASE_URL is not a Postgres URL; write it as postgresql://user:password@host:5432/headwater, "
            "with special characters percent-encoded."
        ) from None
    parameters = {"dbname": DATABASE, "connect_timeout": "10", **{k: str(v) for k, v in found.items()}}
    if not _is_local(parameters, env) and "sslmode" not in parameters:
        parameters |= {"sslmode": "verify-full", **_root_certificates(parameters, env)}
    return parameters


def _is_local(parameters: Mapping[str, str], env: Mapping[str, str]) -> bool:
    hosts = parameters.get("hostaddr") or parameters.get("host") or env.get("PGHOST", "")
    return all(host in _LOCAL_HOSTS or host.startswith(("/", "@")) for host in hosts.split(","))


def _root_certificates(parameters: Mapping[str, str], env: Mapping[str, str]) -> dict[str, str]:
    """The system's certificates, unless the user chose others; libpq would insist on a file of the user's."""
    own = Path(env.get("HOME", "/")) / ".postgresql" / "root.crt"
    if "sslrootcert" in parameters or "PGSSLROOTCERT" in env or own.exists():
        return {}
    bundles = [path for path in (env.get("SSL_CERT_FILE"), *_CA_BUNDLES) if path and Path(path).exists()]
    return {"sslrootcert": bundles[0]} if bundles else {}


def _server_name(parameters: Mapping[str, str]) -> str:
    host, port = parameters.get("host") or parameters.get("hostaddr", ""), parameters.get("port", "5432")
    return f"the server {host or 'on the local socket'}:{port} of DATABASE_URL"


def _connect(parameters: Mapping[str, str]) -> psycopg.Connection[Any]:
    """A connection to the database, which is made where only it is missing."""
    try:
        return psycopg.connect(to_url(parameters), autocommit=True)
    except psycopg.errors.ConnectionTimeout:  # asking again would only double the wait
        raise
    except psycopg.OperationalError:
        with suppress(psycopg.Error):
            with psycopg.connect(to_url({**parameters, "dbname": "postgres"}), autocommit=True) as connection:
                create_database(connection, parameters["dbname"])
            return psycopg.connect(to_url(parameters), autocommit=True)
        raise


def to_url(
    parameters: Mapping[str, str],
    settings: Mapping[str, str | None] | None = None,
    *,
    driver: str = "postgresql",
) -> str:
    """Parameters as a URL that libpq and SQLAlchemy both read; sessions begin with `settings` made."""
    rest = {key: value for key, value in parameters.items() if key not in ("user", "password", "dbname")}
    words = [rest.pop("options", ""), *(f"-c {k}={v}" for k, v in (settings or {}).items() if v)]
    if options := " ".join(word for word in words if word):
        rest["options"] = options
    who = ":".join(_quoted(parameters[key]) for key in ("user", "password") if key in parameters)
    query = "&".join(f"{key}={_quoted(value)}" for key, value in rest.items())
    return f"{driver}://{who}{'@' if who else ''}/{_quoted(parameters['dbname'])}{'?' if query else ''}{query}"


def _quoted(text: str) -> str:
    return quote(text, safe="")
