"""What is tried with drawn inputs: by ``tests/test_fuzz.py`` a few times, and by
``benchmarks/fuzz.py`` thousands of times.

A target draws a case and checks it: what comes out is one of the few outcomes that are
promised, whose name it returns; anything else raises.
"""

from __future__ import annotations

import contextlib
import io
import math
import shutil
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from torch_geometric.data import Data

from spikegraph import ConversionConfig, PhaseCode, convert, decode, encode, load, save
from spikegraph.cli import main
from spikegraph.coding import dynamic_range, max_relative_error
from spikegraph.kernels import reference
from spikegraph.zoo.experiment import runs
from spikegraph.zoo.models import CNN
from tests.conversion.zoo import make
from tests.meetings import NAMES, network
from tests.mutations import mutated
from tests.readers import READERS, changed_files

_SECONDS = 30  # No case hangs.
_ROUNDING = 1e-6
# What PyTorch raises where values do not fit each other.
OF_VALUES = (ValueError, RuntimeError, TypeError, IndexError, AttributeError, KeyError)


def run(target: Callable[..., str], num: int, seed: int | None = None) -> Counter[str]:
    """How often a target had which outcome, in so many cases: the same in each run, or
    others for each seed."""
    found: Counter[str] = Counter()
    for name in _CASES.get(target, ()):
        (saved if target is files_of_networks else example)(name)

    @settings(
        max_examples=num,
        derandomize=seed is None,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate, Phase.shrink],
    )
    @given(**STRATEGIES[target.__name__])
    def check(**case: Any) -> None:
        start = time.process_time()
        found[target(**case)] += 1
        assert time.process_time() - start < _SECONDS, 'it took too long'

    (check if seed is None else seeded(seed)(check))()
    return found


@lru_cache(maxsize=1)
def folder() -> Path:
    """A place for files, for as long as the process runs."""
    place = tempfile.TemporaryDirectory()
    _places.append(place)
    return Path(place.name)


_places: list[Any] = []


@lru_cache(maxsize=8)
def saved(name: str) -> tuple[bytes, tuple[Any, ...]]:
    """The file of a small network, and what it is called with."""
    if name == 'images':
        model, call = CNN((1, 8, 8), 3).eval(), (torch.rand(2, 1, 8, 8),)
    elif name in NAMES:
        model, call = network(name)
    else:
        model, call = make(name), (_graph(),)
    snn = convert(model, call[0] if len(call) == 1 else call, ConversionConfig(4))
    path = folder() / 'network'
    save(snn, path)
    load(path)  # What is imported and looked up once.
    return path.read_bytes(), call


def _graph() -> Data:
    generator = torch.Generator().manual_seed(0)
    edge_index = torch.randint(55, (2, 200), generator=generator)
    x = torch.rand(60, 5, generator=generator, dtype=torch.float64)
    return Data(x=x, edge_index=edge_index)


def files_of_networks(name: str, dice: Any) -> str:
    """A changed file is refused in a line that names it, or gives a network, which may
    refuse its inputs."""
    content, call = saved(name)
    path = folder() / 'network'
    path.write_bytes(mutated(content, dice))
    tracemalloc.start()
    try:
        found = load(path)
    except ValueError as error:
        text = str(error)
        assert str(path) in text and '\n' not in text and len(text) < 800, text
        return 'refused'
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 40 * len(content), 'it took much memory'
    try:
        found(*call)  # Perhaps in another structure, if the file says so.
    except OF_VALUES:
        return 'loaded, and refuses its inputs'
    return 'loaded'


@lru_cache(maxsize=len(READERS))
def example(kind: str) -> Path:
    """A folder with files that are whole, and have been read once."""
    write, read = READERS[kind]
    place = folder() / kind.replace(' ', '_')
    place.mkdir()
    write(place)
    with contextlib.suppress(ValueError):  # Data sets that are too small.
        read(place)
    return place


def files_of_data(kind: str, dice: Any) -> str:
    """A changed file of a graph, a data set, events or weights is refused with its name,
    or read."""
    read = READERS[kind][1]
    place = example(kind)
    with tempfile.TemporaryDirectory(dir=folder()) as copy:
        path = Path(copy) / 'files'
        shutil.copytree(place, path)
        changed_files(path, dice)
        try:
            with contextlib.redirect_stderr(io.StringIO()):
                read(path)
        except (ValueError, OSError) as error:
            assert str(path) in str(error), f'{type(error).__name__}: {error}'
            return f'{kind}: refused'
    return f'{kind}: read'


_NUMBERS = ('0', '1', '-1', '4', '16', '127', '1e9', '1e400', 'nan', 'inf', '0x10', '')
_WORDS = ('auto', 'none', 'digits', 'cora', 'gcn', 'cnn', 'gat', 'mse', 'max', 'all')
_MORE = (
    'percentile:99',
    'fitted',
    '-',
    '--',
    '\x00',
    'é' * 300,
    '/dev/null',
    '/',
    '..',
)
_OPTIONS = [
    *('--base', '--num-steps', '--seeds', '--hidden', '--layers', '--model', '--scale'),
    *('--compensate', '--levels', '--weights', '--json', '--output', '--energy-table'),
    *('--weight-bits', '--per', '--root', '--parts', '--method', '--storage'),
    *('--format', '--samples', '--block-size', '--timeout', '--classes', '--width'),
    *('--profile', '--mirror', '--no-mirror', '--per-channel', '--fold-degree'),
    *('--analog-input', '--fresh', '--no-pack', '--help', '--version', '--seed'),
]
_COMMANDS = ['run', 'sweep', 'partition', 'infer', 'export', 'datasets', 'x', '']


