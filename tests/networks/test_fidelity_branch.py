"""The fidelity branch: grids of its evidence, and a residual that starts at zero."""

from __future__ import annotations

import pytest
import torch

from mocodis_monai.networks import FidelityBranch


@pytest.mark.parametrize("spatial", [(32, 48), (16, 16, 32)])
def test_evidence_on_both_grids_and_a_residual_that_starts_at_zero(spatial, awaken):
    dims = len(spatial)
    branch = FidelityBranch(dims, (8, 8, 12, 16), (12, 20), 6, 5)
    eighth, quarter = (tuple(size // factor for size in spatial) for factor in (8, 4))
    image, condition = torch.rand(2, 1, *spatial), torch.randn(2, 5, *eighth)

    def run() -> torch.Tensor:
        coarse = branch.read_coarse(image, condition)
        assert coarse.logits.shape == (2, 12, *eighth)
        fine = branch.read_fine(coarse, torch.randn(2, 6, *eighth))
        assert fine.logits.shape == (2, 20, *quarter)
        return branch.refine(image, coarse, fine, torch.randn(2, 6, *quarter), torch.rand_like(image))

    assert torch.equal(run(), image)
    awaken(branch)
    refined = run()
    assert refined.shape == image.shape and not torch.allclose(refined, image)


@pytest.mark.parametrize("given", ["condition", "coarse_embedding", "fine_embedding", "codes_only"])
def test_the_refined_image_depends_on_all_that_it_is_given(given, awaken):
    torch.manual_seed(0)
    branch = awaken(FidelityBranch(2, (8, 8, 12, 16), (12, 20), 6, 5))
    image = torch.rand(1, 1, 32, 32)
    values = {
        "condition": torch.randn(1, 5, 4, 4),
        "coarse_embedding": torch.randn(1, 6, 4, 4),
        "fine_embedding": torch.randn(1, 6, 8, 8),
        "codes_only": torch.rand(1, 1, 32, 32),
    }

    def run(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        coarse = branch.read_coarse(image, inputs["condition"])
        fine = branch.read_fine(coarse, inputs["coarse_embedding"])
        return branch.refine(image, coarse, fine, inputs["fine_embedding"], inputs["codes_only"])

    assert not torch.allclose(run({**values, given: values[given] + 1}), run(values))


def test_an_image_made_brighter_gets_a_residual_of_the_same_size(awaken):
    # Instance normalisation takes the scale out of what the branch sees; the residual is not brighter by it.
    torch.manual_seed(0)
    branch = awaken(FidelityBranch(2, (8, 8, 12, 16), (12, 20), 6, 5)).double()
    image, embedding = torch.rand(1, 1, 64, 64, dtype=torch.float64), torch.zeros(1, 6, 8, 8, dtype=torch.float64)

    def residual(scale: float) -> torch.Tensor:
        moved = scale * image
        coarse = branch.read_coarse(moved, moved.new_zeros(1, 5, 8, 8))
        fine = branch.read_fine(coarse, embedding)
        return branch.refine(moved, coarse, fine, moved.new_zeros(1, 6, 16, 16), torch.zeros_like(moved)) - moved

    assert 0.5 < residual(3.0).std() / residual(1.0).std() < 2


def test_the_codes_have_no_say_at_the_start_but_learn_one():
    torch.manual_seed(0)
    branch = FidelityBranch(2, (8, 8, 12, 16), (12, 20), 6, 5)
    torch.nn.init.normal_(branch.to_residual.weight)
    image, condition = torch.rand(1, 1, 32, 32), torch.zeros(1, 5, 4, 4)

    def run(scale: float) -> torch.Tensor:
        coarse = branch.read_coarse(image, condition)
        fine = branch.read_fine(coarse, scale * torch.ones(1, 6, 4, 4))
        return branch.refine(image, coarse, fine, scale * torch.ones(1, 6, 8, 8), scale * torch.ones_like(image))

    assert torch.equal(run(1.0), run(-3.0))
    run(1.0).square().mean().backward()
    for weight in (branch.coarse_in.weight, branch.fine_in.weight, branch.drawn_in.weight):
        assert weight.grad.abs().sum() > 0


def test_the_score_is_never_negative_and_belongs_to_the_image_not_to_a_place():
    torch.manual_seed(0)
    branch = FidelityBranch(2, (8, 8, 12, 16), (12, 20), 6, 5)
    coarse = branch.read_coarse(torch.rand(16, 1, 32, 48), torch.randn(16, 5, 4, 6))
    fine = branch.read_fine(coarse, torch.randn(16, 6, 4, 6))
    for far in (1, 100):
        scaled = coarse._replace(eighth=far * coarse.eighth), fine._replace(quarter=far * fine.quarter)
        score = branch.motion_score_px(*scaled)
        assert score.dtype == torch.float32 and (score >= 0).all() and torch.isfinite(score).all()
    turned = coarse._replace(eighth=coarse.eighth.flip(2, 3)), fine._replace(quarter=fine.quarter.flip(2, 3))
    torch.testing.assert_close(branch.motion_score_px(*turned), branch.motion_score_px(coarse, fine))
    assert branch.motion_score_px(coarse, fine).unique().numel() > 1
