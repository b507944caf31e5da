import re

import pytest
import torch

from spikegraph.zoo.datasets import power_law_graph
from tests.zoo.test_datasets import assert_simple_and_symmetric


@pytest.mark.parametrize('shuffle', [True, False])
@pytest.mark.parametrize(
    'num_nodes, num_edges', [(1, 0), (2, 0), (10, 11), (50, 306), (3000, 20_000)]
)
def test_graphs_are_simple(num_nodes, num_edges, shuffle):
    edge_index = power_law_graph(num_nodes, num_edges, seed=1, shuffle=shuffle)
    assert edge_index.shape == (2, 2 * num_edges) and edge_index.dtype == torch.int64
    assert_simple_and_symmetric(edge_index, num_nodes)
    key = edge_index[0] * num_nodes + edge_index[1]
    assert (key[1:] > key[:-1]).all()  # As PyG's coalesce sorts.
    if num_edges > 0:
        assert edge_index.min() >= 0 and edge_index.max() < num_nodes


def test_graph_depends_on_its_seed_only():
    torch.manual_seed(7)
    first = power_law_graph(500, 2000, seed=3)
    torch.manual_seed(8)
    assert torch.equal(power_law_graph(500, 2000, seed=3), first)
    assert not torch.equal(power_law_graph(500, 2000, seed=4), first)


@pytest.mark.parametrize('exponent', [2.2, 2.5, 3.0])
def test_degrees_follow_the_power_law(exponent):
    num_nodes = 200_000
    edge_index = power_law_graph(num_nodes, 10 * num_nodes, exponent)
    degree = edge_index[0].bincount(minlength=num_nodes)
    # Between the mean, where chance blurs it, and the cut-off.
    low, high = 60, 240
    ratio = (degree >= high).sum() / (degree >= low).sum()
    slope = ratio.log() / torch.tensor(high / low).log()
    assert 1 - slope == pytest.approx(exponent, rel=0.1)
    assert degree.max() > 20 * degree.float().mean()


def test_numbers_of_nodes_say_nothing_unless_asked():
    def correlation(edge_index):
        degree = edge_index[0].bincount(minlength=5000).float()
        return torch.stack([degree, torch.arange(5000.0)]).corrcoef()[0, 1]

    assert correlation(power_law_graph(5000, 50_000)).abs() < 0.05
    ranked = power_law_graph(5000, 50_000, shuffle=False)
    assert correlation(ranked) < -0.3
    assert ranked[0].bincount().argmax() < 50


@pytest.mark.parametrize(
    'arguments, message',
    [
        ((0, 0), "'num_nodes' to be at least 1 (got 0)"),
        (
            (10, 12),
            "'num_edges' to be 0 to 11, a quarter of the pairs of 10 nodes (got",
        ),
        ((10, -1), "'num_edges' to be 0 to 11"),
        ((10, 5, 2.0), "'exponent' to be greater than 2 and finite (got 2.0)"),
        ((10, 5, float('nan')), "'exponent' to be greater than 2 and finite (got nan)"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        power_law_graph(*arguments)
