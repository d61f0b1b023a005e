"""Walking a graph that is asked for level by level: what the store is asked of a whole frontier costs a few queries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

T = TypeVar("T")


def walk(
    ask: Callable[[Sequence[T]], set[tuple[T, T]]],
    start: T,
    *,
    depth: int,
    limit: int,
    direction: str | None,
    key: Callable[[T], Any],
) -> tuple[list[T], set[tuple[T, T]], bool]:
    """The nodes within `depth` edges of `start`, the edges met, and whether more than `limit` nodes were there.

    `ask` says what flows into and out of some nodes, `key` puts those of one level in order. `both` means all ancestors
    and all descendants; without a direction edges are followed both ways at every step.
    """
    if direction == "both":
        ways = [
            walk(ask, start, depth=depth, limit=limit, direction=way, key=key) for way in ("upstream", "downstream")
        ]
        found = [*dict.fromkeys(node for nodes, _, _ in ways for node in nodes)]
        partial = any(less for _, _, less in ways) or len(found) > limit
        return found[:limit], ways[0][1] | ways[1][1], partial
    seen, frontier, flows = {start: None}, [start], set[tuple[T, T]]()
    for _ in range(depth):
        here = set(frontier)
        near = {
            flow
            for flow in ask(frontier)
            if (direction != "downstream" and flow[1] in here) or (direction != "upstream" and flow[0] in here)
        }
        flows |= near
        fresh = sorted({end for flow in near for end in flow if end not in seen}, key=key)
        room = limit - len(seen)
        seen |= dict.fromkeys(fresh[:room])
        if len(fresh) > room:
            return [*seen], flows, True
        frontier = fresh
        if not frontier:
            break
    return [*seen], flows, False
