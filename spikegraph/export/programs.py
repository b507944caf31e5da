"""Converted networks as programs of PyTorch and of ONNX, for phones, C++ and servers."""

from __future__ import annotations

import importlib.util
import logging
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import torch

from spikegraph.export.plain.network import PlainNetwork, named
from spikegraph.export.sizes import dynamic_sizes, enlarged
from spikegraph.files import write_file
from spikegraph.running.model import SpikingModel

_NEEDS = ('onnx', 'onnxscript')


def to_program(
    snn: SpikingModel, *args: Any, dynamic: bool = True, **kwargs: Any
) -> torch.export.ExportedProgram:
    r"""Exports the closed form of a converted network with :func:`torch.export.export`:
    comparisons with thresholds, look-ups in tables of levels, linear maps, convolutions
    and sums over edges, all of them PyTorch's own operations. The program returns what
    the network returns, up to rounding, and needs PyTorch alone: write it to a file with
    :func:`torch.export.save`.

    Its inputs are what the network reads of the arguments of ``forward``, by name and in
    order; of PyG data, dictionaries and lists, the tensors in them. It returns plain
    dictionaries, lists and tuples. Graphs are prepared in the program, degrees and
    self-loops included, so that it fits other graphs than the example. That features are
    finite, and edges name nodes that exist, is not checked there.

    Args:
        snn (SpikingModel): The converted network.
        *args: An example of its arguments.
        dynamic (bool, optional): Whether numbers of nodes, edges, graphs and images may
            differ from those of the example: the columns of edge indices, and the rows
            of all other tensors. Sizes of images are fixed.
            (default: :obj:`True`)
        **kwargs: Keyword arguments of the example.

    Raises:
        ValueError: If :obj:`snn` is no converted network, or a size that may differ is
            0 or 1 in the example.
        NotImplementedError: If a layer has no such form, or holds for sizes of the
            example only.

    Example:
        >>> import spikegraph
        >>> from torch_geometric.nn import GCN
        >>> model = GCN(4, 8, num_layers=2, out_channels=3)
        >>> x, edge_index = torch.rand(5, 4), torch.tensor([[0, 1, 2], [1, 2, 3]])
        >>> snn = spikegraph.convert(model, (x, edge_index))
        >>> program = to_program(snn, x, edge_index)
        >>> x, edge_index = torch.rand(7, 4), torch.tensor([[0, 1, 6, 6], [1, 2, 3, 6]])
        >>> out = program.module()(x, edge_index)
        >>> torch.allclose(out, snn(x, edge_index), atol=1e-6)
        True
    """
    return _exported(snn, args, kwargs, dynamic).program


