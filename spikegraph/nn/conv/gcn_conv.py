from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn import GCNConv
from torch_geometric.nn.inits import glorot, zeros

from spikegraph.coding import Spikes
from spikegraph.kernels import Adjacency
from spikegraph.nn.conv.twin import check_sum
from spikegraph.nn.filter import GraphFilter
from spikegraph.nn.shift import GCNShift


class SpikingGCNConv(GraphFilter):
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

    Example:
        >>> from torch_geometric.nn import GCNConv
        >>> conv = GCNConv(2, 3)
        >>> spiking = SpikingGCNConv.from_ann(conv)
        >>> x, edge_index = torch.rand(3, 2), torch.tensor([[0, 1], [1, 2]])
        >>> torch.allclose(spiking(x, edge_index), conv(x, edge_index), atol=1e-6)
        True
    """

    shift: GCNShift

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
        shift = GCNShift(improved, add_self_loops, normalize, flow)
        weight = torch.empty(out_channels, in_channels)
        bias_value = torch.empty(out_channels) if bias else None
        self._build(shift, weight, bias_value, cached)
        self.fold_source = self.fold_target = fold_degree
        self.reset_parameters()

    def _build(
        self, shift: GCNShift, weight: Tensor, bias: Tensor | None, cached: bool
    ) -> None:
        super().__init__(shift, weight=weight, bias=bias, cached=cached)
        self.out_channels, self.in_channels = weight.shape
        self.fold_source = self.fold_target = False

    def reset_parameters(self) -> None:
        """Draws new parameters, as PyG does, and forgets a cached graph."""
        glorot(self.weight)
        zeros(self.bias)
        self.clear_cache()

    @classmethod
    def from_ann(cls, conv: GCNConv) -> SpikingGCNConv:
        """Takes the parameters and options of PyG's layer."""
        check_sum(conv)
        shift = GCNShift(conv.improved, conv.add_self_loops, conv.normalize, conv.flow)
        layer = cls.__new__(cls)  # Nothing is drawn.
        layer._build(shift, conv.lin.weight, conv.bias, conv.cached)
        return layer

    def forward(
        self, x: Spikes | Tensor, edge_index: Tensor, edge_weight: Tensor | None = None
    ) -> Tensor:
        """Returns the potentials that the input leaves behind."""
        return super().forward(x, edge_index, edge_weight)

    def scalings(self, adjacency: Adjacency) -> int:
        """Rows multiplied by a degree factor that no threshold has taken."""
        if adjacency.source_factor is None:
            return 0
        num_factors = (not self.fold_source) + (not self.fold_target)
        return num_factors * adjacency.num_targets

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
        self.shift = conv.shift

    def forward(
        self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None
    ) -> Tensor:
        r"""Returns :math:`\sqrt{d_j}`, or 1 for a node without edges
        :math:`(N, 1)`.
        """
        adjacency = self.shift(x, edge_index, edge_weight)
        factor = adjacency.source_factor
        assert factor is not None
        return torch.where(factor > 0, 1 / factor, torch.ones_like(factor))
