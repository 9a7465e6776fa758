"""What every test here may rely on."""

from __future__ import annotations

import os

import pytest
import torch

torch.set_num_threads(1)  # as a run does; tiny tensors only wait for threads


@pytest.fixture(autouse=True)
def _no_settings_from_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper().startswith("LAMAS_")]:
        monkeypatch.delenv(name)
