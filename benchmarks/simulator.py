"""Our simulator beside TorchIO's RandomMotion: speed, peak memory, and accuracy against a closed form.

    pip install -e ".[bench]"
    python -m benchmarks.simulator                    # 2D 256x256 and 3D 181x217x181; 2, 4, 8 and 16 poses
    python -m benchmarks.simulator --threads 1 --poses 8

Both get the same volume, motion, lines and threads, in one process, by turns; times are the best of several. The object
is a few ellipses (ellipsoids) whose Fourier transform is known in closed form in every pose, so that the exact result
of the acquisition is known. TorchIO fills the spectrum from one edge to the other along the last axis, a contiguous
segment for each pose, with the unmoved object in the segment after the middle: that is a linear order, and ours is
given the same. TorchIO returns the real part, which is what is compared; errors are relative, root mean square.
TorchIO turns the object about the physical origin, which is put into the centre of the field of view.
"""

from __future__ import annotations

import ctypes
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
import torch
import torchio
import typer
from torch import Tensor
from torchio.transforms.augmentation.intensity.random_motion import Motion

from mocodis_monai.motion import Acquisition, RigidTrajectory, simulate_motion, to_image
from mocodis_monai.motion.trajectory import rotation_matrices

SHAPES = ((256, 256), (181, 217, 181))
MAX_ROTATION_DEG, MAX_TRANSLATION_MM = 5.0, 3.0
# Centre, radii (both as shares of half the field of view) and intensity of the ellipsoids; 2D uses the last two axes.
OBJECT = (
    ((0.0, 0.0, 0.0), (0.66, 0.72, 0.63), 1.0),
    ((0.1, -0.25, 0.12), (0.21, 0.24, 0.17), 0.6),
    ((-0.2, 0.3, -0.1), (0.15, 0.12, 0.21), -0.4),
)
SAMPLING_INTERVAL_S = 0.002


class Case(NamedTuple):
    """The same acquisition for both.

    Attributes:
        image: the object at rest, float32.
        trajectory: pose of every segment.
        acquisition: the segments.
        torchio_motion: TorchIO's transform with the same poses and times.
        exact: real part of the result, from the closed form, float32.
    """

    image: Tensor
    trajectory: RigidTrajectory
    acquisition: Acquisition
    torchio_motion: Motion
    exact: Tensor


class Outcome(NamedTuple):
    """What one simulator did."""

    seconds: float
    peak_gib: float
    error: float


def make_case(shape: tuple[int, ...], poses: int, seed: int = 0) -> Case:
    """Poses drawn evenly up to :data:`MAX_ROTATION_DEG` and :data:`MAX_TRANSLATION_MM`; 1 mm voxels."""
    rng = np.random.RandomState(seed)
    dims, moves = len(shape), poses - 1
    degrees = rng.uniform(-MAX_ROTATION_DEG, MAX_ROTATION_DEG, (moves, 3))
    translation = rng.uniform(-MAX_TRANSLATION_MM, MAX_TRANSLATION_MM, (moves, 3))
    if dims == 2:
        # A slice is a volume whose first axis has one voxel: TorchIO would cut a last axis of one voxel into segments.
        degrees[:, 1:], translation[:, 0] = 0.0, 0.0
    times = np.arange(1, poses) / poses
    moved = _trajectory(degrees, translation, dims)
    rows = list(range(poses))
    late = (times > 0.5).nonzero()[0]
    middle = int(late.min()) if len(late) else poses - 1
    rows[0], rows[middle] = rows[middle], rows[0]
    trajectory = RigidTrajectory(*(part[rows] for part in moved))
    ends = (shape[-1] * times).astype(int)
    shot = torch.from_numpy(np.searchsorted(ends, np.arange(shape[-1]), side="right"))
    acquisition = Acquisition((dims - 1,), None, shot, torch.zeros_like(shot))
    still = RigidTrajectory(*(torch.zeros_like(part[:1]) for part in trajectory))
    transform = Motion(degrees=degrees, translation=translation, times=times, image_interpolation="linear")
    return Case(
        closed_form(shape, still, torch.zeros_like(shot)),
        trajectory,
        acquisition,
        transform,
        closed_form(shape, trajectory, shot),
    )


def _trajectory(degrees: np.ndarray, translation: np.ndarray, dims: int) -> RigidTrajectory:
    """Rest, then the motion of the object under TorchIO's parameters, in our convention.

    TorchIO looks each place x of the result up at M x + t, in coordinates whose first two axes point the other way: the
    object moves from p to M^-1 (p - t).
    """
    flip = np.diag([-1.0, -1.0, 1.0])
    angles, shifts = [np.zeros(3)], [np.zeros(3)]
    for turn, shift in zip(degrees, translation, strict=True):
        euler = sitk.Euler3DTransform()
        euler.SetRotation(*np.radians(turn).tolist())
        back = flip @ np.array(euler.GetMatrix()).reshape(3, 3).T @ flip
        # The angles of R_2 R_1 R_0, see RigidTrajectory.
        angle = (math.atan2(back[2, 1], back[2, 2]), -math.asin(back[2, 0]), math.atan2(back[1, 0], back[0, 0]))
        angles.append(np.degrees(angle))
        shifts.append(-back @ flip @ shift)
    # In a slice, a turn about the axis across it is the one angle.
    kept = slice(0, 1) if dims == 2 else slice(0, 3)
    return RigidTrajectory(
        torch.from_numpy(np.stack(shifts)[:, 3 - dims :].copy()), torch.from_numpy(np.stack(angles)[:, kept].copy())
    )


