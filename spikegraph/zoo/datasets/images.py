"""Images that are to be classified: embedded digits, MNIST and CIFAR-10."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import math
import sys
import tarfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from spikegraph.zoo.datasets.entries import DatasetInfo, ImageDataset
from spikegraph.zoo.datasets.reading import BadFile

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    Arrays = tuple[np.ndarray, np.ndarray]  # Images [N, H, W] or [N, H, W, C], classes.

_TIMEOUT = 60  # Seconds without a byte.
_NUM_TEST = 500  # Of the 1,797 embedded digits.
_MNIST_URL = 'https://ossci-datasets.s3.amazonaws.com/mnist'
_MNIST_MD5 = {
    'train-images-idx3-ubyte.gz': 'f68b3c2dcbeaaa9fbdd348bbdeb94873',
    'train-labels-idx1-ubyte.gz': 'd53e105ee54ea40749a09fcbcd1e9432',
    't10k-images-idx3-ubyte.gz': '9fb629c4189551a2d022fa330f9573f3',
    't10k-labels-idx1-ubyte.gz': 'ec29112dd5afa0611ce80d1b7f02629c',
}
_CIFAR_URL = 'https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz'
_CIFAR_MD5 = 'c32a1d4ab5d03f1284b67883e8d87530'
_CHUNK = 1 << 20  # Bytes.
_CIFAR_IMAGES = 10_000  # In each file.
_CIFAR_FOLDER = 'cifar-10-batches-bin'
_CIFAR_PARTS = (*(f'data_batch_{i}.bin' for i in range(1, 6)), 'test_batch.bin')


def _load_digits(root: Path) -> ImageDataset:
    import numpy as np
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)  # [N, 64], integers in 0 .. 16.
    order = np.random.default_rng(0).permutation(len(pixels))
    x, y = pixels.astype(np.uint8).reshape(-1, 8, 8)[order], labels[order]
    test = x[:_NUM_TEST], y[:_NUM_TEST]
    return _dataset(_DIGITS, (x[_NUM_TEST:], y[_NUM_TEST:]), test, white=16)


def _load_mnist(root: Path) -> ImageDataset:
    # Black pixels stay zero, and their neurons silent.
    paths = _MNIST.files(root)
    if paths[0].suffix == '.npz':
        return _dataset(_MNIST, *(_read_npz(path, _MNIST) for path in paths))
    for path in paths:
        if not path.exists():
            _download(f'{_MNIST_URL}/{path.name}', path, _MNIST_MD5[path.name])
    arrays = [_read_idx(path) for path in paths]
    for images, labels in ((0, 1), (2, 3)):
        if len(arrays[images]) != len(arrays[labels]):
            raise BadFile(
                paths[labels],
                f"Expected '{paths[labels]}' to hold a class for each of "
                f'{len(arrays[images]):,} images (got {len(arrays[labels]):,})',
            )
    return _dataset(_MNIST, (arrays[0], arrays[1]), (arrays[2], arrays[3]))


def _load_cifar(root: Path) -> ImageDataset:
    import numpy as np

    paths = _CIFAR.files(root)
    if paths[0].suffix == '.npz':
        train, test = (_read_npz(path, _CIFAR) for path in paths)
    else:
        if paths[0].suffix == '.gz':
            if not paths[0].exists():
                _download(_CIFAR_URL, paths[0], _CIFAR_MD5)
            batches = _read_archive(paths[0])
        else:
            batches = [(path, str(path), path.read_bytes()) for path in paths]
        *parts, test = [_read_batch(*batch) for batch in batches]
        _check_batches(batches, [len(labels) for _, labels in [*parts, test]])
        images, labels = zip(*parts, strict=True)
        train = np.concatenate(images), np.concatenate(labels)
    # What public ResNets were trained with.
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    return _dataset(_CIFAR, train, test, mean=mean, std=std, mirrored=True)


def _dataset(
    info: DatasetInfo,
    train: Arrays,
    test: Arrays,
    *,
    mean: tuple[float, ...] = (0.0,),
    std: tuple[float, ...] = (1.0,),
    white: int = 255,
    mirrored: bool = False,
) -> ImageDataset:
    import torch

    def images(x: np.ndarray) -> Tensor:
        pixels = torch.from_numpy(x.copy()).view(len(x), *x.shape[1:3], -1)
        return pixels.permute(0, 3, 1, 2).contiguous()  # [N, C, H, W]

    return ImageDataset(
        name=info.name,
        train_x=images(train[0]),
        train_y=torch.from_numpy(train[1].astype('int64')),
        test_x=images(test[0]),
        test_y=torch.from_numpy(test[1].astype('int64')),
        num_classes=10,
        description=info.description,
        mean=mean,
        std=std,
        white=white,
        mirrored=mirrored,
    )


def _read_npz(path: Path, info: DatasetInfo) -> Arrays:
    import numpy as np

    channels, *size = info.image_size
    shape = (*size, channels) if channels > 1 else tuple(size)
    with (
        _reading(path),
        zipfile.ZipFile(path),
        np.load(path, allow_pickle=False) as file,
    ):
        arrays = dict(file)
    if not {'x', 'y'} <= set(arrays):
        raise BadFile(
            path,
            f"Expected '{path}' to hold arrays 'x' and 'y' (got {', '.join(arrays)})",
        )
    x, y = arrays['x'], arrays['y']
    if x.dtype != np.uint8 or x.shape[1:] != shape or y.shape != x.shape[:1]:
        raise BadFile(
            path,
            f"Expected 'x' in '{path}' to be uint8 of shape {('N', *shape)}, and 'y' of "
            f'shape (N,) (got {x.dtype} of shape {x.shape}, and {y.shape})',
        )
    return x, y


def _read_idx(path: Path) -> np.ndarray:
    """The format of MNIST: two zeros, the type, the number of sizes, the sizes."""
    import numpy as np

    content = path.read_bytes()
    if path.suffix == '.gz':
        with _reading(path):
            content = gzip.decompress(content)
    num_sizes = 3 if 'images' in path.name else 1
    head = 4 + 4 * num_sizes
    sizes = [int.from_bytes(content[i : i + 4], 'big') for i in range(4, head, 4)]
    is_idx = content[:4] == bytes([0, 0, 8, num_sizes])
    if not is_idx or len(content) != head + math.prod(sizes):
        raise BadFile(
            path,
            f"Expected '{path}' to be an IDX file of bytes in {num_sizes} dimensions "
            f'(got {len(content)} bytes that start with {content[:4].hex()})',
        )
    return np.frombuffer(content, dtype=np.uint8, offset=head).reshape(sizes)


def _read_archive(path: Path) -> list[tuple[Path, str, bytes]]:
    found = {}
    with _reading(path), tarfile.open(path) as archive:
        for member in archive:  # Of a compressed file, in order.
            file, name = archive.extractfile(member), Path(member.name).name
            if file is not None and name in _CIFAR_PARTS:
                found[name] = file.read()
        assert archive.fileobj is not None
        while archive.fileobj.read(_CHUNK):  # The checksum is at the very end.
            pass
    missing = [name for name in _CIFAR_PARTS if name not in found]
    if missing:
        raise BadFile(
            path,
            f"Expected '{path}' to hold {', '.join(_CIFAR_PARTS)} (got none of the name "
            f'{missing[0]})',
        )
    return [(path, f'{path}/{name}', found[name]) for name in _CIFAR_PARTS]


def _read_batch(path: Path, name: str, content: bytes) -> Arrays:
    """The binary version of CIFAR-10: a byte for the class, then the colors."""
    import numpy as np

    size = 1 + 3 * 32 * 32
    if len(content) == 0 or len(content) % size != 0:
        raise BadFile(
            path,
            f"Expected '{name}' to hold images of {size} bytes (got {len(content)} bytes)",
        )
    rows = np.frombuffer(content, dtype=np.uint8).reshape(-1, size)
    return rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1), rows[:, 0]


def _check_batches(batches: list[tuple[Path, str, bytes]], sizes: list[int]) -> None:
    """A file that ends between two images looks whole, but beside the others."""
    for (path, name, _), size in zip(batches, sizes, strict=True):
        if size != _CIFAR_IMAGES and _CIFAR_IMAGES in sizes:
            raise BadFile(
                path,
                f"Expected '{name}' to hold {_CIFAR_IMAGES:,} images, as the other "
                f'files do (got {size:,})',
            )


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    broken = (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile)
    try:
        yield
    except (*broken, tarfile.TarError, ValueError) as error:
        raise BadFile(
            path,
            f"Expected '{path}' to be a whole {path.suffix} file (got "
            f'{type(error).__name__}: {error})',
        ) from error


def _download(url: str, path: Path, md5: str) -> None:
    print(f'Downloading {url}', file=sys.stderr)
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as response:
            content = response.read()
    except http.client.HTTPException as error:
        raise OSError(f'{url}: {type(error).__name__}: {error}') from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise OSError(f'{url} has changed or broke off (MD5 {found}, not {md5})')
    path.write_bytes(content)


def _downloaded(
    name: str,
    description: str,
    *,
    num_images: int,
    image_size: tuple[int, int, int],
    loader: Callable[[Path], ImageDataset],
    raw_files: list[str],
    other_files: list[list[str]],
    subset_files: list[str],
) -> DatasetInfo:
    return DatasetInfo(
        name=name,
        description=description,
        num_nodes=0,
        num_edges=0,
        num_graphs=0,
        num_images=num_images,
        image_size=image_size,
        offline=False,
        public_split=True,
        loader=loader,
        raw_files=tuple(raw_files),
        other_files=(tuple(subset_files), *map(tuple, other_files)),
        subset_files=tuple(subset_files),
    )


_DIGITS = DatasetInfo(
    name='digits',
    description='handwritten digits',
    num_nodes=0,
    num_edges=0,
    num_graphs=0,
    num_images=1797,
    image_size=(1, 8, 8),
    offline=True,
    public_split=False,
    loader=_load_digits,
)
_MNIST = _downloaded(
    'mnist',
    'handwritten digits',
    num_images=70000,
    image_size=(1, 28, 28),
    loader=_load_mnist,
    raw_files=[f'MNIST/raw/{file}' for file in _MNIST_MD5],
    other_files=[
        [f'{folder}/{file.removesuffix(suffix)}' for file in _MNIST_MD5]
        for folder in ('MNIST/raw', 'mnist')
        for suffix in ('.gz', '')
    ],
    subset_files=['mnist/train_20000.npz', 'mnist/test.npz'],
)
_CIFAR = _downloaded(
    'cifar10',
    'photographs of animals and vehicles',
    num_images=60000,
    image_size=(3, 32, 32),
    loader=_load_cifar,
    raw_files=['cifar10/cifar-10-binary.tar.gz'],
    other_files=[
        [f'{folder}{_CIFAR_FOLDER}/{part}' for part in _CIFAR_PARTS]
        for folder in ('cifar10/', '')
    ],
    subset_files=['cifar10/train_1020.npz', 'cifar10/test.npz'],
)
ENTRIES = [_DIGITS, _MNIST, _CIFAR]
