"""Feature values are what the model was trained on: from the table, by key, or from a request."""

import json
import math
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineage.discover import Project
from lineage.errors import DeclarationError, IntegrityError, RequestError
from lineage.plan import Workspace
from lineage.settings import Settings
from lineage.spec import Step
from lineage.versions import Version, digest_file
from serving.bundle import Bundle
from serving.features import FeatureTable, encode, plain, require_text, rows_of

SIGNATURE = {
    "name": "shop-late",
    "inputs": [
        {"name": "amount", "datatype": "FP32"},
        {"name": "rush", "datatype": "FP32"},
        {"name": "channel", "datatype": "BYTES", "categories": ["app", "web"]},
    ],
}
FEATURES = {"amount": [1.1], "rush": [True], "channel": ["web"]}


@dataclass
class Versions:
    """The part of a store that a feature table reads: current versions, and what was ever recorded."""

    now: dict[str, Version] = field(default_factory=dict)
    recorded: list[Version] = field(default_factory=list)
    asked: int = 0

    def current(self, dataset: str) -> dict[str, Version]:
        self.asked += 1
        return dict(self.now)

    def version(self, dataset: str, partition: str, sha256: str) -> Version | None:
        return next((v for v in self.recorded if (v.partition, v.sha256) == (partition, sha256)), None)


@pytest.fixture
def bundle(tmp_path) -> Bundle:
    return Bundle(tmp_path, "0" * 64, SIGNATURE, {})


@pytest.fixture
def space(tmp_path) -> Workspace:
    return Workspace(Settings(tmp_path, tmp_path / ".headwater"), Project(()), Versions())


def step(*key: str) -> Step:
    return Step("shop", "features", "table", {}, "", key=key)


def publish(space: Workspace, partition: str, **columns) -> Version:
    """Write a partition of shop/features and make it current."""
    name = f"data/tables/shop/features/{partition}.parquet"
    (space.root / name).parent.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(columns, strict=False).write_parquet(space.root / name)
    file = digest_file(space.root / name, name)
    version = Version("shop/features", partition, file.sha256, (file,))
    space.store.now[partition] = version
    space.store.recorded.append(version)
    return version


def orders(space: Workspace, partition: str, *ids: str, amount: float | None = 1.1) -> Version:
    rows = len(ids)
    return publish(
        space, partition, id=ids, amount=[amount] * rows, rush=[True] * rows, channel=["web"] * rows, secret=[7] * rows
    )


def test_a_key_leads_to_its_row(space, bundle):
    """A row knows the version and position it stands at, and holds the model's features in their order."""
    orders(space, "2020-01", "a", "b")
    february = orders(space, "2020-02", "c", "d")

    (row,) = FeatureTable(space, step("id"), bundle).look_up(["d"])

    assert (row.key, row.dataset, row.partition, row.position) == ("d", "shop/features", "2020-02", 1)
    assert row.sha256 == february.sha256
    assert list(row.features.items()) == [("amount", float(np.float32(1.1))), ("rush", 1.0), ("channel", "web")]


def test_unknown_keys_are_none(space, bundle):
    """A key that the table does not hold gives None in its place."""
    orders(space, "2020-01", "a")

    found = FeatureTable(space, step("id"), bundle).look_up(["x", "a", ""])

    assert [row and row.key for row in found] == [None, "a", None]


def test_missing_values_are_none(space, bundle):
    """Null and NaN in the table are both None."""
    publish(space, "2020-01", id=["a", "b"], amount=[None, math.nan], rush=[None, False], channel=[None, "web"])

    rows = FeatureTable(space, step("id"), bundle).look_up(["a", "b"])

    assert [tuple(row.features.values()) for row in rows] == [(None, None, None), (None, 0.0, "web")]


def test_a_composite_key_is_joined(space, bundle):
    """The columns of a composite key are joined with a bar, numbers as text."""
    publish(space, "", id=["a", "a"], line=[1, 2], amount=[1.0, 2.0], rush=[True, True], channel=["web", "app"])

    (row,) = FeatureTable(space, step("id", "line"), bundle).look_up(["a|2"])

    assert (row.position, row.features["amount"]) == (1, 2.0)


def test_the_newest_partition_speaks(space, bundle):
    """A key in two partitions is looked up in the later one."""
    orders(space, "2020-01", "a")
    orders(space, "2020-02", "a")

    (row,) = FeatureTable(space, step("id"), bundle).look_up(["a"])

    assert row.partition == "2020-02"


def test_a_new_version_is_seen(space, bundle):
    """After a partition was replaced, its new rows are found, and only its file is read again."""
    orders(space, "2020-01", "a")
    table = FeatureTable(space, step("id"), bundle, refresh_seconds=0)
    table.look_up(["a"])

    (space.root / "data/tables/shop/features/2020-01.parquet").rename(space.root / "old.parquet")
    orders(space, "2020-02", "b")

    assert all(table.look_up(["a", "b"]))


