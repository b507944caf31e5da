"""Files are edited by attackers who make the checksum fit."""

import json

import pytest
import torch
from torch import nn
from torch_geometric.nn.models import GCN

from spikegraph import ConversionConfig, convert, load, save
from spikegraph.storage import to_bytes
from tests.conversion.zoo import make
from tests.meetings import network
from tests.mutations import read, written


@pytest.fixture
def saved(graph):
    return to_bytes(convert(make('JK cat'), graph, ConversionConfig(num_steps=4)))


def state_of(header):
    return dict(header['network']['network']['dict'])


def records_of(header):
    return [record['state'] for record in state_of(header)['records']]


def node(header, op):
    return next(record for record in records_of(header) if record['op'] == op)


def module(header, name):
    found = dict(pair for pair in state_of(header)['_modules']['dict'])[name]
    return found['state']


def neuron(header):
    return module(header, 'neurons')['_modules'][0][1]['state']


def reaches_globals(header):
    record = node(header, 'call_module')
    path = f'{record["target"]}.forward.__func__.__globals__'
    record.update(op='get_attr', target=path)
    record['role']['name'] = 'CONSTANT'


def calls_what_it_is_given(header):
    record = node(header, 'call_function')
    record['target'] = {'function': 'builtins.sorted'}
    record['kwargs'] = {'dict': [['key', {'function': 'torch.relu'}]]}


def sets_a_hook(header):
    hook = {'dict': [[0, {'function': 'torch.relu'}]]}
    neuron(header)['_forward_hooks'] = hook


def hides_forward(header):
    neuron(header)['forward'] = {'function': 'torch.relu'}


def replaces_the_call(header):
    neuron(header)['_compiled_call_impl'] = {'function': 'torch.relu'}


def keeps_what_is_made_anew(header):
    neuron(header)['_cached'] = {'tuple': [1, [], 2]}


def asks_private_attributes(header):
    path = [['attr', '__init__'], ['attr', '__globals__'], ['item', 'os']]
    path = [*path, ['attr', 'abort']]
    question = dict(argument='x', path=path, kind='call', answer=None)
    header['spec']['asked'] = [question]


def asks_a_method_of_its_own(header):
    question = dict(argument='x', path=[['attr', 'numpy']], kind='call', answer=None)
    header['spec']['asked'] = [question]


def changes_a_function(header):
    shell = {'function': 'torch.nn.functional.dropout'}
    parts = {'dict': [['__defaults__', {'object': FORM, 'state': {'kind': 'value'}}]]}
    form = {'kind': 'object', 'shell': shell, 'parts': parts}
    set_form(header, form)


def changes_a_constant(header):
    parts = {'dict': [['__class__', {'object': FORM, 'state': {'kind': 'value'}}]]}
    shell = {'made': 'torch_geometric.data.data.Data', 'of': []}
    set_form(header, {'kind': 'object', 'shell': shell, 'parts': parts})


FORM = 'spikegraph.calls.outputs.Form'


def set_form(header, state):
    pairs = header['network']['network']['dict']
    pair = next(pair for pair in pairs if pair[0] == 'form')
    pair[1] = {'object': FORM, 'state': state}


def replaces_internals(header):
    state_of(header)['constants']['dict'].append(['_forward_pre_hooks', {'dict': []}])


def replaces_nodes(header):
    state_of(header)['constants']['dict'].append(['nodes', []])


def names_a_type_as_a_call(header):
    node(header, 'call_function')['target'] = {'type': 'torch.nn.modules.linear.Linear'}


def holds_itself(header):
    module(header, 'neurons')['_modules'][0][1] = {'same': 0}


def counts_from_the_end(header):
    module(header, 'neurons')['_modules'][0][1] = {'same': -1}


def reads_what_comes_later(header):
    node(header, 'call_module')['args'] = {'tuple': [{'node': 10**6}]}


def reads_from_the_end(header):
    node(header, 'call_module')['args'] = {'tuple': [{'node': -1}]}


