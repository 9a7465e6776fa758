"""Reads a `Config` from its sources and turns what is wrong with them into one sentence."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_settings import BaseSettings, CliSettingsSource, PydanticBaseSettingsSource, SettingsError
from pydantic_settings.sources import YamlConfigSettingsSource

from lamas_local.config import Config, ConfigError, SplitPaths, nearest

KINDS = ("engine", "replica", "task")
"""Sections whose keys depend on their `kind`."""
NO_SETTINGS = ("LAMAS_API_KEY",)
"""Variables of ours that are not part of the configuration, which a run folder keeps."""


def load_config(
    file: Path | None, overrides: Sequence[str] = (), prog: str = "lamas-local", *, environment: bool = True
) -> Config:
    """Command line over environment over file over defaults.

    Args:
        file: YAML; None for defaults only.
        overrides: dotted command-line arguments, such as `["--trainer.learning-rate", "0.003"]`.
        prog: the command's name in its help text.
        environment: whether `LAMAS_*` variables count; not for what a run was started with.

    Raises:
        ConfigError: an unknown key, a value out of range, or a file that is missing or is not YAML.
    """
    if file is not None and not file.is_file():
        raise ConfigError(f"--config {file}: no such file")
    _check_environment()

    class Sources(Config):
        @classmethod
        def settings_customise_sources(
            cls,
            settings_cls: type[BaseSettings],
            init_settings: PydanticBaseSettingsSource,
            env_settings: PydanticBaseSettingsSource,
            dotenv_settings: PydanticBaseSettingsSource,
            file_secret_settings: PydanticBaseSettingsSource,
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            command_line: CliSettingsSource[BaseSettings] = CliSettingsSource(
                settings_cls,
                cli_prog_name=prog,
                cli_parse_args=list(overrides),
                cli_exit_on_error=False,
                cli_kebab_case=True,
                cli_hide_none_type=True,
                cli_avoid_json=True,
            )
            sources: list[PydanticBaseSettingsSource] = [command_line]
            if environment:
                sources.append(env_settings)
            if file is not None:
                sources.append(FileSource(settings_cls, yaml_file=file))
            return tuple(sources)

    try:
        return Config.model_validate(Sources().model_dump())
    except ValidationError as error:
        raise ConfigError(_explain(error, file)) from error
    except SettingsError as error:
        raise ConfigError(_explain_arguments(str(error))) from error
    except (yaml.YAMLError, TypeError, ValueError) as error:
        raise ConfigError(f"--config {file}: not a YAML mapping of settings: {' '.join(str(error).split())}") from error


class FileSource(YamlConfigSettingsSource):
    """The file, without what a `kind` from elsewhere makes void."""

    def __call__(self) -> dict[str, Any]:
        """Its settings; `current_state` holds what the command line and the environment say."""
        return {name: _of_kind(own, self.current_state.get(name)) for name, own in super().__call__().items()}


def _of_kind(own: Any, asked: Any) -> Any:
    """A section of the file as far as it is of the kind asked for. Replicas are of the engine it was."""
    if not isinstance(own, dict) or not isinstance(asked, dict):
        return own
    kind = asked.get("kind", own.get("kind"))
    if own.get("kind") not in (None, kind):
        own = {"replica": own} if kind == "ray" else {}
    return {name: _of_kind(value, asked.get(name)) for name, value in own.items()}


def dump_config(config: Config) -> str:
    """The whole configuration as YAML that `load_config` reads back."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def field_paths(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[str]:
    """Every key of the configuration, dotted, parents included."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for candidate in (field.annotation, *get_args(field.annotation)):
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                yield from field_paths(candidate, f"{prefix}{name}.")


def _check_environment() -> None:
    """pydantic-settings passes over an unknown LAMAS_ variable; a typo there must not pass unseen."""
    for name in os.environ:
        if name.upper().startswith("LAMAS_") and name.upper() not in NO_SETTINGS:
            section = name[len("LAMAS_") :].lower().split("__")[0]
            if section not in Config.model_fields:
                raise ConfigError(
                    f"environment variable {name}: unknown setting{nearest(section, Config.model_fields)}"
                )


def _explain(error: ValidationError, file: Path | None) -> str:
    """One thing that is wrong, in one sentence."""
    # Where a key may be text or a mapping, pydantic says what is wrong with either; a mapping's own key says more.
    telling = ("extra_forbidden", "missing")
    first = min(error.errors(), key=lambda one: (*telling, one["type"]).index(one["type"]))
    loc = [str(part) for part in first["loc"]]
    kind, depth = None, 0
    while len(loc) > depth + 2 and loc[depth] in KINDS:
        depth += 1
        kind = loc.pop(depth)
    # The kind and the tried alternatives of a union are parts of pydantic's location but not of the key.
    key = ".".join(part for part in loc if "[" not in part and part != SplitPaths.__name__)
    where = f" (from {file}, LAMAS_* or the command line)" if file else ""
    if first["type"] == "extra_forbidden":
        known = set(field_paths())
        if key in known:
            return f"{key}: not a key of {'.'.join(loc[:depth])}.kind {kind!r}{where}"
        return f"{key}: unknown key{nearest(key, known)}{where}"
    if first["type"] == "value_error":  # of a validator of ours, which says what was given
        return f"{key}: {first['ctx']['error']}{where}"
    message: Any = first["msg"]
    return f"{key}: {message[0].lower()}{message[1:]}, got {first['input']!r}{where}"


def _explain_arguments(message: str) -> str:
    found = re.search(r"unrecognized arguments: (.*)", message)
    if not found:
        return message
    argument = found[1].split()[0]
    key = argument.lstrip("-").split("=")[0].replace("-", "_")
    paths = {path: path.replace("_", "-") for path in field_paths()}
    close = nearest(key, paths)
    for path, kebab in paths.items():
        close = close.replace(f"'{path}'", f"'--{kebab}'")
    return f"{argument}: unknown option{close}"
