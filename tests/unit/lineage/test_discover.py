"""Pipelines are found by the name of their package; what is wrong with one is said with its place."""

from __future__ import annotations

import sys
from textwrap import dedent

import pytest

from lineage.discover import Project, discover
from lineage.errors import DeclarationError, NotFoundError
from lineage.settings import Settings

SHOP = """
    from lineage import Pipeline, by_time, files
    shop = Pipeline("shop")
    shop.source("orders", files("data/raw/orders.csv"), schema={"id": "string"})
    shop.source("visits", files("data/raw/visits.csv"), schema={"id": "string"})
    @shop.table(key="id")
    def clean(orders): return orders
    @shop.table(key="id")
    def features(clean, visits): return clean
    @shop.table(key="id")
    def totals(visits): return visits
    shop.model("late", table="features", target="t", features=["id"],
               split=by_time("at", tune_from="2020-01-01", test_from="2020-02-01"))
"""
STORE = """
    from lineage import Pipeline, files
    store = Pipeline("store")
    store.source("orders", files("data/raw/stock.csv"), schema={"id": "string"})
"""


@pytest.fixture
def found(tmp_path, importable, write_files, request):
    """Discovers the pipelines of a package that holds these files (its name is the test's own)."""
    name = "".join(letter for letter in request.node.name if letter.isalnum())[-40:].lower()
    name = f"found_{name}"

    def find(files: dict[str, str], pipelines: str = name) -> Project:
        write_files(tmp_path, {f"{name}/{path}": dedent(text) for path, text in files.items()})
        with importable(tmp_path):
            return discover(Settings(root=tmp_path, home=tmp_path, pipelines=pipelines))

    find.package = name
    return find


def test_every_pipeline_of_the_package_is_found(found):
    """In the package itself, in its modules, and in packages inside; in the order of their names."""
    project = found(
        {
            "b.py": SHOP,
            "a/deep.py": STORE,
            "__init__.py": STORE.replace("store", "mine"),
            "c.py": "from .b import shop\nnothing = 1",
        }
    )

    names = list(dict.fromkeys(step.pipeline for step in project.steps))

    assert ["mine", "store", "shop"] == names
    assert 1 == sum(step.full_name == "shop.orders" for step in project.steps)


def test_a_pipeline_may_go_on_in_another_module(found):
    """A module that imports a pipeline can add steps to it."""
    project = found({"b.py": SHOP, "c.py": "from .b import shop\n@shop.table()\ndef more(totals): return totals"})

    assert "shop.more" == project.step("shop.more").full_name


def test_steps_stand_after_what_they_read(found):
    """Running them in their order never meets an input that does not exist yet."""
    project = found({"b.py": SHOP, "a.py": STORE})

    order = {step.full_name: number for number, step in enumerate(project.steps)}

    assert all(order[read.full_name] < order[step.full_name] for step in project.steps for read in project.inputs(step))
    assert ["shop.late"] == [step.full_name for step in project.models()]


@pytest.mark.parametrize(
    ("start", "reached"),
    [
        (["shop.orders"], ["shop.orders", "shop.clean", "shop.features", "shop.late"]),
        (["shop.visits"], ["shop.visits", "shop.features", "shop.totals", "shop.late"]),
        (["shop.totals", "shop.features"], ["shop.features", "shop.totals", "shop.late"]),
        (["shop.late"], ["shop.late"]),
        ([], []),
    ],
)
def test_downstream_is_everything_that_reads_it(found, start, reached):
    """Directly or not, each once, in running order; a step of the same name in another pipeline is not meant."""
    project = found({"b.py": SHOP, "a.py": STORE})

    steps = project.downstream(tuple(project.step(name) for name in start))

    assert reached == [step.full_name for step in steps]


@pytest.mark.parametrize("name", ["shop.features", "shop/features"])
def test_a_step_has_two_spellings(found, name):
    """The name of the job and the name of the dataset both find it."""
    assert "shop.features" == found({"b.py": SHOP}).step(name).full_name


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("shop.feature", "shop.features"),
        ("features", "shop.features"),
        ("store/order", "store.orders"),
        ("zzz", None),
        ("", None),
    ],
)
def test_an_unknown_step_is_answered_with_the_nearest(found, name, nearest):
    """Who misspells is told what there is."""
    project = found({"b.py": SHOP, "a.py": STORE})

    with pytest.raises(NotFoundError, match=f"no step '{name}'") as caught:
        project.step(name)

    assert nearest == next(iter(caught.value.candidates), None)
    assert f"did you mean {nearest}" in str(caught.value) or "`headwater list`" in str(caught.value)


BROKEN = {
    "raises": ("1 / 0", r"\.broken: cannot be imported \(ZeroDivisionError: division by zero\)"),
    "is no Python": ("def f(:", r"\.broken: cannot be imported \(SyntaxError"),
    "imports what is not there": ("import no_such_thing", r"\.broken: cannot be imported \(No module named 'no_such"),
    "takes what is not there": ("from json import no_such", r"\.broken: cannot be imported \(ImportError.*no_such"),
    "declares the impossible": (SHOP + "    shop.table()(len)", "shop: <built-in function len> is no function"),
}


@pytest.mark.parametrize(("text", "said"), BROKEN.values(), ids=BROKEN)
def test_a_broken_module_is_named_with_its_cause(found, text, said):
    """No pipeline is left out in silence because its module fails."""
    with pytest.raises(DeclarationError, match=said):
        found({"broken.py": text, "fine.py": SHOP})


def test_two_pipelines_of_one_name_are_refused(found):
    """The message has both places."""
    with pytest.raises(DeclarationError, match=r"Pipeline 'shop' is declared in both found_\w+\.a and found_\w+\.b"):
        found({"a.py": SHOP, "b.py": SHOP})


def test_two_models_of_one_name_in_the_registry_are_refused(found):
    """`shop_eu.late` and `shop.eu_late` would be one model."""
    with pytest.raises(DeclarationError, match=r"shop\.eu_late and shop_eu\.late would both be 'shop-eu-late'"):
        found({"a.py": SHOP.replace('"late"', '"eu_late"'), "b.py": SHOP.replace('"shop"', '"shop_eu"')})


def test_no_package_is_answered_with_what_to_do(found, tmp_path):
    """A project without pipelines is told where they go."""
    with pytest.raises(DeclarationError, match=r"no package 'pipelines_of_nobody' in .* HEADWATER_PIPELINES"):
        found({}, "pipelines_of_nobody")


def test_a_package_without_pipelines_is_an_empty_project(found):
    """Nothing declared is no error."""
    assert () == found({"a.py": "x = 1"}).steps


def test_a_module_that_misses_a_package_is_not_taken_for_a_missing_one(found):
    """Only the package that the setting names is asked for; what its modules lack is their error."""
    with pytest.raises(DeclarationError, match=r"__init__|cannot be imported \(No module named 'nothing_here'\)"):
        found({"__init__.py": "import nothing_here"})


def test_the_project_is_importable_afterwards(found, tmp_path):
    """Steps import their own modules when they run: the root is on the path, once."""
    found({"b.py": SHOP})

    assert 1 >= sys.path.count(str(tmp_path))
