"""Serving end to end: a pipeline run by the runner, a real Postgres, and the HTTP door in front of it."""

import json
import math
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from threading import Barrier, Thread

import numpy as np
import psycopg
import pytest
from fastapi.testclient import TestClient

from lineage.discover import discover
from lineage.errors import DatabaseError, IntegrityError
from lineage.plan import Workspace
from lineage.ports import Ports
from lineage.replay import replay
from lineage.run import Door, Runner, run_steps
from lineage.settings import Settings
from lineage.store import Store
from serving.engines import open_engine
from serving.gate import promote
from serving.http import BODY_LIMIT_BYTES, create_app
from serving.log import PredictionLog, margin_bits
from serving.predict import Predictor
from serving.registry import champion, list_models, show_model

PACKAGE = "serving_shop"
PIPELINE = '''"""A shop's orders, and which of them will be late."""

import polars as pl

from lineage import Pipeline, by_time, files, monthly

shop = Pipeline("shop")
shop.source(
    "orders",
    files("data/raw/shop/orders/{partition}.csv"),
    partitions=monthly("2020-01", "2020-04"),
    schema={"id": "string", "at": "date", "amount": "float64", "size": "int32", "channel": "string", "late": "boolean"},
)


@shop.table(key="id")
def features(orders):
    """Orders as the model takes them."""
    return orders.with_columns(rush=pl.col("size") > 6)


SPLIT = by_time("at", tune_from="2020-01-20", test_from="2020-02-01")
shop.model("late_t0", table="features", target="late", features=["amount", "rush", "channel"], split=SPLIT, rounds=8)
shop.model("amount", table="features", target="size", features=["amount", "channel"], split=SPLIT,
           objective="reg:squarederror", rounds=4)
shop.model("never", table="features", target="late", features=["amount"], split=SPLIT)
'''
MODEL = "shop-late-t0"
TABLE = "data/tables/shop/features/2020-01.parquet"


@dataclass(frozen=True)
class Shop:
    """A project on disk whose pipeline can be run."""

    space: Workspace

    @property
    def store(self) -> Store:
        return self.space.store

    def run(self, *steps: str) -> None:
        wanted = [self.space.project.step(f"shop.{name}") for name in steps]
        run_steps(Runner(self.space, Ports(), Door("test")), wanted)
        for step in wanted:
            if step.kind == "model":
                # What is learnt from so few rows may be worth nothing; here it is served whatever it is worth.
                promote(self.space, step.model_name)

    def write_month(self, month: str, seed: int, rows: int = 80) -> None:
        rng = np.random.default_rng(seed)
        lines = ["id,at,amount,size,channel,late"]
        for place in range(rows):
            amount, size, day = round(float(rng.normal(10, 4)), 3), rng.integers(1, 10), place % 28 + 1
            shown = "" if place % 9 == 0 else amount
            late = str(amount > 11).lower()
            channel = ("web", "app", "Zürich", "")[place % 4]
            lines.append(f"{month}-{place},{month}-{day:02d},{shown},{size},{channel},{late}")
        path = self.space.root / f"data/raw/shop/orders/{month}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines) + "\n")


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Iterator[Shop]:
    root = tmp_path_factory.mktemp("shop")
    (root / PACKAGE).mkdir()
    (root / PACKAGE / "__init__.py").write_text(PIPELINE)
    settings = Settings(root, root / ".headwater", pipelines=PACKAGE)
    try:
        with Store(settings) as store:
            made = Shop(Workspace(settings, discover(settings), store))
            made.write_month("2020-01", 1)
            made.write_month("2020-02", 2)
            made.run("orders", "features", "late_t0", "amount")
            yield made
    finally:
        sys.path.remove(str(root))
        sys.modules.pop(PACKAGE, None)


@pytest.fixture
def predictor(shop) -> Predictor:
    return Predictor(shop.space, recheck_seconds=0)


@pytest.fixture
def client(shop) -> Iterator[TestClient]:
    with TestClient(create_app(shop.space.settings)) as client:
        yield client


