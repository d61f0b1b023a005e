"""`headwater suite propose` and `headwater suite check`: drafts that hold, and promises about columns that are gone."""

import json

import polars as pl
import pytest

from validations.references import columns_read
from validations.suite import read_suite

PACKAGE = "depot_suites"
SUITES = "validations/suites/shop"


@pytest.fixture(scope="module")
def shop(make_shop):
    """A shop whose orders and features are checked."""
    shop = make_shop(PACKAGE)
    shop.edit(f"{PACKAGE}/shop.py", "by_time, files", "by_time, files, suite")
    shop.edit(f"{PACKAGE}/shop.py", '"late": "boolean"},\n', '"late": "boolean"},\n    checks=suite("orders"),\n')
    shop.edit(f"{PACKAGE}/shop.py", 'key="id", ', 'key="id", checks=suite("features"), ')
    for name in ("orders", "features"):
        write(shop, name, promise("not_be_null", column="id"))
    shop.run()
    return shop


@pytest.fixture(autouse=True)
def good_suites(shop):
    """Each test begins with two suites that hold."""
    for path in shop.path(SUITES).glob("*.json"):
        path.unlink()
    for name in ("orders", "features"):
        write(shop, name, promise("not_be_null", column="id"))


def promise(kind, **kwargs):
    return {"type": f"expect_column_values_to_{kind}", "kwargs": kwargs, "severity": "critical"}


def write(shop, name, *promises):
    shop.write(f"{SUITES}/{name}.json", json.dumps({"name": name, "expectations": promises, "meta": {}}))


# --- propose


def test_a_draft_is_a_suite_of_all_partitions(headwater, shop):
    """It is printed, the same each time, and holds for every month."""
    (code, out, err), (_, again, _) = (headwater("suite", "propose", "shop.features") for _ in range(2))

    assert (code, err, again) == (0, "", out)
    suite = json.loads(out)
    assert suite["name"] == "features"
    assert suite["expectations"][1]["notes"] == "84 rows when this was drafted."
    kept = len(suite["expectations"])
    shop.write("draft.json", out)
    for month in ("2020-01", "2020-02", "2020-03"):
        code, out, _ = headwater("validate", f"data/tables/shop/features/{month}.parquet", "--suite", "draft.json")
        assert (code, out) == (0, f"features: {kept} of {kept} expectations hold.\n")


def test_a_draft_of_one_partition(headwater, shop):
    """Only its rows are looked at."""
    _, out, _ = headwater("suite", "propose", "shop.features", "--partition", "2020-02")

    assert json.loads(out)["expectations"][1]["notes"] == "28 rows when this was drafted."


def test_a_draft_is_written_once(headwater, shop):
    """A file that somebody edited is not lost; its name is the suite's."""
    path = f"{SUITES}/drafted.json"

    first, again, forced = (
        headwater("suite", "propose", "shop.orders", "--out", path, *more) for more in ((), (), ("--force",))
    )

    assert [first[0], again[0], forced[0]] == [0, 1, 0]
    assert first[1] == forced[1]
    assert again[2] == f"headwater: {path} exists; name another file, or replace it with --force.\n"
    assert read_suite(shop.path(path)).name == "drafted"


def test_a_file_is_read_as_validate_reads_it(headwater, shop):
    """What is drafted from a CSV or Parquet file holds for it."""
    shop.write("some.csv", "id,day,share\n" + "".join(f"N{n},2020-01-{n % 28 + 1:02d},0.{n}\n" for n in range(40)))
    pl.read_csv(shop.path("some.csv")).write_parquet(shop.path("some.parquet"))

    for name in ("some.csv", "some.parquet"):
        code, out, _ = headwater("suite", "propose", name)
        suite = json.loads(out)
        shop.write("draft.json", out)

        assert (code, suite["name"]) == (0, "some")
        assert headwater("validate", name, "--suite", "draft.json")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("propose shop.feature", "did you mean shop.features"),
        ("propose shop.late_t0", "shop.late_t0 is a model"),
        ("propose shop.totals --partition 2020-01", "shop.totals has no partitions"),
        ("propose shop.features --partition 2020-1", "did you mean 2020-01"),
        ("propose shop.features --partition March", "2020-01 to 2020-06"),
        ("propose shop.features --partition 2020-05", "shop.features[2020-05] has no file in data/tables"),
        ("propose nothing.parquet", "no file nothing.parquet"),
        ("check shop/order", "did you mean shop/orders"),
        ("check nothing", "there are shop/features, shop/orders"),
    ],
)
def test_what_is_not_there_is_named(headwater, words, said):
    """One sentence, and 1."""
    code, out, err = headwater("suite", *words.split())

    assert (code, out, err.count("\n")) == (1, "", 1)
    assert err.startswith("headwater: ")
    assert said in err


@pytest.mark.parametrize(
    "words",
    ["", "burn", "propose", "propose a b", "propose some.csv --partition 2020-01", "propose shop.orders --force"],
)
def test_a_wrong_use_ends_with_2(headwater, words):
    """With the usage, or what does not go together."""
    code, out, err = headwater("suite", *words.split())

    assert (code, out) == (2, "")
    assert err.startswith(("usage: headwater", "headwater: --"))


@pytest.mark.parametrize("words", [["suite"], ["suite", "propose"], ["suite", "check"]])
def test_help_has_an_example(headwater, words):
    """As every verb's."""
    code, out, _ = headwater(*words, "--help")

    assert code == 0
    assert f"example: headwater {' '.join(words)}" in out


