"""Results of checks in the store: the facts of each expectation, and beside them the words that a page shows."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from psycopg.types.json import Jsonb

from lineage.ports import CheckReport, describe
from lineage.store import Store
from lineage.versions import Version


def record_checks(store: Store, run_id: UUID, version: Version, checks: Iterable[CheckReport]) -> None:
    """Record what suites found on a version, or on one that was refused; within the caller's transaction."""
    for report in checks:
        # The words apart: only a page needs them, and gc takes them.
        expectations = [
            {name: value for name, value in vars(item).items() if name != "wording"} | {"text": describe(item)}
            for item in report.expectations
        ]
        store.run(
            "insert_check_result",
            run_id=run_id,
            dataset=version.dataset,
            partition=version.partition,
            sha256=version.sha256,
            suite=report.suite,
            success=report.success,
            expectations=Jsonb(expectations),
            wording=Jsonb([dict(item.wording) for item in report.expectations]),
        )
