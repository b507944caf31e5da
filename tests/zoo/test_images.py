import gzip
import http.client
import io
import re
import tarfile
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits as embedded_digits

import spikegraph.zoo.datasets.images as module
from spikegraph.zoo.datasets import (
    DATASETS,
    IMAGE_DATASETS,
    ImageDataset,
    load_dataset,
    load_images,
)
from spikegraph.zoo.datasets.images import _CIFAR_PARTS, _MNIST_MD5

SIZES = {'train': 7, 'test': 4}  # Images in the files written here.


def images(kind, name='mnist'):
    rng = np.random.default_rng(len(kind))
    size = IMAGE_DATASETS[name].image_size
    shape = (SIZES[kind], *size[1:], *((3,) if size[0] == 3 else ()))
    x = rng.integers(256, size=shape, dtype=np.uint8)
    return x, rng.integers(10, size=len(x), dtype=np.uint8)


def write_npz(root, name, **changes):
    files = {'mnist': 'train_20000.npz', 'cifar10': 'train_1020.npz'}
    folder = root / name
    folder.mkdir()
    for file, kind in ((files[name], 'train'), ('test.npz', 'test')):
        x, y = images(kind, name)
        np.savez(folder / file, **{'x': x, 'y': y, **changes})
    return folder / files[name]


def idx_files():
    """The content of MNIST's files, by name."""
    contents = {}
    for prefix, kind in (('train', 'train'), ('t10k', 'test')):
        x, y = images(kind)
        sizes = b''.join(size.to_bytes(4, 'big') for size in x.shape)
        contents[f'{prefix}-images-idx3-ubyte'] = b'\0\0\x08\x03' + sizes + x.tobytes()
        head = b'\0\0\x08\x01' + sizes[:4]
        contents[f'{prefix}-labels-idx1-ubyte'] = head + y.tobytes()
    return contents


def cifar_batches():
    """The content of the files of CIFAR-10's binary version, by name; the training
    images are in two of five batches."""
    (x, y), test = images('train', 'cifar10'), images('test', 'cifar10')
    parts = [
        (x[:3], y[:3]),
        (x[3:5], y[3:5]),
        *([x[i : i + 1], y[i : i + 1]] for i in (5, 6)),
    ]
    parts += [(x[:1], y[:1]), test]
    return {
        name: b''.join(
            bytes([label]) + image.transpose(2, 0, 1).tobytes()
            for image, label in zip(*part, strict=True)
        )
        for name, part in zip(_CIFAR_PARTS, parts, strict=True)
    }


def archive(batches):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode='w:gz') as file:
        for name, content in reversed(batches.items()):  # Not in this order, either.
            member = tarfile.TarInfo(f'cifar-10-batches-bin/{name}')
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def assert_images(x, y, arrays):
    expected = torch.from_numpy(arrays[0])
    expected = (
        expected[:, None] if expected.dim() == 3 else expected.permute(0, 3, 1, 2)
    )
    assert x.dtype == torch.uint8 and x.is_contiguous() and torch.equal(x, expected)
    assert y.dtype == torch.int64 and y.tolist() == arrays[1].tolist()


def assert_dataset(dataset, name):
    assert isinstance(dataset, ImageDataset) and dataset.name == name
    assert dataset.image_size == IMAGE_DATASETS[name].image_size
    assert_images(dataset.test_x, dataset.test_y, images('test', name))
    assert dataset.num_classes == 10


@pytest.fixture
def downloads(monkeypatch):
    """What a download returns, by the end of its address; those asked for are added
    to the entry 'asked'."""
    found = {'asked': []}

    def urlopen(url, timeout):
        found['asked'].append(url)
        content = found.get(url.rpartition('/')[2], OSError('no network'))
        if isinstance(content, Exception):
            raise content
        return io.BytesIO(content)

    monkeypatch.setattr(urllib.request, 'urlopen', urlopen)
    return found


def test_digits():
    dataset, again = load_images('digits'), load_images('digits', 'nowhere')
    assert dataset.name == 'digits' and dataset.image_size == (1, 8, 8)
    assert dataset.train_x.shape == (1297, 1, 8, 8) and len(dataset.test_x) == 500
    x = torch.cat([dataset.test_x, dataset.train_x])
    y = torch.cat([dataset.test_y, dataset.train_y])
    pixels, labels = embedded_digits(return_X_y=True)
    # The same images with the same classes, in another order.
    rows = np.column_stack([x.view(-1, 64).numpy(), y])
    expected = np.column_stack([pixels, labels]).astype(np.int64)
    assert not np.array_equal(rows, expected)
    assert np.array_equal(rows[np.lexsort(rows.T)], expected[np.lexsort(expected.T)])
    assert dataset.test_y.bincount().min() > 40
    assert torch.equal(dataset.test_x, again.test_x)
    assert torch.equal(dataset.normalize(x), x.float() / 16)
    assert dataset.normalize(x).max() == 1


