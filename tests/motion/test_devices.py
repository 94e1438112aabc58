"""Every step must stay on the device of the image; no GPU is needed to see that two devices meet."""

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map, tree_map_only

from mocodis_monai import motion as m

HERE, THERE = torch.device("cpu"), torch.device("cuda", 0)
CASES = {  # spatial shape, phase-encode axes, slice axis, family
    "2d": ((12, 10), (1,), None, "drift"),
    "3d": ((12, 10, 9), (1,), None, "drift"),
    "slices": ((12, 10, 9), (0,), 1, "drift"),
    "two axes": ((12, 10, 9), (2, 0), None, "drift"),
    "deformed slice": ((12, 10), (1,), None, "breathing"),
    "deformed volume": ((12, 10, 9), (1,), None, "peristalsis"),
    "deformed slices": ((12, 10, 9), (0,), 1, "breathing"),
}


class TwoDevices(TorchFunctionMode):
    """Tagged tensors and what is made of them say they are THERE; of others they meet only scalars and indices."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        devices = [THERE if hasattr(tensor, "there") else HERE for tensor in tensors]
        if func == torch.Tensor.device.__get__:
            return devices[0]
        asked = [value for value in (*args, *kwargs.values()) if isinstance(value, torch.device)]
        result_device = [*asked, THERE if THERE in devices else HERE][0]
        if func in (torch.Tensor.to, torch.Tensor.cpu):
            result_device = HERE if func is torch.Tensor.cpu else [*asked, *devices[1:], *devices][0]
        elif THERE in devices:
            met = 1 if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) else len(tensors)
            here = [tensor for tensor in tensors[:met] if tensor.ndim and not hasattr(tensor, "there")]
            assert not here and func is not torch.Tensor.numpy, f"{func}: {here} of {tensors}"
        assert result_device == HERE or kwargs.get("generator") is None, f"{func}: a generator that is not there"
        args, kwargs = tree_map(lambda leaf: HERE if isinstance(leaf, torch.device) else leaf, (args, kwargs))
        result = func(*args, **kwargs)
        result = result.clone() if devices and result is tensors[0] and result_device != devices[0] else result
        if result_device == THERE:
            tree_map_only(torch.Tensor, lambda tensor: setattr(tensor, "there", True), result)
        return result


def acquired(image, case, gradient):
    """What simulation, target and score are of an image on any device; all that is given with it is on the CPU."""
    (shape, axes, slice_axis, family), rng = CASES[case], np.random.RandomState(0)
    plan = m.plan_acquisition(shape, 3, "random", axes, slice_axis, rng=rng)
    motion = m.sample_motion(family, plan.num_shots, len(shape), rng).scaled(0.3)
    motion[0].requires_grad_(gradient)
    receiver = m.Receiver(m.random_phase(shape, rng, 1.0), m.coil_maps(2, shape), 0.01)
    scan = (motion, plan, (1.0, 1.2, 0.9)[: len(shape)])
    plain = m.simulate_motion(image, *scan)
    coils = m.simulate_motion(image, *scan, receiver, m.t2_decay(plan.num_echoes, 5, 50), torch.manual_seed(0))
    score = m.motion_severity(motion, plan, m.line_energy(image, plan, len(shape)), image)
    return score, plain, coils, m.coregistered_target(image, plain, *scan).image, m.combine(coils, receiver.coil_maps)


@pytest.mark.parametrize("gradient", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_everything_runs_on_the_device_of_the_image(case, gradient):
    image = torch.rand(2, *CASES[case][0], generator=torch.manual_seed(0))
    expected_score, *expected = acquired(image, case, gradient)
    with TwoDevices():
        score, *images = acquired(image.to(THERE), case, gradient)
        assert [each.device for each in images] == [THERE] * 4
    assert score == expected_score and all(map(torch.equal, images, expected))


def test_two_devices_that_meet_are_seen():
    with TwoDevices():
        there = torch.ones(3, device=THERE)
        with pytest.raises(AssertionError, match="add"):
            there + torch.arange(3)
        assert (there * torch.tensor(2.0))[torch.arange(2)].device == THERE
