"""Traces: from a prediction or a row back to the bytes of the files, through every door."""

import csv
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import polars as pl
import pytest
from fastapi.testclient import TestClient

from lineage import trace
from lineage.api import create_app as create_lineage_app
from lineage.errors import NotFoundError
from lineage.plan import Workspace
from lineage.trace import Traces, to_json
from lineage.tracing import asked, cells, tracer
from serving.gate import promote
from serving.http import create_app as create_serving_app
from serving.predict import Predictor

PACKAGE = "depot_trace"
MODEL = "shop-late-t0"
KEY = "2020-02-5"
# What that order's row was made from: the order, its product, and the visitors of the day before.
BEHIND = {"shop/orders": ("2020-02", 4), "shop/products": ("", 2), "shop/visits": ("2020-02", 3)}
ORIGINS = {
    "amount": {"shop/orders"},
    "cents": {"shop/orders", "shop/products"},
    "visitors": {"shop/orders", "shop/visits"},
}
UNKNOWN = "3d9a38f9-8cde-4639-bb16-8d7cfb5a6c2f"


@pytest.fixture(scope="module")
def shop(make_shop):
    """A shop with a trained model, everything up to date; its joins say that they add no rows."""
    shop = make_shop(PACKAGE, trainer="serving.fit:fit")
    for key in ("product", "at"):
        shop.edit(f"{PACKAGE}/shop.py", f'on="{key}", how="left"', f'on="{key}", how="left", validate="m:1"')
    shop.run()
    promote(shop.space, MODEL)
    return shop


@pytest.fixture(scope="module")
def answer(shop):
    """The answer for KEY."""
    return Predictor(shop.space).by_key(MODEL, [KEY])


@pytest.fixture(scope="module")
def name(answer):
    """The prediction of KEY."""
    return str(answer.prediction_id)


@pytest.fixture(scope="module")
def sent(shop):
    """A prediction from features that the client sent."""
    columns = {"amount": [1], "cents": [450], "visitors": [None]}
    return str(Predictor(shop.space).by_features(MODEL, columns).prediction_id)


@pytest.fixture(scope="module")
def serving(shop):
    """The serving API."""
    with TestClient(create_serving_app(shop.space.settings)) as client:
        yield client


@pytest.fixture(scope="module")
def service(shop):
    """The lineage service."""
    with TestClient(create_lineage_app(shop.space.settings, {})) as client:
        yield client


@pytest.fixture
def traces(shop):
    """Traces as a process has them that has not traced anything."""
    return Traces(shop.space)


def of(traces, name, **more):
    """A trace as plain JSON values."""
    return json.loads(to_json(traces.of(name, **more)))


def record(shop, file, row):
    """One record of a raw file, read by somebody else."""
    with shop.path(file).open(newline="") as lines:
        return [*csv.reader(lines)][row + 1]


# --- what a trace says


def test_a_trace_gives_the_records_as_they_stand(shop, traces, name):
    """Of each source: the file, the row number, and the values of that line in the file."""
    found = of(traces, name)

    assert (found["complete"], found["problems"], found["notes"]) == (True, [], [])
    assert {source["dataset"]: (source["partition"], *source["rows"]) for source in found["sources"]} == BEHIND
    for source in found["sources"]:
        assert source["values"] == [record(shop, source["file"], row) for row in source["rows"]]
        assert source["columns"] == record(shop, source["file"], -1)
        assert source["version"] == shop.contents("data/raw")[source["file"]]
        assert (source["count"], source["ranges"]) == (1, [[source["rows"][0]] * 2])


def test_each_feature_has_its_own_sources(traces, name):
    """The price came from the product, the visitors from the day before, and neither from the other."""
    found = of(traces, name)["features"]["origins"]

    assert {feature: {item["dataset"] for item in sources} for feature, sources in found.items()} == ORIGINS


def test_one_feature_can_be_asked_for(traces, name):
    """Then sources and features are those of that one value."""
    found = of(traces, name, feature="cents")

    assert {source["dataset"] for source in found["sources"]} == ORIGINS["cents"]
    assert [*found["features"]["origins"]] == ["cents"]
    assert "visits" not in json.dumps(found["steps"][1:])


