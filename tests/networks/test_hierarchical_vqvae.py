"""Grids of the codes, what the decoder makes of the motion codes, and the motion score."""

from __future__ import annotations

import pytest
import torch

from mocodis_monai.networks import Embeddings, HierarchicalVQVAE, VectorQuantizer
from mocodis_monai.networks.hierarchical_vqvae import embeddings_of


@pytest.fixture
def make_vqvae(awaken):
    def make(spatial_dims: int = 2, awake: bool = True) -> HierarchicalVQVAE:
        torch.manual_seed(0)
        network = HierarchicalVQVAE(spatial_dims, (8, 8, 16), (12, 20), 6, 2, (8, 10), 4).eval()
        return awaken(network) if awake else network

    return make


@pytest.mark.parametrize("spatial", [(32, 48), (16, 32, 16)])
def test_codes_lie_on_their_grids_and_decode_to_the_size_of_the_image(make_vqvae, spatial):
    network = make_vqvae(len(spatial))
    image = torch.rand(2, 1, *spatial)
    content, motion = network.encode_content(image), network.encode_motion(image)
    grids = {factor: (2, *(size // factor for size in spatial)) for factor in (4, 8, 16)}
    assert content.coarse.indices.shape == grids[8] and content.fine.indices.shape == grids[4]
    assert motion.coarse.indices.shape == grids[16] and motion.fine.indices.shape == grids[8]
    assert content.coarse.indices.max() < 12 and content.fine.indices.max() < 20
    assert motion.coarse.indices.max() < 8 and motion.fine.indices.max() < 10
    assert network.decode(embeddings_of(content)).shape == image.shape
    assert network.decode(embeddings_of(content), embeddings_of(motion)).shape == image.shape
    assert network.motion_score_px(embeddings_of(motion)).shape == (2,)


def test_the_motion_codes_change_the_decoded_image_once_trained(make_vqvae):
    image = torch.rand(1, 1, 32, 32)
    for awake in (False, True):
        network = make_vqvae(awake=awake)
        content, motion = (
            embeddings_of(codes) for codes in (network.encode_content(image), network.encode_motion(image))
        )
        same = torch.equal(network.decode(content), network.decode(content, motion))
        assert same == (not awake)  # the modulation starts as the identity


def test_the_null_motion_is_motion_embeddings_that_are_the_same_everywhere(make_vqvae):
    network = make_vqvae()
    content = embeddings_of(network.encode_content(torch.rand(2, 1, 32, 32)))
    coarse, fine = network.decoder.null_motion
    spread = Embeddings(
        coarse.reshape(1, -1, 1, 1).expand(2, -1, 2, 2), fine.reshape(1, -1, 1, 1).expand(2, -1, 4, 4)
    )
    torch.testing.assert_close(network.decode(content), network.decode(content, spread))


def test_the_null_motion_is_learned_from_clean_images_only(make_vqvae):
    network = make_vqvae()
    image = torch.rand(1, 1, 32, 32)
    with torch.no_grad():
        content, motion = (
            embeddings_of(codes) for codes in (network.encode_content(image), network.encode_motion(image))
        )
    network.decode(content, motion).sum().backward()
    assert network.decoder.null_motion.grad is None
    network.decode(content).sum().backward()
    assert network.decoder.null_motion.grad.abs().sum() > 0


def test_the_score_is_never_negative_and_belongs_to_the_image_not_to_a_place(make_vqvae):
    network = make_vqvae()
    torch.manual_seed(0)
    motion = Embeddings(torch.randn(16, 4, 2, 4), torch.randn(16, 4, 4, 8))
    for far in (1, 100):
        score = network.motion_score_px(Embeddings(*(far * level for level in motion)))
        assert score.dtype == torch.float32 and (score >= 0).all() and torch.isfinite(score).all()
    turned = Embeddings(*(level.flip(2, 3) for level in motion))
    torch.testing.assert_close(network.motion_score_px(turned), network.motion_score_px(motion))


def test_fine_codes_know_the_coarse_ones(make_vqvae):
    network = make_vqvae()
    image = torch.rand(1, 1, 32, 32)
    before = network.encode_content(image)
    network.content_encoder.coarse_quantizer.codebook.mul_(-20)
    after = network.encode_content(image)
    assert not torch.equal(before.fine.indices, after.fine.indices)


def test_the_indices_alone_are_those_of_the_codes(make_vqvae):
    network = make_vqvae().eval()
    image = torch.rand(2, 1, 32, 48)
    codes, indices = network.encode_content(image), network.content_indices(image)
    assert torch.equal(indices.coarse, codes.coarse.indices)
    assert torch.equal(indices.fine, codes.fine.indices)


def test_codebooks_learn_in_training_mode_only(make_vqvae):
    network = make_vqvae()
    image = torch.rand(1, 1, 32, 32)
    quantizers = [part for part in network.modules() if isinstance(part, VectorQuantizer)]
    assert len(quantizers) == 5  # content: coarse and two stages of fine; motion: coarse and fine
    for training in (False, True):
        before = [quantizer.codebook.clone() for quantizer in quantizers]
        network.train(training)
        network.encode_content(image), network.encode_motion(image)
        for quantizer, codes in zip(quantizers, before, strict=True):
            assert torch.equal(quantizer.codebook, codes) == (not training)
