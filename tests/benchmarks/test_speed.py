"""What the table of speed claims of the ways to compute."""

from __future__ import annotations

import pytest
import torch

from benchmarks import speed
from mocodis_monai.networks.guidance import NUM_PASSES
from mocodis_monai.precision import mixed_precision


def test_the_default_is_what_the_workflows_compute_in(monkeypatch):
    monkeypatch.setattr("mocodis_monai.precision._cpu_has_bfloat16", lambda: True)
    image = torch.ones(4, 4)
    with mixed_precision("cpu"):
        wanted = (image @ image).dtype
    with speed.DEFAULT.precision():
        assert (image @ image).dtype == wanted
    assert speed.DEFAULT.memory == torch.channels_last and not speed.DEFAULT.compiled


def test_every_way_that_is_not_compiled_gives_the_same_slices_to_the_precision_of_bfloat16(monkeypatch):
    monkeypatch.setattr(speed, "VOLUME", (64, 64, 3))
    monkeypatch.setattr(speed, "SLICES", 2)
    images = speed.moved_slices()
    results = [speed.slices_corrected(way, images)() for way in speed.WAYS if not way.compiled]
    assert not torch.equal(results[0], images)
    for result in results:
        assert (result - results[0]).square().mean().sqrt() < 2**-7  # bfloat16 keeps 8 bits


@pytest.mark.parametrize("guidance", [0.0, 1.0])
def test_a_whole_batch_of_slices_takes_few_transformer_passes(monkeypatch, guidance):
    monkeypatch.setattr(speed, "VOLUME", (64, 80, 10))
    cost = speed.correct_volume(guidance)
    assert cost.passes == (0 if guidance == 0 else NUM_PASSES + 1) <= 12
    assert cost.seconds > 0 and cost.peak_gib > 0


def test_of_several_turns_the_shortest_counts_and_the_first_call_stands_apart():
    calls = []
    works = {name: lambda name=name: calls.append(name) for name in ("a", "b")}
    timing = speed.timed_in_turn(works, turns=2)
    assert calls == ["a", "b"] * 3 and set(timing) == {"a", "b"}
