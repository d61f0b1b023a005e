"""Row conditions select the rows that pandas selects: its query language, and GX's own through its pandas engine."""

from __future__ import annotations

import warnings
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

with warnings.catch_warnings():
    # Great Expectations imports modules that Python has deprecated.
    warnings.simplefilter("ignore")
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.expectations.row_conditions import AndCondition, Column, PassThroughCondition

    from validations.conditions import row_filter

MOMENTS = [
    datetime(2024, 1, 1, 10, 30),
    datetime(2024, 5, 3),
    None,
    datetime(2023, 12, 31, 23, 59, 59, 5),
    datetime(2024, 1, 1),
]
FRAME = pl.DataFrame(
    {
        "a": [1, 5, None, -3, 0],
        "i": [1, 2, 3, 4, -5],
        "u": [1, 2, 3, 4, 5],
        "x": [1.5, float("nan"), None, -2.0, 0.0],
        "y": [0.5, 2.0, -1.0, float("inf"), 0.0],
        "f": [0.1, 0.2, None, 1.0, 2.0],
        "s": ["ab", "B", None, "", "5"],
        "t": ["ab", "b", "c", "d", "e"],
        "b": [True, False, True, False, True],
        "o": [True, None, False, True, None],
        "d": [m and m.date() for m in MOMENTS],
        "m": MOMENTS,
        "z": MOMENTS,
        "n": MOMENTS,
        "c": ["x", "y", "x", None, "y"],
        "e": ["x", "y", "x", None, "y"],
        "h": [time(1), time(2), None, time(3), time(4)],
        "l": [timedelta(hours=k) for k in range(5)],
        "p": [Decimal("1.10"), Decimal("2.00"), None, Decimal("3.50"), Decimal("0.00")],
        "nul": [None] * 5,
        "listed": [[1], [2], [3], [4], [5]],
        "two words": [1, 2, 3, 4, 5],
        "it's `odd`": [5, 4, 3, 2, 1],
        "class": [1, 2, 3, 4, 5],
    },
    schema_overrides={
        "u": pl.UInt8,
        "f": pl.Float32,
        "c": pl.Categorical,
        "e": pl.Enum(["x", "y"]),
        "n": pl.Datetime("ns"),
        "p": pl.Decimal(10, 2),
    },
).with_columns(pl.col("z").dt.replace_time_zone("Europe/Berlin"))
PANDAS = FRAME.to_pandas()

