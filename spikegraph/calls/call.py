"""How a model is called: forward arguments from PyG data, loaders, tuples."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.data.data import BaseData
from torch_geometric.nn import Sequential as PyGSequential

from spikegraph.calls.checks import check_number, check_tensor, refuse_arrays
from spikegraph.calls.inputs import Asked, Container, Leaf, is_named, is_value, spell
from spikegraph.calls.wrappers import own_modules, unwrap

# Features that enter as currents beside those of the nodes.
_CURRENT_NAMES = ('edge_attr', 'edge_weight', 'edge_feat', 'pos', 'normal')
KIND = inspect.Parameter.POSITIONAL_OR_KEYWORD

# Sizes differ from batch to batch: inputs, however they are given.
SIZE_NAMES = (
    *('batch_size', 'num_nodes', 'num_graphs', 'num_edges', 'size', 'dim_size'),
    *('num_sampled_nodes_per_hop', 'num_sampled_edges_per_hop'),
)


@dataclass(frozen=True)
class CallSpec:
    """Which arguments of ``forward`` are inputs and which are fixed.

    Args:
        names (Tuple[str, ...]): All parameters of ``forward``, in order.
        inputs (Tuple[str, ...]): Those that hold tensors, PyG data, sizes, or
            dictionaries, lists and tuples of these.
        constants (Dict[str, Any]): What the others held during conversion.
        defaults (Dict[str, Any]): Default values.
        leaves (Tuple[Leaf, ...]): The tensors and numbers in the inputs, as far as
            the model looked at them while it was traced.
        read (Tuple[str, ...]): The names of those that the network reads.
        containers (Tuple[Container, ...]): What holds them.
        asked (Tuple[Asked, ...]): What else the model asked about its inputs.
        answers (Tuple[Any, ...]): What it was told while it was traced, in order.
        static (Tuple[str, ...]): Inputs that are declared to be no features.
        symbolic_numbers (bool): Whether numbers that the model reads from sizes and
            structure with ``int``, ``float`` or ``len`` may differ from call to call.
    """

    names: tuple[str, ...]
    inputs: tuple[str, ...]
    constants: dict[str, Any]
    defaults: dict[str, Any]
    leaves: tuple[Leaf, ...] = field(default=(), compare=False)
    read: tuple[str, ...] = ()
    containers: tuple[Container, ...] = field(default=(), compare=False)
    asked: tuple[Asked, ...] = field(default=(), compare=False)
    answers: tuple[Any, ...] = field(default=(), compare=False)
    static: tuple[str, ...] = ()
    symbolic_numbers: bool = True

    @property
    def features(self) -> tuple[str, ...]:
        """The leaves that may carry features: floating point tensors."""
        return tuple(
            leaf.name
            for leaf in self.read_leaves
            if leaf.example.get('is_float')
            and leaf.example['layout'] == 'strided'
            and not {leaf.name, leaf.argument} & set(self.static)
        )

    def holds_currents(self, name: str) -> bool:
        """Whether an input is what PyG keeps of edges or places, by the argument or the
        attribute of PyG data that it is read from.
        """
        return any(v.field in _CURRENT_NAMES for v in self.leaves if v.name == name)

    @property
    def read_leaves(self) -> tuple[Leaf, ...]:
        """The leaves that the network reads."""
        return tuple(leaf for leaf in self.leaves if leaf.name in self.read)

    @property
    def takes_data(self) -> bool:
        """Whether an argument of ``forward`` is PyG data."""
        return any(c.kind == 'data' and not c.path for c in self.containers)

    def arguments(self, batch: Sequence[Any]) -> Sequence[Any]:
        """The positional arguments in a batch of a loader, without labels.

        Raises:
            ValueError: If there are more than ``forward`` takes.
        """
        refuse_arrays(self.names, batch)
        values = without_labels(batch, len(self.names))
        required = [name for name in self.names if name not in self.defaults]
        check_number(values, self.names, len(required))
        return values

    def bind(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Returns the values that the network reads by name; the fixed arguments,
        and what was asked about the others, must be the same.

        Raises:
            ValueError: If an argument differs from the one at conversion, or is
                no tensor where that was one.
            TypeError: If the arguments do not fit ``forward``.
        """
        given = self.given(*args, **kwargs)
        for container in self.containers:
            container.check(given)
        for question in self.asked:
            question.check(given)
        return {leaf.name: leaf.value_in(given) for leaf in self.read_leaves}

    def known(self, call: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call without those that were left out when the model was
        converted.
        """
        unused = {name for name, value in self.constants.items() if value is None}
        return {k: v for k, v in call.items() if k not in unused}

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The parameters of ``forward``, as :func:`parameters_of` tells them."""
        empty = inspect.Parameter.empty
        return {
            name: inspect.Parameter(name, KIND, default=self.defaults.get(name, empty))
            for name in self.names
        }

    def spelled_features(self, bound: dict[str, Any]) -> dict[str, Any]:
        """The features, which have to be finite, by where they were given."""
        return {
            spell(leaf.argument, leaf.path): bound[leaf.name]
            for leaf in self.read_leaves
            if leaf.name in self.features or leaf.is_sparse_table
        }

    def given(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The arguments by name, checked as far as they are no containers."""
        if len(args) > len(self.names):
            raise TypeError(
                f'Expected at most {len(self.names)} arguments (got {len(args)})'
            )
        given = dict(zip(self.names, args, strict=False))
        for name, value in kwargs.items():
            if name not in self.names or name in given:
                state = 'twice' if name in given else f'; forward takes {self.names}'
                raise TypeError(f"Got an unexpected argument '{name}' {state}")
            given[name] = value
        for name, constant in self.constants.items():
            value = given.get(name, self.defaults.get(name))
            if isinstance(value, Tensor) or value != constant:
                found = 'a tensor' if isinstance(value, Tensor) else repr(value)
                raise ValueError(
                    f"Expected '{name}' to be {constant!r}, as in the calibration data "
                    f'(got {found}); convert again with calibration data that holds it'
                )
        for leaf in self.read_leaves:
            is_dense = leaf.example.get('is_float') and not leaf.path
            if is_dense and given.get(leaf.argument) is not None:
                check_tensor(leaf.argument, given[leaf.argument])
        read = {leaf.argument for leaf in self.read_leaves}
        missing = [n for n in self.inputs if given.get(n) is None and n in read]
        if missing:
            raise TypeError(
                f"Expected a value for '{missing[0]}', which the calibration data held"
            )
        return given


def parameters_of(model: Any) -> dict[str, inspect.Parameter]:
    """The parameters of ``forward``, variadic ones left out.

    Raises:
        ValueError: If they are not known.
    """
    if isinstance(model, CallSpec):
        return model.parameters
    model = unwrap(model)
    check_readable(model)
    if isinstance(model, PyGSequential):  # Its forward may be generic.
        return {
            name: inspect.Parameter(name, KIND, default=parameter.default)
            for name, parameter in model.signature.param_dict.items()
        }
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(model.forward).parameters
    return {k: p for k, p in parameters.items() if p.kind not in variadic}


def fingerprint(model: nn.Module) -> str:
    """A text that models of one class and size share: names and shapes of parameters."""
    parts = [type(model).__name__]
    for name, value in model.named_parameters():
        is_known = not nn.parameter.is_lazy(value)
        parts.append(f'{name} {tuple(value.shape) if is_known else "?"}')
    return hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:16]


def split_arguments(
    model: nn.Module, given: Mapping[str, Any]
) -> tuple[list[Any], dict[str, Any]]:
    """Arguments by name as ``forward`` takes them: those that have no name for its
    callers first.
    """
    only = inspect.Parameter.POSITIONAL_ONLY
    kinds = {name: p.kind for name, p in parameters_of(model).items()}
    first = [name for name in kinds if kinds[name] is only and name in given]
    rest = {name: value for name, value in given.items() if name not in first}
    return [given[name] for name in first], rest


def run_copy(model: nn.Module, call: Mapping[str, Any]) -> Any:
    """What a model returns for copies of arguments by name."""
    first, rest = split_arguments(model, copy_of(dict(call)))
    with own_modules(model):
        return model(*first, **rest)


def check_readable(model: nn.Module) -> None:
    """Raises ``ValueError`` if a ``forward`` names no arguments, or is none of
    Python's.
    """
    kind = type(model).__name__
    if isinstance(model, torch.jit.ScriptModule):
        raise ValueError(
            f"Expected 'model' to be written in Python (got a {kind} of torch.jit, whose "
            'operations are not seen); convert the model that was scripted or traced'
        )
    if isinstance(model, PyGSequential):
        return
    parameters = list(inspect.signature(model.forward).parameters.values())
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parts = [name for name, _ in model.named_children()]
    if parameters and all(p.kind in variadic for p in parameters):
        names = ', '.join(str(p) for p in parameters)
        part = parts[0] if parts else 'part'
        raise ValueError(
            f"Expected 'forward' of {kind} to name its arguments (got {names}); convert "
            f"the part that computes, 'convert(model.{part}, ...)'"
            + (f', one of {", ".join(parts)}' if len(parts) > 1 else '')
        )
    if not parameters:
        raise ValueError(
            f"Expected 'forward' of {kind} to take an argument, such as features or "
            'edge_index (got none): a network without inputs has a constant output. Make '
            'what it reads from attributes an argument'
        )


def defaults_of(model: Any) -> dict[str, Any]:
    """The default values of the parameters of ``forward``."""
    return {
        name: parameter.default
        for name, parameter in parameters_of(model).items()
        if parameter.default is not inspect.Parameter.empty
    }


def call_spec(
    model: nn.Module, call: dict[str, Any], static: Sequence[str] = ()
) -> CallSpec:
    """Splits one example call into inputs and constants."""
    parameters = parameters_of(model)
    inputs, constants = [], {}
    defaults = defaults_of(model)
    for name in parameters:
        value = call.get(name, defaults.get(name))
        if _is_input(name, value):
            inputs.append(name)
        else:
            constants[name] = value
    return CallSpec(
        tuple(parameters), tuple(inputs), constants, defaults, static=tuple(static)
    )


def no_features(spec: CallSpec) -> ValueError:
    """What to say where nothing that is read can be features."""
    features = [leaf.name for leaf in spec.leaves if leaf.example.get('is_float')]
    found, remedy = ', '.join(features) or 'no floating point input', ''
    if not features:
        kinds = [
            f"'{leaf.name}' of torch.{leaf.example['dtype']}"
            for leaf in spec.leaves
            if 'dtype' in leaf.example
        ]
        found += f', but {", ".join(kinds)}' if kinds else ''
        remedy = "; make features of numbers as in training, 'x.float() / 255'"
    for leaf in spec.leaves:
        if leaf.is_sparse_table:
            found += f', where {leaf.name!r} is a sparse matrix'
            remedy += f"; pass features as '{leaf.name}.to_dense()'"
    if spec.static:
        found += f', of which {", ".join(spec.static)} shall be no features'
        remedy += "; leave features out of 'static_inputs' of ConversionConfig"
    return ValueError(
        "Expected the model to read floating point features, such as 'x' (got "
        f'{found}){remedy}'
    )


def _is_input(name: str, value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(_is_input('', v) for v in value.values())
    if isinstance(value, (list, tuple)):
        is_size = name in SIZE_NAMES and all(isinstance(v, int) for v in value)
        return is_size or any(_is_input('', v) for v in value)
    if isinstance(value, BaseData) or is_value(value):
        return True
    return name in SIZE_NAMES and value is not None


def without_labels(values: Sequence[Any], num_parameters: int) -> Sequence[Any]:
    """The argument in a batch of images and labels, of which ``forward`` takes
    only the images. Labels are a vector of one for each image.
    """
    if num_parameters != 1 or len(values) != 2:
        return values
    images, labels = values
    if not isinstance(images, Tensor) or not isinstance(labels, Tensor):
        return values
    is_label = labels.dim() == 0 or labels.shape == images.shape[:1]
    return values[:1] if is_label else values


def copy_of(value: Any) -> Any:
    """Copies of tensors and PyG data, in dictionaries, lists and tuples too, as a
    forward may change them.
    """
    if isinstance(value, dict):
        return {key: copy_of(item) for key, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(copy_of(item) for item in value)
    if is_named(value):
        return type(value)(*map(copy_of, value))
    return value.clone() if isinstance(value, (Tensor, BaseData)) else value


def tensors_of(data: BaseData) -> dict[str, Tensor]:
    """The tensors in a data object; ``adj_t`` stands in for ``edge_index``."""
    found = {k: v for k, v in data.to_dict().items() if isinstance(v, Tensor)}
    if 'edge_index' not in found and 'adj_t' in found:
        found['edge_index'] = found['adj_t']
    return found


def arguments_of(
    data: BaseData, names: Sequence[str], required: Sequence[str] = ()
) -> dict[str, Any]:
    """The arguments of ``forward`` that a data object holds: tensors, in
    heterogeneous graphs dictionaries of them, and sizes that are required.
    """
    if isinstance(data, HeteroData):
        found: dict[str, Any] = {}
        for name in names:
            values = data.collect(name.removesuffix('_dict'), allow_empty=True)
            if values and (name not in SIZE_NAMES or name in required):
                found[name] = values
        return found
    found = dict(tensors_of(data))
    found.update({k: data[k] for k in required if k in SIZE_NAMES and k in data})
    for name in set(required) & {'num_nodes', 'num_graphs'}:
        found.setdefault(name, getattr(data, name))
    return {name: found[name] for name in names if name in found}
