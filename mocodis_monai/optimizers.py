"""Which weights step by Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/) and which by AdamW."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from mocodis_monai.networks.fidelity_branch import FidelityBranch

WEIGHT_DECAY = 1e-4


def muon_groups(branch: FidelityBranch, *others: nn.Module) -> list[dict[str, Any]]:
    """Parameter groups of ``branch`` for ``pytorch_optimizer.Muon``.

    What touches the image or leaves the branch steps by AdamW (see :func:`groups_around`), and so do all weights of the
    ``others``, such as the prior, where they are trained too.
    """
    outer = [branch.to_full[0], branch.drawn_in, branch.coarse_logits, branch.fine_logits, branch.detail]
    by_muon, by_adamw = groups_around(branch, [*outer, branch.score_head, branch.to_residual])
    by_adamw["params"] += [weight for module in others for weight in module.parameters()]
    return [by_muon, by_adamw]


def groups_around(network: nn.Module, outer: Iterable[nn.Module]) -> list[dict[str, Any]]:
    """Parameter groups of ``network``, whose first and last layers are ``outer``, for ``pytorch_optimizer.Muon``.

    The hidden kernels and matrices take orthogonal steps; the outer layers, gains and biases step by AdamW, as that
    optimiser's authors advise.
    """
    at_the_edge = {weight for module in outer for weight in module.parameters()}
    hidden = [weight for weight in network.parameters() if weight.ndim > 1 and weight not in at_the_edge]
    inside = set(hidden)
    others = [weight for weight in network.parameters() if weight not in inside]
    return [
        {"params": hidden, "use_muon": True, "weight_decay": WEIGHT_DECAY},
        {"params": others, "use_muon": False, "weight_decay": WEIGHT_DECAY, "betas": (0.9, 0.999), "eps": 1e-8},
    ]
