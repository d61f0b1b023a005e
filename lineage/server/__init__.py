"""The embedded Postgres: its binaries, its place, the process that owns it."""
