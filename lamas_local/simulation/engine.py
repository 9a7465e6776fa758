"""The engine that a configuration asks to be simulated."""

from __future__ import annotations

from lamas_local.config import Config, ConfigError, MathTaskConfig
from lamas_local.engine_config import SimulatedEngineConfig, answering
from lamas_local.sandbox import Sandbox
from lamas_local.seeds import derive_seed
from lamas_local.simulation.fit import fit_profile
from lamas_local.simulation.profile import Profile, load_profile
from lamas_local.simulation.remembering_task import RememberingTask
from lamas_local.simulation.skill import SkilledModel
from serving.character_tokenizer import CharacterTokenizer
from serving.simulated_engine import Responder, SimulatedEngine

DEFAULT_PROFILE = "cpu-2-cores"


def check_simulation(config: Config, sandbox: Sandbox | None) -> None:
    """Raises ConfigError where a simulated engine meets work that takes real seconds."""
    if not isinstance(answering(config.engine), SimulatedEngineConfig):
        return
    if sandbox is not None:
        raise ConfigError(
            "engine.kind is 'simulated', but an operator or the task runs code, which takes real seconds: leave "
            "Programmer and Test out of operators, finaliser and evaluation.policies, and humaneval to a real engine"
        )
    if isinstance(config.task, MathTaskConfig):
        raise ConfigError(
            "engine.kind is 'simulated', but task.kind 'math' is scored by a process of its own, which takes real "
            "seconds: take arithmetic, gsm8k or a task of yours"
        )


async def open_simulated_engine(config: SimulatedEngineConfig, task: RememberingTask, seed: int) -> SimulatedEngine:
    """The engine of a profile, packaged or fitted, with a model of that profile's skill at the queries of `task`.

    Raises:
        ConfigError: there is no such profile, or no run to fit one to.
    """
    profile = await open_profile(config)
    model = SkilledModel(task, profile.skill, profile.tokens)
    return simulated_engine(profile, model, config.max_model_len, config.noise, seed)


async def open_profile(config: SimulatedEngineConfig) -> Profile:
    """The profile that is asked for.

    Raises:
        ConfigError: as `open_simulated_engine`.
    """
    if config.run is not None:
        return await fit_profile(config.run)
    return load_profile(config.profile or DEFAULT_PROFILE)


def simulated_engine(
    profile: Profile, responder: Responder, max_model_len: int, noise: float = 0.0, seed: int = 0
) -> SimulatedEngine:
    """An engine of a profile, whoever answers."""
    return SimulatedEngine(
        responder,
        profile.cost.step_cost(),
        profile.limits.batch_limits(),
        CharacterTokenizer(profile.tokens.characters_per_token, profile.tokens.template_tokens),
        max_model_len=max_model_len,
        noise=noise,
        seed=derive_seed(seed, "simulated-engine"),
    )
