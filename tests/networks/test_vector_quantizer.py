"""The quantizer: nearest codes, gradients, and a codebook that learns in training mode only."""

from __future__ import annotations

import math

import pytest
import torch

from mocodis_monai.networks import VectorQuantizer
from mocodis_monai.networks.vector_quantizer import RESTART_COUNT, log_probabilities


def quantizer_with(codes: torch.Tensor, decay: float = 0.98) -> VectorQuantizer:
    """A quantizer that has already started, with the given codes (N, C) in even use."""
    quantizer = VectorQuantizer(*codes.shape, decay=decay)
    quantizer.codebook.copy_(codes)
    quantizer.ema_sum.copy_(codes)
    quantizer.initialized.fill_(True)
    return quantizer


def buffers_of(quantizer: VectorQuantizer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in quantizer.named_buffers()}


@pytest.mark.parametrize("spatial", [(5, 7), (3, 4, 2)])
def test_each_site_gets_the_nearest_code(spatial):
    torch.manual_seed(0)
    quantizer = quantizer_with(torch.randn(11, 3)).eval()
    latents = torch.randn(2, 3, *spatial)
    result = quantizer(latents)
    assert result.indices.shape == (2, *spatial) and result.indices.dtype == torch.int64
    assert result.embedding.shape == latents.shape
    for site in torch.cartesian_prod(torch.arange(2), *(torch.arange(size) for size in spatial)).tolist():
        batch, *place = site
        vector = latents[(batch, slice(None), *place)]
        nearest = min(range(11), key=lambda k: (vector - quantizer.codebook[k]).square().sum().item())
        assert result.indices[tuple(site)] == nearest
        # The straight-through sum latents + (code - latents) rounds once.
        torch.testing.assert_close(
            result.embedding[(batch, slice(None), *place)], quantizer.codebook[nearest]
        )


def test_gradients_pass_straight_through():
    quantizer = quantizer_with(torch.randn(8, 4)).eval()
    latents = torch.randn(1, 4, 6, 6, requires_grad=True)
    weights = torch.randn(1, 4, 6, 6)
    (quantizer(latents).embedding * weights).sum().backward()
    assert torch.equal(latents.grad, weights)


def test_the_commitment_loss_is_the_mean_squared_distance_and_pulls_the_latents_only():
    quantizer = quantizer_with(torch.tensor([[0.0, 0.0], [10.0, 10.0]])).eval()
    latents = torch.tensor([[1.0, 2.0], [9.0, 10.0]]).T.reshape(1, 2, 1, 2).requires_grad_()
    loss = quantizer(latents).commitment_loss
    assert loss.item() == pytest.approx((1 + 4 + 1 + 0) / 4)
    loss.backward()
    torch.testing.assert_close(latents.grad.flatten(2)[0].T, 2 / 4 * torch.tensor([[1.0, 2.0], [-1.0, 0.0]]))


def test_the_codebook_is_frozen_in_evaluation():
    quantizer = VectorQuantizer(16, 4).eval()
    before = buffers_of(quantizer)
    first, second = quantizer(torch.randn(2, 4, 8, 8)), quantizer(torch.randn(2, 4, 8, 8))
    assert first.indices.shape == second.indices.shape
    assert all(torch.equal(value, before[name]) for name, value in quantizer.named_buffers())


def test_a_moving_average_step_by_hand():
    quantizer = quantizer_with(torch.tensor([[0.0], [10.0]]), decay=0.9).train()
    # Three latents go to code 0 and one to code 1; an even use would be two each.
    quantizer(torch.tensor([1.0, 2.0, 3.0, 12.0]).reshape(1, 1, 2, 2))
    count = torch.tensor([0.9 + 0.1 * 3 / 2, 0.9 + 0.1 * 1 / 2])
    total = torch.tensor([[0.9 * 0 + 0.1 * 6 / 2], [0.9 * 10 + 0.1 * 12 / 2]])
    torch.testing.assert_close(quantizer.ema_count, count)
    torch.testing.assert_close(quantizer.ema_sum, total)
    torch.testing.assert_close(quantizer.codebook, total / count[:, None])


def test_the_first_training_batch_gives_the_first_codes():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(32, 2).train()
    quantizer(100 + torch.randn(1, 2, 16, 16))
    assert quantizer.initialized
    assert (quantizer.codebook - 100).abs().max() < 6  # six standard deviations of the latents


