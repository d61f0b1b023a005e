"""The public names of `lineage`: what an author needs, and nothing by accident."""

from __future__ import annotations

import inspect

import pytest

import lineage


def test_all_is_sorted():
    """`__all__` is in order, and no name is in it twice."""
    assert sorted(set(lineage.__all__)) == lineage.__all__


def test_all_is_what_there_is():
    """What the package imports for others to use is what it says it exports."""
    public = {name for name, value in vars(lineage).items() if not name.startswith("_") and not inspect.ismodule(value)}

    assert set(lineage.__all__) == public


@pytest.mark.parametrize("name", lineage.__all__)
def test_every_name_says_what_one_gets(name):
    """A public name has a docstring that is a sentence."""
    first = (inspect.getdoc(getattr(lineage, name)) or "").partition("\n\n")[0]

    assert first.endswith(".")


@pytest.mark.parametrize("name", [name for name in lineage.__all__ if inspect.isclass(getattr(lineage, name))])
def test_every_method_is_documented(name):
    """The methods that an author calls say what they do."""
    methods = inspect.getmembers(getattr(lineage, name), inspect.isfunction)

    assert [] == [method for method, value in methods if not method.startswith("_") and not inspect.getdoc(value)]
