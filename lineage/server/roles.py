"""Who may do what in the database: roles and schemas, made once and found again by one query.

    headwater_dagster   owns schema dagster
    headwater_owner     owns schema headwater; migrations run as this role
    headwater_app       owns nothing; reads and writes the rows of schema headwater
    headwater_login     who processes log in as on the embedded server: has no right of its own (NOINHERIT),
                        and may become headwater_dagster or headwater_app

The first three cannot log in. On an external server its own user logs in, as a member of those three; where
that user may not create roles and is no member of them, the two schemas simply belong to that user.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, NamedTuple

import psycopg
from psycopg import sql

DAGSTER_ROLE, OWNER_ROLE, APP_ROLE = "headwater_dagster", "headwater_owner", "headwater_app"
LOGIN_ROLE = "headwater_login"
DAGSTER_SCHEMA, STORE_SCHEMA = "dagster", "headwater"
_GROUPS = (DAGSTER_ROLE, OWNER_ROLE, APP_ROLE)
# The comment on schema headwater, written last in the transaction that makes everything.
_WITH_ROLES, _ONE_USER = "headwater 1: roles", "headwater 1: one user"
_LOCK = 0x68656164

_STATE = """
    select coalesce(obj_description(to_regnamespace(%s)::oid, 'pg_namespace'), ''),
           (select rolsuper or rolcreaterole from pg_roles where rolname = current_user),
           array(select rolname::text from pg_roles where rolname = any(%s) and pg_has_role(oid, 'member'))
"""

_OWN = """
    create schema if not exists {dagster} authorization {dagster_role};
    create schema if not exists {store} authorization {owner_role};
    set local role {owner_role};
    grant usage on schema {store} to {app_role};
    alter default privileges in schema {store} grant select, insert, update, delete on tables to {app_role};
    alter default privileges in schema {store} grant usage, select, update on sequences to {app_role};
    comment on schema {store} is {mark}
"""

_OWN_ALONE = """
    create schema if not exists {dagster};
    create schema if not exists {store};
    comment on schema {store} is {mark}
"""


class State(NamedTuple):
    """What the database says: its mark, and what the current user may create and become."""

    mark: str
    may_create: bool
    roles: list[str]

    @property
    def with_roles(self) -> bool:
        """Whether roles are used here, or could be."""
        able = self.may_create or set(_GROUPS) <= set(self.roles)
        return self.mark == _WITH_ROLES or (able and self.mark != _ONE_USER)

    def is_done(self, needed: set[str]) -> bool:
        """Whether everything is there, and `needed` roles within reach."""
        return self.mark == _ONE_USER or (self.mark == _WITH_ROLES and needed <= set(self.roles))


def create_database(connection: psycopg.Connection[Any], database: str) -> None:
    """Make `database` unless it is there; the connection is to another one, in autocommit mode."""
    found = connection.execute("select from pg_database where datname = %s", [database]).fetchone()
    if found is None:
        # Somebody may create it between the question and the answer.
        with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
            connection.execute(sql.SQL("create database {}").format(sql.Identifier(database)))


def ensure_roles(connection: psycopg.Connection[Any], password: str | None) -> bool:
    """Make roles and schemas unless they are there; whether roles are used.

    With a `password` the login role is made too. `connection` is in autocommit mode. Racing callers wait for
    each other; raises psycopg.Error where the current user may not do it.
    """
    needed = {DAGSTER_ROLE, APP_ROLE, *([LOGIN_ROLE] if password else [])}
    state = _state(connection)
    if not state.is_done(needed):
        with connection.transaction():
            connection.execute("select pg_advisory_xact_lock(%s)", [_LOCK])
            state = _state(connection)
            if not state.is_done(needed):
                _make(connection, state, password)
    return state.with_roles


def _state(connection: psycopg.Connection[Any]) -> State:
    row = connection.execute(_STATE, [STORE_SCHEMA, [*_GROUPS, LOGIN_ROLE]]).fetchone()
    return State(*row or ("", False, []))


def _make(connection: psycopg.Connection[Any], state: State, password: str | None) -> None:
    if state.with_roles:
        for role in _GROUPS:
            _make_group(connection, role, member=role in state.roles)
        if password:
            _make_login(connection, password)
    connection.execute(
        sql.SQL(_OWN if state.with_roles else _OWN_ALONE).format(
            dagster=sql.Identifier(DAGSTER_SCHEMA),
            store=sql.Identifier(STORE_SCHEMA),
            dagster_role=sql.Identifier(DAGSTER_ROLE),
            owner_role=sql.Identifier(OWNER_ROLE),
            app_role=sql.Identifier(APP_ROLE),
            mark=sql.Literal(_WITH_ROLES if state.with_roles else _ONE_USER),
        )
    )


def _make_group(connection: psycopg.Connection[Any], role: str, *, member: bool) -> None:
    if not _exists(connection, role):
        connection.execute(sql.SQL("create role {} nologin").format(sql.Identifier(role)))
        member = False  # since version 16 who creates a role may hand it on, but not become it
    if not member:
        connection.execute(sql.SQL("grant {} to current_user").format(sql.Identifier(role)))


def _make_login(connection: psycopg.Connection[Any], password: str) -> None:
    # The verifier instead of the password, so that no log ever shows it.
    verifier = connection.pgconn.encrypt_password(password.encode(), LOGIN_ROLE.encode(), b"scram-sha-256")
    verb = "alter" if _exists(connection, LOGIN_ROLE) else "create"
    connection.execute(
        sql.SQL(verb + " role {} login noinherit password {}").format(
            sql.Identifier(LOGIN_ROLE), sql.Literal(verifier.decode())
        )
    )
    for role in (DAGSTER_ROLE, APP_ROLE):
        connection.execute(sql.SQL("grant {} to {}").format(sql.Identifier(role), sql.Identifier(LOGIN_ROLE)))


def _exists(connection: psycopg.Connection[Any], role: str) -> bool:
    return connection.execute("select from pg_roles where rolname = %s", [role]).fetchone() is not None


def one_line(error: psycopg.Error) -> str:
    """What the server or libpq said, without line breaks, hints and final stop."""
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