def has_another_role(header):
    node(header, 'call_function')['role']['name'] = 'POPULATION'


def has_two_outputs(header):
    records = state_of(header)['records']
    record = json.loads(json.dumps(records[-1]))
    record['state']['name'] = 'again'
    records.append(record)


def has_two_of_a_name(header):
    records_of(header)[1]['name'] = records_of(header)[0]['name']


def has_a_table_too_short(header):
    code = neuron(header)['code']['state']
    code['_levels']['tuple'].pop()


def lacks_arguments(header):
    node(header, 'call_module')['args'] = {'tuple': []}


def calls_what_is_unsafe(header):
    record = node(header, 'call_function')
    record.update(op='call_method', target='apply_')


ATTACKS = [
    (reaches_globals, 'expected a module|in the network'),
    (calls_what_it_is_given, 'expected arguments of'),
    (sets_a_hook, "an attribute of a PhaseNeuron .got '_forward_hooks'"),
    (hides_forward, "an attribute of a PhaseNeuron .got 'forward'"),
    (replaces_the_call, "of a PhaseNeuron .got '_compiled_call_impl'"),
    (keeps_what_is_made_anew, 'Expected no _cached in a PhaseNeuron'),
    (asks_private_attributes, 'expected a path through an argument'),
    (asks_a_method_of_its_own, 'a method of PyG data .got ..numpy'),
    (changes_a_function, "expected the form of a 'object' .got <function dropout"),
    (changes_a_constant, "name of an attribute .got '__class__'"),
    (replaces_internals, "name of a constant .got '_forward_pre_hooks'"),
    (replaces_nodes, "name of a constant .got 'nodes'"),
    (names_a_type_as_a_call, "a plain type of .*got 'torch.nn.modules.linear.Linear'"),
    (holds_itself, 'objects that do not hold themselves .got 0'),
    (counts_from_the_end, 'number of an object .got -1'),
    (reads_what_comes_later, r'to read nodes before it \(got the number 1000000\)'),
    (reads_from_the_end, r'to read nodes before it \(got the number -1\)'),
    (has_another_role, 'to be a PhaseNeuron'),
    (has_two_outputs, 'expected one output, at the end|reads'),
    (has_two_of_a_name, 'expected one node .* .got two'),
    (has_a_table_too_short, 'expected 4 levels .got a table of 3'),
    (lacks_arguments, 'TypeError: missing a required'),
    (calls_what_is_unsafe, "method of tensors .got 'apply_'"),
]


@pytest.mark.parametrize(
    'attack, match', ATTACKS, ids=lambda v: getattr(v, '__name__', '')
)
def test_attacks_are_refused_before_anything_runs(attack, match, saved, tmp_path):
    header, tensors = read(saved)
    attack(header)
    path = tmp_path / 'network'
    path.write_bytes(written(saved, header, tensors))
    with pytest.raises(ValueError, match=match) as error:
        load(path)
    message = str(error.value)
    assert str(path) in message and '\n' not in message and len(message) < 800


@pytest.mark.parametrize(
    'change, match',
    [
        (lambda t: t[:1] if t.dim() else t, 'expected weights of two dimensions'),
        (lambda t: t[None], 'two dimensions|scale'),
        (lambda t: t.to(torch.int64), 'floating point|real numbers'),
    ],
)
def test_weights_that_do_not_fit(change, match, saved, tmp_path):
    header, tensors = read(saved)
    name = next(n for n in tensors if n.endswith('bias'))
    tensors[name] = change(tensors[name])
    path = tmp_path / 'network'
    path.write_bytes(written(saved, header, tensors))
    with pytest.raises(ValueError, match=match):
        load(path)


@pytest.fixture(scope='module')
def attention():
    model, call = network('mask')
    return to_bytes(convert(model, call, ConversionConfig(num_steps=4)))


