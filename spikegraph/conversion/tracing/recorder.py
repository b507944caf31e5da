"""Records what is done to symbolic values, and does it to their examples."""

from __future__ import annotations

import operator
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx, nn, strided
from torch.overrides import is_tensor_method_or_property

from spikegraph.calls.errors import ExampleError, UserError
from spikegraph.conversion.operations.probing import keep_sample
from spikegraph.conversion.operations.refusals import STATE, VIEW
from spikegraph.conversion.operations.rules import rule_at
from spikegraph.conversion.tracing.entering import Entering
from spikegraph.conversion.tracing.objects import InputObject
from spikegraph.conversion.tracing.proxies import (
    FIXED_FUNCTIONS,
    Traced,
    View,
    examples_of,
    find_traced,
    map_values,
)
from spikegraph.conversion.tracing.questions import depends_on
from spikegraph.conversion.tracing.refusals import refusal
from spikegraph.conversion.tracing.symbolic import with_type_of
from spikegraph.conversion.tracing.writing import (
    functional,
    is_same,
    may_be_a_copy,
    may_write,
    memory_of,
    storages,
)
from spikegraph.network.functions import replace_part, write_through
from spikegraph.network.interpreter import call_module
from spikegraph.network.naming import called
from spikegraph.nn import SpikeGate, SpikingLayer

# What PyTorch takes types of Python for.
_DTYPES: dict[Any, Any] = {bool: torch.bool, int: torch.int64, float: torch.float64}


