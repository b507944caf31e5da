from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn

from spikegraph.nn.filter import GraphFilter
from spikegraph.nn.linear import SpikingLinear
from spikegraph.nn.routing import edge_ends
from spikegraph.nn.shift import NeighborShift

_TWINS: list[type[SpikingTwin]] = []
_READERS: list[Callable[[type[SpikingTwin]], object]] = []


class SignalsMeet(NotImplementedError):
    """Raised by :meth:`SpikingTwin.build` for an option by which signals multiply: the
    layer itself is looked into.
    """


class SpikingTwin(nn.Module):
    r"""Base of the spiking twins of PyG's layers: what PyG computes, written
    with :class:`~spikegraph.nn.GraphFilter`, :class:`~spikegraph.nn.SpikingLinear`
    and activations, which :func:`spikegraph.convert` looks into.

    A twin is constructed with the arguments of PyG's layer, or made
    :meth:`from_ann`; a subclass names that layer in :obj:`ann_type`, takes its
    parameters in :meth:`build` and combines them in :meth:`forward`. From then on
    :func:`spikegraph.convert` uses it; the latest twin of a type counts. Where
    :obj:`needs_analog` gives a reason, it does so only with
    :obj:`allow_analog=True`.

    Example:
        >>> import torch
        >>> from torch_geometric.nn import GINConv
        >>> from spikegraph.nn.conv import SpikingGINConv
        >>> conv = GINConv(nn.Linear(2, 3))
        >>> x, edge_index = torch.rand(3, 2), torch.tensor([[0, 1], [1, 2]])
        >>> spiking = SpikingGINConv.from_ann(conv)
        >>> torch.allclose(spiking(x, edge_index), conv(x, edge_index), atol=1e-6)
        True
    """

    ann_type: ClassVar[type[nn.Module]]
    needs_analog: ClassVar[str] = ''

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        ann_type = cls.__dict__.get('ann_type')
        if ann_type is not None:
            # So that help() shows the arguments.
            cls.__signature__ = inspect.signature(ann_type)  # type: ignore[attr-defined]
            _TWINS.append(cls)
            for function in _READERS:
                function(cls)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.build(self.ann_type(*args, **kwargs))

    @classmethod
    def from_ann(cls, conv: Any) -> SpikingTwin:
        """Takes the parameters and options of PyG's layer."""
        twin = cls.__new__(cls)
        nn.Module.__init__(twin)
        twin.build(conv)
        return twin

    def build(self, conv: Any) -> None:
        """Makes the parts out of PyG's layer.

        Raises:
            NotImplementedError: If an option has no spiking counterpart;
                :class:`SignalsMeet`, if signals multiply.
        """
        raise NotImplementedError

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the potentials that the input leaves behind, given what PyG's layer
        is given.
        """
        raise NotImplementedError


class FilterTwin(SpikingTwin):
    """A twin that is one filter of the graph."""

    filter: GraphFilter

    def forward(
        self, x: Any, edge_index: Tensor, edge_weight: Tensor | None = None
    ) -> Tensor:
        return self.filter(x, edge_index, edge_weight)


def for_each_twin(function: Callable[[type[SpikingTwin]], object]) -> None:
    """Calls a function with each twin of a layer, those that are yet to come too."""
    _READERS.append(function)
    for twin in [*_TWINS]:
        function(twin)


def check_sum(conv: Any, *others: str) -> None:
    """Raises if a layer sums over neighbours in another way than it says."""
    aggr, node_dim = getattr(conv, 'aggr', None), getattr(conv, 'node_dim', -2)
    if aggr not in ('add', 'sum', *others) or node_dim not in (-2, 0):
        option, expected, got = 'node_dim', '-2', node_dim
        if aggr not in ('add', 'sum', *others):
            option, got = 'aggr', aggr
            expected = ' or '.join(repr(name) for name in ('add', *others))
        raise NotImplementedError(
            f"Expected '{option}' to be {expected} (got {got!r}), for which the layer "
            'has a spiking counterpart'
        )


def pair(x: Any) -> tuple[Any, Any]:
    """Features of sources and of destinations."""
    return (x[0], x[1]) if isinstance(x, (tuple, list)) else (x, x)


def num_targets(x: Any, size: Any = None) -> Any:
    """The number of destinations in a bipartite graph, else :obj:`None`."""
    if not isinstance(x, (tuple, list)):
        return None
    if x[1] is not None:
        return x[1].size(0)
    return None if size is None else size[1]


def neighbors(
    conv: Any, weight: Tensor | None, bias: Tensor | None, keeps_values: bool = True
) -> GraphFilter:
    """The sum or mean over in-neighbours that ``conv`` asks for."""
    check_sum(conv, 'mean')
    shift = NeighborShift(
        mean=conv.aggr == 'mean', flow=conv.flow, keeps_values=keeps_values
    )
    return GraphFilter(shift, weight=weight, bias=bias)


def dense(weight: Tensor, bias: Tensor | None = None) -> SpikingLinear:
    """A fully connected layer with the given parameters."""
    return SpikingLinear.from_weight(weight, bias)


def dense_of(lin: Any) -> SpikingLinear | None:
    """A fully connected layer with the parameters of another one, if there is any."""
    return None if lin is None else dense(lin.weight, lin.bias)


def ends(edge_index: Any, flow: str = 'source_to_target') -> tuple[Any, Any]:
    """The source and the destination of each edge."""
    both: Any = edge_ends(edge_index, flow)
    return both[0], both[1]


def check_no_weights(return_attention_weights: Any) -> None:
    """Raises if the coefficients are asked for."""
    if return_attention_weights is not None:
        raise NotImplementedError(
            "Expected 'return_attention_weights' to be None (got "
            f'{return_attention_weights}); the spiking layer returns potentials'
        )
