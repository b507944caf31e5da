"""Calibration data, in whatever form they are given, as calls of a model."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any

from torch import Tensor, nn
from torch_geometric.data.data import BaseData

from spikegraph.calls.call import (
    CallSpec,
    arguments_of,
    defaults_of,
    parameters_of,
    without_labels,
)
from spikegraph.calls.checks import (
    check_calls,
    check_max_batches,
    check_number,
    refuse_arrays,
)
from spikegraph.calls.inputs import is_value


def as_calls(
    model: nn.Module | CallSpec,
    data: Any,
    max_batches: int | None = None,
    name: str = 'calibration_data',
    may_be_empty: bool = False,
) -> list[dict[str, Any]]:
    r"""Turns calibration data into calls of ``forward``, by argument name.

    Args:
        model (torch.nn.Module or CallSpec): The model, or how it is called.
        data (Any): A PyG data object, a tensor, a tuple of forward arguments,
            a dictionary of them, or an iterable (list, loader, dataset) of
            any of these. A tuple always holds the arguments of one call.
        max_batches (int, optional): How many items of an iterable are taken at
            most. (default: :obj:`None`, all)
        name (str, optional): What data are called in messages.
            (default: :obj:`"calibration_data"`)
        may_be_empty (bool, optional): Whether an iterable may be without items, and
            items without values. (default: :obj:`False`)

    Raises:
        ValueError: If there is no data, if it does not fit ``forward``, if
            features are not finite, or if :obj:`max_batches` is not positive.
    """
    single = isinstance(data, (BaseData, Tensor, tuple, Mapping))
    if isinstance(data, (str, bytes)):
        raise ValueError(
            f"Expected '{name}' to be tensors, PyG data or a loader (got the text "
            f"{data!r}); load what it names, such as with 'load_dataset'"
        )
    check_calls(name, data, single)
    check_max_batches(max_batches)
    samples = [data] if single else list(islice(data, max_batches))
    calls = [as_call(model, sample) for sample in samples]
    if not may_be_empty and not any(_num_values(call) for call in calls):
        for argument, value in calls[0].items() if calls else ():
            known = (BaseData, Tensor, Mapping, Sequence, int, float, type(None))
            if not isinstance(value, known) and not is_value(value):
                raise ValueError(
                    f"Expected '{argument}' to be a tensor, PyG data, or a dictionary, "
                    f'list or tuple of these (got {type(value).__name__}); let forward '
                    'take the tensors that it holds, or a named tuple of them'
                )
        raise ValueError(
            f"Expected '{name}' to hold at least one sample "
            f'(got {len(samples)} samples, all empty)'
        )
    return calls


def as_call(model: nn.Module | CallSpec, sample: Any) -> dict[str, Any]:
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
                f"Expected the data to give the forward argument '{name}' "
                f'(got {", ".join(arguments) or "nothing"})'
            )
    unknown = [name for name in arguments if name not in parameters]
    if unknown:
        raise ValueError(
            f'Expected forward arguments {", ".join(parameters)} (got {unknown[0]!r})'
        )
    return arguments


def _from_data(
    model: nn.Module | CallSpec,
    data: BaseData,
    parameters: dict[str, inspect.Parameter],
) -> dict[str, Any]:
    required = [
        name
        for name, parameter in parameters.items()
        if parameter.default is inspect.Parameter.empty
    ]
    if len(required) == 1 and (required[0] not in data or required == ['batch']):
        return {required[0]: data}  # As most models of OGB and PyG's examples take it.
    found = arguments_of(data, list(parameters), required)
    missing = [name for name in required if name not in found]
    if missing:
        raise ValueError(
            f"Expected the data to hold '{missing[0]}', an argument of "
            f'{type(model).__name__}.forward (got {", ".join(data.keys()) or "nothing"}); '
            'pass a tuple of forward arguments instead'
        )
    return found


def _num_values(call: dict[Any, Any]) -> int:
    counts = [0]
    for value in call.values():
        if isinstance(value, BaseData):
            counts.append(value.num_nodes or 0)
        elif isinstance(value, Mapping):
            counts.append(_num_values(dict(value)))
        elif isinstance(value, (list, tuple)):
            counts.append(_num_values(dict(enumerate(value))))
        elif isinstance(value, Tensor):
            counts.append(value.numel())
    return max(counts)
