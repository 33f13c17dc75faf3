"""What scripts/bench_peers.py says when something is wrong, and the exit status that goes with it."""

from __future__ import annotations

import sys

USAGE, DATA, RESOURCE = 2, 3, 5  # exit statuses, as the executable's (DESIGN.md, section 5)


class PeerError(Exception):
    """Where, what was wrong and what is allowed, what to do next, and the exit status for it."""

    def __init__(self, where: str, what: str, hint: str, status: int = USAGE) -> None:
        super().__init__(f"{where}: {what}\n  {hint}")
        self.status = status


class MissingPeer(Exception):
    """A program that is not here, which is no error: why, and how to have it."""

    def __init__(self, peer: str, why: str, package: str) -> None:
        super().__init__(f"{peer}: {why}; to have it measured: {sys.executable or 'python3'} -m pip install {package}")
