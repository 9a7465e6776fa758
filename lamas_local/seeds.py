"""Seeds derived from what is being done, never from the order in which it happens."""

from __future__ import annotations

import hashlib


def derive_seed(*parts: str | int) -> int:
    """A seed in [0, 2^31) that depends on every part and on their order, and on nothing else."""
    key = "\x1f".join(str(part) for part in parts).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=4).digest(), "big") & 0x7FFF_FFFF


def occasion(query_id: str, epoch: int) -> str:
    """A query's name in seeds on one pass (from 0) over its split, so that a later pass draws and samples anew."""
    return f"{query_id}@{epoch}" if epoch else query_id
