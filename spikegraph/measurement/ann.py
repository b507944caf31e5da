"""Counts what the ANN does, as its author wrote it: the model itself is run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from spikegraph.calls.call import copy_of, split_arguments
from spikegraph.calls.wrappers import own_modules, plain_copy
from spikegraph.measurement.counts import Counts, LayerCounts
from spikegraph.measurement.marks import marks_of
from spikegraph.measurement.operations import OperationCounter
from spikegraph.network.graph import Node, arguments
from spikegraph.network.interpreter import AnalogReading
from spikegraph.network.network import Network
from spikegraph.network.ops import Count, count_of
from spikegraph.nn import Analog, Operation, SpikingAffine
from spikegraph.nn.products import Delay, quotient
from spikegraph.running.model import SpikingModel

_FIELDS = (
    *('ann_macs', 'ann_macs_nonzero', 'ann_aggregation_macs'),
    'ann_multiplications',
)


class RowFinder:
    """Finds the row of the account that an operation of the ANN belongs to: that of
    the layer it is inside of, or of a layer inside the same module.

    Args:
        network (Network): The converted network.
        rows (Dict[str, LayerCounts]): The rows that there are.
    """

    def __init__(self, network: Network, rows: dict[str, LayerCounts]) -> None:
        self.at: dict[str, list[str]] = {}  # Rows of modules that are called.
        self.inside: dict[str, list[str]] = {}  # Rows made of what a module does.
        self.paths: list[tuple[str, str]] = []
        for node in network.nodes:
            if not node.op.startswith('call'):
                continue
            name, around = node.record.row, node.record.origin
            if node.op == 'call_module' and not node.record.is_own:
                self.at.setdefault(node.target, []).append(name)
                self.paths.append((node.target, name))
            elif name in rows and rows[name].role in ('layer', 'product'):
                self.inside.setdefault(around, []).append(name)
                self.paths.append((around, name))

    def find(self, path: str, call: int, number: int) -> str:
        """The name of a row.

        Args:
            path (str): The module that an operation is run by.
            call (int): Which call of the module it is.
            number (int): How many products that call has run before.
        """
        given = path
        while True:
            if path in self.at:
                return _nth(self.at[path], call)
            if path in self.inside:
                return _nth(self.inside[path], number)
            below = [
                name for p, name in self.paths if path and p.startswith(f'{path}.')
            ]
            if below:
                return below[0]
            if not path:
                return given.replace('.', '_') or 'model'
            path = path.rpartition('.')[0]


def _nth(names: list[str], index: int) -> str:
    return names[min(index, len(names) - 1)]


class ModelCounter:
    """One inference of the ANN, as its author wrote it: a copy of the model is run.

    Args:
        model (torch.nn.Module): The ANN; it is not changed.
        call (Dict[str, Any]): The arguments of ``forward``.
        snn (SpikingModel): The network that was converted from it.
        signals (Set[str]): The names of the inputs that are features.
        rows (Dict[str, LayerCounts]): The rows of the spiking network.

    Attributes:
        found (Dict[str, Counts]): What was counted, by row.
        uncounted (List[str]): What could not be.
    """

    @torch.no_grad()
    def __init__(
        self,
        model: nn.Module,
        call: dict[str, Any],
        snn: SpikingModel,
        signals: set[str],
        rows: dict[str, LayerCounts],
    ) -> None:
        model, call = plain_copy(model), copy_of(call)
        marks = marks_of(model, snn.spec.bind(**snn.spec.known(call)), signals)
        watch = _Watch(model, RowFinder(snn.network, rows))
        counter = OperationCounter(marks, watch.counts)
        try:
            with own_modules(model), counter:
                first, rest = split_arguments(model, call)
                model(*first, **rest)
        finally:
            watch.remove()
        self.found, self.uncounted = watch.found, unknown(counter)


def add_counts(rows: dict[str, LayerCounts], found: dict[str, Counts]) -> None:
    """Adds what the ANN does to the rows of an account."""
    for name, counts in found.items():
        if any(getattr(counts, field) for field in _FIELDS):
            total = rows.setdefault(name, LayerCounts(name, 'layer')).counts
            for field in _FIELDS:
                setattr(total, field, getattr(total, field) + getattr(counts, field))


def unknown(counter: OperationCounter) -> list[str]:
    """The operations that a counter could not count."""
    return [f'{name} of the ANN' for name in dict.fromkeys(counter.uncounted)]


class _Watch:
    """Follows which module of a model is running."""

    def __init__(self, model: nn.Module, finder: RowFinder) -> None:
        self.finder = finder
        self.found: dict[str, Counts] = {}
        self.stack: list[tuple[str, int]] = [('', 0)]
        self.calls: dict[str, int] = {}
        self.numbers: dict[tuple[str, int], int] = {}
        self.handles = []
        for path, module in model.named_modules():
            if path and not isinstance(module, torch.jit.ScriptModule):
                enter = module.register_forward_pre_hook(self._enter(path))
                leave = module.register_forward_hook(self._leave, always_call=True)
                self.handles += [enter, leave]

    def counts(self, name: str) -> Counts:
        """Where an operation is counted that runs now."""
        place = self.stack[-1]
        number = self.numbers.get(place, 0)
        if count_of(name) is Count.PRODUCT:
            self.numbers[place] = number + 1
        row = self.finder.find(*place, number)
        return self.found.setdefault(row, Counts())

    def remove(self) -> None:
        """Takes the hooks away."""
        for handle in self.handles:
            handle.remove()

    def _enter(self, path: str) -> Callable[..., None]:
        def enter(*_: Any) -> None:
            number = self.calls.get(path, 0)
            self.calls[path] = number + 1
            self.stack.append((path, number))

        return enter

    def _leave(self, *_: Any) -> None:
        self.stack.pop()


class AnalogCounter(AnalogReading):
    """One inference of the ANN, as its network is read where the model itself is not
    at hand: the layers are those of the spiking network, with batch norms folded.

    Args:
        snn (SpikingModel): The spiking network.
        inputs (Dict[str, Any]): Its inputs by name.
        signals (Set[str]): The names of those that are features.

    Attributes:
        found (Dict[str, Counts]): What was counted, by the row of the node.
        uncounted (List[str]): What could not be.
    """

    forgets = False

    def __init__(
        self, snn: SpikingModel, inputs: dict[str, Any], signals: set[str]
    ) -> None:
        super().__init__(snn.network)
        self.found: dict[str, Counts] = {}
        self.marks = marks_of(self.network, inputs, signals)
        self.counter = OperationCounter(self.marks, self._counts)
        self.run(inputs)
        self.uncounted = unknown(self.counter)

    def _counts(self, _: str) -> Counts:
        return self.found.setdefault(self.row, Counts())

    def evaluate(self, node: Node) -> Any:
        is_quotient = self.network.operation(node) is quotient
        self.row = 'output' if is_quotient else node.record.row
        return super().evaluate(node)

    def call(self, node: Node) -> Any:
        with self.counter:
            return super().call(node)

    def population(self, node: Node) -> Any:
        if 'divisor' in node.kwargs:
            self._counts('').ann_multiplications += self.env[node.args[0]].numel()
        return self.marks.note(super().population(node))

    def gate(self, node: Node) -> Any:
        value = super().gate(node)
        if isinstance(self.network.operation(node), Delay):
            self._counts('').ann_multiplications += value.numel()
        return self.marks.note(value)

    def layer(self, node: Node) -> Any:
        layer = self.network.operation(node)
        if isinstance(layer, SpikingAffine):
            return self.call(node)
        args, kwargs = arguments(node, self.env)
        x, counts = (args[0] if args else kwargs['x']), self._counts('')
        for item in layer.operations(*args, **kwargs):
            if item.kind == 'transform':
                counts.ann_macs += item.num
                counts.ann_macs_nonzero += _num_met(x, item)
            elif item.kind != 'scaling':  # Edges bring the factors of nodes with them.
                counts.ann_aggregation_macs += item.num
        return self.marks.note(super().call(node))

    def analog(self, node: Node) -> Any:
        module = self.network.operation(node)
        if not isinstance(module, Analog):
            return self.call(node)
        args, _ = arguments(node, self.env)
        self._counts('').ann_macs += module.macs(*args)
        return self.marks.note(super().call(node))


def _num_met(x: Any, item: Operation) -> int:
    """The products with values that are not zero."""
    parts = [p for p in pytree.tree_leaves(x) if isinstance(p, Tensor)]
    size = sum(part.numel() for part in parts)
    if isinstance(item.fan_out, Tensor) and len(parts) == 1:
        return int(((parts[0] != 0) * item.fan_out).sum(dtype=torch.float64))
    num = sum(int(part.count_nonzero()) for part in parts)
    return item.num * num // max(1, size)
