from pathlib import Path

import numpy as np
import pytest
import torch

from spikegraph.kernels.memory import empty
from spikegraph.measurement import memory
from spikegraph.measurement.memory import peak_memory, process_peak, resident_memory

on_linux = pytest.mark.skipif(
    not Path('/proc/self/clear_refs').exists(), reason='the system does not tell'
)
SIZE = 64_000_000  # Bytes.


@on_linux
def test_what_is_freed_again_is_seen():
    torch.ones(SIZE // 2)  # Larger and freed: not the peak that is asked for.
    peak, result = peak_memory(lambda: float(torch.ones(SIZE // 4).sum()))
    assert peak == pytest.approx(SIZE, rel=0.05) and result == SIZE // 4


@on_linux
@pytest.mark.parametrize('chunk', [4096, SIZE // 8])
def test_many_pieces(chunk):
    def pieces():
        return [np.ones(chunk, np.uint8) for _ in range(SIZE // chunk)]

    # The heap keeps what lies below the last one, which must not serve the next.
    last = pieces()[-1]
    for _ in range(2):
        assert peak_memory(lambda: len(pieces()))[0] == pytest.approx(SIZE, rel=0.1)
    assert last.all()


@on_linux
def test_what_is_held_before_does_not_count():
    held = torch.ones(SIZE // 4)
    nothing, _ = peak_memory(lambda: None)
    assert nothing < SIZE / 50
    # In place: no memory. Two in a row: one at a time. The result: held.
    assert peak_memory(lambda: held.add_(1).numel())[0] < SIZE / 50
    twice = peak_memory(lambda: [float((held + 1)[0]) for _ in range(2)])[0]
    assert twice == pytest.approx(SIZE, rel=0.05)
    peak, kept = peak_memory(lambda: held + 1)
    assert peak == pytest.approx(SIZE, rel=0.05) and kept[0] == 3


@on_linux
def test_memory_that_is_kept_counts_again():
    def run():
        return empty((40_000_000,), torch.uint8).fill_(1).numel()

    peaks = [peak_memory(run)[0] for _ in range(3)]
    assert all(39e6 < peak < 60e6 for peak in peaks)


@on_linux
def test_the_peak_of_the_process_outlives_a_measurement():
    torch.ones(SIZE // 4)
    before = process_peak()
    peak_memory(lambda: None)
    assert process_peak() >= before > resident_memory()


@pytest.mark.parametrize(
    'status, match',
    [
        (None, r"no/status' cannot be read"),
        ('VmRSS:\t12 kB\n', r"/status' has no 'VmHWM'"),
        ('VmRSS:\t12 kB\nVmHWM:\t12 kB\n', r"no/clear_refs' cannot be written"),
    ],
)
def test_systems_that_do_not_tell(status, match, tmp_path, monkeypatch):
    path = tmp_path / 'no' / 'status'
    if status is not None:
        path = tmp_path / 'status'
        path.write_text(status)
    monkeypatch.setattr(memory, '_STATUS', path)
    monkeypatch.setattr(memory, '_CLEAR', tmp_path / 'no' / 'clear_refs')
    calls = []
    with pytest.raises(NotImplementedError, match=match + r'.*Run on Linux'):
        peak_memory(lambda: calls.append(1))
    assert calls == []


def test_device_errors():
    with pytest.raises(NotImplementedError, match=r"a CPU or CUDA.*\(got 'meta'\)"):
        peak_memory(lambda: None, 'meta')


def test_cuda_counts_its_own_allocations(monkeypatch):
    calls, size = [], 1000
    for name, value in {
        'synchronize': None,
        'reset_peak_memory_stats': None,
        'memory_allocated': 300,
        'max_memory_allocated': size,
    }.items():

        def call(device, name=name, value=value):
            assert device == torch.device('cuda', 1)
            calls.append(name)
            return value

        monkeypatch.setattr(torch.cuda, name, call)
    peak, result = peak_memory(lambda: calls.append('operation') or 7, 'cuda:1')
    assert (peak, result) == (700, 7)
    order = ['reset_peak_memory_stats', 'memory_allocated', 'operation', 'synchronize']
    assert calls == ['synchronize', *order, 'max_memory_allocated']


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_memory_of_a_gpu():
    held = torch.ones(SIZE // 4, device='cuda')
    peak, result = peak_memory(lambda: (held + 1).sum(), 'cuda')
    assert peak == pytest.approx(SIZE, rel=0.05) and result == SIZE // 2
