"""Mixed precision that also serves CPUs: MONAI's ``amp`` speaks to CUDA only."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


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
