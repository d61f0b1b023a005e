"""What DVC's own files in the working tree name: the objects that `dvc checkout` and `dvc repro` need in the cache."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from lineage.errors import IntegrityError, SettingsError
from lineage.objects import Objects

_FOLDER = ".dir"
_LISTING = re.compile(r"[0-9a-f]{32}\.dir")


def tracked_md5s(root: Path, objects: Objects) -> set[str]:
    """The md5 of every object that a dvc.lock or a `*.dvc` file below `root` names, folders' files included.

    Raises SettingsError naming a file that cannot be read, IntegrityError naming a damaged listing of a folder:
    what is in it could not be known.
    """
    found = {md5 for path in _files(root) for md5 in _md5s(_read(path, root))}
    for md5 in [name for name in found if name.endswith(_FOLDER)]:
        path = objects.path(md5)
        if not path.exists():
            continue
        if not is_whole_listing(path, md5):
            raise IntegrityError(
                f"{path.relative_to(root)}, the listing of a folder that DVC tracks, is damaged; remove it, then "
                "`headwater run` (or `dvc pull`) brings it back.",
                str(path),
                md5,
                None,
            )
        found |= {entry["md5"] for entry in json.loads(path.read_bytes())}
    return found


def listings(root: Path) -> Iterator[tuple[str, str]]:
    """(folder, md5 of its listing) of every folder that the project's dvc.lock names as an output, as far as it can be
    read."""
    path = root / "dvc.lock"
    with suppress(SettingsError, AttributeError, TypeError, KeyError):
        stages = (_read(path, root) or {}).get("stages") or {} if path.is_file() else {}
        for stage in stages.values():
            for out in stage.get("outs") or []:
                if _LISTING.fullmatch(str(out.get("md5", ""))):
                    yield out["path"], out["md5"]


def is_whole_listing(path: Path, md5: str) -> bool:
    """Whether a `.dir` object is a file with the bytes of its name."""
    try:
        # Asked first: reading a pipe waits for who writes to it.
        data = path.read_bytes() if path.is_file() else None
    except OSError:
        return False
    return data is not None and f"{hashlib.md5(data, usedforsecurity=False).hexdigest()}{_FOLDER}" == md5


def _files(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(folder, name) for name in names if name == "dvc.lock" or name.endswith(".dvc"))


def _read(path: Path, root: Path) -> Any:
    try:
        return YAML(typ="safe").load(path.read_text())
    except Exception as error:  # ruamel raises many kinds; all mean the same to the reader
        raise SettingsError(
            f"{path.relative_to(root)} is not readable as YAML, so what it needs is not known; restore it first."
        ) from error


def _md5s(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("md5"), str):
            yield value["md5"]
        yield from (md5 for item in value.values() for md5 in _md5s(item))
    elif isinstance(value, list):
        yield from (md5 for item in value for md5 in _md5s(item))
