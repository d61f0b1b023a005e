"""Values that a run gives a suite: Great Expectations' `{"$PARAMETER": "month"}`, in words of an expectation's kwargs.

A suite of a partitioned step so knows which partition it judges. GX puts the values in when it validates; here they are
put in when the suite is read, so that the check, the rows put aside and `headwater suite check` see the same.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator, Mapping
from typing import Any

_KEY = "$PARAMETER"
# GX calls it so, and a parameter may be called `known`.
_CLOCK = re.compile(r"\bnow\s*\(")

# GX's parser keeps what it parses in one stack for the whole process.
_PARSER = threading.Lock()


class ParameterError(ValueError):
    """A `$PARAMETER` that has no value; the message is a sentence without its beginning."""


def asks(value: Any) -> bool:
    """Whether a value, or one within it, is a `$PARAMETER`."""
    return next(_asked(value), None) is not None


def reads_clock(value: Any) -> bool:
    """Whether a `$PARAMETER` within asks what time it is, which no replay could answer the same."""
    return any(_CLOCK.search(str(expression)) for expression in _asked(value))


def substituted(value: Any, parameters: Mapping[str, Any]) -> Any:
    """`value` with each `$PARAMETER` in it replaced, at any depth.

    GX's own expressions are kept: arithmetic on numbers, `datetime(...)`, `timedelta(...)`, `now()`. Raises
    ParameterError for a name that is not given and for what GX cannot parse.
    """
    if isinstance(value, Mapping):
        if _KEY in value:
            return _value(value, parameters)
        return {name: substituted(item, parameters) for name, item in value.items()}
    if isinstance(value, list):
        return [substituted(item, parameters) for item in value]
    return value


def _asked(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        if _KEY in value:
            yield value[_KEY]
        else:
            for item in value.values():
                yield from _asked(item)
    elif isinstance(value, list):
        for item in value:
            yield from _asked(item)


def _value(asked: Mapping[str, Any], parameters: Mapping[str, Any]) -> Any:
    from great_expectations.core.suite_parameters import parse_suite_parameter
    from great_expectations.exceptions import SuiteParameterError

    expression = asked[_KEY]
    # GX keeps beside the name a value that was tried out with it.
    if (tried := f"{_KEY}.{expression}") in asked:
        return asked[tried]
    given = ", ".join(parameters) or "none"
    try:
        with _PARSER:
            return parse_suite_parameter(str(expression), dict(parameters))
    except SuiteParameterError as error:
        raise ParameterError(
            f"asks for the parameter {str(expression)!r}, which cannot be told (given: {given}): {_reason(error)}. "
            "The run of a partitioned step gives its partition's; `headwater validate` takes --parameter NAME=VALUE."
        ) from error


def _reason(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")