def test_versions_are_compared_once_in_a_while(space, bundle):
    """Within the refresh interval the store is asked once."""
    orders(space, "2020-01", "a")
    table = FeatureTable(space, step("id"), bundle, refresh_seconds=60)

    for _ in range(3):
        table.look_up(["a"])

    assert space.store.asked == 1


def test_changed_bytes_are_refused_by_name(space, bundle):
    """A file with bytes that nobody recorded is refused, again and again, naming it."""
    version = orders(space, "2020-01", "a")
    path = space.root / version.file.path
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    table = FeatureTable(space, step("id"), bundle)

    for _ in range(2):
        with pytest.raises(IntegrityError, match=r"2020-01\.parquet holds other bytes") as caught:
            table.look_up(["a"])

    assert caught.value.expected == version.sha256


def test_a_lost_file_is_refused_by_name(space, bundle):
    """A file that is neither in its place nor in the cache is refused, naming it."""
    (space.root / orders(space, "2020-01", "a").file.path).unlink()

    with pytest.raises(IntegrityError, match=r"2020-01\.parquet is missing"):
        FeatureTable(space, step("id"), bundle).look_up(["a"])


def test_a_file_about_to_be_replaced_does_not_disturb(space, bundle):
    """Between commit and placing, the project's file is the version before: the bytes come from the cache."""
    old = orders(space, "2020-01", "old")
    kept = (space.root / old.file.path).read_bytes()
    new = orders(space, "2020-01", "new")
    target = space.objects.path(new.file.md5)
    target.parent.mkdir(parents=True)
    (space.root / new.file.path).rename(target)
    (space.root / old.file.path).write_bytes(kept)

    assert [row and row.key for row in FeatureTable(space, step("id"), bundle).look_up(["new"])] == ["new"]


def test_a_table_that_lacks_a_feature_is_refused(space, bundle):
    """A table without one of the model's features is refused, naming file and model."""
    publish(space, "2020-01", id=["a"], amount=[1.0])

    with pytest.raises(DeclarationError, match=r"2020-01\.parquet .* 'shop-late'"):
        FeatureTable(space, step("id"), bundle).look_up(["a"])


def test_a_table_without_a_key_cannot_be_looked_up(space, bundle):
    """A table that declares no key says so."""
    orders(space, "2020-01", "a")

    with pytest.raises(DeclarationError, match=r"shop\.features declares no key"):
        FeatureTable(space, step(), bundle).look_up(["a"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"channel": None}, "feature 'channel' is null; send a list"),
        ({"amount": 1.0}, "feature 'amount' is 1.0; send a list"),
        ({"amount": []}, "feature 'rush' has 1 values and 'amount' has 0"),
        ({"amount": ["1"]}, "feature 'amount' holds '1'; send numbers"),
        ({"amount": [[1]]}, "feature 'amount' holds \\[1\\]; send numbers"),
        ({"amount": [math.inf]}, "feature 'amount' of row 0 is infinite"),
        ({"amount": [-1e39]}, "feature 'amount' of row 0 is infinite"),
        ({"amount": [10**400]}, "feature 'amount' of row 0 is infinite"),
        ({"channel": [1]}, "feature 'channel' holds 1; send a string"),
        ({"channel": ["a\0"]}, "feature 'channel' holds .* not plain Unicode"),
        ({"channel": ["\ud800"]}, "feature 'channel' holds .* not plain Unicode"),
        ({"secret": [1]}, "unknown feature 'secret'; model 'shop-late' takes amount, rush, channel"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(bundle, change, message):
    """A request with a feature of the wrong form is refused, naming the feature."""
    with pytest.raises(RequestError, match=message):
        encode(bundle, FEATURES | change)


def test_a_missing_feature_is_named(bundle):
    """A request without a feature is refused, naming it and what the model takes."""
    with pytest.raises(RequestError, match="features 'amount', 'channel' missing; model 'shop-late' takes"):
        encode(bundle, {"rush": [1]})


@given(st.lists(st.none() | st.floats(width=32, allow_infinity=False), min_size=1))
def test_float32_survives_json(values):
    """A float32 that is encoded, written as JSON and encoded again is the same float32; -0.0 is 0.0."""
    bundle = Bundle(None, "", {"name": "m", "inputs": [{"name": "x", "datatype": "FP32"}]}, {})

    once = encode(bundle, {"x": values})
    again = encode(bundle, {"x": [row["x"] for row in json.loads(json.dumps(rows_of(once), allow_nan=False))]})

    assert once["x"].tobytes() == again["x"].tobytes()
    assert [None if value is None or math.isnan(value) else value for value in values] == [
        plain(value) for value in once["x"]
    ]


def test_text_is_returned():
    """A plain string passes."""
    assert require_text("key 0", "Zürich ✈") == "Zürich ✈"