def ask(client: TestClient, *keys: str, model: str = MODEL) -> dict:
    response = client.post(f"/v1/models/{model}/predict", json={"keys": keys})
    assert response.status_code == 200, response.text
    return response.json()


def tensor(name: str, datatype: str, *data: object) -> dict:
    return {"name": name, "datatype": datatype, "shape": [len(data)], "data": data}


FEATURES = [
    tensor("amount", "FP32", 9.5, None),
    tensor("rush", "BOOL", True, None),
    tensor("channel", "BYTES", "web", None),
]


def infer(client: TestClient, *inputs: dict, **more: object):
    return client.post(f"/v2/models/{MODEL}/infer", json={"inputs": inputs, **more})


def test_a_key_is_answered_from_the_feature_table(shop, client):
    """An answer names model version, table version and entry by entry what was predicted."""
    answer = ask(client, "2020-01-5")

    (entry,) = answer["predictions"]
    assert (answer["model"], answer["features_from"], entry["key"]) == (MODEL, "table", "2020-01-5")
    assert answer["model_version"] == champion(shop.space, MODEL).digest
    assert answer["features_as_of"]["versions"] == {"2020-01": shop.store.current("shop/features")["2020-01"].sha256}
    assert entry["probability"] == pytest.approx(1 / (1 + math.exp(-entry["margin"])), abs=1e-7)


def test_an_unknown_key_is_an_entry(client):
    """A key that is not there has an error in its place; the others are answered, under their own numbers."""
    answer = ask(client, "nobody", "2020-02-3")

    unknown, known = answer["predictions"]
    assert unknown == {"key": "nobody", "error": "There is no such key in shop/features."}
    assert known["margin"] == client.get(f"/v1/predictions/{answer['prediction_id']}.1").json()["rows"][0]["margin"]


def test_only_unknown_keys_are_an_answer(client):
    """A batch without any known key is answered and recorded, without rows."""
    answer = ask(client, "nobody")

    assert "error" in answer["predictions"][0]
    assert client.get(f"/v1/predictions/{answer['prediction_id']}").json()["rows"] == []


def test_features_from_the_client_give_the_same_bits(shop, predictor):
    """Sending the features of a row gives its margin, bit for bit, for every row of a month."""
    keys = [f"2020-01-{place}" for place in range(80)]
    by_key = predictor.by_key(MODEL, keys)
    rows = [row["features"] for row in PredictionLog(shop.store).read(by_key.prediction_id)["rows"]]

    sent = predictor.by_features(MODEL, {name: [row[name] for row in rows] for name in rows[0]})

    assert sent.features_from == "client"
    assert [entry.margin for entry in sent.entries] == [entry.margin for entry in by_key.entries]
    assert len({entry.margin for entry in sent.entries}) > 5


def test_a_record_holds_the_engines_bits_and_what_it_saw(shop, predictor):
    """The record's bits are the engine's, its features reproduce them, and they come from the row it names."""
    answer = predictor.by_key(MODEL, ["2020-01-7", "2020-02-9"])

    record = PredictionLog(shop.store).read(answer.prediction_id)

    bundle = champion(shop.space, MODEL).bundle
    for row in record["rows"]:
        columns = {
            "amount": np.array([row["features"]["amount"]], np.float32),
            "rush": np.array([row["features"]["rush"]], np.float32),
            "channel": np.array([row["features"]["channel"]], object),
        }
        assert margin_bits(open_engine(bundle, record["engine"]).margin(columns)[0]) == row["margin_bits"]
    assert [row["table"]["partition"] for row in record["rows"]] == ["2020-01", "2020-02"]
    assert (record["model_version"], record["caller"]) == (bundle.digest, "local")


def test_a_record_is_durable_before_the_answer(shop, predictor, monkeypatch):
    """When the answer is made, another connection already sees its rows."""
    seen = []

    def spy(prediction_id, *given, **more):
        with Store(shop.space.settings) as other:
            seen.append(len(other.rows("prediction_rows", prediction_id=prediction_id)))

    monkeypatch.setattr("serving.predict._answer", spy)
    predictor.by_key(MODEL, ["2020-01-1", "nobody", "2020-01-2"])

    assert seen == [2]


