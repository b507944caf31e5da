"""What is read is what was written, whatever its shape, and takes no more memory."""

import os
import subprocess
import sys

import pytest
import torch

from spikegraph.running.disk import Storage, records
from tests.running.disk.test_storage import LIMIT, ROOT

SHAPES = [(), (0,), (1,), (0, 3), (3, 0), (63, 5), (1000, 3, 7), (4, 0, 2)]


@pytest.fixture(params=[1, 1000, 1 << 22])
def chunks(request, monkeypatch):
    monkeypatch.setattr(records, 'CHUNK_BYTES', request.param)


@pytest.fixture
def storage(tmp_path):
    with Storage(tmp_path, {'network': 'a'}) as storage:
        yield storage


@pytest.fixture
def array(storage):
    values = torch.arange(60, dtype=torch.float32).view(20, 3)
    array = storage.create('a', (20, 3), torch.float32)
    array.write(0, values)
    return array


def random_values(shape, dtype):
    if dtype.is_floating_point:
        return torch.randn(shape, dtype=torch.float64).to(dtype)
    return torch.randint(-300, 300, shape).to(dtype)


@pytest.mark.parametrize('name', records.DTYPES)
@pytest.mark.parametrize('shape', SHAPES, ids=str)
def test_round_trip(storage, chunks, shape, name):
    dtype = records.DTYPES[name]
    values = random_values(shape, dtype)
    array = storage.create('a', shape, dtype)
    if shape:
        for start in range(0, shape[0], 37):
            array.write(start, values[start : start + 37])
    else:
        array.write(0, values)
    array.finish()
    for found in (array, storage.open('a')):
        assert (found.shape, found.dtype, found.extra) == (shape, dtype, {})
        whole = found.read(slice(None))
        assert whole.shape == shape and whole.dtype == dtype
        assert torch.equal(whole, values)
        if not shape:
            continue
        for rows in (slice(2, 40, 3), slice(-1, None), slice(5, 2)):
            assert torch.equal(found.read(rows), values[rows])
        for size in (0, 50):
            if size == 0 or shape[0]:
                rows = torch.randint(max(shape[0], 1), (size,))
                assert torch.equal(found.read(rows), values[rows])
                assert torch.equal(found.read(rows.int()), values[rows])


@pytest.mark.parametrize('seed', range(5))
def test_blocks_do_not_matter(storage, chunks, seed):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(500, 6, generator=generator)
    cuts = torch.randint(501, (9,), generator=generator).sort().values.tolist()
    for name, bounds in {'a': [0, 500], 'b': [0, *cuts, 500]}.items():
        array = storage.create(name, (500, 6), torch.float32)
        for start, stop in zip(bounds, bounds[1:], strict=False):
            array.write(start, values[start:stop])
        array.finish()
        assert torch.equal(storage.open(name).read(slice(None)), values)
    found = [(storage.directory / f'{name}.spikegraph').read_bytes() for name in 'ab']
    assert found[0] == found[1]


def test_values_need_not_lie_in_order(storage):
    values = torch.randn(6, 40, requires_grad=True).t()
    array = storage.create('a', (20, 6), torch.float32)
    array.write(0, values[::2])
    array.finish()
    assert torch.equal(array.read(slice(None)), values[::2])


def test_what_is_read_is_a_copy(storage, array):
    array.finish()
    before = array.read(slice(None))
    array.read(slice(None)).zero_()
    array.read(torch.arange(20)).zero_()
    assert torch.equal(array.read(slice(None)), before)


def test_not_finished(storage, array):
    with pytest.raises(ValueError, match=r"'a' to be finished .*\(got .* is written"):
        array.read(slice(None))
    assert 'unfinished' in repr(array)
    array.finish()
    assert 'unfinished' not in repr(array) and array.is_finished
    with pytest.raises(ValueError, match=r'being written \(got one that is finished'):
        array.finish()
    with pytest.raises(ValueError, match=r'being written \(got one that is finished'):
        array.write(0, torch.zeros(1, 3))


def test_order(storage):
    array = storage.create('a', (20, 3), torch.float32)
    with pytest.raises(ValueError, match=r'rows from 0 to 20 .*\(got 1 to 3\)'):
        array.write(1, torch.zeros(2, 3))
    array.write(0, torch.zeros(8, 3))
    assert array.pending == [(8, 20)]
    for start, count in ((7, 2), (9, 1), (8, 13), (0, 8)):
        with pytest.raises(ValueError, match=rf'got {start} to {start + count}\)'):
            array.write(start, torch.zeros(count, 3))
    array.write(20, torch.zeros(0, 3))
    with pytest.raises(ValueError, match=r'got none from 8 to 20'):
        array.finish()
    array.write(8, torch.zeros(12, 3))
    with pytest.raises(ValueError, match=r'no rows .* \(got 20 to 21\)'):
        array.write(20, torch.zeros(1, 3))
    array.finish()


@pytest.mark.parametrize(
    'values',
    [
        torch.zeros(2, 4),
        torch.zeros(3),
        torch.zeros(2, 3, 1),
        torch.zeros(()),
        torch.zeros(2, 3, dtype=torch.float64),
    ],
)
def test_other_values(storage, values):
    array = storage.create('a', (20, 3), torch.float32)
    with pytest.raises(ValueError) as caught:
        array.write(0, values)
    found = f'(got {tuple(values.shape)} and {values.dtype})'
    assert f'of shape (R, 3) and torch.float32 {found}' in str(caught.value)
    assert array.pending == [(0, 20)]


