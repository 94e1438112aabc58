"""The prior: causal in the codes and in the evidence, and silent until it is trained."""

from __future__ import annotations

import pytest
import torch

from mocodis_monai.networks import ContentPrior, LevelIndices, LevelLogits, LevelLogProbs, LevelMasks
from mocodis_monai.networks.prior import CausalBlock

NUM_COARSE, NUM_FINE = 4, 16  # a window of 2 x 2 coarse sites
CODES = (5, 7)


@pytest.fixture
def prior(awaken) -> ContentPrior:
    torch.manual_seed(0)
    network = ContentPrior(
        2, CODES, coarse_window=2, hidden_size=8, num_layers=2, num_heads=2, condition_channels=3
    )
    return awaken(network).double().eval()


@pytest.fixture
def inputs() -> tuple[LevelIndices, LevelLogProbs, torch.Tensor]:
    torch.manual_seed(1)
    indices = LevelIndices(torch.randint(CODES[0], (2, 2, 2)), torch.randint(CODES[1], (2, 4, 4)))
    evidence = LevelLogits(torch.randn(2, CODES[0], 2, 2), torch.randn(2, CODES[1], 4, 4))
    logs = LevelLogProbs(*(level.double().log_softmax(1) for level in evidence))
    return indices, logs, torch.randn(2, 3, dtype=torch.float64)


def moved_positions(before: LevelLogits, after: LevelLogits) -> list[int]:
    """Positions of the sequence (coarse raster, then fine raster) whose logits differ in the first sample."""
    differ = [(a - b)[0].abs().amax(0).flatten() > 1e-12 for a, b in zip(after, before, strict=True)]
    return torch.cat(differ).nonzero().flatten().tolist()


def site_of(position: int) -> tuple[int, tuple[int, ...]]:
    """Level of a position and its place on the level's grid."""
    if position < NUM_COARSE:
        return 0, divmod(position, 2)
    return 1, divmod(position - NUM_COARSE, 4)


@torch.no_grad()
def test_a_block_is_that_of_torch():
    torch.manual_seed(0)
    ours = CausalBlock(8, num_heads=2).double().eval()
    theirs = torch.nn.TransformerEncoderLayer(8, 2, 32, activation="gelu", batch_first=True, norm_first=True).eval()
    names = {
        "self_attn.in_proj_": "qkv.", "self_attn.out_proj.": "project.", "linear1.": "mlp.0.", "linear2.": "mlp.2.",
        "norm1.": "norm_attention.", "norm2.": "norm_mlp.",
    }
    weights = ours.state_dict()
    theirs.double().load_state_dict(
        {theirs_name + part: weights[name + part] for theirs_name, name in names.items() for part in ("weight", "bias")}
    )
    tokens = torch.randn(3, 11, 8, dtype=torch.float64)
    later = torch.nn.Transformer.generate_square_subsequent_mask(11, dtype=torch.float64)
    torch.testing.assert_close(ours(tokens), theirs(tokens, later, is_causal=True))


@torch.no_grad()
@pytest.mark.parametrize("with_evidence", [False, True])
@pytest.mark.parametrize("position", range(NUM_COARSE + NUM_FINE))
def test_a_code_is_seen_by_later_positions_only(prior, inputs, position, with_evidence):
    indices, evidence, condition = inputs
    given = (evidence, condition) if with_evidence else ()
    level, site = site_of(position)
    changed = LevelIndices(*(codes.clone() for codes in indices))
    changed[level][(0, *site)] = (changed[level][(0, *site)] + 1) % CODES[level]
    moved = moved_positions(prior(indices, *given), prior(changed, *given))
    assert moved == list(range(position + 1, NUM_COARSE + NUM_FINE))


@torch.no_grad()
@pytest.mark.parametrize("position", [0, 2, 3, 4, 11, 19])
def test_evidence_is_seen_at_its_own_position_and_later(prior, inputs, position):
    indices, evidence, condition = inputs
    level, site = site_of(position)
    changed = LevelLogits(*(logs.clone() for logs in evidence))
    changed[level][(0, 0, *site)] += 1
    moved = moved_positions(prior(indices, evidence, condition), prior(indices, changed, condition))
    assert moved == list(range(position, NUM_COARSE + NUM_FINE))