def test_one_feature_is_told_by_its_cells(shop, traces, name):
    """Of each record behind it only the columns that fed it, also in pages."""
    cents, visitors = (of(traces, name, feature=feature) for feature in ("cents", "visitors"))

    (order,), (product,), (visit,) = (
        [record(shop, f"data/raw/shop/{file}.csv", row)]
        for file, row in (("orders/2020-02", 4), ("products/products", 2), ("visits/2020-02", 3))
    )
    assert {source["dataset"]: (source["columns"], *source["values"]) for source in cents["sources"]} == {
        "shop/orders": (["product"], [order[2]]),
        "shop/products": (["product", "price"], product),
    }
    assert {source["dataset"]: (source["columns"], *source["values"]) for source in visitors["sources"]} == {
        "shop/orders": (["at"], [order[1]]),
        "shop/visits": (["day", "visitors"], visit),
    }
    assert all(source["exact"] for source in (*cents["sources"], *visitors["sources"]))
    page = traces.records(name, ("shop/products", ""), feature="cents")
    assert (page["columns"], page["values"]) == (["product", "price"], [product])


def test_a_feature_of_a_run_without_column_lineage_is_told_by_records(shop, name, monkeypatch):
    """Runs from before it was recorded: nobody can say which columns of a record fed the value."""
    monkeypatch.setattr(cells, "recorded_columns", lambda *_: None)

    found = of(Traces(shop.space), name, feature="cents")

    assert {source["dataset"]: source["columns"] for source in found["sources"]} == {
        source["dataset"]: source["columns"] for source in of(Traces(shop.space), name)["sources"][:2]
    }
    assert not any("exact" in source for source in found["sources"])


def test_the_model_side_is_told(shop, traces, name, answer):
    """The prediction as it was answered, its bundle, and the run that trained it on which versions."""
    found = of(traces, name)
    prediction, training = found["prediction"], found["training"]
    (answered,) = answer.to_json()["predictions"]

    assert {name: prediction[name] for name in ("key", "margin", "probability")} == answered
    assert (prediction["inputs"], prediction["caller"]) == ("table", "local")
    assert found["bundle"]["version"] == shop.current("late_t0").sha256
    assert training["step"] == "shop.late_t0"
    assert [table["version"] for table in training["tables"]] == [
        shop.current("features", month).sha256 for month in ("2020-01", "2020-02", "2020-03")
    ]
    assert training["rows"] == 84
    assert [*found["features"]["values"]] == ["amount", "cents", "visitors"]


def test_what_the_client_sent_has_no_sources(traces, sent):
    """The model side is complete all the same."""
    found = of(traces, sent)

    assert (found["prediction"]["inputs"], found["sources"], found["features"]["origins"]) == ("client", [], {})
    assert (found["complete"], found["training"]["rows"]) == (True, 84)
    with pytest.raises(NotFoundError, match="came with the request"):
        traces.of(sent, feature="amount")
    with pytest.raises(NotFoundError, match="came with the request"):
        traces.records(sent, ("shop/orders", "2020-02"))


def test_rows_of_tables_and_sources_are_traced(shop, traces):
    """A group is traced to all its members, a source's row to itself, by whichever of its names."""
    group = of(traces, "shop.totals:0")
    itself, by_file = of(traces, "shop/orders[2020-02]:4"), of(traces, "shop/orders/2020-02.csv:4")

    assert group["values"]["product"] == "rice"
    for source in group["sources"]:
        members = [row for row in range(28) if record(shop, source["file"], row)[2] == "rice"]
        assert source["rows"] == members
        assert [row for first, last in source["ranges"] for row in range(first, last + 1)] == members
    assert itself == by_file
    assert [(source["rows"], source["values"][0][0]) for source in itself["sources"]] == [([4], KEY)]
    assert itself["values"]["at"] == "2020-02-05"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            "shop.totals",
            r"shop\.totals is no row, for it lacks the row's number; write shop\.totals:0 for the first of 3\.",
        ),
        ("shop/features[2020-02]", r"write shop/features\[2020-02\]:0 for the first of 28\."),
        ("shop.features", r"of 3 partitions; name a row of one, as in shop\.features\[2020-01\]:0, its first"),
        ("data/raw/shop/orders/2020-02.csv", r"write data/raw/shop/orders/2020-02\.csv:0 for the first\."),
        ("shop.features[2021-01]", "has no version of partition '2021-01'"),
        (MODEL, "is a model, which has no rows"),
        ("shop.nonsense", "is not a prediction's id"),
    ],
)
def test_a_table_without_a_row_is_told_how_to_name_one(traces, asked, said):
    """Whole traces and pages of records say the same."""
    for ask in (traces.of, lambda name: traces.records(name, ("shop/orders", "2020-02"))):
        with pytest.raises(NotFoundError, match=said):
            ask(asked)


