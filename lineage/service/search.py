"""Search by name: what is called so, then what begins so, then words that begin so, then the rest."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from itertools import islice

import orjson

from lineage.graph.index import Entry, GraphIndex
from lineage.service.graph import describe
from lineage.service.marquez import Json
from lineage.store import Store

# What parts a name: a.b, a/b, a:b, and a_b and a-b within.
_SEGMENTS, _WORDS = ("/", ".", ":"), ("_", "-", " ")
# So many places of a text are looked at one by one.
_FEW = 5_000


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
        places = [*islice(self._places(wanted), _FEW + 1)]
        numbers = self._ranked(wanted, places) if len(places) <= _FEW else self._ranks(wanted)
        return (self._entries[number] for number in numbers)

    def _ranked(self, wanted: str, places: Iterable[int]) -> list[int]:
        """The lines of these places of a text, by the best rank of a place in them."""
        best: dict[int, int] = {}
        for place in places:
            # The text begins with a line break, so that places are one more.
            line, rank = bisect_right(self._starts, place - 1) - 1, self._rank(place, place + len(wanted))
            best[line] = min(rank, best.get(line, rank))
        return sorted(best, key=lambda line: (best[line], line))

    def _rank(self, first: int, last: int) -> int:
        before, after = self._text[first - 1], self._text[last]
        if after == "\n" and before in ("\n", *_SEGMENTS):
            return 0
        return 1 if before == "\n" else 2 if before in _SEGMENTS else 3 if before in _WORDS else 4

    def _ranks(self, wanted: str) -> Iterator[int]:
        """The same, rank after rank and no further than is asked: a common text is in too many names."""
        seen: set[int] = set()
        ranks = [[f"\n{wanted}\n", *(f"{part}{wanted}\n" for part in _SEGMENTS)], [f"\n{wanted}"]]
        ranks += [[f"{part}{wanted}" for part in _SEGMENTS], [f"{part}{wanted}" for part in _WORDS], [wanted]]
        for patterns in ranks:
            for number in merge(*map(self._lines, patterns)):
                if number not in seen:
                    seen.add(number)
                    yield number

    def _lines(self, pattern: str) -> Iterator[int]:
        # What begins with a line break is of the next line.
        shift = 0 if pattern.startswith("\n") else 1
        return (bisect_right(self._starts, place - shift) - 1 for place in self._places(pattern))

    def _places(self, pattern: str) -> Iterator[int]:
        place = self._text.find(pattern)
        while place >= 0:
            yield place
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
