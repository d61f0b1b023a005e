"""Models are found by name, and a bundle's copy holds exactly the bundle."""

from types import SimpleNamespace

import polars as pl
import pytest

from lineage import Pipeline, by_time, files
from lineage.discover import Project
from lineage.errors import NotFoundError
from lineage.plan import Workspace
from lineage.settings import Settings
from lineage.versions import sha256_file
from serving import registry
from serving.bundle import load_bundle, write_bundle
from serving.registry import champion_digest, copy_bundle, find_model
from serving.train import ModelSpec, Split, train


class Empty:
    """A store in which nothing was ever trained."""

    def row(self, query: str, **parameters: object) -> None:
        return None

    def rows(self, query: str, **parameters: object) -> list:
        return []


@pytest.fixture
def space(tmp_path) -> Workspace:
    shop = Pipeline("shop")
    shop.source("orders", files("data/raw/shop/orders.csv"), schema={"at": "date", "size": "int32", "late": "boolean"})
    split = by_time("at", tune_from="2020-02-01", test_from="2020-03-01")
    for name in ("late_t0", "late_t1"):
        shop.model(name, table="orders", target="late", features=["size"], split=split)
    return Workspace(Settings(tmp_path, tmp_path), Project(tuple(shop.steps.values())), Empty())


@pytest.fixture
def bundle_files(tmp_path):
    rows = pl.DataFrame({"size": range(40), "late": [size > 20 for size in range(40)]})
    trained = train(Split(rows, rows, rows), ModelSpec("late", ("size",), "binary:logistic", rounds=2))
    write_bundle(tmp_path / "bundle", trained, name="shop-late", dataset={})
    (tmp_path / "metrics.json").write_text("{}")
    return {path.name: path for path in [*(tmp_path / "bundle").iterdir(), tmp_path / "metrics.json"]}


def test_a_model_is_found_by_its_name(space):
    """The name in the registry leads to the step that declares it."""
    assert find_model(space, "shop-late-t0").full_name == "shop.late_t0"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("shop-late-t2", "did you mean shop-late-t[01] or shop-late-t[01]"), ("", "headwater models list")],
)
def test_an_unknown_model_names_the_nearest(space, name, hint):
    """A name that no model has is answered with the nearest names, or how to see them all."""
    with pytest.raises(NotFoundError, match=hint):
        find_model(space, name)


def test_an_untrained_model_says_what_to_run(space):
    """A declared model without a version says which step to run."""
    with pytest.raises(
        NotFoundError, match=r"'shop-late-t0' has not been trained yet; run `headwater run shop\.late_t0`"
    ):
        champion_digest(space, "shop-late-t0")


def test_a_copy_holds_the_bundle_and_nothing_else(tmp_path, bundle_files):
    """Files that the manifest does not name stay out, so that the copy loads."""
    copied = tmp_path / "copy"
    copied.mkdir()

    copy_bundle(bundle_files, copied)

    assert load_bundle(copied).name == "shop-late"
    assert sorted(path.name for path in copied.iterdir()) == sorted(set(bundle_files) - {"metrics.json"})


@pytest.mark.parametrize("name", ["signature", "manifest", "late"])
def test_a_model_may_be_called_like_a_file_of_its_bundle(tmp_path, bundle_files, name):
    """Metrics are data/metrics/shop/NAME.json, which is another file than the bundle's NAME.json."""
    metrics = bundle_files.pop("metrics.json")
    paths = {f"data/models/shop/{name}/{file}": path for file, path in bundle_files.items()}
    paths |= {f"data/metrics/shop/{name}.json": metrics, f"data/metrics/shop/{name}/scores.csv": metrics}
    named = [SimpleNamespace(path=path, md5=path, sha256=sha256_file(place)) for path, place in paths.items()]
    digest = sha256_file(bundle_files["manifest.json"])
    space = SimpleNamespace(
        settings=Settings(tmp_path, tmp_path / "home"), objects=SimpleNamespace(path=lambda md5: paths[md5])
    )

    loaded = registry._load(space, SimpleNamespace(dataset=f"shop/{name}", sha256=digest, files=named))

    assert (loaded.digest, loaded.name) == (digest, "shop-late")


@pytest.mark.parametrize("name", ["manifest.json", "model.ubj"])
def test_a_copy_names_the_file_that_is_lacking(tmp_path, bundle_files, name):
    """Without the manifest, or a file that it names, there is no copy."""
    del bundle_files[name]

    with pytest.raises(NotFoundError, match=name):
        copy_bundle(bundle_files, tmp_path)
