"""`lamas-local serve`: a run folder behind OpenAI's API."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from prometheus_client import CollectorRegistry

from lamas_local.checkpoint import load_checkpoint
from lamas_local.commands import check_same_policy
from lamas_local.config import Config, ConfigError
from lamas_local.orchestrator.backend import base_model_name, open_backend
from lamas_local.orchestrator.metrics import RolloutMetrics
from lamas_local.orchestrator.orchestrator import NAME
from lamas_local.orchestrator.request import LamasRequest
from lamas_local.run_folder import RunFolder
from serving.http.app import guarded, new_app, new_service
from serving.http.server import allow_many_connections, listen, new_server, serve
from serving.http.settings import ServerSettings


def run_serve(run: Path, config: Config, settings: ServerSettings) -> int:
    """Serve until a signal ends it; returns the exit status.

    Raises:
        ConfigError: the run or the address cannot be served.
        serving.types.EngineStartError: the engine cannot start.
    """
    folder = RunFolder(run)
    load_checkpoint(folder.checkpoints)
    check_same_policy(folder, config)
    if base_model_name(config) == NAME:
        raise ConfigError(
            f"engine.model: a model named {NAME!r} cannot be told from the orchestrator; rename its folder"
        )
    try:
        listener = listen(settings)
    except OSError as error:
        raise ConfigError(f"--host {settings.host} --port {settings.port}: {error.strerror or error}") from error
    with listener:
        asyncio.run(_serve(config, folder, settings, listener))
    return 0


async def _serve(config: Config, folder: RunFolder, settings: ServerSettings, listener: socket.socket) -> None:
    registry = CollectorRegistry()
    metrics = RolloutMetrics(registry)
    service = new_service(settings, lambda: open_backend(config, folder, metrics), registry, LamasRequest)
    allow_many_connections()
    await serve(new_server(guarded(new_app(service, registry), settings), service), listener)
