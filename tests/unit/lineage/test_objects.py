"""The object store: what is there is whole, whoever writes, dies or damages it."""

from __future__ import annotations

import hashlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from textwrap import dedent

import pytest

from lineage import objects
from lineage.errors import IntegrityError
from lineage.objects import Objects, write_bytes
from lineage.versions import FileVersion, digest_file

GOOD, OTHER = b"good" * 1000, b"other" * 1000
NAME = "data/tables/shop/features/2020-01.parquet"


def _version(data: bytes, name: str = NAME) -> FileVersion:
    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    return FileVersion(name, hashlib.sha256(data).hexdigest(), md5, len(data))


def _adopt(store: Objects, data: bytes, file: FileVersion | None = None) -> FileVersion:
    file = file or _version(data)
    with store.workshop() as folder:
        (folder / "new").write_bytes(data)
        store.adopt(folder / "new", file)
    return file


def _damage(path, data=OTHER):
    path.chmod(0o644)
    path.write_bytes(data)


@pytest.fixture
def store(tmp_path):
    """An empty object store; its project is `tmp_path`."""
    return Objects(tmp_path)


def test_an_adopted_object_is_whole_and_read_only(store):
    """What a step wrote becomes an object under its md5, and cannot be written to by accident."""
    file = _adopt(store, GOOD)

    path = store.path(file.md5)

    assert GOOD == path.read_bytes()
    assert store.is_whole(file)
    assert 0o444 == path.stat().st_mode & 0o777
    assert [file.md5[:2], file.md5[2:]] == [path.parent.name, path.name]


def test_adopting_again_changes_nothing(store):
    """The same bytes from a second run leave the object as it is, and nothing in the workshop."""
    inode = store.path(_adopt(store, GOOD).md5).stat().st_ino

    with store.workshop() as folder:
        (folder / "new").write_bytes(GOOD)
        store.adopt(folder / "new", _version(GOOD))
        left = [path.name for path in folder.iterdir() if path.name != ".lock"]

    assert inode == store.path(_version(GOOD).md5).stat().st_ino
    assert [] == left


@pytest.mark.parametrize("damaged", [b"", GOOD[:-1], OTHER])
def test_a_damaged_object_is_replaced_by_good_bytes(store, damaged):
    """Running the step again heals the cache."""
    file = _adopt(store, GOOD)
    _damage(store.path(file.md5), damaged)

    broken = store.is_whole(file)
    _adopt(store, GOOD)

    assert not broken
    assert GOOD == store.path(file.md5).read_bytes()


def test_a_damaged_listing_is_replaced(store):
    """A .dir object that DVC could not read is written again."""
    store.put_bytes(b"[]", "d0.dir")
    _damage(store.path("d0.dir"), b"[")

    store.put_bytes(b"[]", "d0.dir")

    assert b"[]" == store.path("d0.dir").read_bytes()


def test_a_copy_is_adopted_and_the_file_stays(store, tmp_path):
    """A raw file of the user's becomes an object and stays where and as it is."""
    path = tmp_path / "orders.csv"
    path.write_bytes(GOOD)

    store.adopt_copy(path, digest_file(path, "orders.csv"))

    assert GOOD == path.read_bytes() == store.path(_version(GOOD).md5).read_bytes()
    assert path.stat().st_mode & 0o200


def test_a_file_that_changed_since_is_not_adopted(store, tmp_path):
    """Bytes that are not those that were digested never become that object."""
    path = tmp_path / "orders.csv"
    path.write_bytes(OTHER)

    with pytest.raises(IntegrityError, match=rf"{NAME} changed while it was read"):
        store.adopt_copy(path, _version(GOOD))

    assert not store.path(_version(GOOD).md5).exists()


@pytest.mark.parametrize("before", [None, OTHER])
def test_a_version_is_put_into_its_place(store, tmp_path, before):
    """The file is the version, whatever stood there, and its owner's to edit without changing the cache."""
    file = _adopt(store, GOOD)
    if before:
        write_bytes(tmp_path / NAME, before)

    store.place(file)
    placed = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(OTHER)

    assert GOOD == placed
    assert store.is_whole(file)


def test_a_file_in_its_place_is_not_written_again(store, tmp_path):
    """Nothing to do is nothing done: other programs see no change."""
    file = _adopt(store, GOOD)
    store.place(file)
    before = (tmp_path / NAME).stat()

    store.place(file)

    assert before == (tmp_path / NAME).stat()


@pytest.mark.parametrize("state", ["missing", "damaged"])
def test_only_the_recorded_bytes_are_put_into_place(store, tmp_path, state):
    """A lost or damaged object is refused by name, and what stood in the place still does."""
    file = _adopt(store, GOOD)
    write_bytes(tmp_path / NAME, OTHER)
    if state == "missing":
        store.path(file.md5).unlink()
    else:
        _damage(store.path(file.md5))

    with pytest.raises(IntegrityError, match=rf"{NAME}: the stored object .*{file.md5[2:]} is {state}") as caught:
        store.place(file)

    assert OTHER == (tmp_path / NAME).read_bytes()
    assert file.sha256 == caught.value.expected


