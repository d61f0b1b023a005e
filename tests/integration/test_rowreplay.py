"""A row computed again from only its source rows: bit for bit the stored one, and nothing else has been seen."""

import polars as pl
import pytest

from lineage.errors import IntegrityError, NotFoundError, StepFailedError
from lineage.tracing.rowreplay import differing, needed_rows, recompute, recompute_row, stored_row
from lineage.tracing.tracer import Tracer

from .market import MONTHS, STEPS

FEBRUARY = "2020-02"
TABLES = [(name, partition) for name in STEPS for partition in (("",) if name == "totals" else MONTHS)]

LATER = '''

@shop.table()
def first_orders(orders):
    """A table without a key, of rows by their number."""
    return orders.sort("amount", "id").head(3).select("id", "amount")


@shop.table()
def sums(orders):
    """A table without a key, in which rows are alike."""
    return orders.select(pl.col("amount").sum().over("product") // 100, odd=pl.lit(float("nan")), low=pl.lit(-0.0))
'''


@pytest.fixture(scope="module")
def tracer(market):
    """One for all tests, as a service keeps it."""
    return Tracer(market[0].space)


@pytest.mark.parametrize(("name", "partition"), TABLES)
def test_rows_come_out_of_only_what_is_behind_them(market, tracer, name, partition):
    """Of each table a few rows, through all steps from the records of the files."""
    shop, plain = market
    version, count = shop.current(name, partition), plain.count((name, partition))

    for position in {0, count // 3, count - 1}:
        computed = recompute_row(shop.space, version, position, tracer=tracer)
        assert differing(stored_row(shop.space, version, position), computed) == []
        assert {key: computed[key] for key in computed} == plain.tables[name, partition].rows[position] | computed


def without_one(needed, name, row):
    """What is needed for a row, less one row of an input of the table itself."""
    (place,) = (key for key, rows in needed[0].fed.items() if key[0] == name and row in rows)
    needed[0].fed[place] = needed[0].fed[place][needed[0].fed[place] != row]
    return needed


@pytest.mark.parametrize("given", ["past", "visits", "movements", "products"])
def test_a_row_that_is_withheld_is_missed(market, tracer, given):
    """Were a trace to leave out any one row of what is behind, the row would not come out."""
    shop, plain = market
    version = shop.current("features", "2020-03")
    tried = 0
    for position, behind in enumerate(plain.tables["features", "2020-03"].behind):
        for row in sorted(behind[given])[-1:]:
            (_, inside) = plain.located("features", "2020-03", given, row)
            needed = without_one(needed_rows(tracer, version, position), given, inside)
            try:
                computed = recompute(shop.space, needed)
            except StepFailedError:
                tried += 1
                continue
            assert differing(stored_row(shop.space, version, position), computed) != []
            tried += 1
        if tried == 5:
            break
    assert tried == 5


def test_nothing_but_what_is_behind_is_read(market, tracer):
    """For each input the rows that the trace names for it, though another input may be the same table."""
    shop, plain = market
    every = plain.tables["features", FEBRUARY].behind
    position = next(at for at, behind in enumerate(every) if all(behind.values()))
    needed = needed_rows(tracer, shop.current("features", FEBRUARY), position)

    found = {}
    for (name, key), rows in needed[0].fed.items():
        found.setdefault(name, set()).update(((key[0].removeprefix("shop/"), key[1]), row) for row in rows.tolist())
    assert found == {
        name: {plain.located("features", FEBRUARY, name, row) for row in rows} for name, rows in every[position].items()
    }
    assert found["past"] != found["movements"]


# --- what cannot be done, and what has changed


@pytest.fixture(scope="module")
def shop(make_shop):
    """A shop with two tables more, up to date."""
    shop = make_shop("depot_rows")
    text = shop.path("depot_rows/shop.py").read_text()
    shop.write("depot_rows/shop.py", text + LATER)
    shop.run()
    return shop


def test_rows_that_are_alike_stand_for_each_other(shop):
    """Without a key, with NaN and a negative zero in them."""
    version = shop.current("sums", FEBRUARY)
    for position in (0, 14, 27):
        computed = recompute_row(shop.space, version, position)
        assert differing(stored_row(shop.space, version, position), computed) == []
    assert str(computed["low"]) == "-0.0"
    assert computed["odd"] != computed["odd"]


def test_a_step_that_counts_rows_is_told(shop):
    """A row of the first three cannot be computed from itself."""
    with pytest.raises(NotFoundError, match=r"shop\.first_orders takes rows by their number \(slice\(0, 3\)\)"):
        recompute_row(shop.space, shop.current("first_orders", FEBRUARY), 1)


def test_a_run_from_before_rows_were_followed_is_told(shop):
    """It says what to do."""
    version = shop.current("features", "2020-01")
    condition = f"where dataset = 'shop/features' and sha256 = '{version.sha256}' returning lineage::text"
    (kept,) = shop.query(f"select lineage::text as text from run_output where sha256 = '{version.sha256}'")
    shop.query(f"update run_output set lineage = '[]' {condition}")

    with pytest.raises(NotFoundError, match=r"before rows were followed\. Run `headwater run"):
        recompute_row(shop.space, version, 3)
    shop.query(f"update run_output set lineage = '{kept['text']}' {condition}")
    assert recompute_row(shop.space, version, 3)["id"]


def test_lost_bytes_are_named(shop):
    """Of the raw file, as of all others."""
    version = shop.current("features", "2020-03")
    raw = shop.raw("visits/2020-03")
    needed = needed_rows(Tracer(shop.space), version, 5)
    (file,) = (
        item.origin.version.file for item in needed if item.origin.version.file.path.endswith("visits/2020-03.csv")
    )
    object_path = shop.space.objects.path(file.md5)
    kept, text = object_path.read_bytes(), raw.read_text()
    object_path.unlink()
    raw.write_text(text.replace("2020-03-01,", "2020-03-02,"))

    with pytest.raises(IntegrityError, match=r"visits/2020-03\.csv"):
        recompute_row(shop.space, version, 5)
    object_path.write_bytes(kept)
    raw.write_text(text)
    assert recompute_row(shop.space, version, 5)["id"]


def test_the_stored_row_is_read_as_it_is(shop):
    """By its position in the version, whatever is current."""
    version = shop.current("features", FEBRUARY)
    table = pl.read_parquet(shop.table(f"features/{FEBRUARY}"))

    assert stored_row(shop.space, version, 4) == table.row(4, named=True)
