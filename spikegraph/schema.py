"""Dataclasses as JSON and back, checked against the types that they declare."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union

T = TypeVar('T')
_TUPLE = '__tuple__'  # JSON has none.


def to_json(value: Any) -> Any:
    """Turns dataclasses, tuples and dictionaries into what JSON holds. Dictionaries
    whose keys may be no texts become lists of pairs when their type says so.

    Args:
        value (Any): A dataclass.

    Returns:
        Any: Its JSON types.
    """
    return _encode(value, type(value))


def from_json(cls: type[T], value: Any, name: str) -> T:
    """Builds a dataclass of JSON types.

    Args:
        cls (type): The dataclass.
        value (Any): What :func:`to_json` made of one. Fields that have a default
            may be missing.
        name (str): What the value is called in messages.

    Returns:
        T: The dataclass.

    Raises:
        ValueError: If a value is not of the type that its field declares; the
            message tells where it is, what was expected and what was found.
    """
    return _decode(value, cls, name)


def _encode(value: Any, hint: Any) -> Any:
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        hints = typing.get_type_hints(hint)
        return {
            field.name: _encode(getattr(value, field.name), hints[field.name])
            for field in dataclasses.fields(hint)
        }
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        hint = next((arg for arg in args if _is_kind(value, arg)), Any)
        return _encode(value, hint)
    if origin in (tuple, list):
        inner = _inner(args, len(value))
        return [_encode(v, h) for v, h in zip(value, inner, strict=True)]
    if origin is dict:
        if args[0] is str:
            return {key: _encode(item, args[1]) for key, item in value.items()}
        return [[key, _encode(item, args[1])] for key, item in value.items()]
    if hint is Any:
        return _encode_any(value)
    return hint(value) if hint in (bool, int, float, str) else value


def _encode_any(value: Any) -> Any:
    if isinstance(value, tuple):
        return {_TUPLE: [_encode_any(item) for item in value]}
    if isinstance(value, list):
        return [_encode_any(item) for item in value]
    if isinstance(value, dict):
        return {key: _encode_any(item) for key, item in value.items()}
    return value


def _decode_any(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode_any(item) for item in value]
    if isinstance(value, dict):
        items = {key: _decode_any(item) for key, item in value.items()}
        if items.keys() == {_TUPLE} and isinstance(items[_TUPLE], list):
            return tuple(items[_TUPLE])
        return items
    return value


def _is_kind(value: Any, hint: Any) -> bool:
    if hint is type(None):
        return value is None
    if typing.get_origin(hint) is Literal:
        return value in typing.get_args(hint)
    return isinstance(value, typing.get_origin(hint) or hint)


def _decode(value: Any, hint: Any, name: str) -> Any:
    if hint is Any:
        return _decode_any(value)
    if dataclasses.is_dataclass(hint):
        return _decode_dataclass(value, hint, name)
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        if not any(type(value) is type(arg) and value == arg for arg in args):
            _fail(name, f'one of {", ".join(map(repr, args))}', value)
        return value
    if origin in (Union, types.UnionType):
        return _decode_union(value, args, name)
    if origin in (tuple, list):
        return _decode_sequence(value, origin, args, name)
    if origin is dict or origin is Mapping:
        return _decode_dict(value, args, name)
    return _decode_plain(value, hint, name)


def _decode_plain(value: Any, hint: Any, name: str) -> Any:
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            _fail(name, 'a number', value)
    if hint is type(None):
        if value is not None:
            _fail(name, 'null', value)
    elif type(value) is not hint:
        _fail(name, _NAMES.get(hint, str(hint)), value)
    if hint is float and math.isinf(value):
        _fail(name, 'a finite number', value)
    return value


def _decode_dataclass(value: Any, cls: Any, name: str) -> Any:
    if not isinstance(value, dict):
        _fail(name, 'an object', value)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    for key in value:
        if key not in fields:
            raise ValueError(
                f"Expected '{name}' to have no entry '{_short(key)}' (got one)"
            )
    hints, found = typing.get_type_hints(cls), {}
    for key, field in fields.items():
        if key in value:
            found[key] = _decode(value[key], hints[key], f'{name}.{key}')
        elif field.default is field.default_factory is dataclasses.MISSING:
            raise ValueError(f"Expected '{name}' to have an entry '{key}' (got none)")
    return cls(**found)


def _decode_union(value: Any, args: tuple[Any, ...], name: str) -> Any:
    errors = []
    for arg in args:
        try:
            return _decode(value, arg, name)
        except ValueError as error:
            errors.append(str(error))
    # That of the type which fits best: which was looked into, rather than refused.
    inside = [error for error in errors if not error.startswith(f"Expected '{name}' ")]
    if inside:
        raise ValueError(inside[0])
    _fail(name, ' or '.join(map(_name_of, args)), value)


def _decode_sequence(value: Any, cls: Any, args: tuple[Any, ...], name: str) -> Any:
    if not isinstance(value, list):
        _fail(name, 'a list', value)
    hints = _inner(args, len(value))
    if len(hints) != len(value):
        _fail(name, f'a list of {len(hints)}', value)
    pairs = zip(value, hints, strict=True)
    return cls(_decode(v, h, f'{name}[{i}]') for i, (v, h) in enumerate(pairs))


def _decode_dict(value: Any, args: tuple[Any, ...], name: str) -> Any:
    if args[0] is str:
        if not isinstance(value, dict):
            _fail(name, 'an object', value)
        items = list(value.items())
    else:
        is_pairs = isinstance(value, list) and all(
            isinstance(pair, list) and len(pair) == 2 for pair in value
        )
        if not is_pairs:
            _fail(name, 'a list of pairs', value)
        # JSON has no tuples.
        items = [(tuple(k) if isinstance(k, list) else k, item) for k, item in value]
    found = {}
    for key, item in items:
        try:
            found[key] = _decode(item, args[1], f'{name}.{_short(key)}')
        except TypeError:  # No key of a dictionary.
            _fail(name, 'pairs that start with a text or a list of texts', key)
    return found


def _inner(args: tuple[Any, ...], length: int) -> list[Any]:
    if len(args) == 1:
        return length * [args[0]]
    if len(args) == 2 and args[1] is Ellipsis:
        return length * [args[0]]
    return list(args)


_NAMES = {
    int: 'an integer',
    float: 'a number',
    str: 'a text',
    bool: 'true or false',
    type(None): 'null',
}


def _name_of(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return ' or '.join(map(repr, typing.get_args(hint)))
    return 'an object' if dataclasses.is_dataclass(hint) else _NAMES.get(hint, 'a list')


def _short(value: Any) -> str:
    try:
        text = value if isinstance(value, str) else repr(value)
    except (ValueError, RecursionError):  # An integer of more than 4,300 digits.
        text = type(value).__name__
    return text if len(text) <= 60 else f'{text[:57]}...'


def _fail(name: str, expected: str, value: Any) -> typing.NoReturn:
    raise ValueError(f"Expected '{name}' to be {expected} (got {_short(value)})")
