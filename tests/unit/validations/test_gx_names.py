"""The private names of Great Expectations that we lean on: all of them, and that they are still there."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

from validations.suite import load_gx

VALIDATIONS = Path(__file__).parents[3] / "validations"

# What we call, and what GX calls of ours: a class or module, and its names.
CALLED = {
    "great_expectations.datasource.fluent.interfaces:Datasource": ["_add_asset"],
    "great_expectations.datasource.fluent.interfaces:DataAsset": ["_get_batch_metadata_from_batch_request"],
    "great_expectations.execution_engine:ExecutionEngine": [
        "_build_direct_and_bundled_metric_computation_configurations",
        "_partition_domain_kwargs",
    ],
    "great_expectations.expectations.registry": ["_registered_metrics"],
    "great_expectations.expectations.metrics.query_metric_provider:QueryMetricProvider": ["_format_query"],
}
ANSWERED = {
    "great_expectations.datasource.fluent.interfaces:Datasource": ["execution_engine_type", "test_connection"],
    "great_expectations.datasource.fluent.interfaces:DataAsset": [
        "_datasource",
        "_validate_batch_request",
        "build_batch_request",
        "get_batch",
        "get_batch_identifiers_list",
        "get_batch_parameters_keys",
        "test_connection",
    ],
    "great_expectations.execution_engine:ExecutionEngine": [
        "_and_condition_to_filter_clause",
        "_comparison_condition_to_filter_clause",
        "_nullity_condition_to_filter_clause",
        "_or_condition_to_filter_clause",
    ],
    "great_expectations.expectations.metrics.metric_provider:MetricProvider": ["_get_evaluation_dependencies"],
    # Beside the public engine and expectations: classes that GX's documentation does not promise.
    "great_expectations.core.batch": ["LegacyBatchDefinition", "BatchMarkers", "BatchData"],
    "great_expectations.datasource.fluent.batch_identifier_util": ["make_batch_identifier"],
    "great_expectations.datasource.fluent.data_asset.path.file_asset": [
        "PathNotFoundError",
        "RegexMissingRequiredGroupsError",
        "RegexUnknownGroupsError",
    ],
}


@pytest.mark.parametrize("place", sorted({*CALLED, *ANSWERED}))
def test_names_of_gx_are_still_there(place):
    """After an upgrade of GX this says what is gone and where it was."""
    load_gx()
    module, _, holder = place.partition(":")
    found = importlib.import_module(module)
    found = getattr(found, holder) if holder else found
    private = getattr(found, "__private_attributes__", {})

    gone = [
        name
        for name in (*CALLED.get(place, ()), *ANSWERED.get(place, ()))
        if not hasattr(found, name) and name not in private
    ]

    assert [] == gone, f"this version of great_expectations has no {', '.join(gone)} in {place}; validations/ needs it"


def test_no_other_private_name_is_used():
    """A name of GX that begins with an underscore is in the list above, or is not used."""
    used, own = set(), set()
    for path in VALIDATIONS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                own.add(node.name)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                own.add(node.id if isinstance(node, ast.Name) else node.attr)
            elif isinstance(node, ast.Attribute):
                used.add(node.attr)
            elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("great_expectations"):
                used.update(item.name for item in node.names)
    private = {name for name in used - own if name.startswith("_") and not name.startswith("__")}

    assert private == {name for names in CALLED.values() for name in names}
