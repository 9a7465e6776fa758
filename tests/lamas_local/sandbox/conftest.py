"""A sandbox of each kind that this platform gives, with limits that end the endless soon."""

from __future__ import annotations

import pytest

from lamas_local.config import ConfigError, SandboxConfig
from lamas_local.sandbox import Sandbox
from lamas_local.sandbox.isolation import KINDS, Kind

LIMITS = SandboxConfig(wall_s=4.0, cpu_s=0.5, memory_mib=256, num_processes=16, file_mib=4, output_kib=64)


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    try:
        Sandbox(LIMITS, kind)
    except ConfigError as error:
        pytest.skip(str(error))
    return kind


@pytest.fixture
def sandbox(kind: Kind) -> Sandbox:
    return Sandbox(LIMITS, kind)
