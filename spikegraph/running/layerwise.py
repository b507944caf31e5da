"""Inference layer by layer, in blocks of nodes."""

from __future__ import annotations

from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from tqdm import tqdm

from spikegraph.coding import Spikes
from spikegraph.coding.phase_code import check_bools
from spikegraph.kernels import Adjacency, Weights, multiply_rows, propagate
from spikegraph.network.graph import Node
from spikegraph.network.interpreter import run_node
from spikegraph.network.ops import op_for
from spikegraph.nn import (
    DegreeFactor,
    EarliestNeighbor,
    EarliestSpike,
    GraphFilter,
    PhaseNeuron,
    SpikingLinear,
)
from spikegraph.nn.layer import values_of
from spikegraph.nn.products import Delay, Rebase
from spikegraph.nn.relative import Leading
from spikegraph.nn.shift import MemberShift
from spikegraph.running.model import SpikingModel, check_spiking

_COLUMNS = (-1, 1, None)


@torch.no_grad()
def layerwise(
    snn: SpikingModel,
    *args: Any,
    block_size: int = 4096,
    progress: bool = False,
    **kwargs: Any,
) -> Any:
    r"""Runs a converted node-level network population by population, in blocks
    of nodes: exact, also where degrees matter, and with one byte per neuron
    between populations. At any time, real values exist for one block and its
    in-neighbours only.

    Args:
        snn (SpikingModel): The converted network.
        *args (Any): The arguments of its :meth:`forward`, or PyG data.
        block_size (int, optional): Nodes per block. (default: :obj:`4096`)
        progress (bool, optional): Whether a bar is shown.
            (default: :obj:`False`)
        **kwargs (Any): Keyword arguments of its :meth:`forward`.

    Returns:
        torch.Tensor: The outputs of every node, as :meth:`forward` returns them.

    Raises:
        NotImplementedError: If an operation mixes nodes otherwise than by
            neighbourhoods, such as pooling.
        ValueError: If the inputs do not fit, or :obj:`block_size` is not
            positive.

    Example:
        >>> import torch
        >>> from torch_geometric.nn.models import GCN
        >>> import spikegraph
        >>> _ = torch.manual_seed(0)
        >>> edge_index = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 0]])
        >>> model, x = GCN(4, 8, 2, 3), torch.rand(5, 4)
        >>> snn = spikegraph.convert(model, (x, edge_index))
        >>> out = layerwise(snn, x, edge_index, progress=False)
        >>> torch.allclose(out, snn(x, edge_index))
        True
    """
    check_spiking(snn)
    check_bools(progress=progress)
    if not isinstance(block_size, int):
        raise ValueError(f"Expected 'block_size' to be an integer (got {block_size!r})")
    if block_size < 1:
        raise ValueError(f"Expected 'block_size' to be at least 1 (got {block_size})")
    values = _Layerwise(snn, snn.bind(*args, **kwargs), block_size).run(progress)
    return snn.returned(values, args, kwargs)


