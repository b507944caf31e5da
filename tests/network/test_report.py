"""What a report says, and where signals meet."""

import json

import pytest
import torch
from torch import nn

from spikegraph import ConversionConfig, convert
from spikegraph.formatting import _windows
from spikegraph.network.report import ConversionReport, ProductReport
from spikegraph.running.windows import windows_of
from spikegraph.schema import from_json, to_json
from tests.conversion.zoo import make
from tests.meetings import network

CONFIG = ConversionConfig(num_steps=6, compensate=None)


def converted(name):
    model, call = network(name)
    return convert(model, call if len(call) > 1 else call[0], CONFIG), call


def test_products_of_elements():
    """A line for each pair of neurons, also of one that meets many."""
    snn, call = converted('product')
    (product,) = snn.report.products.values()
    a, b = snn.neurons['relu'].code, snn.neurons['sigmoid'].code
    assert product.num_delays == len(call[0]) * 4
    assert product.longest_delay == min(a.num_steps, b.num_steps) - 1
    assert product.num_steps == a.num_steps + b.num_steps - 1 == snn.pipelined_steps
    assert snn.report.relays == []
    lines = str(snn.report).splitlines()
    assert 'products      mul (36 delay lines of up to 5 steps)' in lines
    assert not any(line.startswith('relays') for line in lines)


def test_products_of_matrices():
    snn, _ = converted('attention')
    products = snn.report.products
    assert {k: p.num_delays for k, p in products.items()} == {
        'matmul': 9 * 4 * 9,
        'matmul_1': 9 * 9 * 4,
    }
    assert snn.report.relays == ['relay_q', 'relay_k', 'relay_v']
    assert 'relays        relay_q, relay_k, relay_v' in str(snn.report).splitlines()


def test_products_along_edges():
    """As many as edges, heads and channels, self-loops included; of the last layer, the
    weights come behind the sums.
    """
    snn, (_, edge_index) = converted('edges')
    num_edges = int((edge_index[0] != edge_index[1]).sum()) + 9
    found = [p.num_delays for p in snn.report.products.values()]
    assert found == [num_edges * 2 * 4, num_edges * 8]


def test_networks_without_products(graph):
    report = convert(make('GCN'), graph).report
    assert report.products == {} and report.relays == []
    assert 'products' not in str(report) and 'relays' not in str(report)


def test_many_are_counted():
    product, names = ProductReport(1000, 15, 31), [f'relay_{i}' for i in range(9)]
    products = {f'mul_{i}': product for i in range(9)}
    text = str(ConversionReport('Net', relays=names, products=products))
    assert 'products      9 gates (9,000 delay lines of up to 15 steps)' in text
    assert 'relays        9 populations' in text


@pytest.mark.parametrize('name', ['product', 'edges'])
def test_round_trip(name):
    report = converted(name)[0].report
    held = json.loads(json.dumps(report.to_dict()))
    assert ConversionReport.from_dict(held) == report
    held = json.loads(json.dumps(to_json(report)))
    assert from_json(ConversionReport, held, 'report') == report


@pytest.mark.parametrize(
    'latency, pipelined, expected',
    [
        (48, 16, '2 populations and the read-out, 16 steps each'),
        (32, 16, '1 in a row of 2 populations and the read-out, 16 steps each'),
        (63, 31, '2 populations and the read-out, windows of up to 31 steps'),
        (47, 16, '2 populations and the read-out, windows of up to 16 steps'),
    ],
)
def test_windows(latency, pipelined, expected):
    summary = dict(latency_steps=latency, pipelined_steps=pipelined, populations=2)
    assert _windows(summary, 16) == expected


@pytest.mark.parametrize('name', ['product', 'attention', 'edges'])
def test_latency_holds_all_windows(name):
    snn, call = converted(name)
    found = windows_of(snn.network).values()
    assert snn.latency_steps == max(w.end for w in found) + 6
    longest = max(p.num_steps for p in snn.report.products.values())
    assert snn.pipelined_steps >= longest > 6  # Raw scores may take longer.
    assert torch.isfinite(snn(*call)).all()


def test_activations_are_counted_by_what_they_are():
    class Named(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)
            self.add_module("input 'x'", nn.ReLU())

        def forward(self, x):
            return self.b(self.get_submodule("input 'x'")(self.a(x)).tanh())

    report = convert(Named().eval(), torch.rand(20, 4)).report
    assert any(p.replaced.startswith("input 'x' (") for p in report.populations)
    assert [p.encodes for p in report.populations] == [True, False, False]
    assert report.num_activations == 2
    assert ConversionReport.from_dict(report.to_dict()) == report
