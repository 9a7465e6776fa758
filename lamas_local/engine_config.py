"""The engines of the configuration: one section a kind. Imports no runtime code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, field_validator, model_validator

from lamas_local.section import Section


class VllmEngineConfig(Section):
    """An in-process vLLM engine."""

    kind: Literal["vllm"] = "vllm"
    model: str = "smollm2-135m-instruct"
    """A hub id, a model folder, or the packaged `smollm2-135m-instruct`."""
    args: dict[str, Any] = Field(default_factory=dict)
    """Any further argument of vLLM's `AsyncEngineArgs`, by its own name."""
    max_model_len: PositiveInt | None = None
    """Longest prompt plus output in tokens; the model's own limit when absent."""
    kv_cache_gib: PositiveFloat = 2.0
    """Memory for keys and values on a CPU, in GiB; a GPU uses `args.gpu_memory_utilization`."""

    @field_validator("args")
    @classmethod
    def _read_text_values(cls, args: dict[str, Any]) -> dict[str, Any]:
        """`--engine.args enable_prefix_caching=false` arrives as text; it must mean what it means in the file."""
        return {name: _json_or_text(value) if isinstance(value, str) else value for name, value in args.items()}


class FakeEngineConfig(Section):
    """Answers at once with text made from the request's seed: for tests of logic, not for results."""

    kind: Literal["fake"] = "fake"
    max_model_len: PositiveInt = 2048
    """Longest prompt plus output in words."""
    delay_s: NonNegativeFloat = 0.0
    """Seconds every request takes until its first word."""
    token_s: NonNegativeFloat = 0.0
    """Seconds every word takes."""


class SimulatedEngineConfig(Section):
    """A model of an engine in virtual time, with a stated model of skill in place of the language model."""

    kind: Literal["simulated"] = "simulated"
    profile: str | None = None
    """`cpu-2-cores` (when absent), `gpu-h100-8b`, or a file like those in `lamas_local/simulation/profiles`."""
    run: Path | None = None
    """The folder of a real run to fit the profile to, instead of `profile`."""
    max_model_len: PositiveInt = 2048
    """Longest prompt plus output in tokens."""
    noise: NonNegativeFloat = 0.0
    """Standard deviation of the logarithm of a random factor on the seconds of steps; 0 for none."""

    @model_validator(mode="after")
    def _one_source(self) -> SimulatedEngineConfig:
        if self.profile is not None and self.run is not None:
            raise ValueError(f"profile is {self.profile!r} and run is {str(self.run)!r}, where only one may be given")
        return self


ReplicaConfig = Annotated[VllmEngineConfig | FakeEngineConfig | SimulatedEngineConfig, Field(discriminator="kind")]


class RayEngineConfig(Section):
    """Replicas of an engine as Ray actors. A simulated one takes real seconds there."""

    kind: Literal["ray"] = "ray"
    replicas: PositiveInt = 1
    """How many."""
    replica: ReplicaConfig = VllmEngineConfig()
    """The engine that each of them is."""
    address: str = "local"
    """`local` starts a cluster on this machine, which ends with this process; `auto` or `HOST:PORT` joins a running
    one."""
    cpus_per_replica: NonNegativeFloat = 1.0
    """What Ray sets aside for each; a local cluster has as many as are asked for."""
    gpus_per_replica: NonNegativeFloat | None = None
    """Likewise; when absent, vLLM's tensor times pipeline parallel size where the cluster has GPUs."""
    by_query: bool = False
    """Whether the requests of a query go to one replica, for its prefix cache, while that is not overloaded."""


EngineConfig = Annotated[
    VllmEngineConfig | FakeEngineConfig | SimulatedEngineConfig | RayEngineConfig, Field(discriminator="kind")
]


def answering(engine: EngineConfig) -> ReplicaConfig:
    """What answers requests: the engine itself, or any of its replicas."""
    return engine.replica if isinstance(engine, RayEngineConfig) else engine


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