@pytest.mark.parametrize("write", ["write_bytes", "write", "place"])
def test_a_full_disk_leaves_the_old_file(store, tmp_path, monkeypatch, write):
    """A write that fails half-way changes nothing and leaves nothing behind."""
    file = _adopt(store, GOOD)
    target = tmp_path / NAME
    write_bytes(target, OTHER)

    def full(*arguments, **_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(objects, "sync", full)
    with pytest.raises(OSError, match="No space left"):
        {
            "write_bytes": lambda: write_bytes(target, GOOD),
            "write": lambda: store.write(target, GOOD),
            "place": lambda: store.place(file),
        }[write]()

    assert OTHER == target.read_bytes()
    assert [target] == list(target.parent.iterdir())


def test_a_workshop_is_gone_afterwards(store):
    """What a step left in its workshop goes with it, whether it ended well or not."""
    folders = []
    for error in (None, ValueError("no")):
        try:
            with store.workshop() as folder:
                folders.append(folder)
                (folder / "inner").mkdir()
                (folder / "inner" / "file").write_bytes(GOOD)
                if error:
                    raise error
        except ValueError:
            pass

    assert [False, False] == [folder.exists() for folder in folders]


HOLD = """
    import sys
    from pathlib import Path
    from lineage.objects import Objects
    with Objects(Path(sys.argv[1])).workshop() as folder:
        (folder / "half").write_bytes(b"x")
        print(folder, flush=True)
        sys.stdin.read()
"""


def test_a_sweep_removes_only_what_the_dead_left(store, tmp_path):
    """The kernel tells who lives: a killed process's workshop goes, a living one's stays."""
    script = [sys.executable, "-c", dedent(HOLD), str(tmp_path)]
    with subprocess.Popen(script, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        dead = child.stdout.readline().strip()
        while_it_lives = store.sweep()
        child.kill()
        child.wait()

        with store.workshop() as living:
            swept, left = store.sweep(), living.exists()

    assert (0, 1, True) == (while_it_lives, swept, left)
    assert dead not in [str(path) for path in living.parent.iterdir()]
    assert 0 == store.sweep()


def test_sweeping_nothing_is_fine(store):
    """Before anything was written there is nothing to sweep."""
    assert 0 == store.sweep()


def test_a_sweep_never_meets_a_workshop_without_its_lock(store, monkeypatch):
    """A sweep that comes just when a workshop is made waits until its lock is held, and leaves it."""
    make, sweepers = tempfile.mkdtemp, []

    def make_and_sweep(**said):
        folder = make(**said)
        sweepers.append(threading.Thread(target=store.sweep))
        sweepers[0].start()
        sweepers[0].join(0.2)
        return folder

    monkeypatch.setattr(objects.tempfile, "mkdtemp", make_and_sweep)
    with store.workshop() as folder:
        sweepers[0].join()
        left = (folder / ".lock").exists()

    assert left


WRITE = """
    import sys
    from itertools import cycle
    from pathlib import Path
    from lineage.objects import Objects, write_bytes
    from lineage.versions import FileVersion
    root, name, how = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    store, target = Objects(root), root / name
    for number, letter in enumerate(cycle(b"ab")):
        data = bytes([letter]) * 2_000_000
        if how == "place":
            store.place(FileVersion(name, *sys.argv[4:][letter % 2].split("/"), len(data)))
        else:
            write_bytes(target, data) if how == "write_bytes" else store.write(target, data)
        if not number:
            print("writing", flush=True)
"""


@pytest.mark.parametrize("how", ["write_bytes", "write", "place"])
def test_a_reader_sees_the_old_file_or_the_new_one(store, tmp_path, how):
    """A writer that is killed at any moment leaves a whole file, and a reader beside it sees only whole files."""
    # In the order in which the script asks for them: b is even, a is odd.
    versions = [_adopt(store, letter * 2_000_000, _version(letter * 2_000_000)) for letter in (b"b", b"a")]
    script = [sys.executable, "-c", dedent(WRITE), str(tmp_path), NAME, how]
    script += [f"{file.sha256}/{file.md5}" for file in versions]

    seen = []
    for moment in range(8):
        with subprocess.Popen(script, stdout=subprocess.PIPE) as child:
            child.stdout.readline()
            for _ in range(5):
                seen.append((tmp_path / NAME).read_bytes())
            time.sleep(moment * 0.0017)
            child.send_signal(signal.SIGKILL)
            child.wait()
        seen.append((tmp_path / NAME).read_bytes())

    assert {2_000_000} == {len(data) for data in seen}
    assert {1} == {len(set(data[::1000])) for data in seen}
    left = [path.name for path in (tmp_path / NAME).parent.iterdir()]
    assert how == "write_bytes" or ["2020-01.parquet"] == left
    store.sweep()
    assert [] == list((tmp_path / ".dvc" / "tmp" / "headwater").iterdir())


def test_another_file_system_is_no_obstacle(store, tmp_path):
    """Where data lie on another disk than the cache, a file is put into place there all the same."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("this machine has no second file system to write to")
    file = _adopt(store, GOOD)

    with tempfile.TemporaryDirectory(dir=memory) as folder:
        shutil.rmtree(tmp_path / "data")
        (tmp_path / "data").symlink_to(folder)
        store.place(file)
        placed, left = (tmp_path / NAME).read_bytes(), list((tmp_path / NAME).parent.iterdir())

    assert GOOD == placed
    assert [tmp_path / NAME] == left


def test_an_object_survives_its_file(store, tmp_path):
    """Deleting the data folder loses nothing: every version can be put back."""
    file = _adopt(store, GOOD)
    store.place(file)
    shutil.rmtree(tmp_path / "data")

    store.place(file)

    assert GOOD == (tmp_path / NAME).read_bytes()
