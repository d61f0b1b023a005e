"""The language of `DataFrame.query`, and that of Great Expectations' `col("a") > 5`, read as Polars expressions."""

from __future__ import annotations

import ast
import difflib
import functools
import io
import operator
import tokenize
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from validations.exact import exact
from validations.query.accessors import METHODS, PARTS, method, part
from validations.query.arithmetic import absolute, calculate, negated
from validations.query.operands import ConditionError, Constant, Operand, Term, among, boolean, compare, joined, mask

UNDERSTOOD = (
    "understood are columns, values, comparisons, in, and, or, not, arithmetic, "
    + ", ".join(f".{name}()" for name in ("abs", *METHODS) if not name.startswith(("is_", "isN", "notN")))
    + " and .dt."
    + ", .dt.".join(PARTS)
)
SIGNS = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.Pow: "**",
}
CONSTANTS = {"inf": float("inf"), "Inf": float("inf")}


def read_query(text: str, schema: pl.Schema) -> pl.Expr:
    """The rows that the text selects; a `ConditionError` names the part that cannot be read."""
    plain, columns = _without_backticks(text)
    query = _Query(schema, columns)
    try:
        tree = ast.parse(_with_words(plain).strip(), mode="eval").body
    except ConditionError:
        raise
    except (SyntaxError, ValueError, MemoryError, RecursionError, tokenize.TokenError) as error:
        raise ConditionError(f"it is no expression ({getattr(error, 'msg', error)}); {UNDERSTOOD}") from None
    try:
        term = query.visit(tree)
    except RecursionError:
        raise ConditionError("it is nested too deeply; split it with `and` and `or`") from None
    if isinstance(term, Constant):
        raise ConditionError("it reads no column, so it selects no rows of its own; compare a column")
    return mask(term)


def column(name: str, schema: pl.Schema) -> Operand:
    """A column of the table; an unknown name is an error that names the nearest ones."""
    if name in schema:
        return Operand(name if name.isidentifier() else f"`{name}`", exact(name), schema[name])
    near = difflib.get_close_matches(name, schema.names(), n=3, cutoff=0.5) or schema.names()[:5]
    raise ConditionError(f"there is no column {name!r}; the nearest are {', '.join(map(repr, near))}")


def _without_backticks(text: str) -> tuple[str, dict[str, str]]:
    """The text with a plain name for each column in backticks, and the columns by these names."""
    pieces: list[str] = []
    columns: dict[str, str] = {}
    stem = "column_"
    while stem in text:
        stem += "_"
    for piece in _split(text):
        if piece[0] == "`":
            if len(piece) < 3 or piece[-1] != "`":
                raise ConditionError(f"the backtick before {piece[1:21]!r} has no end")
            name = f"{stem}{len(columns)}"
            columns[name] = piece[1:-1].replace("``", "`")
            piece = name
        pieces.append(piece)
    return "".join(pieces), columns


def _split(text: str) -> Iterator[str]:
    """The text in pieces: what is in backticks, what is in quotes, and what is between."""
    start, within = 0, ""
    position = 0
    while position < len(text):
        sign = text[position]
        if not within and sign in "`'\"":
            if position > start:
                yield text[start:position]
            start, within = position, sign
        elif within and sign == "\\" and within != "`":
            position += 1
        elif sign == within:
            if within == "`" and text[position + 1 : position + 2] == "`":
                position += 1
            else:
                yield text[start : position + 1]
                start, within = position + 1, ""
        position += 1
    if start < len(text):
        yield text[start:]


def _with_words(text: str) -> str:
    """`&` and `|` as words: in a query they bind as loosely as `and` and `or`."""
    words = {"&": "and", "|": "or"}
    tokens = []
    for token in tokenize.generate_tokens(io.StringIO(text.strip()).readline):
        if token.string == "@" and token.type == tokenize.OP:
            raise ConditionError("@ asks for a variable of Python, which a suite does not have; write its value")
        swap = token.type == tokenize.OP and token.string in words
        tokens.append((tokenize.NAME, words[token.string]) if swap else (token.type, token.string))
    return tokenize.untokenize(tokens)


