"""What Dagster loads: the definitions of all pipelines that this project declares."""

from lineage.discover import discover
from lineage.settings import read_settings
from orchestration.build import build_definitions

_settings = read_settings()

defs = build_definitions(_settings, discover(_settings))
