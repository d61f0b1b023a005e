"""The named SQL of the store."""

import re
from importlib.resources import files

from lineage.store.queries import sql


def test_each_name_is_of_one_query():
    """Of two of one name the first would be lost without a word."""
    names = re.findall(r"^-- name: (\w+)$", (files("lineage.store") / "queries.sql").read_text(), re.MULTILINE)

    assert sorted(names) == sorted(set(names))
    assert all(map(sql, names))
