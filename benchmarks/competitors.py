"""What users run in place of spikes: GCN-normalised sums over neighbours, in every
form at hand. None of it is code of the library.

.. math::
    y_i = d_i^{-1/2} \\sum_j d_j^{-1/2} x_j, \\quad d_i = |\\mathcal{N}(i)| + 1

Weights of edges and factors of nodes are computed beforehand, and 8-bit rows are
packed beforehand, with the factor of their node in them where that is sooner.
"""

import contextlib
import time
import warnings
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from memory import available_memory
from torch import Tensor
from torch_geometric.nn import SimpleConv
from torch_geometric.nn.conv.gcn_conv import gcn_norm
from torch_geometric.utils import to_torch_csr_tensor

EDGE_INDEX = 'PyG edge_index'
SHARE = 0.8  # Of the available memory that a competitor may take.
CHECKED = 500  # Nodes.


@dataclass
class Graph:
    """A graph with its self-loops, in the forms that competitors read."""

    edge_index: Tensor  # As PyG leaves it: self-loops at the end.
    weight: Tensor  # [E]
    rowptr: Tensor
    col: Tensor  # Sorted by target.
    target: Tensor
    sorted_weight: Tensor
    factor: Tensor  # [N, 1]

    @classmethod
    def from_edges(cls, edge_index, num_nodes):
        edge_index, weight = gcn_norm(edge_index, None, num_nodes)
        order = edge_index[1].sort(stable=True).indices
        degree = edge_index[1].bincount(minlength=num_nodes)
        return cls(
            edge_index,
            weight,
            torch.cat([degree.new_zeros(1), degree.cumsum(0)]),
            edge_index[0][order],
            edge_index[1][order],
            weight[order],
            degree.float().pow(-0.5).view(-1, 1),
        )

    def csr(self, dtype):
        rowptr, col = self.rowptr.to(dtype), self.col.to(dtype)
        size = (len(self.factor),) * 2
        with _new_layouts():
            return torch.sparse_csr_tensor(rowptr, col, self.sorted_weight, size)


def adjacency_matrix(edge_index, num_nodes):
    """The transposed adjacency, without self-loops, as PyG's layers take it."""
    with _new_layouts():
        return to_torch_csr_tensor(edge_index.flip(0), size=(num_nodes, num_nodes))


@contextlib.contextmanager
def _new_layouts():
    """Keeps quiet that sparse layouts are new, of which PyTorch warns."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)
        yield


def sums(graph, x):
    """For each competitor its variants: what runs it, and the bytes that takes on
    top of input and output. The first of PyG is what GCNConv does."""
    conv, factor = SimpleConv('sum'), graph.factor
    by_target = torch.stack([graph.col, graph.target])
    per_node, per_edge = (4 * n * x.size(1) for n in (len(x), len(graph.col)))
    indices = {
        t: (graph.col.to(t), graph.rowptr.to(t)) for t in (torch.int64, torch.int32)
    }
    bags, byte_bags, matrices = {}, {}, {}
    weight = graph.sorted_weight
    rows = torch.ops.quantized.embedding_bag_byte_prepack(x)
    scaled_rows = torch.ops.quantized.embedding_bag_byte_prepack(factor * x)
    for dtype, (col, rowptr) in indices.items():
        name = str(dtype).removeprefix('torch.')
        adj = graph.csr(dtype)
        matrices[name] = (lambda adj=adj: conv(x, adj), 0)
        index = (col, rowptr)
        bags[f'{name}, weights of edges'] = (
            lambda index=index: embedding_bag(x, *index, weight),
            0,
        )
        bags[f'{name}, factors of nodes'] = (
            lambda index=index: embedding_bag(factor * x, *index).mul_(factor),
            per_node,
        )
        byte_bags[f'{name}, weights of edges'] = (
            lambda index=index: byte_embedding_bag(rows, *index, weight),
            0,
        )
        byte_bags[f'{name}, factors of nodes'] = (
            lambda index=index: byte_embedding_bag(scaled_rows, *index).mul_(factor),
            0,
        )
    return {
        EDGE_INDEX: {
            'weights of edges': (
                lambda: conv(x, graph.edge_index, graph.weight),
                2 * per_edge,
            ),
        },
        f'{EDGE_INDEX}, best form': {
            'sorted by target, weights of edges': (
                lambda: conv(x, by_target, weight),
                2 * per_edge,
            ),
            'sorted by target, factors of nodes': (
                lambda: factor * conv(factor * x, by_target),
                per_edge + 2 * per_node,
            ),
        },
        'torch.sparse CSR': matrices,
        'embedding_bag': bags,
        '8-bit embedding_bag': byte_bags,
    }


def embedding_bag(x, col, rowptr, weight=None):
    return F.embedding_bag(
        col, x, rowptr, mode='sum', per_sample_weights=weight, include_last_offset=True
    )


def byte_embedding_bag(rows, col, rowptr, weight=None):
    return torch.ops.quantized.embedding_bag_byte_rowwise_offsets(
        rows, col, rowptr, False, 0, False, weight, None, True
    )


def sums_of_some(edge_index, spikes):
    """Some nodes, those with most neighbours among them, and the sums of what is
    sent to them in float64. There are no self-loops yet."""
    source, target = edge_index
    degree = target.bincount(minlength=len(spikes.spike_time)) + 1
    order = torch.randperm(len(degree), generator=torch.Generator().manual_seed(0))
    rows = torch.cat([order[:CHECKED], degree.topk(min(3, len(degree))).indices])
    is_row = torch.zeros(len(degree), dtype=torch.bool)
    is_row[rows] = True
    some = is_row[target].nonzero().view(-1)
    source, target = source[some], target[some]
    factor, expected = degree.double().rsqrt(), []
    for row in rows:
        col = torch.cat([source[target == row], row.view(1)])
        expected.append(factor[row] * (factor[col] @ spikes[col].decode().double()))
    return rows, torch.stack(expected)


def relative_error(found, rows, expected, at_most=1e-4):
    """The relative error of some sums in norm; none may be off by more than a part
    of the largest of its node."""
    difference = (found[rows].double() - expected).abs()
    assert (difference <= at_most * expected.abs().amax(dim=1, keepdim=True)).all()
    return float(difference.norm() / expected.norm())


def pick(variants, check):
    """Checks variants and finds the soonest: its name, its error and the seconds of
    all of them; and what would take too much memory, and why."""
    seconds, errors, skipped = {}, {}, {}
    for name, (run, num_bytes) in variants.items():
        needed, there = num_bytes / 1e9, available_memory() / 1e9
        if needed > SHARE * there:
            skipped[name] = f'takes {needed:.1f} GB; {there:.1f} GB are available'
            continue
        errors[name] = check(run())
        start = time.perf_counter()
        run()
        seconds[name] = time.perf_counter() - start
    best = min(seconds, key=seconds.get, default=None)
    return best, errors.get(best), seconds, skipped
