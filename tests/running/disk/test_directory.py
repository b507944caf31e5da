"""A directory is used by one process at a time, for one network, one graph."""

import os
import subprocess
import sys

import pytest
import torch

from spikegraph.running.disk import Storage
from tests.running.disk.test_storage import LIMIT, ROOT, store

IDENTITY = {'network': 'a', 'graph': 'b'}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_another_identity(tmp_path):
    with Storage(tmp_path, IDENTITY) as storage:
        store(storage)
    with pytest.raises(ValueError) as caught:
        Storage(tmp_path, {'network': 'c', 'graph': 'b', 'version': '2'})
    assert str(caught.value) == (
        f"Expected '{tmp_path}' to hold arrays of 'network' 'c' (got 'a'), 'version' "
        "'2' (got None); name another directory, or pass 'resume=False' ('--fresh' on "
        'the command line) to start anew'
    )
    with pytest.raises(ValueError, match=r"'graph' None \(got 'b'\)"):
        Storage(tmp_path, {'network': 'a'})
    with Storage(tmp_path, {'graph': 'b', 'network': 'a'}) as storage:
        assert storage.names() == ['a']


@pytest.mark.parametrize('identity', [IDENTITY, {'network': 'c'}])
def test_start_anew(tmp_path, identity):
    with Storage(tmp_path, IDENTITY) as storage:
        store(storage)
    (tmp_path / 'notes.txt').write_text('mine')
    with Storage(tmp_path, identity, resume=False) as storage:
        assert storage.names() == [] and storage.open('a') is None
        store(storage, 'b')
    assert (tmp_path / 'notes.txt').read_text() == 'mine'
    with Storage(tmp_path, identity) as storage:
        assert storage.names() == ['b']
    expected = ['b.spikegraph', 'b.spikegraph.json', 'notes.txt']
    assert names(tmp_path) == [*expected, 'spikegraph.json', 'spikegraph.lock']


@pytest.mark.parametrize('content', [None, b'', 0.5, b'[]', b'{"format": 1}'])
def test_damaged_manifest(tmp_path, content):
    with Storage(tmp_path, IDENTITY) as storage:
        store(storage)
    path = tmp_path / 'spikegraph.json'
    if content is None:
        path.unlink()
    else:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] if content == 0.5 else content)
    with pytest.raises(ValueError, match="damaged or of .*'resume=False'"):
        Storage(tmp_path, IDENTITY)
    assert (tmp_path / 'a.spikegraph').exists()
    with Storage(tmp_path, IDENTITY, resume=False) as storage:
        assert storage.names() == []
    with Storage(tmp_path, IDENTITY) as storage:
        store(storage)


@pytest.mark.parametrize('resume', [True, False])
def test_directories_of_others(tmp_path, resume):
    (tmp_path / 'model.pt').write_text('mine')
    (tmp_path / 'a.spikegraph').write_text('a name like ours')
    with pytest.raises(ValueError, match=r"to be empty or .*\(got one with 'model.pt'"):
        Storage(tmp_path, IDENTITY, resume=resume)
    assert names(tmp_path) == ['a.spikegraph', 'model.pt']
    with pytest.raises(OSError, match='model.pt'):
        Storage(tmp_path / 'model.pt', IDENTITY)


@pytest.mark.parametrize('identity', [{}, {'network': 3}, {3: 'a'}])
def test_identities(tmp_path, identity):
    with pytest.raises(ValueError, match=r"Expected 'identity' to hold texts.*\(got {"):
        Storage(tmp_path / 'new', identity)
    assert names(tmp_path) == []


def test_leftovers(tmp_path):
    with Storage(tmp_path, IDENTITY) as storage:
        store(storage)
    (tmp_path / f'.{"0f" * 8}.part').write_bytes(b'cut')
    (tmp_path / '.notes.part').write_bytes(b'mine')
    Storage(tmp_path, IDENTITY).close()
    assert names(tmp_path)[:2] == ['.notes.part', 'a.spikegraph']


def test_read_only(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # Others may not look up the folders above.
    tmp_path.chmod(0o555)
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65534)  # A superuser may write everywhere.
    try:
        with pytest.raises(PermissionError, match='spikegraph.lock'):
            Storage('.', IDENTITY)
        with pytest.raises(PermissionError, match='new'):
            Storage('new', IDENTITY)
    finally:
        if is_root:
            os.seteuid(0)
        tmp_path.chmod(0o755)
    assert names(tmp_path) == []


HOLDING = """
import sys
from spikegraph.running.disk import Storage
storage = Storage(sys.argv[1], {'network': 'a', 'graph': 'b'})
print('ready', flush=True)
sys.stdin.read()
"""


def test_two_processes(tmp_path):
    command = [sys.executable, '-c', HOLDING, str(tmp_path)]
    pipes = {'stdin': subprocess.PIPE, 'stdout': subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, text=True, **pipes) as process:
        assert process.stdout.readline() == 'ready\n'
        for resume in (True, False):
            with pytest.raises(BlockingIOError, match=rf'got process {process.pid}, '):
                Storage(tmp_path, IDENTITY, resume=resume)
        process.kill()
        process.wait(LIMIT)
    with Storage(tmp_path, IDENTITY) as storage:
        with pytest.raises(BlockingIOError, match=rf'{os.getpid()}, this one, which'):
            Storage(tmp_path, IDENTITY)
        storage.close()
        storage.close()
        Storage(tmp_path, IDENTITY).close()
    storage = Storage(tmp_path, IDENTITY)
    del storage  # What nobody has any more is not held.
    Storage(tmp_path, IDENTITY).close()


FORKING = """
import os, sys, torch
from spikegraph.running.disk import Storage
storage = Storage(sys.argv[1], {'network': 'a', 'graph': 'b'})
array = storage.create('a', (2,), torch.uint8)
array.write(0, torch.tensor([1, 2], dtype=torch.uint8))
array.finish()
source, sink = os.pipe()
child = os.fork()
if child == 0:
    os.close(sink)
    os.read(source, 1)  # Until the test ends.
    try:
        storage.create('b', (2,), torch.uint8)
    except ValueError as error:
        print(error, array.read(slice(None)).tolist(), flush=True)
    os._exit(0)
storage.close()
Storage(sys.argv[1], {'network': 'a', 'graph': 'b'}).close()
print('free', flush=True)
os.close(sink)
os.waitpid(child, 0)
"""


def test_forked_processes_do_not_hold_it(tmp_path):
    command = [sys.executable, '-c', FORKING, str(tmp_path)]
    options = {'capture_output': True, 'text': True, 'timeout': LIMIT, 'cwd': ROOT}
    result = subprocess.run(command, **options)
    assert result.returncode == 0, result.stderr
    first, second = result.stdout.splitlines()
    assert first == 'free' and second.endswith('open it here [1, 2]')


def test_the_manifest_is_there_before_arrays(tmp_path):
    storage = Storage(tmp_path / 'deep' / 'folder', IDENTITY)
    assert 'spikegraph.json' in names(tmp_path / 'deep' / 'folder')
    storage.create('a', (2,), torch.uint8)
    storage.close()
