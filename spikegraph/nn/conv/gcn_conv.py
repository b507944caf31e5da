from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv
from torch_geometric.nn.inits import glorot, zeros

from spikegraph.coding import Spikes
from spikegraph.kernels import Adjacency, aggregate, gcn_adjacency
from spikegraph.nn.layer import Operation, SpikingLayer, check_width, values_of


class SpikingGCNConv(SpikingLayer):
    r"""The graph convolution of the `"Semi-supervised Classification with
    Graph Convolutional Networks" <https://arxiv.org/abs/1609.02907>`_ paper on
    spikes.

    .. math::
        \mathbf{V} = \mathbf{\hat{D}}^{-1/2} \mathbf{\hat{A}}
        \mathbf{\hat{D}}^{-1/2} \hat{\mathbf{X}} \mathbf{\Theta} + \mathbf{b}

    The normalisation is kept as one factor per source and one per destination
    node: without edge weights, spikes are purely accumulated along the edges.
    With :obj:`fold_degree`, :func:`spikegraph.convert` moves the factors into
    the thresholds of the populations around the layer.

    Args:
        in_channels (int): Size of each input sample.
        out_channels (int): Size of each output sample.
        improved (bool, optional): If set to :obj:`True`, self-loops weigh 2,
            as in PyG. (default: :obj:`False`)
        cached (bool, optional): If set to :obj:`True`, the first graph seen is
            used ever after, as in PyG. (default: :obj:`False`)
        add_self_loops (bool, optional): If set to :obj:`False`, no self-loops
            are added. (default: :obj:`normalize`)
        normalize (bool, optional): Whether to normalise by degree.
            (default: :obj:`True`)
        bias (bool, optional): If set to :obj:`False`, there is no bias.
            (default: :obj:`True`)
        flow (str, optional): As in PyG. (default: :obj:`"source_to_target"`)
        fold_degree (bool, optional): Whether the source and destination
            factors are part of the thresholds of the populations before and
            after (see :class:`DegreeFactor`), and not multiplications of this
            layer. (default: :obj:`False`)

    Raises:
        ValueError: If self-loops are asked for without normalisation, or if
            input or graph have the wrong shape or type.

    Shapes:
        - **input:** spikes or values :math:`(N, F_{in})`, edge indices
          :math:`(2, E)` or sparse adjacency :math:`(N, N)`, edge weights
          :math:`(E)` *(optional)*
        - **output:** potentials :math:`(N, F_{out})`
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        improved: bool = False,
        cached: bool = False,
        add_self_loops: bool | None = None,
        normalize: bool = True,
        bias: bool = True,
        flow: str = 'source_to_target',
        fold_degree: bool = False,
    ) -> None:
        super().__init__()
        if add_self_loops is None:
            add_self_loops = normalize
        if add_self_loops and not normalize:
            raise ValueError(
                "Expected 'add_self_loops' to be False where 'normalize' is False, as "
                f'in PyG (got {add_self_loops})'
            )
        if flow not in ('source_to_target', 'target_to_source'):
            raise ValueError(
                "Expected 'flow' to be 'source_to_target' or 'target_to_source' "
                f'(got {flow!r})'
            )
        self.in_channels = in_channels
        self.out_channels = out_channels
        self.improved = improved
        self.cached = cached
        self.add_self_loops = add_self_loops
        self.normalize = normalize
        self.flow = flow
        self.fold_source = self.fold_target = fold_degree
        self._cached_adjacency: Adjacency | None = None
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws new parameters, as PyG does, and forgets a cached graph."""
        glorot(self.weight)
        zeros(self.bias)
        self.clear_cache()

    def clear_cache(self) -> None:
        """Forgets the graph that :obj:`cached` kept."""
        self._cached_adjacency = None

    @classmethod
    def from_ann(cls, conv: GCNConv) -> SpikingGCNConv:
        """Takes the parameters and options of PyG's layer."""
        if conv.aggr != 'add' or conv.node_dim != -2:
            raise NotImplementedError(
                "Expected 'aggr' to be 'add' and 'node_dim' to be -2 (got "
                f'{conv.aggr!r} and {conv.node_dim})'
            )
        layer = cls(
            conv.in_channels,
            conv.out_channels,
            improved=conv.improved,
            cached=conv.cached,
            add_self_loops=conv.add_self_loops,
            normalize=conv.normalize,
            bias=conv.bias is not None,
            flow=conv.flow,
        )
        layer.set_parameters(conv.lin.weight, conv.bias)
        return layer

    def forward(
        self,
        x: Spikes | Tensor,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
    ) -> Tensor:
        """Returns the potentials that the input leaves behind."""
        values, adjacency = self._prepare(x, edge_index, edge_weight)
        out = self._propagate(adjacency, values @ self.weight.t())
        return out if self.bias is None else out + self.bias

    def features(
        self,
        x: Spikes | Tensor,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
    ) -> Tensor:
        r"""The aggregated input, as :math:`A (X \Theta) = (A X) \Theta`."""
        values, adjacency = self._prepare(x, edge_index, edge_weight)
        return self._propagate(adjacency, values)

    def operations(
        self,
        x: Spikes | Tensor,
        edge_index: Tensor,
        edge_weight: Tensor | None = None,
    ) -> list[Operation]:
        """A transform, an aggregation, and scalings unless folded."""
        adjacency = self.adjacency(edge_index, edge_weight, x.shape[0], x.dtype)
        width, num_inputs = self.out_channels, x.shape.numel()
        weighted = '' if adjacency.weight is None else 'weighted '
        operations = [
            Operation('transform', num_inputs * width, width, self.weight.numel()),
            Operation(f'{weighted}aggregation', adjacency.num_edges * width),
        ]
        if adjacency.factor is not None:
            num_factors = (not self.fold_source) + (not self.fold_target)
            num = num_factors * adjacency.num_nodes * width
            operations.append(Operation('scaling', num))
        return operations

    def adjacency(
        self,
        edge_index: Tensor,
        edge_weight: Tensor | None,
        num_nodes: int,
        dtype: torch.dtype,
    ) -> Adjacency:
        """The prepared graph this layer aggregates over."""
        cached = self._cached_adjacency
        if cached is not None:
            if cached.num_nodes != num_nodes:
                raise ValueError(
                    f"Expected 'x' to have {cached.num_nodes} rows, one for each node of "
                    f"the graph that 'cached' keeps (got {num_nodes}); use 'clear_cache()'"
                )
            return cached
        adjacency = gcn_adjacency(
            edge_index,
            edge_weight,
            num_nodes,
            dtype,
            normalize=self.normalize,
            improved=self.improved,
            add_self_loops=self.add_self_loops,
            flow=self.flow,
        )
        if self.cached:
            self._cached_adjacency = adjacency
        return adjacency

    def _prepare(
        self, x: Spikes | Tensor, edge_index: Tensor, edge_weight: Tensor | None
    ) -> tuple[Tensor, Adjacency]:
        if len(x.shape) != 2:
            raise ValueError(
                "Expected 'x' to have shape [num_nodes, in_channels] "
                f'(got {list(x.shape)})'
            )
        check_width(x, self.in_channels, self)
        adjacency = self.adjacency(edge_index, edge_weight, x.shape[0], x.dtype)
        return values_of(x), adjacency

    @staticmethod
    def _propagate(adjacency: Adjacency, x: Tensor) -> Tensor:
        if adjacency.factor is None:
            return aggregate(adjacency, x)
        factor = adjacency.factor.to(x.dtype)
        return factor * aggregate(adjacency, factor * x)

    def _apply(self, *args: Any, **kwargs: Any) -> SpikingGCNConv:
        self.clear_cache()  # It may now be on the wrong device.
        return super()._apply(*args, **kwargs)

    def extra_repr(self) -> str:
        return f'{self.in_channels}, {self.out_channels}'


class DegreeFactor(nn.Module):
    r"""What the thresholds of the nodes that send to a
    :class:`SpikingGCNConv` are multiplied by when the source factor
    :math:`d_j^{-1/2}` is folded into them: node :math:`j` fires when
    :math:`x_j \geq s \sqrt{d_j} \, \theta_t`, and then delivers
    :math:`s \, \ell_t` on each edge.

    Args:
        conv (SpikingGCNConv): The layer that the nodes send to.
    """

    def __init__(self, conv: SpikingGCNConv) -> None:
        super().__init__()
        self.options: dict[str, Any] = {
            'improved': conv.improved,
            'add_self_loops': conv.add_self_loops,
            'flow': conv.flow,
        }

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None
    ) -> Tensor:
        r"""Returns :math:`\sqrt{d_j}`, or 1 for a node without edges
        :math:`(N, 1)`.
        """
        adjacency = gcn_adjacency(
            edge_index, edge_weight, x.size(0), x.dtype, **self.options
        )
        factor = adjacency.factor
        assert factor is not None
        return torch.where(factor > 0, 1 / factor, torch.ones_like(factor))
