"""Suite files: Great Expectations' own JSON, read strictly.

GX drops an expectation that it cannot build and goes on; a promise that nobody checks is worse than
none, so here it is an error that names the file, and a check that failed.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any

from lineage.errors import SettingsError
from validations.actions import QUARANTINE, action_of, require_by_row, severity_of
from validations.parameters import ParameterError, asks, reads_clock, substituted


@dataclass(frozen=True)
class SuiteFile:
    """A suite's name and its expectations as GX configurations; an `id` is the position in the file."""

    name: str
    expectations: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Examined:
    """All of a suite's entries as they stand in its file (`path`), by position: GX configurations of those that can
    be used, errors of the others."""

    path: Path
    name: str
    entries: tuple[Any, ...]
    usable: Mapping[int, Mapping[str, Any]]
    errors: Mapping[int, SettingsError]

    def where(self, at: int) -> str:
        """How a sentence about the entry at this position begins."""
        return _where(self.path, at, self.entries[at]["type"])


def read_suite(path: Path, parameters: Mapping[str, Any] | None = None) -> SuiteFile:
    """The suite in a JSON file; SettingsError names the file, what is wrong in it, and the nearest names."""
    examined = examine_suite(path, parameters)
    for error in examined.errors.values():
        raise error
    return SuiteFile(examined.name, tuple(examined.usable.values()))


def examine_suite(path: Path, parameters: Mapping[str, Any] | None = None) -> Examined:
    """All of a suite in a JSON file, also what is wrong in it; SettingsError where it is no suite at all.

    `parameters` are the values of `$PARAMETER` in it, by name.
    """
    name, entries = _entries(path)
    usable: dict[int, Mapping[str, Any]] = {}
    errors: dict[int, SettingsError] = {}
    for at, entry in enumerate(entries):
        try:
            usable[at] = _expectation(entry, at, path, parameters or {})
        except SettingsError as error:
            errors[at] = error
    return Examined(path, name, tuple(entries), usable, errors)


def _entries(path: Path) -> tuple[str, list[Any]]:
    document = _document(path)
    if "expectation_suite_name" in document:
        raise SettingsError(
            f"{path} is a suite of Great Expectations 0.x: rename `expectation_suite_name` to `name`, and in each "
            "expectation `expectation_type` to `type`."
        )
    name, entries = document.get("name"), document.get("expectations")
    if not isinstance(name, str) or not name or not isinstance(entries, list):
        raise SettingsError(f"{path} is no suite: it needs a `name` and a list of `expectations`.")
    return name, entries


@lru_cache(maxsize=1)
def load_gx() -> Any:
    """The module great_expectations, imported (6 s) at its first use and kept from changing the process."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    shown_by = warnings.showwarning
    # GX also adds warning filters of its own; leaving the block takes them back.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"module 'sre_\w+' is deprecated", DeprecationWarning)
        import great_expectations

        # GX sends the whole process's warnings to the log.
        if warnings.showwarning is not shown_by:
            logging.captureWarnings(False)
    return great_expectations


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"The suite {path} cannot be read ({error.strerror}).") from error
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"The suite {path} is not valid JSON: {error}.") from error
    if not isinstance(document, dict):
        raise SettingsError(f"{path} is no suite: its JSON must be an object.")
    return document


def _expectation(entry: Any, position: int, path: Path, parameters: Mapping[str, Any]) -> dict[str, Any]:
    where = _where(path, position)
    if not isinstance(entry, dict) or not isinstance(entry.get("kwargs"), dict):
        raise SettingsError(f"{where} must be an object with `type` and `kwargs`.")
    _require_known(str(entry.get("type")), where)
    named = _where(path, position, entry["type"])
    kwargs = _given(entry["kwargs"], parameters, named)
    configuration = {**entry, "kwargs": kwargs, "severity": severity_of(entry, named), "id": str(position)}
    _require_buildable(configuration, named)
    if action_of(entry) == QUARANTINE:
        require_by_row(entry["type"], named)
        _require_repeatable(entry["kwargs"], named)
    return configuration


def _given(kwargs: dict[str, Any], parameters: Mapping[str, Any], where: str) -> dict[str, Any]:
    if not asks(kwargs):
        return kwargs
    try:
        found: dict[str, Any] = substituted(kwargs, parameters)
    except ParameterError as error:
        raise SettingsError(f"{where} {error}") from error
    return found


def _require_repeatable(kwargs: Mapping[str, Any], where: str) -> None:
    if reads_clock(kwargs):
        raise SettingsError(
            f"{where} is marked {QUARANTINE}, but asks what time it is: a later run would put other rows aside; "
            "name a parameter of the partition, or mark it block or warn."
        )


def _where(path: Path, position: int, kind: str | None = None) -> str:
    # Records keep such sentences: no folder of this machine in them.
    shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
    named = f" ({kind})" if kind else ""
    return f"{shown}: expectation {position + 1}{named}"


def _require_known(kind: str, where: str) -> None:
    load_gx()
    from great_expectations.expectations.registry import list_registered_expectation_implementations

    known = list_registered_expectation_implementations()
    if kind not in known:
        near = get_close_matches(kind, known)
        hint = f"did you mean {' or '.join(near)}?" if near else "see great_expectations.expectations."
        raise SettingsError(f"{where} has the unknown type {kind!r}; {hint}")


def _require_buildable(configuration: dict[str, Any], where: str) -> None:
    from great_expectations.compatibility.pydantic import ValidationError
    from great_expectations.exceptions import GreatExpectationsError
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration

    try:
        ExpectationConfiguration(**configuration).to_domain_obj()
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise SettingsError(f"{where} has wrong kwargs: {wrong}.") from error
    except (GreatExpectationsError, TypeError, ValueError) as error:
        raise SettingsError(f"{where} is not valid: {error}.") from error
