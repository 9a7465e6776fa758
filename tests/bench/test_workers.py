"""Order, processes, and Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

import psutil
import pytest

from bench.workers import CONTEXT, interruptible, run_all, stop_if_asked


def whose(item: int) -> tuple[int, int]:
    return item, os.getpid()


def is_asked(item: int) -> bool:
    stop = asyncio.Event()
    stop_if_asked(stop)
    return stop.is_set()


def test_one_job_runs_in_this_process() -> None:
    with interruptible() as flag:
        assert run_all(whose, [1, 2], 1, flag) == [(1, os.getpid()), (2, os.getpid())]


def test_two_jobs_run_elsewhere_in_order_and_see_the_flag() -> None:
    with interruptible() as flag:
        results = run_all(whose, [3, 1, 2], 2, flag)
        assert [item for item, _ in results] == [3, 1, 2]
        assert os.getpid() not in {process for _, process in results}
        os.kill(os.getpid(), signal.SIGINT)
        assert run_all(is_asked, [0, 1], 2, flag) == [True, True]


def spawn_and_die(path: str) -> None:
    """A parent that is killed while its worker works."""
    worker = CONTEXT.Process(target=work_until_asked, args=(path,))
    worker.start()
    while not os.path.exists(path):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


def work_until_asked(path: str) -> None:
    with interruptible() as flag:
        Path(path).write_text(str(os.getpid()))
        while not run_all(is_asked, [0], 1, flag)[0]:
            time.sleep(0.01)


def test_a_worker_does_not_outlive_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "worker"
    parent = CONTEXT.Process(target=spawn_and_die, args=(str(path),))
    parent.start()
    parent.join()
    with contextlib.suppress(psutil.NoSuchProcess):  # it has ended already
        psutil.Process(int(path.read_text())).wait(timeout=10)


def test_the_first_interrupt_asks_and_the_second_ends(capsys: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)
    with interruptible() as flag:
        os.kill(os.getpid(), signal.SIGINT)
        assert run_all(is_asked, [0], 1, flag) == [True]
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    assert "the same command goes on from there" in capsys.readouterr().err
