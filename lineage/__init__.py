"""What came from what, and the runner that records it.

An author needs only these names and, for aggregates over the past, those of `lineage.history`; everything is
declared with them, in files under `assets/`.
"""

from lineage.pipeline import Pipeline, constant
from lineage.spec import by_hash, by_time, files, from_package, monthly, suite

__all__ = ["Pipeline", "by_hash", "by_time", "constant", "files", "from_package", "monthly", "suite"]
