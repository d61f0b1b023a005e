"""What rests on a dataset, a version, a file or rows: exactly that, whichever way it is reached."""

import csv
import json
from dataclasses import dataclass
from io import StringIO

import numpy as np
import pytest
from psycopg.types.json import Jsonb

from lineage.errors import NotFoundError
from lineage.impact import ReachedRows, impact
from lineage.names import find_current, find_version, find_versions
from lineage.trace import Traces
from lineage.tracing.tracer import Tracer
from lineage.where import where
from serving.features import FeatureRow
from serving.log import Asked, PredictedRow, PredictionLog

PACKAGE = "depot_impact"
MODEL = "shop-late-t0"
FEBRUARY = "data/raw/shop/orders/2020-02.csv"
LAST_DAY = "data/raw/shop/visits/2020-03.csv"


@dataclass
class Made:
    """A prediction that was made, and what it was made from."""

    id: str
    bundle: str
    features: tuple[str, str, str] | None


@dataclass
class Past:
    """What a shop's versions were at first, and the predictions that were made, in order."""

    first: dict
    made: list[Made]


@pytest.fixture(scope="module")
def shop(make_shop):
    """A shop; what happened in it is told by `past`."""
    return make_shop(PACKAGE)


@pytest.fixture(scope="module")
def past(shop):
    """January's orders were corrected after the first model, and the last visits changed without effect.

    What was visited on the last day of March is known on the 29th, when nobody ordered: the table's bytes stay, but
    what they rest on changes.
    """
    shop.run()
    first = {name: shop.current(*name.split("|")) for name in VERSIONS}
    made = [predict(shop, "features|2020-02", 3), predict(shop, "features|2020-03", 4)]
    shop.order_again("2020-01")
    shop.run()
    made += [predict(shop, "features|2020-02", 5), predict(shop, None)]
    shop.edit(LAST_DAY, "2020-03-28,14", "2020-03-28,15")
    shop.run()
    made += [predict(shop, "features|2020-03", 6), *predict_batch(shop)]
    decide(shop, "refused", promoted=False)
    decide(shop, "promoted", promoted=True)
    return Past(first, made)


VERSIONS = ("visits|2020-03", "features|2020-03", "features|2020-01", "orders|2020-01", "late_t0|")


def record(shop, rows):
    """The id of a prediction of these rows, by the model that was trained last."""
    digest = shop.current("late_t0").sha256
    origin = "client" if rows[0].found is None else "table"
    return str(PredictionLog(shop.store).record(Asked(MODEL, digest, "xgboost_cpu", origin, "0" * 64), rows))


def row(shop, place, name, position):
    """Row `position` of a table, as a prediction keeps it; without a table, what a client sent."""
    if name is None:
        return PredictedRow(place, {"amount": 1.0}, np.float32(0.5)), None
    version = shop.current(*name.split("|"))
    key = (version.dataset, version.partition, version.sha256)
    found = FeatureRow(f"key {position}", *key, position, {"amount": 1.0})
    return PredictedRow(place, {"amount": 1.0}, np.float32(0.5), found), key


def predict(shop, name, position=0):
    """A prediction of one row."""
    predicted, key = row(shop, 0, name, position)
    return Made(record(shop, [predicted]), shop.current("late_t0").sha256, key)


def predict_batch(shop):
    """A prediction of two rows, of which the first key was not known."""
    rows = [row(shop, place, f"features|2020-0{place}", place) for place in (1, 2)]
    name = record(shop, [predicted for predicted, _ in rows])
    digest = shop.current("late_t0").sha256
    return [Made(f"{name}.{predicted.ordinal}", digest, key) for predicted, key in rows]


def decide(shop, facts, *, promoted):
    """Keep a decision on the bundle that was trained last."""
    digest = shop.current("late_t0").sha256
    decision = {"champion_before": None, "promoted": promoted, "decided_by": "gate", "facts": facts}
    shop.store.row("insert_promotion", model=MODEL, digest=digest, conditions=Jsonb([]), **decision)
    if promoted:
        shop.store.run("set_alias", model=MODEL, alias="champion", digest=digest)


# --- by hand: backwards, from each prediction, run by run


