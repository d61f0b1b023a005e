"""What a run computed with: the locked dependencies, the packages that touch bytes, Python and machine."""

from __future__ import annotations

import platform
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Any

from lineage.versions import json_digest, sha256_file

_LOCK_FILES = ("requirements.lock", "uv.lock", "poetry.lock", "pdm.lock", "requirements.txt")

# The distributions whose version can change the bytes of a table or a model.
_COMPUTING = ("polars", "pyarrow", "numpy", "xgboost", "onnx", "onnxruntime")


@lru_cache(maxsize=8)
def environment(root: Path) -> dict[str, Any]:
    """`lock` (sha256 of the project's lock file, or None), `packages`, `python` and `machine`."""
    lock = next((found for name in _LOCK_FILES if (found := sha256_file(root / name))), None)
    return {
        "lock": lock,
        "packages": {name: _version(name) for name in _COMPUTING},
        "python": platform.python_version(),
        "machine": platform.machine(),
    }


def environment_digest(root: Path) -> str:
    """sha256 over lock and packages: what decides whether a result may be reused.

    Python version and machine are recorded with each run but not part of it, so that two clean clones
    agree on dvc.lock; replay names them when bits differ.
    """
    found = environment(root)
    return json_digest({"lock": found["lock"], "packages": found["packages"]})


def locked_digest(root: Path) -> str:
    """sha256 of the lock file, or over the packages where there is none: what DVC's params hold.

    The lock alone, because it names other versions for other Pythons, and clones must agree on dvc.lock.
    """
    return environment(root)["lock"] or environment_digest(root)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
