"""A search in one run of a timeline finds what numpy finds in that run alone."""

import numpy as np
import pytest

from lineage.tracing.timeline import Timeline, in_order

LOWEST, HIGHEST = np.iinfo(np.int64).min, np.iinfo(np.int64).max


@pytest.mark.parametrize("rows", [1, 40, 5_000])
@pytest.mark.parametrize("asked", [1, 30, 300])
@pytest.mark.parametrize("span", [(-3, 4), (10**15, 10**15 + 50), (LOWEST, LOWEST + 9), (LOWEST, HIGHEST)])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_search_within_runs(tmp_path, rows, asked, span, side):
    """Many and few at once, ties, instants before the first and after the last, and as far apart as they can be."""
    draw = np.random.default_rng(rows * asked)
    instants = draw.integers(*span, rows, dtype=np.int64, endpoint=True)
    keys = draw.integers(0, 7, rows).astype(np.uint32)
    timeline = Timeline(tmp_path / "timeline", 1)
    timeline.build([keys], instants, in_order(instants, np.ones(rows, bool)))
    begins, ends = timeline.runs([draw.integers(0, 9, asked).astype(np.uint32)], asked)
    wanted = np.concatenate((draw.choice(instants, asked - 1), draw.choice([LOWEST, HIGHEST], 1)))

    expected = [
        begin + np.searchsorted(timeline.instants[begin:end], one, side)
        for begin, end, one in zip(begins, ends, wanted, strict=True)
    ]

    assert expected == timeline.search(begins, ends, wanted, side).tolist()
    assert expected == timeline.search(np.minimum(begins, expected), ends, wanted, side).tolist()
