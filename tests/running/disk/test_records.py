"""Records return what was put into them."""

import os
import zlib

import pytest
import torch

from spikegraph.running.disk.records import (
    DTYPES,
    Layout,
    Record,
    damaged_chunks,
    pack,
    unpack,
)

VALUES = [
    None,
    True,
    -3,
    0.1,
    float('inf'),
    'text ä\n',
    [],
    (),
    {},
    [1, (2, [3.5, None])],
    {'code': {'num_steps': 8, 'base': 2.0}, 'axes': ((1,), 'a')},
]


@pytest.mark.parametrize('value', VALUES, ids=str)
def test_values(value):
    layout = Layout((3, 2), torch.uint8)
    record = Record(layout, (1,), {'value': value})
    found = Record.from_bytes(record.to_bytes('a', 'b'), 'a', 'b')
    assert found == record and repr(found) == repr(record)


@pytest.mark.parametrize('name', DTYPES)
@pytest.mark.parametrize('shape', [(), (0,), (3, 0), (5,), (2, 3)], ids=str)
def test_tensors(name, shape):
    value = torch.randint(2, shape).to(DTYPES[name])
    (found,) = unpack(pack([value]))
    assert found.dtype == value.dtype and torch.equal(found, value)


@pytest.mark.parametrize(
    'value, match',
    [
        ({'a': {3: 1}}, r"'extra.a' .*\(got 3\)"),
        ({'__tensor__': 1}, r"'extra' .*\(got '__tensor__'\)"),
        ([1, {2}], r"'extra\[1\]' to be a number.*\(got set\)"),
        (torch.zeros(1 << 18 | 1), r'at most 1048576 bytes \(got 1048580\)'),
        (torch.zeros(2, dtype=torch.complex64), r'got torch.strided, torch.complex64'),
        (torch.zeros(2, 2).to_sparse(), r'got torch.sparse_coo, torch.float32'),
    ],
)
def test_what_cannot_be_kept(value, match):
    with pytest.raises(ValueError, match=match):
        pack(value)


def test_another_version():
    content = Record(Layout((1,), torch.uint8), (1,)).to_bytes('a', 'b')
    body = content.replace(b'"version": 1', b'"version": 2').split(b'\n')[0]
    content = body + b'\n%08x\n' % zlib.crc32(body)
    with pytest.raises(ValueError, match=r'another version \(2\)'):
        Record.from_bytes(content, 'a', 'b')


@pytest.mark.parametrize(
    'shape, dtype, chunk_rows, num_chunks',
    [
        ((0, 5), torch.float32, 209_715, 0),
        ((9, 0), torch.float32, 1 << 22, 0),
        ((), torch.float64, 1 << 19, 1),
        ((10**8, 128), torch.uint8, 1 << 15, 3052),
        ((3, 1 << 21), torch.float32, 1, 3),
    ],
)
def test_chunks(shape, dtype, chunk_rows, num_chunks):
    layout = Layout(shape, dtype)
    assert (layout.chunk_rows, layout.num_chunks) == (chunk_rows, num_chunks)
    bounds = [layout.rows_of(chunk) for chunk in range(num_chunks)]
    assert not bounds or bounds[0][0] == 0 and bounds[-1][1] == layout.num_rows
    assert all(a[1] == b[0] for a, b in zip(bounds, bounds[1:], strict=False))


def test_what_cannot_be_read_is_damaged(tmp_path, monkeypatch):
    (tmp_path / 'file').write_bytes(b'abcdef')
    checksums = tuple(zlib.crc32(text) for text in (b'ab', b'cd', b'ef'))
    record = Record(Layout((6,), torch.uint8, 2), checksums)
    preadv = os.preadv

    def fail(handle, buffers, place):
        if place == 2:
            raise OSError(5, 'broken')
        return preadv(handle, buffers, place)

    handle = os.open(tmp_path / 'file', os.O_RDONLY)
    try:
        assert list(damaged_chunks(handle, record)) == []
        monkeypatch.setattr(os, 'preadv', fail)
        assert list(damaged_chunks(handle, record)) == [1]
    finally:
        os.close(handle)