class _Layerwise:
    def __init__(
        self, snn: SpikingModel, inputs: dict[str, Any], block_size: int
    ) -> None:
        self.network = snn.network
        self.nodes = list(snn.network.nodes)
        self.block_size = block_size
        self.stored: dict[Node, Spikes] = {}
        self.static: dict[Node, Any] = {}
        self.adjacency: dict[Node, Adjacency] = {}
        for node in self.nodes:
            if node.op == 'placeholder':
                self.static[node] = inputs[str(node.target)]
        self.features = self._find_features(snn)
        self.num_nodes = self._count_nodes()
        self.moving = self._find_moving()

    def _find_features(self, snn: SpikingModel) -> list[Node]:
        """What holds a row of features for each node of the data."""
        currents = [v for v in snn.report.currents if not snn.spec.holds_currents(v)]
        found = []
        for node in self.nodes:
            if node.op == 'placeholder' and node.target in currents:
                found.append(node)
            elif node.record.encodes:
                found += node.all_input_nodes[:1]
        return found

    def _count_nodes(self) -> int:
        numbers = [self._constant(node).size(0) for node in self.features]
        if len(set(numbers)) != 1:
            raise NotImplementedError(
                'Cannot run a network layer by layer whose inputs have different or '
                f"unknown numbers of rows (got {numbers}); use 'forward', or a loader"
            )
        return int(numbers[0])

    def _find_moving(self) -> set[Node]:
        """What depends on the features; refuses what does not work node by node
        before any work is done.
        """
        moving = set(self.features)
        for node in self.nodes:
            if not moving.intersection(node.all_input_nodes):
                continue
            target = self.network.operation(node)
            if target == 'size' and node.args[1:] == (0,):
                self.static[node] = self.num_nodes
            elif not isinstance(target, DegreeFactor):  # It reads the shape only.
                moving.add(node)
                if not self._is_known(node, moving):
                    raise NotImplementedError(
                        f"Cannot run '{node.record.stands_for}' layer by layer: it "
                        "may mix nodes that are not neighbours; use 'forward', or a loader"
                    )
        return moving

    def _is_known(self, node: Node, moving: set[Node]) -> bool:
        if node.op == 'output':
            return True
        target = self.network.operation(node)
        if isinstance(target, (GraphFilter, EarliestNeighbor)):
            fixed = all(n not in moving for n in node.args[1:] if _is_node(n))
            member = isinstance(getattr(target, 'shift', None), MemberShift)
            return fixed and not member
        if isinstance(target, (nn.Softmax, nn.LogSoftmax)):
            return target.dim in _COLUMNS
        if isinstance(target, Leading):
            return target.dim in _COLUMNS[:1]
        op = op_for(target)
        if isinstance(target, nn.Module):
            known = (
                Delay,
                Rebase,
                PhaseNeuron,
                EarliestSpike,
                SpikingLinear,
                nn.BatchNorm1d,
            )
            return isinstance(target, known) or (op is not None and op.by_rows)
        if op is not None and op.along is not None:
            position, default = op.along
            given = (*node.args, *[default] * 3)[position]
            return node.kwargs.get('dim', given) in _COLUMNS
        return op is not None and op.by_rows

    def run(self, progress: bool) -> Any:
        goals = [n for n in self.nodes if n.role.fires]
        device = self._constant(self.features[0]).device
        blocks = torch.arange(self.num_nodes, device=device).split(self.block_size)
        total = (len(goals) + 1) * len(blocks)
        bar = tqdm(total=total, desc='Layer-wise', leave=False, disable=not progress)
        for goal in goals:
            parts = []
            for rows in blocks:
                parts.append(self._pull(goal, rows))
                bar.update()
            self.stored[goal] = _concatenate(parts)
        outputs: dict[Node, list[Any]] = {
            node: [] for node in self.nodes[-1].all_input_nodes if node in self.moving
        }
        for rows in blocks:
            for node, parts in outputs.items():
                parts.append(values_of(self._pull(node, rows)))
            bar.update()
        bar.close()

        def whole(node: Node) -> Any:
            found = node in outputs
            return torch.cat(outputs[node]) if found else self._constant(node)

        return pytree.tree_map_only(Node, whole, self.nodes[-1].args[0])

    def _constant(self, node: Node) -> Any:
        """The value of a node that does not depend on the features."""
        if node not in self.static:
            like = self._like() if self._is_factor(node) else None
            env = {
                n: like if like is not None and i == 0 else self._constant(n)
                for i, n in enumerate(node.all_input_nodes)
            }
            self.static[node] = run_node(self.network, node, env)
        return self.static[node]

    def _is_factor(self, node: Node) -> bool:
        return isinstance(self.network.operation(node), DegreeFactor)

    def _like(self) -> Tensor:
        """Stands for the features where only their number of rows matters."""
        return self._constant(self.features[0]).new_empty(self.num_nodes, 0)

    def _pull(self, node: Any, rows: Tensor) -> Any:
        """The value of a node of the graph, at some nodes of the data."""
        if not isinstance(node, Node):
            return node
        if node in self.stored:
            return self.stored[node][rows]
        if node in self.features:
            return self._constant(node)[rows]
        if node not in self.moving:
            value = self._constant(node)
            is_per_node = isinstance(value, Tensor) and value.dim() > 1
            return (
                value[rows] if is_per_node and len(value) == self.num_nodes else value
            )
        target = self.network.operation(node)
        if isinstance(target, GraphFilter):
            return self._filter(node, target, rows)
        if isinstance(target, EarliestNeighbor):
            local, sources = _restrict(self._graph(node, target), rows)
            edge_index = torch.stack([local.col, _targets(local)])
            return target(self._pull(node.args[0], sources), edge_index, len(rows))
        env = {n: self._pull(n, rows) for n in node.all_input_nodes}
        return run_node(self.network, node, env)

    def _graph(self, node: Node, layer: Any) -> Adjacency:
        if node not in self.adjacency:
            graph = [self._constant(v) if _is_node(v) else v for v in node.args[1:]]
            self.adjacency[node] = layer.shift(self._like(), *graph)
        return self.adjacency[node]

    def _filter(self, node: Node, layer: GraphFilter, rows: Tensor) -> Tensor:
        adjacency = self._graph(node, layer)
        # Backwards: which rows each hop needs. Forwards: their values.
        hops: list[Adjacency] = []
        needed = [rows]
        for _ in range(layer.num_hops):
            local, sources = _restrict(adjacency, needed[-1], keep=True)
            hops.append(local)
            needed.append(sources)
        values = values_of(self._pull(node.args[0], needed[-1]))
        zero = values.new_zeros(len(rows), values.size(1))
        terms = [zero] * len(layer.coefficients)
        for k in range(layer.num_hops + 1):
            if k > 0:
                values = propagate(hops[-k], values)
            current = needed[layer.num_hops - k]
            own = values[torch.searchsorted(current, rows)]
            for m, row in enumerate(layer.coefficients):
                if k < len(row) and row[k] != 0:
                    term = row[k] * own
                    terms[m] = term if terms[m] is zero else terms[m] + term
        out = torch.cat(terms, dim=-1)
        if layer.weight is not None:
            return multiply_rows(out, Weights(layer.weight, layer.bias))
        return out if layer.bias is None else out + layer.bias


