"""Neither the order of events nor how often they come matters: the same set gives the same graph."""

import random
import uuid
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lineage.graph.index import GraphIndex
from lineage.projection import draw_backlog, receive_events
from lineage.retention import prune, purge
from lineage.settings import Settings
from lineage.store import Store

DATASETS, JOBS, RUNS = "abcd", "xyz", 4
STATES = ("START", "RUNNING", "COMPLETE", "FAIL", "ABORT", "OTHER", None)
TABLES = ("graph_node", "graph_run", "graph_io", "graph_edge", "graph_columns")

datasets = st.sampled_from(DATASETS)
seconds = st.integers(0, 5)
schemas = st.lists(st.sampled_from(["id", "at", "value"]), unique=True, max_size=3)


@st.composite
def facets(draw, *, written):
    """Facets of a dataset: a few that repeat, that collide in time, that rename it, that name others."""
    found = {}
    if draw(st.booleans()):
        found["schema"] = {"fields": [{"name": name, "type": "int"} for name in draw(schemas)]}
    if draw(st.booleans()):
        found["version"] = {"datasetVersion": draw(st.sampled_from(["1", "2"]))}
    if draw(st.integers(0, 4)) == 0:
        found["symlinks"] = {"identifiers": [{"namespace": "SPACE", "name": draw(datasets), "type": "TABLE"}]}
    if draw(st.integers(0, 4)) == 0:
        found["documentation"] = {"description": "é", "_deleted": draw(st.booleans())}
    if written and draw(st.booleans()):
        source = {"namespace": "SPACE", "name": draw(datasets), "field": "id"}
        found["columnLineage"] = {"fields": {"id": {"inputFields": [source]}}}
    return found


@st.composite
def events(draw):
    """A RunEvent, or a JobEvent or DatasetEvent now and then."""
    kind = draw(st.sampled_from(["run"] * 6 + ["job", "dataset"]))
    body = {
        "eventTime": f"2013-03-01T12:00:0{draw(seconds)}Z",
        "producer": "https://example.org/test",
        "schemaURL": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent",
    }
    if kind == "dataset":
        return {**body, "dataset": _dataset(draw(datasets), draw(facets(written=False)))}
    for key in ("inputs", "outputs"):
        body[key] = [_dataset(name, draw(facets(written=key == "outputs"))) for name in draw(st.sets(datasets))]
    job = {"processingType": "STREAMING"} if draw(st.integers(0, 9)) == 0 else {"processingType": "BATCH"}
    body["job"] = {"namespace": "SPACE", "name": draw(st.sampled_from(JOBS)), "facets": {"jobType": job}}
    if kind == "run":
        run = str(uuid.UUID(int=draw(st.integers(0, RUNS - 1))))
        body["run"] = {"runId": run, "facets": {"mark": {"value": draw(st.integers(0, 2))}}}
        if state := draw(st.sampled_from(STATES)):
            body["eventType"] = state
    return body


def _dataset(name, facets):
    return {"namespace": "SPACE", "name": name, "facets": facets}


def drawn(store, bodies, sizes):
    """The graph of these events, received in this order in batches into an empty one: rows, and in memory."""
    for table in (*TABLES, "event"):
        store._connection.execute(f"delete from {table}")
    index = GraphIndex()
    for size in sizes:
        with store.transaction():
            receive_events(store, bodies[:size])
        bodies = bodies[size:]
        index.refresh(store)
    rows = {table: sorted(_lines(store, table)) for table in TABLES}
    return rows, neighbours(index), neighbours(loaded(store))


def _lines(store, table):
    """The rows of a table as text, the transactions that wrote them apart."""
    return [
        str(row["row"]) for row in store._connection.execute(f"select to_jsonb(t) - 'changed' as row from {table} t")
    ]


def loaded(store):
    """An index that reads everything at once."""
    index = GraphIndex()
    index.refresh(store)
    return index


