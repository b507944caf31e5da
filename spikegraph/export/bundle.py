"""An integer network as a folder that anybody can read and run again, bit by bit."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from spikegraph.running.integers import replay
from spikegraph.running.integers.model import IntegerModel, to_integer
from spikegraph.running.integers.run import IntegerRun
from spikegraph.running.model import SpikingModel
from spikegraph.running.windows import windows_of

FORMAT, VERSION = 'spikegraph integers', 1
_FILES = ('network.json', 'arrays.npz', 'schema.json', 'replay.py')
_SCHEMA = Path(__file__).with_name('schema.json')


def write_bundle(
    snn: SpikingModel | IntegerModel,
    directory: str | Path,
    *args: Any,
    width: int = 24,
    **kwargs: Any,
) -> dict[str, Any]:
    """Writes a network in integers, and what it makes of some inputs, into a folder.

    The folder holds a manifest (``network.json``, whose fields ``schema.json``
    describes), all tables, weights and graphs (``arrays.npz``), the spikes of the inputs
    as events, every spike time and potential that follows from them, and ``replay.py``,
    which needs NumPy alone and repeats the run bit by bit.

    Args:
        snn (SpikingModel or IntegerModel): The network, converted with
            :obj:`weight_bits`; one that is not yet in integers is written in them for
            these inputs.
        directory (str or pathlib.Path): The folder, new or empty.
        *args (Any): Inputs as of the network's :meth:`forward`.
        width (int, optional): The bits of a membrane, see
            :func:`~spikegraph.running.integers.to_integer`. (default: :obj:`24`)
        **kwargs (Any): Keyword arguments of the network's :meth:`forward`.

    Returns:
        Dict[str, Any]: The summary of the manifest: sizes in bytes, neurons, synapses,
        largest fan-in and fan-out, longest delay and cycles per inference in time steps.

    Raises:
        ValueError: If the folder is not empty, or the network has weights that are no
            integers.
        NotImplementedError: If a part of it cannot be written in integers.

    Example:
        >>> import tempfile
        >>> from torch import nn
        >>> from spikegraph import ConversionConfig, convert
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x = torch.rand(5, 4)
        >>> snn = convert(model, x, ConversionConfig(weight_bits=8))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     summary = write_bundle(snn, folder, x)
        >>> summary['cycles_per_inference'], summary['weight_bytes']
        (48, 56)
    """
    if not isinstance(snn, IntegerModel):
        snn = to_integer(snn, *args, width=width, **kwargs)
    if snn.how.membrane != 'held':
        raise ValueError(
            f"Expected membranes that hold their values (got '{snn.how.membrane}'); use "
            "'to_integer' with membrane='held'"
        )
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ValueError(
            f"Expected 'directory' to be a new or an empty folder (got '{directory}'); "
            'choose another one'
        )
    run = snn.traced(*args, records=True, **kwargs)
    manifest = _manifest(snn, run)
    directory.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    text = json.dumps(_stored(manifest, arrays), indent=1)
    (directory / 'network.json').write_text(text + '\n')
    np.savez_compressed(directory / 'arrays.npz', **arrays)  # type: ignore[arg-type]
    shutil.copyfile(_SCHEMA, directory / 'schema.json')
    shutil.copyfile(replay.__file__, directory / 'replay.py')
    sums = [
        f'{hashlib.sha256((directory / name).read_bytes()).hexdigest()}  {name}\n'
        for name in _FILES
    ]
    (directory / 'SHA256SUMS').write_text(''.join(sums))
    summary: dict[str, Any] = manifest['summary']
    return summary


def _manifest(snn: IntegerModel, run: IntegerRun) -> dict[str, Any]:
    model, result, how = snn.model, run.result, snn.how
    inputs = [
        {
            'name': node.record.label,
            'shape': list(run.written[node.record.label].shape),
            'num_steps': result.spikes[node.record.label].code.num_steps,
            'signed': result.spikes[node.record.label].code.signed,
            'stands_for': node.record.stands_for,
        }
        for node in run.encoded
    ]
    read = {op['membrane'] for op in run.operations if op['op'] == 'fire'}
    read |= {op['divisor'] for op in run.operations if op['op'] == 'fire'}
    outputs = [
        {'membrane': name, 'binary_places': result.exponents[name]}
        for name in result.integers
        if name not in read
    ]
    populations = [
        {
            'name': name,
            'neurons': spikes.shape.numel(),
            'num_steps': spikes.code.num_steps,
            'signed': spikes.code.signed,
            'start_step': result.start_step[name],
            'spikes': spikes.num_spikes,
        }
        for name, spikes in result.spikes.items()
    ]
    return {
        'format': FORMAT,
        'version': VERSION,
        'model': model.report.model,
        'membrane': how.membrane,
        'width': how.width,
        'weight_bits': model.config.weight_bits,
        'constant_bits': how.constant_bits,
        'summary': _summary(run, populations),
        'full_membranes': sum(result.saturated.values()),
        'inputs': inputs,
        'populations': populations,
        'outputs': outputs,
        'operations': run.operations,
        'events': _events(run, inputs),
        'golden': {'spike times': run.written, 'potentials': result.integers},
    }


def _events(run: IntegerRun, inputs: list[dict[str, Any]]) -> np.ndarray:
    """The input spikes :math:`(n, 4)`: time step, input, place and sign, in time."""
    parts = []
    for layer, each in enumerate(inputs):
        time, num_steps = run.written[each['name']].reshape(-1), each['num_steps']
        (place,) = np.nonzero(time != num_steps)
        when = replay.phase(time, num_steps)[place]
        sign = replay.polarity(time, num_steps)[place]
        parts.append(np.stack([when, np.full_like(when, layer), place, sign], axis=1))
    events = np.concatenate(parts) if parts else np.zeros((0, 4), dtype=np.int64)
    found: np.ndarray = events[np.argsort(events[:, 0], kind='stable')]
    return found


def _summary(run: IntegerRun, populations: list[dict[str, Any]]) -> dict[str, Any]:
    """What a chip has to have room for."""
    sizes = {'weight_bytes': 0, 'graph_bytes': 0, 'table_bytes': 0}
    fan_in, fan_out, num_synapses = 0, 0, 0
    for op in run.operations:
        for source in op.get('sources', ()):
            shape = run.written[source['spikes']].shape
            ins, outs = _fans(source['path'], shape)
            if ins.numel() and outs.numel():
                fan_in = max(fan_in, int(ins.max()))
                fan_out = max(fan_out, int(outs.max()))
            num_synapses += int(outs.sum())
            for step in source['path']:
                names = {'weight': 'weight_bytes', 'value': 'table_bytes'}
                names |= {'rowptr': 'graph_bytes', 'col': 'graph_bytes'}
                for name, kind in names.items():
                    if step.get(name) is not None:
                        sizes[kind] += _narrow(step[name]).nbytes
            sizes['table_bytes'] += _narrow(source['amplitude']).nbytes
        tables = [op.get('bias'), op.get('on'), *(op.get('off') or ())]
        sizes['table_bytes'] += sum(_narrow(t).nbytes for t in tables if t is not None)
    charges = [op for op in run.operations if op['op'] == 'charge']
    num_membranes = sum(int(np.prod(op['shape'])) for op in charges)
    return {
        **sizes,
        'membranes': num_membranes,
        'membrane_bytes': num_membranes * run.how.width // 8,
        'neurons': sum(p['neurons'] for p in populations),
        'spikes': sum(p['spikes'] for p in populations),
        'synapses': num_synapses,
        'largest_fan_in': fan_in,
        'largest_fan_out': fan_out,
        'longest_delay': _longest_delay(run),
        'cycles_per_inference': run.result.num_steps,
    }


def _longest_delay(run: IntegerRun) -> int:
    """How many steps a spike waits at most before the membrane that it charges fires, its
    own window left out.
    """
    start, spikes = run.result.start_step, run.result.spikes
    windows = {n.name: w for n, w in windows_of(run.network).items()}
    fires = {op['membrane']: op['name'] for op in run.operations if op['op'] == 'fire'}
    longest = 0
    for op in run.operations:
        for source in op.get('sources', ()):
            name = source['spikes']
            if name in spikes:
                ready = start[name] + spikes[name].code.num_steps
            else:
                ready = windows[name].end
            reader = fires.get(op['name'])
            until = start[reader] if reader else run.result.num_steps - run.num_steps
            longest = max(longest, until - ready)
    return longest


def _fans(path: list[dict[str, Any]], shape: Any) -> tuple[Tensor, Tensor]:
    """How many synapses reach each membrane, and leave each neuron, on one path."""
    with torch.enable_grad():
        x = torch.ones(shape, dtype=torch.float64, requires_grad=True)
        values = [x]
        for op in path:
            first = values[op['inputs'][0]]
            values.append(
                sum((values[i] for i in op['inputs'][1:]), first)
                if op['op'] == 'add'
                else _counted(first, op)
            )
        if len(values) == 1:
            return x.detach(), torch.ones_like(x)
        (outs,) = torch.autograd.grad(values[-1].sum(), x)
    return values[-1].detach(), outs


def _counted(x: Tensor, op: dict[str, Any]) -> Tensor:
    """A step in which all that is not zero is one."""
    kind = op['op']
    if kind in ('linear', 'conv'):
        weight = torch.from_numpy((op['weight'] != 0).astype(np.float64))
        if kind == 'linear':
            return x @ weight.t()
        (top, bottom), (left, right) = op['padding']
        x = F.pad(x, (left, right, top, bottom))
        options = {name: op[name] for name in ('stride', 'dilation', 'groups')}
        return F.conv2d(x, weight, **options)
    if kind == 'scale':
        return x * torch.from_numpy(np.asarray(op['value'] != 0, dtype=np.float64))
    counts = np.diff(op['rowptr'])
    row = torch.from_numpy(np.arange(len(counts)).repeat(counts))
    seen = x.reshape(-1, op['width'])[torch.from_numpy(op['col'].astype(np.int64))]
    out = x.new_zeros(len(counts), op['width']).index_add(0, row, seen)
    return out.reshape(op['shape'])


def _stored(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    """A manifest in the types of JSON, with arrays by their names."""
    if isinstance(value, dict):
        return {name: _stored(part, arrays) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [_stored(part, arrays) for part in value]
    if isinstance(value, np.generic):
        return value.item()
    if not isinstance(value, np.ndarray):
        return value
    assert value.dtype.kind in 'iu', value.dtype
    if value.ndim == 0:
        return int(value)
    name = f'a{len(arrays)}'
    arrays[name] = _narrow(value)
    return {'array': name}


def _narrow(values: np.ndarray) -> np.ndarray:
    """The same integers in the fewest bytes."""
    if values.dtype == np.uint8 or values.size == 0:
        return values
    low, high = int(values.min()), int(values.max())
    kind = np.min_scalar_type(min(low, -max(high, 0) - 1))
    return values.astype(kind)
