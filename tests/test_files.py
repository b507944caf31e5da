"""Files appear as a whole or not at all, and neither devices nor modes change."""

import errno
import os
import re
import stat
import subprocess
import sys
import threading
import time

import pytest

from spikegraph import files
from spikegraph.files import (
    Replacement,
    check_folder,
    check_target,
    is_stream,
    locked,
    replaced_folder,
    write_file,
)


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def mode_of(path):
    return stat.S_IMODE(path.stat().st_mode)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_modes(tmp_path, umask):
    new, old = tmp_path / 'new', tmp_path / 'old'
    write_file(new, b'1')
    assert mode_of(new) == 0o640 and new.read_bytes() == b'1'
    old.write_bytes(b'a longer content')
    old.chmod(0o604)
    write_file(str(old), b'2')
    assert mode_of(old) == 0o604 and old.read_bytes() == b'2'
    assert names(tmp_path) == ['new', 'old']


def test_files_that_are_filled_aside(tmp_path, umask):
    path = tmp_path / 'a'
    path.write_bytes(b'old')
    path.chmod(0o604)
    with Replacement() as replacement:
        aside = replacement.reserve(path)
        new = replacement.reserve(tmp_path / 'b')
        aside.write_bytes(b'filled')
        assert aside.parent == tmp_path and path.read_bytes() == b'old'
    assert path.read_bytes() == b'filled' and mode_of(path) == 0o604
    assert not new.exists() and mode_of(tmp_path / 'b') == 0o640
    with pytest.raises(KeyError), Replacement() as replacement:
        replacement.reserve(path).write_bytes(b'half of it')
        raise KeyError
    assert path.read_bytes() == b'filled' and names(tmp_path) == ['a', 'b']
    with Replacement() as replacement, pytest.raises(OSError, match='no/where'):
        replacement.reserve(tmp_path / 'no' / 'where')


def test_links_are_followed(tmp_path):
    (tmp_path / 'folder').mkdir()
    target, link = tmp_path / 'folder' / 'target', tmp_path / 'link'
    link.symlink_to('folder/target')
    for content in (b'made', b'replaced'):
        write_file(link, content)
        assert link.is_symlink() and target.read_bytes() == content
    loop = tmp_path / 'loop'
    loop.symlink_to('loop')
    with pytest.raises(OSError, match='symbolic links'):
        write_file(loop, b'')
    assert names(tmp_path) == ['folder', 'link', 'loop']


def test_what_is_no_file_stays(tmp_path):
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    (tmp_path / 'file').touch()
    for path, match in [
        (pipe, 'which stays as it is'),
        (os.devnull, 'which stays as it is'),
        (tmp_path, r'\(got a folder\); name a file in it'),
        (tmp_path / 'file' / 'a', 'Not a directory'),
        (tmp_path / 'no' / 'a', 'No such file'),
        (tmp_path / ('x' * 300), 'File name too long'),
    ]:
        for write in (lambda path: write_file(path, b'x'), check_target):
            with pytest.raises(OSError, match=match) as error:
                write(path)
            assert str(path) in str(error.value)
    for write in (lambda path: write_file(path, b'x'), check_target):
        with pytest.raises(ValueError, match=r"file name \(got ''\)"):
            write('')
    assert pipe.is_fifo() and names(tmp_path) == ['file', 'pipe']
    assert is_stream(pipe) and is_stream(os.devnull) and not is_stream(tmp_path)
    check_target(pipe, streams=True)
    check_target(tmp_path / 'new')
    assert names(tmp_path) == ['file', 'pipe']


def test_read_only_file(tmp_path, monkeypatch):
    file = tmp_path / 'file'
    file.write_bytes(b'old')
    # Not by chmod: a superuser may do everything.
    monkeypatch.setattr(os, 'access', lambda path, mode: mode != os.W_OK)
    with pytest.raises(PermissionError, match='read-only.*change its permissions'):
        write_file(file, b'new')
    assert file.read_bytes() == b'old'


def full(*args):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize('step', ['flush', 'replace'])
def test_full_disk(tmp_path, monkeypatch, step):
    """What was there is still there, nothing else is, and the file is named."""
    file = tmp_path / 'file'
    file.write_bytes(b'old')
    if step == 'replace':
        monkeypatch.setattr(os, 'replace', full)
    else:
        monkeypatch.setattr(files, 'open', lambda *args: Full(args[0]), raising=False)
    with pytest.raises(OSError, match='No space left') as error:
        write_file(file, b'new')
    assert error.value.filename == str(file) and error.value.errno == errno.ENOSPC
    assert file.read_bytes() == b'old' and names(tmp_path) == ['file']


class Full:
    """A file on a disk that has room for the first half."""

    def __init__(self, handle):
        self.handle = handle

    def __enter__(self):
        return self

    def __exit__(self, *args):
        os.close(self.handle)

    def write(self, content):
        os.write(self.handle, content[:1])
        full()


