"""What people call things: `flights.features[2013-03]@3fa1b2c3`, `flights-late-t0@champion`, a raw file's path."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from pathlib import Path

from psycopg.types.json import Jsonb

from lineage.errors import NotFoundError
from lineage.plan import Workspace
from lineage.store import Row, version_of
from lineage.versions import Version

_FORM = re.compile(r"(?P<name>[^@\[\]]+)(?:\[(?P<partition>[^@\[\]]+)\])?(?:@(?P<version>[^@\[\]]+))?")
_DIGEST = re.compile(r"[0-9a-f]{1,64}")
# Versions that a message lists.
_LISTED = 5


@dataclass(frozen=True)
class Recorded:
    """A version on record, whether it is the current one of its partition, and when it was last written (a raw
    file that no step wrote: last read)."""

    version: Version
    is_current: bool
    recorded_at: datetime

    @property
    def label(self) -> str:
        """`flights.features[2013-03]@3fa1b2c3d4e5`, as it may be asked for again."""
        return f"{dotted(self.version.dataset, self.version.partition)}@{self.version.sha256[:12]}"


@dataclass(frozen=True)
class Named:
    """What a name stands for: a dataset, or a file (of which several datasets may have had versions).

    `partition` and `selector`, the part after the @, are None where the name has none.
    """

    text: str
    dataset: str | None
    file: str | None
    partition: str | None
    selector: str | None
    model: str | None = None


def dotted(dataset: str, partition: str = "") -> str:
    """A dataset as people write it: `flights.features[2013-03]`."""
    return f"{dataset.replace('/', '.', 1)}{f'[{partition}]' if partition else ''}"


def find_version(space: Workspace, text: str) -> Recorded:
    """The one version that `text` names, the current one where it names none.

    NotFoundError where nothing, or more than one version, has that name, with the nearest that there are.
    """
    named = parse(space, text)
    found = _selected(space, named, _known(space, named), named.selector or "current")
    if len(found) == 1:
        return found[0]
    keys = sorted({item.version.partition for item in found})
    if len(keys) > 1:
        example = dotted(named.dataset or text, keys[0])
        raise NotFoundError(f"{text} is of {len(keys)} partitions; name one, as in {example}.", tuple(keys))
    raise _ambiguous(named, found)


def find_versions(space: Workspace, text: str) -> list[Recorded]:
    """Every version that `text` names: all of a dataset or partition, those after an @, the current one of a file.

    NotFoundError where nothing has that name, or what stands after the @ begins several digests.
    """
    named = parse(space, text)
    known = _known(space, named)
    if named.selector is None and named.file is None:
        return known
    return _selected(space, named, known, named.selector or "current")


def find_current(space: Workspace, text: str, partition: str | None = None) -> list[Recorded]:
    """Of each partition, or only of `partition`, the version that `text` names: the current one where it names none.

    NotFoundError as of `find_versions`, and where `text` is of another partition.
    """
    named = parse(space, text)
    if partition is not None and named.partition not in (None, partition):
        raise NotFoundError(f"{text} is of partition {named.partition}, not of {partition}; name one.")
    named = replace(named, partition=partition or named.partition)
    return _selected(space, named, _known(space, named), named.selector or "current")


def parse(space: Workspace, text: str) -> Named:
    """What `text` is the name of; NotFoundError names the nearest datasets, models and files."""
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise NotFoundError(f"{text!r} is no name; write it as flights.features[2013-03]@3fa1b2c3.")
    name, partition, selector = match["name"], match["partition"], match["version"]
    datasets, models = _datasets(space), _models(space)
    for dataset in (name, name.replace(".", "/", 1)):
        if dataset in datasets:
            model = next((model for model, of in models.items() if of == dataset), None)
            return Named(text, dataset, None, partition, selector, model)
    if name in models:
        return Named(text, models[name], None, partition, selector, name)
    paths = [row["path"] for row in space.store.rows("recorded_paths")]
    if (path := _relative(space.root, name)) in paths:
        return Named(text, None, path, partition, selector)
    names = [dotted(dataset) for dataset in datasets] + [*models] + paths
    near = tuple(difflib.get_close_matches(name.replace("/", ".", 1) if name.count("/") == 1 else name, names, n=3))
    hint = f"did you mean {' or '.join(near)}?" if near else "`headwater list` shows what there is."
    raise NotFoundError(f"Nothing on record is called {name!r}; {hint}", near)


def _relative(root: Path, name: str) -> str:
    """A path as records have it: below the project's root."""
    path = Path(name)
    return str(path.relative_to(root) if path.is_absolute() and path.is_relative_to(root) else path)