@pytest.mark.parametrize("value", [1e-45, -0.0, 3.4028235e38, 16777217, 0.1, -1.17549435e-38])
def test_any_float32_is_recorded_exactly(shop, predictor, value):
    """What is read back from Postgres is the float32 that the engine saw; -0.0 is 0.0."""
    answer = predictor.by_features(MODEL, {"amount": [value], "rush": [None], "channel": [None]})

    (row,) = PredictionLog(shop.store).read(answer.prediction_id)["rows"]
    assert np.float32(row["features"]["amount"]) == np.float32(value)
    assert replay(shop.space, answer.prediction_id, Ports())["identical"]


def test_a_prediction_replays(shop, predictor):
    """The scorer reproduces the recorded bits from the recorded features, for a key as for sent features."""
    by_key = predictor.by_key(MODEL, ["2020-01-4"]).prediction_id
    sent = predictor.by_features(MODEL, {"amount": [1], "rush": [True], "channel": ["never seen"]}).prediction_id

    assert [replay(shop.space, name, Ports())["result"] for name in (by_key, sent)] == ["identical"] * 2


def test_a_prediction_survives_a_restart(shop, client):
    """A new server gives the same record."""
    name = ask(client, "2020-01-1", "2020-01-2")["prediction_id"]
    before = client.get(f"/v1/predictions/{name}").json()

    with TestClient(create_app(shop.space.settings)) as later:
        assert later.get(f"/v1/predictions/{name}").json() == before


def test_a_trace_leads_to_the_raw_file(client):
    """The trace of an answer ends in the file that its row came from."""
    name = ask(client, "2020-02-1")["prediction_id"]

    trace = client.get(f"/v1/predictions/{name}/trace").json()

    assert [source["file"] for source in trace["sources"]] == ["data/raw/shop/orders/2020-02.csv"]


def test_a_regression_has_no_probability(client):
    """A model that is not binary answers margins only."""
    answer = ask(client, "2020-01-1", model="shop-amount")

    assert set(answer["predictions"][0]) == {"key", "margin"}
    outputs = client.get("/v2/models/shop-amount").json()["outputs"]
    assert [output["name"] for output in outputs] == ["margin"]


def test_a_new_table_version_and_a_new_champion_are_picked_up(shop, predictor):
    """A month that lands, and a model that is trained again, answer without a restart; the old stay on record."""
    before = predictor.by_key(MODEL, ["2020-03-1", "2020-01-1"])
    shop.write_month("2020-03", 3)
    shop.run("orders", "features")
    landed = predictor.by_key(MODEL, ["2020-03-1"])
    shop.write_month("2020-01", 4)
    shop.run("orders", "features", "late_t0")

    after = predictor.by_key(MODEL, ["2020-03-1", "2020-01-1"])

    assert (before.entries[0].error is None, landed.entries[0].error, after.entries[0].error) == (False, None, None)
    assert before.model_version == landed.model_version != after.model_version
    assert replay(shop.space, f"{before.prediction_id}.1", Ports())["identical"]
    assert [version["aliases"] for version in list_models(shop.space) if version["name"] == MODEL] == [
        ["challenger", "champion"],
        [],
    ]


def test_what_is_current_is_asked_once_in_a_while(shop):
    """Between two looks at the database, an answer costs it nothing but the record."""
    asked: list[str] = []
    predictor = Predictor(replace(shop.space, store=_Spy(shop.store, asked)), recheck_seconds=60)
    predictor.by_key(MODEL, ["2020-01-1"])
    asked.clear()

    predictor.by_key(MODEL, ["2020-01-2"])

    assert asked == ["transaction", "run", "run"]


