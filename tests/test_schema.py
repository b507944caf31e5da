from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from spikegraph.schema import from_json, to_json


@dataclass(frozen=True)
class Part:
    name: str
    sizes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Whole:
    number: int
    ratio: float | Literal['auto'] = 'auto'
    flag: bool = False
    rule: Literal['max', 'mse'] | tuple[Literal['percentile'], float] = 'max'
    parts: list[Part] = field(default_factory=list)
    pair: tuple[float, float] = (0.0, 1.0)
    keys: tuple[str, ...] | None = None
    entries: dict[str, dict[Any, str | None]] = field(default_factory=dict)
    rest: dict[str, Any] = field(default_factory=dict)


WHOLE = Whole(
    3,
    0.5,
    True,
    ('percentile', 99.5),
    [Part('a', (1, 2)), Part('b')],
    (1, 2.5),
    ('x', 'y'),
    {'x_dict': {'a': 'x', ('a', 'to', 'b'): None, 3: 'y'}},
    {'size': (2, (3, None)), 'list': [1, (2,)], 'inner': {'a': 1}},
)


@pytest.mark.parametrize('value', [WHOLE, Whole(0)], ids=['all', 'defaults'])
def test_round_trip(value):
    text = json.dumps(to_json(value))
    found = from_json(Whole, json.loads(text), 'whole')
    assert found == value
    assert type(found.pair[0]) is float and type(found.parts) is list


def test_missing_entries():
    assert from_json(Whole, {'number': 1}, 'whole') == Whole(1)
    with pytest.raises(
        ValueError, match=r"'whole' to have an entry 'number' \(got none"
    ):
        from_json(Whole, {}, 'whole')


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(number=1.0), "'w.number' to be an integer (got 1.0)"),
        (dict(number=True), "'w.number' to be an integer (got True)"),
        (dict(number='1'), "'w.number' to be an integer (got 1)"),
        (dict(flag=1), "'w.flag' to be true or false (got 1)"),
        (dict(ratio=None), "'w.ratio' to be a number or 'auto' (got None)"),
        (dict(ratio=float('inf')), "'w.ratio' to be a number or 'auto' (got inf)"),
        (dict(pair=[1, 10**400]), "'w.pair[1]' to be a number (got "),
        (dict(pair=[1, 2, 3]), "'w.pair' to be a list of 2 (got [1, 2, 3])"),
        (dict(pair='ab'), "'w.pair' to be a list (got ab)"),
        (dict(rule='min'), "'w.rule' to be 'max' or 'mse' or a list (got min)"),
        (dict(rule=['percentile', 'x']), "'w.rule[1]' to be a number (got x)"),
        (dict(parts=[{'name': 'a'}, {}]), "'w.parts[1]' to have an entry 'name'"),
        (dict(parts={}), "'w.parts' to be a list (got {})"),
        (dict(keys=['x', 3]), "'w.keys[1]' to be a text (got 3)"),
        (dict(entries={'x': {}}), "'w.entries.x' to be a list of pairs (got {})"),
        (dict(entries={'x': [[{}, 'x']]}), 'pairs that start with a text or a list'),
        (dict(entries={'x': [['a', 3]]}), "'w.entries.x.a' to be a text or null"),
        (dict(rest=[]), "'w.rest' to be an object (got [])"),
        (dict(more=1), "'w' to have no entry 'more' (got one)"),
        (dict(number='x' * 1000), f'(got {57 * "x"}...)'),
    ],
)
def test_errors(change, message):
    values = {**json.loads(json.dumps(to_json(WHOLE))), **change}
    with pytest.raises(ValueError, match=re.escape(message)):
        from_json(Whole, values, 'w')


@pytest.mark.parametrize('value', [None, 3, 'x', []])
def test_no_object(value):
    with pytest.raises(ValueError, match="'w' to be an object"):
        from_json(Whole, value, 'w')
