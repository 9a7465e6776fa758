"""Two processes never write to one run folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from lamas_local.cli import main
from lamas_local.config import ConfigError
from lamas_local.run_folder import RunFolder
from lamas_local.run_lock import LOCK, RunLock
from tests.lamas_local.builders import make_config, write_config

OWNER = """
import os, sys, time
from pathlib import Path
from lamas_local.run_lock import RunLock
RunLock(Path(sys.argv[1])).take()
child = os.fork()
if child == 0:
    time.sleep(60)
print(child, flush=True)
time.sleep(60)
"""


def test_a_second_writer_is_refused_until_the_first_lets_go(tmp_path: Path) -> None:
    with closing(RunLock(tmp_path / "run")) as first, closing(RunLock(tmp_path / "run")) as second:
        first.take()
        first.take()
        with pytest.raises(ConfigError, match=rf"run: process {os.getpid()} is writing to this run"):
            second.take()
        first.close()
        second.take()


def test_it_is_free_once_its_owner_was_killed_though_a_child_lives_on(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    child = int(owner.stdout.readline())
    try:
        with closing(RunLock(tmp_path)) as lock:
            with pytest.raises(ConfigError, match=f"process {owner.pid} is writing"):
                lock.take()
            owner.kill()
            owner.wait()
            lock.take()
        os.kill(child, 0)
    finally:
        owner.kill()
        os.kill(child, signal.SIGKILL)
        owner.stdout.close()


@pytest.mark.parametrize("command", ["--resume", "--restart", "evaluate"])
def test_each_command_that_writes_is_one_sentence_and_status_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    run = tmp_path / "run"
    arguments = write_config(run)
    assert main(arguments) == 0
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    with closing(RunLock(run)) as other:
        other.take()
        before[run / LOCK] = (run / LOCK).stat().st_mtime_ns
        capsys.readouterr()
        assert main(["evaluate", "--run", str(run)] if command == "evaluate" else [*arguments, command]) == 2
    assert capsys.readouterr().err.startswith(f"lamas-local: {run}: process {os.getpid()} is writing to this run")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_a_folder_that_another_has_just_begun_is_refused_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    arguments, other = write_config(run), RunLock(run)
    monkeypatch.setattr("lamas_local.session.check_simulation", lambda *_: other.take())  # while ours starts its engine
    with closing(other):
        assert main(arguments) == 2
    assert "is writing to this run" in capsys.readouterr().err
    assert [path.name for path in run.iterdir()] == [LOCK]


def test_restarting_keeps_the_lock_and_removes_the_configuration_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path)
    with closing(RunLock(tmp_path)) as lock:
        lock.take()
        folder.create(make_config(tmp_path), resume=False, restart=False)
        folder.append_metrics({"step": 1})
        before = (tmp_path / LOCK).stat().st_ino

        def stop(path: Path) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("shutil.rmtree", stop)
            with pytest.raises(KeyboardInterrupt):
                folder.create(make_config(tmp_path, seed=1), resume=False, restart=True)
        assert folder.holds_run
        folder.create(make_config(tmp_path, seed=1), resume=False, restart=True)
        assert (tmp_path / LOCK).stat().st_ino == before
    assert folder.load_config().seed == 1
    assert not folder.metrics.exists()
