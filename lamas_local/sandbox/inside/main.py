"""The sandbox's first process."""

from __future__ import annotations

import os

from lamas_local.sandbox.inside import confine
from lamas_local.sandbox.inside.worker import work

TYPE_CHECKING = False  # typing takes longer to import than the rest together
if TYPE_CHECKING:
    from typing import Any


def main(request: dict[str, Any]) -> None:
    """Confine, fork the worker, leave nothing of it behind; ends with the worker's status."""
    settings = request["confine"]
    fds = [1, 2] + [request[name] for name in ("report_fd", "calls_fd", "answers_fd") if request[name] is not None]
    confine.before_fork(settings, fds)
    worker = os.fork()
    if worker == 0:
        confine.after_fork(settings)
        work(request)
    confine.leave(settings, worker, fds)
