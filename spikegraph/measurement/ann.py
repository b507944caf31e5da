"""Counts what the ANN does, as its author wrote it: the model itself is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn

from spikegraph.calls.call import copy_of, split_arguments
from spikegraph.calls.wrappers import plain_copy
from spikegraph.measurement.counts import Counts, LayerCounts
from spikegraph.measurement.marks import Mark, Marks
from spikegraph.measurement.operations import OperationCounter
from spikegraph.network.ops import Count, count_of

_OURS = ('products', 'pools', 'neurons', 'gates', 'factors', 'relays')
_FIELDS = (
    *('ann_macs', 'ann_macs_nonzero', 'ann_aggregation_macs'),
    'ann_multiplications',
)
Inputs = Callable[[dict[str, Any]], Iterable[tuple[str, Tensor]]]


class RowFinder:
    """Finds the row of the account that an operation of the ANN belongs to: that of
    the layer it is inside of, or of a layer inside the same module.

    Args:
        network (torch.fx.GraphModule): The converted structure, as it was traced.
        names (Callable): The name of a node's row.
        rows (Dict[str, LayerCounts]): The rows that there are.
    """

    def __init__(
        self,
        network: fx.GraphModule,
        names: Callable[[fx.Node], str],
        rows: dict[str, LayerCounts],
    ) -> None:
        self.at: dict[str, list[str]] = {}  # Rows of modules that are called.
        self.inside: dict[str, list[str]] = {}  # Rows made of what a module does.
        self.paths: list[tuple[str, str]] = []
        for node in network.graph.nodes:
            if node.op not in ('call_module', 'call_function', 'call_method'):
                continue
            name = names(node)
            stack = list(node.meta.get('nn_module_stack', {}).values())
            around = str(stack[-1][0]) if stack else ''
            target = str(node.target)
            first, _, rest = target.partition('.')
            if node.op == 'call_module' and first not in _OURS:
                self.at.setdefault(target, []).append(name)
                self.paths.append((target, name))
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