SAME = """
a > 0 | a != 5 | a == 5 | ~(a > 0) | not a > 0 | 0 < a | a >= x | a != x | x == x | x != x | a == a | a <= 5.5
a in [1, 5] | a not in [1, 5] | a == [1, 5] | a != [1, 5] | a in (1, 5) | [1, 2] in a | a in ['1'] | a in [1, 'x']
i in [1.0, 1.5] | i in [True] | i in [] | i not in [] | i == [] | (a + 1) in [2, 6] | a in [i, 5] | a not in [i, 5]
i in [9223372036854775808] | u in [300, 1] | f in [0.1] | f == [0.1] | x in [1.5, 2] | i in [-5, 2 + 1]
f == 0.1 | f > 0.1 | f == x | u > 300 | u > -1 | u == 300 | i > 9223372036854775808 | i == 1.0 | x < inf | y == inf
s == 'ab' | s != 'ab' | s == ['ab', 'B'] | s != ['ab'] | s < 'b' | 'b' > s | s == t | s < t | s != t | s == s | s != s
s == 5 | s != 5 | a == 'x' | a != 'x' | t == i | t != i | d == i | d != i | d == s | s in [5] | b == 'x' | b in ['True']
'ab' in s | 'ab' not in s | s in 'ab' | t == 'ab' == s | s == "it's"
b | ~b | not b | b == True | b != True | b == 1 | b == i | b >= i | b > 0 | b < b | b in [1] | b in [True] | i == True
o == True | o == False | o != True | o == 1 | o in [True] | o not in [True] | o == b | b and o | o and a > 0
o.isnull()
b & a > 0 | a > 0 & b | a > 0 and b or i > 3 | a == 5 or s == 'ab' and b | (a == 5 or s == 'ab') and b
not a == 5 and b | ~(a == 5) & b | a == 5 & b == True | i == 1 or True | i == 1 and False | (i > 0) == b | (i > 0) != b
1 < a <= 5 | 0 < i < 3 < u | 0 < i in [1, 2] | i > 0 == True | a > 1 == b | 5 > i > 0 and not b
-i > 0 | +i > 0 | ~i > 0 | -a > 0 | a * 2 + i - 1 > 3 | a - i == 0 | i / 2 == 1.5 | a / 0 > 0 | i / 0 > 0 | 1 / i < 0.5
i // 2 == 1 | i // -2 == -1 | i // 0 > 0 | a // 0 > 0 | x // 1 == 1 | 7 // i == 7 | i % 2 == 1 | i % -3 == -1
i % 0 == 1 | a % 2 == 1 | x % 1 == 0.5 | i // u == 1 | i % u == 0 | i ** 2 > 5 | i ** 0 == 1 | a ** 0 == 1 | x ** 0 == 1
a ** 0.5 > 0 | i ** u > 3 | 2 ** u > 7 | i ** 2.0 == 4 | b + 1 > 1 | b * i > 0 | s + t == 'abab' | f * 2 > 0.3
d > '2024-01-01' | d >= '2024-01-01' | '2024-01-01' < d | d > '2024' | d > '2024-02' | d > '20240101' | d > '2024-1-1'
d > '2024/01/01' | d > 2024 | d == 20240101 | m > '2024-01-01' | m > '2024-01-01 05:00' | m > '2024-01-01T10'
m <= '2024-01-01 10:30:00' | m > '2023-12-31 23:59:59.000004' | n > '2023-12-31 23:59:59.000004' | n > '1500-01-01'
z > '2024-01-01 00:00:00+01:00' | z > '2024-01-01T00:00:00Z' | z >= '2023-12-31T23:00:00+00:00'
m == '2024-01-01T00:00Z'
d == d | d != d | d > m | d == m | m == n | m == z | z == d | z != d | z == z | m != z | m >= d | h == h | l == l
l < l
d.dt.year == 2024 | d.dt.year != 2024 | d.dt.month in [1, 5] | d.dt.day > 1 | d.dt.hour == 0 | m.dt.hour > 5
z.dt.hour > 5 | z.dt.day == 1 | m.dt.minute == 30 | m.dt.second > 0 | m.dt.dayofweek == 0 | m.dt.weekday in [0, 4]
m.dt.day_of_week == 6 | m.dt.quarter == 1 | m.dt.dayofyear == 1 | m.dt.date == d.dt.date | ~(d.dt.year == 2024)
a.isnull() | ~a.isnull() | x.isna() | s.notnull() | x.notna() and s.isna() | d.isna() | nul.isnull() | listed.notnull()
(a + x).isnull() | nul == nul | nul != 5 | nul > 5 | a == None | a != None | s == None | a < None
a.isin([1, 5]) | ~a.isin([1]) | s.isin(['ab']) | a.between(0, 4) | ~a.between(0, 4) | s.between('a', 'b')
a.between(0, 5, inclusive='left') | a.between(0, 5, 'neither') | i.between(a, u) | d.between('2024-01-01', '2024-02-01')
z.between('2024-01-01', '2024-02-01') | a.abs() > 2 | abs(a) > 2 | (a - 2).abs() > 2
s.str.contains('a') | ~s.str.contains('a') | not s.str.contains('a') | s.str.contains('a') and b
s.str.contains('A', case=False) | s.str.contains('^.$') | s.str.contains('.', regex=False)
s.str.contains('a', na=True)
s.str.contains('a') == False | s.str.startswith('a') | ~s.str.startswith('a') | s.str.endswith('b')
s.str.match('[aB]')
s.str.fullmatch('.') | s.str.len() > 1 | s.str.len() != 2 | ~(s.str.len() > 1) | s.str.lower() == 'b'
s.str.upper() in ['AB'] | s.str.lower().str.startswith('b') | s.str.strip() == 'ab' | c.str.startswith('x')
c == 'x' | c != 'x' | c in ['x'] | c == c | c == 5 | c == t | e == 'x' | e < 'y' | e < e | e == 'q' | e != 'q' | e == t
index > 2 | index in [1, 2] | index == 3 | index % 2 == 0 | a > 0 or index == 3
`two words` > 2 | `two words` in [1, 2] | `class` > 2 | `a` > 0 | `two words`.isnull() | `two words` + a > 2
`it's ``odd``` > 2 | s == '`a`' or `class` == 1 | p > 2 | p == 2 | p == 3.5 | p in [2] | p > x
"""
CASES = [each.strip() for line in SAME.strip().splitlines() for each in line.split(" | ")]
CASES += ["a > 0 | i > 3", "b | a > 0 & i > 3", "(a > 0) | b", "s == 'a | b' or b"]

