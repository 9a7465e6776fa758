"""What a run gives back, and that runs are bounded, do not block, and end with their owner."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from lamas_local.config import ConfigError, SandboxConfig
from lamas_local.sandbox import Sandbox, SandboxResult
from lamas_local.sandbox import sandbox as sandbox_module
from lamas_local.sandbox.isolation import Kind
from tests.lamas_local.sandbox.conftest import LIMITS

SLEEPS = (
    "import os, time\nif os.fork() == 0:\n    os.setsid()\n    os.fork()\nprint('here', flush=True)\ntime.sleep(3600)"
)


async def test_output(sandbox: Sandbox) -> None:
    result = await sandbox.run("import sys\nprint('one')\nprint('two', file=sys.stderr)\nprint('ä\\ud800'[:1], end='')")
    assert (result.status, result.value, result.traceback) == ("ok", None, "")
    assert result.output == "one\ntwo\nä"


async def test_value(sandbox: Sandbox) -> None:
    result = await sandbox.run("def solve():\n    print('thinking')\n    return 2.5", "solve")
    assert (result.status, result.value, result.output) == ("ok", "2.5", "thinking\n")
    assert result.asked <= result.started < result.ended


@pytest.mark.parametrize("value", ["None", "''", "'a\\0b\\n'", "'\\ud800'", "[1, {2: 3}]"])
async def test_values_are_strings(sandbox: Sandbox, value: str) -> None:
    assert (await sandbox.run(f"solve = lambda: {value}", "solve")).value == str(eval(value))


@pytest.mark.parametrize(
    ("code", "last_line"),
    [
        ("def solve():\n    return 1 / 0", "ZeroDivisionError: division by zero"),
        ("def solve(:", "SyntaxError: invalid syntax"),
        ("x = 1", "NameError: the program defines no function 'solve'"),
        ("def solve():\n    raise SystemExit(3)", "SystemExit: 3"),
        ("def solve(n):\n    pass", "TypeError: solve() missing 1 required positional argument: 'n'"),
        ("def solve():\n    return input()", "EOFError: EOF when reading a line"),
    ],
)
async def test_errors(sandbox: Sandbox, code: str, last_line: str) -> None:
    result = await sandbox.run(code, "solve")
    assert result.status == "error"
    assert result.value is None
    assert result.traceback.splitlines()[-1] == last_line


async def test_a_traceback_shows_the_program_and_not_the_runner(sandbox: Sandbox) -> None:
    result = await sandbox.run("def f(x):\n    return 1 / x\n\ndef solve():\n    return f(0)", "solve")
    lines = result.traceback.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1] == '  File "<program>", line 5, in solve'
    assert "    return 1 / x" in lines
    assert "inside" not in result.traceback


async def test_a_long_traceback_is_cut_to_its_end(sandbox: Sandbox) -> None:
    result = await sandbox.run("raise ValueError('x' * 10**5 + 'end')")
    assert len(result.traceback) <= 2000
    assert result.traceback.endswith("end")


async def test_exit_zero_ends_a_program_well(sandbox: Sandbox) -> None:
    assert (await sandbox.run("print('done')\nraise SystemExit")).status == "ok"
    assert (await sandbox.run("raise SystemExit(1)")).status == "error"


async def test_a_main_guard_runs_in_a_program_only(sandbox: Sandbox) -> None:
    code = "def solve():\n    return __name__\nif __name__ == '__main__':\n    print('main')"
    assert (await sandbox.run(code)).output == "main\n"
    assert (await sandbox.run(code, "solve")).output == ""


async def test_it_has_the_standard_library_and_a_folder(sandbox: Sandbox) -> None:
    code = (
        "import dataclasses, decimal, fractions, itertools, json, random, re, statistics, tempfile, os, sys, hashlib\n"
        "@dataclasses.dataclass\nclass A:\n    x: int\n"
        "open('file', 'w').write('text')\n"
        "with tempfile.TemporaryFile() as f:\n    f.write(b'x')\n"
        "print(os.listdir('.'), A(1), sorted(os.environ), sys.flags.isolated, 'site' in sys.modules)"
    )
    result = await sandbox.run(code)
    assert result.status == "ok", result
    environment = result.output.splitlines()[0]
    assert environment.startswith("['file'] A(x=1) [")
    assert environment.endswith(" 1 False")
    assert set(eval(environment[environment.index("A(x=1)") + 7 : -len(" 1 False")])) <= {
        *("HOME", "LANG", "MALLOC_ARENA_MAX", "PATH", "PWD", "TMPDIR", "LC_CTYPE")
    }


async def test_runs_share_nothing(sandbox: Sandbox) -> None:
    await sandbox.run("open('file', 'w').write('text')")
    assert (await sandbox.run("import os\nprint(os.listdir('.'))")).output == "[]\n"


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="counts open files by /proc")
async def test_no_file_stays_open(sandbox: Sandbox) -> None:
    await sandbox.run("")
    before = sorted(os.listdir("/proc/self/fd"))
    await asyncio.gather(
        sandbox.run("1 / 0"), sandbox.check("f = abs", "f", "f(1)"), sandbox.run("import os; os.abort()")
    )
    task = asyncio.ensure_future(sandbox.run(SLEEPS))
    await asyncio.sleep(0.1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(0.01)
    assert sorted(os.listdir("/proc/self/fd")) == before


async def test_what_was_printed_before_the_end_is_kept(kind: Kind) -> None:
    sandbox = Sandbox(LIMITS.model_copy(update={"wall_s": 1.0}), kind)
    result = await sandbox.run("import time\nprint('so far')\ntime.sleep(99)")
    assert (result.status, result.output) == ("timeout", "so far\n")
    assert 1.0 <= result.ended - result.started < 4


async def test_output_is_cut_at_its_limit(kind: Kind) -> None:
    sandbox = Sandbox(LIMITS.model_copy(update={"output_kib": 1}), kind)
    assert (await sandbox.run("print('x' * 1023)")).status == "ok"
    result = await sandbox.run("print('x' * 1024)")
    assert (result.status, result.output) == ("output-limit", "x" * 1024)


async def test_never_more_at_once_than_allowed(kind: Kind) -> None:
    sandbox = Sandbox(LIMITS.model_copy(update={"max_runs": 2}), kind)
    sleep = "import time\ntime.sleep(0.1)"
    runs = [sandbox.run(sleep) for _ in range(5)] + [sandbox.check("f = abs", "f", sleep) for _ in range(2)]
    results = await asyncio.gather(*runs)
    assert {result.status for result in results} == {"ok"}
    events = sorted([(r.started, 1) for r in results] + [(r.ended, -1) for r in results])
    running = [sum(change for _, change in events[: i + 1]) for i in range(len(events))]
    assert max(running) == 2
    assert max(result.started - result.asked for result in results) > 0.1


async def test_the_event_loop_goes_on(kind: Kind) -> None:
    sandbox = Sandbox(LIMITS, kind)
    gaps: list[float] = []

    async def beat() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.01)
            gaps.append(time.monotonic() - before)

    heart = asyncio.ensure_future(beat())
    await sandbox.run("while True:\n    pass")
    heart.cancel()
    assert len(gaps) > 10
    assert max(gaps) < 0.5


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A folder for the runs' folders, empty in the end; one of pytest's own would be closed to a run's user."""
    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o711)
    monkeypatch.setattr(tempfile, "tempdir", folder)
    yield folder
    os.rmdir(folder)


