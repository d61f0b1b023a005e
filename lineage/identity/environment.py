"""What a run computed with: the locked dependencies, the packages that touch bytes, Python and machine."""

from __future__ import annotations

import platform
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from lineage.versions import json_digest, sha256_file

_LOCK_FILES = ("requirements.lock", "uv.lock", "poetry.lock", "pdm.lock", "requirements.txt")

# The distributions whose version can change the bytes of a table or a model.
_COMPUTING = ("polars", "pyarrow", "numpy", "xgboost", "onnx", "onnxruntime")


def environment(root: Path) -> dict[str, Any]:
    """`lock` (sha256 of the project's lock file, or None), `packages`, `python`, `machine` and `processor`.

    The lock is read each time, for a server outlives it; what this process computes with is found out once.
    """
    return {"lock": _lock(root), **_process()}


def _lock(root: Path) -> str | None:
    """The digest of the lock file; of several, one over them all, for nobody knows which was installed from."""
    found = {name: digest for name in _LOCK_FILES if (digest := sha256_file(root / name))}
    return json_digest(found) if len(found) > 1 else next(iter(found.values()), None)


@cache
def _process() -> dict[str, Any]:
    return {
        "packages": {name: _version(name) for name in _COMPUTING},
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": _processor(),
    }


def _processor() -> str:
    """The processor's own name, where the system tells it: libraries choose their instructions by it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def environment_digest(root: Path) -> str:
    """sha256 over lock and packages: what decides whether a result may be reused.

    Python version, machine and processor are recorded with each run but not part of it, so that two clean clones
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
