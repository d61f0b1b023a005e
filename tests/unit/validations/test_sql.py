"""Queries that an author writes: one SELECT on the batch, and nothing else."""

from __future__ import annotations

import polars as pl
import pytest

from validations.suite import load_gx

ROWS = pl.LazyFrame({"id": [1, 2], "read_csv(": [3, 4], "text": ["x", "read_csv('"]})


@pytest.fixture(scope="module")
def run_query():
    """The function under test; imported here, as Great Expectations warns when it is loaded."""
    load_gx()
    from validations.metrics.queries import run_query

    return run_query


@pytest.mark.parametrize(
    "query",
    [
        "SELECT id FROM batch WHERE text = 'read_csv('''",
        'SELECT id FROM batch WHERE "read_csv(" = 4',
        "SELECT id FROM batch WHERE `read_csv(` = 4 AND '' = ''",
        "/* read_csv('x') /* ; */ DROP */ SELECT id -- ; read_csv('\n FROM batch WHERE id > 1;",
        "WITH b AS (SELECT * FROM batch) SELECT id FROM b WHERE id > 1",
        "(SELECT id FROM batch WHERE text LIKE $a$%read_csv('%$a$)",
        "SELECT id FROM batch WHERE text <> 'x;' AND id IN (2)",
    ],
)
def test_one_select_is_run_whatever_its_texts_and_names_hold(run_query, query):
    """The words of SQL within texts, quoted names and comments mean nothing."""
    assert run_query(query, {"batch": ROWS}).collect().to_dict(as_series=False) == {"id": [2]}


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("DROP TABLE batch", "it begins with DROP; write a single SELECT, or WITH … SELECT, on {batch}."),
        ("delete from batch", "it begins with delete; write a single SELECT"),
        ("-- nothing\n", "it begins with nothing; write a single SELECT"),
        ("EXPLAIN SELECT * FROM batch", "it begins with EXPLAIN;"),
        ("SELECT 1; SELECT 2", "it has more than one statement; write a single SELECT on {batch}."),
        ("SELECT id FROM batch; TRUNCATE TABLE batch;", "it has more than one statement"),
        ("SELECT id FROM batch WHERE nope > 1", 'unable to find column "nope"; valid columns: ["id", "read_csv(",'),
        ("SELECT id.b.c FROM batch", "StructFieldNotFoundError 'b'"),
        ("SELECT * FROM nope", "relation 'nope' was not found"),
    ],
)
def test_any_other_query_is_refused(run_query, query, said):
    """The error has the query, what is wrong with it, and what to write."""
    with pytest.raises(ValueError, match="Polars cannot run the query") as error:
        run_query(query, {"batch": ROWS})

    assert said in str(error.value)


@pytest.mark.parametrize("function", ["read_csv", "READ_CSV", '"read_csv"', "read_csv /* it */ -- is\n"])
@pytest.mark.parametrize(
    "query", ["SELECT * FROM {}({!r})", "SELECT id FROM batch WHERE id IN (SELECT id FROM {}({!r}))"]
)
def test_a_function_that_reads_files_is_refused(run_query, tmp_path, function, query):
    """However it is spelt, also where the file is there and Polars would read it."""
    path = tmp_path / "rows.csv"
    path.write_text("id\n1\n")

    with pytest.raises(ValueError, match=r"its function read_csv reads files, .* write \{batch\} instead"):
        run_query(query.format(function, str(path)), {"batch": ROWS})


@pytest.mark.parametrize("function", ["read_parquet", "read_json", "read_ipc"])
def test_each_function_that_reads_files_is_refused(run_query, function):
    """On another data source, its assets are named."""
    with pytest.raises(ValueError, match=rf"its function {function} reads files, .* write the assets days, nights"):
        run_query(f"SELECT * FROM {function}('rows')", {"days": ROWS, "nights": ROWS})
