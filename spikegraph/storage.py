from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from spikegraph.calls.call import CallSpec
from spikegraph.calls.inputs import is_plain
from spikegraph.calls.wrappers import unwrap
from spikegraph.files import write_file
from spikegraph.kernels.sparse_parts import join_sparse, split_sparse
from spikegraph.network import ConversionConfig, ConversionReport
from spikegraph.network.checking import check_spec
from spikegraph.network.finding import of_model
from spikegraph.network.network import Network
from spikegraph.network.packing import Packer
from spikegraph.network.registry import Registry, UnknownName
from spikegraph.network.roles import Role
from spikegraph.network.unpacking import Unpacker
from spikegraph.running.model import SpikingModel
from spikegraph.schema import from_json, to_json

FORMAT = 'spikegraph'
FORMAT_VERSION = 4
_CHECKSUM = 'sha256'
_LONGEST_REASON = 400
_REMEDY = (
    'The file was edited or damaged; copy it again, or convert and save the network '
    'again'
)


@dataclass(frozen=True)
class _Header:
    """What a file says about the network whose tensors it holds."""

    version: int
    spec: CallSpec
    config: ConversionConfig
    report: ConversionReport
    network: Any


def save(snn: SpikingModel, path: str | PathLike[str]) -> None:
    r"""Saves a converted network: tensors as `safetensors
    <https://github.com/huggingface/safetensors>`_, all else as JSON metadata, with
    a checksum of both. The file appears as a whole or not at all.

    Args:
        snn (SpikingModel): The converted network.
        path (str or os.PathLike): The file. An existing one keeps its mode.

    Raises:
        ValueError: If :obj:`snn` is no converted network, or holds what a file cannot,
            such as a function without a name; the message says which.
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
        ...     loaded = load(f'{folder}/snn.safetensors')
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
    packer = Packer()
    try:
        network = packer.pack(snn.network)
    except RecursionError as error:
        raise ValueError(
            'Cannot save the network: it holds a value that is nested too deep, or holds '
            'itself'
        ) from error
    # Default values that a file cannot hold are given, or not read.
    defaults = {k: v if is_plain(v) else None for k, v in snn.spec.defaults.items()}
    spec = replace(snn.spec, defaults=defaults)
    header = to_json(_Header(FORMAT_VERSION, spec, snn.config, snn.report, network))
    try:
        text = json.dumps(header)
    except TypeError as error:
        raise ValueError(
            'Expected the fixed forward arguments to be JSON values (got '
            f'{snn.spec.constants})'
        ) from error
    tensors = {
        name: value.cpu().clone(memory_format=torch.contiguous_format)
        for name, value in split_sparse(packer.tensors).items()
    }
    metadata = {FORMAT: text, _CHECKSUM: _checksum(text, tensors)}
    return serialize(tensors, metadata=metadata)


def load(
    path: str | PathLike[str], model: nn.Module | None = None, known: Sequence[Any] = ()
) -> SpikingModel:
    r"""Loads what :func:`save` wrote: all of it, so that neither the model nor its class
    are needed. A file runs no code, and builds only types, and calls only functions, of
    PyTorch, PyG and this package.

    Args:
        path (str or os.PathLike): The file.
        model (torch.nn.Module, optional): A model whose class, and those of its parts,
            are known, as by :obj:`known`. Only a network that kept modules or functions
            of yours needs them. (default: :obj:`None`)
        known (Sequence[Any], optional): Types and functions of yours that the file may
            name. (default: :obj:`()`)

    Returns:
        SpikingModel: The network, on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is truncated, foreign, changed since it was saved,
            or from another version, or names what is not known.

    Example:
        >>> import tempfile
        >>> from spikegraph import convert
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x = torch.rand(5, 4)
        >>> snn = convert(model, x)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(snn, f'{folder}/snn.safetensors')
        ...     load(f'{folder}/snn.safetensors').config == snn.config
        True
    """
    if model is not None and not isinstance(model, nn.Module):
        raise ValueError(
            f"Expected 'model' to be a torch.nn.Module or None (got {type(model).__name__}"
            "); types and functions go into 'known=[...]'"
        )
    if not Path(path).is_file():
        found = 'something else' if Path(path).exists() else 'none'
        raise FileNotFoundError(
            f"Expected a file at '{path}' (found {found}); 'spikegraph.save' writes one"
        )
    own = [] if model is None else of_model(unwrap(model))
    registry = Registry([*own, *_checked(known)])
    metadata, tensors = _read(path)
    header = _parse(path, metadata[FORMAT])
    try:
        network = Unpacker(join_sparse(tensors), registry).unpack(header.network)
        if not isinstance(network, Network):
            raise ValueError('it describes something else than a network')
        names = {n.record.label for n in network.nodes if n.role is Role.POPULATION}
        reported = {population.name for population in header.report.populations}
        if names != reported:
            raise ValueError(
                f'expected the populations {str(sorted(reported))[:100]} of the report '
                f'(got {str(sorted(names))[:100]})'
            )
        check_spec(header.spec, network)
        return SpikingModel(network, header.spec, header.config, header.report)
    except Exception as error:  # Whatever a changed file leads to.
        remedy = '' if isinstance(error, UnknownName) else f'. {_REMEDY}'
        raise ValueError(
            f"Expected '{path}' to hold a network that can be built: {_reason(error)}"
            f'{remedy}'
        ) from error


def _checked(known: Any) -> list[Any]:
    """What the user knows, if it is functions and types with names."""
    if isinstance(known, (str, bytes)) or not isinstance(known, Iterable):
        known = [known]
    found = list(known)
    for value in found:
        if not callable(value) or isinstance(value, nn.Module):
            raise ValueError(
                "Expected 'known' to be a list of types and functions (got "
                f'{type(value).__name__} in it)'
            )
    return found


def _reason(error: Exception) -> str:
    """What an error says, in a short line."""
    text = ' '.join(str(error).split()) or type(error).__name__
    if not isinstance(error, ValueError):
        text = f'{type(error).__name__}: {text}'
    text = text.encode(errors='replace').decode()
    return text if len(text) <= _LONGEST_REASON else f'{text[:_LONGEST_REASON]} ...'


def _read(path: str | PathLike[str]) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata and the tensors of a file, which belong together."""
    try:
        with safe_open(str(path), framework='pt') as file:
            metadata = file.metadata() or {}
            # Copies, as sums depend on where tensors start in memory.
            tensors = {n: file.get_tensor(n).clone() for n in file.keys()}  # noqa: SIM118
        checksum = _checksum(metadata.get(FORMAT, ''), tensors)
    except (SafetensorError, OSError, RuntimeError, TypeError, ValueError) as error:
        raise ValueError(
            f"Expected '{path}' to be a file saved by spikegraph.save (got: "
            f'{_reason(error)}); it may be truncated or of another kind'
        ) from error
    if FORMAT not in metadata:
        raise ValueError(
            f"Expected '{path}' to be a file saved by spikegraph.save (got safetensors "
            f'with metadata {str(sorted(metadata))[:80]})'
        )
    _check_version(path, metadata[FORMAT])
    if metadata.get(_CHECKSUM) != checksum:
        raise ValueError(
            f"Expected '{path}' to be as spikegraph.save wrote it (got another SHA-256 "
            'of what it holds): it was edited or damaged; copy it again, or convert and '
            'save the network again'
        )
    return metadata, tensors


def _check_version(path: str | PathLike[str], text: str) -> None:
    try:
        version = json.loads(text)['version']
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"Expected '{path}' to hold valid JSON with a version (got "
            f'{type(error).__name__}: {_reason(error)}). {_REMEDY}'
        ) from error
    if type(version) is not int or version != FORMAT_VERSION:
        is_older = type(version) is int and version < FORMAT_VERSION
        remedy = '; convert and save the network again, or' if is_older else ';'
        raise ValueError(
            f"Expected '{path}' to have format version {FORMAT_VERSION} (got "
            f'{version!r:.40}){remedy} install the version of spikegraph that wrote it'
        )


def _parse(path: str | PathLike[str], text: str) -> _Header:
    try:
        return from_json(_Header, json.loads(text), 'header')
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise ValueError(
            f"Expected '{path}' to hold a complete description: {_reason(error)}. "
            f'{_REMEDY}'
        ) from error


def _checksum(text: str, tensors: dict[str, Tensor]) -> str:
    """The SHA-256 of the description, and of name, type, shape and bytes of every
    tensor."""
    found = hashlib.sha256(text.encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f'\n{name}\n{tensor.dtype}\n{tuple(tensor.shape)}\n'.encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
