"""What attention layers share: analog coefficients, spiking values."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch_geometric.utils import softmax

from spikegraph.coding import Spikes
from spikegraph.nn.analog import Analog
from spikegraph.nn.conv.twin import SpikingTwin
from spikegraph.nn.layer import Operation, SpikingLayer, values_of


class AttentionSum(SpikingLayer):
    r"""The sum over in-neighbours, each head weighted by its coefficients:

    .. math::
        \mathbf{v}_i = \big\Vert_h \sum_{j} \alpha_{ji}^{(h)}
        \mathbf{x}_j^{(h)}

    Args:
        heads (int): The number of heads.

    Shapes:
        - **input:** values :math:`(N, H C)`, coefficients :math:`(E, H)`,
          sources and destinations :math:`(E)`, number of destinations
        - **output:** potentials :math:`(N, H C)`
    """

    def __init__(self, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.weight = self.bias = None

    def forward(
        self,
        x: Spikes | Tensor,
        alpha: Tensor,
        source: Tensor,
        target: Tensor,
        num_targets: int,
        current: Tensor | None = None,
    ) -> Tensor:
        """Returns the weighted sums; :obj:`current` is added on each edge."""
        values = values_of(x)
        messages = values[source]
        messages = messages if current is None else messages + current
        width = values.size(1) // self.heads
        messages = messages.view(len(source), self.heads, width)
        messages = (alpha.unsqueeze(-1) * messages).flatten(1)
        out = values.new_zeros(num_targets, values.size(1))
        return out.index_add_(0, target, messages)

    def features(self, x: Spikes | Tensor, *graph: Any) -> Tensor:
        """The weighted sums: there are no weights."""
        return self.forward(x, *graph)

    def operations(self, x: Spikes | Tensor, *graph: Any) -> list[Operation]:
        """One multiply-accumulate for each edge and channel."""
        num = graph[1].numel() * x.shape[-1]
        return [Operation('weighted aggregation', num)]


class AttentionCoefficients(Analog):
    r"""Coefficients :math:`\alpha_{ji} = \mathrm{softmax}_j(s_{ji})` in analog:
    a subclass gives the scores :math:`s_{ji}` of every edge and head.
    """

    def score(self, *features: Any, **ends: Any) -> Tensor:
        """The scores :math:`(E, H)`, given the keywords :obj:`source` and
        :obj:`target`: the ends of each edge.
        """
        raise NotImplementedError

    def macs_per_score(self, *features: Any) -> int:
        """The multiply-accumulates of one score of these features."""
        raise NotImplementedError

    def forward(
        self, source: Tensor, target: Tensor, num_targets: int, *features: Any
    ) -> Tensor:
        """Returns the coefficients :math:`(E, H)`."""
        scores = self.score(*features, source=source, target=target)
        return softmax(scores, target, num_nodes=num_targets)

    def macs(self, source: Tensor, target: Tensor, num: int, *features: Any) -> int:
        """Those of the scores, an exponential and a division for each."""
        scores = self.score(*features, source=source, target=target)
        return scores.numel() * (self.macs_per_score(*features) + 2)


class AttentionTwin(SpikingTwin):
    """A twin whose coefficients stay analog."""

    needs_analog = 'its attention coefficients depend on the features'


def merge_heads(out: Tensor, heads: int, concat: bool) -> Tensor:
    """Heads side by side, or their mean."""
    return out if concat else out.view(out.size(0), heads, -1).mean(dim=1)
