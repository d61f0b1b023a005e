"""Pictures of an evaluation for Dagster's pages, drawn from the CSV files that a model's version holds."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INCHES, _DOTS_PER_INCH = (5.2, 3.4), 90
_MOST_FEATURES = 15
# The answers' colours, apart also for those who do not tell red from green (Okabe and Ito, 2008).
_COLORS = {"model": "#0072B2", "linear": "#E69F00", "base": "#999999"}

Columns = Mapping[str, list[str]]


def draw(plots: Mapping[str, bytes]) -> dict[str, bytes]:
    """A PNG for each CSV in `plots` (file name -> bytes) that has rows and that there is a picture of, by its name."""
    columns = {name.removesuffix(".csv"): _columns(data) for name, data in plots.items()}
    found = {name: _png(_PICTURES[name], columns[name]) for name in _PICTURES if columns.get(name)}
    return {name: png for name, png in found.items() if png}


def as_markdown(name: str, png: bytes) -> str:
    """The picture inside a line of Markdown, as Dagster's pages show it."""
    return f"![{name}](data:image/png;base64,{base64.b64encode(png).decode()})"


def _columns(data: bytes) -> dict[str, list[str]]:
    """Column -> values; nothing where there are no rows."""
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    return {name: [row[name] for row in rows] for name in rows[0]} if rows else {}


def _numbers(texts: list[str]) -> list[float]:
    return [float(text) if text else float("nan") for text in texts]


def _png(drawn: Callable[[Axes, Columns], None], columns: Columns) -> bytes | None:
    """The picture; None of a table that has other columns, as another trainer's may."""
    # Figure without pyplot: nothing global is kept, and no display is asked for.
    from matplotlib.figure import Figure

    figure: Figure = Figure(figsize=_INCHES, dpi=_DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    try:
        drawn(axes, columns)
    except (KeyError, ValueError):
        return None
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _calibration(axes: Axes, columns: Columns) -> None:
    predicted, observed = _numbers(columns["predicted"]), _numbers(columns["observed"])
    ends = [min(predicted), max(predicted)]
    axes.plot(ends, ends, color=_COLORS["base"], linestyle="--", label="as predicted")
    axes.plot(predicted, observed, color=_COLORS["model"], marker="o", label="observed")
    axes.set(xlabel="mean prediction", ylabel="mean of what came")
    axes.legend(frameon=False)


def _gain(axes: Axes, columns: Columns) -> None:
    _curves(axes, columns)
    axes.set(xlabel="share of rows, highest predictions first", ylabel="share of positives")


def _errors(axes: Axes, columns: Columns) -> None:
    _curves(axes, columns)
    axes.set(xlabel="share of rows", ylabel="absolute error they stay within")


def _curves(axes: Axes, columns: Columns) -> None:
    for name, color in _COLORS.items():
        if name in columns:
            axes.plot(_numbers(columns["share"]), _numbers(columns[name]), color=color, label=name)
    axes.legend(frameon=False)


def _months(axes: Axes, columns: Columns) -> None:
    score = "logloss" if "model_logloss" in columns else "mae"
    places = range(len(columns["month"]))
    for name, color in _COLORS.items():
        if f"{name}_{score}" in columns:
            axes.plot(places, _numbers(columns[f"{name}_{score}"]), color=color, marker="o", label=name)
    step = max(1, len(places) // 8)
    axes.set_xticks(list(places)[::step], columns["month"][::step])
    axes.set_ylabel({"logloss": "log loss", "mae": "MAE"}[score])
    axes.legend(frameon=False)


def _importance(axes: Axes, columns: Columns) -> None:
    names, shares = columns["feature"][:_MOST_FEATURES], _numbers(columns["share"])[:_MOST_FEATURES]
    axes.barh(names[::-1], shares[::-1], color=_COLORS["model"])
    axes.tick_params(axis="y", labelsize=8)
    axes.set_xlabel("share of gain")


_PICTURES: dict[str, Callable[[Any, Columns], None]] = {
    "calibration": _calibration,
    "gain": _gain,
    "errors": _errors,
    "months": _months,
    "importance": _importance,
}
