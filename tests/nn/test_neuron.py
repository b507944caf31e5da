import copy

import pytest
import torch

from spikegraph.coding import PhaseCode, Spikes
from spikegraph.kernels import reference
from spikegraph.nn import PhaseNeuron, charge, fire

CODES = [
    PhaseCode(8, 2),
    PhaseCode(15, 2**0.5),
    PhaseCode(6, 1.4, signed=True),
    PhaseCode.from_levels([1.0, 0.8, 0.3, 0.1]),
]


@pytest.mark.parametrize('code', CODES, ids=str)
def test_charge_window_leaves_the_decoded_values(code):
    values = torch.randn(40, 3, dtype=torch.float64)
    spikes = Spikes.from_values(values, code, 1.7)
    membrane = torch.zeros_like(values)
    for step in range(code.num_steps):
        membrane = charge(membrane, spikes.current(step), code, step)
    potential = membrane * float(code.levels[-1])
    assert torch.allclose(potential, spikes.decode(), rtol=1e-13)


@pytest.mark.parametrize('code', CODES, ids=str)
@pytest.mark.parametrize('scale', [1.0, torch.tensor([0.3, 1.0, 2.0]).double()])
def test_fire_window_is_the_encoder(code, scale):
    potential = torch.randn(200, 3, dtype=torch.float64) * 2
    spikes = PhaseNeuron(code, scale, activation='identity')(potential)
    raster, num_compared = reference.fire_window(potential, code, scale)
    assert raster.abs().sum(dim=0).max() == 1
    assert torch.equal(raster.bool(), spikes.raster())
    assert torch.equal(raster.sum(dim=0).to(torch.int8), spikes.polarity())
    waited = spikes.phase().clamp(max=code.num_steps - 1).long() + 1
    assert torch.equal(num_compared, waited)
    has_fired = torch.zeros_like(potential, dtype=torch.bool)
    for step in range(code.num_steps):
        now = fire(potential, code, step, has_fired, scale)
        assert torch.equal(now, raster[step])
        has_fired |= now != 0


def test_relu_in_a_signed_code_never_fires_off():
    code = PhaseCode(6, 1.4, signed=True)
    potential = torch.randn(200, 3, dtype=torch.float64)
    spikes = PhaseNeuron(code)(potential)
    assert (spikes.polarity() >= 0).all()
    expected = PhaseNeuron(code, activation='identity')(potential.relu())
    assert torch.equal(spikes.spike_time, expected.spike_time)


def test_threshold_can_be_read():
    neuron = PhaseNeuron(PhaseCode(3, 2), scale=torch.tensor([1.0, 4.0]))
    assert neuron.threshold.tolist() == [[0.75, 3.0], [0.375, 1.5], [0.1875, 0.75]]
    assert PhaseNeuron(PhaseCode(2, 2), 2).threshold.tolist() == [1.5, 0.75]


def test_node_scale_codes_each_row_relative_to_its_peak():
    neuron = PhaseNeuron(PhaseCode(4, 2), node_scale=True)
    x = torch.tensor([[0.0, 0.0], [3.0, 1.5], [0.02, 0.01]])
    assert torch.equal(neuron(x).decode(), x)
    assert neuron(x).spike_time.tolist() == [[4, 4], [0, 1], [0, 1]]


def test_state_dict_is_complete():
    neuron = PhaseNeuron(
        PhaseCode.from_levels([1.0, 0.4]), torch.tensor([1.0, 2.0]), True
    )
    other = PhaseNeuron(PhaseCode(5, 2), torch.tensor([3.0, 3.0]))
    other.load_state_dict(neuron.state_dict())
    assert other.code == neuron.code and other.node_scale
    assert torch.equal(other.scale, neuron.scale)
    for code in (
        PhaseCode(5, 1.7, threshold_shift=1.0, signed=True),
        PhaseCode.nearest(5, 1.7),
    ):
        geometric = PhaseNeuron(code)
        other = copy.deepcopy(neuron)
        other.scale = torch.tensor(1.0)
        other.load_state_dict(geometric.state_dict())
        assert other.code == code


def test_scale_errors():
    with pytest.raises(ValueError, match=r'positive and finite \(got -2\)'):
        PhaseNeuron(PhaseCode(4, 2), -2.0)