class Recorder(Entering):
    """The graph that is being made, and the examples of its values; see
    :class:`Entering` for its arguments.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.running = False  # On examples.
        self._written: dict[int, tuple[Tensor, Traced]] = {}
        self._own: dict[int, tuple[Tensor, str, Any]] = {}
        self._parameters: dict[int, Traced] = {}

    # Operations.

    def record(self, function: Any, args: Any, kwargs: Any) -> Any:
        """Records a function or a method of PyTorch."""
        name = getattr(function, '__name__', '')
        self.questions.retract(find_traced((args, kwargs)))
        if not is_tensor_method_or_property(function):
            shown = self.graph._target_to_str(name)
            return self.create_proxy('call_function', function, args, kwargs, shown)
        if name == '__get__':  # Of a property: a tensor that has been written to.
            owner = self._adopted(args)[0]
            return getattr(owner, function.__self__.__name__)
        plain = name.strip('_')
        if name.startswith('__') and hasattr(operator, plain):
            target = getattr(operator, plain)
            return self.create_proxy('call_function', target, args, kwargs)
        if name.startswith('__r') and hasattr(operator, plain[1:]):
            target = getattr(operator, plain[1:])
            return self.create_proxy('call_function', target, args[::-1], kwargs)
        return self.create_proxy('call_method', name, args, kwargs)

    def create_proxy(
        self,
        kind: str,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None = None,
        type_expr: Any = None,
        proxy_factory_fn: Any = None,
    ) -> Any:
        if kind == 'call_method':
            target, args, kwargs = with_type_of(target, args, kwargs)
        args, kwargs = self._adopted(args), self._adopted(kwargs)
        if may_write(target, kwargs):
            args, kwargs = self._adopt(args), self._adopt(kwargs, 'out')
        values = find_traced((args, kwargs))
        if target in (operator.eq, operator.ne) and len(args) == 2:
            if any(value.tracer is not self or self.closed for value in values):
                return (args[0] is args[1]) == (target is operator.eq)
        self._check_origin(values)
        for value in values:
            self.refresh(value)
        versions = [self._version(value._example) for value in values]
        try:
            example = self.run(kind, target, examples_of(args), examples_of(kwargs))
        except Exception as error:
            self.failed.append(f'{type(error).__name__}: {error} ({self.where()})')
            raise
        if kind == 'call_function' and target in FIXED_FUNCTIONS:
            self.note(values[0], FIXED_FUNCTIONS[target])
            return example
        written = [
            value
            for value, version in zip(values, versions, strict=True)
            if self._version(value._example) != version
        ]
        if written:
            return self._write(kind, target, args, kwargs, written, example)
        node = self.add(kind, target, args, kwargs, name, example)
        if example is None:
            self._note_nothing(node)
            return None
        found = Traced(node, self, example, self._view(node, example, values))
        if kind == 'call_method' and target == 'size' and len(args) == 1:
            found._sized = args[0]
        return found

    def _note_nothing(self, node: fx.Node) -> None:
        """A part of an input that is missing, such as the values of a matrix without
        any, has to be so on every call.
        """
        if called(node) is operator.getitem and depends_on(node) == 'structure':
            found = Traced(node, self, None)
            bool(self.create_proxy('call_function', operator.is_, (found, None), {}))

    def add(
        self,
        kind: str,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None = None,
        example: Any = None,
    ) -> fx.Node:
        """Adds an operation to the graph."""
        args_, kwargs_ = self.create_arg(args), self.create_arg(kwargs)
        node = self.create_node(kind, target, args_, kwargs_, name)
        node.meta['where'] = self.where()
        self._describe(node, example)
        rule = rule_at(node)
        if kind != 'call_module' and (rule is None or rule.is_open):
            keep_sample(node, examples_of(args), examples_of(kwargs))
        return node

    def run(self, kind: str, target: Any, args: Any, kwargs: Any) -> Any:
        """Does something to examples."""
        with self.on_examples():
            if kind == 'call_function':
                return target(*args, **kwargs)
            if kind == 'call_method':
                return getattr(args[0], target)(*args[1:], **kwargs)
            module = self.layers.modules[target]
            try:
                if isinstance(module, SpikeGate):
                    return module.analog(*args, **kwargs)
                if isinstance(module, SpikingLayer):  # Spikes are never sparse tensors.
                    is_sparse = (
                        isinstance(args[0], Tensor) and args[0].layout != strided
                    )
                    args = (args[0].to_dense() if is_sparse else args[0], *args[1:])
                return call_module(module, args, kwargs)
            except ValueError as error:  # Which says what to do.
                raise ExampleError(ValueError, f'{error} ({self.where()})') from error

    @contextmanager
    def on_examples(self) -> Iterator[None]:
        """Lets PyTorch work as ever, on values that are not symbolic."""
        running, self.running = self.running, True
        try:
            yield
        finally:
            self.running = running

    # Writes in place.

    def _adopted(self, args: Any) -> Any:
        """Arguments in which a tensor that has been written to is symbolic."""
        if not self._written:
            return args

        def own(value: Any) -> Any:
            if isinstance(value, Tensor) and type(value) is not Traced:
                if id(value) in self._written:
                    return self._written[id(value)][1]
                self._check_alone(value)
            return value

        return map_values(own, args)

    def _check_alone(self, value: Tensor) -> None:
        """Raises ``UserError`` for a tensor that shows what another one, which has been
        written to, held on the calibration data.
        """
        with self.on_examples():
            here = memory_of(value)
            others = [memory_of(tensor) for tensor, _ in self._written.values()]
        if here is not None and here in others:
            raise refusal('shared', where=self.where())

    def _version(self, example: Any) -> Any:
        with self.on_examples():
            is_counted = isinstance(example, Tensor) and not example.is_inference()
            return example._version if is_counted else None

    def knows(self, args: Any) -> bool:
        """Whether something symbolic is in an argument."""
        found = find_traced(args)
        return bool(found) or bool(find_traced(self._adopted(args)))

    def _adopt(self, args: Any, key: str | int = 0) -> Any:
        """Makes the tensor that is written to symbolic."""
        is_named = isinstance(args, dict)
        value = args.get(key) if is_named else (*args, None)[0]
        stored = value._example if type(value) is Traced else value
        path = self._state_path(stored)
        if path is not None:
            raise UserError(NotImplementedError, STATE.format(path, self.where()))
        if type(value) is Traced or not isinstance(value, Tensor):
            return args
        node = self.add_constant(value)
        self._written[id(value)] = (value, Traced(node, self, value))
        self._describe(node, value)
        return self._adopted(args)

    def _state_path(self, stored: Any) -> str | None:
        """The parameter or buffer that a tensor is, or shows a part of."""
        paths = self.layers.tensor_paths()
        if id(stored) in paths or not isinstance(stored, Tensor):
            return paths.get(id(stored))
        with self.on_examples():
            return self.layers.memory_paths().get(memory_of(stored) or 0)

    def _write(
        self,
        kind: str,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        written: list[Traced],
        example: Any,
    ) -> Any:
        """Lets whoever reads a value that was written to read the result."""
        value: Any = kwargs.get('out', (*args, None)[0])
        if not any(value is v for v in written):
            self._refuse_write(str(target))
        kind, target, args, kwargs = functional(kind, target, args, kwargs)
        value.node = self.add(kind, target, args, kwargs, None, value._example)
        self.clock += 1
        value._stamp = value._changed = self.clock
        if may_be_a_copy(value):  # Depends on how the inputs lie in memory.
            self._noted.add('contiguous')
        self._write_back(value)
        return value if example is value._example else None

    def _write_back(self, value: Traced) -> None:
        """A part that was written to changes what it is a part of."""
        while value._view is not None:
            source, view = value._view.source, value._view.node
            node = self._written_whole(source, view, value)
            if node is None:  # To be refused if it is read once more.
                source._lost = self.where()
                return
            source.node = node
            self._describe(node, source._example)
            source._stamp = source._changed = self.clock
            value = source

    def _written_whole(
        self, source: Traced, view: fx.Node, value: Traced
    ) -> fx.Node | None:
        """What a value is after a part of it has been written to."""
        with self.on_examples():
            shows_all = is_same(source._example, value._example)
        if shows_all:
            return value.node
        is_part = called(view) is operator.getitem
        if is_part and isinstance(source._example, (tuple, list)):
            parts = (source, view.args[1], value)
            return self.add('call_function', replace_part, parts, {})
        name = '__getitem__' if is_part else view.target
        name = name if isinstance(name, str) else getattr(name, '__name__', '')
        if view.op == 'call_module' or not hasattr(Tensor, name):
            return None
        whole = (source, value, name, view.args[1:], dict(view.kwargs))
        return self.add('call_function', write_through, whole, {})

    def _refuse_write(self, name: str) -> None:
        raise UserError(NotImplementedError, VIEW.format(name, self.where()))

    def refresh(self, value: Traced) -> None:
        """Takes a part anew if what it is a part of has been written to."""
        if value._lost is not None:
            self._refuse_write(f'{value.node.name}, {value._lost}')
        view = value._view
        if view is None:
            return
        self.refresh(view.source)
        above, changed = view.source, 0
        while True:
            changed = max(changed, above._changed)
            if above._view is None:
                break
            above = above._view.source
        if changed > value._stamp:
            old, new = view.node.all_input_nodes[0], view.source.node
            node = self.graph.node_copy(view.node, lambda n: new if n is old else n)
            value.node = node
            value._stamp = self.clock

    def _view(self, node: fx.Node, example: Any, values: list[Traced]) -> View | None:
        with self.on_examples():
            own = storages(example)
            for value in values:
                if own & storages(value._example):
                    return View(value, node)
        return None

    # Constants.

    def add_constant(self, value: Tensor) -> fx.Node:
        """A tensor that is no input, under a name of its own: conversion changes the
        weights of layers, and whoever else reads them wants them as trained.
        """
        known = self._own.get(id(value))
        if known is None or known[2] != self._version(value):
            path = self.layers.tensor_paths().get(id(value), 'constant')
            name = 'values_' + re.sub(r'\W+', '_', path)
            while self._is_taken(name):
                name += '_'
            kept = value.detach().clone()
            if isinstance(value, nn.Parameter):
                self.root.register_parameter(name, nn.Parameter(kept, False))
            else:
                self.root.register_buffer(name, kept)
            self._own[id(value)] = (value, name, self._version(value))
        node = self.create_node('get_attr', self._own[id(value)][1], (), {})
        node.meta['where'] = self.where()
        self._describe(node, value)
        return node

    def _is_taken(self, name: str) -> bool:
        """Whether the model has an attribute, without reading it."""
        root: Any = self.root
        places = (root._parameters, root._buffers, root._modules, vars(root))
        return any(name in place for place in places) or hasattr(type(root), name)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: Any) -> Any:
        """A parameter that is read; buffers become constants where they are used."""
        is_ours = threading.get_ident() == self.thread and not self.running
        if not is_ours or not isinstance(attr_val, nn.Parameter):
            return attr_val
        if id(attr_val) not in self._parameters:
            node = self.add_constant(attr_val)
            self._parameters[id(attr_val)] = Traced(node, self, attr_val)
        return self._parameters[id(attr_val)]

    def create_arg(self, a: Any) -> Any:
        if type(a) is Traced:
            self.refresh(a)
            return a.node
        if type(a) is fx.Node:
            return a
        if type(a) is InputObject:
            raise refusal('passed', f"'{a._argument}'", where=self.where())
        if issubclass(type(a), Tensor):
            known = self._written.get(id(a))
            if known is not None:
                return known[1].node
            self._check_alone(a)
            return self.add_constant(a)
        return super().create_arg(_DTYPES[a] if type(a) is type and a in _DTYPES else a)