@pytest.mark.parametrize('error', [KeyboardInterrupt, ValueError])
def test_nothing_is_replaced_after_an_error(tmp_path, error):
    (tmp_path / 'a').write_bytes(b'old')
    with pytest.raises(error), Replacement() as replacement:
        for name in 'ab':
            replacement.add(tmp_path / name, b'new')
        raise error
    assert names(tmp_path) == ['a'] and (tmp_path / 'a').read_bytes() == b'old'


def test_files_appear_together(tmp_path):
    with Replacement() as replacement:
        for name in 'ab':
            replacement.add(tmp_path / name, name.encode())
        assert not any(name in 'ab' for name in names(tmp_path))
        with pytest.raises(IsADirectoryError):
            replacement.add(tmp_path, b'')  # The others do not suffer.
    assert names(tmp_path) == ['a', 'b'] and (tmp_path / 'b').read_bytes() == b'b'


def test_one_at_a_time(tmp_path):
    order = []

    def wait():
        with locked(tmp_path):
            order.append('second')

    other = threading.Thread(target=wait)
    with locked(tmp_path):
        other.start()
        time.sleep(0.2)
        order.append('first')
    other.join()
    assert order == ['first', 'second']
    with locked(tmp_path / 'nowhere'):  # Where there is no lock, there is no wait.
        pass


def test_two_processes_tear_nothing(tmp_path):
    """Each writes pairs of large files of one letter; a reader never sees two."""
    code = (
        'import sys\nfrom spikegraph.files import Replacement\n'
        'for _ in range(40):\n    with Replacement() as r:\n'
        '        for name in "xy":\n'
        '            r.add(f"{sys.argv[1]}/{name}", sys.argv[2].encode() * 300_000)\n'
    )
    both = [
        subprocess.Popen([sys.executable, '-c', code, str(tmp_path), letter])
        for letter in 'ab'
    ]
    seen = set()
    while any(process.poll() is None for process in both):
        if (tmp_path / 'y').exists():
            content = (tmp_path / 'y').read_bytes()
            assert re.fullmatch(rb'a{300000}|b{300000}', content)
            seen.add(content[:1])
    assert [process.wait() for process in both] == [0, 0] and seen
    x, y = ((tmp_path / name).read_bytes() for name in 'xy')
    assert x == y and names(tmp_path) == ['x', 'y']


def is_ours(folder):
    return (folder / 'ours').exists()


def test_folders_are_replaced_as_a_whole(tmp_path):
    target = tmp_path / 'a' / 'b'
    for number in range(2):
        with replaced_folder(target, is_ours) as aside:
            assert not (target / f'{number}').exists() and aside.parent == target.parent
            (aside / 'ours').write_text('')
            (aside / f'{number}').mkdir()
        assert sorted(f.name for f in target.iterdir()) == [f'{number}', 'ours']
    with pytest.raises(RuntimeError), replaced_folder(target, is_ours) as aside:
        (aside / 'ours').write_text('')
        raise RuntimeError
    assert sorted(f.name for f in target.iterdir()) == ['1', 'ours']
    assert [f.name for f in target.parent.iterdir()] == ['b']


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / 'mine').write_text('')
    for target, match in [
        (tmp_path, "got a folder with 'mine'"),
        (tmp_path / 'mine', 'got a file'),
    ]:
        with pytest.raises(FileExistsError, match=match):
            check_folder(target, is_ours)
        with pytest.raises(FileExistsError, match=match):
            replaced_folder(target, is_ours).__enter__()
    with pytest.raises(ValueError, match=r"name of a folder \(got ''\)"):
        check_folder('', is_ours)
    assert [f.name for f in tmp_path.iterdir()] == ['mine']
    (tmp_path / 'empty').mkdir()
    check_folder(tmp_path / 'empty', is_ours)
    # What somebody else writes meanwhile stays, too.
    late = pytest.raises(FileExistsError, match="with 'late'")
    with late, replaced_folder(tmp_path / 'empty', is_ours):
        (tmp_path / 'empty' / 'late').write_text('')
    assert sorted(f.name for f in tmp_path.iterdir()) == ['empty', 'mine']


def test_links_to_folders_stay(tmp_path):
    (tmp_path / 'real').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'real')
    with replaced_folder(tmp_path / 'link', is_ours) as aside:
        (aside / 'ours').write_text('')
    assert (tmp_path / 'link').is_symlink() and (tmp_path / 'real' / 'ours').exists()


def test_a_folder_that_cannot_be_moved_away_stays(tmp_path, monkeypatch):
    target = tmp_path / 'a'
    with replaced_folder(target, is_ours) as aside:
        (aside / 'ours').write_text('first')
    rename, calls = os.rename, []

    def fail_second(source, destination):
        calls.append(source)
        if len(calls) == 2:
            raise OSError(5, 'Input/output error')
        rename(source, destination)

    monkeypatch.setattr(os, 'rename', fail_second)
    failing = pytest.raises(OSError, match='Input/output')
    with failing as error, replaced_folder(target, is_ours) as aside:
        (aside / 'ours').write_text('second')
    assert error.value.filename == str(target) and len(calls) == 3
    assert (target / 'ours').read_text() == 'first'
    assert [f.name for f in tmp_path.iterdir()] == ['a']
