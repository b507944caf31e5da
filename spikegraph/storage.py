from __future__ import annotations

import hashlib
import json
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from spikegraph.calls.call import CallSpec, defaults_of, parameters_of
from spikegraph.calls.wrappers import unwrap
from spikegraph.conversion.passes.structure import build_structure
from spikegraph.files import write_file
from spikegraph.kernels.sparse_parts import join_sparse, split_sparse
from spikegraph.network import ConversionConfig, ConversionReport
from spikegraph.nn import PhaseNeuron
from spikegraph.running.model import SpikingModel
from spikegraph.schema import from_json, to_json

FORMAT = 'spikegraph'
FORMAT_VERSION = 2
_CHECKSUM = 'sha256'
_LONGEST_REASON = 400
_REMEDY = (
    'The file was edited or damaged; copy it again, or convert and save the network '
    'again'
)
# What the model brings itself, and what is for messages only.
_NOT_SAVED = ('defaults',)


@dataclass(frozen=True)
class _Header:
    """What a file says about the network whose tensors it holds."""

    version: int
    spec: CallSpec
    config: ConversionConfig
    report: ConversionReport


def save(snn: SpikingModel, path: str | PathLike[str]) -> None:
    r"""Saves a converted network: tensors as `safetensors
    <https://github.com/huggingface/safetensors>`_, all else as JSON metadata, with
    a checksum of both. The file appears as a whole or not at all.

    Args:
        snn (SpikingModel): The converted network.
        path (str or os.PathLike): The file. An existing one keeps its mode.

    Raises:
        ValueError: If :obj:`snn` is no converted network, or if it was
            specialised to an argument that JSON cannot hold.
        OSError: If the file cannot be written, or is a folder or a device, which
            stay as they are.

    Example:
        >>> import tempfile
        >>> from spikegraph import convert
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x = torch.rand(5, 4)
        >>> snn = convert(model, x)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(snn, f'{folder}/snn.safetensors')
        ...     loaded = load(f'{folder}/snn.safetensors', model)
        >>> torch.equal(loaded(x), snn(x))
        True
    """
    write_file(path, to_bytes(snn))


def to_bytes(snn: SpikingModel) -> bytes:
    """What :func:`save` writes.

    Args:
        snn (SpikingModel): The converted network.

    Returns:
        bytes: The content of the file.

    Raises:
        ValueError: See :func:`save`.
    """
    if not isinstance(snn, SpikingModel):
        raise ValueError(
            f"Expected 'snn' to be a SpikingModel (got {type(snn).__name__}); convert it "
            'first'
        )
    spec = replace(snn.spec, defaults={})
    header = to_json(_Header(FORMAT_VERSION, spec, snn.config, snn.report))
    for name in _NOT_SAVED:
        del header['spec'][name]
    try:
        text = json.dumps(header)
    except TypeError as error:
        raise ValueError(
            'Expected the fixed forward arguments to be JSON values (got '
            f'{snn.spec.constants})'
        ) from error
    tensors = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in split_sparse(snn.network.state_dict()).items()
    }
    metadata = {FORMAT: text, _CHECKSUM: _checksum(text, tensors)}
    return serialize(tensors, metadata=metadata)


def load(path: str | PathLike[str], model: nn.Module) -> SpikingModel:
    r"""Loads what :func:`save` wrote; the file never runs code.

    Args:
        path (str or os.PathLike): The file.
        model (torch.nn.Module): A model of the class and size that was
            converted; it gives the structure, its weights are not used and it
            is not changed.

    Returns:
        SpikingModel: The network, on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is truncated, foreign, changed since it was saved,
            or from another version, or if :obj:`model` has another structure.

    Example:
        >>> import tempfile
        >>> from spikegraph import convert
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x = torch.rand(5, 4)
        >>> snn = convert(model, x)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(snn, f'{folder}/snn.safetensors')
        ...     load(f'{folder}/snn.safetensors', model).config == snn.config
        True
    """
    if not Path(path).is_file():
        found = 'something else' if Path(path).exists() else 'none'
        raise FileNotFoundError(
            f"Expected a file at '{path}' (found {found}); 'spikegraph.save' writes one"
        )
    model = unwrap(model)
    if not isinstance(model, nn.Module):
        raise ValueError(
            "Expected 'model' to be a torch.nn.Module of the class and size that was "
            f"converted to '{path}' (got {type(model).__name__})"
        )
    header, tensors = _read(path)
    report = header.report
    spec = replace(header.spec, defaults=defaults_of(model))
    _check_parameters(path, spec, model)
    with _building(path, report, model):
        structure = build_structure(model, spec, header.config, report.affine)
        if structure.spec.read != spec.read:
            raise ValueError(
                f'expected it to read {", ".join(spec.read)} (got '
                f'{", ".join(structure.spec.read)})'
            )
        network = structure.network
        _fit_shapes(network, tensors)
        weights = [t.dtype for name, t in tensors.items() if name.endswith('.weight')]
        if weights:
            network.to(weights[0])
        network.load_state_dict(tensors)
        _check_populations(structure.populations, report)
        return SpikingModel(network, spec, header.config, report)


