"""The stand-in for the sentence encoder."""

from __future__ import annotations

import torch

from lamas_local.embedding import FakeEmbedder


def test_a_text_has_one_unit_vector_whatever_stands_beside_it() -> None:
    embedder = FakeEmbedder(16)
    both = embedder.embed(["{0} \\boxed{-2}", "b"])
    assert both.shape == (2, 16)
    assert torch.equal(both[1], FakeEmbedder(16).embed(["b"])[0])
    assert torch.allclose(both.norm(dim=1), torch.ones(2))
    assert abs(float(both[0] @ both[1])) < 0.9
