"""What a network that comes from a file must be before it may run."""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import Mapping
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch_geometric.data import Data, HeteroData
from torch_geometric.data.data import BaseData

from spikegraph.calls.call import CallSpec
from spikegraph.calls.inputs import QUESTIONS
from spikegraph.calls.outputs import Form
from spikegraph.coding import PhaseCode
from spikegraph.network.functions import check_answer
from spikegraph.network.graph import ROLES, Record, Ref
from spikegraph.network.registry import Registry
from spikegraph.network.roles import Role
from spikegraph.network.sizes import check_sizes
from spikegraph.nn import (
    GraphFilter,
    PhaseNeuron,
    SpikeGate,
    SpikingLayer,
    SpikingLinear,
)
from spikegraph.nn.delayed_sum import DelayedSum
from spikegraph.nn.layer import values_of
from spikegraph.nn.products import Rebase
from spikegraph.nn.relative import Leading

_MODULES: dict[Role, Any] = {
    Role.POPULATION: PhaseNeuron,
    Role.GATE: SpikeGate,
    Role.PRODUCT: DelayedSum,
    Role.LAYER: SpikingLayer,
}
_REAL = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_FUNCTIONS = {Role.DECODE: values_of, Role.CHECK: check_answer}


def check_records(records: Any) -> None:
    """Raises ``ValueError`` if nodes are not what they must be, read what comes after
    them, or share a name.
    """
    names: set[str] = set()
    if not isinstance(records, list):
        raise ValueError(f'expected a list of records (got {type(records).__name__})')
    for place, record in enumerate(records):
        if type(record) is not Record:
            raise ValueError(f'expected a record (got {record!r:.60})')
        record.check()
        if record.name in names:
            raise ValueError(f"expected one node '{record.name}' (got two)")
        names.add(record.name)

        def check(value: Any, place: int = place, name: str = record.name) -> Any:
            if isinstance(value, Ref):
                if type(value.index) is not int or not 0 <= value.index < place:
                    raise ValueError(
                        f"expected '{name}' to read nodes before it (got the number "
                        f'{value.index!r:.40})'
                    )
            elif callable(value) and not isinstance(value, (Tensor, type)):
                raise ValueError(f"expected arguments of '{name}' (got {value!r:.60})")
            return value

        fx.node.map_aggregate((record.args, record.kwargs), check)


def check_nodes(network: Any, registry: Registry) -> None:
    """Raises ``ValueError`` if a node does not call what its role says, or what a file
    may not name.
    """
    labels: set[str] = set()
    for node in network.nodes:
        if ROLES.get(node.op) not in (None, node.role) or (
            node.role in ROLES.values() and node.op not in ROLES
        ):
            raise ValueError(
                f"expected '{node}' to be {node.role.value} (got {node.op})"
            )
        target = node.target
        if node.op == 'call_module':
            target = _part_of(network, target, nn.Module)
        elif node.op == 'get_attr':
            _part_of(network, target, object)
        elif node.op == 'call_function':
            registry.check(target, node.args)
        elif node.op == 'call_method':
            registry.method(target)
        called = target.forward if isinstance(target, nn.Module) else target
        if isinstance(called, (FunctionType, MethodType)):
            taken = inspect.signature(called, follow_wrapped=False)
            taken.bind(*node.args, **node.kwargs)
        if not isinstance(target, _MODULES.get(node.role, object)):
            kind = _MODULES[node.role].__name__
            raise ValueError(f"expected '{node}' to be a {kind} (got {target!r:.60})")
        if target is not _FUNCTIONS.get(node.role, target):
            raise ValueError(f"expected '{node}' to be {node.role.value}")
        if node.role.fires:
            if node.record.label in labels:
                raise ValueError(f"expected one '{node.record.label}' (got two)")
            labels.add(node.record.label)
        if node.role is Role.POPULATION and len(node.all_input_nodes) == 0:
            raise ValueError(f"expected '{node}' to fire on something (got nothing)")
    if [n for n in network.nodes if n.role is Role.OUTPUT] != list(network.nodes[-1:]):
        raise ValueError('expected one output, at the end')
    for module in network.modules():
        if isinstance(module, PhaseNeuron):
            _check_neuron(module)
        elif isinstance(module, SpikingLayer):
            _check_layer(module)
        elif isinstance(module, (Rebase, Leading)):
            module.check()
    check_sizes(network)


def _part_of(network: nn.Module, path: str, kind: Any) -> Any:
    """What a path leads to: through modules, to what one of them holds itself."""
    *parents, name = path.split('.')
    value: Any = network
    for parent in parents:
        value = value._modules.get(parent)
        if value is None:
            raise ValueError(f"expected a module '{path}' (got none)")
    held: dict[str, Any] = {**vars(value)} if not name.startswith('_') else {}
    for part in (value._parameters, value._buffers, value._modules):
        held.update(part)
    if not isinstance(held.get(name), kind) or name not in held:
        raise ValueError(f"expected '{path}' in the network (got none)")
    return held[name]


