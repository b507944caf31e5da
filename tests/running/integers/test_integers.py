"""The time-stepped run in integers."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch_geometric import nn as pyg
from torch_geometric.data import Data

import spikegraph
from spikegraph import ConversionConfig, convert, simulate
from spikegraph.running.integers import IntegerModel, replay, to_integer

from .cases import NAMES, case


def converted(name, bits=8, **options):
    model, inputs = case(name)
    return convert(model, inputs, ConversionConfig(weight_bits=bits, **options)), inputs


def error(found, expected):
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize('name', NAMES)
def test_fine_integers_are_the_network(name):
    snn, inputs = converted(name, bits=12)
    run = to_integer(snn, *inputs, width=32, constant_bits=16).run(*inputs)
    assert error(run.output, snn(*inputs)) < 1e-3
    expected = simulate(snn, *inputs)
    assert list(run.spikes) == list(expected.spikes)
    pairs = [(run.spike_time[k], expected.spike_time[k]) for k in run.spikes]
    num_other = sum(int((a != b).sum()) for a, b in pairs)
    assert num_other <= 2e-3 * sum(a.numel() for a, _ in pairs)
    assert sum(run.saturated.values()) == 0
    assert run.num_steps == expected.num_steps
    assert run.start_step == expected.start_step


@pytest.mark.parametrize('width', [16, 24])
@pytest.mark.parametrize('name', NAMES)
def test_small_integers_are_near(name, width):
    snn, inputs = converted(name)
    integer = to_integer(snn, *inputs, width=width)
    run = integer.run(*inputs)
    assert error(run.output, snn(*inputs)) < 0.06
    most = 2 ** (width - 1) - 1
    for membrane in run.integers.values():
        assert membrane.dtype == np.int64 and np.abs(membrane).max() <= most


def test_by_hand():
    """A perceptron in Python's own integers."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)).eval()
    x = torch.rand(3, 5)
    snn = convert(model, x, ConversionConfig(weight_bits=6, num_steps=6))
    traced = to_integer(snn, x, width=16).traced(x, records=True)
    kinds = [op['op'] for op in traced.operations]
    assert kinds == ['charge', 'fire', 'charge']
    times = {'input_input': traced.written['input_input']}
    for op in traced.operations:
        if op['op'] == 'charge':
            membranes = by_hand(op, times)
            assert membranes == traced.result.integers[op['name']].tolist()
        else:
            on = np.broadcast_to(op['on'].reshape(6, -1), (6, 4)).tolist()
            times[op['name']] = np.array(
                [
                    [next((t for t in range(6) if v >= on[t][c]), 6) for c, v in row]
                    for row in map(list, map(enumerate, membranes))
                ]
            )
            assert (times[op['name']] == traced.written[op['name']]).all()


def by_hand(op, times):
    (source,) = op['sources']
    first, *rest = source['path']
    weight = first['weight'].tolist()
    bias = np.broadcast_to(op['bias'], op['shape']).tolist()
    amplitude = np.broadcast_to(source['amplitude'], times[source['spikes']].shape)
    out = []
    for row, (start, sent) in enumerate(zip(bias, amplitude.tolist(), strict=True)):
        membranes = list(start)
        for step, level in enumerate(source['levels']):
            comes = times[source['spikes']][row] == step
            if not comes.any():
                continue
            for k, weights in enumerate(weight):
                current = sum(
                    w * s for w, s, c in zip(weights, sent, comes, strict=True) if c
                )
                current = shifted(current, first['right'])
                for scale in rest:
                    factor = np.broadcast_to(scale['value'], len(weight)).tolist()[k]
                    current = shifted(current * factor, scale['right'])
                shift = np.broadcast_to(source['shifts'][step], len(weight)).tolist()[k]
                membranes[k] += shifted(current * level, shift)
        out.append(membranes)
    return out


def shifted(value, shift):
    if shift <= 0:
        return value << -shift
    return math.floor(value / 2**shift + 0.5)


