"""Rows of a benchmark, from a file or from the hub, each with the place it came from."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lamas_local.config import ConfigError

_HUB_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Row:
    """One problem as its publisher wrote it."""

    fields: Mapping[str, Any]
    place: str
    """File and line, or hub id, split and row; for people."""
    number: int
    """Its line in the file, or its row on the hub, from 1."""

    def text(self, field: str) -> str:
        """A field's text.

        Raises:
            ConfigError: it is missing, empty, or no text.
        """
        if field not in self.fields:
            raise ConfigError(f"{self.place}: no field {field!r}; there are {', '.join(sorted(self.fields)) or 'none'}")
        value = self.fields[field]
        if not isinstance(value, str) or not value.strip():
            raise ConfigError(f"{self.place}: field {field!r} must be text that is not empty, got {value!r:.60}")
        return value


def read_file(path: Path) -> list[Row]:
    """The rows of a `.jsonl` or `.jsonl.gz` file, one JSON object a line. Blank lines may end the file.

    Raises:
        ConfigError: there is no such file, it cannot be read, a line is no JSON object, or it has no rows.
    """
    path = path.expanduser()
    try:
        data = path.read_bytes()
        if path.suffix == ".gz":
            data = gzip.decompress(data)
        lines = data.decode("utf-8").rstrip().split("\n")
    except FileNotFoundError:
        raise ConfigError(f"task.path {path}: no such file") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}, line {line}: not UTF-8 text") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"task.path {path}: cannot be read: {reason}") from error
    if lines == [""]:
        raise ConfigError(f"task.path {path}: the file has no rows")
    return [_parse(line, f"{path}, line {number}", number) for number, line in enumerate(lines, 1)]


def _parse(line: str, place: str, number: int) -> Row:
    if not line.strip():
        raise ConfigError(f"{place}: the row is empty; every line must be a JSON object")
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{place}: not JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ConfigError(f"{place}: must be a JSON object, got {line.strip()[:60]}")
    return Row(fields, place, number)


@dataclass(frozen=True, slots=True)
class HubSplit:
    """A published split of a data set on the Hugging Face hub."""

    hub_id: str
    split: str
    configs: tuple[str, ...]
    """Its configurations, read one after another."""


def read_hub(source: HubSplit) -> list[Row]:
    """The rows of a split on the hub, or in the hub's cache on this machine where the hub cannot be reached.

    Raises:
        ConfigError: neither has it; names the hub id and the `path:` alternative.
    """
    reachable = True
    try:
        # Fails at once where there is no network; `load_dataset` alone would try again for half a minute.
        reachable = _is_reachable(source.hub_id)
        rows = [row for config in source.configs for row in _load(source, config, from_cache=not reachable)]
    except Exception as error:  # whatever `datasets`, the hub's client or the network raise, it is this one thing
        said = str(error).strip().split("\n")[0] or type(error).__name__
        reason = said[:200] if reachable else "it cannot be reached, and its cache here has no copy"
        raise ConfigError(
            f"cannot load {source.hub_id!r} from the Hugging Face hub: {reason}; give a local copy by task.path"
        ) from error
    if not rows:
        raise ConfigError(f"{source.hub_id!r} on the Hugging Face hub has no rows in its split {source.split!r}")
    where = f"{source.hub_id}, split {source.split}"
    return [Row(fields, f"{where}, row {number}", number) for number, fields in enumerate(rows, 1)]


def _is_reachable(hub_id: str) -> bool:
    from huggingface_hub import HfApi, errors

    try:
        HfApi().dataset_info(hub_id, timeout=_HUB_TIMEOUT_S)
    except errors.HfHubHTTPError:
        raise  # the hub answered: it has no such data set, or not for this user
    except Exception:  # its client's network errors have no stable type
        return False
    return True


def _load(source: HubSplit, config: str, *, from_cache: bool) -> list[Mapping[str, Any]]:
    import datasets

    was_offline = datasets.config.HF_HUB_OFFLINE
    datasets.config.HF_HUB_OFFLINE = was_offline or from_cache
    try:
        return list(datasets.load_dataset(source.hub_id, config, split=source.split))
    finally:
        datasets.config.HF_HUB_OFFLINE = was_offline
