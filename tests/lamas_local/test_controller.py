"""The controller's distributions by hand, and the probabilities of whole architectures by brute force."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import torch

from lamas_local.config import ConfigError, ControllerConfig
from lamas_local.controller import Controller, Draw, centred
from lamas_local.embedding import FakeEmbedder
from lamas_local.operators import OPERATORS, load_operators

NAMES = ("Generate", "GenerateCoT", "ScEnsemble", "SelfRefine", "EarlyStop")
SIZE = 16
QUERY = FakeEmbedder(SIZE).embed(["2 + 2?"])[0]


def make_controller(names: Sequence[str] = NAMES, seed: int = 0, **settings: float) -> Controller:
    operators = load_operators(names)
    embeddings = FakeEmbedder(SIZE).embed([operator.description for operator in operators])
    config = ControllerConfig.model_validate({"hidden_size": 4, **settings})
    return Controller(config, operators, embeddings, seed)


def test_a_layer_is_the_softmax_of_scaled_cosines() -> None:
    controller = make_controller(initial_scale=2.5)
    previous = [3, 0]
    embeddings = controller.operator_embeddings.numpy()
    context = (embeddings[3] + embeddings[0]) / 2
    weights = {name: value.detach().numpy() for name, value in controller.named_parameters()}
    query = weights["query_maps.1.weight"] @ QUERY.numpy() + weights["query_maps.1.bias"]
    logits = []
    for embedding in embeddings:
        key = weights["operator_maps.1.weight"] @ np.concatenate([embedding, context]) + weights["operator_maps.1.bias"]
        logits.append(2.5 * query @ key / np.linalg.norm(query) / np.linalg.norm(key))
    expected = np.exp(logits) / np.exp(logits).sum()
    assert controller.layer_log_probabilities(1, QUERY, previous).exp().tolist() == pytest.approx(expected.tolist())


def test_operators_are_told_apart_by_what_their_descriptions_do_not_share() -> None:
    shared = torch.tensor([0.0, 0.0, 0.0, 9.0])
    embeddings = torch.cat([torch.eye(3), torch.zeros(3, 1)], dim=1)
    apart = centred(embeddings + shared)
    assert apart.norm(dim=1).tolist() == pytest.approx([1, 1, 1])
    assert (apart @ apart.T)[~torch.eye(3, dtype=torch.bool)].tolist() == pytest.approx([-0.5] * 6)
    assert centred(shared[None]).tolist() == [[0, 0, 0, 0]]  # one operator has nothing to be told apart from


def test_scales_stay_positive_whatever_a_step_does() -> None:
    controller = make_controller(initial_scale=0.5)
    order = controller.layer_log_probabilities(0, QUERY, None)[:2].argsort().tolist()
    with torch.no_grad():
        controller.log_scales.sub_(3.0)
    assert controller.layer_log_probabilities(0, QUERY, None)[:2].argsort().tolist() == order


def test_the_first_layer_holds_only_what_works_from_the_problem_alone() -> None:
    probabilities = make_controller().layer_log_probabilities(0, QUERY, None).detach().exp()
    assert [NAMES[i] for i in torch.nonzero(probabilities).flatten()] == ["Generate", "GenerateCoT"]
    assert float(probabilities.sum()) == pytest.approx(1.0)


def test_later_layers_allow_everything() -> None:
    assert (make_controller().layer_log_probabilities(2, QUERY, [1]).exp() > 0).all()


def test_a_first_layer_with_nothing_to_draw_is_an_error_that_names_the_fix() -> None:
    with pytest.raises(ConfigError, match=r"operators is \['ScEnsemble', 'EarlyStop'\].*such as Generate"):
        make_controller(("ScEnsemble", "EarlyStop"))


def test_early_stop_ends_the_architecture_and_stands_last() -> None:
    controller = make_controller(threshold=0.4)
    generator = torch.Generator().manual_seed(0)
    draws = [controller.draw(QUERY, generator).architecture for _ in range(80)]
    stopped = [draw for draw in draws if any("EarlyStop" in layer for layer in draw)]
    assert 10 < len(stopped) < 80
    for draw in draws:
        assert all(len(set(layer)) == len(layer) for layer in draw)
        assert "EarlyStop" not in [name for layer in draw for name in layer][:-1]
        assert len(draw) == 4 or draw[-1][-1] == "EarlyStop"
        assert set(draw[0]) <= {"Generate", "GenerateCoT"}


def test_without_early_stop_every_architecture_has_all_layers() -> None:
    controller = make_controller(("Generate", "ScEnsemble"), num_layers=3)
    assert len(controller.draw(QUERY, torch.Generator().manual_seed(1)).architecture) == 3


def test_equal_seeds_give_equal_weights_and_equal_draws() -> None:
    first, again, other = make_controller(seed=3), make_controller(seed=3), make_controller(seed=4)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(first.query_maps[0].weight, other.query_maps[0].weight)  # type: ignore[arg-type]
    draws = [c.draw(QUERY, torch.Generator().manual_seed(9)).architecture for c in (first, again)]
    assert draws[0] == draws[1]


def test_a_high_scale_can_decide() -> None:
    """Without a learned scale no probability of 7 operators can pass e / (e + 6/e), about 0.55."""
    controller = make_controller(tuple(OPERATORS), initial_scale=100.0)
    assert float(controller.layer_log_probabilities(1, QUERY, [0]).detach().exp().max()) > 0.9


def test_the_frozen_embeddings_are_not_part_of_the_weights() -> None:
    controller = make_controller()
    assert "operator_embeddings" not in controller.state_dict()
    assert not controller.operator_embeddings.requires_grad


def every_draw(controller: Controller) -> Iterator[Draw]:
    """Each architecture of a small supernet once."""
    threshold, stop = controller.config.threshold, controller.names.index("EarlyStop")

    def layers(drawn: tuple[int, ...], p: torch.Tensor) -> Iterator[tuple[int, ...]]:
        if drawn and (float(p[list(drawn)].sum()) >= threshold - 1e-6 or drawn[-1] == stop):
            yield drawn
            return
        for i in range(len(p)):
            if i not in drawn and p[i] > 0:
                yield from layers((*drawn, i), p)

    def grow(so_far: tuple[tuple[int, ...], ...], log_ps: tuple[torch.Tensor, ...]) -> Iterator[Draw]:
        if len(so_far) == controller.config.num_layers or (so_far and stop in so_far[-1]):
            names = tuple(tuple(controller.names[i] for i in layer) for layer in so_far)
            yield Draw(names, log_ps)
            return
        log_p = controller.layer_log_probabilities(len(so_far), QUERY, so_far[-1] if so_far else None)
        for layer in layers((), log_p.detach().exp()):
            yield from grow((*so_far, layer), (*log_ps, log_p))

    return grow((), ())


def test_probabilities_of_all_architectures_sum_to_one_and_a_constant_reward_has_no_gradient() -> None:
    controller = make_controller(("Generate", "GenerateCoT", "SelfRefine", "EarlyStop"), num_layers=3, threshold=0.4)
    log_probs = [torch.cat(controller.log_probs(draw, "exact")).sum() for draw in every_draw(controller)]
    probabilities = torch.stack(log_probs).detach().exp()
    assert len(log_probs) > 50
    assert float(probabilities.sum()) == pytest.approx(1.0, abs=1e-5)
    (probabilities * torch.stack(log_probs)).sum().backward()  # type: ignore[no-untyped-call]
    for name, parameter in controller.named_parameters():
        if parameter.grad is not None:
            assert float(parameter.grad.abs().max()) < 1e-5, name


def test_log_probs_are_those_of_what_was_drawn() -> None:
    controller = make_controller()
    draw = controller.draw(QUERY, torch.Generator().manual_seed(2))
    for layer, log_p, exact, independent in zip(
        draw.architecture,
        draw.log_probabilities,
        controller.log_probs(draw, "exact"),
        controller.log_probs(draw, "independent"),
        strict=True,
    ):
        p = log_p.detach().exp().double()[[NAMES.index(name) for name in layer]]
        left = 1 - torch.cat([torch.zeros(1), p.cumsum(0)[:-1]])
        assert exact.tolist() == pytest.approx((p / left).log().tolist(), abs=1e-4)
        assert independent.tolist() == pytest.approx(p.log().tolist(), abs=1e-4)