def test_training_brings_the_codes_to_the_data():
    torch.manual_seed(0)
    centres = torch.tensor([[-3.0, 0.0], [3.0, 0.0], [0.0, 3.0], [0.0, -3.0]])
    quantizer = VectorQuantizer(4, 2, decay=0.8).train()
    for _ in range(60):
        picked = centres[torch.randint(4, (256,))] + 0.1 * torch.randn(256, 2)
        quantizer(picked.T.reshape(1, 2, 16, 16))
    distance = torch.cdist(centres, quantizer.codebook).min(dim=1).values
    assert distance.max() < 0.1


def test_a_dead_code_starts_again_from_the_batch():
    torch.manual_seed(0)
    quantizer = quantizer_with(torch.tensor([[0.0, 0.0], [1000.0, 1000.0]]), decay=0.5).train()
    steps_to_die = math.ceil(math.log(RESTART_COUNT) / math.log(0.5))
    for step in range(1, steps_to_die + 1):
        quantizer(torch.randn(1, 2, 8, 8))
        assert (quantizer.codebook[1].max() < 10) == (step == steps_to_die)
    assert quantizer.ema_count[1] == 1


def test_embeddings_do_not_explode_on_data_that_need_few_codes():
    # MONAI's EMAQuantizer reaches 1e5 here: its counts start at zero and are not debiased.
    torch.manual_seed(0)
    quantizer = VectorQuantizer(64, 4, decay=0.99).train()
    centres = torch.randn(3, 4)
    for _ in range(50):
        sites = centres[torch.randint(3, (256,))] + 0.01 * torch.randn(256, 4)
        result = quantizer(sites.T.reshape(1, 4, 16, 16))
        assert quantizer.codebook.abs().max() < 2 * centres.abs().max() + 1
    assert torch.isfinite(result.embedding).all()
    assert result.commitment_loss < 1e-2


def test_perplexity_is_one_for_one_code_and_their_number_for_even_use():
    codes = torch.arange(6.0).reshape(6, 1) * 10
    quantizer = quantizer_with(codes).eval()
    assert quantizer(torch.full((1, 1, 4, 3), 20.0)).perplexity.item() == pytest.approx(1)
    assert quantizer(codes.repeat(2, 1).reshape(1, 1, 4, 3)).perplexity.item() == pytest.approx(6)
    uneven = quantizer(torch.tensor([0.0, 0.0, 0.0, 50.0]).reshape(1, 1, 2, 2)).perplexity.item()
    assert uneven == pytest.approx(math.exp(-(0.75 * math.log(0.75) + 0.25 * math.log(0.25))))


def test_usage_is_the_share_of_codes_that_the_batch_uses():
    codes = torch.arange(8.0).reshape(8, 1) * 10
    latents = codes[[0, 3, 3, 5]].reshape(1, 1, 2, 2)
    assert quantizer_with(codes).eval()(latents).usage.item() == pytest.approx(3 / 8)


@pytest.mark.parametrize("spatial", [(6, 10), (4, 6, 2)])
def test_probabilities_of_the_codes_add_up_to_one_at_each_site(spatial):
    logits = 5 * torch.randn(2, 12, *spatial, dtype=torch.bfloat16)
    probabilities = log_probabilities(logits).exp()
    assert probabilities.dtype == torch.float32
    torch.testing.assert_close(probabilities.sum(1), torch.ones(2, *spatial))
    odds = probabilities[:, 3] / probabilities[:, 7]
    torch.testing.assert_close(odds, (logits[:, 3].float() - logits[:, 7].float()).exp(), rtol=1e-4, atol=0)


def test_the_expected_code_of_a_sure_thing_is_the_code():
    quantizer = quantizer_with(torch.randn(5, 3)).eval()
    indices = torch.randint(5, (2, 4, 6))
    one_hot = torch.nn.functional.one_hot(indices, 5).movedim(-1, 1).float()
    torch.testing.assert_close(quantizer.expect(one_hot), quantizer.embed(indices))
    even = torch.full((1, 5, 1, 1), 0.2)
    torch.testing.assert_close(quantizer.expect(even).flatten(), quantizer.codebook.mean(0))


def test_bfloat16_autocast_does_not_reach_the_codebook():
    torch.manual_seed(0)
    codes, latents = torch.randn(64, 8), torch.randn(1, 8, 16, 16).bfloat16()
    plain, mixed = quantizer_with(codes).train(), quantizer_with(codes).train()
    wanted = plain(latents.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = mixed(latents)
    assert torch.equal(result.indices, wanted.indices)
    assert result.embedding.dtype == torch.float32
    assert torch.equal(mixed.codebook, plain.codebook)
