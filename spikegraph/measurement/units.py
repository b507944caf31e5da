"""What energies are divided by: the rows of the main output, and what these are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils import _pytree as pytree
from torch_geometric.data.data import BaseData

from spikegraph.calls.outputs import main_output
from spikegraph.network.graph import Node
from spikegraph.network.network import Network
from spikegraph.nn import EarliestMember, GraphFilter, SpikingConv, SpikingLayer
from spikegraph.nn.analog import is_edge_index
from spikegraph.nn.gate import EarliestNeighbor
from spikegraph.nn.shift import MemberShift

Unit = Literal['node', 'graph', 'image', 'sequence', 'sample']
UNITS: tuple[Unit, ...] = ('node', 'graph', 'image', 'sequence', 'sample')
_OVER_ROWS = (0, (0,), [0])
_ADDS = ('scatter', 'index_add')  # Sums over members, read last.


class Samples:
    """How many nodes, graphs, images, sequences and rows one call is about.

    Args:
        network (Network): The spiking network.
        env (Dict[Node, Any]): The values of its nodes.
    """

    def __init__(self, network: Network, env: dict[Node, Any]) -> None:
        self.network = network
        self.env = env
        self.found: dict[Unit, int] = {}
        output = next(n for n in reversed(network.nodes) if n.op == 'output')
        self.main = _main_output(output, env)
        is_single = self._find_places()
        pooled = self._find_nodes()
        rows = self._num_rows(is_single)
        self.found['sample'] = rows
        self.unit: Unit = 'sample'
        for unit in ('image', 'sequence'):
            if self.found.get(unit) == rows:
                self.unit = unit
        if 'node' in self.found and self.unit == 'sample':
            if pooled:
                self.unit = 'graph'
            elif rows == self.found['node'] or self._is_flat():
                self.unit = 'node' if rows <= self.found['node'] else 'sample'
        self.found[self.unit] = rows
        if 'node' in self.found:
            self.found.setdefault('graph', _num_graphs(env))

    def _find_places(self) -> bool:
        """Images and sequences that the first convolution sees, or that are inputs;
        whether it is one without a dimension for more.
        """
        for node in self.network.nodes:
            layer = self.network.operation(node)
            if isinstance(layer, SpikingConv):
                x = self.env[node.all_input_nodes[0]]
                unit: Unit = 'sequence' if layer.channel_dim == -2 else 'image'
                self.found[unit] = x.shape[: layer.channel_dim].numel()
                return len(x.shape) == -layer.channel_dim
        for node in self.network.nodes:  # Images that are flattened.
            value = self.env.get(node) if node.op == 'placeholder' else None
            if isinstance(value, Tensor) and value.dim() == 4:
                self.found['image'] = value.size(0)
        return False

    def _find_nodes(self) -> bool:
        """The nodes of the graph; whether the main output pools over them."""
        graph = [n for n in self.network.nodes if self._reads_graph(n)]
        if not graph and not any(map(_is_graph, self.env.values())):
            return False
        sources = [n.all_input_nodes[0] for n in graph]
        if not sources:
            populations = [n for n in self.env if n.role.fires]
            sources = [n for n in populations or self.env if _has_rows(self.env[n])][:1]
        if not sources:
            return False
        num_nodes = self.env[sources[0]].shape[0]
        self.found['node'] = num_nodes
        return any(self._pools(n, num_nodes) for n in _behind(self.main))

    def _reads_graph(self, node: Node) -> bool:
        layer = self.network.operation(node)
        if isinstance(layer, EarliestNeighbor):
            return True
        return isinstance(layer, GraphFilter) and not isinstance(
            layer.shift, MemberShift
        )

    def _pools(self, node: Node, num_nodes: int) -> bool:
        """Whether an operation sums up nodes, or takes their largest."""
        layer, value = self.network.operation(node), self.env[node]
        adds = str(getattr(layer, '__name__', layer)).startswith(_ADDS)
        inputs = node.all_input_nodes
        x: Any = self.env[inputs[-1 if adds else 0]] if inputs else None
        if not _has_rows(x) or x.shape[0] != num_nodes:
            return False
        members = isinstance(layer, GraphFilter) and isinstance(
            layer.shift, MemberShift
        )
        if adds or members or isinstance(layer, EarliestMember):
            return bool(value.shape[0] != num_nodes or _num_graphs(self.env) > 1)
        totals = ('mean', 'sum', 'amax', 'max', torch.mean, torch.sum, torch.amax)
        dim: Any = node.kwargs.get('dim', node.args[1] if len(node.args) > 1 else None)
        return layer in totals and dim in _OVER_ROWS

    def _num_rows(self, is_single: bool) -> int:
        value = self.env[self.main] if self.main is not None else None
        if value is None or is_single or value.dim() == 0:
            return 1
        if value.dim() == 1 and self._is_vector(self.main):
            return 1
        return int(value.size(0))

    def _is_flat(self) -> bool:
        """Whether an output may be one row for each of some nodes."""
        return self.main is not None and self.env[self.main].dim() <= 2

    def _is_vector(self, node: Node | None) -> bool:
        """Whether the layer behind an output made one row, without its dimension."""
        for before in _behind(node):
            layer = self.network.operation(before)
            if isinstance(layer, SpikingLayer) and layer.weight is not None:
                return len(self.env[before].shape) == 1
        return False


def units_of(samples: Sequence[Samples], per: Unit | None) -> tuple[Unit, int]:
    """The unit of all calls, and how many there are.

    Raises:
        ValueError: If there are none of those that are asked for.
    """
    if per is not None and per not in UNITS:
        names = ', '.join(repr(unit) for unit in UNITS)
        raise ValueError(f"Expected 'per' to be one of {names} (got {per!r})")
    if per is None:
        units = {each.unit for each in samples}
        per = units.pop() if len(units) == 1 else 'sample'
    known = [unit for unit in UNITS if all(unit in each.found for each in samples)]
    if per not in known:
        names = ' or '.join(repr(unit) for unit in known)
        raise ValueError(
            f"Expected 'per' to be {names}, which this network has (got {per!r})"
        )
    return per, sum(each.found[per] for each in samples)


def _main_output(output: Node, env: dict[Node, Any]) -> Node | None:
    """What is returned first, see :func:`main_output`."""
    leaves = pytree.tree_leaves(output.args)
    values = [env[n] if isinstance(n, Node) else None for n in leaves]
    position = main_output(values)
    return None if position is None else leaves[position]


def _behind(node: Node | None) -> list[Node]:
    """A node and all that it is made of, the latest first."""
    found = {} if node is None else {node: None}
    queue = list(found)
    while queue:
        for before in queue.pop(0).all_input_nodes:
            if before not in found:
                found[before] = None
                queue.append(before)
    return list(found)


def _has_rows(value: Any) -> bool:
    return hasattr(value, 'shape') and len(value.shape) > 0


def _is_graph(value: Any) -> bool:
    if isinstance(value, BaseData):
        return 'edge_index' in value or 'adj_t' in value
    is_sparse = isinstance(value, Tensor) and value.layout != torch.strided
    return is_sparse or is_edge_index(value)


def _num_graphs(env: dict[Node, Any]) -> int:
    """How many graphs a batch says that it holds, else one."""
    for node, value in env.items():
        if isinstance(value, BaseData):
            return int(getattr(value, 'num_graphs', 1))
        is_index = isinstance(value, Tensor) and value.dtype == torch.long
        if node.op == 'placeholder' and node.target == 'batch' and is_index:
            return int(value.max()) + 1 if value.numel() else 1
    return 1
