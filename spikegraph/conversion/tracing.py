from __future__ import annotations

import copy
import inspect
import operator
from typing import Any

import torch
import torch_geometric.nn as pyg_nn
import torch_geometric.utils as pyg_utils
from torch import fx, nn
from torch.nn.parameter import UninitializedParameter
from torch_geometric.nn.conv.gcn_conv import gcn_norm

from spikegraph.conversion.call import CallSpec
from spikegraph.conversion.rules import IN_PLACE, is_leaf, rule_for

# PyG's graph functions branch on their inputs: keep them whole.
_GRAPH_FUNCTIONS = tuple(
    function
    for function in (
        gcn_norm,
        *(getattr(pyg_utils, name) for name in pyg_utils.__all__),
        *(getattr(pyg_nn.pool, f'global_{how}_pool') for how in ('add', 'mean', 'max')),
    )
    if callable(function) and not isinstance(function, type)
)


_VIEWS = {
    *(operator.getitem, torch.reshape, torch.flatten, torch.squeeze),
    *(torch.unsqueeze, torch.transpose, 'view', 'reshape', 'flatten', 't', 'squeeze'),
    *('unsqueeze', 'transpose', 'permute', 'chunk', 'split', 'expand', 'detach'),
}


class _DataProxy(fx.Proxy):
    """A PyG data object whose absent attributes are absent, not symbolic."""

    def __getattr__(self, name: str) -> Any:
        keys = self.tracer.data_keys  # type: ignore[attr-defined]
        if name in keys or name.startswith('num_'):
            return super().__getattr__(name)
        if name in ('x', 'edge_index', 'edge_attr', 'edge_weight', 'batch', 'pos'):
            return None  # As PyG's data objects answer.
        raise AttributeError(f"the calibration data has no attribute '{name}'")


class _Tracer(fx.Tracer):
    def __init__(self, spec: CallSpec) -> None:
        super().__init__(autowrap_functions=_GRAPH_FUNCTIONS)
        self.data_keys = spec.data_keys

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_leaf(m)

    def proxy(self, node: fx.Node) -> fx.Proxy:
        if node.op == 'placeholder' and self.data_keys is not None:
            return _DataProxy(node, self)
        return super().proxy(node)


def trace(model: nn.Module, spec: CallSpec) -> fx.GraphModule:
    r"""Traces an evaluation-mode copy of a model, specialised to the arguments
    that are given.

    Args:
        model (torch.nn.Module): The model; it is not changed.
        spec (CallSpec): Which arguments are inputs.

    Returns:
        torch.fx.GraphModule: The graph, free of in-place operations and of
        arguments that nothing reads.

    Raises:
        NotImplementedError: If the control flow depends on data.
        ValueError: If the model has parameters without a value.
    """
    for name, parameter in model.named_parameters():
        if isinstance(parameter, UninitializedParameter):
            raise ValueError(
                f"Expected '{name}' to be initialised (got a lazy parameter); run the "
                'model once, or train it, before converting'
            )
    model = copy.deepcopy(model).eval()
    if isinstance(model, pyg_nn.Sequential):
        _give_explicit_forward(model)
    try:
        graph = _Tracer(spec).trace(model, concrete_args=dict(spec.constants))
    except Exception as error:  # Whatever user code does with symbolic values.
        raise NotImplementedError(
            f'Cannot trace {type(model).__name__}.forward: {type(error).__name__} '
            f'{error}. Control flow may '
            'depend on which arguments are given, not on the values of tensors; '
            'rewrite the branch, or convert the part of the model without it'
        ) from error
    graph._tracer_cls = None  # Unpickling must not need this module's tracer.
    network = fx.GraphModule(model, graph, type(model).__name__)
    _bind_arguments(network)
    _make_functional(network)
    _drop_unused_inputs(graph, spec)
    network.recompile()
    return network


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
    if node.op == 'call_module':
        return f'{node.target} ({type(module_of(network, node)).__name__})'
    if node.op == 'call_method':
        return f'{node.name} (Tensor.{node.target})'
    name = getattr(node.target, '__name__', str(node.target))
    return f'{node.name} ({name})'


def _bind_arguments(network: fx.GraphModule) -> None:
    """Puts the arguments of modules in order, however the caller wrote them."""
    for node in network.graph.nodes:
        if node.op == 'call_module':
            signature = inspect.signature(module_of(network, node).forward)
            bound = signature.bind(*node.args, **node.kwargs)
            node.args, node.kwargs = bound.args, bound.kwargs


def _drop_unused_inputs(graph: fx.Graph, spec: CallSpec) -> None:
    for node in reversed(list(graph.nodes)):
        name = getattr(node.target, '__name__', '')
        if node.op == 'call_function' and name in ('_assert_is_none', '_assert', 'eq'):
            if not node.users:
                graph.erase_node(node)
    graph.eliminate_dead_code()
    for node in list(graph.nodes):
        if node.op == 'placeholder' and node.target not in spec.inputs:
            assert not node.users, node
            graph.erase_node(node)


def _make_functional(network: fx.GraphModule) -> None:
    """Lets readers of a tensor that was changed in place read the result."""
    order = {node: i for i, node in enumerate(network.graph.nodes)}
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
            module = module_of(network, node)
            changes = bool(getattr(module, 'inplace', False))
            if changes:
                module.inplace = False  # type: ignore[assignment]
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
