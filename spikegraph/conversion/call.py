"""How a model is called: forward arguments from PyG data, loaders, tuples."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from torch import Tensor, nn
from torch_geometric.data import HeteroData
from torch_geometric.data.data import BaseData
from torch_geometric.nn import Sequential as PyGSequential

from spikegraph.conversion.checks import (
    check_calibration_data,
    check_finite,
    check_max_batches,
    check_number,
    check_tensor,
    refuse_arrays,
)

KIND = inspect.Parameter.POSITIONAL_OR_KEYWORD
DATA_NAMES = ('data', 'batch', 'graph')


# Sizes differ from batch to batch: inputs, however they are given.
SIZE_NAMES = (
    *('batch_size', 'num_nodes', 'num_graphs', 'num_edges', 'size', 'dim_size'),
    *('num_sampled_nodes_per_hop', 'num_sampled_edges_per_hop'),
)
Entries = dict[str, dict[Any, str | None]]


@dataclass(frozen=True)
class CallSpec:
    """Which arguments of ``forward`` are inputs and which are fixed.

    Args:
        names (Tuple[str, ...]): All parameters of ``forward``, in order.
        inputs (Tuple[str, ...]): Those that hold tensors, dictionaries of
            tensors, PyG data or sizes.
        constants (Dict[str, Any]): What the others held during conversion.
        defaults (Dict[str, Any]): Default values.
        data_keys (Tuple[str, ...], optional): Where ``forward`` takes a PyG
            data object, the attributes it held.
        entries (Dict[str, Dict[Any, str]], optional): Of each dictionary, the
            input that each key becomes; :obj:`None` where it held none.
        shapes (Dict[str, Tuple[int, ...]], optional): The shapes of the tensors
            that the first calibration call held, by input.
        integers (Dict[str, str], optional): The types of its other tensors.
    """

    names: tuple[str, ...]
    inputs: tuple[str, ...]
    constants: dict[str, Any]
    defaults: dict[str, Any]
    data_keys: tuple[str, ...] | None = None
    entries: Entries = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    integers: dict[str, str] = field(default_factory=dict, compare=False)

    @property
    def flat_inputs(self) -> tuple[str, ...]:
        """The inputs, a dictionary replaced by its entries."""
        flat: list[str] = []
        for name in self.inputs:
            inside = self.entries.get(name, {name: name})
            flat += [value for value in inside.values() if value is not None]
        return tuple(flat)

    @property
    def data_names(self) -> tuple[str, ...]:
        """The inputs that may be PyG data."""
        return () if self.data_keys is None else self.inputs

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
        """Returns the inputs by name; the fixed arguments must be the same.

        Raises:
            ValueError: If an argument differs from the one at conversion, or is
                no tensor where that was one.
            TypeError: If the arguments do not fit ``forward``.
        """
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
        for name in self.inputs:
            if name in self.shapes and given.get(name) is not None:
                check_tensor(name, given[name])
        missing = [name for name in self.inputs if given.get(name) is None]
        if missing:
            raise TypeError(
                f"Expected a value for '{missing[0]}', which the calibration data held"
            )
        bound: dict[str, Any] = {}
        for name in self.inputs:
            bound.update(self._flatten(name, given[name]))
        return bound

    def _flatten(self, name: str, value: Any) -> dict[str, Any]:
        entries = self.entries.get(name)
        if entries is None:
            return {name: value}
        if not isinstance(value, Mapping):
            raise ValueError(
                f"Expected '{name}' to be a dictionary, as in the calibration data "
                f'(got {type(value).__name__})'
            )
        found = {key for key, item in value.items() if item is not None}
        expected = {key for key, flat in entries.items() if flat is not None}
        if found != expected:
            key = sorted(found ^ expected, key=str)[0]
            state = f'{key!r}, too' if key in found else f'nothing for {key!r}'
            raise ValueError(
                f"Expected '{name}' to hold the keys {sorted(expected, key=str)}, as in "
                f'the calibration data (got {state}); convert again with calibration '
                'data that holds the same'
            )
        return {flat: value[key] for key, flat in entries.items() if flat is not None}


def parameters_of(model: nn.Module) -> dict[str, inspect.Parameter]:
    """The parameters of ``forward``, variadic ones left out."""
    if isinstance(model, PyGSequential):  # Its forward may be generic.
        return {
            name: inspect.Parameter(name, KIND, default=parameter.default)
            for name, parameter in model.signature.param_dict.items()
        }
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(model.forward).parameters
    return {k: p for k, p in parameters.items() if p.kind not in variadic}


def defaults_of(model: nn.Module) -> dict[str, Any]:
    """The default values of the parameters of ``forward``."""
    return {
        name: parameter.default
        for name, parameter in parameters_of(model).items()
        if parameter.default is not inspect.Parameter.empty
    }


def call_spec(model: nn.Module, call: dict[str, Any]) -> CallSpec:
    """Splits one example call into inputs and constants."""
    parameters = parameters_of(model)
    inputs, constants, data_keys = [], {}, None
    defaults = defaults_of(model)
    entries: Entries = {}
    shapes, integers = {}, {}
    for name in parameters:
        value = call.get(name, defaults.get(name))
        if isinstance(value, Tensor) and value.is_floating_point():
            shapes[name] = tuple(value.shape)
        elif isinstance(value, Tensor):
            integers[name] = str(value.dtype)
        if isinstance(value, BaseData):
            data_keys = tuple(value.keys())
            inputs.append(name)
        elif isinstance(value, Mapping) and value:
            entries[name] = {
                key: None if item is None else flat
                for (key, item), flat in zip(
                    value.items(), _flat_names(name, value), strict=True
                )
            }
            inputs.append(name)
        elif isinstance(value, Tensor) or name in SIZE_NAMES and value is not None:
            inputs.append(name)
        else:
            constants[name] = value
    return CallSpec(
        tuple(parameters),
        tuple(inputs),
        constants,
        defaults,
        data_keys,
        entries,
        shapes,
        integers,
    )


def _flat_names(name: str, keys: Iterable[Any]) -> list[str]:
    """A name of its own for each entry of a dictionary."""
    names: list[str] = []
    for key in keys:
        parts = key if isinstance(key, tuple) else (key,)
        text = '__'.join([name.removesuffix('_dict'), *map(str, parts)])
        text = re.sub(r'\W', '_', text)
        while text in names:
            text += '_'
        names.append(text)
    return names


def as_calls(
    model: nn.Module, data: Any, max_batches: int | None = None
) -> list[dict[str, Any]]:
    r"""Turns calibration data into calls of ``forward``, by argument name.

    Args:
        model (torch.nn.Module): The model.
        data (Any): A PyG data object, a tensor, a tuple of forward arguments,
            a dictionary of them, or an iterable (list, loader, dataset) of
            any of these. A tuple always holds the arguments of one call.
        max_batches (int, optional): How many items of an iterable are taken at
            most. (default: :obj:`None`, all)

    Raises:
        ValueError: If there is no data, if it does not fit ``forward``, if
            features are not finite, or if :obj:`max_batches` is not positive.
    """
    single = isinstance(data, (BaseData, Tensor, tuple, Mapping))
    check_calibration_data(data, single)
    check_max_batches(max_batches)
    samples = [data] if single else list(islice(data, max_batches))
    calls = [as_call(model, sample) for sample in samples]
    if not any(_num_values(call) for call in calls):
        raise ValueError(
            "Expected 'calibration_data' to hold at least one sample "
            f'(got {len(samples)} samples, all empty)'
        )
    for call in calls:
        for name, value in call.items():
            check_finite(name, value)
    return calls


def as_call(model: nn.Module, sample: Any) -> dict[str, Any]:
    """Turns one sample into the arguments of ``forward``, by name."""
    parameters = parameters_of(model)
    if isinstance(sample, BaseData):
        return _from_data(model, sample, parameters)
    if isinstance(sample, Mapping):
        arguments = dict(sample)
        refuse_arrays(list(arguments), list(arguments.values()))
    else:
        given = sample if isinstance(sample, (tuple, list)) else (sample,)
        refuse_arrays(list(parameters), given)
        values = without_labels(given, len(parameters))
        check_number(
            values, list(parameters), len(parameters) - len(defaults_of(model))
        )
        arguments = dict(zip(parameters, values, strict=False))
    for name, parameter in parameters.items():
        required = parameter.default is inspect.Parameter.empty
        if name not in arguments and required:
            raise ValueError(
                f"Expected calibration data to give the forward argument '{name}' "
                f'(got {", ".join(arguments) or "nothing"})'
            )
    unknown = [name for name in arguments if name not in parameters]
    if unknown:
        raise ValueError(
            f'Expected forward arguments {", ".join(parameters)} (got {unknown[0]!r})'
        )
    return arguments


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
    """Copies of tensors and PyG data, in dictionaries too, as a forward may
    change them.
    """
    if isinstance(value, dict):
        return {key: copy_of(item) for key, item in value.items()}
    return value.clone() if isinstance(value, (Tensor, BaseData)) else value


def tensors_of(data: BaseData) -> dict[str, Tensor]:
    """The tensors in a data object; ``adj_t`` stands in for ``edge_index``."""
    found = {k: v for k, v in data.to_dict().items() if isinstance(v, Tensor)}
    if 'edge_index' not in found and 'adj_t' in found:
        found['edge_index'] = found['adj_t']
    return found


def _from_data(
    model: nn.Module, data: BaseData, parameters: dict[str, inspect.Parameter]
) -> dict[str, Any]:
    required = [
        name
        for name, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty
    ]
    if len(required) == 1 and required[0] in DATA_NAMES:
        return {required[0]: data}
    found = arguments_of(data, list(parameters), required)
    missing = [name for name in required if name not in found]
    if missing:
        raise ValueError(
            f"Expected calibration data to hold '{missing[0]}', an argument of "
            f'{type(model).__name__}.forward (got {", ".join(data.keys()) or "nothing"}); '
            'pass a tuple of forward arguments instead'
        )
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


def _num_values(call: dict[str, Any]) -> int:
    counts = [0]
    for value in call.values():
        if isinstance(value, BaseData):
            counts.append(value.num_nodes or 0)
        elif isinstance(value, Mapping):
            counts.append(_num_values(dict(value)))
        elif isinstance(value, Tensor):
            counts.append(value.numel())
    return max(counts)
