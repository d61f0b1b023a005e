"""Names in one text: rare texts are ranked place by place, common ones rank after rank, both in one order."""

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineage.graph.index import Entry
from lineage.graph.nodes import Node
from lineage.service import search
from lineage.service.search import Names

names = st.lists(st.text(alphabet="ab./_-", min_size=1, max_size=8), unique=True, max_size=12)


def found(named, text, monkeypatch, few):
    monkeypatch.setattr(search, "_FEW", few)
    entries = [Entry(Node("dataset", "SPACE", name), [uuid.uuid4()], frozenset()) for name in named]
    return [entry.node.name for entry in Names(entries).find(text)]


def rank(name, text):
    """The best of: is it, or its last segment; begins it; begins a segment; begins a word; is somewhere in it."""
    ends = [name == text or any(name.endswith(part + text) for part in "./:"), name.startswith(text)]
    return [*ends, any(part + text in name for part in "./:"), any(part + text in name for part in "_- "), True].index(
        True
    )


@given(named=names, text=st.text(alphabet="ab.", min_size=1, max_size=3))
def test_both_ways_rank_as_said(named, text):
    with pytest.MonkeyPatch.context() as monkeypatch:
        expected = sorted(
            (name for name in named if text in name), key=lambda name: (rank(name, text), named.index(name))
        )

        assert found(named, text, monkeypatch, few=1_000) == expected
        assert found(named, text, monkeypatch, few=0) == expected