class _Spy:
    """A store that notes what is asked of it."""

    def __init__(self, store: Store, asked: list[str]) -> None:
        self._store, self._asked = store, asked

    def __getattr__(self, name: str) -> object:
        self._asked.append(name)
        return getattr(self._store, name)


def test_a_tampered_table_is_refused_by_name(shop, client):
    """A feature table with other bytes than recorded gives no answer by key, and says which file it is."""
    path = shop.space.root / TABLE
    original = path.read_bytes()
    path.write_bytes(original[:-1] + b"?")
    try:
        response = client.post(f"/v1/models/{MODEL}/predict", json={"keys": ["2020-01-1"]})
    finally:
        path.write_bytes(original)

    assert response.status_code == 500
    assert TABLE in response.json()["error"]
    assert "margin" in ask(client, "2020-01-1")["predictions"][0]


def test_a_damaged_copy_is_made_again(shop):
    """The copy that is served is ours: with other bytes than recorded it is not loaded, but made again."""
    path = champion(shop.space, MODEL).bundle.folder / "model.onnx"
    original = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(original[:-1] + b"?")

    answer = Predictor(shop.space).by_key(MODEL, ["2020-01-1"])

    assert answer.entries[0].margin is not None
    assert path.read_bytes() == original


def test_a_bundle_whose_bytes_are_lost_is_refused_by_name(shop):
    """With copy and stored object both damaged, nothing is answered, and ready says which file it is."""
    served = champion(shop.space, MODEL)
    version = shop.store.version("shop/late_t0", "", served.digest)
    (file,) = (file for file in version.files if file.path.endswith("model.onnx"))
    damaged = {
        path: path.read_bytes() for path in (served.bundle.folder / "model.onnx", shop.space.objects.path(file.md5))
    }
    for path in damaged:
        path.chmod(0o644)
        path.write_bytes(b"?")
    try:
        with pytest.raises(IntegrityError, match=r"model\.onnx"):
            Predictor(shop.space).by_key(MODEL, ["2020-01-1"])
        with TestClient(create_app(shop.space.settings)) as client:
            answers = [client.get(f"/v2/{place}ready") for place in ("health/", f"models/{MODEL}/")]
            assert client.get("/v2/health/live").status_code == 200
    finally:
        for path, original in damaged.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(original)
        shutil.rmtree(served.bundle.folder)

    assert [answer.status_code for answer in answers] == [503, 503]
    assert all("model.onnx" in answer.json()["error"] for answer in answers)


def test_a_damaged_object_never_becomes_a_copy(shop, tmp_path):
    """A bundle whose stored bytes are damaged is refused under its own name, and no copy is left behind."""
    digest = champion(shop.space, MODEL).digest
    version = shop.store.version("shop/late_t0", "", digest)
    (file,) = (file for file in version.files if file.path.endswith("model.ubj"))
    elsewhere = replace(shop.space, settings=replace(shop.space.settings, home=tmp_path))
    target = shop.space.objects.path(file.md5)
    original = target.read_bytes()
    target.chmod(0o644)
    target.write_bytes(b"?")
    try:
        with pytest.raises(IntegrityError, match=r"data/models/shop/late_t0/model\.ubj holds other bytes"):
            champion(elsewhere, MODEL)
        assert not list(tmp_path.glob("bundles/*"))
    finally:
        target.write_bytes(original)

    assert champion(elsewhere, MODEL).bundle.folder == tmp_path / "bundles" / digest


def test_training_again_does_not_touch_what_is_served(shop):
    """The copy that answers lies apart from data/models, by its content."""
    folder = champion(shop.space, MODEL).bundle.folder

    assert folder == shop.space.settings.home / "bundles" / champion(shop.space, MODEL).digest


def test_models_are_listed_with_their_history(shop, client):
    """Trained versions with run, metrics and inputs; a model that was never trained has none."""
    (version,) = show_model(shop.space, "shop-amount")["versions"]

    assert version in client.get("/v1/models").json()["models"]
    assert (version["aliases"], version["inputs"]) == (["challenger", "champion"], ["amount", "channel"])
    assert version["metrics"]["onnx_parity"]["rows"] == version["metrics"]["onnx_parity"]["exact"]
    assert show_model(shop.space, "shop-never")["versions"] == []