def to_onnx(
    snn: SpikingModel,
    path: str | PathLike[str],
    *args: Any,
    dynamic: bool = True,
    opset: int | None = None,
    **kwargs: Any,
) -> None:
    r"""Writes the closed form of a converted network to an ONNX file, which ONNX Runtime
    and others run without PyTorch; see :func:`to_program`.

    Needs ``pip install 'spikegraph[onnx]'``.

    Args:
        snn (SpikingModel): The converted network.
        path (str or os.PathLike): The file, ending in ``.onnx``. It holds the weights,
            too.
        *args: An example of its arguments.
        dynamic (bool, optional): Whether sizes may differ from those of the example,
            see :func:`to_program`. (default: :obj:`True`)
        opset (int, optional): The version of ONNX's operators.
            (default: :obj:`None`, what PyTorch writes by itself)
        **kwargs: Keyword arguments of the example.

    Raises:
        ImportError: If the packages of the extra are missing.
        ValueError: As :func:`to_program`, or if the file has another suffix.
        NotImplementedError: As :func:`to_program`, or if ONNX lacks an operator.

    Example:
        >>> import tempfile
        >>> import spikegraph
        >>> model = torch.nn.Sequential(
        ...     torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3)
        ... )
        >>> x = torch.rand(5, 4)
        >>> snn = spikegraph.convert(model, x)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     to_onnx(snn, f'{folder}/network.onnx', x)  # doctest: +SKIP
    """
    if Path(path).suffix != '.onnx':
        raise ValueError(f"Expected 'path' to end in '.onnx' (got '{path}')")
    missing = [name for name in _NEEDS if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(
            f'Expected {" and ".join(missing)} to be installed, which write ONNX files; '
            "install them with pip install 'spikegraph[onnx]'"
        )
    program, sizes = _exported(snn, args, kwargs, dynamic)
    num_outputs = len(program.graph_signature.user_outputs)
    names = ['output']
    if num_outputs != 1:
        names = [f'output_{i}' for i in range(num_outputs)]
    try:
        with _quiet('torch.onnx', 'onnx_ir', 'onnxscript'):
            found: Any = torch.onnx.export(
                program,
                dynamo=True,
                verbose=False,
                opset_version=opset,
                output_names=names,
            )
    except torch.onnx.OnnxExporterError as error:
        raise NotImplementedError(
            f'Cannot write the network as ONNX ({_reason(error.__cause__ or error)}). '
            "Write the program of 'to_program' with 'torch.export.save'"
        ) from error
    model = found.model_proto
    _name_sizes(model, program, sizes)
    write_file(path, model.SerializeToString())


class _Exported(NamedTuple):
    """A program, and the names of its sizes by input and dimension."""

    program: torch.export.ExportedProgram
    sizes: dict[str, Any]


def _exported(
    snn: SpikingModel, args: Any, kwargs: dict[str, Any], dynamic: bool
) -> _Exported:
    network = named(PlainNetwork(snn, *args, **kwargs))
    inputs = {name: network.inputs[name] for name in network.names}
    if not dynamic:
        return _Exported(_traced(network, inputs, None), {})
    leaves = {leaf.name: leaf for leaf in snn.spec.read_leaves}
    reasons: list[torch._dynamo.exc.UserError] = []
    for least in (0, 2):  # Some operations of PyTorch are others for a single row.
        sizes = dynamic_sizes(snn.network, inputs, leaves, least)
        try:
            return _Exported(_traced(network, enlarged(inputs, sizes), sizes), sizes)
        except torch._dynamo.exc.UserError as error:
            reasons.append(error)
    raise NotImplementedError(
        'Cannot export the network for inputs of other sizes than the example '
        f'({_reason(reasons[-1])}). Pass an example in which no two numbers of nodes, '
        "edges and channels are the same by chance, or 'dynamic=False'"
    ) from reasons[-1]


def _traced(
    network: PlainNetwork, inputs: dict[str, Any], sizes: dict[str, Any] | None
) -> torch.export.ExportedProgram:
    values = tuple(inputs.values())
    with torch.no_grad(), _quiet('torch'):
        program = torch.export.export(network, values, dynamic_shapes=sizes)
    program.example_inputs = None  # Files shall hold no data.
    return program


def _reason(error: BaseException) -> str:
    """What an error says first, on one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ' '.join(lines[:2])[:300].rstrip('.') or type(error).__name__


def _name_sizes(
    model: Any, program: torch.export.ExportedProgram, sizes: dict[str, Any]
) -> None:
    """Gives sizes of inputs and outputs their names in the place of symbols."""
    values = {n.name: n.meta['val'] for n in program.graph.nodes if 'val' in n.meta}
    names: dict[str, str] = {}
    for name, dims in sizes.items():
        for place, dim in (dims if isinstance(dims, dict) else {}).items():
            names[str(values[name].shape[place])] = dim.__name__
    for value in [*model.graph.input, *model.graph.output]:
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param:
                size.dim_param = re.sub(
                    r'\w+', lambda m: names.get(m[0], m[0]), size.dim_param
                )


@contextmanager
def _quiet(*names: str) -> Iterator[None]:
    """Without what packages say of their own code, and of others that they could use."""
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
