"""Keys are found by their hashes, and told apart by their text."""

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from serving.keys import Keys, hashes


def places(keys: Keys, wanted: list[str]) -> list[int | None]:
    return [keys.place(key, hashed) for key, hashed in zip(wanted, hashes(wanted), strict=True)]


@given(st.lists(st.text() | st.none()), st.lists(st.text()))
def test_keys_are_found_where_a_dictionary_finds_them(held, others):
    """Every key leads to its last row, any other text and null to none."""
    wanted = [*others, *(key for key in held if key is not None)]

    found = places(Keys.of(pl.Series(held, dtype=pl.String)), wanted)

    known = {key: place for place, key in enumerate(held)}
    assert found == [known.get(key) for key in wanted]


def test_keys_of_one_hash_are_told_apart():
    """Of several keys with the same hash the one with the same text is found, or none."""
    alike = Keys(pl.Series(["a", "b", "c"]), np.array([7, 7, 7], np.uint64), np.array([0, 1, 2], np.uint32))

    assert [alike.place(key, np.uint64(7)) for key in "abcd"] == [0, 1, 2, None]