# --- check


def test_suites_that_fit_are_good(headwater):
    """0, and how much was looked at."""
    assert headwater("suite", "check") == (0, "2 suites with 2 expectations: nothing wrong.\n", "")


def test_a_column_that_is_gone_is_found(headwater, shop):
    """Each place with suite, position, type, column and the nearest names; in a source by its declaration."""
    write(
        shop,
        "features",
        promise("not_be_null", column="id"),
        promise("be_between", column="prise", min_value=0),
        {"type": "expect_compound_columns_to_be_unique", "kwargs": {"column_list": ["id", "shop"]}},
        promise(
            "be_null",
            column="cents",
            row_condition={"type": "pass_through", "pass_through_filter": "prise.isna() != (`my cents` == 0)"},
        ),
    )
    write(shop, "orders", promise("not_be_null", column="customer"))

    (code, out, err), (_, text, _) = headwater("suite", "check", "--json"), headwater("suite", "check")

    found = json.loads(out)
    places = [(item["suite"], item["position"], item["column"], item["nearest"]) for item in found["findings"]]
    assert (code, err, found["success"], found["expectations"]) == (1, "", False, 5)
    assert places == [
        (f"{SUITES}/features.json", 2, "prise", ["price"]),
        (f"{SUITES}/features.json", 3, "shop", []),
        (f"{SUITES}/features.json", 4, "my cents", ["cents"]),
        (f"{SUITES}/features.json", 4, "prise", ["price"]),
        (f"{SUITES}/orders.json", 1, "customer", []),
    ]
    assert text.splitlines()[0] == (
        f"WRONG   {SUITES}/features.json: expectation 2 (expect_column_values_to_be_between) reads 'prise', "
        "which shop.features lacks; did you mean price?"
    )
    assert text.splitlines()[-1] == "2 suites with 5 expectations: 5 wrong."


def test_only_what_is_asked_for_is_looked_at(headwater, shop):
    """By name or by file."""
    write(shop, "orders", promise("not_be_null", column="customer"))

    named, by_file, other = (
        headwater("suite", "check", name)[0] for name in ("shop/orders", f"{SUITES}/orders.json", "shop/features")
    )

    assert (named, by_file, other) == (1, 1, 0)


def test_what_cannot_be_used_is_found(headwater, shop):
    """A file that is no JSON, and of another every expectation that is unknown or wrong, with its position."""
    shop.write(f"{SUITES}/orders.json", "{")
    write(
        shop,
        "features",
        promise("be_nul", column="id"),
        promise("not_be_null", column="gone"),
        promise("be_in_set", column="id", value_set=3),
        "nonsense",
    )

    code, out, _ = headwater("suite", "check", "--json")

    found = {(item["problem"], item["suite"].split("/")[-1], item["position"]) for item in json.loads(out)["findings"]}
    texts = " ".join(item["text"] for item in json.loads(out)["findings"])
    assert code == 1
    assert found == {
        ("suite", "orders.json", None),
        ("expectation", "features.json", 1),
        ("column", "features.json", 2),
        ("expectation", "features.json", 3),
        ("expectation", "features.json", 4),
    }
    assert "did you mean expect_column_values_to_be_null" in texts
    assert str(shop.root) not in texts


def test_a_suite_that_is_missing_is_wrong_and_one_that_nobody_uses_is_not(headwater, shop):
    """Without its suite a step cannot run; a draft hurts nobody."""
    shop.path(f"{SUITES}/orders.json").unlink()
    write(shop, "draft")

    (code, out, _), (draft_code, draft, _) = headwater("suite", "check"), headwater("suite", "check", "shop/draft")

    assert code == 1
    assert "WRONG   shop.orders: its checks name suite 'orders'" in out
    assert out.endswith("3 suites with 1 expectation: 1 wrong, 1 warning.\n")
    assert (draft_code, draft.split()[0]) == (0, "warning")


def test_a_step_that_never_ran_is_told(headwater, shop):
    """Its columns are not known, which is nobody's mistake."""
    folder = shop.path("data/tables/shop/features")
    folder.rename(shop.path("data/tables/shop/elsewhere"))
    try:
        code, out, _ = headwater("suite", "check")
    finally:
        shop.path("data/tables/shop/elsewhere").rename(folder)

    assert code == 0
    assert "shop.features has no version in data/tables" in out


@pytest.mark.parametrize(
    ("kwargs", "columns"),
    [
        ({"column_A": "a", "column_B": "b"}, ["a", "b"]),
        ({"column_set": ["a", "b"]}, ["a", "b"]),
        ({"min_value": 1}, []),
        ({"column": "a", "row_condition": "b > 1 and @limit < `c d`"}, ["a", "b", "c d"]),
        ({"column": "a", "row_condition": 'col("b").notnull()'}, ["a", "b"]),
        ({"row_condition": "abs(a) > 1 and b.map(b.value_counts()) == 2"}, ["a", "b", "b"]),
        ({"row_condition": "not a query ("}, []),
        (
            {
                "row_condition": {
                    "type": "and",
                    "conditions": [
                        {"type": "nullity", "column": {"name": "a"}, "is_null": True},
                        {"type": "comparison", "column": {"name": "b"}, "operator": "==", "parameter": "c"},
                    ],
                }
            },
            ["a", "b"],
        ),
    ],
)
def test_columns_are_read_from_all_kwargs(kwargs, columns):
    """Those of row conditions too, in each form that GX knows."""
    assert sorted(columns_read(kwargs)) == columns