# Where pandas selects other rows, or refuses what can be meant.
OTHERWISE = {
    "d == '2024-01-01'": [0, 4],
    "d != '2024-01-01'": [1, 2, 3],
    "d in ['2024-01-01', '2024-05-03']": [0, 1, 4],
    "d.isin(['2024-01-01'])": [0, 4],
    "m == '2024-01-01 10:30:00'": [0],
    "z == '2024-01-01'": [4],
    "z > '2024-01-01'": [0, 1],
    "z == '2023-12-31T23:00:00Z'": [4],
    "m.dt.date > '2024-01-01'": [1],
    "o": [0, 3],
    "~o": [1, 2, 4],
    "o or b": [0, 2, 3, 4],
    "u * 100 > 300": [3, 4],
    "i ** -1 > 0": [0, 1, 2, 3],
    "p == 1.1": [0],
    "p + 1 > 2": [0, 1, 3],
    "h > '02:00'": [3, 4],
    "d > Timestamp('2024-01-01')": [1],
    "s + 'x' == 'abx'": [0],
    "~a > 0": [3],
    "e == c": [0, 1, 2, 4],
}

REFUSED = {
    "aa > 1": "no column 'aa'; the nearest are 'a'",
    "`two word` > 1": "no column 'two word'; the nearest are 'two words'",
    "s < 5": "s \\(String\\) and 5 have no order",
    "a > '0'": "a \\(Int64\\) and '0' have no order",
    "s > a": "s \\(String\\) and a \\(Int64\\) have no order",
    "d < i": "d \\(Date\\) and i \\(Int64\\)",
    "z < d": "have no order",
    "m > '2024-01-01T00:00:00Z'": "have no order",
    "c < 'y'": "c \\(Categorical\\) and 'y' have no order",
    "e >= 'q'": "have no order",
    "d > 'abc'": "'abc' is no date in ISO form",
    "d == 'abc'": "'abc' is no date in ISO form",
    "d > 1.5": "write a date as ISO text",
    "m > '2024-01-01 00:00:00.123456789'": "finer than a microsecond",
    "l > '1h'": "timedelta in a Condition object",
    "listed == 1": "listed \\(List\\(Int64\\)\\) cannot be compared",
    "a": "a \\(Int64\\) is neither true nor false",
    "i and b": "i \\(Int64\\) is neither true nor false",
    "True": "it reads no column",
    "1 == 1": "it reads no column",
    "1 == 1 and 2 > 1": "it reads no column",
    "a > @q": "@ asks for a variable",
    "a = 5": "it is no expression",
    "a > 0; b": "it is no expression",
    "a > ": "it is no expression",
    "": "it is no expression",
    "a > 'x": "it is no expression",
    "`a > 1": "has no end",
    "a is None": "'a is None' is not understood; understood are columns",
    "a if b else b": "is not understood",
    "a[0] > 1": "'a\\[0\\]' is not understood",
    "f(a) > 1": "'f\\(a\\)' is not understood",
    "a.foo > 1": "'a.foo' is not understood",
    "`two words`.mean() > 1": "'`two words`.mean\\(\\)' is not understood",
    "a.isnull": "'a.isnull' is not understood",
    "b ^ b": "is not understood",
    "__import__('os')": "is not understood",
    "a == 1j": "'1j' is not understood",
    "9 ** 9 ** 9 > a": "too large a power",
    "1 / 0 > a": "cannot be computed",
    "b + b > 0": "arithmetic takes numbers",
    "s * 2 == 'abab'": "arithmetic takes numbers",
    "-s == 1": "arithmetic takes numbers",
    "i.str.len() > 1": "i \\(Int64\\) has no .str.len",
    "s.dt.year == 1": "s \\(String\\) has no .dt.year",
    "a.isin(5)": "takes a list of values",
    "a in i": "does not ask whether a column is in a list",
    "1 in a": "does not ask whether a column is in a list",
    "a in [1, None]": "holds None",
    "s.str.contains('(?=x)')": "cannot read the regular expression",
    "s.str.contains(5)": "takes a str",
    "s.str.len(1, 2)": "cannot take these arguments",
    "a > [1, 2]": "ask with `in`",
    "not 1": "write the value that is meant",
    "a.between(0, 1, 'most')": "`inclusive`",
    "(" * 300 + "a" + ")" * 300: "it is no expression",
}