@pytest.mark.parametrize('name', ['mnist', 'cifar10'])
def test_npz(tmp_path, name):
    write_npz(tmp_path, name)
    dataset = load_images(name, tmp_path)
    assert_dataset(dataset, name)
    assert_images(dataset.train_x, dataset.train_y, images('train', name))
    assert torch.equal(load_dataset(name, tmp_path).test_x, dataset.test_x)


def test_normalize(tmp_path):
    write_npz(tmp_path, 'cifar10')
    dataset = load_images('cifar10', tmp_path)
    x = dataset.normalize(dataset.test_x)
    assert x.dtype == torch.float32 and x.shape == (4, 3, 32, 32)
    for channel, (mean, std) in enumerate(zip(dataset.mean, dataset.std, strict=True)):
        byte = dataset.test_x[2, channel, 5, 7].item()
        value = x[2, channel, 5, 7].item()
        assert value == pytest.approx((byte / 255 - mean) / std, rel=1e-5)
    assert dataset.test_x.dtype == torch.uint8


@pytest.mark.parametrize('folder', ['MNIST/raw', 'mnist'])
@pytest.mark.parametrize('packed', [True, False])
def test_idx_files(tmp_path, folder, packed):
    (tmp_path / folder).mkdir(parents=True)
    for name, content in idx_files().items():
        path = tmp_path / folder / (f'{name}.gz' if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
    dataset = load_images('mnist', tmp_path)
    assert_dataset(dataset, 'mnist')
    assert_images(dataset.train_x, dataset.train_y, images('train'))


@pytest.mark.parametrize('folder', ['cifar10/', ''])
def test_cifar_batches(tmp_path, folder):
    for name, content in cifar_batches().items():
        path = tmp_path / f'{folder}cifar-10-batches-bin' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    dataset = load_images('cifar10', tmp_path)
    assert_dataset(dataset, 'cifar10')
    x, y = images('train', 'cifar10')
    order = [*range(7), 0]
    assert_images(dataset.train_x, dataset.train_y, (x[order], y[order]))


def test_first_set_of_files_wins(tmp_path):
    info = DATASETS['mnist']
    assert info.files(tmp_path) == [tmp_path / file for file in info.raw_files]
    (tmp_path / 'mnist').mkdir()
    for name, content in idx_files().items():
        (tmp_path / 'mnist' / name).write_bytes(content)
    assert info.files(tmp_path)[0].name == 'train-images-idx3-ubyte'
    for file in ('train_20000.npz', 'test.npz'):
        (tmp_path / 'mnist' / file).touch()
    assert [path.name for path in info.files(tmp_path)] == [
        'train_20000.npz',
        'test.npz',
    ]


def test_download_of_mnist(tmp_path, downloads, monkeypatch):
    for name, content in idx_files().items():
        content = gzip.compress(content, mtime=0)
        downloads[f'{name}.gz'] = content
        md5 = module.hashlib.md5(content).hexdigest()
        monkeypatch.setitem(_MNIST_MD5, f'{name}.gz', md5)
    assert_dataset(load_images('mnist', tmp_path), 'mnist')
    assert len(downloads['asked']) == 4
    assert_dataset(load_images('mnist', tmp_path), 'mnist')
    assert len(downloads['asked']) == 4  # They stay there.
    files = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob('*.gz'))
    assert files == sorted(DATASETS['mnist'].raw_files)


def test_download_of_cifar(tmp_path, downloads, monkeypatch):
    content = archive(cifar_batches())
    downloads['cifar-10-binary.tar.gz'] = content
    monkeypatch.setattr(module, '_CIFAR_MD5', module.hashlib.md5(content).hexdigest())
    dataset = load_images('cifar10', tmp_path)
    assert_dataset(dataset, 'cifar10')
    assert len(dataset.train_x) == 8
    assert (tmp_path / 'cifar10' / 'cifar-10-binary.tar.gz').read_bytes() == content


@pytest.mark.parametrize(
    'content, match',
    [
        (OSError('no network'), 'no network'),
        (b'another file', r'has changed or broke off \(MD5 50e5'),
        (http.client.IncompleteRead(b'half'), 'IncompleteRead'),
    ],
)
@pytest.mark.parametrize('name', ['mnist', 'cifar10'])
def test_failed_download(tmp_path, downloads, name, content, match):
    info = DATASETS[name]
    downloads[Path(info.raw_files[0]).name] = content
    with pytest.raises(FileNotFoundError, match=match) as error:
        load_images(name, tmp_path)
    assert f"the files of '{name}' (got '{tmp_path}')" in str(error.value)
    for file in info.raw_files:
        assert f'  {tmp_path / file}' in str(error.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    'changes, match',
    [
        (dict(x=np.zeros((2, 8, 8), np.uint8)), r"shape \('N', 28, 28\).*\(2, 8, 8\)"),
        (dict(x=np.zeros((2, 28, 28))), r'uint8 .*\(got float64 of shape'),
        (dict(y=np.zeros(3)), r"'y' of shape \(N,\) .*and \(3,\)\)"),
        (dict(x=np.array([{}])), r'whole .npz file \(got ValueError: Object arrays'),
    ],
)
def test_npz_errors(tmp_path, changes, match):
    path = write_npz(tmp_path, 'mnist', **changes)
    with pytest.raises(ValueError, match=match) as error:
        load_images('mnist', tmp_path)
    assert f"'{path}'" in str(error.value)


