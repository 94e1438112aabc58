"""Speed of training, simulation and correction on this machine, as ratios measured in one run.

    python -m benchmarks.speed

Prints, for each way to compute (float32, channels-last memory, bfloat16, ``torch.compile``), a training step of the
second stage, and the correction of a volume, reckoned from a batch of its slices, with the root mean square difference
from float32 (the scale of an image is 1); time and peak memory of correcting a 181 x 217 x 181 volume as a whole,
unguided and guided; a step of the first stage and the simulation of a batch; and the parallel passes of guidance beside
sampling code by code with MONAI's ``VQVAETransformerInferer``. The ways take turns, so that other work on the machine
slows them alike, and the best of several turns counts.
"""

from __future__ import annotations

import math
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import numpy as np
import torch
from monai.inferers import VQVAETransformerInferer
from monai.networks.nets import VQVAE, DecoderOnlyTransformer
from monai.utils.ordering import Ordering
from tqdm import tqdm

from mocodis_monai.data.phantom import make_phantom
from mocodis_monai.data.records import phantom_records
from mocodis_monai.inferers import VolumeCorrector
from mocodis_monai.losses import CodesLoss, CorrectionLoss
from mocodis_monai.networks import ContentPrior, LevelLogits, MotionCorrector
from mocodis_monai.networks.guidance import guide
from mocodis_monai.networks.prior import FINE_PER_COARSE
from mocodis_monai.release import load_corrector
from mocodis_monai.transforms import LoadSourced, RandKSpaceMotion, RandKSpaceMotiond

BATCH_SIZE, IMAGE_SIZE = 8, 96
"""Images of an optimiser step: the default knobs of bundle/configs/train.yaml."""
VOLUME = (181, 217, 181)
"""The shape of Colin27."""
SLICES = 4
"""Slices that ``VolumeCorrector`` takes at once."""
TURNS = 5


class Way(NamedTuple):
    """A way to compute; the workflows take channels-last memory, and bfloat16 where the processor multiplies it."""

    name: str
    memory: torch.memory_format = torch.contiguous_format
    bfloat16: bool = False
    compiled: bool = False

    def precision(self) -> AbstractContextManager[object]:
        """What to compute in."""
        return torch.autocast("cpu", dtype=torch.bfloat16) if self.bfloat16 else nullcontext()

    def prepared(self, work: Callable) -> Callable:
        """The function, compiled where that is asked for."""
        return torch.compile(work, dynamic=False) if self.compiled else work


WAYS = (
    Way("float32"),
    Way("float32, channels-last", torch.channels_last),
    Way("bfloat16", bfloat16=True),
    Way("bfloat16, channels-last", torch.channels_last, bfloat16=True),
    Way("bfloat16, channels-last, compiled", torch.channels_last, bfloat16=True, compiled=True),
)
DEFAULT = WAYS[3]


class Timing(NamedTuple):
    """Seconds of the first call, in which compiling falls, and of the shortest one after it."""

    first: float
    best: float


class VolumeCost(NamedTuple):
    """What the correction of a volume took, and the transformer passes for each batch of its slices."""

    seconds: float
    peak_gib: float
    passes: float


def seconds(work: Callable[[], object]) -> float:
    """How long a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def timed_in_turn(works: Mapping[str, Callable[[], object]], turns: int = TURNS) -> dict[str, Timing]:
    """Each work once, and then all of them ``turns`` times one after the other."""
    first = {name: seconds(work) for name, work in tqdm(works.items(), desc="first calls")}
    best = dict.fromkeys(works, math.inf)
    for _ in tqdm(range(turns), desc="turns"):
        for name, work in works.items():
            best[name] = min(best[name], seconds(work))
    return {name: Timing(first[name], best[name]) for name in works}


def best_of(turns: int, work: Callable[[], object]) -> float:
    """Shortest time of ``turns`` calls after a first one."""
    work()
    return min(seconds(work) for _ in range(turns))


def codes_step(way: Way) -> Callable[[], None]:
    """A function that takes one optimiser step of the first stage."""
    network = MotionCorrector().to(memory_format=way.memory)
    return optimiser_step(network, network.reconstruct, CodesLoss(), way)


def correction_step(way: Way) -> Callable[[], None]:
    """A function that takes one optimiser step of the second stage."""
    network = MotionCorrector().to(memory_format=way.memory).freeze("vqvae")
    return optimiser_step(network, network.refine, CorrectionLoss(), way)


def optimiser_step(network: MotionCorrector, compute: Callable, loss: Callable, way: Way) -> Callable[[], None]:
    """A function that computes, and takes one step down the gradient of the loss."""
    optimizer = torch.optim.AdamW(network.parameters(), 1e-4, fused=True)
    images = torch.rand(BATCH_SIZE, 1, IMAGE_SIZE, IMAGE_SIZE).to(memory_format=way.memory)
    compute = way.prepared(compute)

    def step() -> None:
        with way.precision():
            output = compute(images, images)
        optimizer.zero_grad()
        loss(output, images, images, torch.ones(BATCH_SIZE)).total.backward()
        optimizer.step()

    return step


def slices_corrected(way: Way, images: torch.Tensor) -> Callable[[], torch.Tensor]:
    """A function that corrects a batch of slices with the released weights."""
    network = load_corrector().to(memory_format=way.memory)
    images = images.to(memory_format=way.memory)
    correct = way.prepared(network.correct)

    def work() -> torch.Tensor:
        with torch.no_grad(), way.precision():
            return correct(images).corrected

    return work


def moved_slices() -> torch.Tensor:
    """A batch of slices of the volume's size, moved phantoms."""
    move = RandKSpaceMotion(1.0, displacement_mm="severe", phase_encode_axis=1).set_random_state(0)
    slices = [move(make_phantom("head", seed, VOLUME[:2]).image) for seed in range(SLICES)]
    return torch.stack([one.as_tensor() for one in slices])


