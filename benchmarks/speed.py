"""Speed of training, simulation and correction on this machine, as ratios measured in one run.

    python -m benchmarks.speed

    python -m benchmarks.speed --guidance 1   # the volume guided by the prior

Prints a training step of the second stage with and without channels-last memory and bfloat16, one of the first
stage, the simulation of a batch beside them, the parallel passes of guidance beside sampling code by code with MONAI's
``VQVAETransformerInferer``, and the time and peak memory of correcting a 181 x 217 x 181 volume.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from contextlib import nullcontext

import numpy as np
import torch
import typer
from monai.inferers import VQVAETransformerInferer
from monai.networks.nets import VQVAE, DecoderOnlyTransformer
from monai.utils.ordering import Ordering

from mocodis_monai.data.phantom import make_phantom
from mocodis_monai.data.records import phantom_records
from mocodis_monai.engines import CODES
from mocodis_monai.inferers import VolumeCorrector
from mocodis_monai.losses import CodesLoss, CorrectionLoss
from mocodis_monai.networks import ContentPrior, LevelLogits, MotionCorrector
from mocodis_monai.networks.guidance import guide
from mocodis_monai.networks.prior import FINE_PER_COARSE
from mocodis_monai.precision import mixed_precision
from mocodis_monai.transforms import LoadSourced, RandKSpaceMotiond

BATCH_SIZE, IMAGE_SIZE = 8, 96
"""The default knobs of bundle/configs/train.yaml."""


def best_of(repeats: int, work: Callable[[], object]) -> float:
    """Shortest time of ``repeats`` calls after a first one, in seconds."""
    work()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def codes_step() -> Callable[[], None]:
    """A function that takes one optimiser step of the first stage, in mixed precision and channels-last memory."""
    network = MotionCorrector().to(memory_format=torch.channels_last)
    images, loss = batch_of_noise(torch.channels_last), CodesLoss()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4, fused=True)

    def step() -> None:
        with mixed_precision("cpu"):
            output = network.reconstruct(images, images)
        optimizer.zero_grad()
        loss(output, images, images, torch.ones(BATCH_SIZE)).total.backward()
        optimizer.step()

    return step


def correction_step(mixed: bool) -> Callable[[], None]:
    """A function that takes one optimiser step of the second stage, with or without what :func:`codes_step` uses."""
    memory = torch.channels_last if mixed else torch.contiguous_format
    network = MotionCorrector().to(memory_format=memory).freeze(*CODES)
    images, loss = batch_of_noise(memory), CorrectionLoss()
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4, fused=True)

    def step() -> None:
        with mixed_precision("cpu") if mixed else nullcontext():
            output = network.refine(images, images)
        optimizer.zero_grad()
        loss(output, images, images, torch.ones(BATCH_SIZE)).total.backward()
        optimizer.step()

    return step


def batch_of_noise(memory: torch.memory_format) -> torch.Tensor:
    """A batch of images of random numbers."""
    return torch.rand(BATCH_SIZE, 1, IMAGE_SIZE, IMAGE_SIZE).to(memory_format=memory)


def simulate_batch() -> None:
    """Make a batch of phantoms and move them, as the data loader does on one thread."""
    load, move = LoadSourced("image"), RandKSpaceMotiond("image", target_keys="target", prob=1.0).set_random_state(0)
    for record in phantom_records(BATCH_SIZE, size=(IMAGE_SIZE, IMAGE_SIZE)):
        move(load(record))


def head_volume() -> torch.Tensor:
    """A 181 x 217 x 181 volume filled like a head scan: one phantom slice, repeated."""
    image = make_phantom("head", seed=1, size=(181, 217)).image[0].numpy()
    return torch.from_numpy(np.repeat(image[:, :, None], 181, axis=2))


def guide_window(prior: ContentPrior) -> None:
    """Guide the codes of a batch of windows."""
    coarse, fine = prior.coarse_window, prior.coarse_window * FINE_PER_COARSE
    evidence = LevelLogits(
        torch.randn(BATCH_SIZE, prior.num_embeddings[0], coarse, coarse),
        torch.randn(BATCH_SIZE, prior.num_embeddings[1], fine, fine),
    )
    guide(prior, evidence, torch.randn(BATCH_SIZE, prior.condition.in_features), torch.ones(BATCH_SIZE))


def sample_one_by_one(prior: ContentPrior) -> None:
    """Sample as many codes one by one with MONAI, from a transformer of the same size."""
    codes, tokens = prior.num_embeddings[1], prior.num_coarse + prior.num_fine
    hidden, layers, heads = prior.start.shape[-1], len(prior.transformer) - 1, 4
    transformer = DecoderOnlyTransformer(codes + 1, tokens, hidden, layers, heads).eval()
    decoder = VQVAE(2, 1, 1, (8,), 1, (8,), ((2, 4, 1, 1),), ((2, 4, 1, 1, 0),), num_embeddings=codes, embedding_dim=8)
    ordering = Ordering("raster_scan", 2, (1, 1, tokens))
    start = torch.full((BATCH_SIZE, 1), codes)
    VQVAETransformerInferer().sample((1, tokens), start, decoder.eval(), transformer, ordering, verbose=False)


@torch.no_grad()
def main(guidance: float = typer.Option(0.0, help="Strength of the prior in the correction.")) -> None:
    """Print the measurements."""
    with torch.enable_grad():
        _print_training()
    prior = MotionCorrector().prior.eval()
    parallel, single = best_of(5, lambda: guide_window(prior)), best_of(1, lambda: sample_one_by_one(prior))
    print(f"guiding {prior.num_coarse + prior.num_fine} codes of {BATCH_SIZE} windows      {parallel:6.2f} s")
    print(f"sampling them one by one with MONAI          {single:6.2f} s   {single / parallel:.0f} times as long")
    corrector = VolumeCorrector(MotionCorrector(), guidance=guidance, progress=True)
    start = time.perf_counter()
    corrector.correct(head_volume(), (1.0, 1.0, 1.0))
    took = time.perf_counter() - start
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"correcting 181 x 217 x 181, guidance {guidance:g}       {took:6.1f} s   peak memory {memory:.1f} GiB")


def _print_training() -> None:
    plain, mixed = best_of(3, correction_step(mixed=False)), best_of(5, correction_step(mixed=True))
    codes = best_of(5, codes_step())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    simulated = best_of(3, simulate_batch)
    torch.set_num_threads(threads)
    print(f"correction step, float32                     {plain:6.2f} s")
    print(f"correction step, channels-last and bfloat16  {mixed:6.2f} s   {plain / mixed:.1f}x faster")
    print(f"codes step, channels-last and bfloat16       {codes:6.2f} s   {codes / mixed:.1f} of a correction step")
    print(f"simulating a batch on one thread             {simulated:6.2f} s   {simulated / mixed:.2f} of a step")


if __name__ == "__main__":
    typer.run(main)
