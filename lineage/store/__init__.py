"""Postgres: schema, migrations, named queries, and the connection to them."""

from lineage.store.store import Row, Store, references, version_of

__all__ = ["Row", "Store", "references", "version_of"]
