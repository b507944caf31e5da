"""Small networks as text: every neuron, and every connection with weight and delay."""

from __future__ import annotations

import ast
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spikegraph.export.segments import OUTPUT, Population, Segments
from spikegraph.files import reading
from spikegraph.running.model import SpikingModel

POPULATIONS = 'populations.txt'
_COLUMNS = ['i', 'j', 'weight', 'delay']


def save_connections(
    snn: SpikingModel,
    folder: str | Path,
    *args: Any,
    max_neurons: int = 10_000,
    max_connections: int = 1_000_000,
    **kwargs: Any,
) -> list[Path]:
    r"""Writes a network, for given inputs, as lists of neurons and of connections.

    One file for each pair of populations, ``SOURCE-TARGET.txt``, has a line for each
    connection: the index of the source neuron, of the target neuron, the weight, and the
    delay in steps. ``numpy.loadtxt`` reads it, PyNN's ``FromFileConnector`` takes it, and
    its columns are what Brian2's ``Synapses.connect(i=..., j=...)`` and ``w``, ``delay``
    are set to. An index is that of a value in the flattened tensor: node times width
    plus channel.

    A spike that is sent in step :math:`t` of its population's window adds
    :math:`\pm w \, \ell_t` to the target, with the levels :math:`\ell_t` of its
    population; or, which is the same, the target's membrane grows by
    :math:`\ell_t / \ell_{t+1}` in each step and ``w`` is added to it. The delay lets
    spikes of all sources arrive in the window before that in which the target fires.

    ``populations.txt`` has a line for each neuron: population, index, node, channel,
    bias (the potential before any spike; of an input population the input itself),
    spike time on these inputs and sign (0 silent), the thresholds of every step, and
    where a population has OFF spikes the largest and smallest potentials of those.
    Headers name sizes, windows and levels.

    Args:
        snn (SpikingModel): The converted network.
        folder (str or pathlib.Path): Where files are written; it is made.
        *args (Any): The arguments of its :meth:`forward`, or PyG data.
        max_neurons (int, optional): The largest number of neurons that are
            written. (default: :obj:`10_000`)
        max_connections (int, optional): The largest number of connections.
            (default: :obj:`1_000_000`)
        **kwargs (Any): Keyword arguments of its :meth:`forward`.

    Returns:
        List[pathlib.Path]: The files.

    Raises:
        NotImplementedError: If there are more neurons or connections, or populations
            are joined by more than weights.

    Example:
        >>> import tempfile
        >>> from torch import nn
        >>> from spikegraph import convert
        >>> model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        >>> x = torch.rand(1, 4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = save_connections(convert(model, x), folder, x)
        ...     i, j, weight, delay = load_connections(files[1]).T
        >>> [file.name for file in files]
        ['populations.txt', 'input_input-_1.txt', '_1-output.txt']
        >>> len(weight)
        32
    """
    segments = Segments(snn, *args, **kwargs)
    num_neurons = sum(each.num_neurons for each in segments.populations.values())
    _check_number('neurons', num_neurons, max_neurons)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files, total = [folder / POPULATIONS], 0
    _write_populations(files[0], segments)
    for source, target, matrix in segments.matrices():
        total += matrix.values().numel()
        _check_number('connections', total, max_connections)
        path = folder / f'{_file_name(source)}-{_file_name(target)}.txt'
        _write_projection(path, segments, source, target, matrix)
        files.append(path)
    return files


def load_connections(path: str | Path) -> np.ndarray:
    """The connections of a file that :func:`save_connections` wrote: a row for each, of
    source, target, weight and delay.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it holds something else.
    """
    with reading(path, 'connections'), warnings.catch_warnings():
        warnings.filterwarnings('ignore', '.*input contained no data')  # Not connected.
        found: np.ndarray = np.loadtxt(path, ndmin=2)
        return found.reshape(-1, len(_COLUMNS))


