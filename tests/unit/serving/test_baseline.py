"""What a model is compared with: the best constant, and a linear model that is the textbook's."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from lineage.errors import DeclarationError
from serving import baseline
from serving.baseline import Constant, fit_constant, fit_linear

CATEGORIES = {1: 4, 4: 3}


def rows(count: int = 3000, seed: int = 0) -> np.ndarray:
    """Numbers of unlike sizes, two of them with gaps, and two columns of codes, some of them unknown."""
    rng = np.random.default_rng(seed)
    matrix = np.column_stack(
        [
            rng.normal(2000, 5, count),
            rng.integers(0, 4, count),
            rng.exponential(0.01, count),
            rng.normal(size=count),
            rng.integers(0, 3, count),
            np.full(count, 7.0),
        ]
    ).astype(np.float32)
    for column, share in ((2, 0.3), (3, 0.1), (1, 0.05)):
        matrix[rng.random(count) < share, column] = np.nan
    return matrix


def targets(matrix: np.ndarray, seed: int = 1) -> np.ndarray:
    """What depends on numbers, categories and gaps, plus noise."""
    known = np.nan_to_num(matrix)
    noise = np.random.default_rng(seed).logistic(size=len(matrix))
    return (known[:, 0] - 2000) / 5 + (known[:, 1] == 2) - 2 * np.isnan(matrix[:, 2]) + known[:, 3] + noise


def batches(matrix: np.ndarray, labels: np.ndarray, size: int = 10_000):
    """The rows, batch by batch, as often as they are asked for."""
    return lambda: ((matrix[at : at + size], labels[at : at + size]) for at in range(0, len(labels), size))


def textbook_terms(matrix: np.ndarray, learnt: np.ndarray) -> np.ndarray:
    """The same terms by other means: standardized on `learnt`, mean for missing, indicators, one-hot."""
    columns = []
    for column in range(matrix.shape[1]):
        values, known = matrix[:, column].astype(float), learnt[:, column].astype(float)
        if column in CATEGORIES:
            columns += [values == code for code in range(CATEGORIES[column])]
        else:
            spread = np.nanstd(known) or 1.0
            columns += [np.nan_to_num((values - np.nanmean(known)) / spread)]
            columns += [np.isnan(values)] if np.isnan(known).any() else []
    return np.column_stack(columns).astype(float)


def test_logistic_regression_is_the_textbooks():
    """Margins of rows that were not learnt from are those of scikit-learn's logistic regression."""
    learnt, asked = rows(), rows(500, seed=9)
    labels = (targets(learnt) > 1).astype(np.float32)
    theirs = LogisticRegression(C=1 / baseline.RIDGE, solver="newton-cholesky", tol=1e-12)
    theirs.fit(textbook_terms(learnt, learnt), labels)

    ours = fit_linear("binary:logistic", batches(learnt, labels, 1000), CATEGORIES).margins(asked)

    assert np.float32 == ours.dtype
    np.testing.assert_allclose(ours, theirs.decision_function(textbook_terms(asked, learnt)), atol=2e-5)


@pytest.mark.parametrize("objective", ["reg:squarederror", "reg:absoluteerror"])
def test_least_squares_are_the_textbooks(objective):
    """Regressions of either objective are compared with scikit-learn's ridge regression."""
    learnt, asked = rows(), rows(500, seed=9)
    labels = (1000 + 50 * targets(learnt)).astype(np.float32)
    theirs = Ridge(alpha=baseline.RIDGE).fit(textbook_terms(learnt, learnt), labels)

    ours = fit_linear(objective, batches(learnt, labels, 1000), CATEGORIES).margins(asked)

    np.testing.assert_allclose(ours, theirs.predict(textbook_terms(asked, learnt)), atol=5e-3)


def test_coefficients_do_not_depend_on_batches(monkeypatch):
    """However the rows are cut, and so in whatever order sums are added, the bits are the same."""
    matrix, found = rows(), set()
    labels = (targets(matrix) > 0).astype(np.float32)
    for size, block in ((10_000, 32_768), (701, 32_768), (10_000, 333)):
        monkeypatch.setattr(baseline, "_BLOCK_ROWS", block)
        model = fit_linear("binary:logistic", batches(matrix, labels, size), CATEGORIES)
        found.add(model.coefficients.tobytes() + model.margins(matrix).tobytes())

    assert len(found) == 1


PROGRAM = """
import hashlib, sys
import numpy as np
from serving.baseline import fit_linear
rng = np.random.default_rng(3)
matrix = rng.normal(size=(2000, 12)).astype(np.float32)
labels = (matrix[:, 0] > rng.logistic(size=2000)).astype(np.float32)
model = fit_linear("binary:logistic", lambda: [(matrix, labels)], {})
print(hashlib.sha256(model.coefficients.tobytes() + model.margins(matrix).tobytes()).hexdigest())
"""


