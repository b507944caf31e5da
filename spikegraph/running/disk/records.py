"""What is known of a finished array: its shape, its checksums, and what came with it."""

from __future__ import annotations

import base64
import json
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

CHUNK_BYTES = 1 << 22
DTYPES = {
    str(dtype).removeprefix('torch.'): dtype
    for dtype in (
        torch.bool,
        torch.uint8,
        torch.int8,
        torch.int16,
        torch.int32,
        torch.int64,
        torch.float16,
        torch.bfloat16,
        torch.float32,
        torch.float64,
    )
}
_FORMAT = 'spikegraph array'
_VERSION = 1
_MOST_BYTES = 1 << 20  # Of a tensor in a record.
_TENSOR, _TUPLE = '__tensor__', '__tuple__'


@dataclass(frozen=True)
class Layout:
    """How an array lies in its file: row by row, in chunks of whole rows that have a
    checksum each.

    Args:
        shape (Tuple[int, ...]): Its shape. One without dimensions is one row.
        dtype (torch.dtype): What it holds.
        chunk_rows (int, optional): The number of rows in a chunk; by default as many
            as fit into 4 MiB, and at least one. (default: :obj:`0`)
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    chunk_rows: int = 0

    def __post_init__(self) -> None:
        if self.chunk_rows == 0:
            fitting = CHUNK_BYTES // max(self.row_bytes, 1)
            object.__setattr__(self, 'chunk_rows', max(fitting, 1))

    @property
    def num_rows(self) -> int:
        return self.shape[0] if self.shape else 1

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    @property
    def num_bytes(self) -> int:
        return self.num_rows * self.row_bytes

    @property
    def num_chunks(self) -> int:
        return -(-self.num_rows // self.chunk_rows) if self.row_bytes else 0

    def rows_of(self, chunk: int) -> tuple[int, int]:
        """The first row of a chunk, and the one behind its last."""
        start = chunk * self.chunk_rows
        return start, min(start + self.chunk_rows, self.num_rows)


@dataclass(frozen=True)
class Record:
    """A finished array, apart from its values.

    Args:
        layout (Layout): How its values lie in their file.
        checksums (Tuple[int, ...]): The CRC-32 of each chunk.
        extra (Dict[str, Any], optional): What came with it. (default: :obj:`{}`)
    """

    layout: Layout
    checksums: tuple[int, ...]
    extra: dict[str, Any] = field(default_factory=dict)

    def to_bytes(self, name: str, identity: str) -> bytes:
        """JSON, and a line with its checksum.

        Args:
            name (str): The name of the array.
            identity (str): A digest of what its values depend on.

        Raises:
            ValueError: If JSON cannot hold what came with it.
        """
        body = json.dumps(
            {
                'format': _FORMAT,
                'version': _VERSION,
                'name': name,
                'identity': identity,
                'shape': self.layout.shape,
                'dtype': str(self.layout.dtype).removeprefix('torch.'),
                'chunk_rows': self.layout.chunk_rows,
                'checksums': [f'{checksum:08x}' for checksum in self.checksums],
                'extra': pack(self.extra),
            }
        ).encode()
        return body + b'\n%08x\n' % zlib.crc32(body)

    @classmethod
    def from_bytes(cls, content: bytes, name: str, identity: str) -> Record:
        """Reads what :meth:`to_bytes` wrote.

        Raises:
            ValueError: If it is damaged, or that of something else; the message says
                which.
        """
        body, _, checksum = content.removesuffix(b'\n').rpartition(b'\n')
        if not content.endswith(b'\n') or checksum != b'%08x' % zlib.crc32(body):
            raise ValueError('its record is torn or changed')
        found = json.loads(body)
        if (found['format'], found['version']) != (_FORMAT, _VERSION):
            raise ValueError(f'its record has another version ({found["version"]})')
        if found['name'] != name:
            raise ValueError(f"its record is that of '{found['name']}'")
        if found['identity'] != identity:
            raise ValueError('its record is that of another identity')
        shape, dtype = tuple(found['shape']), DTYPES[found['dtype']]
        checksums = tuple(int(text, 16) for text in found['checksums'])
        layout = Layout(shape, dtype, found['chunk_rows'])
        return cls(layout, checksums, unpack(found['extra']))


def damaged_chunks(handle: int, record: Record) -> Iterator[int]:
    """Reads a file, a chunk at a time and never more than 4 MiB at once.

    Args:
        handle (int): The open file.
        record (Record): What it should hold.

    Returns:
        Iterator[int]: The chunks that have another checksum, are missing, or cannot
            be read.
    """
    layout = record.layout
    buffer = memoryview(bytearray(min(CHUNK_BYTES, layout.num_bytes)))
    for chunk, expected in enumerate(record.checksums):
        start, stop = (row * layout.row_bytes for row in layout.rows_of(chunk))
        found = 0
        while start < stop:
            piece = buffer[: min(len(buffer), stop - start)]
            try:
                count = os.preadv(handle, [piece], start)
            except OSError:  # The disk is broken there.
                count = 0
            if count == 0:
                break
            found = zlib.crc32(piece[:count], found)
            start += count
        if start < stop or found != expected:
            yield chunk


def pack(value: Any, where: str = 'extra') -> Any:
    """Turns tensors, tuples, lists, dictionaries, numbers and texts into what JSON
    holds: a tensor becomes its shape, its type and its bytes as base64.

    Args:
        value (Any): The value.
        where (str, optional): What it is called in messages.
            (default: :obj:`'extra'`)

    Raises:
        ValueError: If it is of another type, or a tensor of more than 1 MiB.
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, Tensor):
        return {_TENSOR: _pack_tensor(value, where)}
    if type(value) in (list, tuple):
        items = [pack(item, f'{where}[{i}]') for i, item in enumerate(value)]
        return items if isinstance(value, list) else {_TUPLE: items}
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str) or key in (_TENSOR, _TUPLE):
                raise ValueError(
                    f"Expected the keys of '{where}' to be texts other than '{_TENSOR}' "
                    f"and '{_TUPLE}' (got {key!r}); name it otherwise"
                )
        return {key: pack(item, f'{where}.{key}') for key, item in value.items()}
    raise ValueError(
        f"Expected '{where}' to be a number, a text, a tensor, or a list, tuple or "
        f'dictionary of them (got {type(value).__name__}); turn it into one'
    )


