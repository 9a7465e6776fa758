"""`lamas-local serve` as a process: bad input, keys from the environment, SIGTERM under load, SIGKILL."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from lamas_local.cli import main
from tests.lamas_local.builders import write_config
from tests.serving.http.running import CHAT, wait_until
from tests.serving.ray_engines import NEEDS_RAY, actors, still_running

QUESTION = {"messages": [{"role": "user", "content": "What is 3 plus 4?"}]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("command") / "run"
    assert main(write_config(folder, controller={"encoder": "fake", "num_layers": 2})) == 0
    return folder


@contextmanager
def served(run: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str, Iterator[str]]]:
    """The process, its address, and the rest of its log."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lamas_local.cli", "serve", "--run", str(run), "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "LAMAS_API_KEY": "secret"},
    )
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    listening = json.loads(next(lines))
    assert json.loads(next(lines))["event"] == "ready"
    try:
        yield process, f"http://{listening['host']}:{listening['port']}", lines
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def ask(url: str, model: str) -> int:
    headers = {"Authorization": "Bearer secret"}
    return httpx.post(url + CHAT, json=QUESTION | {"model": model}, headers=headers, timeout=30).status_code


def test_sigterm_under_load_finishes_what_was_accepted(run: Path) -> None:
    with served(run, "--engine.delay-s", "1.5", "--max-in-flight", "4") as (process, url, lines):
        assert httpx.get(url + "/v1/models").status_code == 401
        with ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(ask, url, model) for model in ("lamas", "fake") * 4]
            headers = {"Authorization": "Bearer secret"}
            wait_until(lambda: "lamas_num_requests_waiting 4.0" in httpx.get(url + "/metrics", headers=headers).text)
            process.send_signal(signal.SIGTERM)
            assert [one.result() for one in asked] == [200] * 8
        assert process.wait(20) == 0
        events = [json.loads(line) for line in lines]
        assert [event["event"] for event in events if event["event"] != "query"] == ["draining", "ended"]
        assert sum(event["event"] == "query" for event in events) == 8
        assert all("content" not in json.dumps(event) for event in events)


@NEEDS_RAY
def test_a_run_is_served_by_replicas_in_ray(run: Path) -> None:
    replicas = ["--engine.kind", "ray", "--engine.replica.kind", "fake", "--engine.replicas", "2"]
    with served(run, *replicas, "--engine.cpus-per-replica", "0.5") as (process, url, _):
        children = psutil.Process(process.pid).children(recursive=True)
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda _: ask(url, "lamas"), range(8))) == [200] * 8
        assert len(actors()) == 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
    wait_until(lambda: not still_running(children), 30.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", "nowhere"], "--run nowhere: not a run folder"),
        (["--run", "RUN", "--operators", "Generate"], "--run: operators is"),
        (["--run", "RUN", "--api-key", "with space"], "--api-key: a key is"),
        (["--run", "RUN", "--engine.nonsense", "1"], "--engine.nonsense"),
        (["--run", "RUN", "--host", "256.1.1.1"], "--host 256.1.1.1 --port 8000: "),
        (["--run", "RUN", "--port", "TAKEN"], "--host 127.0.0.1 --port TAKEN: Address already in use"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(
    run: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        places = {"RUN": str(run), "TAKEN": str(taken.getsockname()[1])}
        assert main(["serve", *(places.get(one, one) for one in arguments)]) == 2
    error = capsys.readouterr().err.strip()
    expected = message.replace("TAKEN", places["TAKEN"])
    assert error.splitlines()[-1].startswith(f"lamas-local: {expected}")


@pytest.mark.parametrize("arguments", [["--port", "65536"], ["--max-in-flight", "0"], ["--body-timeout-s", "-1"]])
def test_limits_that_cannot_be_are_refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["serve", "--run", "x", *arguments])
    assert caught.value.code == 2
    assert arguments[0] in capsys.readouterr().err


def test_a_run_without_a_checkpoint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.yaml").write_text("engine: {kind: fake}\n")
    assert main(["serve", "--run", str(tmp_path)]) == 2
    assert "has no checkpoint" in capsys.readouterr().err