@pytest.mark.parametrize('name', ['gcn', 'gat', 'gated', 'pools'])
def test_the_same_bits_whatever_else_is_in_the_batch(name):
    snn, inputs = converted(name)
    integer = to_integer(snn, *inputs)
    x, edge_index, *more = inputs
    num = len(x)
    torch.manual_seed(1)
    other = torch.rand(7, 12) * 3, torch.randint(7, (2, 20))
    both = [
        torch.cat([x, other[0]]),
        torch.cat([edge_index, other[1] + num], dim=1),
    ]
    if more:
        both.append(torch.cat([more[0], torch.full((7,), 3)]))
    alone, joint = integer.run(*inputs), integer.run(*both)
    size = alone.output.shape[0]
    assert torch.equal(joint.output[:size], alone.output)
    for key, times in alone.spike_time.items():
        found = joint.spike_time[key]
        if len(found) == num + 7:
            assert torch.equal(found[:num], times)


def test_the_same_bits_for_any_images_and_threads():
    snn, (x,) = converted('images')
    integer = to_integer(snn, x)
    expected = integer(x)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        for k in range(len(x)):
            assert torch.equal(integer(x[k : k + 1]), expected[k : k + 1])
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(integer(x.flip(0)).flip(0), expected)


def test_data_of_pyg():
    snn, (x, edge_index) = converted('gcn')
    data = Data(x=x, edge_index=edge_index)
    expected = to_integer(snn, x, edge_index)(x, edge_index)
    assert torch.equal(snn.to_integer(data)(data), expected)
    assert data.x.dtype == torch.float32


def test_edges_in_any_order():
    snn, (x, edge_index) = converted('gcn')
    integer = to_integer(snn, x, edge_index)
    order = torch.randperm(edge_index.size(1))
    assert torch.equal(integer(x, edge_index[:, order]), integer(x, edge_index))


def test_membranes_that_are_full_are_counted():
    snn, inputs = converted('gcn')
    integer = to_integer(snn, *inputs, width=16)
    assert sum(integer.run(*inputs).saturated.values()) == 0
    (name, places), *_ = integer.how.exponents.items()
    how = copy.deepcopy(integer.how)
    how.exponents[name] = places + 6
    full = IntegerModel(integer.model, how).run(*inputs)
    assert full.saturated[name] > 0
    assert np.abs(full.integers[name]).max() == 2**15 - 1
    assert error(full.output, snn(*inputs)) > error(integer(*inputs), snn(*inputs))


@pytest.mark.parametrize('name', ['gcn', 'images', 'gat'])
def test_growing_membranes(name):
    snn, inputs = converted(name)
    wide = to_integer(snn, *inputs, width=32, membrane='growing')
    narrow = to_integer(snn, *inputs, width=16, membrane='growing')
    held = to_integer(snn, *inputs, width=16)
    errors = [error(m(*inputs), snn(*inputs)) for m in (wide, held, narrow)]
    assert errors[0] < 0.05 and errors[1] < 0.06
    assert errors[2] >= 0.5 * errors[1]


def test_growing_membranes_lack_bits_where_levels_are_far_apart():
    """They have to hold the base to the power of T - 1 times their potential."""
    model, inputs = case('gcn')
    config = ConversionConfig(weight_bits=8, base=3.0, num_steps=16)
    snn = convert(model, inputs, config)
    errors = {
        membrane: error(
            to_integer(snn, *inputs, width=16, membrane=membrane)(*inputs), snn(*inputs)
        )
        for membrane in ('held', 'growing')
    }
    assert errors['held'] < 0.06 < 0.3 < errors['growing']


def test_products_are_exact():
    x = np.array([[2**40, -1, 3]])
    weight = np.array([[127, -128, 1], [2**20, 1, 1]])
    assert replay.product(x, weight).tolist() == [
        [127 * 2**40 + 128 + 3, 2**60 - 1 + 3]
    ]
    narrow = weight.clip(-128, 127).astype(np.int8)
    assert replay.product(x, narrow).tolist()[0][0] == 127 * 2**40 + 128 + 3


