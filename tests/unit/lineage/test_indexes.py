"""Indexes: built once, whole or built again, and never in the way of one another."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from lineage.indexes import arrays, index, open_arrays, save

NAME, OTHER = "ab" * 32, "cd" * 32
STARTS = np.array([3, 1, 4, 1, 5], dtype=np.uint32)


class Builder:
    """Builds the same small index each time, and counts."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        save(folder, starts=STARTS, none=np.empty(0, np.uint64))


@pytest.fixture
def build():
    """A builder that was not called yet."""
    return Builder()


def _left(home: Path) -> list[str]:
    """What lies under `home` beside indexes."""
    return [path.name for path in (home / "indexes").iterdir() if len(path.name) != 2]


def _other_home(home: Path, tmp_path: Path) -> Path:
    """A copy, with times, that this process has not opened yet."""
    return shutil.copytree(home, tmp_path / "copy")


def test_an_index_is_built_once(tmp_path, build):
    """The second caller gets the folder that the first one built."""
    first = index(tmp_path, NAME, build)
    second = index(tmp_path, NAME, build)

    assert tmp_path / "indexes" / "ab" / NAME == first == second
    assert 1 == build.calls


def test_arrays_are_mapped_by_name(tmp_path, build):
    """What was saved under a keyword is found under it, in its type, and cannot be written to."""
    found = arrays(index(tmp_path, NAME, build))

    assert {"starts": np.ndarray, "none": np.ndarray} == {name: type(value) for name, value in found.items()}
    assert [3, 1, 4, 1, 5] == found["starts"].tolist()
    assert (np.uint32, np.uint64, 0) == (found["starts"].dtype, found["none"].dtype, len(found["none"]))
    with pytest.raises(ValueError, match="read-only"):
        found["starts"][0] = 2


def test_only_the_owner_reads_an_index(tmp_path, build):
    """An index holds keys of people's data: files 0600, folders 0700."""
    folder = index(tmp_path / "home", NAME, build)

    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (folder, folder.parent, folder.parent.parent)}
    assert {0o700} == set(modes.values())
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


def test_a_build_that_raises_leaves_nothing(tmp_path, build):
    """The error passes through, no file stays, and the next caller builds."""

    def fail(folder: Path) -> None:
        build(folder)
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        index(tmp_path, NAME, fail)

    assert [] == list((tmp_path / "indexes").iterdir())
    assert [3, 1, 4, 1, 5] == open_arrays(tmp_path, NAME, build)["starts"].tolist()


def test_a_deleted_index_is_built_again(tmp_path, build):
    """Indexes may be deleted at any time: who has one open goes on, who asks gets a new one."""
    before = open_arrays(tmp_path, NAME, build)
    shutil.rmtree(tmp_path / "indexes")

    after = open_arrays(tmp_path, NAME, build)

    assert 2 == build.calls
    assert [3, 1, 4, 1, 5] == before["starts"].tolist() == after["starts"].tolist()


def _flip(path: Path) -> None:
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    while path.stat().st_ctime_ns == before.st_ctime_ns:  # the kernel's clock is coarse
        path.chmod(0o600)


DAMAGE = {
    "a flipped byte": lambda folder: _flip(folder / "starts.npy"),
    "a truncated file": lambda folder: os.truncate(folder / "starts.npy", 130),
    "an emptied file": lambda folder: os.truncate(folder / "starts.npy", 0),
    "a missing file": lambda folder: (folder / "starts.npy").unlink(),
    "a file too many": lambda folder: shutil.copy(folder / "none.npy", folder / "other.npy"),
    "two exchanged files": lambda folder: shutil.copy(folder / "none.npy", folder / "starts.npy"),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "a truncated manifest": lambda folder: os.truncate(folder / "manifest.json", 20),
    "a manifest of something else": lambda folder: (folder / "manifest.json").write_text("[]"),
    "no files": lambda folder: [path.unlink() for path in folder.iterdir()],
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_index_is_built_again(tmp_path, build, damage):
    """Whatever happened to its files, the arrays are the right ones, and nothing is left of the damage."""
    home = tmp_path / "home"
    index(home, NAME, build)
    other = _other_home(home, tmp_path)
    damage(other / "indexes" / "ab" / NAME)

    found = open_arrays(other, NAME, build)

    assert 2 == build.calls
    assert [3, 1, 4, 1, 5] == found["starts"].tolist()
    assert {"starts", "none"} == set(found)
    assert [] == _left(other)


def test_damage_is_seen_though_the_index_was_read_before(tmp_path, build):
    """Files that changed since this process last looked are compared again, whatever their times say."""
    path = index(tmp_path, NAME, build) / "starts.npy"
    index(tmp_path, NAME, build)
    _flip(path)

    found = open_arrays(tmp_path, NAME, build)

    assert 2 == build.calls
    assert [3, 1, 4, 1, 5] == found["starts"].tolist()


def test_two_builders_at_once_are_fine(tmp_path, build):
    """Both get the one index; the work of the later one is thrown away."""
    both = threading.Barrier(2, timeout=30)
    found: list[Path] = []

    def build_together(folder: Path) -> None:
        build(folder)
        both.wait()

    threads = [
        threading.Thread(target=lambda: found.append(index(tmp_path, NAME, build_together)), daemon=True)
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert 2 == build.calls == len(found)
    assert found[0] == found[1]
    assert [3, 1, 4, 1, 5] == arrays(found[0])["starts"].tolist()
    assert [] == _left(tmp_path)


def test_the_faster_builder_s_work_stays(tmp_path, build):
    """Who is late does not replace what others may be reading."""
    faster: list[int] = []

    def build_late(folder: Path) -> None:
        build(folder)
        faster.append(index(tmp_path, NAME, build).stat().st_ino)

    folder = index(tmp_path, NAME, build_late)

    assert faster == [folder.stat().st_ino]
    assert 2 == build.calls


def test_what_a_killed_builder_left_is_removed_and_no_living_one_s(tmp_path, build):
    """After kill -9 in the middle of a build: nothing of it is ever read, and the next build sweeps it."""
    killed = dedent(f"""
        import os, signal
        from pathlib import Path
        from lineage.indexes import index

        def build(folder):
            (folder / "starts.npy").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)

        index(Path({str(tmp_path)!r}), {NAME!r}, build)
    """)
    done = subprocess.run([sys.executable, "-c", killed], timeout=60, check=False)
    (dead,) = _left(tmp_path)

    def build_while_another_does(folder: Path) -> None:
        build(folder)
        index(tmp_path, OTHER, build)

    folder = index(tmp_path, NAME, build_while_another_does)

    assert -signal.SIGKILL == done.returncode
    assert dead.startswith(".headwater-")
    assert [] == _left(tmp_path)
    assert [3, 1, 4, 1, 5] == arrays(folder)["starts"].tolist()


def test_indexes_are_kept_apart(tmp_path, build):
    """Each name has its own folder, also where names begin alike."""
    near = NAME[:-1] + "c"
    open_arrays(tmp_path, NAME, build)

    found = open_arrays(tmp_path, near, lambda folder: save(folder, starts=STARTS[:2]))

    assert [3, 1] == found["starts"].tolist()
    assert [3, 1, 4, 1, 5] == open_arrays(tmp_path, NAME, build)["starts"].tolist()
