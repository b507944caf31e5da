"""Checks that networks must pass, and what makes them fail."""

import pytest
import torch
from torch import nn

from spikegraph import ConversionConfig, convert
from spikegraph.coding import PhaseCode
from spikegraph.network.graph import Record, Ref
from spikegraph.network.network import Network
from spikegraph.network.roles import Role
from spikegraph.nn.conv import SpikingSAGEConv
from spikegraph.nn.products import Delay
from spikegraph.running.model import SpikingModel
from spikegraph.testing import assert_spiking
from tests.conversion.zoo import MODELS, Sine, make, randomize
from tests.meetings import NAMES, network

CONFIG = ConversionConfig(num_steps=6, compensate=None)


def converted(name, **kwargs):
    model, call = network(name)
    given = call if len(call) > 1 else call[0]
    return convert(model, given, CONFIG, **kwargs), call


@pytest.mark.parametrize('name', NAMES)
def test_networks_in_which_signals_meet(name):
    snn, call = converted(name)
    assert_spiking(snn, *call)


@pytest.mark.parametrize('name', MODELS)
def test_models_of_the_zoo(name, graph):
    assert_spiking(convert(make(name), graph, CONFIG), graph)


def test_analog_parts_are_found(graph):
    config = ConversionConfig(num_steps=6, allow_analog=True)
    snn = convert(randomize(Sine()), graph, config)
    with pytest.raises(AssertionError, match=r"'.*sin.*' is analog"):
        assert_spiking(snn, graph)


def test_products_of_real_values_are_found():
    """What a gate does, but on values that it has read."""
    snn, call = converted('product')
    records = []
    for record in snn.network.records:
        if record.role is Role.GATE:
            changes = dict(role=Role.AFFINE, op='call_function', target=read_product)
            record = Record(**{**vars(record), **changes})
        records.append(record)
    with pytest.raises(AssertionError, match='twice the values is not twice the ch'):
        assert_spiking(with_records(snn, records), *call)


def read_product(x, other):
    values = [v if isinstance(v, torch.Tensor) else v.decode() for v in (x, other)]
    return values[0] * values[1]


def test_gates_that_read_potentials_are_found():
    """The product of spikes and of what a population has not fired on yet."""
    snn, call = converted('product')
    records = list(snn.network.records)
    place = {record.name: i for i, record in enumerate(records)}
    gate = next(i for i, r in enumerate(records) if r.role is Role.GATE)
    args = (records[gate].args[0], Ref(place['b']))
    records[gate] = Record(**{**vars(records[gate]), 'args': args})
    with pytest.raises(AssertionError, match='reads values that are no spikes'):
        assert_spiking(with_records(snn, records), *call)


def with_records(snn, records):
    changed = Network(records, snn.network.form)
    for name in ('_modules', '_parameters', '_buffers'):
        changed.__dict__[name] = snn.network.__dict__[name]
    return SpikingModel(changed, snn.spec, snn.config, snn.report)


def test_steps_that_differ_are_found(monkeypatch):
    snn, call = converted('product')

    def stepped(self, x, other):
        return self(x, x)

    monkeypatch.setattr(Delay, 'stepped', stepped)
    with pytest.raises(AssertionError, match="spikes of 'mul' differ step"):
        assert_spiking(snn, *call)


class Squared(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = SpikingSAGEConv(4, 2)

    def forward(self, x, edge_index):
        return self.conv(x, edge_index) ** 2


def test_layers(graph):
    x, edge_index = torch.rand(60, 4), graph.edge_index
    for code in (None, PhaseCode(4, 2)):
        assert_spiking(SpikingSAGEConv(4, 2), x, edge_index, code=code)
        assert_spiking(SpikingSAGEConv(4, 2), x, edge_index, code)
        with pytest.raises(AssertionError, match='the sum over time steps'):
            assert_spiking(Squared(), x, edge_index, code=code)