class _Query:
    """Reads the nodes of one query."""

    def __init__(self, schema: pl.Schema, columns: dict[str, str]) -> None:
        self.schema, self.columns = schema, columns

    def visit(self, node: ast.expr) -> Term:
        match node:
            case ast.BoolOp():
                join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
                return self.joint(node, [self.visit(value) for value in node.values], join)
            case ast.UnaryOp():
                return self.unary(node)
            case ast.BinOp() if type(node.op) in SIGNS:
                return calculate(self.visit(node.left), SIGNS[type(node.op)], self.visit(node.right), self.schema)
            case ast.Compare():
                return self.comparison(node)
            case ast.Constant(value=bool() | int() | float() | str() | None):
                return Constant(self.text(node), node.value)
            case ast.List() | ast.Tuple():
                return Constant(self.text(node), tuple(self.constant(each) for each in node.elts))
            case ast.Name():
                return self.name(node)
            case ast.Call():
                return self.call(node)
            case ast.Attribute(value=ast.Attribute(value=inner, attr="dt"), attr=name) if name in PARTS:
                return part(self.visit(inner), name, self.schema)
        return self.unknown(node)

    def unary(self, node: ast.UnaryOp) -> Term:
        """`not`, `~`, `-` and `+`."""
        term = self.visit(node.operand)
        if isinstance(node.op, ast.Not | ast.Invert):
            if isinstance(term, Operand) and term.kind == "number" and term.dtype.is_integer():
                return calculate(Constant("-1", -1), "-", term, self.schema)
            if isinstance(term, Constant):
                raise ConditionError(f"{self.text(node)} turns a value round; write the value that is meant")
            return boolean(self.text(node), ~mask(term))
        return negated(term, self.schema) if isinstance(node.op, ast.USub) else term

    def comparison(self, node: ast.Compare) -> Term:
        """A comparison, or a chain of them as in `1 < a <= 5`."""
        terms = [node.left, *node.comparators]
        pairs = [self.compared(*each, node) for each in zip(terms[:-1], node.ops, terms[1:], strict=True)]
        if len(pairs) == 1:
            return pairs[0]
        return self.joint(node, pairs, operator.and_)

    def compared(self, left: ast.expr, op: ast.cmpop, right: ast.expr, node: ast.Compare) -> Term:
        """One comparison of two."""
        if isinstance(op, ast.In | ast.NotIn):
            return self.membership(left, isinstance(op, ast.NotIn), right, node)
        if type(op) not in SIGNS:
            return self.unknown(node)
        return compare(self.visit(left), SIGNS[type(op)], self.visit(right))

    def membership(self, left: ast.expr, negated: bool, right: ast.expr, node: ast.Compare) -> Term:
        """`in` and `not in`; as in pandas, a list that names columns is compared row by row."""
        if isinstance(right, ast.List | ast.Tuple) and any(isinstance(each, ast.Name) for each in right.elts):
            sign, join = ("!=", operator.and_) if negated else ("==", operator.or_)
            return self.joint(node, [compare(self.visit(left), sign, self.visit(one)) for one in right.elts], join)
        term, values = self.visit(left), self.visit(right)
        if isinstance(term, Constant) and isinstance(values, Operand) and isinstance(term.value, tuple | str):
            term, values = values, term
        if isinstance(values, Constant) and isinstance(values.value, str):
            values = Constant(f"[{values.text}]", (values.value,))
        if isinstance(term, Constant) or not isinstance(values, Constant) or not isinstance(values.value, tuple):
            raise ConditionError(f"{self.text(node)} does not ask whether a column is in a list of values")
        return among(term, values, negated)

    def joint(self, node: ast.expr, terms: list[Term], join: Callable[[Any, Any], Any]) -> Term:
        """Terms that are true or false, as one."""
        masks = [mask(term) for term in terms]
        answers = [term.value for term in terms if isinstance(term, Constant)]
        if len(answers) == len(terms):
            return Constant(self.text(node), functools.reduce(join, answers))
        return boolean(self.text(node), joined(masks, join))

    def constant(self, node: ast.expr) -> Any:
        """One value of a list."""
        term = self.visit(node)
        if isinstance(term, Constant) and not isinstance(term.value, tuple):
            return term.value
        raise ConditionError(f"{self.text(node)} stands in a list, which holds values only")

    def name(self, node: ast.Name) -> Term:
        """A column, or one of the few words that pandas knows; a column goes first."""
        name = self.columns.get(node.id, node.id)
        if name in self.schema:
            return column(name, self.schema)
        if name in CONSTANTS:
            return Constant(name, CONSTANTS[name])
        if name == "index":
            return Operand("index", pl.int_range(pl.len()), pl.Int64())
        return column(name, self.schema)

    def call(self, node: ast.Call) -> Term:
        """A method of a column, `abs(a)`, and `col("a")` and `date("2024-05-31")` of Great Expectations."""
        if (literal := self.moment(node)) is not None:
            return Constant(self.text(node), literal)
        options = {each.arg: self.visit(each.value) for each in node.keywords if each.arg is not None}
        match node.func, node.args:
            case ast.Name(), _ if options:
                return self.unknown(node)
            case ast.Name(id="col"), [ast.Constant(value=str() as name)]:
                return column(name, self.schema)
            case ast.Name(id="date" | "Timestamp"), [ast.Constant(value=str() as moment)]:
                return Constant(repr(moment), moment)
            case ast.Name(id="abs"), [argument]:
                return absolute(self.visit(argument), self.schema)
            case ast.Attribute(value=ast.Attribute(value=inner, attr="str" | "dt" as space), attr=name), arguments:
                name = f"{space}.{name}"
            case ast.Attribute(value=inner, attr=name), arguments:
                pass
            case _:
                return self.unknown(node)
        if name not in METHODS and name != "abs":
            return self.unknown(node)
        return method(self.visit(inner), name, [self.visit(each) for each in arguments], options, self.schema)

    def moment(self, node: ast.Call) -> date | None:
        """`datetime.date(2021, 1, 31)` or `datetime.datetime(…, tzinfo=datetime.timezone.utc)`, as Python writes it."""
        kind: Any = {"datetime.date": date, "datetime.datetime": datetime}.get(ast.unparse(node.func))
        if kind is None:
            return None
        zones = [each for each in node.keywords if ast.unparse(each) == "tzinfo=datetime.timezone.utc"]
        if zones != node.keywords or not all(isinstance(each, ast.Constant) for each in node.args):
            raise ConditionError(f"{self.text(node)} takes whole numbers and tzinfo=datetime.timezone.utc")
        try:
            found: date = kind(*(ast.literal_eval(each) for each in node.args), **({"tzinfo": UTC} if zones else {}))
            return found
        except (TypeError, ValueError) as error:
            raise ConditionError(f"{self.text(node)} is no moment: {error}") from None

    def text(self, node: ast.expr) -> str:
        """The part of the condition, as it was written."""
        text = ast.unparse(node)
        for plain, name in self.columns.items():
            text = text.replace(plain, f"`{name}`")
        return text

    def unknown(self, node: ast.expr) -> Term:
        raise ConditionError(f"{self.text(node)!r} is not understood; {UNDERSTOOD}")