def correct_volume(guidance: float) -> VolumeCost:
    """Correct a volume filled like a head scan, one phantom slice repeated; for a process of its own."""
    image = make_phantom("head", seed=1, size=VOLUME[:2]).image[0].numpy()
    volume = torch.from_numpy(np.repeat(image[:, :, None], VOLUME[2], axis=2))
    network, passes, batches = MotionCorrector(), [], []
    network.prior.head[0].register_forward_hook(lambda *_: passes.append(1))  # once a pass
    corrector = VolumeCorrector(network, guidance=guidance, progress=True)
    took = seconds(lambda: corrector.correct(volume, (1.0, 1.0, 1.0), on_progress=lambda *_: batches.append(1)))
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
    return VolumeCost(took, peak, len(passes) / len(batches))


def simulate_batch() -> None:
    """Make a batch of phantoms and move them, as the data loader does on one thread."""
    load, move = LoadSourced("image"), RandKSpaceMotiond("image", target_keys="target", prob=1.0).set_random_state(0)
    for record in phantom_records(BATCH_SIZE, size=(IMAGE_SIZE, IMAGE_SIZE)):
        move(load(record))


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


def main() -> None:
    """Print the measurements, the memory first, while this process, which the other one starts from, is small."""
    _print_volumes()
    _print_ways()
    _print_training()
    _print_guidance()


def _print_volumes() -> None:
    size = " x ".join(map(str, VOLUME))
    print(f"| a volume of {size} | seconds | peak memory, GiB | transformer passes a batch |\n|---|---|---|---|")
    for name, guidance in (("unguided", 0.0), ("guided", 1.0)):
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
            cost = process.submit(correct_volume, guidance).result()
        print(f"| {name} | {cost.seconds:.1f} | {cost.peak_gib:.1f} | {cost.passes:.0f} |", flush=True)


def _print_ways() -> None:
    images = moved_slices()
    steps = {way.name: correction_step(way) for way in WAYS}
    slices = {way.name: slices_corrected(way, images) for way in WAYS}
    plain, wanted = WAYS[0].name, slices[WAYS[0].name]()
    timings = timed_in_turn(steps), timed_in_turn(slices)
    print("\n| | step, s | times as fast | first step, s | volume, s | times as fast | first slices, s | differ by |")
    print("|---|---|---|---|---|---|---|---|")
    for way in WAYS:
        cells = [way.name]
        for timing, times, digits in zip(timings, (1, VOLUME[2] / SLICES), (2, 1), strict=True):
            own = timing[way.name]
            cells += [f"{own.best * times:.{digits}f}", f"{timing[plain].best / own.best:.1f}", f"{own.first:.1f}"]
        differ = (slices[way.name]() - wanted).square().mean().sqrt()
        print(f"| {' | '.join(cells)} | {differ:.4f} |")


def _print_training() -> None:
    works = {"codes": codes_step(DEFAULT), "correction": correction_step(DEFAULT)}
    timing = timed_in_turn(works)
    codes, step = timing["codes"].best, timing["correction"].best
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    simulated = best_of(3, simulate_batch)
    torch.set_num_threads(threads)
    print(f"\ncorrection step                        {step:6.2f} s")
    print(f"codes step                             {codes:6.2f} s   {codes / step:.1f} of a correction step")
    print(f"simulating a batch on one thread       {simulated:6.2f} s   {simulated / step:.2f} of a correction step")


@torch.no_grad()
def _print_guidance() -> None:
    prior = MotionCorrector().prior.eval()
    parallel, single = best_of(TURNS, lambda: guide_window(prior)), best_of(1, lambda: sample_one_by_one(prior))
    print(f"guiding {prior.num_coarse + prior.num_fine} codes of {BATCH_SIZE} windows        {parallel:6.2f} s")
    print(f"sampling them one by one with MONAI    {single:6.2f} s   {single / parallel:.0f} times as long")


if __name__ == "__main__":
    main()
