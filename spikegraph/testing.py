"""Checks for spiking layers of your own, and for whole networks."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from spikegraph.coding import PhaseCode, Spikes, encode
from spikegraph.network.graph import Node, called
from spikegraph.network.interpreter import Interpreter, run_node
from spikegraph.network.roles import Role
from spikegraph.nn.routing import silence
from spikegraph.running.model import SpikingModel
from spikegraph.running.steps import simulate


@torch.no_grad()
def assert_spiking(
    conv: nn.Module, *args: Any, code: PhaseCode | None = None, **kwargs: Any
) -> None:
    r"""Asserts what any spiking graph layer must fulfil: it is affine in its
    input, so that time steps may be summed; binary spikes add up to the
    decoded values; and the order of nodes and edges does not matter.

    Of a converted network: nothing is left analog; what lies between populations is
    affine in all spikes together, so that values that meet others do so as spikes, in
    gates and products; and the time steps give the same spikes and outputs.

    Args:
        conv (torch.nn.Module): The layer, called as
            :obj:`conv(spikes, edge_index)`, or a converted network.
        *args (Any): Node features to encode :math:`(N, F)` and edge indices
            :math:`(2, E)`; of a network, the arguments of its :meth:`forward`.
        code (PhaseCode, optional): The code of the input of a layer.
            (default: :obj:`PhaseCode(8, 1.5)`)
        **kwargs (Any): Keyword arguments of a network.

    Raises:
        AssertionError: If the layer, or the network, breaks one of the rules.

    Example:
        >>> from spikegraph.nn.conv import SpikingSAGEConv
        >>> edge_index = torch.tensor([[0, 1, 2], [1, 2, 0]])
        >>> assert_spiking(SpikingSAGEConv(4, 2), torch.rand(3, 4), edge_index)
    """
    if isinstance(conv, SpikingModel):
        _assert_network(conv, args, kwargs)
    else:
        given = args if code is None else (*args, code)
        _assert_layer(conv, *given, **kwargs)


def _assert_layer(
    conv: nn.Module, x: Tensor, edge_index: Tensor, code: PhaseCode | None = None
) -> None:
    if code is None:
        code = PhaseCode(8, 1.5)
    conv, x = conv.double(), x.double()
    spikes = Spikes.from_values(x, code, float(x.abs().max()) or 1.0)
    out = conv(spikes, edge_index)
    assert out.shape[0] == x.shape[0], f'{out.shape[0]} rows for {x.shape[0]} nodes'
    _assert_close(conv(spikes.decode(), edge_index), out, 'spikes and decoded values')

    bias = conv(torch.zeros_like(x), edge_index)
    total: Any = bias
    for step in range(code.num_steps):
        current = conv(spikes.current(step), edge_index) - bias
        total = total + float(code.levels[step]) * current
    _assert_close(total, out, 'the sum over time steps and the closed form')

    edge_order = torch.randperm(edge_index.size(1))
    _assert_close(conv(spikes, edge_index[:, edge_order]), out, 'another edge order')
    order = torch.randperm(x.size(0))
    moved = Spikes(spikes.spike_time[order], code, spikes.scale)
    position = order.argsort()
    _assert_close(conv(moved, position[edge_index]), out[order], 'another node order')

    fired = Spikes(encode(out, code), code, torch.ones((), dtype=out.dtype)).raster()
    assert int(fired.sum(dim=0).max()) <= 1, 'a neuron fired more than once'


def _assert_network(snn: SpikingModel, args: Any, kwargs: dict[str, Any]) -> None:
    reading = _Affine(snn)
    reading.run(snn.bind(*args, **kwargs))
    simulation, spikes = simulate(snn, *args, **kwargs), snn.spikes(*args, **kwargs)
    for name, found in simulation.spikes.items():
        differs = int((found.spike_time != spikes[name].spike_time).sum())
        assert not differs, f"{differs} spikes of '{name}' differ step by step"
    outputs = simulation.output, snn(*args, **kwargs)
    for found, expected in zip(*map(pytree.tree_leaves, outputs), strict=True):
        if isinstance(found, Tensor) and found.is_floating_point():
            _assert_close(found, expected, 'the outputs of time steps and closed form')


_BETWEEN = (Role.LAYER, Role.AFFINE, Role.MOVE, Role.DECODE)


class _Affine(Interpreter):
    """Asserts of each node between populations that it is affine in all that spikes
    change.
    """

    forgets = False

    def __init__(self, snn: SpikingModel) -> None:
        super().__init__(snn.network)
        self.moving: set[Node] = set()

    def evaluate(self, node: Node) -> Any:
        reads = self.moving.intersection(node.all_input_nodes)
        name = node.record.stands_for or node.name
        assert node.role is not Role.ANALOG, f"'{name}' is analog"
        if node.role in (Role.GATE, Role.PRODUCT):
            for read in reads:
                is_spikes = isinstance(self.env[read], Spikes)
                assert is_spikes, f"'{name}' reads values that are no spikes"
        value = self.env[node] = super().evaluate(node)
        if node.role.fires:
            assert isinstance(value, Spikes), f"'{name}' passes no spikes on"
        is_masked = (
            called(node) is silence
        )  # Of scores, without end where there are none.
        if node.role in _BETWEEN and reads and not is_masked:
            self._check(node, reads, name)
        if node.role.fires or (reads and node.role is not Role.SIZE):
            self.moving.add(node)
        return value

    def _check(self, node: Node, reads: set[Node], name: str) -> None:
        """Twice the values are twice the difference to none."""

        def run(factor: float) -> list[Tensor]:
            env = dict(self.env)
            env.update({n: _scaled(env[n], factor) for n in reads})
            found = run_node(self.network, node, env)
            return [v for v in pytree.tree_leaves(found) if isinstance(v, Tensor)]

        for none, once, twice in zip(run(0.0), run(1.0), run(2.0), strict=True):
            if once.is_floating_point():
                what = f"'{name}', of which twice the values is not twice the change,"
                _assert_close(twice - once, once - none, what)


def _scaled(value: Any, factor: float) -> Any:
    """Spikes as real values, and all of these multiplied by a number."""
    if isinstance(value, Spikes):
        return factor * value.decode()
    if isinstance(value, (tuple, list)):
        return type(value)(_scaled(part, factor) for part in value)
    is_real = isinstance(value, Tensor) and value.is_floating_point()
    return factor * value if is_real else value


def _assert_close(found: Tensor, expected: Tensor, what: str) -> None:
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-9), (
        f'{what} differ by {float((found - expected).abs().max()):g}'
    )
