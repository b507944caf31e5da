"""Counts what the ANN does, as its author wrote it: the model itself is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from spikegraph.calls.call import copy_of, split_arguments
from spikegraph.calls.wrappers import plain_copy
from spikegraph.measurement.counts import Counts, LayerCounts
from spikegraph.measurement.marks import Mark, Marks, tensors_in
from spikegraph.measurement.operations import OperationCounter
from spikegraph.measurement.roles import PRODUCTS
from spikegraph.network.graph import Node, arguments
from spikegraph.network.interpreter import AnalogReading
from spikegraph.network.network import Network
from spikegraph.nn import Analog, Operation, SpikingAffine
from spikegraph.running.model import SpikingModel

_FIELDS = (
    *('ann_macs', 'ann_macs_nonzero', 'ann_aggregation_macs'),
    'ann_multiplications',
)
Inputs = Callable[[dict[str, Any]], Iterable[tuple[str, Tensor]]]


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
            elif name in rows and rows[name].role == 'layer':
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


@torch.no_grad()
def count_ann(
    model: nn.Module,
    call: dict[str, Any],
    inputs: Inputs,
    signals: set[str],
    finder: RowFinder,
    rows: dict[str, LayerCounts],
) -> list[str]:
    """Runs a model and adds what it does to the rows of an account.

    Args:
        model (torch.nn.Module): The ANN; it is not changed.
        call (Dict[str, Any]): The arguments of ``forward``.
        inputs (Callable): Finds the tensors in the arguments, by name.
        signals (Set[str]): The names of those that are features.
        finder (RowFinder): Tells which row an operation belongs to.
        rows (Dict[str, LayerCounts]): The account.

    Returns:
        List[str]: What could not be counted.
    """
    model, call = plain_copy(model), copy_of(call)
    marks = Marks()
    for parameter in model.parameters():
        marks[parameter] = Mark('weight')
    for name, value in inputs(call):
        marks[value] = Mark('signal' if name in signals else 'fixed')
    watch = _Watch(model, finder)
    counter = OperationCounter(marks, watch.counts)
    try:
        with counter:
            first, rest = split_arguments(model, call)
            model(*first, **rest)
    finally:
        watch.remove()
    for name, counts in watch.found.items():
        if any(getattr(counts, field) for field in _FIELDS):
            total = rows.setdefault(name, LayerCounts(name, 'layer')).counts
            for field in _FIELDS:
                setattr(total, field, getattr(total, field) + getattr(counts, field))
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
        if name in PRODUCTS:
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
        self.marks = Marks()
        for parameter in self.network.parameters():
            self.marks[parameter] = Mark('weight')
        for name, value in tensors_in(inputs):
            self.marks[value] = Mark('signal' if name in signals else 'fixed')
        self.counter = OperationCounter(self.marks, self._counts)
        self.run(inputs)
        unknown = dict.fromkeys(self.counter.uncounted)
        self.uncounted = [f'{name} of the ANN' for name in unknown]

    def _counts(self, _: str) -> Counts:
        return self.found.setdefault(self.row, Counts())

    def evaluate(self, node: Node) -> Any:
        self.row = node.record.row
        return super().evaluate(node)

    def call(self, node: Node) -> Any:
        with self.counter:
            return super().call(node)

    def _marked(self, value: Any) -> Any:
        for part in pytree.tree_leaves(value):
            if isinstance(part, Tensor):
                self.marks[part] = Mark('signal')
        return value

    def population(self, node: Node) -> Any:
        return self._marked(super().population(node))

    def gate(self, node: Node) -> Any:
        return self._marked(super().gate(node))

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
        return self._marked(super().call(node))

    def analog(self, node: Node) -> Any:
        module = self.network.operation(node)
        if not isinstance(module, Analog):
            return self.call(node)
        args, _ = arguments(node, self.env)
        self._counts('').ann_macs += module.macs(*args)
        return self._marked(super().call(node))


def _num_met(x: Any, item: Operation) -> int:
    """The products with values that are not zero."""
    parts = [p for p in pytree.tree_leaves(x) if isinstance(p, Tensor)]
    size = sum(part.numel() for part in parts)
    if isinstance(item.fan_out, Tensor) and len(parts) == 1:
        return int(((parts[0] != 0) * item.fan_out).sum(dtype=torch.float64))
    num = sum(int(part.count_nonzero()) for part in parts)
    return item.num * num // max(1, size)