def _check_neuron(neuron: PhaseNeuron) -> None:
    code, dim, density = neuron.code, neuron.channel_dim, neuron.density
    if type(code) is not PhaseCode or type(dim) is not int or dim > 0 or dim < -8:
        raise ValueError(
            f'expected a code and a dimension of channels (got {dim!r:.40})'
        )
    if not isinstance(code.base, (float, int, type(None))):
        raise ValueError(f'expected a base (got {code.base!r:.40})')
    if len(code.levels) != code.num_steps:
        raise ValueError(
            f'expected {code.num_steps} levels (got a table of {len(code.levels)})'
        )
    PhaseCode.from_levels(code.levels, code.thresholds, code.signed)
    scale = neuron.scale
    if scale.dtype not in _REAL or scale.dim() > 1 and set(scale.shape[1:]) != {1}:
        raise ValueError(f'expected a scale per channel (got {tuple(scale.shape)})')
    if type(neuron.node_scale) is not bool or type(code.signed) is not bool:
        raise ValueError('expected true or false for the scale of nodes and for signs')
    PhaseNeuron(code, scale, neuron.node_scale, neuron.activation, dim)
    if not isinstance(density, (float, int, type(None))):
        raise ValueError(f'expected a density (got {density!r:.40})')


def _check_layer(layer: SpikingLayer) -> None:
    weight, bias = layer.weight, layer.bias
    for value in (weight, bias):
        if value is not None and (
            value.dtype not in _REAL or value.layout != torch.strided
        ):
            raise ValueError(
                f'expected weights of real numbers (got {value.dtype}, {value.layout})'
            )
    if isinstance(layer, GraphFilter):
        rows: Any = layer.coefficients
        numbers = [h for row in rows for h in row]
        if not rows or not all(type(h) is float for h in numbers):
            raise ValueError(f'expected rows of coefficients (got {rows!r:.60})')
    if weight is None or not isinstance(layer, (GraphFilter, SpikingLinear)):
        return
    shape, dtype = tuple(weight.shape), weight.dtype
    fits = bias is None or (bias.shape == shape[:1] and bias.dtype == dtype)
    if len(shape) != 2 or not fits:
        raise ValueError(
            f'expected weights of two dimensions, and a bias for each row (got {shape} of '
            f'{dtype} and {None if bias is None else (*bias.shape, bias.dtype)})'
        )


def check_form(form: Any) -> None:
    """Raises ``ValueError`` if outputs cannot be put together as a form says, or more
    than an object of its own would be changed.
    """
    if not isinstance(form, Form):
        raise ValueError(f'expected the form of an output (got {form!r:.60})')
    shell, parts = form.shell, form.parts
    if form.kind in ('value', 'constant'):
        return
    kinds: dict[str, Any] = {
        'mapping': Mapping,
        'data': BaseData,
        'argument': tuple,
        'object': object,
    }
    is_data = form.kind in ('data', 'argument')
    if form.kind == 'sequence':
        kind = shell[0] if isinstance(shell, tuple) and len(shell) == 2 else shell
        fits = isinstance(kind, type) and issubclass(kind, (tuple, list, deque))
    else:
        kind = kinds.get(form.kind, ())
        is_shared = isinstance(shell, (type, nn.Module, Tensor)) or inspect.isroutine(
            shell
        )
        fits = isinstance(shell, kind) and not is_shared
    if form.kind == 'argument':
        fits = fits and len(shell) == 2
        check_path(shell[1] if fits else None)
    if not fits or not isinstance(parts, Mapping):
        raise ValueError(
            f'expected the form of a {form.kind!r:.40} (got {shell!r:.60})'
        )
    for key, part in parts.items():
        name = key[-1] if is_data and isinstance(key, tuple) and len(key) == 2 else key
        is_attribute = is_data or form.kind == 'object'
        if is_attribute and (not isinstance(name, str) or name.startswith('__')):
            raise ValueError(f'expected the name of an attribute (got {name!r:.60})')
        check_form(part)


def check_path(path: Any) -> None:
    """Raises ``ValueError`` if a path is none through public attributes and items."""
    for step in path if isinstance(path, tuple) else [None]:
        kind, key = step if isinstance(step, tuple) and len(step) == 2 else (None, None)
        is_name = isinstance(key, str) and (key == '__len__' or key[:1] != '_')
        if kind not in ('attr', 'item') or (kind == 'attr' and not is_name):
            raise ValueError(f'expected a path through an argument (got {path!r:.60})')


def check_spec(spec: CallSpec, network: Any) -> None:
    """Raises ``ValueError`` if what a call is asked is no question about its values, or
    the network reads what a call does not give.
    """
    methods = {n for n in (*dir(Data), *dir(HeteroData)) if n[-1] != '_'} | {'__len__'}
    items: tuple[Any, ...] = (*spec.leaves, *spec.containers, *spec.asked)
    for item in items:
        check_path(item.path)
        if item.argument not in spec.names:
            raise ValueError(
                f"expected an argument of the model (got '{item.argument}')"
            )
    for question in spec.asked:
        names = [key for _, key in question.path[-1:]]
        if question.kind not in QUESTIONS:
            raise ValueError(f"expected a question (got '{question.kind:.60}')")
        if question.kind == 'call' and not methods.issuperset(names or ['']):
            raise ValueError(f'expected a method of PyG data (got {names!r:.60})')
    assert isinstance(spec.features, tuple)  # Examples are complete.
    assert all(leaf.is_sparse_table in (True, False) for leaf in spec.leaves)
    given = {leaf.name for leaf in spec.read_leaves}
    read = {node.target for node in network.nodes if node.role is Role.INPUT}
    if not read <= given:
        raise ValueError(
            f'expected a call that gives {sorted(read)} (got {sorted(given)})'
        )
