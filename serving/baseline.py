"""What a model must beat: the best constant, and the best linear model of the same rows.

Both are learnt from batches that are read again for each pass, in float64, so that rows never stand in
memory together. What another CPU adds differently must not reach a number that DVC hashes: coefficients
are rounded, and margins added up in one order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from lineage.errors import DeclarationError
from serving.scores import LOGISTIC, losses, mean

Matrix = NDArray[np.float32]
Labels = NDArray[np.float32]
Batches = Callable[[], Iterable[tuple[Matrix, Labels]]]
_Doubles = NDArray[np.float64]

# The penalty λ/2 |β|² on all but the intercept, as scikit-learn's LogisticRegression has it with C = 1.
RIDGE = 1.0
# Of a column with more categories only the most frequent count: the system to solve has a row for each.
MOST_CATEGORIES = 500
# Newton's steps square their error, so what this step leaves over is below the last bit of a float64.
_LAST_STEP = 1e-7
_MOST_STEPS = 100
# Of coefficients, in standard deviations. CPUs disagree on them by 1e-15, so that rounding makes them agree.
_DECIMALS = 6
_LOG_ODDS_DECIMALS = 9
_BLOCK_ROWS = 16_384


@dataclass(frozen=True)
class Constant:
    """The answer that looks at no feature."""

    margin: float

    def margins(self, matrix: Matrix) -> NDArray[np.float32]:
        """Margins, float32 of shape (n,), for rows of shape (n, features)."""
        return np.full(len(matrix), self.margin, np.float32)


@dataclass(frozen=True)
class Linear:
    """An intercept and a coefficient for each term that `terms` makes of a row.

    A margin is `center + scale * (terms · coefficients)`. `missing` is each feature's share of training rows
    without a value.
    """

    terms: Terms
    coefficients: _Doubles
    center: float = 0.0
    scale: float = 1.0

    @property
    def missing(self) -> _Doubles:
        """Share of training rows without a value (or, of strings, with an unknown one) by feature."""
        return self.terms.missing

    def margins(self, matrix: Matrix) -> NDArray[np.float32]:
        """Margins, float32 of shape (n,), for rows of shape (n, features); NaN is missing."""
        found = np.empty(len(matrix), np.float32)
        for start in range(0, len(matrix), _BLOCK_ROWS):
            block = matrix[start : start + _BLOCK_ROWS]
            answer = _dot(self.terms.of(block), self.coefficients)
            found[start : start + _BLOCK_ROWS] = self.center + self.scale * answer
        return found


@dataclass(frozen=True)
class Terms:
    """How rows become terms: 1, standardized numbers, a term for "missing", and one for each category.

    `numbers`, `gappy` (those of them that lack values in training) and `codes` are columns of the matrix;
    `places[column]` leads from a category's code to its term, with -1 for one that has none.
    """

    numbers: NDArray[np.intp]
    gappy: NDArray[np.intp]
    means: _Doubles
    deviations: _Doubles
    places: Mapping[int, NDArray[np.intp]]
    missing: _Doubles

    @property
    def dense(self) -> int:
        """How many terms are not categories."""
        return 1 + len(self.numbers) + len(self.gappy)

    @property
    def count(self) -> int:
        """How many terms a row has."""
        return self.dense + sum(_size(places) for places in self.places.values())

    def of(self, block: Matrix) -> _Rows:
        """The terms of a block of rows."""
        dense = np.zeros((len(block), self.dense), order="F")
        dense[:, 0] = 1.0
        values = block[:, self.numbers].astype(np.float64)
        # The mean stands in for what is missing: 0, in standard deviations from it.
        centered = np.where(np.isfinite(values), values - self.means, 0.0)
        dense[:, 1 : 1 + len(self.numbers)] = centered / self.deviations
        dense[:, 1 + len(self.numbers) :] = ~np.isfinite(block[:, self.gappy])
        return _Rows(dense, tuple(self._chosen(block)))

    def _chosen(self, block: Matrix) -> Iterator[_Choice]:
        first = self.dense
        for column, places in self.places.items():
            size = _size(places)
            place = np.append(places, -1)[_codes(block[:, column], len(places))]
            yield _Choice(slice(first, first + size), np.where(place < 0, size, place))
            first += size


@dataclass(frozen=True)
class _Choice:
    """Which of the terms in `where` is 1 in each row, counted from the first; their number where none is."""

    where: slice
    place: NDArray[np.intp]

    @property
    def size(self) -> int:
        return int(self.where.stop - self.where.start)

    def sums(self, values: _Doubles) -> _Doubles:
        """The sum of `values` over the rows of each term."""
        return _sums_by(self.place, values, self.size + 1)[: self.size]

    def pair_sums(self, other: _Choice, values: _Doubles) -> _Doubles:
        """The sum of `values` over the rows of each term of ours and each of the other's."""
        shape = (self.size + 1, other.size + 1)
        sums = _sums_by(self.place * shape[1] + other.place, values, shape[0] * shape[1])
        return sums.reshape(shape)[:-1, :-1]


