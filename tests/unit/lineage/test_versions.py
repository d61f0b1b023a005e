"""Identity of bytes: ours, and the one by which DVC knows them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from lineage.errors import IntegrityError
from lineage.objects import Objects
from lineage.versions import (
    FileVersion,
    Version,
    canonical_json,
    digest_file,
    directory_md5,
    files_from_json,
    files_to_json,
    json_digest,
    require_bytes,
    sha256_file,
)

DVC = Path(sys.executable).parent / "dvc"
TREE = {
    "2020-01.parquet": b"one",
    "2020-02.parquet": b"two",
    "10.csv": b"ten",
    "9.csv": b"nine",
    "a-b": b"before a slash",
    "a/b": b"slash",
    "a.b": b"between",
    "a/c/d": b"deep",
    "Z": b"upper",
    "z": b"lower",
    "Zürich ✈": b"letters",
    ".hidden": b"dot",
    "with space": b"",
    'quote"': b"same",
    "twin": b"same",
}


def test_a_file_is_known_by_its_digests(tmp_path):
    """sha256 is its identity, md5 its address in DVC's cache; both over all bytes."""
    data = b"0123456789" * 300_000
    (tmp_path / "x").write_bytes(data)

    found = digest_file(tmp_path / "x", "data/x")

    md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
    assert FileVersion("data/x", hashlib.sha256(data).hexdigest(), md5, 3_000_000) == found
    assert found.sha256 == sha256_file(tmp_path / "x")


def test_no_file_has_no_digest(tmp_path):
    """What is not there is None, not an error: callers compare."""
    assert sha256_file(tmp_path / "x") is None


@pytest.mark.parametrize(("data", "said"), [(None, "data/x is missing"), (b"other", "data/x holds other bytes")])
def test_other_bytes_are_refused_by_name(tmp_path, data, said):
    """Bytes that are not the recorded version are named with both digests and what to do."""
    if data is not None:
        (tmp_path / "x").write_bytes(data)
    expected = hashlib.sha256(b"good").hexdigest()

    with pytest.raises(IntegrityError, match=f"{said}.*{expected[:12]}.*headwater run") as caught:
        require_bytes(tmp_path / "x", expected, "data/x")

    assert (expected, sha256_file(tmp_path / "x")) == (caught.value.expected, caught.value.found)


def test_the_recorded_bytes_pass(tmp_path):
    """The recorded version is read without a word."""
    (tmp_path / "x").write_bytes(b"good")

    assert require_bytes(tmp_path / "x", hashlib.sha256(b"good").hexdigest(), "data/x") is None


def test_a_folder_is_known_as_dvc_knows_it(tmp_path):
    """The identity of a folder is the one that DVC itself computes, and the listing lies where DVC keeps it."""
    for name, data in TREE.items():
        (tmp_path / "folder" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / name).write_bytes(data)
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text("[core]\n    no_scm = true\n    analytics = false\n")
    subprocess.run([DVC, "add", "--quiet", "folder"], cwd=tmp_path, check=True, capture_output=True)
    (theirs,) = YAML(typ="safe").load(tmp_path / "folder.dvc")["outs"]

    md5, listing = directory_md5({name: digest_file(tmp_path / "folder" / name, name).md5 for name in TREE})

    objects = Objects(tmp_path)
    assert (theirs["md5"], theirs["nfiles"]) == (md5, len(TREE))
    assert listing == objects.path(md5).read_bytes()
    assert all(objects.is_whole(digest_file(tmp_path / "folder" / name, name)) for name in TREE)


def test_a_folder_does_not_depend_on_the_order_of_its_files():
    """A folder is what it holds."""
    entries = {name: hashlib.md5(data, usedforsecurity=False).hexdigest() for name, data in TREE.items()}

    assert directory_md5(entries) == directory_md5(dict(reversed(entries.items())))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
).filter(lambda value: not any("\ud800" <= letter <= "\udfff" for letter in json.dumps(value, ensure_ascii=False)))


@given(json_values)
def test_json_has_one_form(value):
    """A value survives its canonical form, and every way to write it has the same form."""
    form = canonical_json(value)

    assert value == json.loads(form)
    assert form == canonical_json(json.loads(json.dumps(value, indent=3)))


def test_the_form_of_json_is_fixed():
    """Manifests are signed over these very bytes: keys sorted, no spaces, UTF-8."""
    assert '{"a":[1,2.5,null],"b":"ü"}'.encode() == canonical_json({"b": "ü", "a": (1, 2.5, None)})
    assert "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" == json_digest({})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x"])
def test_what_is_no_json_has_no_form(value):
    """NaN would be read differently by everybody; it is refused."""
    with pytest.raises((TypeError, ValueError)):
        canonical_json(value)


def test_files_survive_the_store():
    """File versions come back from their JSON as they were."""
    files = (FileVersion("a", "1", "2", 3), FileVersion("b", "4", "5", 6))

    assert files == files_from_json(json.loads(json.dumps(files_to_json(files))))


def test_a_version_has_one_file_or_says_so():
    """`file` is for what is one file; a bundle has several, and their sizes add up."""
    one, two = FileVersion("a", "1", "2", 3), FileVersion("b", "4", "5", 6)

    assert one == Version("shop/orders", "", "1", (one,)).file
    assert 9 == Version("shop/late", "", "1", (one, two)).size_bytes
    with pytest.raises(ValueError, match="too many values"):
        _ = Version("shop/late", "", "1", (one, two)).file
