import gzip

import numpy as np
import pytest
import torch

from spikegraph.partitioning import read_edges

EDGES = torch.tensor([[0, 3, 2], [1, 1, 0]])


@pytest.mark.parametrize('dtype', ['int64', 'int32', '>i8', 'uint8', 'int16', 'uint64'])
@pytest.mark.parametrize('turned', [False, True])
def test_arrays(tmp_path, dtype, turned):
    array = EDGES.numpy().astype(dtype)
    np.save(tmp_path / 'e.npy', array.T if turned else array)
    found = read_edges(tmp_path / 'e.npy', 4)
    assert found.dtype == (torch.int32 if dtype == 'int32' else torch.int64)
    assert torch.equal(found.long(), EDGES)


def test_arrays_stay_in_their_file(tmp_path):
    path = tmp_path / 'e.npy'
    np.save(path, EDGES.numpy())
    found = read_edges(str(path))
    with open(path, 'r+b') as file:
        file.seek(-8, 2)
        file.write((7).to_bytes(8, 'little'))
    assert int(found[1, 2]) == 7


def test_two_edges_are_read_row_by_row(tmp_path):
    np.save(tmp_path / 'e.npy', [[0, 1], [2, 3]])
    assert read_edges(tmp_path / 'e.npy').tolist() == [[0, 1], [2, 3]]


@pytest.mark.parametrize('shape', [(2, 0), (0, 2)])
def test_no_edges(tmp_path, shape):
    np.save(tmp_path / 'e.npy', np.zeros(shape, np.int64))
    assert read_edges(tmp_path / 'e.npy', 0).shape == (2, 0)


def test_folders(tmp_path):
    np.save(tmp_path / 'src.npy', EDGES[0].int().numpy())
    with pytest.raises(FileNotFoundError, match=r'found no dst.npy'):
        read_edges(tmp_path)
    np.save(tmp_path / 'dst.npy', EDGES[1].numpy())
    assert torch.equal(read_edges(tmp_path, 4), EDGES)
    np.save(tmp_path / 'dst.npy', EDGES[1, :2].numpy())
    with pytest.raises(ValueError, match=r'one entry per edge \(got 3 and 2\)'):
        read_edges(tmp_path)
    np.save(tmp_path / 'dst.npy', EDGES.numpy())
    with pytest.raises(ValueError, match=r'dst.npy.*shape \[E\] \(got \[2, 3\]\)'):
        read_edges(tmp_path)
    np.save(tmp_path / 'edge_index.npy', EDGES.flip(0).numpy())
    assert torch.equal(read_edges(tmp_path), EDGES.flip(0))


@pytest.mark.parametrize(
    'text',
    [
        '0,1\n3,1\n2,0\n',
        '0, 1\n3, 1\n\n2, 0',
        'src_id,dst_id\n0,1\n3,1\n2,0\n',
        '# SNAP\n# nodes: 4\n0\t1\n3\t1\n2\t0\n',
        '% matrix\nfrom to\n0 1\n3   1\n# more\n  2 0\n',
        '0\t1\r\n3\t1\r\n2\t0\r\n',
    ],
)
@pytest.mark.parametrize('name', ['e.csv', 'e.tsv', 'e.txt', 'e.edges', 'e.csv.gz'])
def test_texts(tmp_path, text, name):
    path = tmp_path / name
    content = text.encode()
    path.write_bytes(gzip.compress(content) if name.endswith('.gz') else content)
    found = read_edges(path, 4)
    assert found.dtype == torch.int64 and torch.equal(found, EDGES)


@pytest.mark.parametrize('text', ['', '\n\n', '# nothing\n', 'source,target\n'])
def test_empty_texts(tmp_path, text):
    (tmp_path / 'e.csv').write_text(text)
    assert read_edges(tmp_path / 'e.csv').shape == (2, 0)


@pytest.mark.parametrize(
    'text, match',
    [
        ('0,1\n2\n', r'two columns of integers'),
        ('0,1\n2,3,4\n', r'two columns of integers'),
        ('0,1.5\n', r'two columns of integers.*1.5'),
        ('0,one\n', r'two columns of integers.*one'),
        ('0,1\n1,\n', r'two columns of integers'),
        ('0,1,7\n2,3,7\n', r"\(got 3 in the line '0,1,7'\)"),
        ('0\n1\n', r"\(got 1 in the line '0'\)"),
        ('0,1\n-1,2\n', r'nodes from 0 to 3 \(got -1\)'),
        ('0,4\n', r'nodes from 0 to 3 \(got 4\)'),
    ],
)
def test_bad_texts(tmp_path, text, match):
    path = tmp_path / 'e.csv'
    path.write_text(text)
    with pytest.raises(ValueError, match=match) as error:
        read_edges(path, 4)
    assert str(path) in str(error.value)


@pytest.mark.parametrize(
    'array, match',
    [
        (EDGES.float().numpy(), r'to hold integers.*\(got float32\)'),
        (EDGES.bool().numpy(), r'to hold integers.*\(got bool\)'),
        (np.array(['a', 'b']), r'to hold integers.*\(got <U1\)'),
        (np.zeros((3, 3), int), r'\[2, E\] or \[E, 2\] \(got \[3, 3\]\)'),
        (np.zeros(4, int), r'\(got \[4\]\)'),
        (EDGES.numpy() - 1, r'nodes from 0 to 3 \(got -1\)'),
        (EDGES.numpy() + 1, r'nodes from 0 to 3 \(got 4\)'),
        (np.full((2, 1), 2**63, np.uint64), r'\(got 9223372036854775808\)'),
        (np.array([{}, {}]), 'Python objects'),
    ],
)
def test_bad_arrays(tmp_path, array, match):
    np.save(tmp_path / 'e.npy', array)
    with pytest.raises(ValueError, match=match) as error:
        read_edges(tmp_path / 'e.npy', 4)
    assert str(tmp_path / 'e.npy') in str(error.value)


def test_other_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no.npy' to hold edges \(found none"):
        read_edges(tmp_path / 'no.npy')
    for name in ('e.xlsx', 'e', 'e.gz'):
        (tmp_path / name).write_bytes(b'')
        with pytest.raises(ValueError, match=r'to end in .npy, .csv'):
            read_edges(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r'to have edge_index.npy, or src.npy'):
        read_edges(tmp_path)
    (tmp_path / 'e.csv').write_bytes(b'\xff\xfe0,1')
    (tmp_path / 'e.csv.gz').write_bytes(b'0,1\n')
    (tmp_path / 't.csv.gz').write_bytes(gzip.compress(b'0,1\n' * 99)[:-5])
    for name in ('e.csv', 'e.csv.gz', 't.csv.gz'):
        with pytest.raises(ValueError, match=rf"{name}' to hold text"):
            read_edges(tmp_path / name)
