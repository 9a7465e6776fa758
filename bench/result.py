"""A benchmark's result: the figures with everything they need beside them, as a file and as a table."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.spread import Ratio, Spread
from lamas_local.config import Config, ConfigError
from lamas_local.run_folder import describe_environment, write_atomically


def open_folder(output: Path, name: str) -> Path:
    """Make `output/name`, where the result will be; called first, so that minutes are not measured for nothing.

    Raises:
        ConfigError: it cannot be made or written to.
    """
    folder = output / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--output {output}: {error.strerror}") from error
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"--output {output}: {folder} cannot be written to")
    return folder


def write_result(
    folder: Path, config: Config, figures: Mapping[str, Any], raw: Mapping[str, Any], load_before: Sequence[float]
) -> Path:
    """Write `folder/result.json`: figures, raw values, configuration, command line, machine, versions, commit.

    Args:
        folder: made by `open_folder`; its name is the benchmark's.
        config: the whole configuration that was measured.
        figures: what the benchmark is about.
        raw: what the figures were computed from, a value per repeat.
        load_before: `os.getloadavg()` before the first engine started: what else this machine was doing.
    """
    result = {
        "name": folder.name,
        "figures": figures,
        "raw": raw,
        "command": sys.orig_argv,
        "finished_at": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "load_average_before": load_before,
        "environment": describe_environment(),
        "config": config.model_dump(mode="json"),
    }
    path = folder / "result.json"
    write_atomically(path, json.dumps(result, indent=2).encode())
    return path


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], notes: Iterable[str] = ()) -> None:
    """A table in the terminal, first column to the left, and sentences under it."""
    table = Table(title=title)
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*row)
    console = Console(width=120, highlight=False)
    console.print(table)
    for note in notes:
        console.print(note, markup=False)


def show_spread(values: Spread, digits: int = 2) -> str:
    """`median (min–max)`."""
    return f"{values.median:.{digits}f} ({values.min:.{digits}f}–{values.max:.{digits}f})"


def show_ratio(ratio: Ratio) -> str:
    """`median [low, high]`; no interval where there is none."""
    interval = "" if ratio.low is None or ratio.high is None else f" [{ratio.low:.2f}, {ratio.high:.2f}]"
    return f"{ratio.median:.2f}{interval}"