def _is_node(value: Any) -> TypeGuard[Node]:
    return isinstance(value, Node)


def _restrict(
    adjacency: Adjacency, rows: Tensor, keep: bool = False
) -> tuple[Adjacency, Tensor]:
    """The in-edges of some destinations, and their sources, sorted; with
    ``keep``, the destinations are among the sources.
    """
    counts = adjacency.rowptr.diff()[rows]
    rowptr = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    positions = torch.arange(int(rowptr[-1]), device=rows.device)
    offset = positions - rowptr[:-1].repeat_interleave(counts)
    edges = adjacency.rowptr[rows].repeat_interleave(counts) + offset
    col = adjacency.col[edges]
    sources = torch.cat([col, rows]).unique() if keep else col.unique()

    def at(value: Tensor | None, index: Tensor) -> Tensor | None:
        return None if value is None else value[index]

    local = Adjacency(
        rowptr=rowptr,
        col=torch.searchsorted(sources, col),
        weight=at(adjacency.weight, edges),
        source_factor=at(adjacency.source_factor, sources),
        target_factor=at(adjacency.target_factor, rows),
        num_sources=len(sources),
    )
    return local, sources


def _targets(adjacency: Adjacency) -> Tensor:
    counts = adjacency.rowptr.diff()
    targets = torch.arange(counts.numel(), device=counts.device)
    return targets.repeat_interleave(counts)


def _concatenate(parts: list[Spikes]) -> Spikes:
    first = parts[0]
    scale = first.scale
    if scale.dim() > 1 and scale.size(0) == first.shape[0]:
        scale = torch.cat([part.scale for part in parts])
    return Spikes(torch.cat([p.spike_time for p in parts]), first.code, scale)