def test_several_threads_may_ask(predictor):
    """Answers to concurrent questions belong to their own questions."""
    start, answers = Barrier(4), {}

    def question(place: int) -> None:
        start.wait()
        answers[place] = [predictor.by_key(MODEL, [f"2020-02-{place}"]) for _ in range(5)]

    threads = [Thread(target=question, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for place in range(4):
        assert {answer.entries[0].key for answer in answers[place]} == {f"2020-02-{place}"}
        assert len({answer.entries[0].margin for answer in answers[place]}) == 1


def test_a_lost_database_is_said_and_survived(shop, client):
    """While the connection is gone there is no answer but a 503; afterwards all is as before."""
    ask(client, "2020-01-1")
    with psycopg.connect(shop.store.attachment.owner_url, autocommit=True) as owner:
        owner.execute("set role none")
        ours = [shop.store._connection.info.backend_pid, owner.info.backend_pid]
        owner.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where backend_type = 'client backend' and not pid = any(%s)",
            (ours,),
        )

    lost = client.post(f"/v1/models/{MODEL}/predict", json={"keys": ["2020-01-1"]})

    assert (lost.status_code, list(lost.json())) == (503, ["error"])
    assert "margin" in ask(client, "2020-01-1")["predictions"][0]


def test_v2_answers_from_features(shop, client):
    """Features in tensors, answers in tensors: flat, float32, with the request's id and a prediction id."""
    answer = infer(client, *FEATURES, id="mine").json()

    margin, probability = answer["outputs"]
    assert (answer["id"], answer["model_version"]) == ("mine", champion(shop.space, MODEL).digest)
    assert (margin["name"], margin["datatype"], margin["shape"]) == ("margin", "FP32", [2])
    assert all(np.float32(value) == value for value in margin["data"] + probability["data"])
    record = client.get(f"/v1/predictions/{answer['parameters']['prediction_id']}").json()
    assert [row["margin"] for row in record["rows"]] == margin["data"]
    assert [row["table"] for row in record["rows"]] == [None, None]


def test_v2_answers_by_key(client):
    """One tensor called key names rows of the table; both doors give the same margins."""
    answer = infer(client, tensor("key", "BYTES", "2020-01-1", "nobody"), outputs=[{"name": "margin"}]).json()

    assert answer["parameters"]["features_from"] == "table"
    assert answer["outputs"][0]["data"] == [ask(client, "2020-01-1")["predictions"][0]["margin"], None]


def test_v2_tells_what_there_is(shop, client):
    """Server, model and version can be asked for, and whether they are ready."""
    version = f"/v2/models/{MODEL}/versions/{champion(shop.space, MODEL).digest}"

    statuses = [
        client.get(place).status_code
        for place in (
            "/v2",
            "/v2/",
            "/v2/health/live",
            "/v2/health/ready",
            "/health",
            f"{version}/ready",
            "/openapi.json",
        )
    ]

    assert statuses == [200] * 7
    assert client.get("/v2").json()["name"] == "headwater"
    assert client.get(version).json() == client.get(f"/v2/models/{MODEL}").json()
    assert client.post(f"{version}/infer", json={"inputs": FEATURES}).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "named"),
    [
        ("GET", "/v2/models/shop-late-t9", None, 404, "shop-late-t0"),
        ("GET", "/v2/models/shop-late-t9/ready", None, 404, "shop-late-t9"),
        ("GET", "/v2/models/shop-never/ready", None, 404, "headwater run shop.never"),
        ("GET", f"/v2/models/{MODEL}/versions/1", None, 404, "'1'"),
        ("POST", f"/v2/models/{MODEL}/versions/1/infer", b'{"inputs": []}', 404, "'1'"),
        ("POST", "/v2/models/shop-never/infer", b"{}", 404, "headwater run shop.never"),
        ("POST", f"/v2/models/{MODEL}/infer", b"", 400, "not JSON"),
        ("POST", f"/v2/models/{MODEL}/infer", b"\xff", 400, "not JSON"),
        ("POST", f"/v2/models/{MODEL}/infer", b"[]", 400, "not a JSON object"),
        ("POST", f"/v2/models/{MODEL}/infer", b"[" * 100_000, 400, "nested too deeply"),
        ("POST", f"/v2/models/{MODEL}/infer", b"{}", 400, "inputs"),
        ("POST", f"/v1/models/{MODEL}/predict", b"{}", 400, "keys"),
        ("POST", f"/v1/models/{MODEL}/predict", b'{"keys": []}', 400, "no key"),
        ("POST", f"/v1/models/{MODEL}/predict", b'{"keys": "a"}', 400, "keys"),
        ("POST", f"/v1/models/{MODEL}/predict", b'{"keys": ["a", 1]}', 400, "key 1"),
        ("POST", f"/v1/models/{MODEL}/predict", b'{"keys": ["a\\u0000"]}', 400, "key 0"),
        ("POST", f"/v1/models/{MODEL}/predict", b'{"keys": ["\\ud800"]}', 400, "key 0"),
        ("POST", f"/v1/models/{MODEL}/predict", b'{"keys": ["a"], "key": 1}', 400, "keys"),
        ("POST", f"/v1/models/{MODEL}/predict", b" " * (BODY_LIMIT_BYTES + 1), 413, "16777216"),
        ("GET", "/v1/predictions/nonsense", None, 404, "nonsense"),
        ("GET", "/v1/predictions/3d9a38f9-8cde-4639-bb16-8d7cfb5a6c2f", None, 404, "3d9a38f9"),
        ("GET", "/v1/predictions/3d9a38f9-8cde-4639-bb16-8d7cfb5a6c2f/trace", None, 404, "3d9a38f9"),
        ("GET", f"/v1/models/{MODEL}/predict", None, 405, "Method Not Allowed"),
        ("GET", "/nowhere", None, 404, "Not Found"),
    ],
)
def test_every_error_is_one_sentence(client, method, path, body, status, named):
    """Whatever is wrong, the answer is an object with one field, error, that names it."""
    response = client.request(method, path, content=body)

    assert (response.status_code, list(response.json())) == (status, ["error"])
    assert named in response.json()["error"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("NaN", "'amount', row 0"),
        ("Infinity", "'amount'"),
        ("1e400", "'amount'"),
        ("1e39", "'amount'"),
        ('"1"', "'amount'"),
    ],
)
def test_numbers_that_are_none_are_refused(client, text, named):
    """NaN, infinities and strings in a numeric tensor are refused, naming it."""
    inputs = [tensor("amount", "FP64", "AMOUNT"), tensor("rush", "FP32", 0), tensor("channel", "BYTES", None)]
    body = json.dumps({"inputs": inputs}).replace('"AMOUNT"', text)

    response = client.post(f"/v2/models/{MODEL}/infer", content=body)

    assert response.status_code == 400
    assert named in response.json()["error"]


def test_binary_tensors_are_refused(client):
    """A request with the header of binary tensors says that they are not served here."""
    response = client.post(f"/v2/models/{MODEL}/infer", content=b"{}", headers={"Inference-Header-Content-Length": "2"})

    assert response.status_code == 400
    assert "binary" in response.json()["error"]


def test_no_record_no_answer(shop, predictor, monkeypatch):
    """When the log cannot keep an answer, there is none, and nothing of it is left."""
    before = len(_predictions(shop))

    def broken(*given, **more):
        raise psycopg.OperationalError("the disk is full")

    monkeypatch.setattr(PredictionLog, "_insert_rows", broken)
    with pytest.raises(DatabaseError, match="the disk is full"):
        predictor.by_key(MODEL, ["2020-01-1"])

    assert len(_predictions(shop)) == before


def _predictions(shop: Shop) -> list:
    return shop.store._connection.execute("select 1 from prediction").fetchall()
