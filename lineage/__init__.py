"""What came from what, and the runner that records it.

An author needs only these names; everything is declared with them, in files under `assets/`.
"""

from lineage.history import history, with_history
from lineage.pipeline import Pipeline
from lineage.spec import by_time, files, from_package, monthly, suite

__all__ = ["Pipeline", "by_time", "files", "from_package", "history", "monthly", "suite", "with_history"]
