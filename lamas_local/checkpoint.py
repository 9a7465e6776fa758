"""Training states on disk: safetensors plus JSON, each whole or not there, verified when it is read."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch

from lamas_local.config import ConfigError
from lamas_local.durable import sync, write_synced

_LOG = logging.getLogger(__name__)


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
    """Write `folder/step-NNNNNN/`, with the last `keep` up to it kept; a failure leaves every earlier one as it was.

    Those of later steps go: the run was taken up before them. So does what a killed writer left half-made.

    Raises:
        OSError: it could not be written, such as a full disk.
    """
    final = folder / f"step-{state.step:06d}"
    temporary = folder / f".{final.name}.tmp"
    for leftover in folder.glob(".step-*"):
        shutil.rmtree(leftover)
    try:
        temporary.mkdir(parents=True)
        tensors = {f"controller.{k}": v for k, v in state.controller.items()}
        tensors |= {f"adam.{k}": v for k, v in state.adam.items()}
        content = safetensors.torch.save(tensors)
        write_synced(temporary / "state.safetensors", content)
        facts = {k: v for k, v in asdict(state).items() if k not in ("controller", "adam")}
        facts["sha256"] = hashlib.sha256(content).hexdigest()
        write_synced(temporary / "state.json", json.dumps(facts, indent=2).encode())
        sync(temporary)
        if final.exists():
            _remove(final)
        temporary.rename(final)
        sync(folder)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    steps = _steps(folder)
    end = steps.index(final) + 1
    for other in (*steps[: max(end - keep, 0)], *steps[end:]):
        _remove(other)
    return final


def load_checkpoint(folder: Path) -> TrainingState:
    """The newest state in `folder` that is what was saved; one that is not is passed over with a warning.

    Raises:
        ConfigError: there is none, or none that can be read.
    """
    steps = _steps(folder)
    if not steps:
        raise ConfigError(f"{folder.parent}: the run folder has no checkpoint")
    while True:
        newest = steps.pop()
        try:
            return _read(newest)
        except (OSError, ValueError, TypeError, AttributeError, safetensors.SafetensorError) as error:
            message = f"{newest}: the checkpoint cannot be read: {error}"
            if not steps:
                raise ConfigError(message) from error
            _LOG.warning("%s; the one before it, %s, is taken", message, steps[-1].name)


def _read(step: Path) -> TrainingState:
    """A checkpoint, its tensors checked against their SHA-256; there was none before there were checksums."""
    content = (step / "state.safetensors").read_bytes()
    facts = json.loads((step / "state.json").read_text())
    if (expected := facts.pop("sha256", None)) not in (None, hashlib.sha256(content).hexdigest()):
        raise ValueError(f"state.safetensors does not have the SHA-256 {expected} of state.json")
    tensors = safetensors.torch.load(content)
    return TrainingState(controller=_under("controller.", tensors), adam=_under("adam.", tensors), **facts)


def _under(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _steps(folder: Path) -> list[Path]:
    return sorted(folder.glob("step-*"), key=lambda step: (len(step.name), step.name))


def _remove(step: Path) -> None:
    """Away from its name first, so that nothing half-removed is taken for a checkpoint."""
    shutil.rmtree(step.rename(step.with_name(f".{step.name}.old")))