@contextmanager
def _building(
    path: str | PathLike[str], report: ConversionReport, model: nn.Module
) -> Iterator[None]:
    """Whatever goes wrong while the saved description and the model are brought
    together says that they do not fit."""
    try:
        yield
    except Exception as error:
        reason = ' '.join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"Expected 'model' to have the structure of the {report.model} saved in "
            f"'{path}' (got {type(model).__name__}): "
            f'{textwrap.shorten(reason, _LONGEST_REASON)}. Make the model as it was made '
            'before the conversion'
        ) from error


def _read(path: str | PathLike[str]) -> tuple[_Header, dict[str, Tensor]]:
    try:
        with safe_open(str(path), framework='pt') as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise ValueError(
            f"Expected '{path}' to be a file saved by spikegraph.save (got: {error}); it "
            'may be truncated or of another kind'
        ) from error
    if FORMAT not in metadata:
        raise ValueError(
            f"Expected '{path}' to be a file saved by spikegraph.save (got safetensors "
            f'with metadata {sorted(metadata)})'
        )
    header = _parse(path, metadata[FORMAT])
    if metadata.get(_CHECKSUM) != _checksum(metadata[FORMAT], tensors):
        raise ValueError(
            f"Expected '{path}' to be as spikegraph.save wrote it (got another SHA-256 "
            'of what it holds): it was edited or damaged; copy it again, or convert and '
            'save the network again'
        )
    return header, join_sparse(tensors)


def _parse(path: str | PathLike[str], text: str) -> _Header:
    try:
        header = json.loads(text)
        version = header['version']
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"Expected '{path}' to hold valid JSON with a version (got "
            f'{type(error).__name__}: {error}). {_REMEDY}'
        ) from error
    if type(version) is not int or version != FORMAT_VERSION:
        older = type(version) is int and version < FORMAT_VERSION
        remedy = ', which has no checksum; convert and save the network again, or'
        raise ValueError(
            f"Expected '{path}' to have format version {FORMAT_VERSION} (got "
            f'{version!r:.40}){remedy if older else ";"} install the version of '
            'spikegraph that wrote it'
        )
    try:
        for name in _NOT_SAVED:
            header['spec'] = {**header['spec'], name: {}}
        return from_json(_Header, header, 'header')
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = error if isinstance(error, ValueError) else repr(error)
        raise ValueError(
            f"Expected '{path}' to hold a complete description: {reason}. {_REMEDY}"
        ) from error


def _checksum(text: str, tensors: dict[str, Tensor]) -> str:
    """The SHA-256 of the description, and of name, type, shape and bytes of every
    tensor."""
    found = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f'\n{name}\n{tensor.dtype}\n{tuple(tensor.shape)}\n'.encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _check_populations(populations: Any, report: ConversionReport) -> None:
    expected = {name.split('.', 1)[1] for name in populations}
    found = {population.name for population in report.populations}
    if found != expected:
        raise ValueError(
            f'populations {sorted(expected)} are in the network, {sorted(found)} in the '
            'report'
        )


def _check_parameters(
    path: str | PathLike[str], spec: CallSpec, model: nn.Module
) -> None:
    names = tuple(parameters_of(model))
    if names != spec.names:
        raise ValueError(
            f"Expected 'model' to have a forward({', '.join(spec.names)}), as saved in "
            f"'{path}' (got {type(model).__name__}.forward({', '.join(names)}))"
        )


def _fit_shapes(network: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Scales, and biases that compensation added, have no shape until now."""
    for name, module in network.named_modules():
        if isinstance(module, PhaseNeuron) and f'{name}.scale' in tensors:
            module.scale = torch.empty_like(tensors[f'{name}.scale'])
        elif f'{name}.bias' in tensors and getattr(module, 'bias', 0) is None:
            module.bias = nn.Parameter(torch.empty_like(tensors[f'{name}.bias']))
    for name, tensor in tensors.items():
        path, _, attribute = name.rpartition('.')
        if tensor.layout != torch.strided:  # Of any number of entries.
            buffers = network.get_submodule(path)._buffers
            buffers.update({attribute: tensor.clone()} if attribute in buffers else {})
