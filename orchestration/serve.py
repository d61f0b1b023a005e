"""Run one of our HTTP services in this process: `python -m orchestration.serve lineage|serving PORT`."""

from __future__ import annotations

import sys

import uvicorn

from lineage.ports import resolve
from lineage.settings import read_settings

_APPLICATIONS = {"lineage": "lineage.api:create_app", "serving": "serving.http:create_app"}


def main(name: str, port: int) -> None:
    """Serve until told to stop; on loopback only, since nothing here asks who is calling yet."""
    settings = read_settings()
    application = resolve(_APPLICATIONS[name])(settings)
    uvicorn.run(application, host="127.0.0.1", port=port, log_level="warning", timeout_graceful_shutdown=5)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