async def test_cancelled_runs_leave_nothing(kind: Kind, temporary: str) -> None:
    sandbox = Sandbox(LIMITS, kind)
    before = set(psutil.Process().children(recursive=True))
    tasks: list[asyncio.Task[SandboxResult]] = [
        asyncio.ensure_future(sandbox.run(SLEEPS)),
        asyncio.ensure_future(sandbox.check(SLEEPS, "f", "f()")),
    ]
    for delay in (0.0, 0.02, 0.3):  # at the start, on the way, in the program
        await asyncio.sleep(delay)
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert set(psutil.Process().children(recursive=True)) == before
        assert not os.listdir(temporary)
        tasks = [asyncio.ensure_future(sandbox.run(SLEEPS)), asyncio.ensure_future(sandbox.check(SLEEPS, "f", "f()"))]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


OWNER = """
import asyncio, sys
from lamas_local.config import SandboxConfig
from lamas_local.sandbox import Sandbox
asyncio.run(Sandbox(SandboxConfig(wall_s=60, cpu_s=60), sys.argv[1]).run(sys.argv[2]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process of its parent's death")
def test_nothing_outlives_a_killed_owner(kind: Kind) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        owner = subprocess.Popen([sys.executable, "-c", OWNER, kind, SLEEPS], env={**os.environ, "TMPDIR": folder})
        processes = _wait_for_children(owner.pid, at_least=4)
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        _, alive = psutil.wait_procs(processes, timeout=5)
    assert len(processes) >= 4
    assert not alive


def _wait_for_children(pid: int, at_least: int) -> list[psutil.Process]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        found = psutil.Process(pid).children(recursive=True)
        if len(found) >= at_least:
            return found
        time.sleep(0.05)
    return []


async def test_isolation_says_what_is_in_force(kind: Kind, sandbox: Sandbox) -> None:
    assert sandbox.isolation.startswith(kind)
    assert ("own user" in sandbox.isolation) == (os.geteuid() == 0)


@pytest.mark.parametrize("bwrap", [None, "#!/bin/sh\necho refused >&2\nexit 1\n"], ids=["not installed", "refused"])
async def test_without_bubblewrap(bwrap: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Best effort takes what there is; strict says what is missing."""
    if bwrap is not None:
        (tmp_path / "bwrap").write_text(bwrap)
        (tmp_path / "bwrap").chmod(0o755)
    for tool in ("rm", "chmod"):
        (tmp_path / tool).symlink_to(f"/bin/{tool}")
    monkeypatch.setenv("PATH", str(tmp_path))
    sandbox_module._strongest.cache_clear()
    try:
        sandbox = Sandbox(LIMITS)
        assert sandbox.isolation.startswith(("namespaces", "process limits"))
        assert (await sandbox.run("print(1)")).output == "1\n"
        why = "not installed" if bwrap is None else "refused"
        with pytest.raises(ConfigError, match=rf"sandbox\.isolation is 'strict'.*{why}.*install bubblewrap"):
            Sandbox(SandboxConfig(isolation="strict"))
    finally:
        sandbox_module._strongest.cache_clear()


def test_strict_takes_bubblewrap() -> None:
    try:
        Sandbox(LIMITS, "bubblewrap")
    except ConfigError as error:
        pytest.skip(str(error))
    assert Sandbox(SandboxConfig(isolation="strict")).isolation.startswith("bubblewrap")