def _sums_by(place: NDArray[np.intp], values: _Doubles, size: int) -> _Doubles:
    return np.bincount(place, values, size).astype(np.float64, copy=False)


@dataclass(frozen=True)
class _Rows:
    """Terms of some rows: those with any value, by column, and of the rest which are 1."""

    dense: _Doubles
    choices: tuple[_Choice, ...]


def fit_constant(objective: str, labels: Labels) -> Constant:
    """The constant that is best on `labels`, float32 of shape (n,): log-odds of the base rate, median, or mean.

    The median for reg:absoluteerror, the mean for other regressions. DeclarationError where there are no rows.
    """
    if not len(labels):
        raise DeclarationError("there are no training rows to take a base rate from; check the split.")
    if objective == LOGISTIC:
        return Constant(_log_odds(mean(labels), len(labels)))
    if objective == "reg:absoluteerror":
        return Constant(float(np.median(labels.astype(np.float64))))
    return Constant(mean(labels))


def fit_linear(objective: str, batches: Batches, categories: Mapping[int, int]) -> Linear:
    """Logistic regression for binary:logistic, least squares for regressions, both with a small ridge.

    `batches()` gives (matrix, labels) again at each call: float32 of shapes (n, features), NaN for missing, and
    (n,). `categories` is how many categories a column of codes has. Numbers are standardized, what is missing
    is the mean and has a term of its own, each category is a term. Newton's method, which for logistic
    regression is iteratively reweighted least squares (Hastie, Tibshirani, Friedman: The Elements of
    Statistical Learning, 2nd edition, 4.4.1; the ridge: 3.4.1). DeclarationError where there are no rows.
    """
    terms, target = _survey(batches, categories)
    if objective != LOGISTIC:
        scale = target.deviation or 1.0
        start = Linear(terms, np.zeros(terms.count), center=target.mean, scale=scale)
        return _rounded(_step(start, _sums(start, batches, logistic=False)))
    coefficients = np.zeros(terms.count)
    coefficients[0] = _log_odds(target.mean, target.count)
    start = Linear(terms, coefficients)
    # Of a single class every slope is useless, and the best intercept infinite.
    return _rounded(start if target.deviation == 0 else _newton(start, batches))


def _newton(model: Linear, batches: Batches) -> Linear:
    """Newton's steps downhill until one is too small to matter; a step that overshoots is halved."""
    sums = _sums(model, batches, logistic=True)
    for _ in range(_MOST_STEPS):
        following = _step(model, sums)
        if np.abs(following.coefficients - model.coefficients).max() <= _LAST_STEP:
            return following
        reached = _sums(following, batches, logistic=True)
        while reached.loss > sums.loss + 1e-9 * abs(sums.loss):
            following = replace(following, coefficients=(model.coefficients + following.coefficients) / 2)
            reached = _sums(following, batches, logistic=True)
        model, sums = following, reached
    return model


def _step(model: Linear, sums: _Sums) -> Linear:
    return replace(model, coefficients=model.coefficients - np.linalg.solve(sums.curvature, sums.slope))


def _rounded(model: Linear) -> Linear:
    return replace(model, coefficients=model.coefficients.round(_DECIMALS) + 0.0)


def _log_odds(share: float, rows: int) -> float:
    # Half a row keeps it finite where all rows are alike.
    share = min(max(share, 0.5 / rows), 1 - 0.5 / rows)
    return round(math.log(share / (1 - share)), _LOG_ODDS_DECIMALS)


@dataclass
class _Sums:
    """The penalized loss of a model, its first derivatives (terms,) and its second ones (terms, terms)."""

    loss: float
    slope: _Doubles
    curvature: _Doubles


def _sums(model: Linear, batches: Batches, *, logistic: bool) -> _Sums:
    terms, beta = model.terms, model.coefficients
    ridge = np.full(terms.count, RIDGE)
    ridge[0] = 0.0
    sums = _Sums(0.5 * float(np.sum(ridge * beta**2)), ridge * beta, np.diag(ridge))
    for block, labels in _blocks(batches):
        rows = terms.of(block)
        truth = (labels.astype(np.float64) - model.center) / model.scale
        loss, error, weight = _losses(_dot(rows, beta), truth, logistic=logistic)
        sums.loss += loss
        _add_slope(sums.slope, rows, error)
        _add_curvature(sums.curvature, rows, weight)
    lower = np.tril(sums.curvature)
    return replace(sums, curvature=lower + np.tril(lower, -1).T)


def _losses(answer: _Doubles, truth: _Doubles, *, logistic: bool) -> tuple[float, _Doubles, _Doubles]:
    """The sum of the losses, and of each loss the first and second derivative by the answer."""
    if not logistic:
        error = answer - truth
        return float(np.sum(error**2)) / 2, error, np.ones_like(error)
    chance = _probability(answer)
    return float(np.sum(losses(LOGISTIC, truth, answer))), chance - truth, chance * (1 - chance)


def _probability(answer: _Doubles) -> _Doubles:
    small = np.exp(-np.abs(answer))
    return np.where(answer >= 0, 1.0, small) / (1.0 + small)