def runs(shop):
    """Every complete run: when it started and ended, what it read and wrote."""
    found = shop.query("select run_id, started_at, ended_at from run where state = 'COMPLETE' order by ended_at")
    for run in found:
        for name in ("input", "output"):
            rows = shop.query(f"select dataset, partition, sha256 from run_{name} where run_id = '{run['run_id']}'")
            run[name] = {tuple(item.values()) for item in rows}
    return found


def behind(shop, version, at, known):
    """`version` and everything that it rested on when it was used at a time."""
    writers = [run for run in known if version in run["output"] and run["ended_at"] <= at]
    found = {version}
    for run in writers[-1:]:
        for item in run["input"]:
            found |= behind(shop, item, run["started_at"], known)
    return found


def expected(shop, past):
    """id -> what the prediction rests on, by way."""
    known = runs(shop)
    found = {}
    for made in past.made:
        (row,) = shop.query(f"select made_at from prediction where prediction_id = '{made.id.partition('.')[0]}'")
        bundle = ("shop/late_t0", "", made.bundle)
        found[made.id] = {
            "model": {bundle},
            "training": behind(shop, bundle, row["made_at"], known) - {bundle},
            "features": behind(shop, made.features, row["made_at"], known) if made.features else set(),
        }
    return found


def test_every_version_reaches_what_rests_on_it(shop, past):
    """Of every version on record: the predictions, and the ways, that a walk back from each prediction finds."""
    rests = expected(shop, past)
    versions = [tuple(item.values()) for item in shop.query("select dataset, partition, sha256 from version")]

    for version in versions:
        dataset, partition, sha256 = version
        name = f"{dataset}{f'[{partition}]' if partition else ''}@{sha256}"
        found = impact(shop.space, name)["predictions"]
        ways = {made: [way for way, rest in on.items() if version in rest] for made, on in rests.items()}
        assert dict(zip(found["ids"], found["through"], strict=True)) == {k: v for k, v in ways.items() if v}, name
        assert found["count"] == len(found["ids"])
    assert len(versions) > 20


def test_bytes_written_twice_rest_on_what_was_read_last(shop, past):
    """The features of March are the same bytes before and after a visit changed; a prediction knows which."""
    before, after, *_ = (made.id for made in past.made if made.features and made.features[1] == "2020-03")
    assert shop.current("features", "2020-03") == past.first["features|2020-03"]

    old = impact(shop.space, f"shop.visits[2020-03]@{past.first['visits|2020-03'].sha256}")["predictions"]
    new = impact(shop.space, "shop.visits[2020-03]@current")["predictions"]

    assert dict(zip(old["ids"], old["through"], strict=True))[before] == ["training", "features"]
    assert dict(zip(old["ids"], old["through"], strict=True))[after] == ["training"]
    assert (new["ids"], new["through"], new["by"]) == ([after], [["features"]], {"features": 1})


def test_a_file_reaches_tables_models_and_deployments(shop, past):
    """From a raw file: which versions of which tables, which bundles, which of them answers, and what was decided."""
    found = impact(shop.space, FEBRUARY)

    tables = {(item["dataset"], item["partition"], item["current"]) for item in found["tables"]}
    assert tables == {
        ("shop/orders", "2020-02", True),
        ("shop/features", "2020-02", True),
        ("shop/totals", "", True),
        ("shop/totals", "", False),
    }
    assert found["models"] == [MODEL]
    digests = [shop.current("late_t0").sha256, past.first["late_t0|"].sha256]
    assert [(item["version"], item["aliases"], item["answers"]) for item in found["bundles"]] == [
        (digests[0], ["challenger", "champion"], True),
        (digests[1], [], False),
    ]
    assert [(item["version"], item["promoted"], item["decided_by"]) for item in found["deployments"]] == [
        (digests[0], False, "gate"),
        (digests[0], True, "gate"),
    ]
    assert found["predictions"]["by"] == {"training": 7, "features": 3}