# --- pages and many


def test_records_come_in_pages(traces):
    """Pages, one behind the other, hold every record once, in the order of the file."""
    whole = of(traces, "shop.totals:0")["sources"][0]
    place = (whole["dataset"], whole["partition"])

    pages = [json.loads(to_json(traces.records("shop.totals:0", place, offset, 4))) for offset in range(0, 12, 4)]

    assert [row for page in pages for row in page["rows"]] == whole["rows"]
    assert [values for page in pages for values in page["values"]] == whole["values"]
    assert {page["count"] for page in pages} == {whole["count"]}


def test_the_rows_of_many_predictions_come_in_one_call(serving, shop, name, sent):
    """Entry by entry what each trace says, in the order asked; an id that is unknown is an entry with an error."""
    batch = Predictor(shop.space).by_key(MODEL, [f"2020-0{month}-{day}" for month in (1, 2, 3) for day in range(1, 8)])
    rows = [f"{batch.prediction_id}.{row}" for row in range(21)]
    asked = [rows[20], name, UNKNOWN, sent, *rows[:20], "nonsense", str(batch.prediction_id), name]

    found = serving.post("/v1/traces/rows", json={"predictions": asked}).json()["traces"]

    assert [entry["prediction"] for entry in found] == asked
    wrong = {entry["prediction"]: entry["error"] for entry in found if "error" in entry}
    assert [*wrong] == [UNKNOWN, "nonsense", str(batch.prediction_id)]
    assert "several rows" in wrong[str(batch.prediction_id)]
    assert (found[3]["inputs"], found[3]["sources"]) == ("client", [])
    for entry in (entry for entry in found if "error" not in entry and entry["table"]):
        trace = serving.get(f"/v1/predictions/{entry['prediction']}/trace").json()
        keys = ("dataset", "partition", "version", "file", "count", "ranges")
        assert entry["sources"] == [{key: source[key] for key in keys} for source in trace["sources"]]
        assert entry["table"]["position"] == trace["features"]["position"]


def test_more_predictions_than_are_followed_at_once_come_in_their_order(serving, shop):
    """Of hundreds from one table's version each has the entry that it has alone."""
    batch = Predictor(shop.space).by_key(MODEL, [f"2020-02-{day}" for day in range(1, 29)])
    rows = [f"{batch.prediction_id}.{row}" for row in range(28)]

    def ask(names):
        return serving.post("/v1/traces/rows", json={"predictions": names}).json()["traces"]

    alone = [entry for name in rows for entry in ask([name])]
    assert len({json.dumps(entry["sources"]) for entry in alone}) == 28
    assert ask(rows * 8) == alone * 8


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"predictions": "all"}, "a list of ids"),
        ({"predictions": [], "more": 1}, "nothing else"),
        ({"predictions": [1]}, "send a string"),
        ({"predictions": [UNKNOWN] * 10_001}, "in parts"),
    ],
)
def test_a_wrong_list_of_predictions_is_refused(serving, body, said):
    """400 and a sentence."""
    response = serving.post("/v1/traces/rows", json=body)

    assert response.status_code == 400
    assert said in response.json()["error"]


# --- doors


def test_both_services_say_the_same(serving, service, traces, name):
    """Trace and pages through serving and through the lineage service are those of the library."""
    asked = {"source": "shop/orders", "partition": "2020-02", "limit": "1", "feature": "cents"}

    expected = of(traces, name)
    pages = [
        client.get(f"{url}/records", params=asked).json()
        for client, url in ((serving, f"/v1/predictions/{name}/trace"), (service, f"/api/v1/traces/{name}"))
    ]

    assert serving.get(f"/v1/predictions/{name}/trace").json() == expected
    assert service.get(f"/api/v1/traces/{name}").json() == expected
    assert service.get("/api/v1/traces/shop.totals%3A0").json() == of(traces, "shop.totals:0")
    assert pages[0] == pages[1]
    (record,) = expected["sources"][0]["values"]
    assert (pages[0]["columns"], pages[0]["values"]) == (["product"], [[record[2]]])


