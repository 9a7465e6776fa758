"""Frozen sentence embeddings of queries and operator descriptions."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch


class Embedder(Protocol):
    """Turns texts into unit vectors."""

    @property
    def size(self) -> int:
        """Length of a vector."""
        ...

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """Shape (len(texts), size)."""
        ...


NUM_CACHED_TEXTS = 16384
"""25 MB of vectors; a server sees texts without end."""


class SentenceEmbedder:
    """all-MiniLM-L6-v2 (384 numbers a text) through sentence-transformers; the newest texts are kept."""

    def __init__(self, folder: Path | str) -> None:
        from sentence_transformers import SentenceTransformer

        self._model = SentenceTransformer(str(folder), device="cpu")
        self._cache: dict[str, torch.Tensor] = {}
        self.size = len(self.embed([""])[0])

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """Shape (len(texts), size); the controller runs on the CPU, so the vectors do."""
        new = [text for text in dict.fromkeys(texts) if text not in self._cache]
        if new:
            vectors = self._model.encode(new, convert_to_tensor=True, show_progress_bar=False)
            self._cache.update(zip(new, vectors.float().cpu().clone(), strict=True))
        embeddings = torch.stack([self._cache[text] for text in texts])
        for text in list(self._cache)[: len(self._cache) - NUM_CACHED_TEXTS]:
            del self._cache[text]
        return embeddings


class FakeEmbedder:
    """Pseudo-random unit vectors from a hash of the text: for tests of logic, no meaning in them."""

    def __init__(self, size: int = 384) -> None:
        self.size = size

    def embed(self, texts: Sequence[str]) -> torch.Tensor:
        """Shape (len(texts), size)."""
        return torch.stack([self._vector(text) for text in texts])

    def _vector(self, text: str) -> torch.Tensor:
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")
        vector = torch.randn(self.size, generator=torch.Generator().manual_seed(seed))
        return vector / math.sqrt(float((vector**2).sum()))
