"""Nothing that was finished is lost, and nothing that is damaged is found."""

import errno
import json
import os
import random
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from spikegraph.running.disk import Storage, records
from tests.running.disk import writer
from tests.running.disk.writer import IDENTITY, run

ROOT = Path(__file__).parents[3]
LIMIT = 60.0  # Seconds, after which a process counts as hanging.
KILLS = int(os.environ.get('SPIKEGRAPH_KILLS', '40'))  # 200 take two minutes or less.


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(records, 'CHUNK_BYTES', 1000)


def store(storage, name='a', shape=(500, 9), dtype=torch.int64, extra=None):
    values = torch.arange(shape[0] * shape[1]).view(shape).to(dtype)
    array = storage.create(name, shape, dtype)
    array.write(0, values)
    array.finish(extra)
    return values


class Forks:
    """A process that imports the library once, and forks those to be killed."""

    def __init__(self):
        command = [sys.executable, '-m', 'tests.running.disk.writer']
        pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE}
        self.process = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)

    def write_until_killed(self, *request):
        self.process.stdin.write('\t'.join(map(str, request)) + '\n')
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], LIMIT)
        assert ready, 'the writer hangs'
        line = self.process.stdout.readline()
        assert line, 'the writer failed'
        return line.split()


@pytest.fixture(scope='module')
def forks():
    forks = Forks()
    yield forks
    forks.process.stdin.close()
    forks.process.wait(LIMIT)
    forks.process.stdout.close()


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """What a run that nothing ends returns, its system calls and its seconds."""
    saved = {name: getattr(os, name) for name in writer.COUNTED}
    left = writer.die_at(10**9, 0)
    try:
        start = time.perf_counter()
        values = run(tmp_path_factory.mktemp('whole'))
        seconds = time.perf_counter() - start
    finally:
        for name, function in saved.items():
            setattr(os, name, function)
    assert 10**9 - left[0] > 100
    return values, 10**9 - left[0], seconds


@pytest.mark.parametrize('seed', range(KILLS))
def test_kill(tmp_path, forks, whole, seed):
    values, calls, seconds = whole
    finished = []
    for turn in range(3):  # What goes on is killed, too.
        told = forks.write_until_killed(tmp_path, 3 * seed + turn, calls, seconds)
        finished += told
        if not (tmp_path / 'spikegraph.json').exists():
            assert not finished
            continue
        with Storage(tmp_path, IDENTITY) as storage:
            found = [f'layer{i}' for i in range(6) if storage.open(f'layer{i}')]
            assert storage.names() == found
        # It may have died between finishing a layer and telling so.
        assert finished == found[: len(finished)] and len(found) <= len(finished) + 1
        finished = found
    told = []
    assert torch.equal(run(tmp_path, told.append), values)
    assert finished + told == [f'layer{i}' for i in range(6)]
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {'spikegraph.json', 'spikegraph.lock'} | {
        f'layer{i}.spikegraph{end}' for i in range(6) for end in ('', '.json')
    }


@pytest.mark.parametrize('seed', range(12))
def test_flipped_bit(tmp_path, small_chunks, seed):
    with Storage(tmp_path, IDENTITY) as storage:
        values = store(storage)
        store(storage, 'b')
        content = bytearray(storage.path_of('a').read_bytes())
        place = random.Random(seed).randrange(len(content))
        content[place] ^= 1 << seed % 8
        storage.path_of('a').write_bytes(content)
        assert storage.open('a') is None
        ((start, stop),) = storage.damaged('a')
        assert start <= place // 72 < stop and stop - start <= 13
        assert storage.problems == {
            'a': f'its values were changed in rows {start}..{stop}'
        }
        assert storage.open('a', verify=False) is not None
        assert storage.open('b') is not None and storage.damaged('b') == []
        before = storage.bytes_written
        with storage.repair('a') as array:
            assert array.pending == [(start, stop)]
            array.write(start, values[start:stop])
        assert torch.equal(array.read(slice(None)), values)
        assert storage.bytes_written - before == 72 * (stop - start)
        assert torch.equal(storage.open('a').read(slice(None)), values)
        assert not storage.problems


