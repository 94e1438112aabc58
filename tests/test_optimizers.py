"""Muon steps on the kernels of the fidelity branch, AdamW on what touches the image or leaves the branch."""

from __future__ import annotations

import pytest
import torch
from pytorch_optimizer import Muon

from mocodis_monai.optimizers import muon_groups

LEARNING_RATE = 0.01


@pytest.fixture
def branch(small_corrector):
    return small_corrector().fidelity_branch


@pytest.fixture
def stepped(branch):
    """The branch, its weights before a first step on random gradients, and which weights step by Muon."""
    groups = muon_groups(branch)
    for weight in branch.parameters():
        weight.grad = torch.randn_like(weight)
    before = {weight: weight.detach().clone() for weight in branch.parameters()}
    Muon([{**group, "weight_decay": 0.0} for group in groups], lr=LEARNING_RATE, use_adjusted_lr=True).step()
    return before, groups[0]["params"]


def test_every_weight_of_the_branch_is_in_one_group(branch):
    kernels, others = (group["params"] for group in muon_groups(branch))
    assert {*kernels, *others} == set(branch.parameters())
    assert len(kernels) + len(others) == len(list(branch.parameters()))


def test_the_prior_steps_by_adamw_where_it_has_gradients(small_corrector):
    network = small_corrector()
    kernels, others = (set(group["params"]) for group in muon_groups(network.fidelity_branch, network.prior))
    assert kernels | others == {*network.fidelity_branch.parameters(), *network.prior.parameters()}
    assert kernels.isdisjoint(network.prior.parameters())
    optimizer = Muon(muon_groups(network.fidelity_branch, network.prior), lr=LEARNING_RATE)
    before = {name: weight.detach().clone() for name, weight in network.named_parameters()}
    for weight in network.fidelity_branch.parameters():
        weight.grad = torch.randn_like(weight)
    optimizer.step()
    moved = {name for name, weight in network.named_parameters() if not torch.equal(weight, before[name])}
    assert moved == {name for name in before if name.startswith("fidelity_branch")}


def test_what_touches_the_image_or_leaves_the_branch_is_not_orthogonalised(branch):
    kernels = set(muon_groups(branch)[0]["params"])
    assert all(weight.ndim > 1 for weight in kernels)
    edge = (branch.to_full[0], branch.drawn_in, branch.to_residual, branch.coarse_logits, branch.score_head)
    assert not any(weight in kernels for module in edge for weight in module.parameters())
    assert branch.merge_full.weight in kernels


def test_a_kernel_steps_in_all_directions_alike_and_as_far_as_with_adamw(stepped):
    before, kernels = stepped
    for kernel in kernels:
        step = (kernel.detach() - before[kernel]).flatten(1)
        lengths = torch.linalg.svdvals(step) / (0.2 * LEARNING_RATE * max(step.shape) ** 0.5)
        assert lengths.min() > 0.3 and lengths.max() < 1.4  # five Newton-Schulz iterations bring them near one
