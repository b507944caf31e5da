from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from spikegraph.coding import Spikes
from spikegraph.kernels import (
    Adjacency,
    Weights,
    multiply_rows,
    propagate,
    send,
    sent_size,
)
from spikegraph.nn.encoding import Encoding, encoded
from spikegraph.nn.layer import Operation, SpikingLayer, check_width, values_of
from spikegraph.nn.order import Choice, Order, choose
from spikegraph.nn.potentials import (
    Given,
    Mixture,
    Potentials,
    Product,
    Sums,
    density_of,
    transform,
)
from spikegraph.nn.shift import MemberShift

Shift = Callable[..., Adjacency]


def sums_members(layer: Any) -> bool:
    """Whether a layer does no more than add up the rows of each group."""
    return (
        isinstance(layer, GraphFilter)
        and isinstance(layer.shift, MemberShift)
        and not layer.shift.mean
        and layer.weight is None
        and layer.bias is None
        and layer.coefficients == [[0.0, 1.0]]
    )


class GraphFilter(SpikingLayer):
    r"""A polynomial graph filter on spikes, the one operator that all linear
    graph convolutions are made of:

    .. math::
        \mathbf{V} = \sum_{m} \Big( \sum_{k} h_{mk} \, \mathbf{S}^k \Big)
        \hat{\mathbf{X}} \, \mathbf{W}_m^{\top} + \mathbf{b}

    The graph shift operator :math:`\mathbf{S}` only adds up values along
    edges, so weights and edges commute: weights act where the spikes are
    sent, and every spike is one accumulated row of weights.

    Args:
        shift (Callable): Prepares the graph: called with the arguments of
            :meth:`forward`, it returns an
            :class:`~spikegraph.kernels.Adjacency`. See
            :mod:`spikegraph.nn.shift`.
        coefficients (Sequence[Sequence[float]], optional): The
            :math:`h_{mk}`, a row of powers :math:`k = 0, 1, \ldots` for each
            weight. (default: :obj:`[[0, 1]]`, one hop)
        weight (torch.Tensor, optional): The weights :math:`\mathbf{W}_m` side
            by side :math:`(F_{out}, M F_{in})`, or :obj:`None` for a filter
            without weights. (default: :obj:`None`)
        bias (torch.Tensor, optional): The bias :math:`(F_{out})`.
            (default: :obj:`None`)
        cached (bool, optional): If set to :obj:`True`, the first graph seen is
            used ever after, as in PyG. (default: :obj:`False`)

    Raises:
        ValueError: If features or graph do not fit.

    Shapes:
        - **input:** spikes or values :math:`(N, F_{in})`, or
          :math:`(N, *, F_{in})` if made without weights; graph
        - **output:** potentials :math:`(N, F_{out})` or
          :math:`(N, *, F_{out})`

    Example:
        >>> from spikegraph.nn.shift import NeighborShift
        >>> sums = GraphFilter(NeighborShift(), [[1, 1]])  # A node and its neighbours.
        >>> edge_index = torch.tensor([[0, 1], [2, 2]])
        >>> sums(torch.tensor([[1.0], [2.0], [4.0]]), edge_index).tolist()
        [[1.0], [2.0], [7.0]]
    """

    made_anew = ('_cached_adjacency',)  # Not saved.

    def __init__(
        self,
        shift: Shift,
        coefficients: Sequence[Sequence[float]] = ((0.0, 1.0),),
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        cached: bool = False,
    ) -> None:
        super().__init__()
        self.shift = shift
        self.coefficients = [[float(h) for h in row] for row in coefficients]
        self.cached = cached
        self.order: Order = 'auto'
        self._cached_adjacency: Adjacency | None = None
        # It moves rows of any shape, also once it has taken the weights of a layer.
        self._takes_any_rank = weight is None
        self.set_parameters(weight, bias)
        if weight is None and len(self.coefficients) != 1:
            raise ValueError(
                "Expected 'coefficients' to be one row without weights "
                f'(got {len(self.coefficients)})'
            )

    @property
    def num_hops(self) -> int:
        """How many edges a spike passes at most."""
        return max(len(row) for row in self.coefficients) - 1

    def forward(self, x: Spikes | Tensor, *graph: Any) -> Tensor:
        """Returns the potentials that the input leaves behind."""
        if self.weight is None and len(x.shape) != 2:
            self._check(x)
            out = self._combine(self.adjacency(x, graph), [values_of(x)])
            return out if self.bias is None else out + self.bias
        return self.potentials(x, *graph).whole()

    def potentials(self, x: Spikes | Encoding | Tensor, *graph: Any) -> Potentials:
        """The same, in rows."""
        self._check(x)
        adjacency = self.adjacency(x, graph)
        weight, bias, num_terms = self.weight, self.bias, len(self.coefficients)
        is_plain = self.coefficients == [[0.0, 1.0]]
        if weight is not None and self.choice_on(x, adjacency).order == 'aggregate':
            given = encoded(x)
            if self.num_hops > 1:
                seen = self._features(adjacency, values_of(given))
                return transform(seen, weight, bias)
            messages = send(adjacency, given)
            if is_plain:
                return Product(messages, weight, bias)
            return Mixture(given, messages, self.coefficients, weight, bias)
        weights = None if weight is None else torch.cat(weight.chunk(num_terms, dim=1))
        if weights is None:
            terms: Any = [encoded(x)]
        elif len(x.shape) == 2:
            terms = transform(x, weights).whole().chunk(num_terms, dim=1)
        else:  # Rows of several values for each channel, such as heads.
            rows = multiply_rows(values_of(encoded(x)), Weights(weights, None))
            terms = rows.chunk(num_terms, dim=-1)
        if is_plain and len(x.shape) == 2:
            return Sums(send(adjacency, terms[0]), bias)
        out = self._combine(adjacency, [values_of(term) for term in terms])
        return Given(out if bias is None else out + bias)

    def choice(
        self, x: Spikes | Encoding | Tensor, *graph: Any, **named: Any
    ) -> Choice:
        """Which comes first on this input, the transform or the aggregation, and
        the bytes that either moves.
        """
        return self.choice_on(x, self.shift(x, *graph, **named))

    def choice_on(self, x: Spikes | Encoding | Tensor, adjacency: Adjacency) -> Choice:
        """The same, on a graph that is prepared."""
        return choose(
            self.order,
            num_sources=adjacency.num_sources,
            num_targets=adjacency.num_targets,
            num_edges=adjacency.num_edges,
            num_inputs=x.shape[-1],
            num_outputs=0 if self.weight is None else self.weight.size(0),
            num_terms=len(self.coefficients),
            num_hops=self.num_hops,
            real_size=x.dtype.itemsize,
            input_size=sent_size(x, adjacency),
            density=density_of(x),
        )

    def features(self, x: Spikes | Tensor, *graph: Any) -> Tensor:
        r"""The filtered input, one block of columns for each weight, as
        :math:`S (X W) = (S X) W`.
        """
        self._check(x)
        return self._features(self.adjacency(x, graph), values_of(x))

    def operations(self, x: Spikes | Tensor, *graph: Any) -> list[Operation]:
        """A transform, and an aggregation for each hop, with the scalings
        that are not folded into thresholds.
        """
        adjacency = self.adjacency(x, graph)
        width, operations = x.shape[1:].numel(), []
        if self.weight is not None:
            num_terms, num_inputs = len(self.coefficients), x.shape.numel()
            fan_out = num_terms * self.weight.size(0)
            width = x.shape[1:-1].numel() * self.weight.size(0)
            operations = [
                Operation(
                    'transform', num_inputs * fan_out, fan_out, self.weight.numel()
                )
            ]
        weighted = '' if adjacency.weight is None else 'weighted '
        num = self.num_hops * adjacency.num_edges * width
        operations.append(Operation(f'{weighted}aggregation', num))
        num = self.num_hops * self.scalings(adjacency) * width
        num += self._num_scaled_terms() * adjacency.num_targets * width
        if num > 0:
            operations.append(Operation('scaling', num))
        return operations

    def scalings(self, adjacency: Adjacency) -> int:
        """Rows multiplied by a factor of their own, in one hop."""
        num = 0 if adjacency.source_factor is None else adjacency.num_sources
        return num + (0 if adjacency.target_factor is None else adjacency.num_targets)

    def _num_scaled_terms(self) -> int:
        """Terms that are added with a coefficient other than 0 or 1."""
        if self.weight is not None:
            return 0  # Part of the weights.
        return sum(h not in (0.0, 1.0) for row in self.coefficients for h in row)

    def adjacency(
        self, x: Spikes | Encoding | Tensor, graph: tuple[Any, ...]
    ) -> Adjacency:
        """The prepared graph this layer aggregates over."""
        num_sources = x.shape[0]
        cached = self._cached_adjacency
        if cached is not None:
            if cached.num_sources != num_sources:
                raise ValueError(
                    f"Expected 'x' to have {cached.num_sources} rows, one for each node "
                    f"of the graph that 'cached' keeps (got {num_sources}); use "
                    "'clear_cache()'"
                )
            return cached
        adjacency = self.shift(x, *graph)
        if self.cached:
            self._cached_adjacency = adjacency
        return adjacency

    def clear_cache(self) -> None:
        """Forgets the graph that :obj:`cached` kept."""
        self._cached_adjacency = None

    def _check(self, x: Spikes | Encoding | Tensor) -> None:
        if len(x.shape) < 2 or (len(x.shape) > 2 and not self._takes_any_rank):
            raise ValueError(
                "Expected 'x' to have shape [num_nodes, in_channels] "
                f'(got {list(x.shape)})'
            )
        if self.weight is not None:
            num_terms = len(self.coefficients)
            check_width(x, self.weight.size(1) // num_terms, self)

    def _features(self, adjacency: Adjacency, x: Tensor) -> Tensor:
        terms: list[Tensor | None] = [None] * len(self.coefficients)
        for k in range(self.num_hops + 1):
            if k > 0:
                x = propagate(adjacency, x)
            for m, row in enumerate(self.coefficients):
                if k < len(row) and row[k] != 0:
                    terms[m] = plus(terms[m], row[k], x)
        zero = x.new_zeros(adjacency.num_targets, *x.shape[1:])
        return torch.cat([zero if t is None else t for t in terms], dim=-1)

    def _combine(self, adjacency: Adjacency, terms: list[Tensor]) -> Tensor:
        """Horner's rule, so that each hop is made once."""
        out: Tensor | None = None
        for k in reversed(range(self.num_hops + 1)):
            if out is not None:
                out = propagate(adjacency, out)
            for row, term in zip(self.coefficients, terms, strict=True):
                if k < len(row) and row[k] != 0:
                    out = plus(out, row[k], term)
        if out is None:
            return terms[0].new_zeros(adjacency.num_targets, *terms[0].shape[1:])
        return out

    def get_extra_state(self) -> Tensor:
        """The coefficients, as learned ones come from the model; see PyTorch."""
        length = self.num_hops + 1
        rows = [[*row, *[0.0] * (length - len(row))] for row in self.coefficients]
        return torch.tensor(rows, dtype=torch.float64)

    def set_extra_state(self, state: Any) -> None:
        """Takes coefficients that were saved."""
        self.coefficients = [[float(h) for h in row] for row in state]

    def _apply(self, *args: Any, **kwargs: Any) -> GraphFilter:
        self.clear_cache()  # It may now be on the wrong device.
        return super()._apply(*args, **kwargs)

    def extra_repr(self) -> str:
        shape = '' if self.weight is None else f', {tuple(self.weight.shape)}'
        return f'{type(self.shift).__name__}{shape}'


def plus(total: Tensor | None, factor: float, x: Tensor) -> Tensor:
    """Adds a term with its coefficient."""
    scaled = x if factor == 1 else factor * x
    return scaled if total is None else total + scaled