@pytest.mark.parametrize(
    'rows, match',
    [
        (torch.tensor([0, 20]), r'from 0 to 19 \(got 20\)'),
        (torch.tensor([3, -1]), r'from 0 to 19 \(got -1\)'),
        (torch.ones(20, dtype=torch.bool), r'got torch.bool, \(20,\)'),
        (torch.tensor([1], dtype=torch.uint8), r'got torch.uint8, \(1,\)'),
        (torch.tensor([[1]]), r'got torch.int64, \(1, 1\)'),
        (torch.tensor(1), r'got torch.int64, \(\)'),
        (slice(None, None, -1), r'at least 1 \(got -1\)'),
    ],
)
def test_other_rows(array, rows, match):
    array.finish()
    with pytest.raises(ValueError, match=match):
        array.read(rows)


@pytest.mark.parametrize('rows', [torch.tensor([0]), slice(0, 1)])
def test_rows_of_what_has_none(storage, rows):
    array = storage.create('a', (), torch.float32)
    array.write(0, torch.tensor(3.0))
    array.finish()
    with pytest.raises(ValueError, match='dimensions'):
        array.read(rows)


def test_write_that_fails_can_be_tried_again(storage, monkeypatch, chunks):
    values = torch.randn(100, 30)
    array = storage.create('a', (100, 30), torch.float32)
    array.write(0, values[:3])
    pwrite, left = os.pwrite, [2]

    def fail(handle, content, place):
        left[0] -= 1
        if left[0] == 0:
            raise OSError(28, 'full')
        return pwrite(handle, content[: len(content) // 2 + 1], place)

    monkeypatch.setattr(os, 'pwrite', fail)
    with pytest.raises(OSError, match='a.spikegraph'):
        array.write(3, values[3:])
    array.write(3, values[3:])
    array.finish()
    assert torch.equal(storage.open('a').read(slice(None)), values)


def test_disk_that_fails(storage, array, monkeypatch):
    def fail(handle):
        raise OSError(5, 'broken')

    with monkeypatch.context() as patch:
        patch.setattr(os, 'fsync', fail)
        with pytest.raises(OSError, match='a.spikegraph'):
            array.finish()
    with pytest.raises(ValueError, match='discarded, or failed'):
        array.finish()  # The system forgets what it could not write.
    with pytest.raises(ValueError, match='closed'):
        array.read(slice(None))
    assert storage.open('a') is None


def test_extra(storage, array):
    with pytest.raises(ValueError, match=r"'extra.code' .* \(got set\)"):
        array.finish({'code': {1}})
    extra = {'shape': (1, 2), 'scale': torch.tensor([0.5])}
    array.finish(extra)
    extra['scale'].zero_()
    for found in (array, storage.open('a')):
        assert found.extra['shape'] == (1, 2)
        assert torch.equal(found.extra['scale'], torch.tensor([0.5]))


def test_shortened_while_in_use(storage, array):
    array.finish()
    os.truncate(storage.path_of('a'), 100)
    for rows in (slice(None), torch.tensor([19])):
        with pytest.raises(
            OSError, match='to have 240 bytes .got 100: it was shortened'
        ):
            array.read(rows)


LIMITED = """
import re, resource, sys, torch
from pathlib import Path
from spikegraph.running.disk import Storage

ROWS, WIDTH, ROOM = 1 << 20, 256, 1 << 26

def of_process(key):
    text = Path('/proc/self/status').read_text()
    return int(re.search(key + r':\\s+(\\d+) kB', text)[1]) * 1024

torch.set_num_threads(1)
limit = of_process('VmData') + ROOM
resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
with Storage(sys.argv[1], {'network': 'a'}) as storage:
    array = storage.create('a', (ROWS, WIDTH), torch.uint8)
    block = torch.arange(WIDTH, dtype=torch.uint8).repeat(1 << 14, 1)
    for start in range(0, ROWS, len(block)):
        block[:, 0] = start // len(block)
        array.write(start, block)
    array.finish()
    array = storage.open('a')
    for start in range(0, ROWS, 1 << 16):
        found = array.read(torch.arange(start, start + (1 << 16)))
        assert found[0, 0] == start >> 14 and found[-1, -1] == WIDTH - 1
    assert array.read(slice(None, None, 1 << 14))[:, 0].tolist() == list(range(64))
    assert storage.damaged('a') == []
    try:
        array.read(slice(None))
    except MemoryError:
        print('limited')
"""


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='needs /proc')
def test_memory(tmp_path):
    """An array of 256 MiB is written, checked and read with 64 MiB of memory."""
    command = [sys.executable, '-c', LIMITED, str(tmp_path)]
    options = {'capture_output': True, 'text': True, 'timeout': LIMIT, 'cwd': ROOT}
    result = subprocess.run(command, **options)
    assert result.returncode == 0, result.stderr
    assert result.stdout == 'limited\n'
    (tmp_path / 'a.spikegraph').unlink()


def test_values_are_on_the_disk_before_the_record_is(storage, array, monkeypatch):
    calls, fsync, replace = [], os.fsync, os.replace
    values, folder = storage.path_of('a').stat().st_ino, storage.directory.stat().st_ino

    def note_fsync(handle):
        calls.append({values: 'values', folder: 'folder'}.get(os.fstat(handle).st_ino))
        fsync(handle)

    def note_replace(source, target):
        calls.append('record')
        replace(source, target)

    monkeypatch.setattr(os, 'fsync', note_fsync)
    monkeypatch.setattr(os, 'replace', note_replace)
    array.finish()
    assert calls == ['values', None, 'record', 'folder']