def test_npz_without_classes(tmp_path):
    path = write_npz(tmp_path, 'mnist')
    np.savez(path, x=np.zeros(3), z=np.zeros(3))
    with pytest.raises(ValueError, match=r"arrays 'x' and 'y' \(got x, z\)"):
        load_images('mnist', tmp_path)


def test_broken_files(tmp_path):
    path = write_npz(tmp_path, 'mnist')
    path.write_bytes(b'no archive')
    with pytest.raises(ValueError, match=r'whole .npz file \(got BadZipFile'):
        load_images('mnist', tmp_path)
    path.unlink()
    folder = tmp_path / 'MNIST' / 'raw'
    folder.mkdir(parents=True)
    for name, content in idx_files().items():
        (folder / f'{name}.gz').write_bytes(gzip.compress(content))
    path = folder / 'train-images-idx3-ubyte.gz'
    for content, match in [
        (b'no archive', r'whole .gz file \(got BadGzipFile'),
        (path.read_bytes()[:-20], r'whole .gz file \(got EOFError'),
        (
            gzip.compress(b'something else'),
            r'3 dimensions \(got 14 bytes .* 736f6d65\)',
        ),
        (gzip.compress(bytes([0, 0, 8, 3] + 3 * [0, 0, 0, 9])), r'\(got 16 bytes'),
    ]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=match) as error:
            load_images('mnist', tmp_path)
        assert f"'{path}'" in str(error.value)


def test_broken_archive(tmp_path):
    (tmp_path / 'cifar10').mkdir()
    path, batches = tmp_path / 'cifar10' / 'cifar-10-binary.tar.gz', cifar_batches()
    short = {**batches, 'data_batch_2.bin': batches['data_batch_2.bin'][:-1]}
    few = {k: v for k, v in batches.items() if k != 'data_batch_3.bin'}
    for content, match in [
        (b'no archive', r'whole .gz file \(got ReadError'),
        (archive(short), r'data_batch_2.bin.* images of 3073 bytes \(got 6145 bytes\)'),
        (archive(few), r'got none of the name data_batch_3.bin'),
    ]:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=match) as error:
            load_images('cifar10', tmp_path)
        assert str(path) in str(error.value)


@pytest.mark.parametrize('name', ['cora', 'Mnist'])
def test_unknown_name(name):
    message = f"'name' to be one of digits, mnist, cifar10 (got '{name}')"
    with pytest.raises(ValueError, match=re.escape(message)):
        load_images(name)


@pytest.mark.data
@pytest.mark.parametrize(
    'name, counts', [('mnist', [980, 1135, 1032]), ('cifar10', [1000, 1000, 1000])]
)
def test_files(load_data, name, counts):
    dataset = load_data(name)
    assert len(dataset.test_x) == 10_000 and len(dataset.train_x) >= 1020
    assert dataset.image_size == DATASETS[name].image_size
    assert dataset.test_y.bincount()[:3].tolist() == counts
    assert dataset.train_y.bincount(minlength=10).min() > 0


def test_labels_of_other_images(tmp_path):
    folder = tmp_path / 'mnist'
    folder.mkdir()
    for name, content in idx_files().items():
        (folder / name).write_bytes(content)
    path = folder / 't10k-labels-idx1-ubyte'
    path.write_bytes(b'\0\0\x08\x01\0\0\0\x03' + bytes(3))
    match = f"'{path}' to hold a class for each of 4 images (got 3). Copy"
    with pytest.raises(ValueError, match=re.escape(match)):
        load_images('mnist', tmp_path)


def test_cut_batches_and_archives(tmp_path, monkeypatch):
    """Also between two images, and in the checksum that no image is in."""
    monkeypatch.setattr(module, '_CIFAR_IMAGES', 4)
    batches = cifar_batches()
    batches = {name: (4 * content)[: 4 * 3073] for name, content in batches.items()}
    folder = tmp_path / 'cifar10'
    (folder / 'cifar-10-batches-bin').mkdir(parents=True)
    for name, content in batches.items():
        (folder / 'cifar-10-batches-bin' / name).write_bytes(content)
    load_images('cifar10', tmp_path)
    path = folder / 'cifar-10-batches-bin' / 'data_batch_3.bin'
    path.write_bytes(batches[path.name][: 2 * 3073])
    with pytest.raises(ValueError, match=r'data_batch_3.*hold 4 images.*\(got 2\)'):
        load_images('cifar10', tmp_path)
    path.unlink()
    path = folder / 'cifar-10-binary.tar.gz'
    whole = archive(batches)
    for size in (0, 1, 100, len(whole) // 2, len(whole) - 9, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=re.escape(f"'{path}' to be a whole .gz")):
            load_images('cifar10', tmp_path)