def selected(condition: Any, parser: str | None = "pandas", frame: pl.DataFrame = FRAME) -> list[int]:
    """The rows of a condition; each has an answer."""
    rows = frame.lazy().select(chosen=row_filter(condition, parser, frame.collect_schema())).collect()["chosen"]
    assert (len(rows), rows.null_count(), rows.dtype) == (frame.height, 0, pl.Boolean)
    return rows.arg_true().to_list()


def selected_by_pandas(text: str, frame: pd.DataFrame = PANDAS) -> list[int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(frame.query(text).index)


@pytest.mark.parametrize("text", CASES)
def test_a_query_selects_the_rows_that_pandas_selects(text):
    assert selected(text) == selected_by_pandas(text)


@pytest.mark.parametrize("text", OTHERWISE)
def test_where_pandas_answers_otherwise_the_meant_rows_are_selected(text):
    try:
        theirs = selected_by_pandas(text)
    except (ValueError, TypeError, KeyError):
        theirs = None
    assert selected(text) == OTHERWISE[text] != theirs


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_not_understood_is_named(text):
    with pytest.raises(ValueError, match=REFUSED[text]) as error:
        selected(text)
    assert repr(text) in str(error.value)


A, S, X = Column("a"), Column("s"), Column("x")
OBJECTS = [
    A == 5,
    A != 5,
    A > -1.5,
    A <= 5,
    A.is_in([1, 5.0]),
    A.is_not_in([1, 5]),
    A.is_in([]),
    A.is_null(),
    A.is_not_null(),
    X.is_null(),
    S == "ab",
    S != "ab",
    S < "b",
    S.is_in(["ab", "B"]),
    S.is_not_in(["ab"]),
    S == 5,
    A == "5",
    Column("b") == True,  # noqa: E712
    Column("b") != False,  # noqa: E712
    Column("d") > "2024-01-01",
    Column("m") <= "2024-01-01T10:30:00",
    Column("z") > "2024-01-01T00:00:00+00:00",
    Column("two words") >= 3,
    Column("class") == 2,
    (A > 0) & (S == "ab"),
    (A > 0) | S.is_null(),
    ((A > 0) & S.is_not_null()) | (X < 0),
    PassThroughCondition(pass_through_filter="a > 0 | s == 'B'"),
]
# Those that the pandas engine cannot write as a query, or, for ==, finds nowhere.
OBJECTS_OTHERWISE = [
    (Column("d") == date(2024, 1, 1), [0, 4]),
    (Column("d") == "2024-01-01", [0, 4]),
    (Column("m") > datetime(2024, 1, 1), [0, 1]),
    (Column("m") == datetime(2024, 1, 1, 10, 30), [0]),
    (Column("z") == datetime(2023, 12, 31, 23, tzinfo=UTC), [4]),
    (Column("n") == datetime(2024, 1, 1), [4]),
    (Column("h") >= time(2), [1, 3, 4]),
    (Column("l") > timedelta(hours=2), [3, 4]),
    (Column("p") == Decimal("1.10"), [0]),
    (Column("x") == float("nan"), []),
    (Column("x") < float("nan"), []),
    (Column("x") != float("nan"), [0, 1, 2, 3, 4]),
    (Column("it's `odd`") > 3, [0, 1]),
]
GX_TEXTS = {
    'col("a") > 0': [0, 1],
    "col('a') > 0": [0, 1],
    'col("a")==-3': [3],
    'col("s") == "ab"': [0],
    "col(\"s\") != 'ab'": [1, 2, 3, 4],
    'col("a").notNull()': [0, 1, 3, 4],
    'col("a").notnull()': [0, 1, 3, 4],
    'col("a").is_null()': [2],
    'col("a").is_in([1, 5])': [0, 1],
    'col("a").is_not_in([1, 5])': [2, 3, 4],
    'col("d") >= date("2024-01-01")': [0, 1, 4],
    'col("two words") >= 4 and col("a") < 0': [3],
}


def theirs(condition: Any) -> list[int]:
    """The rows that the pandas engine of Great Expectations selects."""
    engine = PandasExecutionEngine()
    engine.load_batch_data("one", PANDAS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return list(engine.get_domain_records({"batch_id": "one", "row_condition": condition}).index)


@pytest.mark.parametrize("condition", OBJECTS, ids=repr)
def test_a_condition_object_selects_the_rows_of_the_pandas_engine(condition):
    assert selected(condition, None) == selected(condition.dict(), None) == theirs(condition)


@pytest.mark.parametrize(("condition", "rows"), OBJECTS_OTHERWISE, ids=repr)
def test_a_condition_object_compares_dates_times_and_decimals(condition, rows):
    assert selected(condition, None) == rows


@pytest.mark.parametrize("text", GX_TEXTS)
@pytest.mark.parametrize("parser", ["great_expectations", "great_expectations__experimental__", None])
def test_the_text_of_great_expectations_is_read(text, parser):
    assert selected(text, parser) == GX_TEXTS[text]


def test_the_text_of_another_parser_is_refused():
    with pytest.raises(ValueError, match=r"'a > 1'.*condition_parser is 'sql'"):
        selected("a > 1", "sql")


def test_the_column_of_an_object_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"two wrds > 3 .*no column 'two wrds'; the nearest are 'two words'"):
        selected(Column("two wrds") > 3)


@pytest.mark.parametrize("nothing", [5, AndCondition(conditions=[]), {"type": "unheard"}], ids=repr)
def test_what_is_no_condition_is_refused(nothing):
    with pytest.raises(ValueError, match=r"cannot be read|determine Condition type"):
        selected(nothing)


def test_a_condition_of_thousands_of_parts_is_read():
    text = " or ".join(f"i == {k}" for k in range(3, 3000))
    assert selected(text) == [2, 3]


def test_a_missing_value_is_one_whether_null_or_nan_in_floats_that_arithmetic_makes():
    frame = pl.DataFrame({"x": [0.0, None, 1.0]})
    assert selected("(x / x).isnull()", frame=frame) == [0, 1]
    assert selected("x / x != 1", frame=frame) == [0, 1]


NUMBERS = ["a", "i", "x", "y", "u", "b"]
ANY = [*NUMBERS, "s", "t", "d", "m"]


@st.composite
def frames(draw) -> pl.DataFrame:
    """Frames whose columns hold missing values of each sort, and the edges of their types."""
    height = draw(st.integers(1, 8))

    def values(strategy):
        return st.lists(strategy, min_size=height, max_size=height)

    moments = st.sampled_from([datetime(2024, 1, 1), datetime(2024, 1, 1, 12), datetime(2023, 5, 1)]) | st.none()
    floats = st.sampled_from([0.0, 1.0, -1.5, 2.0, float("nan"), float("inf"), -float("inf")])
    whole = st.integers(-3, 3)
    columns = {
        "a": draw(values(whole | st.none())),
        "i": draw(values(whole)),
        "u": draw(values(st.integers(0, 3))),
        "x": draw(values(floats | st.none())),
        "y": draw(values(floats)),
        "b": draw(values(st.booleans())),
        "s": draw(values(st.sampled_from(["", "a", "ab", "B"]) | st.none())),
        "t": draw(values(st.sampled_from(["a", "b"]))),
        "d": [m and m.date() for m in draw(values(moments))],
        "m": draw(values(moments)),
    }
    dtypes = {"a": pl.Int64, "x": pl.Float64, "s": pl.String, "d": pl.Date, "m": pl.Datetime("us")}
    return pl.DataFrame(columns, schema_overrides=dtypes)


SIGNS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
NUMBER = st.sampled_from(["0", "1", "2", "1.0", "0.5", "-1.5"])
OPERATORS = st.sampled_from(["+", "-", "*", "/"])
SUMS = st.recursive(
    st.sampled_from(["a", "i", "x", "y"]),
    lambda inner: st.one_of(
        st.tuples(inner, OPERATORS, inner | NUMBER).map(lambda each: "({} {} {})".format(*each)),
        st.tuples(inner, st.sampled_from(["//", "%"]), st.sampled_from(["2", "-3", "0"])).map(
            lambda each: "({} {} {})".format(*each)
        ),
        inner.map("(-{})".format),
        inner.map("{}.abs()".format),
    ),
    max_leaves=3,
)
ATOMS = st.one_of(
    st.tuples(SUMS, SIGNS, SUMS | NUMBER | st.sampled_from(["u", "b"])).map(" ".join),
    st.tuples(NUMBER, st.sampled_from(["<", "<="]), SUMS, st.sampled_from(["<", "!="]), NUMBER).map(" ".join),
    st.tuples(st.sampled_from(["s", "t"]), SIGNS, st.sampled_from(["s", "t", "'a'", "'b'", "''"])).map(" ".join),
    st.tuples(st.sampled_from(["d", "m"]), SIGNS, st.sampled_from(["d", "m"])).map(" ".join),
    st.tuples(
        st.sampled_from(["d", "m"]),
        st.sampled_from(["<", ">", ">="]),
        st.sampled_from(["'2024'", "'2024-01-01'", "'2024-01-01 12:00'"]),
    ).map(" ".join),
    st.tuples(
        st.sampled_from(ANY),
        st.sampled_from(["in", "not in", "==", "!="]),
        st.sampled_from(["[1, 2]", "['a', 'B']", "[0.5, 1]", "[True]", "[]", "[1, 'a']"]),
    )
    .map(" ".join)
    .filter(lambda text: text[0] not in "dm"),
    st.sampled_from(ANY).map("{}.isnull()".format),
    st.sampled_from(ANY).map("{}.notnull()".format),
    st.sampled_from(["b", "s.str.contains('a')", "s.str.len() >= 1", "t.str.startswith('a')", "d.dt.year == 2024"]),
    st.sampled_from(["m.dt.hour != 12", "a.between(0, 2)", "x.isin([1, 2])", "s == 1", "a != 'a'", "index < 2"]),
)
CONDITIONS = st.recursive(
    ATOMS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["and", "or", "&", "|"]), inner).map(" ".join),
        inner.map("({})".format),
        inner.map("~({})".format),
        inner.map("not ({})".format),
    ),
    max_leaves=6,
)


@given(frames(), CONDITIONS)
@settings(max_examples=300, deadline=None)
def test_any_query_selects_the_rows_that_pandas_selects(frame, text):
    assert selected(text, frame=frame) == selected_by_pandas(text, frame.to_pandas())