@pytest.mark.parametrize('change', [-36000, -35000, -1, 1, 5000])
def test_another_size(tmp_path, small_chunks, change):
    with Storage(tmp_path, IDENTITY) as storage:
        values = store(storage, extra={'scale': 2.0})
        os.truncate(storage.path_of('a'), 36000 + change)
        assert storage.open('a', verify=False) is None
        expected = f'its values have {36000 + change} bytes instead of 36000'
        assert storage.problems == {'a': expected}
        damaged = storage.damaged('a')
        assert bool(damaged) == (change < 0)
        if damaged:
            assert damaged == [(13 * ((36000 + change) // (13 * 72)), 500)]
        with storage.repair('a') as array:
            for start, stop in damaged:
                array.write(start, values[start:stop])
        assert array.extra == {'scale': 2.0}
        assert torch.equal(storage.open('a').read(slice(None)), values)


def test_missing_values(tmp_path):
    with Storage(tmp_path, IDENTITY) as storage:
        values = store(storage)
        storage.path_of('a').unlink()
        assert storage.open('a') is None
        assert storage.problems == {'a': 'its values are missing'}
        assert storage.damaged('a') == [(0, 500)]
        with storage.repair('a') as array:
            array.write(0, values)
        assert torch.equal(storage.open('a').read(slice(None)), values)


def test_repair_that_ends_early(tmp_path, small_chunks):
    with Storage(tmp_path, IDENTITY) as storage:
        values = store(storage)
        for place in (0, 20_000, 35_999):
            content = bytearray(storage.path_of('a').read_bytes())
            content[place] ^= 255
            storage.path_of('a').write_bytes(content)
        damaged = storage.damaged('a')
        assert damaged == [(0, 13), (273, 286), (494, 500)]
        with pytest.raises(KeyError), storage.repair('a') as array:
            array.write(0, values[:13])
            array.write(273, values[273:276])
            raise KeyError
        with pytest.raises(ValueError, match='discarded, or failed'):
            array.write(276, values[276:286])
        assert storage.damaged('a') == [(273, 286), (494, 500)]
        missing = pytest.raises(ValueError, match='none from 494 to 500')
        with missing, storage.repair('a') as array:
            with pytest.raises(ValueError, match='got 0 to 13'):
                array.write(0, values[:13])
            array.write(273, values[273:286])
        with pytest.raises(KeyError), storage.repair('a') as array:
            array.write(494, -values[494:])
            raise KeyError
        assert storage.damaged('a') == [(494, 500)]
        with storage.repair('a') as array:  # Other values are as good.
            array.write(494, -values[494:])
        assert torch.equal(storage.open('a').read(slice(494, None)), -values[494:])


@pytest.mark.parametrize('seed', range(6))
def test_torn_record(tmp_path, seed):
    with Storage(tmp_path, IDENTITY) as storage:
        store(storage)
        path = tmp_path / 'a.spikegraph.json'
        content = path.read_bytes()
        place = random.Random(seed).randrange(len(content))
        changed = bytes([content[place] ^ 1]) + content[place + 1 :]
        path.write_bytes(content[:place] + (changed if seed % 2 else b''))
        assert storage.open('a') is None
        assert storage.problems == {'a': 'its record is torn or changed'}
        with pytest.raises(ValueError, match="record is torn .*with 'create'"):
            storage.damaged('a')
        store(storage)
        assert storage.open('a') is not None and not storage.problems


def test_records_of_others(tmp_path):
    with (
        Storage(tmp_path / '1', IDENTITY) as one,
        Storage(tmp_path / '2', {'network': 'c'}) as two,
    ):
        store(one), store(one, 'b')
        os.link(
            tmp_path / '1' / 'a.spikegraph.json', tmp_path / '2' / 'a.spikegraph.json'
        )
        (tmp_path / '1' / 'b.spikegraph.json').write_bytes(
            (tmp_path / '1' / 'a.spikegraph.json').read_bytes()
        )
        assert two.open('a') is None and one.open('b') is None
        assert two.problems == {'a': 'its record is that of another identity'}
        assert one.problems == {'b': "its record is that of 'a'"}


def test_unfinished(tmp_path):
    with Storage(tmp_path, IDENTITY) as storage:
        assert storage.open('a') is None
        assert storage.problems == {'a': 'it is missing'}
        values = store(storage)
        again = storage.create('a', (500, 9), torch.int64)
        assert storage.open('a') is None  # What was finished is gone.
        assert storage.problems == {'a': 'it was not finished'}
        third = storage.create('a', (500, 9), torch.int64)
        with pytest.raises(ValueError, match='got one that is discarded'):
            again.write(0, values)
        third.write(0, values)
        storage.discard('a')
        with pytest.raises(ValueError, match='got one that is discarded'):
            third.finish()
        storage.discard('a')
        assert storage.open('a') is None
        kept = storage.create('b', (500, 9), torch.int64)
        kept.write(0, values)
    with pytest.raises(ValueError, match='to be open in this process'):
        kept.finish()
    with pytest.raises(ValueError, match='to be open in this process'):
        storage.create('c', (1,), torch.uint8)
    assert (tmp_path / 'b.spikegraph').exists()
    with Storage(tmp_path, IDENTITY):
        assert not (tmp_path / 'b.spikegraph').exists()


def test_discard_leaves_readers(tmp_path):
    with Storage(tmp_path, IDENTITY) as storage:
        values = store(storage)
        reader = storage.open('a')
        storage.create('a', (500, 9), torch.int64)
        assert torch.equal(reader.read(slice(None)), values)
    assert torch.equal(reader.read(slice(1, 3)), values[1:3])


@pytest.mark.parametrize(
    'name', ['conv1.lin', '../a', '.', '..', 'a/b', 'x.spikegraph.json', 'ä %/\n']
)
def test_names(tmp_path, name):
    folder = tmp_path / 'folder'
    with Storage(folder, IDENTITY) as storage:
        values = store(storage, name)
        assert storage.names() == [name]
        assert storage.path_of(name).parent == folder
    with Storage(folder, IDENTITY) as storage:
        assert torch.equal(storage.open(name).read(slice(None)), values)
    assert [path.name for path in tmp_path.iterdir()] == ['folder']


@pytest.mark.parametrize('name', ['', 'a' * 300])
def test_names_that_no_file_can_have(tmp_path, name):
    with Storage(tmp_path, IDENTITY) as storage:
        for function in (storage.open, storage.discard, storage.damaged):
            with pytest.raises(ValueError, match="Expected 'name' to be a text"):
                function(name)
        assert not storage.problems


@pytest.mark.parametrize(
    'shape, dtype, match',
    [
        ((3, -1), torch.uint8, r'no negative size \(got \(3, -1\)\)'),
        ((3,), torch.complex64, r"'dtype' to be one of bool.*\(got torch.complex64\)"),
    ],
)
def test_arrays_that_there_cannot_be(tmp_path, shape, dtype, match):
    with Storage(tmp_path, IDENTITY) as storage, pytest.raises(ValueError, match=match):
        storage.create('a', shape, dtype)


def test_counters(tmp_path):
    with Storage(tmp_path, IDENTITY) as storage:
        store(storage)
        storage.open('a', verify=False).read(torch.tensor([1, 5]))
        found = storage.bytes_written, storage.bytes_read, storage.bytes_checked
        assert found == (36000, 144, 0)
        storage.open('a')
        assert storage.bytes_checked == 36000


def test_full_disk(tmp_path, monkeypatch):
    size = shutil.disk_usage(tmp_path).free + (1 << 33)
    with Storage(tmp_path, IDENTITY) as storage:
        match = rf'Expected {size} bytes to fit .* for .a. \(got \d+ bytes free\)'
        with pytest.raises(OSError, match=match) as caught:
            storage.create('a', (size,), torch.uint8)
        assert caught.value.errno == errno.ENOSPC and 'make room' in str(caught.value)
        assert not storage.path_of('a').exists()
        values = store(storage)
        storage.path_of('a').unlink()
        monkeypatch.setattr(os, 'posix_fallocate', fails_with(errno.ENOSPC))
        for make in (
            lambda: storage.create('b', (4,), torch.uint8),
            lambda: storage.repair('a').__enter__(),
        ):
            with pytest.raises(OSError, match=r'Expected \d+ bytes to fit'):
                make()
        assert not storage.path_of('a').exists() and not storage.path_of('b').exists()
        monkeypatch.setattr(os, 'posix_fallocate', fails_with(errno.EIO))
        with pytest.raises(OSError, match=r'Input/output error: .*a.spikegraph'):
            storage.create('a', (4,), torch.uint8)
        monkeypatch.setattr(os, 'posix_fallocate', fails_with(errno.EOPNOTSUPP))
        assert torch.equal(store(storage), values)


def fails_with(number):
    def fail(*args):
        raise OSError(number, os.strerror(number))

    return fail


LIMITED = """
import resource, sys, torch
from spikegraph.running.disk import Storage
with Storage(sys.argv[1], {'network': 'a'}) as storage:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
    try:
        storage.create('a', (1 << 17,), torch.uint8)
    except OSError as error:
        print(error)
    assert not storage.path_of('a').exists()
    array = storage.create('b', (1 << 16,), torch.uint8)
    array.write(0, torch.ones(1 << 16, dtype=torch.uint8))
    try:
        array.finish({'text': 'x' * (1 << 17)})  # The record does not fit.
    except OSError as error:
        print(error)
    assert not array.is_finished and storage.names() == []
    array.finish({'text': 'y'})
    assert storage.open('b').extra == {'text': 'y'}
"""


def test_limit_on_files(tmp_path):
    command = [sys.executable, '-c', LIMITED, str(tmp_path)]
    options = {'capture_output': True, 'text': True, 'timeout': LIMIT, 'cwd': ROOT}
    result = subprocess.run(command, **options)
    assert result.returncode == 0, result.stderr
    first, second = result.stdout.splitlines()
    assert 'Expected 131072 bytes to fit' in first and 'limit on the size' in first
    assert 'b.spikegraph.json' in second


def test_manifest(tmp_path):
    with Storage(tmp_path, IDENTITY):
        found = json.loads((tmp_path / 'spikegraph.json').read_text())
    assert found['identity'] == IDENTITY
