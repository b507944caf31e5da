"""Neighbour sampling without PyG's compiled extensions: complete and slow."""

import torch
from torch_geometric.loader import NeighborLoader
from torch_geometric.sampler import BaseSampler, SamplerOutput


class FullSampler(BaseSampler):
    """All in-neighbours within some hops, in the order of pyg-lib: breadth
    first, each node when it is first seen, edges by destination.
    """

    def __init__(self, data, num_hops):
        self.num_hops = num_hops
        self.source = data.edge_index[0].tolist()
        self.edges = [[] for _ in range(data.num_nodes)]  # By destination.
        for edge, target in enumerate(data.edge_index[1].tolist()):
            self.edges[target].append(edge)

    def sample_from_nodes(self, index, **kwargs):
        nodes = index.node.tolist()
        local = {node: i for i, node in enumerate(nodes)}
        row, col, edges = [], [], []
        num_nodes, num_edges = [len(nodes)], []
        begin = 0
        for _ in range(self.num_hops):
            frontier = range(begin, len(nodes))
            begin = len(nodes)
            for i in frontier:
                for edge in self.edges[nodes[i]]:
                    source = self.source[edge]
                    if source not in local:
                        local[source] = len(nodes)
                        nodes.append(source)
                    row.append(local[source])
                    col.append(i)
                    edges.append(edge)
            num_nodes.append(len(nodes) - begin)
            num_edges.append(len(edges) - sum(num_edges))
        return SamplerOutput(
            node=torch.tensor(nodes),
            row=torch.tensor(row, dtype=torch.long),
            col=torch.tensor(col, dtype=torch.long),
            edge=torch.tensor(edges, dtype=torch.long),
            num_sampled_nodes=num_nodes,
            num_sampled_edges=num_edges,
            metadata=(index.input_id, index.time),
        )

    def sample_from_edges(self, index, neg_sampling=None):
        raise NotImplementedError


def full_loader(data, num_hops, **kwargs):
    """A loader of complete neighbourhoods: the fan-out is -1 in each hop."""
    return NeighborLoader(
        data,
        num_neighbors=[-1] * num_hops,
        neighbor_sampler=FullSampler(data, num_hops),
        **kwargs,
    )
