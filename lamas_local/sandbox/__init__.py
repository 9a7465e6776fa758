"""Runs model-written Python where it can harm nothing (docs/sandbox.md)."""

from lamas_local.sandbox.result import SandboxError, SandboxResult, Status
from lamas_local.sandbox.sandbox import Sandbox

__all__ = ["Sandbox", "SandboxError", "SandboxResult", "Status"]
