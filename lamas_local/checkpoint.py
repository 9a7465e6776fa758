"""Training states on disk: safetensors plus JSON, written atomically."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from lamas_local.config import ConfigError


@dataclass(slots=True)
class TrainingState:
    """Everything a run needs to go on as if it had not stopped.

    All randomness is derived from (seed, position), so the position is the state of the random numbers too.
    """

    step: int
    """Finished updates; the position in the data is `step * queries_per_step`."""
    ema_mean: float | None
    ema_std: float | None
    controller: dict[str, torch.Tensor]
    adam: dict[str, torch.Tensor]
    """Adam's moments and step counts, `parameter-index.name`."""
    dual: dict[str, Any] | None = None
    """The multiplier's state under a constraint (`DualAscent.state`)."""


def save_checkpoint(folder: Path, state: TrainingState, keep: int) -> Path:
    """Write `folder/step-NNNNNN/`; a failure leaves every earlier checkpoint as it was.

    Raises:
        OSError: it could not be written, such as a full disk.
    """
    final = folder / f"step-{state.step:06d}"
    temporary = folder / f".{final.name}.tmp"
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        tensors = {f"controller.{k}": v for k, v in state.controller.items()}
        tensors |= {f"adam.{k}": v for k, v in state.adam.items()}
        _write(temporary / "state.safetensors", safetensors.torch.save(tensors))
        facts = {k: v for k, v in asdict(state).items() if k not in ("controller", "adam")}
        _write(temporary / "state.json", json.dumps(facts, indent=2).encode())
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    for old in _steps(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def load_checkpoint(folder: Path) -> TrainingState:
    """The newest state in `folder`.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    steps = _steps(folder)
    if not steps:
        raise ConfigError(f"{folder.parent}: the run folder has no checkpoint")
    try:
        tensors = safetensors.torch.load((steps[-1] / "state.safetensors").read_bytes())
        facts = json.loads((steps[-1] / "state.json").read_text())
        return TrainingState(controller=_under("controller.", tensors), adam=_under("adam.", tensors), **facts)
    except (OSError, ValueError, TypeError, safetensors.SafetensorError) as error:
        raise ConfigError(f"{steps[-1]}: the checkpoint cannot be read: {error}") from error


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _steps(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"))


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
