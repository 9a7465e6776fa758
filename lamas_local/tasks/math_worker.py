"""Compares mathematical answers in a process of its own: `python -m lamas_local.tasks.math_worker SECONDS`.

Reads a JSON list `[gold, answer]` a line and writes `true` or `false` a line, after a first line `ready`. It ends
when its input closes, so it never outlives its owner, and the default action of a timer's signal ends it when one job
takes more than SECONDS of CPU: computer algebra may hang where no Python code can stop it. CPU seconds and not
seconds, so that a busy machine gives the same scores.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import resource
import signal
import sys

from lamas_local.tasks.math_equality import is_equal

_MEMORY_BYTES = 4 << 30
"""Of address space; `9^{9^9}` asks for more."""


def main() -> None:
    """Serve until the input closes."""
    import math_verify  # noqa: F401  (a second or two, which belong to no job)

    cpu_s = float(sys.argv[1])
    logging.disable()
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # whatever a library prints is no answer
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    print("ready", file=answers)
    for line in sys.stdin:
        gold, answer = json.loads(line)
        signal.setitimer(signal.ITIMER_PROF, cpu_s)
        found = False
        with contextlib.suppress(Exception):  # what cannot be read or compared is not equal
            found = is_equal(gold, answer)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps(found), file=answers)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        main()