@pytest.mark.parametrize(
    "words", ["offset=-1", "offset=x", "limit=0", "limit=10001", f"offset={2**64}", "partition=2020-02&limit="]
)
def test_wrong_numbers_are_refused(serving, service, name, words):
    """400 and a sentence, not a default."""
    for client, url in ((serving, f"/v1/predictions/{name}/trace"), (service, f"/api/v1/traces/{name}")):
        response = client.get(f"{url}/records?source=shop/orders&{words}")
        assert (response.status_code, next(iter(response.json()))) == (400, "error"), url


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (UNKNOWN, UNKNOWN),
        ("nonsense", "nonsense"),
        ("shop.totals%3A99", "no row 99"),
        ("shop.nothing%3A1", "shop.nothing"),
        ("{name}?feature=cent", "did you mean cents"),
        ("{name}.7", "no row 7"),
        ("{name}/records?source=shop/visits&partition=2020-01", "there is shop/orders"),
    ],
)
def test_what_is_not_there_is_said(service, name, path, said):
    """404 and a sentence that names it."""
    response = service.get(f"/api/v1/traces/{path.format(name=name)}")

    assert response.status_code == 404
    assert said in response.json()["error"]


def test_the_command_tells_the_story(headwater, name, sent):
    """For people: prediction, model, training, row, sources with their records, and the features."""
    code, out, err = headwater("trace", name)

    labels = [line.split("  ")[0] for line in out.splitlines() if not line.startswith(" ")]
    assert (code, err) == (0, "")
    assert labels == ["prediction", "model", "training", "row", "tables", *["source"] * 3, "features", "complete"]
    assert f"key {KEY}" in out
    assert "4    2020-02-5  2020-02-05  rice     6       false" in out
    assert "1 of shop/orders[2020-02], 1 of shop/visits[2020-02]" in out
    assert "features sent by the client" in headwater("trace", sent)[1]


def test_the_command_pages_records(headwater):
    """--source prints its records, --offset and --limit which; a program gets the same as JSON."""
    asked = ("trace", "shop.totals:0", "--source", "shop.orders[2020-02]", "--offset", "8", "--limit", "1")

    (code, out, _), (_, text, _) = headwater(*asked), headwater(*asked, "--json")

    assert code == 0
    assert "records 9 to 9 of 9" in out
    assert json.loads(text)["values"][0][2] == "rice"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (f"trace {UNKNOWN}", 1, UNKNOWN),
        ("trace shop.totals:99", 1, "it has 3 rows"),
        ("trace shop.totals:0 --feature sum", 1, "there are product, amount"),
        ("trace shop.totals:0 --offset 5", 2, "--source"),
        ("trace shop.totals:0 --offset -5 --source shop/orders", 2, "is no count"),
    ],
)
def test_the_command_refuses_in_a_sentence(headwater, words, code, said):
    """1 for what there is not, 2 for wrong use."""
    ended, out, err = headwater(*words.split())

    assert (ended, out) == (code, "")
    assert said in err


# --- what went wrong since: last, for it changes the shop


def test_a_run_later_does_not_change_a_trace(shop, traces, serving, name):
    """The same bytes written once more by another run: the prediction still stands on the one before it."""
    before = of(traces, name)

    shop.edit(f"{PACKAGE}/shop.py", "lead_days: int = 1", "lead_days: int = 1 + 0")
    assert shop.cli("run", "shop.features").code == 0

    assert of(Traces(shop.space), name)["steps"] == before["steps"]
    assert serving.get(f"/v1/predictions/{name}/trace").json() == before
    row = f"shop.features[2020-02]:{before['features']['position']}"
    assert of(traces, row)["steps"][0]["run_id"] != before["steps"][0]["run_id"]


def test_a_raw_file_that_changed_is_noted(shop, traces, name):
    """The values stay those that were recorded, and the trace is complete: the cache has the bytes."""
    before = of(traces, name)
    path = shop.raw("orders/2020-02")
    text = path.read_text()

    path.write_text(text.replace("rice", "soup"))
    found = of(traces, name)
    path.write_text(text)

    assert found["sources"] == before["sources"]
    assert found["complete"]
    (note,) = found["notes"]
    assert "data/raw/shop/orders/2020-02.csv has changed since" in note