def test_a_superseded_version_is_told_from_the_current_one(shop, past):
    """What came of January before it was corrected is superseded everywhere, and current where it is read again."""
    old = impact(shop.space, f"shop.orders[2020-01]@{past.first['orders|2020-01'].sha256}")
    new = impact(shop.space, "shop.orders[2020-01]@current")

    assert {item["current"] for item in old["tables"]} == {False}
    assert {item["current"] for item in new["tables"]} == {True}
    assert {item["version"] for item in old["tables"]}.isdisjoint({item["version"] for item in new["tables"]})
    assert [item["answers"] for item in old["bundles"] + new["bundles"]] == [False, True]
    assert old["predictions"]["count"] + new["predictions"]["count"] == len(past.made)


def test_a_dataset_is_all_its_versions(shop, past):
    """Without a version, whatever rests on any; of a model, its own predictions."""
    found, model = impact(shop.space, "shop.orders"), impact(shop.space, f"{MODEL}@champion")

    assert len(found["versions"]) == 4
    assert sorted(found["predictions"]["ids"]) == sorted(made.id for made in past.made)
    assert model["tables"] == []
    assert model["predictions"]["by"] == {"model": 5}


def test_predictions_are_paged(shop, past):
    """Pages are disjoint, oldest first, and say where the next one begins; the last one says that there is none."""
    pages, offset = [], 0
    while offset is not None:
        page = impact(shop.space, "shop/orders", limit=3, offset=offset)["predictions"]
        pages.append(page["ids"])
        offset = page["next"]

    assert [len(page) for page in pages] == [3, 3, 1]
    assert [name for page in pages for name in page][:3] == [made.id for made in past.made[:3]]
    assert {name for page in pages for name in page} == {made.id for made in past.made}
    only = impact(shop.space, "shop/orders", limit=0)["predictions"]
    assert (only["count"], only["ids"], only["next"]) == (7, [], None)
    beyond = impact(shop.space, "shop/orders", offset=7)["predictions"]
    assert (beyond["count"], beyond["ids"], beyond["next"]) == (7, [], None)


def test_rows_reach_only_their_own_predictions(shop, past):
    """Rows of versions instead of versions: predictions from exactly these, and by what was trained on their table."""
    version = past.first["features|2020-03"]
    key = (version.dataset, version.partition, version.sha256)

    found = impact(shop.space, "shop/visits:3", rows=[ReachedRows(key, [1, 6, 7])])

    by_row = [made.id for made in past.made if made.features == key and made.id == past.made[4].id]
    ways = dict(zip(found["predictions"]["ids"], found["predictions"]["through"], strict=True))
    assert {name for name, through in ways.items() if "features" in through} == {*by_row}
    assert found["predictions"]["by"] == {"training": 7, "features": 1}
    assert [(item["dataset"], item["rows"], item["row_count"]) for item in found["tables"]] == [
        ("shop/features", 3, 28)
    ]
    assert found["models"] == [MODEL]


def test_rows_that_were_written_twice_reach_what_used_them_in_their_time(shop, past):
    """Records of both files: the predictions whose own traces lead to them; the model learnt of the first."""
    march = {made.id for made in past.made if made.features and made.features[1] == "2020-03"}
    traces, leads = Traces(shop.space), {}
    for name in march:
        for source in traces.of(name)["sources"]:
            for row in np.concatenate([np.arange(begin, end + 1) for begin, end in source["ranges"]]).tolist():
                leads.setdefault((source["dataset"], source["version"], row), set()).add(name)
    files = shop.query("select sha256 from version where (dataset, partition) = ('shop/raw_visits', '2020-03')")
    current = find_version(shop.space, LAST_DAY).version.sha256
    visits = {row for dataset, _, row in leads if dataset == "shop/visits"}

    found = {
        (item["sha256"], row): where(traces.tracer, f"{LAST_DAY}@{item['sha256']}:{row}")
        for item in files
        for row in visits
    }

    told = {
        place: {name for name, ways in zip(one["ids"], one["through"], strict=True) if "features" in ways}
        for place, one in ((place, item["predictions"]) for place, item in found.items())
    }
    assert told == {(sha256, row): leads.get(("shop/visits", sha256, row), set()) for sha256, row in found}
    assert (len(files), len(visits)) == (2, 2)
    (learnt,) = {sha256 for (sha256, _), item in found.items() if item["bundles"]}
    assert learnt == next(sha256 for dataset, sha256, _ in leads if dataset == "shop/visits" and sha256 != current)


