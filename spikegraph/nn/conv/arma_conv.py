from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch_geometric.nn import ARMAConv

from spikegraph.nn.conv.twin import SpikingTwin, check_sum, dense
from spikegraph.nn.filter import GraphFilter
from spikegraph.nn.shift import GCNShift


class SpikingARMAConv(SpikingTwin):
    r"""The ARMA convolution from the `"Graph Neural Networks with Convolutional
    ARMA Filters" <https://arxiv.org/abs/1901.01343>`_ paper on spikes.

    .. math::
        \mathbf{X}_k^{(t+1)} = \sigma \left( \mathbf{L} \mathbf{X}_k^{(t)}
        \mathbf{W}_k^{(t)} + \hat{\mathbf{X}} \mathbf{V}_k^{(t)} + \mathbf{b}_k^{(t)}
        \right), \qquad \mathbf{V} = \frac{1}{K} \sum_{k=1}^{K} \mathbf{X}_k^{(T)}

    Arguments and shapes are those of PyG's
    :class:`~torch_geometric.nn.conv.ARMAConv`; features may be spikes. Every
    :math:`\sigma` is a population.
    """

    ann_type = ARMAConv

    def build(self, conv: Any) -> None:
        check_sum(conv)
        shift = GCNShift(add_self_loops=False, flow=conv.flow)
        self.stacks = nn.ModuleList()
        for k in range(conv.num_stacks):
            hops, roots = nn.ModuleList(), nn.ModuleList()
            for t in range(conv.num_layers):
                later = conv.weight[0 if conv.shared_weights else t - 1]
                weight = (conv.init_weight if t == 0 else later)[k]
                t = 0 if conv.shared_weights else t
                bias = None if conv.bias is None else conv.bias[t, k, 0]
                hops.append(GraphFilter(shift, weight=weight.t()))
                roots.append(dense(conv.root_weight[t, k].t(), bias))
            self.stacks.append(nn.ModuleDict({'hops': hops, 'roots': roots}))
        self.act = conv.act

    def forward(
        self, x: Any, edge_index: Tensor, edge_weight: Tensor | None = None
    ) -> Tensor:
        total: Any = None
        stack: Any
        for stack in self.stacks:
            out = x
            for hop, root in zip(stack['hops'], stack['roots'], strict=True):
                out = hop(out, edge_index, edge_weight) + root(x)
                out = out if self.act is None else self.act(out)
            total = out if total is None else total + out
        return total / len(self.stacks)
