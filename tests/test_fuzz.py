"""Drawn inputs, a few of each kind, the same in every run; see ``benchmarks/fuzz.py``."""

import pytest

from tests.fuzzing import TARGETS, run

NUMBERS = {
    'files_of_networks': 60,
    'files_of_data': 60,
    'command_lines': 80,
    'spike_times': 60,
}


@pytest.mark.filterwarnings('ignore')  # Of what damaged files hold.
@pytest.mark.parametrize('target', TARGETS, ids=lambda target: target.__name__)
def test_drawn_inputs(target):
    found = run(target, NUMBERS[target.__name__])
    assert sum(found.values()) >= NUMBERS[target.__name__] // 2 and len(found) > 1
