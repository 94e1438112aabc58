"""The training losses against their definitions."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from mocodis_monai.losses import CorrectionLoss, prior_nats
from mocodis_monai.networks import LevelIndices, LevelLogits

WEIGHTS = {
    "refined": "refined_weight",
    "ssim": "ssim_weight",
    "codes_only": "codes_only_weight",
    "commitment": "commitment_cost",
    "consistency": "consistency_weight",
    "score": "score_weight",
}


@pytest.fixture
def output(small_corrector, image_pair):
    with torch.no_grad():
        return small_corrector().eval().training_pass(image_pair.moved, image_pair.clean)


def test_the_total_is_the_weighted_sum_of_the_parts(output, image_pair):
    weights = {
        "refined": 1.9,
        "ssim": 0.3,
        "codes_only": 0.7,
        "commitment": 0.11,
        "consistency": 0.13,
        "score": 0.17,
    }
    loss = CorrectionLoss(decode_weight=0.9, **{WEIGHTS[name]: value for name, value in weights.items()})
    terms = loss(output, image_pair.moved, image_pair.clean, torch.tensor([1.0, 3.0]))
    wanted = 0.9 * (terms.clean_decoded + terms.moved_decoded)
    wanted = wanted + sum(value * getattr(terms, name) for name, value in weights.items())
    torch.testing.assert_close(terms.total, wanted)
    assert all(value.ndim == 0 and torch.isfinite(value) and value >= 0 for value in terms)


def test_each_part_is_what_its_name_says(output, image_pair):
    moved, clean = image_pair
    truth = torch.tensor([1.0, 3.0])
    terms = CorrectionLoss()(output, moved, clean, truth)
    for name, target in (
        ("refined", clean),
        ("codes_only", clean),
        ("clean_decoded", clean),
        ("moved_decoded", moved),
    ):
        torch.testing.assert_close(getattr(terms, name), (getattr(output, name) - target).abs().mean())
    levels = ((output.logits.coarse, output.content.coarse), (output.logits.fine, output.content.fine))
    nats = [
        -logs.gather(1, codes.indices[:, None]).mean() for logs, codes in levels
    ]  # the logits are normalised
    torch.testing.assert_close(terms.consistency, sum(nats))
    torch.testing.assert_close(
        terms.commitment, sum(q.commitment_loss for q in (*output.content, *output.motion))
    )
    off = (torch.log1p(output.score_px) - torch.log1p(truth)).abs()
    huber = torch.where(off < 0.1, off.square() / 0.2, off - 0.05)
    torch.testing.assert_close(terms.score, huber.mean())


def test_a_perfect_output_has_no_image_loss(output, image_pair):
    moved, clean = image_pair
    perfect = output._replace(refined=clean, codes_only=clean, clean_decoded=clean, moved_decoded=moved)
    terms = CorrectionLoss()(perfect, moved, clean, output.score_px)
    for name in ("refined", "ssim", "codes_only", "clean_decoded", "moved_decoded", "score"):
        assert getattr(terms, name).item() == pytest.approx(0, abs=1e-6)


def test_the_ssim_part_grows_with_the_ghost(output, image_pair):
    moved, clean = image_pair
    parts = [
        CorrectionLoss()(
            output._replace(refined=torch.lerp(clean, moved, share)), moved, clean, output.score_px
        ).ssim
        for share in (0.0, 0.5, 1.0)
    ]
    assert parts[0] < parts[1] < parts[2]


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