def neighbours(index):
    """Each node with what flows into it and out of it, and what other names it has."""

    def names(entries):
        return sorted(entry.node for entry in entries)

    return sorted((entry.node, names(entry.up), names(entry.down), sorted(entry.keys)) for entry in index.nodes())


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    home = tmp_path_factory.mktemp("order")
    with Store(Settings(root=home, home=home)) as store:
        yield store


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(bodies=st.lists(events(), min_size=1, max_size=8), seed=st.integers(0, 10**6))
def test_order_and_repetition_do_not_matter(store, bodies, seed):
    """All tables and the graph in memory, whether it grew or was read at once, are those of the events in order."""
    chance = random.Random(seed)
    shuffled = [*bodies, *chance.choices(bodies, k=chance.randint(0, 4))]
    chance.shuffle(shuffled)
    sizes = []
    while sum(sizes) < len(shuffled):
        sizes.append(chance.randint(1, 4))

    (rows, grown, whole), (others, grown_anew, whole_anew) = (
        drawn(store, bodies, [len(bodies)]),
        drawn(store, shuffled, sizes),
    )

    assert rows == others
    assert whole == grown == grown_anew == whole_anew


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(
    first=st.lists(events(), min_size=1, max_size=8),
    later=st.lists(events(), max_size=5),
    second=seconds,
    seed=st.integers(0, 10**6),
)
def test_nor_do_they_after_a_prune(store, first, later, second, seed):
    """Late and repeated events come to the same rows, pruned or not; the graph is that of all events, purged or not."""
    chance = random.Random(seed)
    shuffled = [*later, *chance.choices([*first, *later], k=chance.randint(0, 4))]
    chance.shuffle(shuffled)
    _, _, expected = drawn(store, [*first, *later], [len(first) + len(later)])

    found = []
    for bodies in (later, shuffled):
        drawn(store, first, [len(first)])
        prune(store, datetime(2013, 3, 1, 12, 0, second, tzinfo=UTC))
        for body in bodies:
            with store.transaction():
                receive_events(store, [body])
        found.append({table: sorted(_shown(store, table)) for table in TABLES})
        assert neighbours(loaded(store)) == expected
        purge(store, datetime.now(UTC))
        store._connection.execute("delete from pruning")
        # As an event of each job would.
        jobs = store._connection.execute("select node_id from graph_node where kind = 'job'").fetchall()
        store.run("refresh_graph_edges", jobs=[row["node_id"] for row in jobs])
        assert neighbours(loaded(store)) == expected

    assert found[0] == found[1]


def _shown(store, table):
    """The rows of a table as text, with whether they are pruned and not since when."""
    query = f"""select (to_jsonb(t) - 'changed' - 'pruned_at')::text || (to_jsonb(t) ->> 'pruned_at' is not null)::text
                as row from {table} t"""
    return [row["row"] for row in store._connection.execute(query)]


def test_events_from_before_the_graph_are_drawn(store):
    """What stands in the backlog is drawn once; the graph is that of the events."""
    bodies = [in_job("load", [], ["a"]), in_job("pack", ["a"], ["b"])]
    expected = drawn(store, bodies, [2])
    for table in TABLES:
        store._connection.execute(f"delete from {table}")
    store._connection.execute("insert into graph_backlog select event_id from event")

    assert (draw_backlog(store), draw_backlog(store)) == (2, 0)

    assert {table: sorted(_lines(store, table)) for table in TABLES} == expected[0]


def in_job(job, inputs, outputs):
    return {
        "eventTime": "2013-03-01T12:00:00Z",
        "eventType": "COMPLETE",
        "run": {"runId": str(uuid.uuid5(uuid.NAMESPACE_OID, job))},
        "job": {"namespace": "SPACE", "name": job},
        "inputs": [_dataset(name, {}) for name in inputs],
        "outputs": [_dataset(name, {}) for name in outputs],
    }


def test_who_looks_after_more_changes_than_are_kept_reads_everything(store):
    """The notes of changes are trimmed; a graph in memory that is older than they are is read anew, and is right."""
    drawn(store, [in_job("load", [], ["a"])], [1])
    index = loaded(store)
    with store.transaction():
        receive_events(store, [in_job("pack", ["a"], ["b"])])
    for _ in range(2):
        store._connection.execute(
            "insert into graph_change (nodes) select array_agg(gen_random_uuid()) from generate_series(1, 600000)"
        )

    assert store.run("trim_graph_changes") > 0
    index.refresh(store)

    assert neighbours(index) == neighbours(loaded(store))
    assert [entry.node.name for entry in index.listed("job")] == ["load", "pack"]
