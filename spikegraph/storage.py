from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from spikegraph.conversion import ConversionConfig, ConversionReport, SpikingModel
from spikegraph.conversion.call import CallSpec, defaults_of, parameters_of
from spikegraph.conversion.structure import build_structure
from spikegraph.nn import PhaseNeuron

FORMAT = 'spikegraph'
FORMAT_VERSION = 1


def save(snn: SpikingModel, path: str | Path) -> None:
    r"""Saves a converted network: tensors as `safetensors
    <https://github.com/huggingface/safetensors>`_, all else as JSON metadata.

    Args:
        snn (SpikingModel): The converted network.
        path (str or pathlib.Path): The file.

    Raises:
        ValueError: If :obj:`snn` is no converted network, or if it was
            specialised to an argument that JSON cannot hold.
    """
    if not isinstance(snn, SpikingModel):
        raise ValueError(
            f"Expected 'snn' to be a SpikingModel (got {type(snn).__name__}); convert it "
            'first'
        )
    header = {
        'version': FORMAT_VERSION,
        'spec': snn.spec.to_dict(),
        'config': snn.config.to_dict(),
        'report': snn.report.to_dict(),
    }
    try:
        metadata = {FORMAT: json.dumps(header)}
    except TypeError as error:
        raise ValueError(
            'Expected the fixed forward arguments to be JSON values (got '
            f'{snn.spec.constants})'
        ) from error
    tensors = {
        name: value.detach().cpu().contiguous().clone()
        for name, value in snn.network.state_dict().items()
    }
    save_file(tensors, str(path), metadata=metadata)


def load(path: str | Path, model: nn.Module) -> SpikingModel:
    r"""Loads what :func:`save` wrote; the file never runs code.

    Args:
        path (str or pathlib.Path): The file.
        model (torch.nn.Module): A model of the class and size that was
            converted; it gives the structure, its weights are not used and it
            is not changed.

    Returns:
        SpikingModel: The network, on the CPU.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is truncated, foreign, from a newer version, or
            if :obj:`model` has another structure.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"Expected a file at '{path}' (found none)")
    header, tensors = _read(path)
    try:
        config = ConversionConfig.from_dict(header['config'])
        report = ConversionReport.from_dict(header['report'])
        spec = CallSpec.from_dict(header['spec'], defaults_of(model))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"Expected '{path}' to hold a complete description (got {error!r})"
        ) from error
    _check_parameters(path, spec, model)
    structure = build_structure(model, spec, config, report.affine)
    network = structure.network
    _fit_shapes(network, tensors)
    weights = [t.dtype for name, t in tensors.items() if name.endswith('.weight')]
    if weights:
        network.to(weights[0])
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise ValueError(
            f"Expected 'model' to have the structure of the {report.model} saved in "
            f"'{path}' (got {type(model).__name__}): {error}"
        ) from error
    return SpikingModel(network, structure.spec, config, report)


def _read(path: str | Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    try:
        with safe_open(str(path), framework='pt') as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ValueError(
            f"Expected '{path}' to be a file saved by spikegraph.save (got: {error}); it "
            'may be truncated or of another kind'
        ) from error
    if FORMAT not in metadata:
        raise ValueError(
            f"Expected '{path}' to be a file saved by spikegraph.save (got safetensors "
            f'with metadata {sorted(metadata)})'
        )
    try:
        header = json.loads(metadata[FORMAT])
        version = header['version']
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"Expected '{path}' to hold valid JSON (got {error})"
        ) from error
    if version != FORMAT_VERSION:
        raise ValueError(
            f"Expected '{path}' to have format version {FORMAT_VERSION} (got {version}); "
            'install the version of spikegraph that wrote it'
        )
    return header, tensors


def _check_parameters(path: str | Path, spec: CallSpec, model: nn.Module) -> None:
    names = tuple(parameters_of(model))
    if names != spec.names:
        raise ValueError(
            f"Expected 'model' to have a forward({', '.join(spec.names)}), as saved in "
            f"'{path}' (got {type(model).__name__}.forward({', '.join(names)}))"
        )


def _fit_shapes(network: nn.Module, tensors: dict[str, torch.Tensor]) -> None:
    """Scales, and biases that compensation added, have no shape until now."""
    for name, module in network.named_modules():
        if isinstance(module, PhaseNeuron) and f'{name}.scale' in tensors:
            module.scale = torch.empty_like(tensors[f'{name}.scale'])
        elif f'{name}.bias' in tensors and getattr(module, 'bias', 0) is None:
            module.bias = nn.Parameter(torch.empty_like(tensors[f'{name}.bias']))
