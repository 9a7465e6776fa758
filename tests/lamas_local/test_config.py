"""The configuration tree: documented, strict, and free of runtime code."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel, ValidationError

from lamas_local.config import AdmissionConfig, Config, ControllerConfig, SamplingConfig, TrainerConfig, nearest
from lamas_local.config_loader import load_config
from lamas_local.engine_config import VllmEngineConfig
from lamas_local.operators.roster import load_roster
from lamas_local.policy import check_policies
from lamas_local.section import Section

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "file", sorted((ROOT / "configs").rglob("*.yaml")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_every_shipped_config_parses(file: Path) -> None:
    config = load_config(file)
    assert config.run_dir != Config().run_dir
    roster = load_roster(config)
    check_policies(config.evaluation.policies, roster.known)


def test_config_modules_import_no_runtime_code() -> None:
    code = (
        "import sys, lamas_local.config_loader; "
        "print([m for m in sys.modules if m.split('.')[0] in ('torch', 'vllm', 'transformers', 'serving', 'numpy')])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT).stdout == "[]\n"


def sections(model: type[BaseModel] = Config) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for candidate in (field.annotation, *get_args(field.annotation)):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                yield from sections(candidate)


def test_every_field_says_what_it_is() -> None:
    for section in sections():
        for name, field in section.model_fields.items():
            is_section = isinstance(field.default, Section)
            assert field.description or is_section or name == "kind", f"{section.__name__}.{name}"


@pytest.mark.parametrize(
    ("section", "settings"),
    [
        (SamplingConfig, {"temperature": 0}),  # parallel samples would be equal
        (SamplingConfig, {"top_p": 1.1}),
        (SamplingConfig, {"max_tokens": 0}),
        (ControllerConfig, {"threshold": 0}),
        (ControllerConfig, {"num_layers": 0}),
        (TrainerConfig, {"ema_momentum": 1}),
        (TrainerConfig, {"learning_rate": -0.1}),
        (TrainerConfig, {"keep_checkpoints": 0}),
        (AdmissionConfig, {"deadline_s": 0}),
        (TrainerConfig, {"num_step": 3}),
    ],
)
def test_values_out_of_range_and_unknown_keys_are_refused(section: type[Section], settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        section.model_validate(settings)


def test_a_config_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        Config().seed = 3


def test_nearest() -> None:
    assert nearest("traner", ["trainer", "task"]) == " (did you mean 'trainer'?)"
    assert nearest("zzz", ["trainer", "task"]) == ""


def test_engine_arguments_given_as_text_mean_what_they_mean_in_the_file() -> None:
    given = {"enable_prefix_caching": "false", "block_size": "64", "dtype": "float32"}
    assert VllmEngineConfig(args=given).args == {"enable_prefix_caching": False, "block_size": 64, "dtype": "float32"}
