"""Assets of Polars data sources, found by name: what expectations that look beyond their own batch read."""

from __future__ import annotations

from typing import Any

import polars as pl
from great_expectations.data_context.data_context.context_factory import project_manager


def asset_frame(name: str) -> pl.LazyFrame:
    """The whole frame of the Polars asset of that name; ValueError where none or several bear it."""
    found = [(source, asset) for source, asset in _assets() if asset.name == name]
    if len(found) != 1:
        known = ", ".join(sorted(f"{source}.{asset.name}" for source, asset in _assets())) or "none"
        what = "no" if not found else "more than one"
        raise ValueError(f"There is {what} table {name!r} among the Polars assets that hold files; there are {known}.")
    frame: pl.LazyFrame = found[0][1].frame()
    return frame


def _assets() -> list[tuple[str, Any]]:
    sources = project_manager.get_datasources()
    # A frame that comes with a run is nowhere between two runs.
    return [(name, asset) for name, source in sources.items() for asset in source.assets if hasattr(asset, "frame")]