def _dot(rows: _Rows, beta: _Doubles) -> _Doubles:
    """terms · beta by row, added term by term: a BLAS would add in an order of its CPU's own."""
    found = np.zeros(len(rows.dense))
    for term in range(rows.dense.shape[1]):
        found += rows.dense[:, term] * beta[term]
    for choice in rows.choices:
        found += np.append(beta[choice.where], 0.0)[choice.place]
    return found


def _add_slope(slope: _Doubles, rows: _Rows, error: _Doubles) -> None:
    slope[: rows.dense.shape[1]] += np.einsum("r,ri->i", error, rows.dense)
    for choice in rows.choices:
        slope[choice.where] += choice.sums(error)


def _add_curvature(curvature: _Doubles, rows: _Rows, weight: _Doubles) -> None:
    """Add terms' W terms, below the diagonal; of categories these are sums over their rows, not products."""
    width = rows.dense.shape[1]
    weighted = rows.dense * weight[:, None]
    # No BLAS: its threads wait for each other by spinning, forty times as long where the CPU is shared.
    curvature[:width, :width] += np.einsum("ri,rj->ij", rows.dense, weighted)
    for number, choice in enumerate(rows.choices):
        for term in range(width):
            curvature[choice.where, term] += choice.sums(weighted[:, term])
        for other in rows.choices[: number + 1]:
            curvature[choice.where, other.where] += choice.pair_sums(other, weight)


@dataclass
class _Moments:
    """Count, mean and sum of squared deviations by column, over the values that are there."""

    count: _Doubles = field(default_factory=lambda: np.zeros(1))
    mean: _Doubles = field(default_factory=lambda: np.zeros(1))
    squares: _Doubles = field(default_factory=lambda: np.zeros(1))

    def add(self, block: NDArray[np.float32]) -> None:
        """Take in a block of shape (n, columns), by Chan, Golub and LeVeque's update (1979)."""
        known = np.isfinite(block)
        count = known.sum(axis=0).astype(np.float64)
        values = np.where(known, block, 0.0).astype(np.float64)
        mean = values.sum(axis=0) / np.maximum(count, 1)
        squares = (np.where(known, values - mean, 0.0) ** 2).sum(axis=0)
        total, apart = np.maximum(self.count + count, 1), mean - self.mean
        self.squares = self.squares + squares + apart**2 * self.count * count / total
        self.mean = self.mean + apart * count / total
        self.count = self.count + count

    @property
    def deviations(self) -> _Doubles:
        """Standard deviations; 0 where a column is constant but for rounding."""
        found = np.sqrt(self.squares / np.maximum(self.count, 1))
        return np.where(found > 1e-9 * np.abs(self.mean), found, 0.0)


@dataclass(frozen=True)
class _Target:
    count: int
    mean: float
    deviation: float


def _survey(batches: Batches, categories: Mapping[int, int]) -> tuple[Terms, _Target]:
    """What one pass over the rows tells: how to standardize, which categories there are, the target's mean."""
    moments, target = _Moments(), _Moments()
    seen = {column: np.zeros(size + 1, np.int64) for column, size in sorted(categories.items())}
    for block, labels in _blocks(batches):
        moments.add(block)
        target.add(labels[:, None])
        for column, counts in seen.items():
            counts += np.bincount(_codes(block[:, column], len(counts) - 1), minlength=len(counts))
    rows = int(target.count[0])
    if not rows:
        raise DeclarationError("there are no training rows to fit a linear model to; check the split.")
    numbers = np.array([column for column in range(len(moments.count)) if column not in seen], np.intp)
    present = moments.count.copy()
    for column, counts in seen.items():
        present[column] = rows - counts[-1]
    terms = Terms(
        numbers,
        np.array([column for column in numbers if present[column] < rows], np.intp),
        moments.mean[numbers],
        np.where(moments.deviations > 0, moments.deviations, 1.0)[numbers],
        {column: _ranked(counts[:-1]) for column, counts in seen.items()},
        1 - present / rows,
    )
    return terms, _Target(rows, float(target.mean[0]), float(target.deviations[0]))


def _ranked(counts: NDArray[np.int64]) -> NDArray[np.intp]:
    """By code, the category's term; -1 for those that never occur or are not among the most frequent."""
    chosen = [code for code in np.argsort(-counts, kind="stable")[:MOST_CATEGORIES] if counts[code]]
    places = np.full(len(counts), -1, np.intp)
    places[sorted(chosen)] = np.arange(len(chosen))
    return places


def _size(places: NDArray[np.intp]) -> int:
    return int(places.max(initial=-1)) + 1


def _codes(column: NDArray[np.float32], size: int) -> NDArray[np.intp]:
    """Codes as integers, `size` for a missing one."""
    known = (column >= 0) & (column < size)
    return np.where(known, column, size).astype(np.intp)


def _blocks(batches: Batches) -> Iterator[tuple[Matrix, Labels]]:
    for matrix, labels in batches():
        for start in range(0, len(labels), _BLOCK_ROWS):
            yield matrix[start : start + _BLOCK_ROWS], labels[start : start + _BLOCK_ROWS]
