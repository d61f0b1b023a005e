"""What Dagster shows of a trained model, whichever door the training came through."""

import base64
import math

import dagster as dg
import pytest

from orchestration.evaluation import evaluation_metadata
from orchestration.reports import drain_reports

PICTURES = ("calibration", "gain", "months", "importance")


@pytest.fixture(scope="module")
def shop(make_shop):
    """A shop whose model is trained by XGBoost, run through another door than Dagster's."""
    shop = make_shop("depot_evaluation", trainer="serving.fit:fit")
    shop.run()
    return shop


@pytest.fixture(scope="module")
def metadata(shop):
    """The metadata of the model's materialization, as Dagster has stored it."""
    with dg.DagsterInstance.ephemeral() as instance:
        drain_reports(shop.space, instance)
        event = instance.get_latest_materialization_event(dg.AssetKey(["shop", "late_t0"]))
        return event.asset_materialization.metadata


def test_scores_are_numbers(metadata):
    """Dagster draws the test scores over time, for they are numbers."""
    scores = {name: value.value for name, value in metadata.items() if name.startswith("test ")}

    assert {"test auc", "test brier", "test ece", "test logloss"} == set(scores)
    assert all(isinstance(score, float) and math.isfinite(score) for score in scores.values())


def test_the_comparison_is_a_table(metadata):
    """Model, linear model and base rate stand below each other, a column for each score."""
    table = metadata["comparison"]

    assert ["answer", "auc", "logloss", "brier", "ece"] == [column.name for column in table.schema.columns]
    assert ["model", "linear", "base"] == [record.data["answer"] for record in table.records]
    assert table.records[2].data["auc"] == 0.5


@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_in_the_event(metadata, name):
    """A picture is Markdown with the PNG inside: nothing has to be there but the event."""
    start, _, data = metadata[name].value.partition(",")

    assert f"![{name}](data:image/png;base64" == start
    assert base64.b64decode(data.rstrip(")")).startswith(b"\x89PNG")


def test_the_card_is_the_bundles(shop, metadata):
    """The card that Dagster shows is the bundle's file, word for word."""
    assert shop.path("data/models/shop/late_t0/card.md").read_text() == metadata["card"].value


def test_only_models_are_evaluated(shop):
    """A table's materialization carries none of it."""
    assert {} == evaluation_metadata(shop.space, shop.current("totals"))


def test_a_model_of_another_trainer_has_its_metadata(make_shop):
    """A trainer that writes neither plots nor card nor test scores is reported all the same, without them."""
    shop = make_shop("depot_plain")
    shop.run()

    assert {} == evaluation_metadata(shop.space, shop.current("late_t0"))
