"""Bring the store's schema up to date: numbered SQL files, each applied once, in one transaction each."""

from __future__ import annotations

from importlib.resources import files
from importlib.resources.abc import Traversable

import psycopg

# Any constant will do; every process of every project database takes the same one.
_MIGRATION_LOCK = 0x4845_4144


def migrate(owner_url: str, *, role: str, schema: str) -> int:
    """Apply the migrations that are missing, as `role`, in `schema`; returns how many were applied."""
    with psycopg.connect(owner_url, autocommit=True) as connection:
        _become(connection, role, schema)
        if not (missing := _missing(connection)):
            return 0
        connection.execute("select pg_advisory_lock(%s)", (_MIGRATION_LOCK,))
        missing = _missing(connection)
        for migration in missing:
            with connection.transaction():
                connection.execute(migration.read_text().encode())
                connection.execute("insert into migration (name) values (%s)", (migration.name,))
        return len(missing)


def _become(connection: psycopg.Connection, role: str, schema: str) -> None:
    known = connection.execute("select 1 from pg_roles where rolname = %s", (role,)).fetchone()
    able = known and connection.execute("select pg_has_role(%s, 'MEMBER')", (role,)).fetchone()
    if able and able[0]:
        connection.execute(psycopg.sql.SQL("set role {}").format(psycopg.sql.Identifier(role)))
    connection.execute(psycopg.sql.SQL("set search_path to {}").format(psycopg.sql.Identifier(schema)))


def _missing(connection: psycopg.Connection) -> list[Traversable]:
    found = connection.execute("select to_regclass('migration') is not null").fetchone()
    if not found or not found[0]:
        connection.execute(
            "create table if not exists migration"
            " (name text primary key, applied_at timestamptz not null default now())"
        )
    applied = {name for (name,) in connection.execute("select name from migration")}
    folder = files("lineage.store") / "migrations"
    return [item for item in sorted(folder.iterdir(), key=lambda found: found.name) if item.name not in applied]
