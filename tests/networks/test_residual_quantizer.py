"""A residual quantizer: stages that code what is left, recomputed by brute force."""

from itertools import pairwise

import pytest
import torch

from mocodis_monai.networks import ResidualQuantizer


@pytest.fixture
def quantizer() -> ResidualQuantizer:
    torch.manual_seed(0)
    return ResidualQuantizer(num_embeddings=12, embedding_dim=3, num_stages=3).eval()


def test_each_stage_takes_the_nearest_code_of_what_the_ones_before_left(quantizer):
    latents = torch.randn(2, 3, 4, 5)
    found = quantizer(latents)
    left = latents.movedim(1, -1).reshape(-1, 3)
    for stage, book in zip(found.stages, quantizer.stages, strict=True):
        nearest = torch.cdist(left, book.codebook).argmin(1)
        assert torch.equal(stage.indices.flatten(), nearest)
        left = left - book.codebook[nearest]
    coded = found.embedding.movedim(1, -1).reshape(-1, 3)
    torch.testing.assert_close(coded, latents.movedim(1, -1).reshape(-1, 3) - left)
    torch.testing.assert_close(found.commitment_loss, left.square().mean())
    assert torch.equal(found.indices, found.stages[0].indices)
    assert quantizer.first is quantizer.stages[0]


def test_gradients_pass_straight_through_once(quantizer):
    latents = torch.randn(1, 3, 4, 4, requires_grad=True)
    weights = torch.randn(1, 3, 4, 4)
    (quantizer(latents).embedding * weights).sum().backward()
    torch.testing.assert_close(latents.grad, weights)  # not once for every stage


def test_the_commitment_draws_the_latents_to_their_codes(quantizer):
    latents = torch.randn(1, 3, 4, 4, requires_grad=True)
    found = quantizer(latents)
    found.commitment_loss.backward()
    torch.testing.assert_close(latents.grad, 2 * (latents - found.embedding).detach() / latents.numel())


def test_more_stages_leave_less_once_they_have_learned():
    torch.manual_seed(0)
    quantizer = ResidualQuantizer(num_embeddings=16, embedding_dim=4, num_stages=4)
    for _ in range(60):
        quantizer(torch.randn(1, 4, 32, 32))
    latents = torch.randn(1, 4, 64, 64)
    found = quantizer.eval()(latents)
    left, errors = latents.clone(), []
    for stage in found.stages:
        left = left - stage.embedding
        errors.append(left.square().mean().item())
    assert all(later < 0.6 * earlier for earlier, later in pairwise(errors))
    assert errors[-1] == pytest.approx(found.commitment_loss.item(), rel=1e-4)
