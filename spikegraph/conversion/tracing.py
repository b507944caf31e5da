from __future__ import annotations

import dis
import inspect
import operator
import threading
from collections.abc import Iterator
from functools import partial
from types import FrameType
from typing import Any

import torch
import torch_geometric.nn as pyg_nn
from torch import Tensor, fx, nn
from torch.nn.parameter import UninitializedParameter
from torch_geometric.nn.aggr import Aggregation
from torch_geometric.nn.conv import MessagePassing

from spikegraph.conversion.call import CallSpec, parameters_of
from spikegraph.conversion.formulas import recognise
from spikegraph.conversion.message_passing import call_traced, can_trace
from spikegraph.conversion.replacement import (
    Originals,
    TraceOptions,
    Unconvertible,
    UserError,
    convert_layers,
)
from spikegraph.conversion.rules import (
    IN_PLACE,
    is_leaf,
    rule_for,
)
from spikegraph.conversion.sizes import SizeProxy, UnknownSize
from spikegraph.conversion.symbolic import GRAPH_FUNCTIONS, traceable_functions
from spikegraph.conversion.wrappers import plain_copy
from spikegraph.nn import SpikingTwin
from spikegraph.nn.routing import of_length

_VIEWS = {
    *(operator.getitem, torch.reshape, torch.flatten, torch.squeeze),
    *(torch.unsqueeze, torch.transpose, 'view', 'reshape', 'flatten', 't', 'squeeze'),
    *('unsqueeze', 'transpose', 'permute', 'chunk', 'split', 'expand', 'detach'),
}

# Tracing replaces functions and methods of torch for all threads.
_LOCK = threading.RLock()


class _DataProxy(SizeProxy):
    """A PyG data object whose absent attributes are absent, not symbolic."""

    def __getattr__(self, name: str) -> Any:
        keys = self.tracer.spec.data_keys or ()  # type: ignore[attr-defined]
        if name in keys or name.startswith('num_'):
            return super().__getattr__(name)
        if name in ('x', 'edge_index', 'edge_attr', 'edge_weight', 'batch', 'pos'):
            return None  # As PyG's data objects answer.
        raise AttributeError(f"the calibration data has no attribute '{name}'")


