"""What it is compared with: a recursive query of overlapping arrays, as Marquez asks, in the same database."""

from __future__ import annotations

import random
import statistics
import time

import psycopg

from benchmarks.lineage.service import connected
from lineage.store import Store

OVERLAP = """
    with recursive job_io as (
        select job, coalesce(array_agg(dataset) filter (where not is_output), '{}') as inputs,
               coalesce(array_agg(dataset) filter (where is_output), '{}') as outputs
        from graph_edge where current group by job
    ), walk (job, inputs, outputs, depth) as (
        select job, inputs, outputs, 0 from job_io where job = %(job)s
        union
        select io.job, io.inputs, io.outputs, walk.depth + 1
        from job_io io, walk
        where io.job <> walk.job and (io.outputs && walk.inputs or io.inputs && walk.outputs) and walk.depth < %(depth)s
    )
    select count(distinct job) from walk
"""


def compare(store: Store, jobs: int, depth: int, times: int, chance: random.Random) -> None:
    """Tell how long it takes at a few jobs: each step of it looks at all jobs."""
    with connected(store) as connection:
        connection.execute("set statement_timeout = '30s'")
        spent = []
        for _ in range(times):
            number = jobs * 3 // 4 + chance.randrange(jobs // 4)
            query = "select node_id from graph_node where kind = 'job' and name = %s"
            found = connection.execute(query, (f"dag_{number // 10}.task_{number}",)).fetchone()
            assert found
            started = time.perf_counter()
            try:
                connection.execute(OVERLAP.encode(), {"job": found[0], "depth": depth})
            except psycopg.errors.QueryCanceled:
                # As good as never.
                connection.rollback()
            spent.append(time.perf_counter() - started)
    print(f"  arrays that overlap, {depth} jobs deep: median {statistics.median(spent) * 1e3:,.0f} ms", flush=True)
