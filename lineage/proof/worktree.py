"""The code of another commit: a git worktree outside of the project while it is needed, and a process in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from lineage.compute import Computed, Task, computed_of, task_json
from lineage.errors import NotFoundError
from lineage.settings import Settings

# Longer than any step of a table should take; a process that hangs must not hang its caller.
PATIENCE_SECONDS = 3600
PROCESS_FAILED = "ProcessFailed"
_GIT_SECONDS = 120
_LAST_LINES = 3


@contextmanager
def worktree(root: Path, commit: str | None) -> Iterator[Path]:
    """The project in `root` as it stood at `commit`, in a temporary folder; gone afterwards, whatever happens.

    Raises NotFoundError where the commit is unknown, had uncommitted changes, or is not in this repository.
    """
    sha = _committed(commit)
    top = _git(root, "rev-parse", "--show-toplevel")
    if top is None:
        raise NotFoundError(f"{root} is in no git repository, so commit {sha[:12]} cannot be had.")
    if _git(root, "cat-file", "-e", f"{sha}^{{commit}}") is None:
        raise NotFoundError(f"Commit {sha[:12]} is not in this repository; fetch it with `git fetch`.")
    with tempfile.TemporaryDirectory(prefix="headwater-") as folder:
        tree = Path(folder) / "tree"
        try:
            if _git(root, "worktree", "add", "--quiet", "--detach", str(tree), sha) is None:
                raise NotFoundError(
                    f"git could not check out commit {sha[:12]} into a worktree; see `git worktree list`."
                )
            yield tree / root.resolve().relative_to(Path(top.strip()).resolve())
        finally:
            _git(root, "worktree", "remove", "--force", str(tree))
            _git(root, "worktree", "prune")


def compute_in(
    tree: Path,
    task: Task,
    folder: Path,
    settings: Settings,
    *,
    environ: Mapping[str, str] | None = None,
    timeout_seconds: float = PATIENCE_SECONDS,
) -> Computed:
    """`task` computed in `folder` by a process of its own, with the code that lies in `tree`.

    The process gets files and no store: it can change nothing on record. A failure of it is the answer's `error`.
    """
    if (tree / "lineage").is_dir() and not (tree / "lineage" / "compute.py").exists():
        return Computed(error="the Headwater of that commit cannot replay tables yet", failed="NotFoundError")
    (folder / "task.json").write_text(json.dumps(task_json(task, settings)))
    command = [sys.executable, "-m", "lineage.compute", str(folder)]
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env={**_environ(tree, settings.root), **(environ or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=timeout_seconds,
        )
    except subprocess.TimeoutExpired:
        return Computed(error=f"{task.step}: it did not end within {timeout_seconds:g} s", failed=PROCESS_FAILED)
    answer = folder / "answer.json"
    if done.returncode or not answer.exists():
        last = " / ".join(done.stderr.strip().splitlines()[-_LAST_LINES:])
        return Computed(error=f"{task.step}: its process ended with {done.returncode}: {last}", failed=PROCESS_FAILED)
    return computed_of(json.loads(answer.read_text()))


def _committed(commit: str | None) -> str:
    if not commit:
        raise NotFoundError("the run recorded no commit, for the project was in no git repository; replay without it.")
    sha, changes, _ = commit.partition("+")
    if changes:
        raise NotFoundError(
            f"the run was made at commit {sha[:12]} with changes that were not committed, which git does not have; "
            "replay with the present code."
        )
    return sha


def _environ(tree: Path, root: Path) -> dict[str, str]:
    """This process's environment, with the modules of the worktree in place of the project's, and no database."""
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [path for path in paths if path and Path(path).resolve() != root.resolve()]
    found = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "DVC_STAGE")}
    # Its bytecode would lie in a folder that is about to go.
    return {**found, "PYTHONPATH": os.pathsep.join([str(tree), *kept]), "PYTHONDONTWRITEBYTECODE": "1"}


def _git(root: Path, *arguments: str) -> str | None:
    """What git says, None where it refuses or is not there."""
    command = ["git", "-C", str(root), *arguments]
    # A hook of the repository is not ours to run.
    options = {
        **os.environ,
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": "core.hooksPath",
        "GIT_CONFIG_VALUE_0": "/dev/null",
    }
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env=options,
            timeout=_GIT_SECONDS,
            stdin=subprocess.DEVNULL,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
