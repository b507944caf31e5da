"""Recurrent layers, unrolled."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from spikegraph import convert
from spikegraph.nn.recurrent import SpikingGRU, SpikingLSTM, SpikingRNN
from tests.conversion.zoo import randomize
from tests.nn.exactness import CONFIG, assert_exact, real


class Model(nn.Module):
    """A layer, with an initial state where one is given."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, h=None, c=None):
        if h is None:
            return self.layer(x)
        return self.layer(x, h if c is None else (h, c))


CELLS = [nn.RNNCell(6, 5), nn.GRUCell(6, 5), nn.LSTMCell(6, 5)]
CELLS += [nn.RNNCell(6, 5, nonlinearity='relu'), nn.GRUCell(6, 5, bias=False)]


@pytest.mark.parametrize('cell', CELLS, ids=str)
@pytest.mark.parametrize('has_state', [False, True])
def test_cells(cell, has_state):
    num_states = (2 if isinstance(cell, nn.LSTMCell) else 1) * has_state
    states = [real(4, 5, seed=1 + i) for i in range(num_states)]
    assert_exact(Model(cell), real(4, 6), *states)


LAYERS = {
    'RNN': (nn.RNN(6, 4), (3, 2, 6)),
    'rectified': (nn.RNN(6, 4, 2, nonlinearity='relu', bias=False), (3, 2, 6)),
    'GRU': (nn.GRU(6, 4), (3, 2, 6)),
    'one sequence': (nn.GRU(6, 4, batch_first=True), (3, 6)),
    'deep': (nn.GRU(6, 4, 2, batch_first=True), (2, 3, 6)),
    'both ways': (nn.GRU(6, 4, bidirectional=True), (2, 3, 6)),
    'LSTM': (nn.LSTM(6, 4), (3, 2, 6)),
    'deep, both ways': (nn.LSTM(6, 3, 2, bidirectional=True), (2, 2, 6)),
    'projected': (nn.LSTM(6, 4, 2, proj_size=3, batch_first=True), (2, 3, 6)),
}


@pytest.mark.parametrize('layer, shape', LAYERS.values(), ids=LAYERS)
def test_layers(layer, shape):
    assert_exact(Model(layer), real(*shape), most=0.35)


@pytest.mark.parametrize('kind', [nn.RNN, nn.GRU, nn.LSTM])
def test_initial_states(kind):
    num_states = 2 if kind is nn.LSTM else 1
    states = [real(2, 3, 4, seed=1 + i) for i in range(num_states)]
    model = Model(kind(6, 4, bidirectional=True))
    assert_exact(model, real(2, 3, 6), *states, most=0.35)


@pytest.mark.parametrize(
    'twin, options',
    [
        (SpikingRNN, {'num_layers': 2, 'nonlinearity': 'relu'}),
        (SpikingGRU, {'bidirectional': True, 'batch_first': True}),
        (SpikingLSTM, {'proj_size': 3, 'num_layers': 2}),
    ],
)
def test_twins_are_the_layers(twin, options):
    layer = randomize(twin.ann_type(6, 5, **options))
    found, expected = twin.from_ann(layer)(real(4, 3, 6)), layer(real(4, 3, 6))
    pairs = zip(
        torch.utils._pytree.tree_leaves(found),
        torch.utils._pytree.tree_leaves(expected),
        strict=True,
    )
    assert all(torch.allclose(a, b, rtol=0, atol=1e-12) for a, b in pairs)


def test_products_of_many_factors_fit_a_byte():
    """The state is a product of three signals, of 60 phases each."""
    config = CONFIG.__class__(num_steps=60, base=1.1, compensate=None)
    assert_exact(Model(nn.LSTM(6, 4)), real(3, 2, 6), config=config, most=0.08)


def test_another_length_is_refused():
    model = randomize(Model(nn.GRU(6, 4))).eval()
    snn = convert(model, real(3, 2, 6), CONFIG)
    assert snn(real(3, 5, 6))[0].shape == (3, 5, 4)  # As many sequences as one likes.
    with pytest.raises(ValueError, match=r'3.*\(got 4'):
        snn(real(4, 2, 6))


def test_packed_sequences_are_refused():
    packed = pack_sequence([real(3, 6), real(2, 6)])
    twin = SpikingGRU.from_ann(nn.GRU(6, 4).double())
    with pytest.raises(NotImplementedError, match=r"'input'.*got a PackedSequence"):
        twin(packed)