def command_lines(arguments: list[str]) -> str:
    """An exit code of the few that are promised, and no traceback. Networks are not
    trained: what gets as far is interrupted there. Nothing is downloaded."""
    places = ('--json', '--output', '--storage', '--weights', '--root')
    arguments = [
        str(folder() / 'out' / value.strip('/.\x00')) if option in places else value
        for option, value in zip(['', *arguments], arguments, strict=False)
    ]
    streams = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stdout(streams[0]),
        contextlib.redirect_stderr(streams[1]),
        mock.patch.object(runs, 'train', _interrupted),
        mock.patch('socket.getaddrinfo', _offline),
    ):
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = stop.code
    shutil.rmtree(folder() / 'out', ignore_errors=True)
    assert code in (0, 1, 2, 130), code
    assert 'Traceback' not in streams[1].getvalue()
    assert code in (0, 130) or streams[1].getvalue().strip(), 'it does not say why'
    return f'exit code {code}'


def _interrupted(*args: Any, **kwargs: Any) -> Any:
    raise KeyboardInterrupt


def _offline(*args: Any, **kwargs: Any) -> Any:
    raise OSError('no network here')


def spike_times(
    code: PhaseCode, values: list[float], near: list[int], scale: float, as32: bool
) -> str:
    """Spike times are those of the definition; they fall where values grow, come back
    from what they stand for, and are as near to it as is proven."""
    dtype = torch.float32 if as32 else torch.float64
    places = {0, code.num_steps - 1, *(place % code.num_steps for place in near)}
    ties = [
        scale * float(table[place])
        for table in (code.thresholds, code.levels)
        for place in places
    ]
    ties += [math.nextafter(tie, 0.0) for tie in ties]
    x = torch.tensor([*values, *ties, *(-tie for tie in ties), 0.0]).to(dtype)
    times = encode(x, code, scale)
    assert torch.equal(times, reference.encode(x, code, scale))
    coded = decode(times, code, scale, dtype=torch.float64)
    assert torch.equal(coded, reference.decode(times, code, scale))
    coded = decode(times, code, scale, dtype=dtype)
    assert torch.equal(encode(coded, code, scale), times), 'not idempotent'
    order = x.argsort()
    assert (coded[order].diff() >= 0).all(), 'not monotonous'
    assert (coded * x >= 0).all(), 'another sign'
    silent = times == code.num_steps
    assert ((coded == 0) == silent).all()
    if not code.signed:
        assert silent[x <= 0].all()
    smallest, largest = (scale * each for each in dynamic_range(code))
    size = x.abs().double()  # Rounding may take ties to the other side.
    inside = (size <= largest * (1 - _ROUNDING)) & (size >= smallest * (1 + _ROUNDING))
    inside &= code.signed | (x > 0)
    error = ((coded - x).abs() / x.abs())[inside].double()
    bound = max_relative_error(code)
    assert (error <= bound + _ROUNDING).all(), (float(error.max()), bound)
    return 'signed' if code.signed else 'unsigned'


@st.composite
def codes(draw: Any) -> PhaseCode:
    """Phase codes: geometric ones, shifted or not, and tables."""
    steps, signed = draw(st.integers(1, 126)), draw(st.booleans())
    if draw(st.integers(0, 2)) == 0:
        ratios = draw(
            st.lists(st.floats(1.01, 3.0), min_size=1, max_size=min(steps, 40))
        )
        return PhaseCode.from_levels(1 / np.cumprod(ratios), signed=signed)
    base = draw(st.floats(1.001, min(1e3, 10 ** (29 / max(1, steps - 1)))))
    shift = draw(st.sampled_from([None, None, 1.0]))
    return PhaseCode(steps, base, threshold_shift=shift, signed=signed)


def _dice() -> Any:
    return st.randoms(use_true_random=False)


_NETWORKS = ['JK cat', 'GCN', 'images', 'mask', 'edges']
_CASES: dict[Any, Any] = {files_of_networks: _NETWORKS, files_of_data: READERS}
_VALUES = st.floats(-1e6, 1e6, width=32)
STRATEGIES: dict[str, dict[str, Any]] = {
    'files_of_networks': {
        'name': st.sampled_from(_NETWORKS),
        'dice': _dice(),
    },
    'files_of_data': {'kind': st.sampled_from(sorted(READERS)), 'dice': _dice()},
    'command_lines': {
        'arguments': st.builds(
            lambda command, rest: [command, *(word for part in rest for word in part)],
            st.sampled_from([*_COMMANDS, 'run', 'run', 'sweep']),
            st.lists(
                st.one_of(
                    st.tuples(
                        st.sampled_from(_OPTIONS),
                        st.sampled_from([*_NUMBERS, *_WORDS, *_MORE]),
                    ),
                    st.tuples(st.sampled_from(['digits', 'x', *_OPTIONS])),
                    st.tuples(st.text(max_size=9)),
                ),
                max_size=5,
            ),
        )
    },
    'spike_times': {
        'code': codes(),
        'values': st.lists(_VALUES, max_size=4),
        'near': st.lists(st.integers(0, 125), max_size=1),
        'scale': st.floats(2**-10, 2**10, width=32),
        'as32': st.booleans(),
    },
}
TARGETS = [files_of_networks, files_of_data, command_lines, spike_times]