def unpack(value: Any) -> Any:
    """Turns what :func:`pack` made back into what it was."""
    if isinstance(value, list):
        return [unpack(item) for item in value]
    if not isinstance(value, dict):
        return value
    if _TUPLE in value:
        return tuple(unpack(item) for item in value[_TUPLE])
    if _TENSOR in value:
        dtype, shape, text = value[_TENSOR]
        content = bytearray(base64.b64decode(text))
        flat = torch.frombuffer(content, dtype=torch.uint8) if content else None
        if flat is None:
            return torch.zeros(shape, dtype=DTYPES[dtype])
        return flat.view(DTYPES[dtype]).reshape(shape)
    return {key: unpack(item) for key, item in value.items()}


def bytes_of(value: Tensor) -> memoryview:
    """The bytes of a tensor, copied only if it is not in order in memory."""
    flat = value.detach().cpu().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data


def _pack_tensor(value: Tensor, where: str) -> list[Any]:
    name = str(value.dtype).removeprefix('torch.')
    if name not in DTYPES or value.layout != torch.strided:
        raise ValueError(
            f"Expected '{where}' to be a dense tensor of {', '.join(DTYPES)} (got "
            f'{value.layout}, {value.dtype}); turn it into one'
        )
    if value.nbytes > _MOST_BYTES:
        raise ValueError(
            f"Expected '{where}' to have at most {_MOST_BYTES} bytes (got "
            f'{value.nbytes}); store it as an array of its own'
        )
    return [name, list(value.shape), base64.b64encode(bytes_of(value)).decode()]
