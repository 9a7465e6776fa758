"""The supernet controller: which operators each layer draws for a query (MaAS sec. 3, LAMaS sec. 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from lamas_local.config import ConfigError, ControllerConfig
from lamas_local.operators.base import EARLY_STOP, Operator, needs_solution
from lamas_local.sampling import LogProbKind, draw_layer, draw_log_probs
from lamas_local.trace import Architecture


@dataclass(frozen=True, slots=True)
class Draw:
    """One sampled architecture and the distributions it was drawn from."""

    architecture: Architecture
    log_probabilities: tuple[torch.Tensor, ...]
    """Per drawn layer, shape (num_operators,), -inf where forbidden; part of the graph when gradients are on."""


class Controller(nn.Module):
    """Per layer l: `z_lo = s_l * cos(Q_l e_q, K_l [e_o ; c_(l-1)])`, `p_l = softmax(z_l)` over the allowed operators.

    Shapes: queries (batch, embedding_size), operators (num_operators, embedding_size).
    """

    operator_embeddings: torch.Tensor

    def __init__(
        self, config: ControllerConfig, operators: Sequence[Operator], operator_embeddings: torch.Tensor, seed: int
    ) -> None:
        super().__init__()
        self.config = config
        self.names = tuple(operator.name for operator in operators)
        self.register_buffer("operator_embeddings", centred(operator_embeddings), persistent=False)
        size = operator_embeddings.shape[1]
        generator = torch.Generator().manual_seed(seed)
        self.query_maps = nn.ModuleList(nn.Linear(size, config.hidden_size) for _ in range(config.num_layers))
        self.operator_maps = nn.ModuleList(
            nn.Linear(size if layer == 0 else 2 * size, config.hidden_size) for layer in range(config.num_layers)
        )
        for linear in (*self.query_maps, *self.operator_maps):
            bound = linear.in_features**-0.5
            for parameter in linear.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)
        self.log_scales = nn.Parameter(torch.full((config.num_layers,), math.log(config.initial_scale)))
        self.allowed = tuple(
            torch.tensor([is_allowed(operator, layer) for operator in operators]) for layer in range(config.num_layers)
        )
        if not self.allowed[0].any():
            raise ConfigError(
                f"operators is {list(self.names)}, but layer 1 needs one that can work from the problem alone, "
                "such as Generate"
            )

    def layer_log_probabilities(self, layer: int, query: torch.Tensor, previous: Sequence[int] | None) -> torch.Tensor:
        """`log p_l` for one query; shape (num_operators,), -inf where forbidden.

        Args:
            layer: from 0.
            query: embedding, shape (embedding_size,).
            previous: indices drawn one layer before; None in the first layer.
        """
        # K_l [e_o ; c] is taken apart: joined inputs would be kept for the backward pass, 20 KiB a layer and query.
        size, joined = self.operator_embeddings.shape[1], self.operator_maps[layer]
        assert isinstance(joined, nn.Linear)
        keys = nn.functional.linear(self.operator_embeddings, joined.weight[:, :size], joined.bias)
        if previous is not None:
            context = self.operator_embeddings[list(previous)].mean(dim=0)
            keys = keys + nn.functional.linear(context, joined.weight[:, size:])
        cosine = torch.cosine_similarity(self.query_maps[layer](query), keys, dim=-1)
        logits = self.log_scales[layer].exp() * cosine
        return torch.log_softmax(logits.masked_fill(~self.allowed[layer], -torch.inf), dim=-1)

    def draw(self, query: torch.Tensor, generator: torch.Generator) -> Draw:
        """Sample one architecture for a query embedding of shape (embedding_size,)."""
        stop = self.names.index(EARLY_STOP) if EARLY_STOP in self.names else None
        previous: list[int] | None = None
        layers: list[tuple[str, ...]] = []
        log_probabilities: list[torch.Tensor] = []
        for layer in range(self.config.num_layers):
            log_p = self.layer_log_probabilities(layer, query, previous)
            drawn = draw_layer(log_p.exp(), self.config.threshold, stop, generator)
            layers.append(tuple(self.names[i] for i in drawn))
            log_probabilities.append(log_p)
            if stop in drawn:
                break
            previous = drawn
        return Draw(tuple(layers), tuple(log_probabilities))

    def log_probs(self, draw: Draw, kind: LogProbKind) -> list[torch.Tensor]:
        """Per layer, the log-probability of each draw, shape (num_drawn,), differentiable."""
        return [
            draw_log_probs(log_p, [self.names.index(name) for name in layer], kind)
            for layer, log_p in zip(draw.architecture, draw.log_probabilities, strict=True)
        ]


def centred(embeddings: torch.Tensor) -> torch.Tensor:
    """Embeddings less their mean, at unit length; same shape (num_operators, embedding_size).

    One-sentence descriptions share most of their direction. With it, a few steps of training turn every key the same
    way, all cosines become equal, and the layer stops learning.
    """
    return nn.functional.normalize(embeddings - embeddings.mean(dim=0), dim=1)


def is_allowed(operator: Operator, layer: int) -> bool:
    """An operator is allowed where what it reads can exist: in layer 0 only the problem does."""
    return layer > 0 or not needs_solution(operator)
