"""What a simulation is made of, as data: where it comes from, the engine's cost, its limits, the model's skill."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import (
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from lamas_local.config import ConfigError, nearest
from lamas_local.section import Section
from serving.continuous_batching import BatchLimits, StepCost

Probability = Annotated[float, Field(ge=0, le=1)]
FOLDER = resources.files("lamas_local.simulation") / "profiles"


class CostProfile(Section):
    """Seconds of the engine's steps; see `CostModel`."""

    step_s: NonNegativeFloat
    """Every step."""
    running_s: NonNegativeFloat
    """Per request in the step."""
    prefill_token_s: NonNegativeFloat
    """Per prompt token prefilled in the step."""
    wait_s: NonNegativeFloat
    """Of waiting that no step explains."""
    return_s: NonNegativeFloat
    """From the last token to the caller."""

    def step_cost(self) -> StepCost:
        """As the engine takes it."""
        return StepCost(**self.model_dump())


class LimitsProfile(Section):
    """What the engine has room for; vLLM's names."""

    max_num_seqs: PositiveInt
    """Most requests in a step."""
    max_num_batched_tokens: PositiveInt
    """Most tokens in a step."""
    kv_cache_tokens: PositiveInt
    """Tokens that fit into the cache."""
    block_size: PositiveInt
    """Tokens in a block of it."""

    @model_validator(mode="after")
    def _check(self) -> LimitsProfile:
        if self.max_num_batched_tokens < self.max_num_seqs:
            raise ValueError("max_num_batched_tokens must be at least max_num_seqs, a token for each request")
        return self

    def batch_limits(self) -> BatchLimits:
        """As the engine takes it."""
        return BatchLimits(**self.model_dump())


class TokensProfile(Section):
    """The model's tokens on average."""

    characters_per_token: PositiveFloat
    """Length of a token."""
    template_tokens: NonNegativeInt
    """What the chat template adds to each message."""


class OperatorSkill(Section):
    """How likely one request of an operator is right, and how long it writes."""

    accuracy: dict[int, Probability] = Field(min_length=1)
    """By difficulty, for a request that reads no solution; at others, that of the nearest."""
    keeps: Probability | None = None
    """Probability to be right after reading a solution that is right; `accuracy` counts instead when absent."""
    fixes: Probability | None = None
    """Probability to be right after reading one that is wrong."""
    repeats: Probability = 0.5
    """Of the wrong answers after reading a wrong one, the share that repeats it."""
    consistent: Probability = 1.0
    """Of the choices among candidates, the share that names one of the commonest answer; the others name any."""
    output_tokens: tuple[PositiveInt, ...] = Field(min_length=1)
    """Equally likely lengths, the end token included."""


class SkillProfile(Section):
    """See `skill`."""

    correlation: Annotated[float, Field(ge=0, lt=1)]
    """Of the latent normal variables of two requests on one query: 0 makes samples independent."""
    num_distractors: Annotated[int, Field(ge=1, le=10)]
    """Different wrong answers that a query has; a wrong request gives one of them."""
    operators: dict[str, OperatorSkill]
    """By name."""
    other: OperatorSkill
    """Of every operator that is not listed."""

    def of(self, operator: str) -> OperatorSkill:
        """The skill of an operator."""
        return self.operators.get(operator, self.other)


class Profile(Section):
    """Everything a simulated engine needs to know."""

    source: str
    """Where the figures come from, and which of them were not measured."""
    cost: CostProfile
    limits: LimitsProfile
    tokens: TokensProfile
    skill: SkillProfile


def load_profile(name: str) -> Profile:
    """A packaged profile by its name, or a file's.

    Raises:
        ConfigError: there is no such profile, or its content is none.
    """
    packaged = {Path(file.name).stem: file for file in FOLDER.iterdir() if file.name.endswith(".yaml")}
    path = Path(name)
    if name in packaged:
        text = packaged[name].read_text(encoding="utf-8")
    elif path.is_file():
        text = path.read_text(encoding="utf-8")
    else:
        known = ", ".join(sorted(packaged))
        raise ConfigError(
            f"engine.profile: {name!r} is no packaged profile{nearest(name, packaged)} and no file; packaged: {known}"
        )
    try:
        return Profile.model_validate(yaml.safe_load(text))
    except ValidationError as error:
        first: Any = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"engine.profile {name}: {key}: {first['msg']}, got {first['input']!r}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"engine.profile {name}: not YAML: {' '.join(str(error).split())}") from error


def dump_profile(profile: Profile) -> str:
    """YAML that `load_profile` reads back; lists in one line."""
    return yaml.safe_dump(
        profile.model_dump(mode="json", exclude_none=True), sort_keys=False, allow_unicode=True, width=110,
        default_flow_style=None,
    )  # fmt: skip
