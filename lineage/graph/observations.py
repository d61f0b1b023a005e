"""What events say, as rows for the store: merged so that neither their order nor their number matters.

Everything here is a least upper bound: sets grow, times take the least or the greatest, and of two facets of one name
the later holds. So a batch may be merged here, and batches in the store, in any order.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson

from lineage.graph.nodes import Node, named_in_facet

Event = Mapping[str, Any]
# A facet as the store keeps it: time, digest, body; the body of a shared one stands elsewhere.
Stamped = list[Any]
Facets = dict[str, Stamped]

# Whose version a dataset has when no job is known to have written it.
NOBODY = UUID(int=0)

_ENDS = ("COMPLETE", "FAIL", "ABORT")
# Large, and the same in every run of a job: kept once.
_SHARED = ("schema", "columnLineage")


@dataclass
class Observations:
    """The rows that a set of events comes to, by key."""

    nodes: dict[UUID, dict[str, Any]] = field(default_factory=dict)
    runs: dict[tuple[UUID, UUID], dict[str, Any]] = field(default_factory=dict)
    io: dict[tuple[UUID, UUID, UUID, bool], dict[str, Any]] = field(default_factory=dict)
    columns: dict[tuple[UUID, UUID], dict[str, Any]] = field(default_factory=dict)
    facets: dict[UUID, dict[str, Any]] = field(default_factory=dict)

    def add(self, event: Event) -> None:
        """Merge in what one event (in spec) says."""
        time = normal_time(event["eventTime"])
        if "job" in event:
            self._job_event(event, time)
        elif "dataset" in event:
            self._dataset_event(event, time)

    def edges(self) -> list[dict[str, Any]]:
        """Each job with each dataset that it was seen to read or write."""
        found = {(job, dataset, is_output) for _, job, dataset, is_output in self.io if job != NOBODY}
        return [{"job": job, "dataset": dataset, "is_output": out} for job, dataset, out in sorted(found)]

    def jobs(self) -> list[UUID]:
        """The jobs whose edges may be others now: a run that ends may speak for its job with what it said before."""
        return sorted({job for _, job in self.runs})

    def _job_event(self, event: Event, time: str) -> None:
        job = self._node("job", event["job"], self._stamped(event["job"].get("facets"), time), time)
        designed = "run" not in event
        run = _design_id(job, time) if designed else UUID(event["run"]["runId"])
        for dataset, is_output in _datasets(event):
            self._touch(run, job, dataset, time, is_output=is_output)
        self._run(event, run, job, time, designed=designed)

    def _dataset_event(self, event: Event, time: str) -> None:
        dataset = event["dataset"]
        facets = self._stamped(dataset.get("facets"), time)
        key = self._node("dataset", dataset, facets, time)
        if version := _version(dataset):
            # Nobody's run wrote it, as far as anybody said.
            run = _digest_id(f"{key}\t{version}".encode())
            self._touch_io(run, NOBODY, key, time, True, facets)

    def _run(self, event: Event, run: UUID, job: UUID, time: str, *, designed: bool) -> None:
        state = "DESIGN" if designed else event.get("eventType") or "OTHER"
        ended, has_io = state in _ENDS, any(True for _ in _datasets(event))
        seen = {
            "run_id": run,
            "job": job,
            "state": state,
            "state_at": time,
            "ended": ended,
            "started_at": time if state == "START" else None,
            "ended_at": time if ended else None,
            "created_at": time,
            "updated_at": time,
            "facets": {} if designed else self._stamped(event["run"].get("facets"), time),
            "settled": designed or state == "COMPLETE" or _never_ends(event),
            "has_io": has_io,
            "designed": designed,
        }
        known = self.runs.setdefault((run, job), seen)
        if known is not seen:
            _merge_run(known, seen)

    def _touch(self, run: UUID, job: UUID, dataset: Event, time: str, *, is_output: bool) -> None:
        own = self._stamped(dataset.get("facets"), time)
        facets = own | self._stamped(dataset.get("outputFacets" if is_output else "inputFacets"), time)
        # What a run read is not what the dataset has become since: its version stays with the run.
        shown = facets if is_output else {name: facet for name, facet in own.items() if name != "version"}
        key = self._node("dataset", dataset, shown, time)
        self._touch_io(run, job, key, time, is_output, facets)
        if is_output and "columnLineage" in own:
            self._columns(job, key, own["columnLineage"])

    def _touch_io(self, run: UUID, job: UUID, dataset: UUID, time: str, is_output: bool, facets: Facets) -> None:
        place = (run, job, dataset, is_output)
        seen = {
            "run_id": run,
            "job": job,
            "dataset": dataset,
            "is_output": is_output,
            "seen_at": time,
            "facets": facets,
        }
        known = self.io.setdefault(place, seen)
        if known is not seen:
            known["seen_at"] = max(known["seen_at"], time)
            _merge_facets(known["facets"], facets)

    def _stamped(self, facets: Any, time: str) -> Facets:
        """Facets with their time and digest; of shared ones the body is put aside."""
        found: Facets = {}
        for name, body in (facets or {}).items():
            digest = digest_of(body)
            if name in _SHARED:
                key = UUID(hex=digest)
                self.facets[key] = {"digest": key, "body": body}
                body = None
            found[name] = [time, digest, body]
        return found

    def _columns(self, job: UUID, dataset: UUID, facet: Stamped) -> None:
        time, digest, _ = facet
        seen = {"job": job, "dataset": dataset, "seen_at": time, "digest": digest}
        known = self.columns.setdefault((job, dataset), seen)
        if (seen["seen_at"], seen["digest"]) > (known["seen_at"], known["digest"]):
            self.columns[job, dataset] = seen

    def _node(self, kind: str, named: Event, facets: Facets, time: str) -> UUID:
        node = Node(kind, named["namespace"], named["name"])
        key = node.key
        known = self.nodes.get(key)
        if known is None:
            named = {"kind": kind, "namespace": node.namespace, "name": node.name}
            # A copy: what is merged in later is no part of what one run saw.
            self.nodes[key] = {"node_id": key, **named, "facets": {**facets}, "created_at": time, "updated_at": time}
            return key
        known["created_at"] = min(known["created_at"], time)
        known["updated_at"] = max(known["updated_at"], time)
        _merge_facets(known["facets"], facets)
        return key


def observe(events: Iterable[Event]) -> Observations:
    """What all these events say."""
    found = Observations()
    for event in events:
        found.add(event)
    return found


def normal_time(text: str) -> str:
    """A time with a zone in UTC with microseconds, so that texts sort as times do."""
    return datetime.fromisoformat(text.upper()).astimezone(UTC).isoformat(timespec="microseconds")


def _datasets(event: Event) -> Iterator[tuple[Event, bool]]:
    """The datasets that an event says were read (False) and written (True), those that only columns name included."""
    named = set()
    for dataset in event.get("inputs") or ():
        named.add((dataset["namespace"], dataset["name"]))
        yield dataset, False
    for dataset in event.get("outputs") or ():
        yield dataset, True
    # dbt names a seed only here.
    for dataset in event.get("outputs") or ():
        for source in _column_sources((dataset.get("facets") or {}).get("columnLineage") or {}):
            if (place := (source.namespace, source.name)) not in named:
                named.add(place)
                yield {"namespace": source.namespace, "name": source.name}, False


def _column_sources(facet: Event) -> Iterator[Node]:
    """The datasets that a columnLineage facet names; what is misshapen is passed over."""
    fields = facet.get("fields")
    described = fields.values() if isinstance(fields, dict) else ()
    lists = [item.get("inputFields") for item in described if isinstance(item, dict)]
    for several in (*lists, facet.get("dataset")):
        for item in several if isinstance(several, list) else ():
            if isinstance(item, dict) and (node := named_in_facet(item)):
                yield node


def digest_of(value: Any) -> str:
    """MD5 of a JSON value, whatever the order of its keys."""
    try:
        text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        # Whole numbers of more than 64 bits.
        text = json.dumps(value, sort_keys=True).encode()
    return hashlib.md5(text, usedforsecurity=False).hexdigest()


def _merge_facets(known: Facets, seen: Facets) -> None:
    for name, facet in seen.items():
        if name not in known or facet[:2] > known[name][:2]:
            known[name] = facet


def _merge_run(known: dict[str, Any], seen: dict[str, Any]) -> None:
    state = ("ended", "state_at", "state")
    if [seen[name] for name in state] > [known[name] for name in state]:
        known |= {name: seen[name] for name in state}
    for name, better in (("started_at", min), ("ended_at", max), ("created_at", min), ("updated_at", max)):
        times = [time for time in (known[name], seen[name]) if time is not None]
        known[name] = better(times) if times else None
    for name in ("settled", "has_io"):
        known[name] = known[name] or seen[name]
    _merge_facets(known["facets"], seen["facets"])


def _never_ends(event: Event) -> bool:
    kind = (event["job"].get("facets") or {}).get("jobType") or {}
    return str(kind.get("processingType", "")).upper() == "STREAMING"


def _version(dataset: Event) -> str | None:
    version = ((dataset.get("facets") or {}).get("version") or {}).get("datasetVersion")
    return version if isinstance(version, str) and version else None


def _design_id(job: UUID, time: str) -> UUID:
    return _digest_id(f"{job}\t{time}".encode())


def _digest_id(text: bytes) -> UUID:
    return UUID(bytes=hashlib.md5(text, usedforsecurity=False).digest())
