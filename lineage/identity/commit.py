"""Which commit the project stands at, as far as git knows."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True)
class Commit:
    """`sha` (40 hex digits, `+changes` appended when the work tree differs) and the repository's URL."""

    sha: str
    url: str


@lru_cache(maxsize=8)
def read_commit(root: Path) -> Commit | None:
    """The commit of the repository that `root` is in; None outside of one, before the first or without git."""
    sha = _git(root, "rev-parse", "HEAD")
    if sha is None:
        return None
    changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    remote = _git(root, "config", "--get", "remote.origin.url")
    return Commit(f"{sha}+changes" if changed else sha, repository_uri(remote) if remote else root.as_uri())


def repository_uri(remote: str) -> str:
    """A git remote as a URI without credentials, which must not travel with events.

    git's own short form `git@host:path` becomes `ssh://host/path`, a path `file://…`.
    """
    scheme, separator, rest = remote.partition("://")
    if separator:
        host, slash, path = rest.partition("/")
        return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"
    host, colon, path = remote.partition(":")
    if colon and "/" not in host:
        return f"ssh://{host.rpartition('@')[2]}/{path.lstrip('/')}"
    return Path(remote).absolute().as_uri()


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=10,
            stdin=subprocess.DEVNULL,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
