"""Files, of networks above all, changed as by accident or by an attacker."""

from __future__ import annotations

import json
import random
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from spikegraph.storage import _checksum

STRANGE = (
    *(None, True, False, 0, -1, 1, 3, 126, 10**30, -0.5, 1e308, float('nan'), ''),
    *(float('inf'), 'x', 'forward', '__class__', 'a' * 10_000, [], [[]], {}, '\ud800'),
    *([1, 'x'], {'a': {'b': []}}, {'__tuple__': [1]}, {'tuple': [{'node': 0}]}),
    *({'node': -1}, {'node': 10**9}, {'same': 0}, {'size': [10**9, 10**9]}),
    *({'function': 'os.system'}, {'tensor': 'nothing', 'is': 'parameter'}, 10**400),
)


def read(content: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The description and the tensors of a file."""
    size = int.from_bytes(content[:8], 'little')
    metadata = json.loads(content[8 : 8 + size])['__metadata__']
    return json.loads(metadata['spikegraph']), load(content)


def written(
    content: bytes, header: Any, tensors: dict[str, Tensor], *, checksum: bool = True
) -> bytes:
    """A file with another description and other tensors, and a checksum that fits, or
    that of the file before.
    """
    size = int.from_bytes(content[:8], 'little')
    metadata = json.loads(content[8 : 8 + size])['__metadata__']
    metadata['spikegraph'] = json.dumps(header)
    tensors = {name: value.contiguous().clone() for name, value in tensors.items()}
    if checksum:
        metadata['sha256'] = _checksum(metadata['spikegraph'], tensors)
    return save(tensors, metadata=metadata)


def flipped(content: bytes, dice: random.Random) -> bytes:
    """A few bits are flipped, often near the beginning."""
    changed = bytearray(content)
    for _ in range(dice.choice([1, 2, 10])):
        end = dice.choice([8, 64, len(content)])
        place = dice.randrange(min(end, len(content)))
        changed[place] ^= 1 << dice.randrange(8)
    return bytes(changed)


def cut(content: bytes, dice: random.Random) -> bytes:
    """The end is missing, or there is more."""
    if dice.random() < 0.7:
        return content[: dice.randrange(len(content))]
    return content + dice.randbytes(dice.randrange(1, 99))


def edited(header: Any, dice: random.Random) -> Any:
    """One value is replaced, removed, renamed, wrapped, nested, or is another one."""
    header = json.loads(json.dumps(header))
    where = dice.choice([place for place in _places(header) if place])
    inside, key, kind = _at(header, where[:-1]), where[-1], dice.randrange(7)
    old = inside[key]
    if kind == 0:
        inside[key] = dice.choice(STRANGE)
    elif kind == 1:
        del inside[key]
    elif kind == 2 and isinstance(inside, dict):
        inside[f'{key}_'] = inside.pop(key)
    elif kind == 3:
        other = _at(header, dice.choice([p for p in _places(header) if p]))
        inside[key] = json.loads(json.dumps(other))
    elif kind == 4 and isinstance(old, (int, float)):
        inside[key] = dice.choice([old + 1, old - 1, -old, old * 1000, old + 0.5])
    else:
        for _ in range(dice.choice([1, 1, 30, 200])):
            old = [old] if dice.random() < 0.5 else {'tuple': [old]}
        inside[key] = old
    return header


def reshaped(tensors: dict[str, Tensor], dice: random.Random) -> dict[str, Tensor]:
    """One tensor is missing, renamed, swapped, or has another shape, type or content."""
    names = sorted(tensors)
    name, other, kind = dice.choice(names), dice.choice(names), dice.randrange(8)
    found, value = dict(tensors), tensors[name]
    real = value.is_floating_point()
    if kind < 2:
        del found[name]
        found |= {f'{name}_': value} if kind else {}
    elif kind == 2:
        found[name] = value.reshape(-1)
    elif kind == 3:
        found[name] = value[:0] if value.dim() else value[None]
    elif kind == 4:
        types = [torch.int64, torch.uint8, torch.float16, torch.bool, torch.complex64]
        found[name] = value.to(dice.choice(types))
    elif kind == 5:
        found[name] = torch.cat([value, value]) if value.dim() else value.expand(3)
    elif kind == 6:
        numbers = [-1.0, 0.0, 3e38, float('nan')] if real else [-1, 10**6]
        found[name] = torch.full_like(value, dice.choice(numbers))
    else:
        found[name], found[other] = tensors[other], value
    return found


def mutated(content: bytes, dice: random.Random) -> bytes:
    """A file that was changed somehow; half of those whose description or tensors were
    changed have a checksum that fits.
    """
    kind, checksum = dice.randrange(5), dice.random() < 0.7
    if kind == 0:
        return flipped(content, dice)
    if kind == 1:
        return cut(content, dice)
    header, tensors = read(content)
    if kind == 2 and tensors:
        tensors = reshaped(tensors, dice)
    else:
        header = edited(header, dice)
    return written(content, header, tensors, checksum=checksum)


def _places(value: Any, where: tuple[Any, ...] = ()) -> Any:
    yield where
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _places(item, (*where, key))


def _at(value: Any, where: tuple[Any, ...]) -> Any:
    for key in where:
        value = value[key]
    return value
