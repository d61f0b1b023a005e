"""Search by name: what is called so, then what begins so, then words that begin so, then the rest."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence

import orjson

from lineage.graph.index import Entry, GraphIndex
from lineage.service.graph import describe
from lineage.service.marquez import Json
from lineage.store import Store

# What parts a name: a.b, a/b, a:b, and a_b and a-b within.
_SEGMENTS, _WORDS = ("/", ".", ":"), ("_", "-", " ")


class Names:
    """The names of nodes in one text, so that a search is a few searches of it."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries
        self._starts: list[int] = []
        parts, place = [], 0
        for entry in entries:
            # A name that ends a line begins one: neither holds a line break that would count.
            name = entry.node.name.lower().replace("\n", " ")
            self._starts.append(place)
            parts.append(name)
            place += len(name) + 1
        self._text = "\n" + "\n".join(parts) + "\n"

    def find(self, text: str) -> Iterator[Entry]:
        """The nodes whose name holds `text`, best first; of one rank in the order of the nodes."""
        wanted = text.lower().replace("\n", " ")
        seen: set[int] = set()
        ranks = [[f"\n{wanted}\n", *(f"{part}{wanted}\n" for part in _SEGMENTS)], [f"\n{wanted}"]]
        ranks += [[f"{part}{wanted}" for part in _SEGMENTS], [f"{part}{wanted}" for part in _WORDS], [wanted]]
        for patterns in ranks:
            for number in self._merged(patterns):
                if number not in seen:
                    seen.add(number)
                    yield self._entries[number]

    def _merged(self, patterns: Sequence[str]) -> Iterator[int]:
        if len(patterns) == 1:
            return self._lines(patterns[0])
        return iter(sorted({number for pattern in patterns for number in self._lines(pattern)}))

    def _lines(self, pattern: str) -> Iterator[int]:
        place = self._text.find(pattern)
        while place >= 0:
            # The text begins with a line break, so that places are one more; what begins with one is of the next line.
            line = place if pattern.startswith("\n") else place - 1
            yield bisect_right(self._starts, line) - 1
            place = self._text.find(pattern, place + 1)


def search(
    store: Store, index: GraphIndex, text: str, *, kind: str | None, namespace: str | None, by_time: bool, limit: int
) -> Json:
    """At most `limit` datasets and jobs whose name holds `text`, in Marquez's shape."""
    with index:
        index.refresh(store)
        found = []
        for entry in index.names(Names).find(text) if text else ():
            if (kind is None or entry.node.kind == kind) and namespace in (None, entry.node.namespace):
                found.append(entry)
                if len(found) >= limit:
                    break
        data = [orjson.loads(item) for item in describe(store, index, found)]
    results = [
        {
            "type": entry.node.kind.upper(),
            "name": entry.node.name,
            "updatedAt": item["updatedAt"],
            "namespace": entry.node.namespace,
            "nodeId": entry.node.id,
        }
        for entry, item in zip(found, data, strict=True)
    ]
    if by_time:
        results.sort(key=lambda item: item["updatedAt"], reverse=True)
    return {"totalCount": len(results), "results": results}
