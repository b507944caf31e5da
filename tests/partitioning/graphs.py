"""Random graphs for the tests of partitions."""

import torch
from torch_geometric.data import Data, HeteroData

SIZES = [(0, 0), (1, 0), (1, 3), (5, 0), (7, 30), (63, 400), (200, 900)]


def random_graph(num_nodes, num_edges, seed=0):
    """With loops, twins and isolated nodes."""
    generator = torch.Generator().manual_seed(seed)
    high = max(1, num_nodes - num_nodes // 8)
    edge_index = torch.randint(high, (2, num_edges), generator=generator)
    return Data(
        x=torch.rand(num_nodes, 3, generator=generator),
        y=torch.arange(num_nodes) % 4,
        train_mask=torch.rand(num_nodes, generator=generator) < 0.5,
        edge_index=edge_index,
        edge_attr=torch.rand(num_edges, 2, generator=generator),
    )


def random_hetero(seed=0, num_papers=40, num_authors=25):
    generator = torch.Generator().manual_seed(seed)

    def edges(num_sources, num_targets, num):
        source = torch.randint(num_sources, (num,), generator=generator)
        target = torch.randint(num_targets, (num,), generator=generator)
        return torch.stack([source, target])

    data = HeteroData()
    data['paper'].x = torch.rand(num_papers, 4, generator=generator)
    data['paper'].y = torch.arange(num_papers)
    data['author'].x = torch.rand(num_authors, 4, generator=generator)
    data['author', 'writes', 'paper'].edge_index = edges(num_authors, num_papers, 90)
    data['paper', 'cites', 'paper'].edge_index = edges(num_papers, num_papers, 120)
    data['paper', 'rev_writes', 'author'].edge_index = edges(
        num_papers, num_authors, 50
    )
    for edge_type in data.edge_types:
        num = data[edge_type].edge_index.size(1)
        data[edge_type].edge_attr = torch.rand(num, 2, generator=generator)
    return data


def assert_same(left, right):
    """All attributes of data, but for the number of nodes."""
    assert type(left) is type(right)
    a, b = flat(left), flat(right)
    assert a.keys() == b.keys()
    for key, value in a.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == b[key].dtype, key
            value, other = value.to_dense(), b[key].to_dense()
            assert torch.equal(value, other), key
        else:
            assert value == b[key] and type(value) is type(b[key]), key


def flat(data):
    return {
        (getattr(store, '_key', None), name): value
        for store in data.stores
        for name, value in store.items()
        if name != 'num_nodes'
    }