@pytest.mark.parametrize("what", ["orders/2020-02.csv", "features/2020-02.parquet", "origins.json"])
def test_a_damaged_object_is_named(shop, traces, service, name, what):
    """A flipped byte on the way, in the raw file, a table or the record of rows: named, and not complete."""
    found = of(traces, name)
    kept = _objects(shop, name)
    ((path, file),) = ((path, file) for file, path in kept.items() if file.endswith(what) and "2020-02" in file)
    mode, data = path.stat().st_mode, path.read_bytes()
    in_place = shop.path(file)
    moved = in_place.read_bytes() if in_place.exists() else None
    try:
        path.chmod(0o644)
        path.write_bytes(bytes([data[0] ^ 1]) + data[1:])
        if moved is not None:
            in_place.unlink()
        told = [of(traces, name), of(Traces(shop.space), name), service.get(f"/api/v1/traces/{name}").json()]
    finally:
        path.write_bytes(data)
        path.chmod(mode)
        if moved is not None:
            in_place.write_bytes(moved)

    for item in told:
        assert not item["complete"]
        assert any(file in problem for problem in item["problems"])
    assert of(traces, name) == found


@pytest.mark.parametrize("kept", ["changed", "gone"])
def test_damaged_events_of_the_past_are_not_looked_at(market, tmp_path, kept):
    """A row whose history would be found in damaged events: they are named, also where nobody has looked before."""
    shop, _ = market
    events = shop.current("visits", "2020-01")
    places = [shop.space.objects.path(events.file.md5), shop.path(events.file.path)]
    away = {path: path.with_suffix(".away") for path in places}
    elsewhere = Workspace(replace(shop.space.settings, home=tmp_path), shop.space.project, shop.store)
    try:
        for path in places:
            path.rename(away[path])
            if kept == "changed":
                pl.read_parquet(away[path]).with_columns(shop=pl.lit("moon")).write_parquet(path)
        warm, fresh = (of(Traces(space), "shop.features[2020-02]:0") for space in (shop.space, elsewhere))
    finally:
        for path in places:
            away[path].rename(path)

    for found in (warm, fresh):
        assert not found["complete"]
        said = (
            f"{events.file.path}: the bytes of shop.visits[2020-01], version {events.sha256[:12]}…, are gone or changed"
        )
        assert any(said in problem for problem in found["problems"])
    assert of(Traces(elsewhere), "shop.features[2020-02]:0")["complete"]


def _objects(shop, name):
    """Path in the project -> object, of all files behind the feature row of a prediction."""
    traces = Traces(shop.space)
    origins = traces._follow(traces.register.named(name)).origins
    files = [file for origin in origins for file in (*origin.version.files, *origin.lineage)]
    return {file.path: shop.space.objects.path(file.md5) for file in files}


def test_rows_that_were_never_followed_are_said(shop, traces, name):
    """A table from before rows were followed: not complete, and what to do."""
    traced = of(traces, name)
    shop.query(f"update run_output set lineage = '[]' where sha256 = '{traced['features']['version']}' returning 1")

    found = of(Traces(shop.space), name)

    assert not found["complete"]
    assert any("Run `headwater run shop.features`" in problem for problem in found["problems"])
    assert (found["sources"], found["training"]["rows"]) == ([], 84)


def test_traces_that_keep_next_to_nothing_say_the_same(market, monkeypatch):
    """What has gone is looked up again, while one trace is made and from several threads at once."""
    shop, _ = market
    names = [f"shop.features[{month}]:{row}" for month in ("2020-01", "2020-02", "2020-03") for row in (0, 7, 20)]
    known = Traces(shop.space)
    expected = [of(known, name) for name in names]
    for module, bounds in ((tracer, ("_ORIGINS", "_MAPS", "_NODES")), (asked, ("_KEPT",)), (trace, ("_KEPT",))):
        for bound in bounds:
            monkeypatch.setattr(module, bound, 1)

    few = Traces(shop.space)
    assert [of(few, name) for name in names] == expected
    kept = [vars(few.tracer)[name] for name in ("_origins", "_maps", "_nodes", "_alike")]
    assert [len(found) for found in (*kept, few._followed)] == [1, 1, 1, 1, 1]
    with ThreadPoolExecutor(4) as threads:
        assert [*threads.map(lambda name: of(few, name), names)] == expected