class _Tracer(fx.Tracer):
    """Traces a copy of the model whose layers have been converted."""

    def __init__(
        self,
        spec: CallSpec,
        originals: Originals,
        sizes: dict[tuple[str, str], Any],
    ) -> None:
        super().__init__(autowrap_functions=GRAPH_FUNCTIONS)
        self.trace_asserts = True
        self.thread = threading.get_ident()
        self.spec = spec
        self.originals = originals
        self.whole: dict[nn.Module, str] = {}  # Layers that cannot be looked into.
        self.sizes = sizes  # Those that are known, by node.

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_leaf(m) and (m in self.whole or not can_trace(m))

    def proxy(self, node: fx.Node) -> fx.Proxy:
        if node.op == 'placeholder' and node.target in self.spec.data_names:
            return _DataProxy(node, self)
        return SizeProxy(node, self)

    def create_arg(self, a: Any) -> Any:
        """A proxy that passes for a tensor is none."""
        return a.node if issubclass(type(a), fx.Proxy) else super().create_arg(a)

    def create_args_for_root(
        self, root_fn: Any, is_module: bool, concrete_args: Any = None
    ) -> tuple[Any, list[Any]]:
        """Gives a dictionary of inputs a placeholder for each entry."""
        function, args = super().create_args_for_root(root_fn, is_module, concrete_args)
        found = {
            arg.node.target: i
            for i, arg in enumerate(args)
            if isinstance(arg, fx.Proxy) and arg.node.op == 'placeholder'
        }
        first = next(iter(self.graph.nodes))
        for name, entries in self.spec.entries.items():
            with self.graph.inserting_before(first):  # Those with defaults come last.
                args[found[name]] = {
                    key: None
                    if flat is None
                    else self.create_proxy('placeholder', flat, (), {})
                    for key, flat in entries.items()
                }
        return function, args

    def known_size(self, node: fx.Node, what: str) -> Any:
        """A length or a number that calibration fixes."""
        if (node.name, what) not in self.sizes:
            raise UnknownSize(node, what)
        return self.sizes[node.name, what]

    def iter(self, obj: fx.Proxy) -> Iterator[Any]:
        """Loops over sizes, or over parts that a tensor was split into: as many
        as with the calibration data.
        """
        try:
            return super().iter(obj)
        except fx.proxy.TraceError:
            length = self.known_size(obj.node, 'length')
            items: Any = self.create_proxy(
                'call_function', of_length, (obj, length), {}
            )
            return iter([items[i] for i in range(length)])

    def path_of_module(self, mod: nn.Module) -> str:
        """A part of a list of layers has no path, but its layers have."""
        is_part = isinstance(mod, (nn.Sequential, nn.ModuleList))
        if is_part and not any(mod is m for m in self.root.modules()):
            return type(mod).__name__
        return super().path_of_module(mod)

    def to_bool(self, obj: fx.Proxy) -> bool:
        """What a layer asserts about shapes is taken to hold."""
        frame = inspect.currentframe()
        while frame is not None and frame.f_code.co_name in ('to_bool', '__bool__'):
            frame = frame.f_back
        if frame is not None and _in_assertion(frame):
            return True
        return bool(self.known_size(obj.node, 'value'))

    def call_module(
        self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if threading.get_ident() != self.thread:  # Another network, that runs.
            return forward(*args, **kwargs)
        if isinstance(m, Unconvertible):
            raise m.error
        if id(m) in self.originals:  # Arguments in the order of its twin.
            original = self.originals[id(m)][0]
            bound = inspect.signature(original.forward).bind(*args, **kwargs)
            bound.apply_defaults()
            args, kwargs = bound.args, bound.kwargs
        if isinstance(m, SpikingTwin):
            return super().call_module(m, m.forward, args, kwargs)
        if can_trace(m) and m not in self.whole:
            last = next(iter(reversed(self.graph.nodes)))
            try:
                return super().call_module(
                    m, partial(call_traced, self, m), args, kwargs
                )
            except Exception as error:  # Whatever the layer does: keep it whole.
                if isinstance(error, UserError) and not isinstance(error, UnknownSize):
                    raise
                self.whole[m] = f'{type(error).__name__}: {error}'
                for node in reversed(list(self.graph.nodes)):
                    if node is last:
                        break
                    self.graph.erase_node(node)
        out = super().call_module(m, forward, args, kwargs)
        if self.is_leaf_module(m, ''):
            original, rule = self.originals.get(id(m), (m, rule_for(m)))
            out.node.meta['ann_type'] = type(original).__name__
            out.node.meta['rule'] = rule
            if m in self.whole:
                out.node.meta['why_whole'] = self.whole[m]
        return out


def _in_assertion(frame: FrameType) -> bool:
    """Whether the next thing is to raise an AssertionError, or not to."""
    pending = [
        i for i in dis.get_instructions(frame.f_code) if i.offset >= frame.f_lasti
    ]
    skipped = ('CACHE', 'TO_BOOL', 'COMPARE_OP', 'NOT_TAKEN')
    jump, after = [i for i in pending if i.opname not in skipped][:2]
    raises = after.opname == 'LOAD_ASSERTION_ERROR' or after.argrepr == 'AssertionError'
    return 'IF_TRUE' in jump.opname and raises


def trace(
    model: nn.Module, spec: CallSpec, options: TraceOptions | None = None
) -> fx.GraphModule:
    r"""Traces an evaluation-mode copy of a model, specialised to the arguments
    that are given, with its layers replaced by their spiking twins.

    Args:
        model (torch.nn.Module): The model; it is not changed.
        spec (CallSpec): Which arguments are inputs.
        options (TraceOptions, optional): What else matters.

    Returns:
        torch.fx.GraphModule: The graph, free of in-place operations and of
        arguments that nothing reads.

    Raises:
        NotImplementedError: If the control flow depends on data, or if a layer
            has an option without a spiking counterpart.
        ValueError: If the model has parameters without a value.
    """
    for name, parameter in model.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise ValueError(
                f"Expected '{name}' to be initialised (got a lazy parameter); run the "
                'model once, or train it, before converting'
            )
    model = plain_copy(model)
    if isinstance(model, pyg_nn.Sequential):
        _give_explicit_forward(model)
    model = _named(model)
    originals = convert_layers(model, options or TraceOptions())
    try:
        graph = _trace(model, spec, originals)
    except UserError as error:
        raise error.kind(str(error)) from error.__cause__
    except Exception as error:  # Whatever user code does with symbolic values.
        raise NotImplementedError(
            f'Cannot trace {type(model).__name__}.forward: {type(error).__name__} '
            f'{error}. Control flow may '
            'depend on which arguments are given, not on the values of tensors nor on '
            'the types of layers, which have been replaced by then; rewrite the branch, '
            'or convert the part of the model without it'
        ) from error
    graph._tracer_cls = None  # Unpickling must not need this module's tracer.
    network = fx.GraphModule(model, graph, type(model).__name__)
    _own_parameters(network)
    _bind_arguments(network)
    _make_functional(network)
    recognise(network)
    _drop_unused_inputs(graph, spec)
    network.recompile()
    return network


def _trace(model: nn.Module, spec: CallSpec, originals: Originals) -> fx.Graph:
    """Traces once more each time that a size is asked for that is not known yet."""
    sizes: dict[tuple[str, str], Any] = {}
    while True:
        tracer = _Tracer(spec, originals, sizes)
        try:
            with _LOCK, traceable_functions():
                return tracer.trace(model, concrete_args=dict(spec.constants))
        except UnknownSize as unknown:
            sizes[unknown.node.name, unknown.what] = unknown.find(model, spec)


def _named(model: nn.Module) -> nn.Module:
    """A model that is a single layer gets a name for it, as does one with layers
    whose names a graph uses itself; one with variadic arguments is called without
    them.
    """
    layer = rule_for(model) is not None or isinstance(model, MessagePassing)
    layer |= any(hasattr(fx.GraphModule, name) for name, _ in model.named_children())
    parameters = parameters_of(model)
    if not layer and len(parameters) == len(
        inspect.signature(model.forward).parameters
    ):
        return model
    names = ', '.join(name for name in parameters)
    calls = ', '.join(f'{name}={name}' for name in parameters)
    source = f'lambda self, {names}: self.layer({calls})'
    holder = type(type(model).__name__, (nn.Module,), {'forward': eval(source)})()
    holder.layer = model
    return holder


def _give_explicit_forward(model: pyg_nn.Sequential) -> None:
    """PyG keeps the forward of a Sequential on the instance, or a generic one
    on the class, where the tracer reads the forward of another instance.
    """
    names = ', '.join(model.signature.param_dict)
    source = f'lambda self, {names}: run_children(self, {names})'
    forward = eval(source, {'run_children': _run_children})
    model.__dict__.pop('forward', None)
    model.__class__ = type('Sequential', (type(model),), {'forward': forward})


def _run_children(model: pyg_nn.Sequential, *args: Any) -> Any:
    values = dict(zip(model.signature.param_dict, args, strict=True))
    out: Any = None
    for child in model._children:
        out = getattr(model, child.name)(*[values[name] for name in child.param_names])
        names = child.return_names
        values.update(zip(names, [out] if len(names) == 1 else out, strict=True))
    return out


def module_of(network: fx.GraphModule, node: fx.Node) -> nn.Module:
    """The module that a ``call_module`` node calls."""
    return network.get_submodule(str(node.target))


def operation_of(network: fx.GraphModule, node: fx.Node) -> Any:
    """What a node calls: a module, a function or the name of a method."""
    return module_of(network, node) if node.op == 'call_module' else node.target


def describe(network: fx.GraphModule, node: fx.Node) -> str:
    """A node as the user wrote it, such as ``convs.0 (GCNConv)``."""
    inside = _layer_around(node)
    if node.op == 'call_module':
        kind = node.meta.get('ann_type') or type(module_of(network, node)).__name__
        return f'{node.target} ({kind})'
    if node.op == 'call_method':
        return f'{node.name} (Tensor.{node.target}){inside}'
    name = getattr(node.target, '__name__', str(node.target))
    return f'{node.name} ({name}){inside}'


def _layer_around(node: fx.Node) -> str:
    """The message passing layer, or else the module, that a function is called in."""
    around = list(node.meta.get('nn_module_stack', {}).values())
    layers = [
        (path, kind)
        for path, kind in around
        if isinstance(kind, type) and issubclass(kind, (MessagePassing, SpikingTwin))
    ]
    for path, kind in layers[:1] or around[-1:]:
        name = getattr(kind, '__name__', str(kind).rpartition('.')[2])
        return f' in {path} ({name.removeprefix("Spiking")})'
    return ''


def _own_parameters(network: fx.GraphModule) -> None:
    """Gives parameters that an expression reads a name of their own: conversion
    changes those of layers, and whoever else reads them wants them as trained.
    """
    for node in network.graph.nodes:
        if node.op != 'get_attr':
            continue
        path, _, name = str(node.target).rpartition('.')
        owner = network.get_submodule(path)
        value = getattr(owner, name)
        if not isinstance(value, Tensor):
            continue
        own = f'values_{path}_{name}'.replace('.', '_').replace('__', '_')
        if not hasattr(network, own):
            copy = value.detach().clone()
            if name in owner._parameters:
                network.register_parameter(own, nn.Parameter(copy))
            else:
                network.register_buffer(own, copy)
        node.target = own


def _bind_arguments(network: fx.GraphModule) -> None:
    """Puts the arguments of modules in order, however the caller wrote them."""
    for node in network.graph.nodes:
        if node.op == 'call_module':
            signature = inspect.signature(module_of(network, node).forward)
            bound = signature.bind(*node.args, **node.kwargs)
            node.args, node.kwargs = bound.args, bound.kwargs
            if isinstance(module_of(network, node), Aggregation):  # Takes five.
                behind = dict(
                    zip(list(bound.arguments)[5:], bound.args[5:], strict=False)
                )
                node.args, node.kwargs = bound.args[:5], {**behind, **bound.kwargs}


def _drop_unused_inputs(graph: fx.Graph, spec: CallSpec) -> None:
    for node in reversed(list(graph.nodes)):
        name = getattr(node.target, '__name__', '')
        if node.op == 'call_function' and name in ('_assert_is_none', '_assert', 'eq'):
            if not node.users:
                graph.erase_node(node)
    graph.eliminate_dead_code()
    for node in list(graph.nodes):
        if node.op == 'placeholder' and node.target not in spec.flat_inputs:
            assert not node.users, node
            graph.erase_node(node)


def _make_functional(network: fx.GraphModule) -> None:
    """Lets readers of a tensor that was changed in place read the result."""
    order = {node: i for i, node in enumerate(network.graph.nodes)}
    in_place = {m for m in network.modules() if getattr(m, 'inplace', False)}
    for module in in_place:  # One may be called several times.
        module.inplace = False  # type: ignore[assignment]
    for node in list(network.graph.nodes):
        changes = str(node.target).endswith('_') and node.op == 'call_method'
        if changes:
            node.target = str(node.target).rstrip('_')
        if node.op == 'call_function':
            name = getattr(node.target, '__name__', '')
            changes = node.target in IN_PLACE
            changes |= name.endswith('_') and rule_for(node.target) is not None
            changes |= bool(node.kwargs.get('inplace', False))
            node.target = IN_PLACE.get(node.target, node.target)
        elif node.op == 'call_module':
            changes = module_of(network, node) in in_place
        if not changes or not node.all_input_nodes:
            continue
        changed = node.all_input_nodes[0]
        earlier = [user for user in changed.users if order[user] < order[node]]
        if any(n.target in _VIEWS for n in (changed, *earlier)):
            raise NotImplementedError(
                f"Cannot convert '{node.name}': it changes a view in place, and with it "
                'other tensors. Use the operation that returns a new tensor'
            )
        for user in list(changed.users):
            if user is not node and order[user] > order[node]:
                user.replace_input_with(changed, node)


def drop_unread_inputs(network: fx.GraphModule, spec: CallSpec) -> list[str]:
    """Removes the placeholders of arguments that no operation reads, such as a
    :obj:`batch` that came with the data; returns their names.
    """
    unread = []
    for node in list(network.graph.nodes):
        if node.op == 'placeholder' and not node.users and node.target in spec.inputs:
            unread.append(str(node.target))
            network.graph.erase_node(node)
    network.recompile()
    return unread
