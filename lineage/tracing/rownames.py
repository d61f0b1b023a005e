"""What people call rows: `flights/departures[2013-01]@3fa1b2c3:826`, `flights/departures/2013-01.csv:826`."""

from __future__ import annotations

import re

from lineage.errors import IntegrityError, NotFoundError
from lineage.gc import fate
from lineage.names import dotted, find_version, find_versions, parse
from lineage.quarantine import is_quarantine
from lineage.tracing.records import Records, open_records
from lineage.tracing.tracer import Tracer
from lineage.versions import Version

# Files below it are also called by the rest of their path.
_RAW_FOLDER = "data/raw/"
_TABLES_FOLDER = "data/tables/"
# A row by its number, as it ends the name of one.
_ROW = re.compile(r"(?P<name>.+):(?P<row>\d{1,18})")


def is_row(name: str) -> bool:
    """Whether this is meant as a row's name, such as `flights.features[2013-11]:1000`, rightly written or not."""
    return re.search(r":[^/.]*$", name) is not None


def find_row(tracer: Tracer, name: str) -> tuple[Version, int]:
    """The version and the position that `DATASET[PARTITION]:ROW` or `FILE:ROW` names.

    @VERSION may stand before the colon. A row of a source is one of its raw file. Raises NotFoundError.
    """
    match = _ROW.fullmatch(name)
    if match is None:
        raise without_number(tracer, name) or NotFoundError(
            f"{name!r} is no row; write it as flights/departures[2013-01]:826, the first row is 0."
        )
    version, position = _named(tracer, match["name"]), int(match["row"])
    if _is_model(tracer, version):
        raise _model_has_none(match["name"])
    count = len(open_version(tracer, version)) if version.row_count is None else version.row_count
    if position >= count:
        known = f"rows 0 to {count - 1}" if count else "none"
        raise NotFoundError(f"{match['name']} has no row {position}; it has {count} rows ({known}).")
    return version, position


def without_number(tracer: Tracer, text: str) -> NotFoundError | None:
    """What is wrong with the name of a table, file or model that stands where a row's should, and how to write it; None
    for a name of nothing on record."""
    name = text.strip()
    try:
        parse(tracer.space, _recorded_name(name))
    except NotFoundError:
        return None
    try:
        known = find_versions(tracer.space, _recorded_name(name))
    except NotFoundError as error:
        return error
    first = next((item for item in known if item.is_current), known[0]).version
    if _is_model(tracer, first):
        return _model_has_none(name)
    partitions = {item.version.partition for item in known}
    if len(partitions) > 1:
        wanted = f"{dotted(first.dataset, min(partitions))}:0"
        return NotFoundError(
            f"{name} is of {len(partitions)} partitions; name a row of one, as in {wanted}, its first."
        )
    count = "" if first.row_count is None else f" of {first.row_count:,}"
    return NotFoundError(f"{name} is no row, for it lacks the row's number; write {name}:0 for the first{count}.")


def _named(tracer: Tracer, text: str) -> Version:
    """The version of a row's name: of a source, its raw file."""
    version = find_version(tracer.space, _recorded_name(text)).version
    origin = tracer.origin(version, None)
    # Rows that were put aside, and those of a table's file, have their own numbers.
    own = is_quarantine(version.dataset) or text.startswith(_TABLES_FOLDER)
    return version if own or not origin.is_source else origin.inputs[0][1]


def _recorded_name(text: str) -> str:
    """A name as it is on record: a raw file's with the folder that may be left out."""
    path = text.partition("@")[0]
    is_path = path.count("/") > 1 and not path.startswith((_RAW_FOLDER, _TABLES_FOLDER, "/")) and "[" not in path
    return f"{_RAW_FOLDER}{text}" if is_path else text


def _model_has_none(name: str) -> NotFoundError:
    return NotFoundError(f"{name} is a model, which has no rows; `headwater impact {name}` follows it.")


def _is_model(tracer: Tracer, version: Version) -> bool:
    return version.row_count is None and bool(tracer.origin(version, None).inputs)


def open_version(tracer: Tracer, raw: Version) -> Records:
    """The records of a version of a raw file; IntegrityError where its bytes are gone."""
    if (path := tracer.space.objects.find(raw.file)) is None:
        raise IntegrityError(
            f"{raw.file.path}: the bytes of version {raw.sha256[:12]}… are {fate(tracer.space, raw.file)}; "
            "`dvc pull` may bring them back.",
            raw.file.path,
            raw.sha256,
            None,
        )
    return open_records(tracer.space.settings.home, path, raw.file.sha256, name=raw.file.path)
