"""A small training for ``test_parallel.py``, alone or in the processes that torchrun starts.

    python tests/shared_training.py OUT
    torchrun --nproc_per_node 2 tests/shared_training.py OUT

Each process writes its losses, the number of times codes were placed, and the network's state to OUT/<rank>.pt.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist
from ignite.engine import Events
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from monai.transforms import Compose, RandScaleIntensityd

from mocodis_monai import engines
from mocodis_monai.distributed import rank
from mocodis_monai.engines import CorrectorStep, PriorStep
from mocodis_monai.handlers import SeedIterations
from mocodis_monai.losses import CorrectionLoss, prior_nats
from mocodis_monai.networks import MotionCorrector, VectorQuantizer
from mocodis_monai.parallel import data_parallel, process_device, start_processes, stop_processes
from mocodis_monai.sampling import EpochSampler, SeededDataset

CODES, CORRECTION, PRIOR = 10, 8, 4  # iterations of each stage
BATCH = 2
KEYS = ("image", "target", "partner", "partner_target")


def make_network() -> MotionCorrector:
    """A small corrector whose codes die within a few steps."""
    torch.manual_seed(0)
    network = MotionCorrector(
        channels=(8, 8, 16),
        fidelity_channels=(8, 8, 12, 16),
        num_embeddings=(12, 20),
        embedding_dim=6,
        fine_stages=2,
        num_motion_embeddings=(8, 10),
        motion_embedding_dim=4,
        prior_hidden_size=16,
        prior_layers=1,
    )
    for module in network.modules():
        if isinstance(module, VectorQuantizer):
            module.decay = 0.5
    return network


def make_records(number: int = 12) -> list[dict[str, torch.Tensor]]:
    """Twins: two ellipses with the same ghost."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="ij")
    records = []
    for k in range(number):
        record = {}
        for name, target, displacement, waves in (
            ("image", "target", "displacement_px", 7),
            ("partner", "partner_target", "partner_displacement_px", 4),
        ):
            radius = (x / (0.4 + 0.04 * k)) ** 2 + (y / (0.9 - 0.03 * k)) ** 2
            clean = ((radius < 1) * (0.6 + 0.4 * torch.cos((5 + k) * x) * torch.cos(waves * y))).unsqueeze(0)
            moved = 0.75 * clean + 0.25 * clean.roll(3 + k, dims=1)
            record |= {name: moved, target: clean, displacement: torch.tensor(1.0 + k)}
        records.append(record)
    return records


def run(network, shared, step, loss, iterations: int) -> list[float]:
    """Train one stage; its losses."""
    dataset = SeededDataset(
        make_records(), Compose(RandScaleIntensityd(KEYS, factors=0.2, prob=0.5)), seed=1
    )
    sampler = EpochSampler(dataset, BATCH, iterations, seed=1)
    losses = []
    trainer = SupervisedTrainer(
        device=process_device(),
        max_epochs=1,
        train_data_loader=DataLoader(dataset, batch_size=sampler.share, sampler=sampler),
        network=shared,
        optimizer=torch.optim.SGD([w for w in network.parameters() if w.requires_grad], lr=0.02, momentum=0.9),
        loss_function=loss,
        iteration_update=step,
        decollate=False,
        train_handlers=[SeedIterations(2)],
    )
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: losses.append(engine.state.output["loss"].item())
    )
    trainer.run()
    return losses


def main(out: Path) -> None:
    """Both stages and the prior, in full precision."""
    launched = dist.is_torchelastic_launched()
    if launched:
        start_processes(process_device())
    network, placed = make_network(), []
    shared = data_parallel(network) if launched else network
    place = VectorQuantizer._place
    with (
        mock.patch.object(engines, "mixed_precision", lambda device: nullcontext()),
        mock.patch.object(
            VectorQuantizer, "_place", lambda self, codes, flat: (placed.append(len(codes)), place(self, codes, flat))
        ),
    ):
        losses = run(network, shared, CorrectorStep(CODES), CorrectionLoss(), CODES + CORRECTION)
        network.zero_grad()  # the prior's process starts afresh
        # On 64 x 64 pixels the window is the whole grid; with nothing left to chance it does not matter who draws.
        prior = data_parallel(network, frozen=("vqvae", "fidelity_branch")) if launched else network
        nats = run(network, prior, PriorStep(drop_evidence=0.0, replace_codes=0.0), prior_nats, PRIOR)
    torch.save(
        {"losses": losses, "nats": nats, "placed": placed, "state": network.state_dict()}, out / f"{rank()}.pt"
    )
    if launched:
        stop_processes()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
