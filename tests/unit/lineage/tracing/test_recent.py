"""What was looked up last is kept, and no more than that."""

import random
from concurrent.futures import ThreadPoolExecutor

import pytest

from lineage.tracing.recent import Recent


def test_what_nobody_asked_for_longest_goes_first():
    """Asking for what is there makes it recent; what went is looked up again."""
    kept, looked_up = Recent(2), []

    def look_up(key):
        looked_up.append(key)
        return key.upper()

    found = [kept.get(key, lambda key=key: look_up(key)) for key in "abacab"]

    assert found == list("ABACAB")
    assert looked_up == list("abcb")
    assert len(kept) == 2


def test_what_could_not_be_looked_up_is_not_kept():
    """The next who asks looks it up again."""
    kept = Recent(2)

    with pytest.raises(ZeroDivisionError):
        kept.get("a", lambda: 1 // 0)

    assert kept.get("a", lambda: None) is None
    assert kept.get("a", lambda: 1 // 0) is None


def test_who_looks_up_may_ask_for_others():
    """As one version leads to the next; nobody waits for himself."""
    kept = Recent(1)

    assert kept.get("a", lambda: kept.get("b", lambda: 1) + 1) == 2
    assert len(kept) == 1


def test_many_threads_may_ask():
    """Each gets the value of its own key, and the bound holds."""
    kept = Recent(10)

    def ask(seed):
        draw = random.Random(seed)
        keys = [draw.randrange(20) for _ in range(5_000)]
        return all(kept.get(key, lambda key=key: key * 7) == key * 7 for key in keys)

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(8)))
    assert len(kept) == 10
