"""What is promised: public names and their signatures.

    python -m tests.api

writes ``tests/public_api.txt``, which a test compares with the package. A line that goes
or changes breaks programs of users: see *Versions and deprecations* in CONTRIBUTING.md
before, and say so in CHANGELOG.md.
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / 'public_api.txt'
HEAD = '# Written by `python -m tests.api`, which says why to think twice.'
# All that these list in '__all__'.
PACKAGES = [
    'spikegraph',
    'spikegraph.coding',
    'spikegraph.conversion',
    'spikegraph.export',
    'spikegraph.kernels',
    'spikegraph.measurement',
    'spikegraph.network',
    'spikegraph.network.ops',
    'spikegraph.nn',
    'spikegraph.nn.conv',
    'spikegraph.partitioning',
    'spikegraph.plotting',
    'spikegraph.running',
    'spikegraph.running.distributed',
    'spikegraph.zoo.datasets',
    'spikegraph.zoo.experiment',
    'spikegraph.zoo.models',
]
# What pages of the documentation name besides.
OTHERS = {
    'spikegraph': ['__version__'],
    'spikegraph.export.neurobench': ['GraphLoader', 'SpikeGraphModel'],
    'spikegraph.network.interpreter': ['AnalogReading', 'Interpreter'],
    'spikegraph.network.roles': ['Role'],
    'spikegraph.nn.shift': ['NeighborShift'],
    'spikegraph.testing': ['assert_spiking'],
}
# Shown of a class, where they are its own.
OURS = ('extra_repr', 'state_dict')  # For PyTorch.
SPECIAL = ('__call__', '__getitem__', '__iter__', '__len__')


def lines() -> list[str]:
    """The public names, one a line, with what they take or hold."""
    found, first = [], {}
    for package in [*PACKAGES, *(other for other in OTHERS if other not in PACKAGES)]:
        module = import_module(package)
        names = {*getattr(module, '__all__', ()), *OTHERS.get(package, ())}
        for name in sorted(names):
            value = getattr(module, name)
            if callable(value) and first.setdefault(value, package) != package:
                found.append(f'{package}.{name}: that of {first[value]}')
            else:
                found += _of(f'{package}.{name}', value)
    return [HEAD, *sorted(found)]


def _of(name: str, value: Any) -> Iterator[str]:
    if not callable(value):
        is_plain = isinstance(value, (bool, int, float, str)) and 'version' not in name
        yield f'{name}: {type(value).__name__}{f" = {value!r}" if is_plain else ""}'
    elif not isinstance(value, type):
        yield f'{name}{_signature(value)}'
    elif issubclass(value, enum.Enum):
        yield f'{name}: {", ".join(member.name for member in value)}'
    else:
        own = {c for c in value.__mro__ if c.__module__.startswith('spikegraph')}
        plain = isinstance(value.__init__, type(object.__init__))
        yield f'{name}{"" if plain else _signature(value.__init__)}'
        for member in sorted({key for each in own for key in vars(each)}):
            if member.startswith('_') and member not in SPECIAL or member in OURS:
                continue
            held = inspect.getattr_static(value, member)
            if isinstance(held, (classmethod, staticmethod)):
                kind = type(held).__name__.removesuffix('method')
                yield f'{name}.{member}{_signature(held.__func__)} [{kind}]'
            elif inspect.isfunction(held):
                yield f'{name}.{member}{_signature(held)}'
            elif hasattr(held, '__get__'):
                yield f'{name}.{member} [property]'


def _signature(function: Any) -> str:
    """As it is written, without what differs between versions of Python."""
    kinds, parts = inspect.Parameter, []
    parameters = list(inspect.signature(function).parameters.values())
    if parameters and parameters[0].name in ('self', 'cls'):
        del parameters[0]
    parameters = [each for each in parameters if not each.name.startswith('_')]
    starred = False
    for parameter in parameters:
        if parameter.kind is kinds.KEYWORD_ONLY and not starred:
            parts.append('*')
        starred |= parameter.kind in (kinds.KEYWORD_ONLY, kinds.VAR_POSITIONAL)
        star = {kinds.VAR_POSITIONAL: '*', kinds.VAR_KEYWORD: '**'}
        text = f'{star.get(parameter.kind, "")}{parameter.name}'
        if parameter.annotation is not kinds.empty:
            text += f': {_type(parameter.annotation)}'
        if parameter.default is not kinds.empty:
            text += f' = {_default(parameter.default)}'
        parts.append(text)
        if parameter.kind is kinds.POSITIONAL_ONLY:
            parts.append('/')
    last = max((k for k, part in enumerate(parts) if part == '/'), default=None)
    parts = [part for k, part in enumerate(parts) if part != '/' or k == last]
    result = inspect.signature(function).return_annotation
    returned = '' if result is inspect.Signature.empty else f' -> {_type(result)}'
    return f'({", ".join(parts)}){returned}'


def _type(annotation: Any) -> str:
    if isinstance(annotation, str):
        return annotation
    return getattr(annotation, '__name__', repr(annotation))


def _default(value: Any) -> str:
    if isinstance(value, (str, bool, int, float, tuple, type(None))):
        return repr(value)
    if repr(value) == '<factory>':
        return '...'
    return getattr(value, '__qualname__', type(value).__name__)


if __name__ == '__main__':
    FILE.write_text('\n'.join(lines()) + '\n')
