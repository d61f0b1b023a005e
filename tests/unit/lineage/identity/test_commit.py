"""Which commit a run is of, as git says it."""

from __future__ import annotations

import subprocess

import pytest

from lineage.identity.commit import Commit, read_commit, repository_uri


@pytest.fixture
def git(tmp_path):
    """Runs git in an empty repository in `tmp_path`."""

    def run(*arguments: str) -> str:
        command = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    run("init", "--quiet")
    return run


@pytest.fixture
def committed(git, tmp_path):
    """The repository with one file committed; gives the commit."""
    (tmp_path / "x").write_text("1")
    git("add", "x")
    git("commit", "--quiet", "-m", "x")
    return git("rev-parse", "HEAD")


def test_outside_of_a_repository_there_is_no_commit(tmp_path):
    """A project without git has none, and that is no error."""
    assert read_commit(tmp_path) is None


def test_before_the_first_commit_there_is_none(git, tmp_path):
    """An empty repository has none."""
    assert read_commit(tmp_path) is None


def test_without_git_there_is_none(committed, tmp_path, monkeypatch):
    """A machine without the git command runs all the same."""
    monkeypatch.setenv("PATH", str(tmp_path))

    assert read_commit(tmp_path) is None


def test_a_clean_work_tree_is_its_commit(committed, tmp_path):
    """The commit's 40 digits; a repository without a remote is known by its folder."""
    (tmp_path / "untracked").touch()

    assert Commit(committed, tmp_path.as_uri()) == read_commit(tmp_path)


def test_a_changed_work_tree_says_so(committed, tmp_path):
    """Code that nobody committed is not passed off as the commit."""
    (tmp_path / "x").write_text("2")

    assert f"{committed}+changes" == read_commit(tmp_path).sha


def test_a_remote_is_known_without_its_credentials(git, committed, tmp_path):
    """The address travels with events; the password in it does not."""
    git("remote", "add", "origin", "https://user:secret@example.org/shop.git")

    assert "https://example.org/shop.git" == read_commit(tmp_path).url


@pytest.mark.parametrize(
    ("remote", "uri"),
    [
        ("https://example.org/shop.git", "https://example.org/shop.git"),
        ("https://token@example.org/shop.git", "https://example.org/shop.git"),
        ("https://a:b@c@example.org/shop@2.git", "https://example.org/shop@2.git"),
        ("ssh://git@example.org:2222/shop.git", "ssh://example.org:2222/shop.git"),
        ("git@example.org:team/shop.git", "ssh://example.org/team/shop.git"),
        ("/srv/git/shop.git", "file:///srv/git/shop.git"),
    ],
)
def test_every_form_of_remote_is_a_uri(remote, uri):
    """git's short forms become URIs; nothing before an @ of the host stays."""
    assert uri == repository_uri(remote)
