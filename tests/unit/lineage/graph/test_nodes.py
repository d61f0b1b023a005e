"""Node ids: what a client writes, and which nodes it may mean."""

import pytest

from lineage.graph.nodes import Node, parse_node_id


@pytest.mark.parametrize(
    ("text", "namespace", "name"),
    [
        ("dataset:headwater:flights/features", "headwater", "flights/features"),
        ("dataset:s3://bucket:a/b.parquet", "s3://bucket", "a/b.parquet"),
        (
            "dataset:postgres://db.example.org:5432:shop.public.orders",
            "postgres://db.example.org:5432",
            "shop.public.orders",
        ),
        ("dataset:hive://host:10000:urn:li:x", "hive://host:10000", "urn:li:x"),
        ("dataset:s3://bucket:s3://bucket/a", "s3://bucket", "s3://bucket/a"),
    ],
)
def test_likeliest_reading_comes_first(text, namespace, name):
    """A colon in an address or before a port does not end the namespace."""
    assert Node("dataset", namespace, name) == parse_node_id(text)[0]


@pytest.mark.parametrize(
    "node",
    [
        Node("job", "headwater", "2013"),
        Node("job", "urn:team", "flights.features"),
        Node("job", "a", "b#1"),
        Node("dataset", "bigquery", "//x:y"),
    ],
)
def test_every_node_can_be_asked_for(node):
    """Whatever colons a node's names hold, its own id has it among its readings."""
    assert node in parse_node_id(node.id)


def test_version_may_follow():
    """A version behind the name, as Marquez writes it, is left out in the last readings."""
    assert Node("dataset", "a", "b") == parse_node_id("dataset:a:b#6f1f9c0e")[-1]


@pytest.mark.parametrize(
    "text", ["", "dataset", "dataset:", "dataset:a", "dataset::", "dataset:a:", "run:a:b", "flights.legs"]
)
def test_other_text_is_no_node(text):
    """Text without a kind, a namespace or a name has no readings."""
    assert parse_node_id(text) == ()
