"""The plots of a model: which files a trainer leaves beside the metrics, and how DVC draws each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lineage.spec import Model, Step

# Only this trainer promises plots. Another's are recorded with its models, but DVC is told of none.
_TRAINER = "serving.fit:fit"
_ANSWERS = ("model", "linear", "base")


@dataclass(frozen=True)
class Plot:
    """One CSV file of a model, and the columns of it that DVC's template draws."""

    name: str
    title: str
    x: str
    y: str | tuple[str, ...]
    x_label: str
    y_label: str
    template: str = "simple"

    def definition(self, path: str, model: str) -> dict[str, Any]:
        """The plot as dvc.yaml has it under `plots`, of the file at `path`."""
        return {
            "title": f"{model}: {self.title}",
            "template": self.template,
            "x": {path: self.x},
            "y": {path: self.y if isinstance(self.y, str) else list(self.y)},
            "x_label": self.x_label,
            "y_label": self.y_label,
        }


def _bars(name: str, title: str, by: str, length: str, label: str) -> Plot:
    return Plot(name, title, length, by, label, by, "bar_horizontal")


_CALIBRATION = Plot(
    "calibration", "calibration", "predicted", ("observed", "predicted"), "mean prediction", "mean of what came"
)
_IMPORTANCE = Plot(
    "importance", "importance of features", "share", "feature", "share of gain", "feature", "bar_horizontal_sorted"
)
_PLOTS = {
    True: (
        _bars("scores", "log loss", "answer", "logloss", "log loss"),
        _CALIBRATION,
        Plot("gain", "cumulative gain", "share", _ANSWERS, "share of rows", "share of positives"),
        _bars("months", "log loss by month", "month", "model_logloss", "log loss"),
        _IMPORTANCE,
    ),
    False: (
        _bars("scores", "mean absolute error", "answer", "mae", "MAE"),
        _CALIBRATION,
        Plot("errors", "absolute error", "share", _ANSWERS, "share of rows", "error that they stay within"),
        _bars("months", "mean absolute error by month", "month", "model_mae", "MAE"),
        _IMPORTANCE,
    ),
}


def plots_of(step: Step) -> tuple[Plot, ...]:
    """The plots that the model of `step` leaves; none of other steps, nor of trainers that are not ours."""
    if not isinstance(step.detail, Model) or step.detail.trainer != _TRAINER:
        return ()
    return _PLOTS[step.detail.objective == "binary:logistic"]


def plots_folder(step: Step) -> str:
    """Where the plots of a model stand, relative to the root; git keeps these files."""
    return f"data/metrics/{step.dataset}"


def plot_path(step: Step, name: str) -> str:
    """Where one plot's CSV stands, relative to the root."""
    return f"{plots_folder(step)}/{name}.csv"
