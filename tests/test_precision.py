"""Mixed precision on where the hardware has it, and off behind it."""

from __future__ import annotations

import pytest
import torch

from mocodis_monai import precision
from mocodis_monai.errors import InputError
from mocodis_monai.precision import device_of, mixed_precision


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("device", ["cpu", torch.device("cpu")])
def test_a_cpu_uses_bfloat16_only_where_it_has_the_instruction(monkeypatch, native, device):
    monkeypatch.setattr(precision, "_cpu_has_bfloat16", lambda: native)
    a = torch.ones(2, 2)
    with mixed_precision(device):
        assert (a @ a).dtype == (torch.bfloat16 if native else torch.float32)
    assert (a @ a).dtype == torch.float32


def test_a_device_of_another_name_is_refused():
    with pytest.raises(InputError, match="--device gpu: allowed are auto, cpu and cuda"):
        device_of("gpu")


def test_a_device_without_a_rule_stays_in_full_precision():
    with mixed_precision("meta"):
        assert (torch.ones(2, 2, device="meta") @ torch.ones(2, 2, device="meta")).dtype == torch.float32


def test_a_torch_that_cannot_be_asked_means_no_bfloat16(monkeypatch):
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert precision._cpu_has_bfloat16() is False