def record_of(header, name):
    return next(r for r in records_of(header) if name in json.dumps(r['target']))


def gate(header):
    return module(header, 'gates')['_modules'][0][1]['state']


def calls_another_method(header):
    record_of(header, 'move_spikes')['args']['tuple'][1] = 'numpy'


def moves_by_a_keyword(header):
    record = record_of(header, 'move_spikes')
    record['args'] = {'tuple': record['args']['tuple'][:1]}
    record['kwargs'] = {'dict': [['name', 'numpy']]}


def moves_by_a_value(header):
    record_of(header, 'move_spikes')['args']['tuple'][1] = {'node': 0}


def multiplies_by_another_module(header):
    role = next(r['role'] for r in records_of(header) if r['role']['name'] == 'LAYER')
    role['name'] = 'PRODUCT'


def has_a_window_without_end(header):
    gate(header)['num_steps'] = 10**6


def counts_along_no_dimension(header):
    gate(header)['dim'] = 'x'


@pytest.mark.parametrize(
    'attack, match',
    [
        (calls_another_method, "only moves values, such as 'view' .got 'numpy'"),
        (moves_by_a_keyword, "only moves values, such as 'view' .got None"),
        (moves_by_a_value, "only moves values, such as 'view' .got x"),
        (multiplies_by_another_module, 'to be a DelayedSum'),
        (has_a_window_without_end, r"'num_steps' to be an integer from 1 to 126 .got"),
        (counts_along_no_dimension, "'dim' to be an integer .got 'x'"),
    ],
)
def test_attacks_on_what_multiplies(attack, match, attention, tmp_path):
    header, tensors = read(attention)
    attack(header)
    path = tmp_path / 'network'
    path.write_bytes(written(attention, header, tensors))
    with pytest.raises(ValueError, match=match):
        load(path)


class Image(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 4, 3, groups=2), nn.ConvTranspose2d(4, 6, 2)
        self.norm, self.c = (
            nn.BatchNorm1d(6, track_running_stats=False),
            nn.Linear(6, 3),
        )

    def forward(self, x):
        x = self.b(self.a(x).relu()).relu().mean((-2, -1))
        return self.c(self.norm(x))


SIZES = [
    ('image', 'a.conv.weight', lambda t: t[:2]),
    ('image', 'a.conv.bias', lambda t: t[:2]),
    ('image', 'b.conv.weight', lambda t: t.transpose(0, 1)),
    ('image', 'c.weight', lambda t: t.t()),
    ('image', 'c.bias', lambda t: t[:1]),
    ('image', 'neurons.relu.scale', lambda t: t[:3]),
    ('image', 'norm.weight', lambda t: t[:5]),
    ('graph', 'convs.0.weight', lambda t: torch.cat([t, t])),
    ('graph', 'convs.1.weight', lambda t: t[:, :-1]),
    ('graph', 'neurons.act.scale', lambda t: torch.cat([t, t])),
]


@pytest.mark.parametrize('kind, name, change', SIZES)
def test_tensors_that_are_too_long_or_short(kind, name, change, tmp_path):
    torch.manual_seed(0)
    model, call = GCN(5, 8, 2, 3), (torch.rand(9, 5), torch.randint(9, (2, 30)))
    if kind == 'image':
        model, call = Image(), torch.rand(2, 2, 8, 8)
    config = ConversionConfig(per_channel=True, allow_analog=True)
    snn, path = convert(model.eval(), call, config), tmp_path / 'network'
    module, _, attribute = name.rpartition('.')
    module = snn.network.get_submodule(module)
    value = change(getattr(module, attribute).detach()).contiguous()
    if attribute in module._parameters:
        value = nn.Parameter(value)
    setattr(module, attribute, value)
    save(snn, path)  # As a change of the file, with a checksum that fits.
    with pytest.raises(
        ValueError, match=r'expected .*(shape|channels|scales|a bias for)'
    ) as error:
        load(path)
    assert str(error.value).count('got') == 1
