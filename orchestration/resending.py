"""The verb that sends the events on record elsewhere: `headwater lineage replay`."""

from __future__ import annotations

import argparse
import json
import os
import sys

from lineage.backend import Backend
from lineage.projection import draw_backlog
from lineage.resend import Resent, Wanted, resend
from lineage.settings import Settings
from lineage.store import Store

_TIMEOUT_SECONDS = 30.0


def resend_events(arguments: argparse.Namespace, settings: Settings) -> int:
    """`headwater lineage replay --to URL`: 0 when the backend took everything, 1 when it refused some for good."""
    wanted = Wanted(arguments.since, arguments.until, arguments.namespace, arguments.after)
    key = os.environ.get("OPENLINEAGE_API_KEY") or None
    done = Resent()
    with Store(settings) as store, Backend(arguments.to, _TIMEOUT_SECONDS, key, said_by="--to") as backend:
        draw_backlog(store)
        for done in resend(store, backend, wanted, batch=max(1, arguments.batch)):
            _show(done)
    if sys.stderr.isatty():
        print(file=sys.stderr)
    if arguments.json:
        print(json.dumps({"sent": done.sent, "refused": done.refused, "place": done.place}))
    else:
        print(f"sent {done.sent:,} events{f', {done.refused:,} refused' if done.refused else ''}.")
    return 1 if done.refused else 0


def _show(done: Resent) -> None:
    for event, reason in done.refusals:
        named = event.get("job") or event.get("dataset") or {}
        name = f"{named.get('namespace')}:{named.get('name')}"
        print(f"headwater: refused for good ({reason}): {event['eventTime']} {name}", file=sys.stderr)
    if sys.stderr.isatty():
        print(f"\rsent {done.sent:,}", end="", file=sys.stderr, flush=True)
