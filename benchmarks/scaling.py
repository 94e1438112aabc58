"""What a training step costs in several processes that share a batch.

    OMP_NUM_THREADS=1 torchrun --nproc_per_node 1 -m benchmarks.scaling
    OMP_NUM_THREADS=1 torchrun --nproc_per_node 2 -m benchmarks.scaling

Each command prints one row per stage: processes, stage, images per process, and the shortest time of a step in seconds,
by the clock and by the processor time of the first process, which other work on the machine hardly changes. The batch
is in memory: simulating it is the data workers' work, of which every process has its own.
"""

from __future__ import annotations

import time
from itertools import pairwise

import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer

from mocodis_monai.distributed import rank, world_size
from mocodis_monai.engines import CorrectorStep
from mocodis_monai.losses import CorrectionLoss
from mocodis_monai.networks import MotionCorrector
from mocodis_monai.parallel import data_parallel, process_device, start_processes, stop_processes

BATCH_SIZE, IMAGE_SIZE = 8, 96
"""The default knobs of bundle/configs/train.yaml."""
STEPS = 10


def time_stage(codes_iterations: int) -> tuple[float, float]:
    """Shortest wall-clock and processor time of a step, in seconds; the first two steps do not count."""
    device = process_device()
    torch.manual_seed(0)
    network = MotionCorrector().to(device)
    samples = BATCH_SIZE // 2 // world_size()  # of two images each
    images, displacement_px = torch.rand(samples, 1, IMAGE_SIZE, IMAGE_SIZE), torch.ones(samples)
    batch = {"image": images, "target": images.roll(1, -1), "displacement_px": displacement_px}
    batch |= {"partner": images, "partner_target": images.roll(1, -1), "partner_displacement_px": displacement_px}
    trainer = SupervisedTrainer(
        device=device,
        max_epochs=1,
        train_data_loader=[batch] * STEPS,
        network=data_parallel(network),
        optimizer=torch.optim.AdamW(network.parameters(), 1e-4, fused=True),
        loss_function=CorrectionLoss(),
        iteration_update=CorrectorStep(codes_iterations),
        decollate=False,
    )
    moments: list[tuple[float, float]] = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda engine: moments.append((time.perf_counter(), time.process_time()))
    )
    trainer.run()
    steps = [(after[0] - before[0], after[1] - before[1]) for before, after in pairwise(moments[1:])]
    return min(wall for wall, _ in steps), min(busy for _, busy in steps)


def main() -> None:
    """Measure both stages; the first process prints."""
    start_processes(process_device())
    for stage, codes_iterations in (("codes", STEPS), ("correction", 0)):
        wall, busy = time_stage(codes_iterations)
        if rank() == 0:
            print(f"| {world_size()} | {stage} | {BATCH_SIZE // world_size()} | {wall:.2f} | {busy:.2f} |", flush=True)
    stop_processes()


if __name__ == "__main__":
    main()