@pytest.mark.parametrize('shift', [-3, 0, 1, 5, 40])
def test_rounding_is_half_up(shift):
    x = np.array([-17, -16, -8, -1, 0, 1, 8, 15, 16, 17, 2**40])
    assert replay.rounded(x, shift).tolist() == [shifted(int(v), shift) for v in x]
    both = replay.rounded(x[:, None], np.array([shift, 2]))
    assert both[:, 0].tolist() == replay.rounded(x, shift).tolist()


@pytest.mark.parametrize(
    'options, match',
    [
        (dict(width=8), r"'width' to be one of 16, 24, 32 \(got 8\)"),
        (dict(width='24'), r"'width' to be one of .* \(got '24'\)"),
        (dict(membrane='leaky'), r"one of 'held', 'growing' \(got 'leaky'\)"),
        (
            dict(constant_bits=3),
            r"'constant_bits' to be an integer from 4 to 16 \(got 3",
        ),
        (dict(constant_bits=True), r'\(got True\)'),
    ],
)
def test_options(options, match):
    snn, inputs = converted('mlp')
    with pytest.raises(ValueError, match=match):
        snn.to_integer(*inputs, **options)


def test_errors():
    model, inputs = case('gcn')
    with pytest.raises(ValueError, match=r"weights of 'first' .*weight_bits=8"):
        convert(model, inputs).to_integer(*inputs)
    with pytest.raises(ValueError, match='Expected inputs, which tell how large'):
        to_integer(converted('gcn')[0])
    with pytest.raises(ValueError, match='SpikingModel .got GCNConv'):
        to_integer(pyg.GCNConv(2, 2), *inputs)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(12, 8), nn.Linear(8, 3)

    def forward(self, x):
        x = self.first(x).relu()
        return self.second(((x @ x.mT).softmax(-1) @ x).relu())


def test_what_has_no_integers_is_refused():
    x = torch.rand(2, 5, 12)
    snn = convert(Attention().eval(), x, ConversionConfig(weight_bits=8))
    with pytest.raises(NotImplementedError, match='two matrices of spikes'):
        snn.to_integer(x)


def test_relations_between_populations():
    """Biases alone, silent inputs, a graph without edges, one node."""
    snn, (x, edge_index) = converted('gcn')
    integer = to_integer(snn, x, edge_index)
    for features, edges in (
        (torch.zeros(4, 12), edge_index[:, :0]),
        (x[:1], edge_index[:, :0]),
        (x[:5], torch.tensor([[0, 0], [1, 1]])),
    ):
        found, expected = integer(features, edges), snn(features, edges)
        assert error(found, expected) < 0.06


def test_names():
    assert spikegraph.to_integer is to_integer
    assert spikegraph.IntegerModel is IntegerModel


@pytest.mark.parametrize('name', ['gcn', 'mlp', 'images', 'transformer'])
def test_thresholds_are_the_least_integers_that_reach(name):
    snn, inputs = converted(name)
    traced = to_integer(snn, *inputs).traced(*inputs)
    num = 0
    for op in traced.operations:
        if op['op'] != 'fire' or op['divisor'] is not None:
            continue
        neuron = traced.network.get_submodule(f'neurons.{op["name"]}')
        real = neuron.threshold.double().numpy()
        places = traced.result.exponents[op['membrane']]
        on = np.asarray(op['on'])
        real = real.reshape(len(real), *[1] * (on.ndim - real.ndim), *real.shape[1:])
        real = np.broadcast_to(real, on.shape)
        finite = np.isfinite(real)
        assert (np.ldexp(on.astype(float), -places)[finite] >= real[finite]).all()
        assert (np.ldexp(on - 1.0, -places)[finite] < real[finite]).all()
        num += int(finite.sum())
    assert num > 0