@torch.no_grad()
def test_a_belief_that_is_certain_says_what_the_code_says(prior, inputs):
    indices, evidence, condition = inputs
    certain = LevelLogits(*(
        1e3 * torch.nn.functional.one_hot(level, codes).movedim(-1, 1).double()
        for level, codes in zip(indices, CODES, strict=True)
    ))
    believed = prior.predict(prior.embed_belief(certain), prior.take_in(evidence, condition))
    for told, wanted in zip(believed, prior(indices, evidence, condition), strict=True):
        torch.testing.assert_close(told, wanted)


@pytest.mark.parametrize("position", [1, NUM_COARSE + 5])
def test_at_an_unsure_site_the_code_does_not_count_but_the_evidence_does(prior, inputs, position):
    indices, evidence, condition = inputs
    level, site = site_of(position)
    unsure = LevelMasks(*(torch.zeros_like(codes, dtype=torch.bool) for codes in indices))
    before = prior(indices, evidence, condition, unsure=unsure)
    torch.testing.assert_close(before, prior(indices, evidence, condition))
    place = (slice(None), *site)
    unsure[level][place] = True
    told = prior(indices, evidence, condition, unsure=unsure)
    assert moved_positions(before, told)
    indices[level][place] = (indices[level][place] + 1) % CODES[level]
    torch.testing.assert_close(prior(indices, evidence, condition, unsure=unsure), told)


def test_samples_do_not_see_each_other(prior, inputs):
    indices, evidence, condition = inputs
    both = prior(indices, evidence, condition)
    alone = prior(*(type(part)(*(x[1:] for x in part)) for part in (indices, evidence)), condition[1:])
    for level, wanted in zip(alone, both, strict=True):
        torch.testing.assert_close(level, wanted[1:])


@torch.no_grad()
def test_a_sample_that_is_not_kept_gets_the_unconditional_pass(prior, inputs):
    indices, evidence, condition = inputs
    mixed = prior(indices, evidence, condition, keep=torch.tensor([False, True]))
    alone, guided = prior(indices), prior(indices, evidence, condition)
    for level, unconditional, conditional in zip(mixed, alone, guided, strict=True):
        torch.testing.assert_close(level[0], unconditional[0])
        torch.testing.assert_close(level[1], conditional[1])
        assert not torch.allclose(unconditional, conditional)


@torch.no_grad()
def test_the_motion_condition_matters(prior, inputs):
    indices, evidence, condition = inputs
    assert moved_positions(
        prior(indices, evidence, condition), prior(indices, evidence, condition + 1)
    ) == list(range(NUM_COARSE + NUM_FINE))


@torch.no_grad()
def test_an_untrained_prior_returns_the_evidence(inputs):
    indices, evidence, condition = inputs[0], LevelLogits(*(x.float() for x in inputs[1])), inputs[2].float()
    prior = ContentPrior(
        2, CODES, coarse_window=2, hidden_size=8, num_layers=1, num_heads=2, condition_channels=3
    )
    for level, wanted in zip(prior(indices, evidence, condition), evidence, strict=True):
        torch.testing.assert_close(level, wanted)
    assert not any(level.any() for level in prior(indices))


@torch.no_grad()
def test_three_dimensions():
    prior = ContentPrior(
        3, CODES, coarse_window=2, hidden_size=8, num_layers=1, num_heads=2, condition_channels=3
    )
    out = prior(
        LevelIndices(torch.zeros(1, 2, 2, 2, dtype=torch.int64), torch.zeros(1, 4, 4, 4, dtype=torch.int64))
    )
    assert out.coarse.shape == (1, CODES[0], 2, 2, 2) and out.fine.shape == (1, CODES[1], 4, 4, 4)


def test_training_lowers_the_nats_of_a_pattern():
    # A code that repeats the one before it: the prior can only learn it by looking back.
    torch.manual_seed(0)
    prior = ContentPrior(
        2, (4, 4), coarse_window=2, hidden_size=16, num_layers=1, num_heads=2, condition_channels=3
    )
    optimizer = torch.optim.Adam(prior.parameters(), lr=3e-3)
    for _ in range(60):
        code = torch.randint(4, (32, 1, 1))
        indices = LevelIndices(code.expand(-1, 2, 2), code.expand(-1, 4, 4))
        loss = torch.nn.functional.cross_entropy(prior(indices).fine, indices.fine)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.3  # log(4) = 1.39 without looking back