def test_a_row_of_a_table_reaches_its_own_predictions(shop, past):
    """The row that a prediction was made from, asked about by its own name."""
    first = past.made[0]

    found = where(Tracer(shop.space), f"{first.features[0]}[{first.features[1]}]@{first.features[2]}:3")

    assert dict(zip(found["predictions"]["ids"], found["predictions"]["through"], strict=True))[first.id] == [
        "training",
        "features",
    ]
    assert found["tables"] == []
    assert found["models"] == [MODEL]


def test_no_row_reaches_nothing(shop, past):
    """A row that was dropped at once rests under nothing."""
    found = impact(shop.space, "shop/visits:3", rows=[])

    assert (found["tables"], found["bundles"], found["predictions"]["count"]) == ([], [], 0)


@pytest.mark.parametrize(
    ("name", "said", "candidates"),
    [
        ("shop.featurs", "Nothing on record is called 'shop.featurs'; did you mean shop.features", ("shop.features",)),
        ("shop-late-t1", "did you mean shop-late-t0", (MODEL,)),
        ("data/raw/shop/orders/2020-99.csv", "did you mean data/raw/shop/orders/2020-0", None),
        ("shop.features[2020-3]", "has no version of partition '2020-3'; did you mean 2020-03", None),
        ("shop.features@ffffffffffff", "shop.features has no version 'ffffffffffff'; there are ", None),
        ("shop.totals@champion", "has no version 'champion'", None),
        ("shop.products@previous", "has only one version", None),
        ("a@b@c", "is no name; write it as", ()),
        ("", "is no name; write it as", ()),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(shop, past, name, said, candidates):
    """One sentence says what is wrong, and what there is."""
    with pytest.raises(NotFoundError) as caught:
        impact(shop.space, name)

    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert candidates is None or caught.value.candidates[: len(candidates)] == candidates


def test_digits_that_begin_several_versions_are_refused(shop, past):
    """Nobody is told what rests on two versions where one was meant, nor which replays; more digits name one."""
    digest = shop.current("totals").sha256
    other = f"{digest[:32]}{'0' * 32}"
    with shop.store._connection.transaction(force_rollback=True):
        shop.query(f"""insert into version (dataset, partition, sha256, files, size_bytes, row_count, fields)
            select dataset, partition, '{other}', files, size_bytes, row_count, fields
            from version where dataset = 'shop/totals' and sha256 = '{digest}' returning 1""")
        for find in (find_version, find_versions, find_current):
            with pytest.raises(NotFoundError, match=r"begins 2 versions: .*; write more of it"):
                find(shop.space, f"shop.totals@{digest[:32]}")
        assert [item.version.sha256 for item in find_versions(shop.space, f"shop.totals@{other}")] == [other]


# --- the verb


def test_the_verb_speaks_to_people_and_programs(headwater, shop):
    """The same facts as lines, as JSON and as CSV."""
    words = ("impact", FEBRUARY, "--limit", "2")

    (code, text, err), (_, out, _), (_, table, _) = (headwater(*words, *more) for more in ((), ("--json",), ("--csv",)))

    found = json.loads(out)
    rows = [*csv.DictReader(StringIO(table))]
    assert (code, err) == (0, "")
    assert found == json.loads(json.dumps(impact(shop.space, FEBRUARY, limit=2), default=str))
    kinds = [row["kind"] for row in rows]
    assert [kinds.count(kind) for kind in ("table", "bundle", "deployment", "prediction")] == [4, 2, 2, 2]
    assert rows[-1]["name"] == found["predictions"]["ids"][1]
    assert "7 (7 through training, 3 through features)" in text
    assert "challenger, champion; it answers" in text
    assert "more with --offset 2" in text


def test_the_verb_names_what_it_does_not_know(headwater):
    """1 and one sentence for a name; 2 for a wrong use."""
    unknown, negative = headwater("impact", "shop.featurs"), headwater("impact", "shop.features", "--limit", "-1")

    assert (unknown[0], negative[0]) == (1, 2)
    assert unknown[2].startswith("headwater: Nothing on record is called 'shop.featurs'; did you mean shop.features")
