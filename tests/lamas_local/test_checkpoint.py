"""A checkpoint is whole or is not there, and the older ones survive a failing write."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch

from lamas_local import checkpoint
from lamas_local.checkpoint import TrainingState, load_checkpoint, save_checkpoint
from lamas_local.config import ConfigError


def state(step: int) -> TrainingState:
    return TrainingState(
        step=step,
        ema_mean=0.1 + step,
        ema_std=None,
        controller={"scales": torch.full((4,), float(step)), "query_maps.0.weight": torch.randn(3, 5)},
        adam={"0.exp_avg": torch.randn(3, 5), "0.step": torch.tensor(float(step))},
        dual={"target": 0.1 * step, "ratios": [1 / 3, 2 / 3], "length_s": {"total": 1e-17, "weight": 0.2}},
    )


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_equal(loaded: TrainingState, saved: TrainingState) -> None:
    assert (loaded.step, loaded.ema_mean, loaded.ema_std) == (saved.step, saved.ema_mean, saved.ema_std)
    assert loaded.dual == saved.dual
    for ours, theirs in ((loaded.controller, saved.controller), (loaded.adam, saved.adam)):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_is_saved_is_what_is_loaded_to_the_bit(tmp_path: Path) -> None:
    saved = state(3)
    assert save_checkpoint(tmp_path, saved, keep=3) == tmp_path / "step-000003"
    assert_equal(load_checkpoint(tmp_path), saved)


def test_a_checkpoint_from_before_there_were_constraints_is_read(tmp_path: Path) -> None:
    facts = save_checkpoint(tmp_path, state(3), keep=3) / "state.json"
    facts.write_text(
        json.dumps({name: value for name, value in json.loads(facts.read_text()).items() if name != "dual"})
    )
    assert load_checkpoint(tmp_path).dual is None


def test_the_newest_is_loaded_and_only_so_many_are_kept(tmp_path: Path) -> None:
    for step in (2, 9, 10, 11):
        save_checkpoint(tmp_path, state(step), keep=2)
    assert names(tmp_path) == ["step-000010", "step-000011"]
    assert load_checkpoint(tmp_path).step == 11


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, state(1), keep=3)
    again = state(1)
    save_checkpoint(tmp_path, again, keep=3)
    assert_equal(load_checkpoint(tmp_path), again)


@pytest.mark.parametrize("num_syncs", [0, 1, 2])
def test_a_full_disk_leaves_the_old_one_readable_and_no_half_of_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, num_syncs: int
) -> None:
    saved = state(1)
    save_checkpoint(tmp_path, saved, keep=1)
    left = iter(range(num_syncs))

    def fsync(descriptor: int) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", fsync)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, state(2), keep=1)
    assert names(tmp_path) == ["step-000001"]
    assert_equal(load_checkpoint(tmp_path), saved)


def test_a_writer_killed_half_way_leaves_nothing_that_is_taken_for_a_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_checkpoint(tmp_path, state(1), keep=3)

    class Killed(BaseException):
        pass

    def die(path: Path, content: bytes) -> None:
        path.write_bytes(content[:10])
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write_synced", die)
        with pytest.raises(Killed):
            save_checkpoint(tmp_path, state(2), keep=3)
    assert load_checkpoint(tmp_path).step == 1
    save_checkpoint(tmp_path, state(3), keep=3)
    assert names(tmp_path) == ["step-000001", "step-000003"]


def test_a_checkpoint_is_never_half_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_checkpoint(tmp_path, state(1), keep=1)

    def stop(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("shutil.rmtree", stop)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path, state(2), keep=1)
    assert [path.name for path in tmp_path.glob("step-*")] == ["step-000002"]
    save_checkpoint(tmp_path, state(3), keep=1)
    assert names(tmp_path) == ["step-000003"]


def damage(path: Path) -> None:
    """Another bit, the same length, still readable."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_one_that_is_not_what_was_saved_is_passed_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved = state(2)
    for one in (state(1), saved, state(3), state(4)):
        save_checkpoint(tmp_path, one, keep=4)
    damage(tmp_path / "step-000004" / "state.safetensors")
    (tmp_path / "step-000003" / "state.json").unlink()
    assert_equal(load_checkpoint(tmp_path), saved)
    first, second = (record.message for record in caplog.records)
    assert "step-000004: the checkpoint cannot be read: state.safetensors does not have the SHA-256" in first
    assert first.endswith("the one before it, step-000003, is taken")
    assert "step-000003: the checkpoint cannot be read" in second


def test_a_run_taken_up_before_a_checkpoint_forgets_it(tmp_path: Path) -> None:
    for step in (1, 2, 4, 6):
        save_checkpoint(tmp_path, state(step), keep=9)
    save_checkpoint(tmp_path, state(3), keep=2)
    assert names(tmp_path) == ["step-000002", "step-000003"]


def test_a_checkpoint_from_before_there_were_checksums_is_read(tmp_path: Path) -> None:
    saved = state(3)
    facts = save_checkpoint(tmp_path, saved, keep=3) / "state.json"
    facts.write_text(
        json.dumps({name: value for name, value in json.loads(facts.read_text()).items() if name != "sha256"})
    )
    assert_equal(load_checkpoint(tmp_path), saved)


def test_the_millionth_step_is_newer_than_the_one_before(tmp_path: Path) -> None:
    for step in (999_999, 1_000_000):
        save_checkpoint(tmp_path, state(step), keep=2)
    assert load_checkpoint(tmp_path).step == 1_000_000


def test_no_checkpoint_is_an_error_that_names_the_run(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"{tmp_path}: the run folder has no checkpoint"):
        load_checkpoint(tmp_path / "checkpoints")


@pytest.mark.parametrize(
    ("file", "content"), [("state.safetensors", b"\x08rubbish"), ("state.json", b"{"), ("state.json", b"[]")]
)
def test_a_damaged_checkpoint_is_an_error_that_names_it(tmp_path: Path, file: str, content: bytes) -> None:
    (save_checkpoint(tmp_path, state(1), keep=3) / file).write_bytes(content)
    with pytest.raises(ConfigError, match=r"step-000001: the checkpoint cannot be read"):
        load_checkpoint(tmp_path)