def test_margins_do_not_depend_on_the_cpu(monkeypatch):
    """The kernels that a BLAS chooses for old and for new CPUs add in another order: the bits are the same."""
    found = set()
    for kind, threads in (("Prescott", "1"), ("Haswell", "2"), ("ARMV8", "1")):
        monkeypatch.setenv("OPENBLAS_CORETYPE", kind)
        monkeypatch.setenv("OPENBLAS_NUM_THREADS", threads)
        done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=60)
        found.add(done.stdout)

    assert len(found) == 1


def test_a_gap_that_training_did_not_have_is_the_mean():
    """A number that is missing for the first time, and a category never seen, move nothing."""
    matrix = rows()
    labels = (targets(matrix) > 0).astype(np.float32)
    model = fit_linear("binary:logistic", batches(matrix, labels), CATEGORIES)
    row, unknown = matrix[:1].copy(), matrix[:1].copy()
    row[0, 0] = np.float32(np.mean(matrix[:, 0], dtype=np.float64))
    unknown[0, 0] = np.nan
    row[0, 4], unknown[0, 4] = np.nan, 17

    assert model.margins(row)[0] == pytest.approx(model.margins(unknown)[0], abs=1e-4)


def test_the_share_of_missing_values_is_known():
    """Fitting counts, for each feature, the training rows that have no value."""
    matrix = rows()

    model = fit_linear("reg:squarederror", batches(matrix, targets(matrix).astype(np.float32), 501), CATEGORIES)

    np.testing.assert_allclose(model.missing, np.isnan(matrix).mean(axis=0), atol=1e-12)


def test_only_the_most_frequent_categories_count(monkeypatch):
    """A column of very many categories does not make the system that has to be solved too large."""
    monkeypatch.setattr(baseline, "MOST_CATEGORIES", 2)
    codes = np.float32([0] * 50 + [1] * 10 + [2] * 40 + [3] * 20)[:, None]

    model = fit_linear("reg:squarederror", batches(codes, 1 + codes[:, 0]), {0: 4})

    zero, one, two, three = model.margins(np.float32([[0], [1], [2], [3]]))
    assert one == three
    assert len({zero, one, two}) == 3


def test_a_single_class_has_finite_margins():
    """Where all labels are alike nothing can be learnt, and that is said in numbers."""
    matrix = rows(100)
    labels = np.ones(100, np.float32)

    model = fit_linear("binary:logistic", batches(matrix, labels), CATEGORIES)

    assert {np.float32(fit_constant("binary:logistic", labels).margin)} == set(model.margins(matrix))
    assert np.isfinite(model.margins(matrix)).all()


def test_separated_classes_converge():
    """A feature that tells the classes apart perfectly still has the coefficient that the ridge allows."""
    matrix = np.linspace(-1, 1, 200, dtype=np.float32)[:, None] ** 3
    labels = (matrix[:, 0] > 0).astype(np.float32)
    theirs = LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-12).fit(textbook_terms(matrix, matrix), labels)

    ours = fit_linear("binary:logistic", batches(matrix, labels), {}).margins(matrix)

    np.testing.assert_allclose(ours, theirs.decision_function(textbook_terms(matrix, matrix)), atol=2e-5)


def test_outliers_do_not_throw_the_fit():
    """Where a feature has a few enormous values, a full Newton step overshoots; the fit arrives all the same."""
    rng = np.random.default_rng(49)
    values = np.sort(rng.standard_cauchy(60) ** 3).astype(np.float32)[:, None]
    labels = (np.arange(60) > 59 - rng.integers(3, 20)).astype(np.float32)
    terms = textbook_terms(values, values)
    theirs = LogisticRegression(C=1.0, solver="lbfgs", tol=1e-10, max_iter=10_000).fit(terms, labels)

    ours = fit_linear("binary:logistic", batches(values, labels), {}).coefficients

    np.testing.assert_allclose(ours, [*theirs.intercept_, *theirs.coef_[0]], atol=1e-4)


@pytest.mark.parametrize(
    ("objective", "labels", "expected"),
    [
        ("binary:logistic", [0, 0, 0, 1], np.log(1 / 3)),
        ("reg:absoluteerror", [1, 2, 30, 100], 16.0),
        ("reg:squarederror", [1, 2, 30, 100], 33.25),
    ],
)
def test_the_best_constant(objective, labels, expected):
    """Log-odds of the base rate, the median for absolute errors, the mean for squared ones."""
    model = fit_constant(objective, np.float32(labels))

    assert Constant(pytest.approx(expected)) == model
    assert [np.float32(expected)] * 2 == model.margins(np.zeros((2, 1), np.float32)).tolist()


def test_no_rows_are_refused():
    """Without training rows there is nothing to compare with, and the message says where to look."""
    labels = np.zeros(0, np.float32)

    with pytest.raises(DeclarationError, match=r"no training rows .* check the split"):
        fit_constant("binary:logistic", labels)
    with pytest.raises(DeclarationError, match=r"no training rows .* check the split"):
        fit_linear("binary:logistic", batches(np.zeros((0, 1), np.float32), labels), {})
