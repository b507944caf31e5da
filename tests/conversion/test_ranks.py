"""Several processes find the network that one finds with the batches of all of them."""

import pytest
import torch

from spikegraph import convert
from spikegraph.conversion.ranks import Ranks, open_ranks
from spikegraph.running.distributed.peers import differences
from tests.conversion.processes import SCENARIOS, converted, data_of, start, state_of

TWO = ['gcn', 'max', 'percentile', 'none', 'cnn', 'custom', 'few', 'loader']
TWO += ['rounded', 'rounded-cnn']
THREE = ['gcn', 'bias', 'gat', 'layer', 'tall']
FAULTS = ['weights', 'module', 'option', 'empty', 'no-model', 'leader', 'forward']


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    names = [f'run:{name}' for name in TWO] + [f'fault:{name}' for name in FAULTS]
    return start([*names, 'fault:hangs'], 2, tmp_path_factory.mktemp('two'))


@pytest.fixture(scope='module')
def three(tmp_path_factory):
    names = [f'run:{name}' for name in THREE]
    names += ['group:gcn', 'fault:dies']
    return start(names, 3, tmp_path_factory.mktemp('three'))


def check(name, size, found):
    """All processes must have what one has with all batches: every bit, and the report."""
    data = [batch for part in data_of(name, size) for batch in part]
    state, codes, report = state_of(converted(name, data))
    for own_state, own_codes, own_report, num_bytes in found:
        assert state.keys() == own_state.keys() and len(state) > 2
        for key, value in state.items():
            assert value.dtype == own_state[key].dtype
            options = dict(rtol=0, atol=0, equal_nan=True)
            torch.testing.assert_close(own_state[key], value, **options)
        assert own_codes == codes
        assert repr(own_report) == repr(report)  # Not a number is one there.
        assert num_bytes > 0
    return report


@pytest.mark.parametrize('name', TWO)
def test_two_find_what_one_finds(two, name):
    report = check(name, 2, [found[f'run:{name}'] for found in two])
    assert report.compensated or name in ('none', 'cnn', 'rounded', 'rounded-cnn')


@pytest.mark.parametrize('name', THREE)
def test_three_find_what_one_finds(three, name):
    report = check(name, 3, [found[f'run:{name}'] for found in three])
    if name == 'tall':
        assert any(p.name.startswith('height') for p in report.populations)


def test_some_of_the_processes(three):
    assert three[0]['group:gcn'] is None
    check('gcn', 2, [found['group:gcn'] for found in three[1:]])


@pytest.mark.parametrize(
    'name, match',
    [
        ('weights', "same tensor 'convs.1.lin.weight' of the model (got process 0: "),
        ('module', "same tensor 'convs.1.mine' of the model (got process 0: None, "),
        ('option', "same 'num_steps' of ConversionConfig (got process 0: 16, process "),
    ],
)
def test_what_differs(two, name, match):
    for kind, message, seconds in (found[f'fault:{name}'] for found in two):
        assert kind == 'PeerError' and match in message and seconds < 3


def test_no_batches_at_all(two):
    for kind, message, seconds in (found['fault:empty'] for found in two):
        assert kind == 'ValueError' and '(got none in all 2)' in message and seconds < 3


@pytest.mark.parametrize(
    'name, rank, match',
    [
        ('no-model', 1, 'torch.nn.Module (got str)'),
        ('leader', 0, "data to activate 'input_x' (got a largest"),
        ('forward', 1, 'index'),
    ],
)
def test_one_that_fails_tells_the_others(two, name, rank, match):
    kind, message, seconds = two[rank][f'fault:{name}']
    assert kind != 'PeerError' and match in message and seconds < 3
    kind, told, seconds = two[1 - rank][f'fault:{name}']
    assert kind == 'PeerError' and seconds < 3
    assert f'Process {rank} failed' in told and message.splitlines()[0] in told


def test_one_that_hangs(two):
    kind, message, seconds = two[0]['fault:hangs']
    assert kind == 'PeerError' and 'lost another one' in message and 3 < seconds < 7
    assert two[1]['fault:hangs'][0] == 'PeerError'


def test_one_that_dies(three):
    assert 'fault:dies' not in three[1]
    for kind, message, seconds in (three[rank]['fault:dies'] for rank in (0, 2)):
        assert kind == 'PeerError' and 'lost another one' in message and seconds < 6


def test_rows_and_sums_are_sent_not_batches(two):
    """The leader sends its first batch and what it decides on, the other one rows and
    sums; both are bounded by what the network and the sample hold.
    """
    sent = [found['run:gcn'][3] for found in two]
    counts = SCENARIOS['gcn'][2][:2]
    features = sum(5 * 4 * (30 + 7 * k) for k in range(sum(counts)))
    assert sent[1] < 30_000 + 20 * features and sent[0] < 100_000


def test_groups():
    assert type(open_ranks(None, 1.0)) is Ranks
    with pytest.raises(ValueError, match=r"None, 'all' or a group .* \(got 'some'\)"):
        open_ranks('some', 1.0)
    x = torch.rand(6, 4)
    with pytest.raises(ValueError, match=r"'torch.distributed' to be initialised"):
        convert(torch.nn.Sequential(torch.nn.Linear(4, 2)), x, group='all')


def test_differences_are_found_whoever_has_more():
    assert differences([{'a': 1}, {'a': 1}]) is None
    for found in ([{'a': 1}, {'a': 1, 'b': 2}], [{'b': 2, 'a': 1}, {'a': 1}]):
        assert 'same b (got process' in differences(found)
