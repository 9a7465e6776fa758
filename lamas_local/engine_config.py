"""The engines of the configuration: one section a kind. Imports no runtime code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

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


class OpenAIEngineConfig(Section):
    """Any OpenAI-compatible endpoint, or several that serve the same model."""

    kind: Literal["openai"] = "openai"
    base_urls: tuple[str, ...] = Field(min_length=1)
    """Addresses as OpenAI's clients take them, such as `https://api.openai.com/v1`; the least loaded is asked."""
    model: str
    """The model's name there."""
    api_key_env: str | None = None
    """Environment variable that holds the key; no key is sent when absent. The key itself has no place here."""
    max_model_len: PositiveInt | None = None
    """Longest prompt plus output in tokens; what the endpoints say when absent, which vLLM's do."""
    tokenizer: str | None = None
    """Hub id or folder of the model's tokenizer; 2 characters count as a token when absent, which is cautious."""
    max_retries: NonNegativeInt = 5
    """Attempts after the first, where a failure may pass."""
    silence_s: PositiveFloat = 120.0
    """Longest time without a byte from an endpoint, before its first token too; then the attempt has failed."""

    @field_validator("base_urls")
    @classmethod
    def _check_addresses(cls, urls: tuple[str, ...]) -> tuple[str, ...]:
        """Whatever could be a secret is refused without being repeated: run folders keep the configuration."""
        for url in urls:
            parts = urlsplit(url)
            if parts.username or parts.password or parts.query or parts.fragment:
                raise ValueError("an address may have no user, password, query or fragment; keys go to api_key_env")
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError(f"{url!r} is not an address like http://127.0.0.1:8000/v1")
        return urls

    @field_validator("api_key_env")
    @classmethod
    def _check_variable(cls, name: str | None) -> str | None:
        """A key that was put here by mistake is not repeated."""
        if name is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]*", name):
            raise ValueError("what is given is no environment variable's name of capitals, such as OPENAI_API_KEY")
        return name


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


EngineConfig = Annotated[
    VllmEngineConfig | OpenAIEngineConfig | FakeEngineConfig | SimulatedEngineConfig | RayEngineConfig,
    Field(discriminator="kind"),
]


def answering(engine: EngineConfig) -> ReplicaConfig | OpenAIEngineConfig:
    """What answers requests: the engine itself, or any of its replicas."""
    return engine.replica if isinstance(engine, RayEngineConfig) else engine


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text
