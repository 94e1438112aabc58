"""The training losses against their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_closing
from skimage.metrics import structural_similarity
from torch.nn import functional as F

from mocodis_monai.losses import (
    CodesLoss,
    CorrectionLoss,
    foreground_structural_loss,
    prior_nats,
    structural_loss,
)
from mocodis_monai.networks import LevelIndices, LevelLogits

TRUE_PX = torch.tensor([1.0, 3.0])


def huber_of_logs(score_px: torch.Tensor) -> torch.Tensor:
    off = (torch.log1p(score_px) - torch.log1p(TRUE_PX)).abs()
    return torch.where(off < 0.1, off.square() / 0.2, off - 0.05).mean()


@pytest.fixture
def reconstruction(small_corrector, image_pair):
    with torch.no_grad():
        return small_corrector().eval().reconstruct(image_pair.moved, image_pair.clean)


@pytest.fixture
def refinement(small_corrector, image_pair):
    with torch.no_grad():
        return small_corrector().eval().refine(image_pair.moved, image_pair.clean)


def test_the_total_of_the_codes_is_the_weighted_sum_of_the_parts(reconstruction, image_pair):
    loss = CodesLoss(commitment_cost=0.11, structure_weight=0.4, twin_weight=0.07, score_weight=0.17)
    terms = loss(reconstruction, *image_pair, TRUE_PX)
    moved = (terms.moved_decoded + terms.swapped_decoded) / 2
    weighted = 0.4 * terms.structure + 0.11 * terms.commitment + 0.07 * terms.twins + 0.17 * terms.score
    torch.testing.assert_close(terms.total, terms.clean_decoded + moved + weighted)
    assert all(value.ndim == 0 and torch.isfinite(value) and value > 0 for value in terms)


def test_the_total_of_the_correction_is_the_weighted_sum_of_the_parts(refinement, image_pair):
    weights = {"codes_only": 0.7, "consistency": 0.13, "structure": 0.4}
    loss = CorrectionLoss(**{f"{name}_weight": value for name, value in weights.items()}, score_weight=0.17)
    terms = loss(refinement, *image_pair, TRUE_PX)
    wanted = terms.refined + sum(value * getattr(terms, name) for name, value in weights.items())
    torch.testing.assert_close(terms.total, wanted + 0.17 * terms.score)
    assert all(value.ndim == 0 and torch.isfinite(value) and value > 0 for value in terms)


def test_each_part_of_the_codes_loss_is_what_its_name_says(reconstruction, image_pair):
    terms = CodesLoss()(reconstruction, *image_pair, TRUE_PX)
    torch.testing.assert_close(terms.clean_decoded, (reconstruction.clean - image_pair.clean).abs().mean())
    torch.testing.assert_close(terms.structure, structural_loss(reconstruction.clean, image_pair.clean))
    own, swapped = (reconstruction.moved - image_pair.moved).abs().mean((1, 2, 3))
    torch.testing.assert_close((terms.moved_decoded, terms.swapped_decoded), (own, swapped))
    levels = (*reconstruction.content, *reconstruction.motion)
    torch.testing.assert_close(terms.commitment, sum(level.commitment_loss for level in levels))
    apart = [(level.embedding[0] - level.embedding[1]).square().mean() for level in reconstruction.motion]
    torch.testing.assert_close(terms.twins, sum(apart))
    torch.testing.assert_close(terms.score, huber_of_logs(reconstruction.score_px))


def test_each_part_of_the_correction_loss_is_what_its_name_says(refinement, image_pair):
    terms = CorrectionLoss()(refinement, *image_pair, TRUE_PX)
    torch.testing.assert_close(terms.codes_only, (refinement.codes_only - image_pair.clean).abs().mean())
    levels = zip(refinement.log_probs, refinement.indices, strict=True)
    nats = [-logs.gather(1, indices[:, None]).mean() for logs, indices in levels]  # the logits are normalised
    contents = zip(refinement.content, refinement.true_content, strict=True)
    apart = [(seen - true).square().mean() for seen, true in contents]
    torch.testing.assert_close(terms.consistency, sum(nats) + sum(apart))
    torch.testing.assert_close(terms.score, huber_of_logs(refinement.score_px))


def test_the_structural_loss_is_that_of_scikit_image(image_pair):
    moved, clean = image_pair
    ours = structural_loss(moved, clean)
    theirs = [
        structural_similarity(*(x[0].numpy() for x in pair), win_size=7, data_range=1.0, use_sample_covariance=False)
        for pair in zip(moved, clean, strict=True)
    ]
    assert ours.item() == pytest.approx(1 - np.mean(theirs), abs=2e-3)  # the windows at the border differ
    assert structural_loss(clean, clean).item() == pytest.approx(0, abs=1e-6)


def test_inside_the_foreground_it_is_that_of_scikit_image_there(image_pair):
    moved, clean = image_pair
    wanted = []
    for image, truth in zip(moved[:, 0].numpy(), clean[:, 0].numpy(), strict=True):
        _, local = structural_similarity(
            image, truth, win_size=7, data_range=1.0, use_sample_covariance=False, full=True
        )
        inside = binary_closing(np.pad(truth > 0.08, 9), np.ones((9, 9)))[9:-9, 9:-9]
        whole_windows = (slice(3, -3),) * 2
        wanted.append(local[whole_windows][inside[whole_windows]].mean())
    assert 0 < inside.mean() < 1
    assert foreground_structural_loss(moved, clean).item() == pytest.approx(1 - np.mean(wanted), abs=1e-4)


def test_what_happens_in_the_air_does_not_count_in_the_foreground():
    clean = torch.zeros(1, 1, 64, 64)
    clean[..., 24:40, 24:40] = 1.0
    ghost = clean.clone()
    ghost[..., :8, :] = 0.3
    assert foreground_structural_loss(ghost, clean).item() == pytest.approx(0, abs=1e-6)
    assert structural_loss(ghost, clean).item() > 0.05


def test_where_the_structure_counts_is_one_of_two_places():
    with pytest.raises(ValueError, match="structure_in: got 'brain'; allowed are image, foreground"):
        CorrectionLoss(structure_in="brain")


def test_perfect_images_cost_nothing(reconstruction, refinement, image_pair):
    moved, clean = image_pair
    drawn = reconstruction._replace(clean=clean, moved=moved, score_px=TRUE_PX)
    codes = CodesLoss()(drawn, moved, clean, TRUE_PX)
    refined = refinement._replace(refined=clean, codes_only=clean, score_px=TRUE_PX)
    correction = CorrectionLoss()(refined, moved, clean, TRUE_PX)
    for terms, names in (
        (codes, ("clean_decoded", "moved_decoded", "swapped_decoded", "score")),
        (correction, ("refined", "codes_only", "score")),
    ):
        for name in names:
            assert getattr(terms, name).item() == pytest.approx(0, abs=1e-6)


def test_an_error_counts_relative_to_what_the_motion_did(refinement, image_pair):
    clean = image_pair.clean
    moved = clean + torch.tensor([0.05, 0.2]).reshape(2, 1, 1, 1)
    costs = []
    for index in range(2):
        refined = clean.clone()
        refined[index] += 0.03
        terms = CorrectionLoss(balance_floor=0.01)(refinement._replace(refined=refined), moved, clean, TRUE_PX)
        costs.append(terms.refined.item())
    assert costs[0] / costs[1] == pytest.approx((0.2 + 0.01) / (0.05 + 0.01), rel=1e-4)


def test_images_that_moved_alike_count_alike(refinement, image_pair):
    clean = image_pair.clean
    terms = CorrectionLoss()(refinement, clean + 0.1, clean, TRUE_PX)
    torch.testing.assert_close(terms.refined, (refinement.refined - clean).abs().mean())


def test_a_prior_that_knows_nothing_pays_the_log_of_the_number_of_codes():
    indices = LevelIndices(torch.randint(5, (2, 3, 3)), torch.randint(7, (2, 6, 6)))
    terms = prior_nats(LevelLogits(torch.zeros(2, 5, 3, 3), torch.zeros(2, 7, 6, 6)), indices)
    assert terms.coarse.item() == pytest.approx(math.log(5))
    assert terms.fine.item() == pytest.approx(math.log(7))
    assert terms.total.item() == pytest.approx(
        (9 * math.log(5) + 36 * math.log(7)) / 45
    )  # each token counts once


def test_a_prior_that_knows_the_codes_pays_nothing():
    indices = LevelIndices(torch.randint(5, (1, 2, 2)), torch.randint(7, (1, 4, 4)))
    sure = LevelLogits(
        100 * F.one_hot(indices.coarse, 5).movedim(-1, 1).bfloat16(),
        100 * F.one_hot(indices.fine, 7).movedim(-1, 1).float(),
    )
    assert prior_nats(sure, indices).total.item() == pytest.approx(0, abs=1e-6)