def closed_form(shape: tuple[int, ...], trajectory: RigidTrajectory, shot_of_line: Tensor) -> Tensor:
    """Real part of the acquired object, from its transform: lines of the last axis, each in the pose of its shot."""
    dims = len(shape)
    half = torch.tensor(shape, dtype=torch.float64) / 2
    # The centre of the field of view, (N - 1) / 2, seen from the image's origin N // 2.
    middle = torch.tensor([(size - 1) / 2 - size // 2 for size in shape], dtype=torch.float64)
    axes = [(torch.arange(size, dtype=torch.float64) - size // 2) / size for size in shape]
    kspace = torch.zeros(shape, dtype=torch.complex64)
    for number, (shift, rotation) in enumerate(
        zip(trajectory.translation_mm, rotation_matrices(trajectory.rotation_deg), strict=True)
    ):
        lines = (shot_of_line == number).nonzero()[:, 0]
        k = torch.stack(torch.meshgrid(*axes[:-1], axes[-1][lines], indexing="ij"), -1)
        for centre, radii, intensity in OBJECT:
            radii_px = torch.tensor(radii[-dims:], dtype=torch.float64) * half
            place = rotation @ (torch.tensor(centre[-dims:], dtype=torch.float64) * half) + shift + middle
            spectrum = intensity * radii_px.prod() * _unit_ball((k @ rotation * radii_px).norm(dim=-1), dims)
            kspace[..., lines] += torch.polar(spectrum, -2 * math.pi * (k @ place)).to(kspace)
    return to_image(kspace, range(-dims, 0)).real / math.sqrt(math.prod(shape))


def _unit_ball(q: Tensor, dims: int) -> Tensor:
    """Fourier transform of the unit disc or ball at radial frequency ``q``."""
    q = q.clamp_min(1e-4)
    x = 2 * math.pi * q
    return torch.special.bessel_j1(x) / q if dims == 2 else (x.sin() - x * x.cos()) / (2 * math.pi**2 * q**3)


def ours(case: Case) -> Tensor:
    """Real part of our result."""
    return simulate_motion(case.image, case.trajectory, case.acquisition, [1.0] * case.image.ndim).real


def theirs(case: Case) -> Tensor:
    """TorchIO's result."""
    volume = case.image if case.image.ndim == 3 else case.image[None]
    affine = np.eye(4)
    affine[:3, 3] = [-(size - 1) / 2 for size in volume.shape]
    moved = case.torchio_motion(torchio.ScalarImage(tensor=volume[None], affine=affine)).data[0]
    return moved.reshape(case.image.shape)


def measure(case: Case, simulators: tuple[Callable[[Case], Tensor], ...], repeats: int) -> tuple[Outcome, ...]:
    """Run the simulators by turns: the first round for error and peak memory, the others for the time."""
    peaks, errors = [], []
    for simulate in simulators:
        with PeakMemory() as memory:
            result = simulate(case)
        peaks.append(memory.gib)
        errors.append(((result - case.exact).norm() / case.exact.norm()).item())
    times = [[_seconds(simulate, case) for simulate in simulators] for _ in range(repeats)]
    return tuple(map(Outcome, np.min(times, axis=0).tolist(), peaks, errors))


def _seconds(simulate: Callable[[Case], Tensor], case: Case) -> float:
    start = time.perf_counter()
    simulate(case)
    return time.perf_counter() - start


class PeakMemory:
    """Largest resident memory during a ``with`` block beyond that at its start, in GiB; read every 2 ms (Linux)."""

    def __enter__(self) -> PeakMemory:
        # Memory that earlier work has freed, but the C library kept, would otherwise be used again unseen.
        ctypes.CDLL(None).malloc_trim(0)
        self._start = self._largest = _resident_bytes()
        self._done = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watcher.join()
        self.gib = (self._largest - self._start) / 2**30

    def _watch(self) -> None:
        while not self._done.wait(SAMPLING_INTERVAL_S):
            self._largest = max(self._largest, _resident_bytes())


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def line(shape: tuple[int, ...], poses: int, our: Outcome, their: Outcome) -> str:
    """One case in a line that a person and a script can read."""
    name = f"{len(shape)}D {'x'.join(map(str, shape))}, {poses} poses"
    return (
        f"{name}: {their.seconds / our.seconds:.1f}x faster (ours {our.seconds:.3g} s, TorchIO {their.seconds:.3g} s; "
        f"peak memory {our.peak_gib:.2f} and {their.peak_gib:.2f} GiB; error {our.error:.2%} and {their.error:.2%})"
    )


def main(
    threads: int = typer.Option(2, help="Threads of both."),
    poses: list[int] = typer.Option([2, 4, 8, 16], help="Number of poses; may be given more than once."),
    repeats: int = typer.Option(3, help="Timed rounds of a volume; a slice gets ten times as many."),
) -> None:
    """Print a line per case, and our cost of a further pose."""
    torch.set_num_threads(threads)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
    for shape in SHAPES:
        seconds = []
        for count in poses:
            rounds = repeats if len(shape) == 3 else 10 * repeats
            our, their = measure(make_case(shape, count), (ours, theirs), rounds)
            print(line(shape, count, our, their), flush=True)
            seconds.append(our.seconds)
        if len(poses) > 1:
            steps = np.diff(seconds) / np.diff(poses)
            print(f"{len(shape)}D, ours, s per further pose: " + ", ".join(f"{step:.3g}" for step in steps), flush=True)


if __name__ == "__main__":
    typer.run(main)
