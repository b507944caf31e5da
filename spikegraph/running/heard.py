"""Populations of images that all readers decode: what their spikes stand for is written
where their potentials are made, or in place of them, and no spike times are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from spikegraph.kernels import Filters, convolve_decode, encode_decode
from spikegraph.kernels.memory import needs_gradient
from spikegraph.network.graph import Node, is_sum
from spikegraph.network.network import Network
from spikegraph.network.roles import Role
from spikegraph.nn import PhaseNeuron, SpikingConv
from spikegraph.nn.activation import bracket_of
from spikegraph.nn.layer import is_changed, values_of
from spikegraph.nn.pool import EarliestInWindow


@dataclass(frozen=True)
class Heard:
    """What fires, and is only read as values.

    Args:
        population (Node): The population.
        sum (Node, optional): The sum that only it reads.
        gate (Node, optional): The maximum over windows that alone reads it.
        layers (Tuple[Node, ...]): Of what it reads, the convolutions whose potentials
            nobody else reads: they are convolved where they fire.
        readers (Tuple[Node, ...]): Who reads it.
        kinds (Dict[Node, type]): The types of what all of these call.
    """

    population: Node
    sum: Node | None
    gate: Node | None
    layers: tuple[Node, ...]
    readers: tuple[Node, ...]
    kinds: dict[Node, type]


@dataclass(frozen=True)
class Convolved:
    """The potentials of a convolution, before it is made.

    Args:
        layer (SpikingConv): The layer.
        filters (Filters): What kernels are told of it.
        x (Tensor): What it reads.
    """

    layer: SpikingConv
    filters: Filters
    x: Tensor

    def like(self) -> Tensor:
        """Potentials of no images."""
        return self.x.new_empty(0, self.layer.num_channels, 1, 1)

    def whole(self) -> Tensor:
        """The potentials."""
        potential: Tensor = self.layer(self.x)
        return potential


@dataclass(frozen=True)
class Waiting:
    """Potentials, and others to be added if there are any, and where the values that
    they are fired to may be written.
    """

    potential: Tensor | Convolved
    other: Tensor | None = None
    out: Tensor | None = None

    def whole(self) -> Tensor:
        """The sum."""
        potential, other = whole(self.potential), self.other
        return potential if other is None else potential + other

    def pooled(self, gate: EarliestInWindow) -> Waiting:
        """The largest of each window: they fire first, so that all others wait."""
        found = gate.largest(self.whole())
        return Waiting(found, out=found)

    def values(self, neuron: PhaseNeuron) -> Tensor:
        """What the spikes of a population stand for."""
        potential, other = self.potential, self.other
        like = potential.like() if isinstance(potential, Convolved) else potential
        if neuron.node_scale or neuron.thresholds_for(like) is not None:
            found: Tensor = neuron(self.whole()).decode()
            return found
        code, scale = neuron.code, neuron.scale_for(like)
        if isinstance(potential, Convolved):
            return convolve_decode(potential.x, potential.filters, code, scale, other)
        return encode_decode(potential, code, scale, other, self.out)


def whole(value: Any) -> Any:
    """Potentials that are made where they fire, if somebody else reads them."""
    return value.whole() if isinstance(value, Convolved) else value


def convolved(layer: Any, x: Any) -> Convolved | None:
    """The potentials of a layer on images, to be made later; None where nothing is
    gained.
    """
    if type(layer) is not SpikingConv or is_changed(layer) or len(x.shape) != 4:
        return None
    layer.check(x)
    filters = layer.filters()
    if filters is None or needs_gradient(x, filters.weight, filters.bias):
        return None
    return Convolved(layer, filters, values_of(x))


def find_heard(network: Network) -> dict[Node, Heard]:
    """All such populations, by population, and by the sum and gate around them."""
    found: dict[Node, Heard] = {}
    for node in network.nodes:
        alone = len(node.args) == 1 and not node.kwargs
        if not alone or type(network.operation(node)) is not PhaseNeuron:
            continue
        gate = _gate_behind(network, node)
        last = node if gate is None else gate
        readers = tuple(last.users)
        if not readers or not all(_reads_values(network, n, last) for n in readers):
            continue
        value: Any = node.args[0]
        total = value if is_sum(value) and len(value.users) == 1 else None
        layers = [value] if total is None else total.all_input_nodes
        own = tuple(
            n for n in layers if _is_convolution(network, n) and len(n.users) == 1
        )
        called = [n for n in (node, gate, *own, *readers) if n is not None]
        kinds = {n: type(network.operation(n)) for n in called}
        heard = Heard(node, total, gate, own, readers, kinds)
        found.update({n: heard for n in (node, total, gate) if n is not None})
    return found


def fires_in_order(neuron: PhaseNeuron) -> bool:
    """Whether the largest potential of any window sends its earliest spike: not where an
    activation falls and rises, or where a scale depends on all potentials.
    """
    activation = neuron.activation
    if neuron.node_scale:
        return False
    if isinstance(activation, str) or not neuron.code.signed:
        return True
    return bracket_of(activation) is None


def wait(values: list[Any], out: Tensor | None) -> Waiting | None:
    """What a population waits for; None if these are no images."""
    first, *others = sorted(values, key=lambda v: not isinstance(v, Convolved))
    others = [whole(value) for value in others]
    is_made = not isinstance(first, Convolved)
    for value in [first, *others] if is_made else others:
        is_real = isinstance(value, Tensor) and value.is_floating_point()
        if not is_real or value.dim() < 3 or needs_gradient(value):
            return None
        if is_made and (value.shape != first.shape or value.dtype != first.dtype):
            return None
    other = others[0] if others else None
    return Waiting(first, other, out if is_made else None)


def _gate_behind(network: Network, node: Node) -> Node | None:
    user = next(iter(node.users)) if len(node.users) == 1 else None
    if user is None or user.args != (node,) or user.kwargs:
        return None
    return user if type(network.operation(user)) is EarliestInWindow else None


def _reads_values(network: Network, node: Node, source: Node) -> bool:
    if node.role in (Role.DECODE, Role.SIZE):
        return True
    return _is_convolution(network, node) and source not in node.args[1:]


def _is_convolution(network: Network, node: Node) -> bool:
    return type(network.operation(node)) is SpikingConv and not node.kwargs
