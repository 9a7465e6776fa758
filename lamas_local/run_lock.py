"""One writer a run folder."""

from __future__ import annotations

import fcntl
import os
from io import FileIO
from pathlib import Path

from lamas_local.config import ConfigError

LOCK = ".lock"


class RunLock:
    """Keeps every other process from writing to a run folder, from `take` to `close`.

    The system lets go of it when this process ends, however that comes about. The file stays: it may be removed by
    nobody, or two processes could each hold a lock on a file of that name.
    """

    def __init__(self, folder: Path) -> None:
        """Of `folder`, which need not be there yet."""
        self._folder = folder
        self._file: FileIO | None = None

    def take(self) -> None:
        """Hold the folder, made if need be; nothing where it is held already.

        Raises:
            ConfigError: another process holds it.
        """
        if self._file is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        file = FileIO(self._folder / LOCK, "a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.readall().decode() or "unknown"
            file.close()
            raise ConfigError(
                f"{self._folder}: process {owner} is writing to this run; wait until it has ended, or end it"
            ) from None
        # A forked child shares the lock, and would hold it after this process' death.
        os.register_at_fork(after_in_child=file.close)
        file.truncate(0)
        file.write(str(os.getpid()).encode())
        self._file = file

    def close(self) -> None:
        """Let go of it."""
        if self._file is not None:
            self._file.close()
            self._file = None