def _datasets(space: Workspace) -> list[str]:
    known = [row["dataset"] for row in space.store.rows("named_datasets")]
    return list(dict.fromkeys([*known, *(step.dataset for step in space.project.steps)]))


def _models(space: Workspace) -> dict[str, str]:
    """Model -> its dataset."""
    declared = {step.model_name: step.dataset for step in space.project.models()}
    return declared | {row["model"]: row["dataset"] for row in space.store.rows("named_models")}


def _known(space: Workspace, named: Named) -> list[Recorded]:
    """All versions of what is named, by partition, the current one first; NotFoundError where there is none."""
    file = Jsonb([{"path": named.file}]) if named.file else None
    rows = space.store.rows("named_versions", dataset=named.dataset, partition=named.partition, file=file)
    if rows:
        return [recorded(row) for row in rows]
    if named.partition is None:
        step = dotted(named.dataset or "")
        raise NotFoundError(f"{step} has no version yet; run `headwater run {step}` first, or `headwater run`.")
    rows = space.store.rows("named_versions", dataset=named.dataset, partition=None, file=file)
    keys = sorted({row["partition"] for row in rows if row["partition"]})
    near = tuple(difflib.get_close_matches(named.partition, keys, n=3))
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {_span(keys)}."
    name = dotted(named.dataset) if named.dataset else named.file
    raise NotFoundError(f"{name} has no version of partition {named.partition!r}; {hint}", near)


def recorded(row: Row) -> Recorded:
    """The version in a row of `named_versions` or `outputs_of_run`."""
    return Recorded(version_of(row), row["is_current"], row["recorded_at"])


def _ambiguous(named: Named, found: Sequence[Recorded]) -> NotFoundError:
    return NotFoundError(f"{named.text!r} begins {len(found)} versions: {_listed(found)}; write more of it.")


def _selected(space: Workspace, named: Named, known: Sequence[Recorded], selector: str) -> list[Recorded]:
    """Those of `known` that are meant by what stands after the @."""
    if selector in ("current", "previous"):
        return [*_in_place(named, known, selector)]
    aliases = space.store.rows("aliases", model=named.model) if named.model else []
    digest = next((row["digest"] for row in aliases if row["alias"] == selector), None)
    found = [item for item in known if item.version.sha256 == digest]
    if not found and _DIGEST.fullmatch(selector.lower()):
        found = [item for item in known if item.version.sha256.startswith(selector.lower())]
        if len({item.version.sha256 for item in found}) > 1:
            raise _ambiguous(named, found)
    if found:
        return found
    words = ", ".join(["current", "previous", *(row["alias"] for row in aliases)])
    raise NotFoundError(
        f"{named.text.partition('@')[0]} has no version {selector!r}; there are {_listed(known)}, and {words}.",
        tuple(item.version.sha256 for item in known),
    )


def _in_place(named: Named, known: Sequence[Recorded], selector: str) -> Iterator[Recorded]:
    """Of each partition the version that is current, or the one before; NotFoundError where none has one."""
    if named.file:
        # Its datasets may have changed: what was recorded last is what stands there.
        known = sorted(known, key=lambda item: item.recorded_at, reverse=True)
        groups: Iterable[Sequence[Recorded]] = [known]
    else:
        groups = [[*group] for _, group in groupby(known, key=lambda item: item.version.partition)]
    place = ("current", "previous").index(selector)
    found = [group[place] for group in groups if len(group) > place]
    if not found:
        raise NotFoundError(f"{named.text.partition('@')[0]} has only one version, {_listed(known)}; none came before.")
    yield from found


def _listed(known: Sequence[Recorded]) -> str:
    shown = [
        item.version.sha256[:12] + (f" ({item.version.partition})" if item.version.partition else "")
        for item in known[:_LISTED]
    ]
    return ", ".join(shown) + (f" and {len(known) - _LISTED} more" if len(known) > _LISTED else "")


def _span(keys: Sequence[str]) -> str:
    return f"{keys[0]} to {keys[-1]}" if keys else "no partitions"