def load_header(path: str | Path) -> dict[str, Any]:
    """What the header of a file of :func:`save_connections` says, as Python's numbers,
    texts, lists and dictionaries.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it has no such header.
    """
    found = {}
    with reading(path, 'a header'), open(path, encoding='utf-8') as file:
        for line in file:
            if not line.startswith('#'):
                break
            name, _, value = line[1:].partition('=')
            found[name.strip()] = ast.literal_eval(value.strip())
    return found


def _check_number(what: str, number: int, most: int) -> None:
    if number > most:
        raise NotImplementedError(
            f'Cannot write {number:,} {what} as text: at most {most:,} are; take a '
            f"smaller graph or batch, pass another 'max_{what}', or save the network "
            "itself with 'spikegraph.save'"
        )


def _file_name(name: str) -> str:
    return ''.join(c if c.isalnum() or c in '_.' else '_' for c in name)


def _write_projection(
    path: Path, segments: Segments, source: str, target: str, matrix: Tensor
) -> None:
    population = segments.populations[source]
    j, i = matrix.indices()
    weight = matrix.values() * population.scales.flatten()[i]
    end = segments.start
    if target != OUTPUT:
        end = segments.populations[target].start
    delay = end - population.start - population.num_steps
    order = torch.argsort(i * (int(j.max()) + 1) + j) if len(i) else i
    lines = [
        f'{int(a)}\t{int(b)}\t{float(w)!r}\t{delay}\n'
        for a, b, w in zip(i[order], j[order], weight[order], strict=True)
    ]
    header = {
        'columns': _COLUMNS,
        'source': [source, population.num_neurons],
        'target': [target, matrix.size(0)],
    }
    path.write_text(_header(header) + ''.join(lines), encoding='utf-8')


def _write_populations(path: Path, segments: Segments) -> None:
    header: dict[str, Any] = {
        name: {
            'shape': list(each.shape),
            'start': each.start,
            'num_steps': each.num_steps,
            'encodes_input': each.encodes,
            'levels': each.levels.tolist(),
            'has_off': _has_off(each),
        }
        for name, each in segments.populations.items()
    }
    shape = list(segments.shapes[OUTPUT])
    header[OUTPUT] = {'shape': shape, 'start': segments.start, 'num_steps': 0}
    header['read_outs'] = segments.read_outs
    lines = []
    for each in segments.populations.values():
        lines += _neuron_lines(each)
    width = _width(segments.shapes[OUTPUT])
    for index, bias in enumerate(segments.output_bias.flatten().tolist()):
        lines.append([OUTPUT, index, *divmod(index, width), bias])
    text = ''.join('\t'.join(map(_text, line)) + '\n' for line in lines)
    path.write_text(_header(header) + text, encoding='utf-8')


def _neuron_lines(population: Population) -> list[list[Any]]:
    width, num_steps = _width(population.shape), population.num_steps
    tables = [population.on]
    if _has_off(population):
        tables += [population.off_high, population.off_low]
    values = torch.cat([population.of_each(table) for table in tables])
    columns = values.flatten(1).t().tolist()
    times, biases = population.spikes.spike_time.flatten(), population.bias.flatten()
    lines = []
    for index, (time, bias) in enumerate(
        zip(times.tolist(), biases.tolist(), strict=True)
    ):
        sign = (time < num_steps) - (time > num_steps)
        step = time - (num_steps + 1) if sign < 0 else time
        place = [population.name.replace('\t', ' '), index, *divmod(index, width)]
        lines.append([*place, bias, step, sign, *columns[index]])
    return lines


def _has_off(population: Population) -> bool:
    return bool((population.off_high > -float('inf')).any())


def _width(shape: tuple[int, ...]) -> int:
    return max(1, int(np.prod(shape[1:], dtype=np.int64)))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _header(fields: dict[str, Any]) -> str:
    """Lines of a name, one equals sign and a Python literal; PyNN takes lists only."""
    return ''.join(
        f'# {name.replace("=", "_")} = {value!r}\n' for name, value in fields.items()
    )
