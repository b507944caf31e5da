"""What a model is given, and what it asks: the inputs of the graph that is made."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

import torch
from torch import Tensor, fx
from torch_geometric.data.data import BaseData

from spikegraph.calls.errors import UserError, ValueKept
from spikegraph.calls.inputs import (
    Asked,
    Container,
    Leaf,
    Path,
    answer_of,
    is_named,
    is_value,
)
from spikegraph.calls.outputs import Form
from spikegraph.conversion.tracing.examples import describe_example
from spikegraph.conversion.tracing.numbers import Numbers, is_symbolic
from spikegraph.conversion.tracing.objects import InputObject
from spikegraph.conversion.tracing.proxies import Traced
from spikegraph.conversion.tracing.questions import (
    Questions,
    Where,
    may_lose_dimensions,
)
from spikegraph.conversion.tracing.refusals import refusal
from spikegraph.conversion.tracing.replacement import Layers
from spikegraph.network.graph import Seen


class Entering(fx.Tracer):
    """Lets arguments of a model enter the graph, and answers questions about them.

    Args:
        layers (Layers): The modules of the model.
        questions (Questions): What the model asks.
        numbers (Numbers): The modules in which numbers stay symbolic.
        static (Sequence[str], optional): Inputs that are no features.
    """

    def __init__(
        self,
        layers: Layers,
        questions: Questions,
        numbers: Numbers,
        static: Sequence[str] = (),
    ) -> None:
        # No module is patched: Numba, which compiles on first use, reads 'math'.
        super().__init__(())  # type: ignore[arg-type]
        self.layers = layers
        self.questions = questions
        self.numbers = numbers
        self.static = static
        self.thread = threading.get_ident()
        self.clock = 0  # Counts writes.
        self.failed: list[str] = []  # Operations that fail on the calibration data.
        self.form = Form('value')  # Of what the model returns.
        self.closed = False  # When the model has been traced.
        self.leaves: list[Leaf] = []
        self.containers: list[Container] = []
        self.asked: list[Asked] = []
        self._entered: dict[tuple[str, Path], Traced] = {}
        self._noted: set[str] = set()

    # Inputs.

    def argument(self, name: str, path: Path, value: Any) -> Any:
        """An argument of the model, its tensors symbolic."""
        if isinstance(value, BaseData):
            self._hold(name, path, 'data', (type(value).__name__,))
            return InputObject(self, name, path, value)
        if isinstance(value, Mapping):
            held = [key for key, item in value.items() if item is not None]
            self._hold(name, path, 'dict', tuple(held))
            return {
                key: self.argument(name, (*path, ('item', key)), item)
                for key, item in value.items()
            }
        if isinstance(value, (list, tuple)):
            keys = getattr(value, '_fields', range(len(value)))
            kind = 'named' if is_named(value) else type(value).__name__
            self._hold(name, path, kind, tuple(keys))
            parts = [
                self.argument(name, (*path, ('item', i)), item)
                for i, item in enumerate(value)
            ]
            if is_named(value):
                return type(value)(*parts)
            return parts if isinstance(value, list) else tuple(parts)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if is_value(value) or is_number:
            return self._enter_value(name, path, value)
        if path:
            self.note_input(name, path, 'value', answer_of('value', value))
        return value

    def enter(self, argument: str, path: Path, value: Any) -> Any:
        """What is read from PyG data."""
        if (argument, path) in self._entered:
            return self._entered[argument, path]
        kind = type(value).__name__
        if kind.endswith('Storage') and hasattr(value, '_mapping'):
            self._hold(argument, path, 'storage', ())
            return InputObject(self, argument, path, value)
        return self.argument(argument, path, value)

    def _hold(self, name: str, path: Path, kind: str, keys: tuple[Any, ...]) -> None:
        known = ('dict', 'list', 'named', 'data', 'storage')
        kind = kind if kind in known else 'tuple'
        container = Container(name, path, kind, keys)
        if container not in self.containers:
            self.containers.append(container)

    def _enter_value(self, argument: str, path: Path, value: Any) -> Traced:
        if (argument, path) not in self._entered:
            leaf = Leaf(
                self._input_name(argument, path),
                argument,
                path,
                describe_example(value),
            )
            self.leaves.append(leaf)
            behind = [n for n in self.graph.nodes if n.op == 'placeholder']
            first = next(iter(self.graph.nodes), None)
            if behind:
                place = self.graph.inserting_after(behind[-1])
            elif first is not None:
                place = self.graph.inserting_before(first)
            else:
                place = self.graph.inserting_after()
            with place:
                node = self.graph.create_node('placeholder', leaf.name)
            is_feature = isinstance(value, Tensor) and value.layout == torch.strided
            is_feature = is_feature and value.is_floating_point()
            kind = 'features' if is_feature else 'structure'
            if leaf.name in self.static or argument in self.static:
                kind = 'structure'
            node.meta['kind'] = kind if is_value(value) else 'sizes'
            self._describe(node, value)
            example = value.clone() if isinstance(value, Tensor) else value
            self._entered[argument, path] = Traced(node, self, example)
        return self._entered[argument, path]

    def _input_name(self, argument: str, path: Path) -> str:
        attributes = [str(key) for kind, key in path if kind == 'attr']
        parts = attributes or [argument]
        for kind, key in path:
            if kind == 'item':
                parts += [str(k) for k in (key if isinstance(key, tuple) else (key,))]
        parts[0] = parts[0].removesuffix('_dict') if len(parts) > 1 else parts[0]
        name = re.sub(r'\W', '_', '__'.join(parts))
        taken = {leaf.name for leaf in self.leaves}
        while name in taken:
            name += '_'
        return name

    def note_input(self, argument: str, path: Path, kind: str, answer: Any) -> None:
        """Remembers what was asked about an argument."""
        question = Asked(argument, path, kind, answer)
        if question not in self.asked:
            self.asked.append(question)

    def note(self, value: Traced, kind: str) -> None:
        """Remembers that a network depends on what a value is."""
        if value._made.op != 'placeholder':
            self._noted.add(kind)
            if kind == 'rank' and may_lose_dimensions(value.node):
                size: Any = self.create_proxy('call_method', 'size', (value,), {})
                self.ask(size, 'length')
            return
        leaf = next(v for v in self.leaves if v.name == value._made.target)
        answer = answer_of(kind, value._example)
        self.note_input(leaf.argument, leaf.path, kind, answer)

    def close(self) -> None:
        """What was asked about any value depends on all inputs."""
        for kind in self._noted - {'type'}:
            for value in self._entered.values():
                if isinstance(value._example, Tensor):
                    self.note(value, kind)

    # Questions.

    def refresh(self, value: Traced) -> None:
        """Takes a part anew if what it is a part of has been written to."""
        raise NotImplementedError

    def ask(self, value: Traced, what: str, frame: FrameType | None = None) -> Any:
        """The length or the value of something, see :class:`Questions`."""
        self._check_origin([value])
        self.refresh(value)
        try:
            return self.questions.ask(value, what, self.where(), frame)
        except UserError as error:  # Which the model may catch.
            self.failed.append(str(error))
            raise

    def number(self, value: Traced, what: str, frame: FrameType) -> Any:
        """What Python takes for nothing but a number, see :class:`Numbers`."""
        if what == 'length' or is_symbolic(value):
            self.numbers.check(frame)
        return self.ask(value, what)

    def _check_origin(self, values: list[Traced]) -> None:
        """Raises ``UserError`` for a value that the model has kept from another call."""
        for value in values:
            if value.tracer is not self or self.closed:
                raise refusal('kept', kind=ValueKept, where=self.where())

    def where(self) -> Where:
        """Where the model is."""
        return Where.now(next(reversed(self.module_stack), ''))

    def _describe(self, node: fx.Node, example: Any) -> None:
        if isinstance(example, Tensor):
            example = Seen(tuple(example.shape), example.dtype, example.layout)
        elif not isinstance(example, (bool, int, float)):
            example = None
        node.meta['example'] = example
