"""Where to compute, and in which precision: mixed precision that also serves CPUs, as MONAI's ``amp`` does not."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from mocodis_monai.errors import InputError


def device_of(name: str) -> torch.device:
    """The device that ``--device`` asks for.

    Raises:
        InputError: it is none of auto, cpu and cuda, or cuda was asked for and there is none.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"--device {name}: allowed are auto, cpu and cuda. Use one of them.")
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise InputError("--device cuda: no CUDA GPU was found on this machine. Use --device cpu or auto.")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def mixed_precision(device: torch.device | str) -> AbstractContextManager[object]:
    """bfloat16 autocast where the hardware multiplies bfloat16; else, as on older GPUs and CPUs, full precision."""
    kind = torch.device(device).type
    native = kind == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    native = native or (kind == "cpu" and _cpu_has_bfloat16())
    return torch.autocast(kind, dtype=torch.bfloat16) if native else nullcontext()


def _cpu_has_bfloat16() -> bool:
    # torch has no public question for this; without the instruction autocast is slower than float32.
    asked = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return bool(asked and asked())
