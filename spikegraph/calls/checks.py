"""What is refused in data and arguments, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset
from torch_geometric.data.data import BaseData

from spikegraph.kernels.contents import are_finite, is_noted, one_pass
from spikegraph.kernels.forms import parts_of


def check_calls(name: str, data: Any, single: bool) -> None:
    """Raises ``ValueError`` if data are neither one sample nor an iterable."""
    if isinstance(data, np.ndarray):
        refuse_array(name, data)
    if single or isinstance(data, Iterable):
        return
    found = type(data).__name__
    if isinstance(data, Dataset):
        raise ValueError(
            f"Expected '{name}' to give batches (got the dataset "
            f'{found}, which gives single samples); wrap it in a DataLoader: '
            "'DataLoader(dataset, batch_size=128)'"
        )
    raise ValueError(
        f"Expected '{name}' to be PyG data, a tuple of forward arguments "
        f'or an iterable of either (got {found})'
    )


def check_max_batches(max_batches: Any) -> None:
    """Raises ``ValueError`` if a number of batches is not whole and positive."""
    if max_batches is None:
        return
    if not isinstance(max_batches, (int, np.integer)):
        raise ValueError(
            f"Expected 'max_batches' to be a whole number (got {max_batches!r})"
        )
    if max_batches < 1:
        raise ValueError(f"Expected 'max_batches' to be at least 1 (got {max_batches})")


def check_static(declared: Sequence[str], names: Sequence[str]) -> None:
    """Raises ``ValueError`` if what is declared to be no feature is no input."""
    unknown = [name for name in declared if name not in names]
    if unknown:
        known = ', '.join(dict.fromkeys(names))
        raise ValueError(
            "Expected 'static_inputs' of ConversionConfig to name inputs that the model "
            f'reads, of {known} (got {unknown[0]!r})'
        )


def check_number(values: Sequence[Any], names: Sequence[str], required: int) -> None:
    """Raises ``ValueError`` if a batch holds more than ``forward`` takes."""
    if len(values) > len(names):
        last = max(1, required)
        raise ValueError(
            f'Expected at most {len(names)} forward arguments, {", ".join(names)} (got '
            f'{len(values)}). Labels are not needed; drop what is not an argument, as in '
            f"'[batch[:{last}] for batch in loader]'"
        )


def check_tensor(name: str, value: Any) -> None:
    """Raises ``ValueError`` if an argument is no tensor."""
    if isinstance(value, np.ndarray):
        refuse_array(name, value)
    if not isinstance(value, Tensor):
        raise ValueError(
            f"Expected '{name}' to be a tensor, as in the calibration data (got "
            f'{type(value).__name__}); call the network once for each batch, or use '
            "'spikegraph.predict' for a loader"
        )


def refuse_arrays(names: Sequence[str], values: Any) -> None:
    """Raises ``ValueError`` if there is an array among the arguments."""
    values = [values] if isinstance(values, np.ndarray) else values
    for name, value in zip(names, values, strict=False):
        if isinstance(value, np.ndarray):
            refuse_array(name, value)


def refuse_array(name: str, value: np.ndarray) -> NoReturn:
    """Raises ``ValueError`` with the way from an array to a tensor."""
    raise ValueError(
        f"Expected '{name}' to be a tensor, or made of tensors (got numpy.ndarray of "
        f"{value.dtype}); use 'torch.from_numpy(array)', in the type that the model "
        'was trained with'
    )


def check_finite(name: str, value: Any) -> None:
    """Raises ``ValueError`` if a tensor, or one inside PyG data, is not finite."""
    for key, tensor in float_tensors(name, value):
        if not all(map(are_finite, parts_of(tensor))):
            values = parts_of(tensor)[-1]
            bad = values[~values.isfinite()]
            raise ValueError(
                f"Expected '{key}' to be finite (got {bad[0].item()} in {bad.numel()} "
                'places); clean or impute the data first'
            )


def float_tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors of real numbers in an argument, and what they are called."""
    if isinstance(value, BaseData):
        for key, item in value.to_dict().items():
            yield from float_tensors(f'{name}.{key}', item)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from float_tensors(f'{name}[{key!r}]', item)
    elif isinstance(value, Tensor) and value.is_floating_point():
        yield name, value


class FiniteFeatures:
    """Checks that features are finite, after a pass in which kernels may have found
    out already, or before an error is raised that they may have caused.

    Args:
        features (Dict[str, Any]): The features by name.
    """

    def __init__(self, features: Mapping[str, Any]) -> None:
        self.features = features
        self._pass = one_pass()

    def __enter__(self) -> None:
        self._current = self._pass.__enter__()

    def __exit__(self, *error: Any) -> None:
        self._pass.__exit__(*error)
        for name, value in self.features.items():
            for key, tensor in float_tensors(name, value):
                if not is_noted(self._current, tensor):
                    check_finite(key, tensor)
