"""What a process computes with is told apart, and a lock that changes is seen by a process that runs."""

from __future__ import annotations

import pytest

from lineage.identity.environment import environment, environment_digest, locked_digest
from lineage.versions import sha256_file


def test_a_lock_that_changes_is_seen(tmp_path):
    """A server outlives a lock: it is read each time."""
    digests = [environment_digest(tmp_path)]
    for text in ("a", "b", "a"):
        (tmp_path / "uv.lock").write_text(text)
        digests.append(environment_digest(tmp_path))

    assert digests[1] == digests[3]
    assert len(set(digests)) == 3


def test_one_lock_is_known_by_its_own_digest(tmp_path):
    """What DVC's params hold is the sha256 of the lock, as `sha256sum` tells it."""
    (tmp_path / "requirements.lock").write_text("polars==2\n")

    assert environment(tmp_path)["lock"] == locked_digest(tmp_path) == sha256_file(tmp_path / "requirements.lock")


@pytest.mark.parametrize("name", ["requirements.lock", "poetry.lock"])
def test_each_of_several_locks_counts(tmp_path, name):
    """Nobody knows which of them was installed from."""
    for lock in ("requirements.lock", "poetry.lock"):
        (tmp_path / lock).write_text("a")
    before = locked_digest(tmp_path)
    (tmp_path / name).write_text("b")

    assert before != locked_digest(tmp_path)


def test_a_machine_is_described(tmp_path):
    """Packages, Python, machine and processor are on record with each run."""
    found = environment(tmp_path)

    assert (found["lock"], set(found)) == (None, {"lock", "packages", "python", "machine", "processor"})
    assert all(found[name] for name in ("python", "machine", "processor"))
    assert {"polars", "pyarrow", "xgboost"} <= set(found["packages"])
