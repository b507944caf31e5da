"""All that cannot be traced is worded in one place, with a remedy."""

import re
from pathlib import Path

import pytest

import spikegraph
from spikegraph.calls.errors import ValueKept
from spikegraph.conversion.tracing.refusals import REFUSALS, refusal

FOLDER = Path(spikegraph.__file__).parent


def test_one_place():
    found = [p for p in FOLDER.rglob('*.py') if 'Cannot trace' in p.read_text()]
    assert [path.name for path in found] == ['refusals.py']


@pytest.mark.parametrize('reason', REFUSALS)
def test_remedies(reason):
    """Each is given where it arises, and says what to do in a sentence of its own."""
    sources = ''.join(p.read_text() for p in FOLDER.rglob('tracing/*.py'))
    assert f"refusal('{reason}'" in sources
    values = {'name': 'data_ptr', 'where': 'model.py, line 3', 'error': 'KeyError: x'}
    error = refusal(reason, 'Net.forward', ValueKept, **values)
    assert isinstance(error, ValueKept) and error.kind is NotImplementedError
    why, remedy = str(error).split('. ')
    assert why.startswith('Cannot trace Net.forward: ')
    assert re.match('(Ask|Use|Compute|Write|Rewrite|Pass) ', remedy)
