"""Guidance over a whole token grid: windows that cover it, and what each strength does."""

from __future__ import annotations

import itertools

import pytest
import torch

from mocodis_monai.networks import ContentPrior, LevelIndices, LevelLogits
from mocodis_monai.networks.guidance import (
    NUM_PASSES,
    cut,
    familiarity,
    guide,
    join,
    unconditional_nats,
    window_corners,
)

WINDOW = 3
CODES = (5, 7)


@pytest.fixture
def prior() -> ContentPrior:
    torch.manual_seed(0)
    return ContentPrior(
        2, CODES, coarse_window=WINDOW, hidden_size=8, num_layers=1, num_heads=2, condition_channels=3
    ).eval()


@pytest.fixture
def evidence() -> LevelLogits:
    torch.manual_seed(1)
    return LevelLogits(torch.randn(2, CODES[0], 4, 7), torch.randn(2, CODES[1], 8, 14))


@pytest.mark.parametrize("size", range(8, 100))
def test_as_few_windows_as_can_cover_every_site_and_overlap_alike(size):
    starts = sorted({corner[0] for corner in window_corners((size, 8), 8)})
    assert starts[0] == 0 and starts[-1] == size - 8
    assert {site for start in starts for site in range(start, start + 8)} == set(range(size))
    assert len(starts) == -(-size // 8)
    steps = {later - earlier for earlier, later in itertools.pairwise(starts)} or {0}
    assert max(steps) - min(steps) <= 1


def test_corners_are_all_pairs_of_starts():
    assert len(window_corners((30, 23), 8)) == len(window_corners((30, 8), 8)) * len(
        window_corners((8, 23), 8)
    )
    assert len(set(window_corners((20, 20, 20), 8))) == 27


@pytest.mark.parametrize("grid", [(7, 12), (12, 7)])
def test_a_grid_smaller_than_the_window_is_refused(grid):
    with pytest.raises(ValueError, match="at least 8 coarse sites"):
        window_corners(grid, 8)


@pytest.mark.parametrize("factor", [1, 2])
def test_joining_what_was_cut_gives_it_back(factor):
    corners = window_corners((10, 13), 4)
    level = torch.randn(3, 5, 10 * factor, 13 * factor, dtype=torch.float64)
    windows = cut(level, corners, 4, factor)
    assert windows.shape == (3 * len(corners), 5, 4 * factor, 4 * factor)
    torch.testing.assert_close(join(windows, corners, 4, level, factor), level)


def test_overlapping_windows_are_averaged():
    corners = [(0, 0), (0, 1)]
    windows = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])
    joined = join(windows, corners, 2, torch.empty(1, 1, 2, 3))
    assert joined[0, 0].tolist() == [[0, 0.5, 1], [0, 0.5, 1]]


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_an_untrained_prior_leaves_the_evidence_at_any_strength(prior, evidence, strength):
    guided = guide(prior, evidence, torch.randn(2, 3), torch.full((2,), strength))
    for level, wanted in zip(guided, evidence, strict=True):
        torch.testing.assert_close(level, wanted.log_softmax(1))


def test_strength_zero_leaves_the_evidence_and_strength_one_does_not_sample_by_sample(
    prior, evidence, awaken
):
    guided = guide(awaken(prior), evidence, torch.randn(2, 3), torch.tensor([0.0, 1.0]))
    for level, wanted in zip(guided, evidence, strict=True):
        torch.testing.assert_close(level[0], wanted.log_softmax(1)[0])
        assert not torch.allclose(level[1], wanted.log_softmax(1)[1])


def test_the_result_is_a_distribution_over_codes(prior, evidence, awaken):
    guided = guide(awaken(prior), evidence, torch.randn(2, 3), torch.full((2,), 0.7))
    for level, given in zip(guided, evidence, strict=True):
        assert level.shape == given.shape
        torch.testing.assert_close(level.exp().sum(1), torch.ones_like(level[:, 0]))


def test_a_prior_that_knows_the_pattern_decides_what_the_evidence_leaves_open(prior):
    # The head's bias is a prior in favour of code 3 on both levels, whatever else is there.
    for head in prior.head:
        head.bias.data[3] = 4.0
    undecided = LevelLogits(torch.zeros(1, CODES[0], 3, 3), torch.zeros(1, CODES[1], 6, 6))
    sure = LevelLogits(*(level.clone() for level in undecided))
    sure.coarse[:, 1] = sure.fine[:, 1] = 20.0
    strength = torch.ones(1)
    for level in guide(prior, undecided, torch.zeros(1, 3), strength):
        assert (level.argmax(1) == 3).all()
    for level in guide(prior, sure, torch.zeros(1, 3), strength):
        assert (level.argmax(1) == 1).all()


def test_a_window_is_familiar_as_far_as_the_prior_foresees_its_codes():
    # Four hundred codes on each level, so that knowing nothing costs more than what counts as strange.
    prior = ContentPrior(num_embeddings=(400, 400), coarse_window=3, hidden_size=8, num_layers=1, num_heads=2)
    indices = LevelIndices(torch.full((2, 3, 3), 3), torch.full((2, 6, 6), 3))
    for head in prior.head:
        head.bias.data[3] = 20.0
    indices.coarse[1] = indices.fine[1] = 5
    assert familiarity(prior, indices).tolist() == [1, 0]
    nats = unconditional_nats(prior, indices)
    assert (nats.coarse[0] < 1e-5).all() and (nats.fine[1] > 19).all()


def test_where_the_prior_is_out_of_its_depth_it_has_no_say(evidence, awaken, monkeypatch, prior):
    monkeypatch.setattr("mocodis_monai.networks.guidance.FAMILIAR_NATS", (-2.0, -1.0))  # nothing is familiar
    guided = guide(awaken(prior), evidence, torch.randn(2, 3), torch.ones(2))
    for level, wanted in zip(guided, evidence, strict=True):
        torch.testing.assert_close(level, wanted.log_softmax(1))


@pytest.mark.parametrize("mixed", [False, True])
def test_a_few_passes_guide_a_whole_batch_and_gradients_reach_prior_and_evidence(evidence, awaken, prior, mixed):
    calls = []
    awaken(prior).head[0].register_forward_hook(lambda *_: calls.append(1))  # once a pass
    seen = LevelLogits(*(level.clone().requires_grad_() for level in evidence))
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        guided = guide(prior, seen, torch.randn(2, 3), torch.full((2,), 0.5))
    assert len(calls) == NUM_PASSES + 1 <= 12
    sum(level.square().mean() for level in guided).backward()
    assert all(level.grad.any() for level in seen)
    assert all(head.weight.grad.any() for head in prior.head)
