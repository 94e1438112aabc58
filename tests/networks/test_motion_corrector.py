"""The corrector as users meet it: any size in, the same size out, repeatable, and no harm without motion."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch.nn import functional as F

from mocodis_monai.networks import MotionCorrector, no_harm_gate
from mocodis_monai.networks.gate import GATE_PX, RESIDUAL_SHARE
from mocodis_monai.networks.hierarchical_vqvae import embeddings_of
from mocodis_monai.networks.uncertainty import UNCERTAINTY_SIGMA, uncertainty_of

ODD_SIZES = [(61, 77), (20, 30), (181, 217), (64, 64), (1, 5)]


def buffers_of(network: MotionCorrector) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.named_buffers()}


def test_the_small_corrector_tells_images_apart(small_corrector, image_pair):
    """Else no test of codes, scores and maps that uses it could fail."""
    network = small_corrector().eval()
    for level in network.true_codes(image_pair.clean).codebooks().values():
        assert len(level.indices.unique()) > 4
    first, second = network.correct(image_pair.moved).motion_score_mm
    assert abs(first - second) > 0.05


@pytest.mark.parametrize("size", ODD_SIZES)
def test_any_size_comes_back_at_its_own_size(small_corrector, size):
    network = small_corrector(guidance=1.0).eval()
    image = torch.rand(1, 1, *size)
    with torch.no_grad():
        corrected = network(image)
    assert corrected.shape == image.shape and corrected.dtype == torch.float32
    assert torch.isfinite(corrected).all() and not torch.allclose(corrected, image)


def test_what_the_true_codes_would_give_hangs_on_the_image_and_no_longer_on_the_codes_read_off_it(
    small_corrector, image_pair
):
    network = small_corrector().eval()
    knowing, unknowing = network.correct_knowing(*image_pair), network.correct(image_pair.moved).corrected
    assert not torch.allclose(knowing, unknowing)
    with torch.no_grad():
        for layer in (network.fidelity_branch.coarse_logits, network.fidelity_branch.fine_logits):
            layer.bias.add_(5 * torch.randn(layer.bias.shape))
    torch.testing.assert_close(network.correct_knowing(*image_pair), knowing)
    assert not torch.allclose(network.correct(image_pair.moved).corrected, unknowing)


@pytest.mark.parametrize("size", [(64, 80), (61, 77)])
def test_an_image_is_drawn_from_its_content_codes_alone(small_corrector, size):
    network = small_corrector().eval()
    clean = torch.rand(2, 1, *size)
    drawn = network.draw_codes(clean)
    assert drawn.image.shape == clean.shape
    whole = network.vqvae.decode(embeddings_of(drawn.content))
    assert torch.equal(drawn.image, whole[..., : size[0], : size[1]])
    if size == (64, 80):  # no padding, so that the codes are those of the image itself
        assert torch.equal(drawn.content.fine.indices, network.true_codes(clean).fine.indices)


@pytest.mark.parametrize("size", [(61, 77), (20, 30)])
def test_correct_says_how_far_to_trust_it(small_corrector, size):
    network = small_corrector().eval()
    image = torch.rand(2, 1, *size)
    result = network.correct(image, spacing_mm=2.0)
    for field in (result.corrected, result.uncertainty, result.artifact_map):
        assert field.shape == image.shape and torch.isfinite(field).all()
    assert (result.uncertainty >= 0).all() and result.uncertainty.max() > 0
    assert (result.artifact_map >= 0).all()  # log-probabilities are never above zero
    assert result.motion_score_mm.shape == result.gate.shape == (2,)
    torch.testing.assert_close(result.motion_score_mm, 2 * network.correct(image).motion_score_mm)


def test_the_uncertainty_is_how_far_the_result_lies_from_the_codes_and_from_the_input(small_corrector):
    network = small_corrector().eval()
    image = torch.rand(1, 1, 61, 77)
    result, codes = (network.correct(image, fidelity=share) for share in (1.0, 0.0))
    assert result.gate.item() == 1
    apart = abs(result.corrected - codes.corrected) + abs(result.corrected - image)
    smoothed = gaussian_filter(apart[0, 0].numpy(), UNCERTAINTY_SIGMA, mode="nearest")
    np.testing.assert_allclose(result.uncertainty[0, 0], smoothed, atol=2e-2 * smoothed.max())


def test_the_uncertainty_does_not_fade_at_the_border():
    ones = torch.ones(1, 1, 30, 9)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(uncertainty_of(0 * ones, ones, ones), ones, atol=1e-4, rtol=0)


def test_the_corrector_is_one_graph_to_the_compiler(small_corrector):
    torch._dynamo.reset()
    found = torch._dynamo.explain(small_corrector().eval())(torch.rand(1, 1, 64, 64))
    assert (found.graph_count, found.graph_break_count) == (1, 0)


def test_an_image_is_padded_at_its_end_by_its_edge(small_corrector):
    network = small_corrector().eval()
    image = torch.rand(1, 1, 61, 70)
    padded = F.pad(image, (0, 10, 0, 3), mode="replicate")
    with torch.no_grad():
        torch.testing.assert_close(network(image), network(padded)[..., :61, :70])


def test_the_same_image_gives_the_same_result_twice(small_corrector):
    network = small_corrector(guidance=0.5).eval()
    image = torch.rand(2, 1, 61, 77)
    first, state = network.correct(image), torch.get_rng_state()
    second = network.correct(image)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(torch.get_rng_state(), state)


def test_forward_is_the_corrected_image_of_correct(small_corrector):
    network = small_corrector(guidance=0.5).eval()
    image = torch.rand(1, 1, 40, 80)
    with torch.no_grad():
        torch.testing.assert_close(network(image), network.correct(image).corrected)


@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_a_batch_is_the_same_as_one_image_after_the_other(small_corrector, guidance):
    network = small_corrector(guidance=guidance).eval()
    images = torch.rand(3, 1, 64, 80)
    batch = network.correct(images)
    for index in range(3):
        single = network.correct(images[index : index + 1])
        for name in ("corrected", "motion_score_mm", "artifact_map", "gate"):
            torch.testing.assert_close(
                getattr(single, name)[0], getattr(batch, name)[index], atol=1e-4, rtol=1e-4
            )


@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_an_image_without_motion_comes_back_bit_by_bit(small_corrector, monkeypatch, guidance):
    network = small_corrector(guidance=guidance).eval()
    image = torch.rand(2, 1, 61, 77)
    monkeypatch.setattr(network.fidelity_branch, "motion_score_px", lambda coarse, fine: torch.tensor([0.0, 5.0]))
    for corrected in (network(image).detach(), network.correct(image).corrected):
        assert torch.equal(corrected[0], image[0])
        assert not torch.allclose(corrected[1], image[1])


def test_fidelity_goes_from_the_codes_to_the_refined_image(small_corrector):
    network = small_corrector().eval()
    image = torch.rand(1, 1, 64, 64)
    codes, half, more, full = (network.correct(image, fidelity=share).corrected for share in (0.0, 0.8, 0.9, 1.0))
    assert not torch.allclose(codes, full)
    positive = (half > 0) & (full > 0)  # a magnitude ends at zero
    assert positive.float().mean() > 0.2 and min(image.min() for image in (codes, half, full)) >= 0
    torch.testing.assert_close(more[positive], ((half + full) / 2)[positive])


def test_a_new_corrector_changes_nothing_at_full_fidelity(small_corrector):
    image = torch.rand(1, 1, 64, 64)
    assert torch.equal(small_corrector(awake=False).eval()(image), image)


@pytest.mark.parametrize(
    "arguments",
    [{"fidelity": -0.1}, {"fidelity": 1.1}, {"guidance": 2.0}, {"guidance": -1.0}],
)
def test_arguments_out_of_range_are_named(small_corrector, arguments):
    ((name, value),) = arguments.items()
    with pytest.raises(ValueError, match=rf"{name} must .*got {value}"):
        small_corrector().correct(torch.rand(1, 1, 64, 64), **arguments)


def learned(network: MotionCorrector) -> set[str]:
    return {name for name, weight in network.named_parameters() if weight.grad is not None}


def parameters_of(network: MotionCorrector, part: str) -> set[str]:
    return {name for name, _ in network.named_parameters() if name.startswith(f"{part}.")}


def test_the_first_stage_teaches_the_vqvae_and_its_codebooks_alone(small_corrector, image_pair):
    network = small_corrector().train()
    buffers = buffers_of(network)
    output = network.reconstruct(image_pair.moved, image_pair.clean)
    commitment = sum(codes.commitment_loss for codes in (*output.content, *output.motion))
    (sum(term.square().mean() for term in (output.clean, output.moved, output.score_px)) + commitment).backward()
    assert learned(network) == parameters_of(network, "vqvae")
    moved = {name for name, value in network.named_buffers() if not torch.equal(value, buffers[name])}
    assert {name for name in buffers if name.endswith(("codebook", "running_mean", "running_var"))} <= moved
    assert all(name.startswith("vqvae.") for name in moved)


def test_the_second_stage_teaches_the_fidelity_branch_on_codes_that_stand_still(small_corrector, image_pair):
    network = small_corrector().train().freeze("vqvae")
    buffers = buffers_of(network)
    output = network.refine(image_pair.moved, image_pair.clean)
    sum(term.square().mean() for term in (output.refined, *output.log_probs, output.score_px)).backward()
    assert learned(network) == parameters_of(network, "fidelity_branch")
    assert network.fidelity_branch.training and not network.vqvae.training
    assert all(torch.equal(value, buffers[name]) for name, value in network.named_buffers())


def test_the_codes_only_image_teaches_the_branch_to_read_codes_through_the_frozen_decoder(
    small_corrector, image_pair
):
    network = small_corrector().train().freeze("vqvae")
    network.refine(image_pair.moved, image_pair.clean).codes_only.square().mean().backward()
    for head in (network.fidelity_branch.coarse_logits, network.fidelity_branch.fine_logits):
        assert all(weight.grad.any() for weight in head.parameters())
    assert learned(network) <= parameters_of(network, "fidelity_branch")


def test_after_freezing_only_the_prior_learns(small_corrector, image_pair):
    network = small_corrector().train().freeze("vqvae", "fidelity_branch").train()
    buffers = buffers_of(network)
    indices, evidence, condition, _ = network.read_codes(image_pair.moved, image_pair.clean)
    sum(level.square().mean() for level in network.prior(indices, evidence, condition)).backward()
    assert learned(network) == parameters_of(network, "prior")
    assert network.prior.training and not network.vqvae.training and not network.fidelity_branch.training
    assert all(torch.equal(value, buffers[name]) for name, value in network.named_buffers())


def test_freezing_adds_up_and_keeps_the_mode_of_the_rest(small_corrector):
    network = small_corrector().eval().freeze("vqvae")
    assert not network.training and not network.prior.training
    network.freeze("fidelity_branch").train()
    modes = {name: part.training for name, part in network.named_children()}
    assert modes == {"vqvae": False, "fidelity_branch": False, "prior": True}


def test_what_is_not_there_cannot_be_frozen(small_corrector):
    with pytest.raises(AttributeError, match="decoder"):
        small_corrector().freeze("decoder")


def test_the_refinement_is_what_correct_gives_and_knows_the_true_codes(small_corrector, image_pair, monkeypatch):
    monkeypatch.setattr("mocodis_monai.networks.gate.GATE_PX", (-2.0, -1.0))  # always open
    network = small_corrector().eval()
    with torch.no_grad():
        output = network.refine(image_pair.moved, image_pair.clean)
        reconstruction = network.reconstruct(image_pair.moved, image_pair.clean)
    result = network.correct(image_pair.moved)
    assert (result.gate == 1).all()
    wanted = image_pair.moved + RESIDUAL_SHARE * (output.refined - image_pair.moved)
    torch.testing.assert_close(result.corrected, wanted.clamp(min=0))  # a magnitude
    codes_only = network.correct(image_pair.moved, fidelity=0.0).corrected
    torch.testing.assert_close(codes_only, output.codes_only.clamp(min=0))
    assert torch.equal(output.indices.coarse, reconstruction.content.coarse.indices)
    assert torch.equal(output.indices.fine, reconstruction.content.fine.indices)
    torch.testing.assert_close(result.motion_score_mm, output.score_px)


def test_the_clean_decoding_does_not_know_the_motion(small_corrector, image_pair):
    network = small_corrector().eval()
    with torch.no_grad():
        one, other = (network.reconstruct(moved, image_pair.clean) for moved in (image_pair.moved, image_pair.clean))
    assert torch.equal(one.clean, other.clean)
    assert not torch.equal(one.moved, other.moved)


def test_reading_codes_gives_what_the_prior_takes(small_corrector, image_pair):
    network = small_corrector().eval()
    indices, evidence, condition, _ = network.read_codes(image_pair.moved, image_pair.clean)
    assert indices.coarse.shape == (2, 8, 8) and indices.fine.shape == (2, 16, 16)
    assert evidence.coarse.shape == (2, 12, 8, 8) and evidence.fine.shape == (2, 20, 16, 16)
    torch.testing.assert_close(evidence.fine.exp().sum(1), torch.ones(2, 16, 16))
    assert condition.shape == (2, 2 * 4 + 1)


def test_weights_of_the_released_network_stay_under_25_megabytes():
    file = io.BytesIO()
    torch.save(MotionCorrector().state_dict(), file)
    assert file.getbuffer().nbytes < 25e6



def test_the_gate_rises_from_zero_to_one_and_never_falls():
    scores = torch.linspace(0, 2, 401)
    gate = no_harm_gate(scores)
    assert gate.min() == 0 and gate.max() == 1
    assert (gate.diff() >= 0).all()
    assert (gate[scores <= GATE_PX[0]] == 0).all() and (gate[scores > GATE_PX[1] + 1e-6] == 1).all()
    assert no_harm_gate(torch.tensor([sum(GATE_PX) / 2])).item() == pytest.approx(0.5)


@pytest.mark.parametrize("stage", ["reconstruct", "refine", "read_codes"])
def test_training_sizes_that_are_no_multiples_of_sixteen_are_named(small_corrector, stage):
    with pytest.raises(ValueError, match=r"\(64, 72\).*multiple of 16"):
        getattr(small_corrector(), stage)(torch.rand(2, 1, 64, 72), torch.rand(2, 1, 64, 72))
