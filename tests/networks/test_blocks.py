"""Blocks start as the identity, change sizes as they say, and attention sees whole rows and columns."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from mocodis_monai.networks.blocks import (
    AxialAttention,
    GlobalBlock,
    Modulation,
    NormalisedBlock,
    ResidualBlock,
    _normalise,
    fold,
    unfold,
)
from mocodis_monai.networks.prior import CausalBlock

SPATIAL = {2: (6, 10), 3: (4, 6, 2)}


@pytest.mark.parametrize("spatial_dims", [2, 3])
@pytest.mark.parametrize("block", [ResidualBlock, AxialAttention, GlobalBlock])
def test_a_new_block_is_the_identity_and_a_trained_one_is_not(block, spatial_dims, awaken):
    network = block(spatial_dims, 8)
    x = torch.randn(2, 8, *SPATIAL[spatial_dims])
    assert torch.equal(network(x), x)
    changed = awaken(network)(x)
    assert changed.shape == x.shape
    assert not torch.allclose(changed, x)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_what_a_normalised_block_adds_has_unit_variance_in_each_image(spatial_dims):
    block, spatial = NormalisedBlock(spatial_dims, 4), (8,) * spatial_dims
    x = torch.randn(2, 4, *spatial) * torch.tensor([1.0, 50.0]).reshape(2, *(1,) * (spatial_dims + 1))
    added = (block(x) - x).flatten(2)
    torch.testing.assert_close(added.mean(2), torch.zeros(2, 4), atol=1e-4, rtol=0)
    torch.testing.assert_close(added.std(2, correction=0), torch.ones(2, 4), atol=1e-2, rtol=0)


@pytest.mark.parametrize(("shape", "layout"), [
    ((2, 4, 96, 80), torch.channels_last), ((2, 4, 24, 20, 16), torch.channels_last_3d)
])
@pytest.mark.parametrize(("mean", "std"), [(1.0, 1.0), (100.0, 0.1)])
def test_normalisation_is_exact_with_and_without_gradients_and_keeps_the_layout(shape, layout, mean, std):
    """The second is what the features of a small head in air look like."""
    norm = NormalisedBlock(len(shape) - 2, 4).first_norm
    torch.nn.init.uniform_(norm.weight), torch.nn.init.uniform_(norm.bias)
    x = (mean + std * torch.randn(shape)).contiguous(memory_format=layout)
    exact = F.instance_norm(x.double(), weight=norm.weight.double(), bias=norm.bias.double())
    for learning in (True, False):
        with torch.set_grad_enabled(learning):
            found = _normalise(x, norm)
        assert found.is_contiguous(memory_format=layout)
        torch.testing.assert_close(found.double(), exact, atol=1e-3 if mean > 1 else 1e-5, rtol=0)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_fold_halves_and_unfold_doubles(spatial_dims):
    x = torch.randn(1, 3, *SPATIAL[spatial_dims])
    folded = fold(spatial_dims, 3, 5)(x)
    assert folded.shape == (1, 5, *(size // 2 for size in SPATIAL[spatial_dims]))
    assert unfold(spatial_dims, 5, 3)(folded).shape == x.shape


def test_modulation_scales_and_shifts_by_the_condition_of_its_site(awaken):
    block = Modulation(2, 3, 4)
    x, condition = torch.randn(1, 4, 8, 8), torch.randn(1, 3, 2, 4)
    assert torch.equal(block(x, condition), x)
    awaken(block)
    weight, bias = block.to_scale_shift.weight.flatten(1), block.to_scale_shift.bias
    scale, shift = (weight @ condition[0, :, 1, 2] + bias).split(4)
    # Site (5, 5) of the 8 x 8 grid lies in site (1, 2) of the 2 x 4 grid.
    torch.testing.assert_close(block(x, condition)[0, :, 5, 5], x[0, :, 5, 5] * (1 + scale) + shift)


@pytest.mark.parametrize("make", [lambda: AxialAttention(2, 10), lambda: CausalBlock(10, 4)])
def test_channels_that_the_heads_cannot_share_are_refused_at_once(make):
    with pytest.raises(ValueError, match="10 channels and 4 heads"):
        make()


def test_attention_sees_its_whole_row_and_column_and_nothing_else(awaken):
    attention = AxialAttention(2, 8).double()
    x = torch.randn(1, 8, 16, 24, dtype=torch.float64)
    touched = x.clone()
    touched[0, 0, 5, 9] += 3  # one channel only: layer norm takes out what all channels share

    def changed() -> torch.Tensor:
        return (attention(touched) - attention(x)).abs().amax(dim=(0, 1)) > 1e-12

    only_itself = torch.zeros(16, 24, dtype=torch.bool)
    only_itself[5, 9] = True
    assert torch.equal(changed(), only_itself)
    awaken(attention)
    cross = torch.zeros(16, 24, dtype=torch.bool)
    cross[4:7], cross[:, 8:11] = True, True  # positions enter through a convolution over 3 x 3 sites
    assert torch.equal(changed(), cross)


def test_attention_treats_each_line_alone(awaken):
    attention = awaken(AxialAttention(2, 8))
    x = torch.randn(1, 8, 5, 7)
    sites = attention.norm(x.movedim(1, -1))
    whole = attention._attend(sites, axis=1)
    for row in range(5):
        torch.testing.assert_close(
            attention._attend(sites[:, row : row + 1], axis=1), whole[:, row : row + 1]
        )


@pytest.mark.parametrize("axis", [0, 1])
def test_attention_is_softmax_attention(axis):
    attention = AxialAttention(2, 8, num_heads=2)
    sites = torch.randn(1, 4, 6, 8)
    line = sites[0, :, 3] if axis == 0 else sites[0, 2]
    query, key, value = attention.qkv[axis](line).reshape(len(line), 3, 2, 4).unbind(1)
    heads = [
        torch.softmax(query[:, h] @ key[:, h].T / 2, dim=1) @ value[:, h] for h in range(2)
    ]  # 2 = sqrt(4)
    out = attention._attend(sites, axis)
    torch.testing.assert_close(out[0, :, 3] if axis == 0 else out[0, 2], torch.cat(heads, dim=1))
