"""Graphs of other sizes than an example, and what a network makes of them."""

import torch


def random_graph(num_nodes, num_edges, width=5, seed=0):
    """Features, many of them on a grid, edges and their weights."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(num_nodes, width, generator=generator, dtype=torch.float64)
    x[::2] = (4 * x[::2]).round() / 4
    ends = torch.randint(0, max(1, num_nodes), (2, num_edges), generator=generator)
    weight = torch.rand(num_edges, generator=generator, dtype=torch.float64)
    return x, ends, weight


def odd_graphs(width=5):
    """Small and large, sparse and dense, with self-loops, with edges that come twice,
    with isolated nodes, with one node and without edges.
    """
    graphs = [random_graph(n, e, width, 7 * n + e) for n, e in SIZES]
    x, ends, weight = random_graph(9, 20, width)
    ends[:, :6] = torch.tensor([0, 3, 3, 8, 8, 8])
    graphs.append((x, ends, weight))
    twice = torch.cat([ends, ends], 1), torch.cat([weight, 2 * weight])
    return [*graphs, (x, *twice), (x, ends.flip(0), weight)]


SIZES = [(40, 12), (7, 60), (3, 1), (2, 0), (1, 0), (1, 3)]


def relative_error(found, expected):
    """The largest difference, relative to the largest output."""
    assert found.shape == expected.shape, (found.shape, expected.shape)
    assert torch.equal(found.isnan(), expected.isnan())
    found, expected = found.nan_to_num(), expected.nan_to_num()
    if expected.numel() == 0:
        return 0.0
    return float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-9))
