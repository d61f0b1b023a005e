"""Whether two rows are the same bits."""

import math
import struct

import pytest

from lineage.tracing.rowreplay import differing

OTHER_NAN = struct.unpack("<d", bytes.fromhex("010000000000f87f"))[0]


@pytest.mark.parametrize(
    ("stored", "computed"),
    [
        (0.0, -0.0),
        (0.1 + 0.2, 0.3),
        (None, math.nan),
        (1, 1.0),
        (1, True),
        ([1.0, None], [1.0]),
        ({"a": 0.0}, {"a": -0.0}),
    ],
)
def test_what_is_equal_or_nearly_so_is_not_the_same(stored, computed):
    """Signs of zero, last bits, null and NaN, types, and what lists and structs hold."""
    assert differing({"same": "x", "value": stored}, {"same": "x", "value": computed}) == ["value"]


@pytest.mark.parametrize("value", [None, 0.1, -0.0, "text", [math.nan, None], {"a": [1]}])
def test_a_row_is_the_same_as_itself(value):
    """Nulls, NaN and nested values included."""
    assert differing({"value": value}, {"value": value}) == []


def test_there_is_one_nan():
    """Its payload is nobody's business."""
    assert differing({"value": math.nan}, {"value": OTHER_NAN}) == []


def test_columns_that_only_one_has_differ():
    """Whichever has them."""
    assert differing({"a": 1, "b": 2}, {"a": 1, "c": 2}) == ["b", "c"]
