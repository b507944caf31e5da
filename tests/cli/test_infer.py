import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch_geometric.data import HeteroData
from torch_geometric.nn import HeteroConv, SAGEConv
from torch_geometric.nn.models import GCN

import spikegraph
from spikegraph import ConversionConfig, convert, partition_graph, save_partition
from spikegraph.cli import main
from tests.cli.launching import ROOT, by_call, environment, finish, free_port, launch
from tests.partitioning.graphs import random_graph

has_pyarrow = importlib.util.find_spec('pyarrow') is not None
needs_pyarrow = pytest.mark.skipif(not has_pyarrow, reason='needs pyarrow')


@pytest.fixture(scope='module')
def work(tmp_path_factory):
    """A folder with a network, another one, a graph in two parts, and the outputs."""
    folder = tmp_path_factory.mktemp('infer')
    data = random_graph(60, 300)
    for seed, name in enumerate(('snn', 'other')):
        torch.manual_seed(seed)
        model = GCN(3, 8, 2, 4).eval()
        snn = convert(model, data, ConversionConfig(num_steps=15))
        spikegraph.save(snn, folder / name)
        if name == 'snn':
            np.save(folder / 'expected.npy', snn(data).numpy())
    save_partition(partition_graph(data, 2, 'hash'), data, folder / 'parts')
    torch.save(data, folder / 'whole.pt')
    return folder


@pytest.fixture
def here(work, tmp_path, monkeypatch):
    """The same folder, to be written to."""
    shutil.copytree(work, tmp_path / 'work')
    monkeypatch.chdir(tmp_path / 'work')
    return tmp_path / 'work'


def expected(folder):
    return np.load(folder / 'expected.npy')


def assert_nothing_new(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {'snn', 'other', 'expected.npy', 'parts', 'whole.pt'}


def test_one_process(here, capsys):
    for graph in ('parts', 'whole.pt'):
        args = ['infer', 'snn', graph, '--block-size', '7', '--output', 'out.npy']
        assert main([*args, '--storage', f'{graph}.kept', '--json', 'r.json']) == 0
        out = capsys.readouterr().out
        assert out.startswith(
            f'{graph}\n60 x 4 outputs of snn, in one process, 7 nodes'
        )
        assert out.endswith('\nwrote out.npy\n')
        assert np.array_equal(np.load('out.npy'), expected(here))
        assert (here / f'{graph}.kept').is_dir()
        result = json.loads((here / 'r.json').read_text())
        assert result['outputs'] == ['out.npy'] and result['block_size'] == 7
    # Whoever may read other new files may read this one, and nothing lies beside it.
    (here / 'usual').write_text('')
    assert (here / 'out.npy').stat().st_mode == (here / 'usual').stat().st_mode
    assert not list(here.glob('.*'))


@pytest.mark.parametrize('num_parts', [0, 1])
def test_a_storage_that_is_started_anew(num_parts, here, capsys, monkeypatch):
    """Also by several processes, here by a group of one."""
    if num_parts:
        alone_in_a_group(monkeypatch)
        assert main(['partition', 'whole.pt', '--parts', '1', '--output', 'one']) == 0
    args = ['one' if num_parts else 'parts', '--storage', 'kept', '--json', 'r.json']
    kept = here / 'kept' / ('part_0_of_1' if num_parts else '')
    assert main(['infer', 'other', *args]) == 0
    records = list(kept.glob('*.spikegraph.json'))
    assert main(['infer', 'snn', *args]) == 2
    assert f"Expected '{kept.relative_to(here)}' to hold" in capsys.readouterr().err
    times = []
    for _ in range(2):  # Of another network, and of this one.
        assert main(['infer', 'snn', *args, '--fresh', '--output', 'out.npy']) == 0
        assert np.array_equal(np.load('out.npy'), expected(here))
        times.append([path.stat().st_mtime_ns for path in records])
        if num_parts:
            stages = json.loads((here / 'r.json').read_text())['stages']
            assert not any(stage['is_kept'] for stage in stages)
    assert main(['infer', 'snn', *args]) == 0
    times.append([path.stat().st_mtime_ns for path in records])
    assert times[0] != times[1] == times[2] and records


def test_classes(here, capsys):
    args = ['infer', 'snn', 'parts', '--output', 'classes.npy', '--classes']
    assert main(args) == 0
    found = np.load('classes.npy')
    assert found.dtype == np.int64
    assert np.array_equal(found, expected(here).argmax(1))


@needs_pyarrow
def test_tables(here, monkeypatch):
    from pyarrow import parquet

    monkeypatch.setattr('spikegraph.cli.rows._BLOCK', 16)
    assert main(['infer', 'snn', 'parts', '--output', 'out.parquet']) == 0
    table = parquet.read_table('out.parquet')
    assert table.column_names == ['node', *(f'output_{i}' for i in range(4))]
    columns = [column.to_numpy() for column in table.columns]
    assert np.array_equal(columns[0], np.arange(60))
    assert np.array_equal(np.stack(columns[1:], 1), expected(here))
    args = ['infer', 'snn', 'parts', '--output', 'c.parquet', '--classes']
    assert main(args) == 0
    assert parquet.read_table('c.parquet').column_names == ['node', 'class']
    assert not list(here.glob('.*'))


class Types(torch.nn.Module):
    def __init__(self):
        super().__init__()
        edges = {
            ('a', 'to', 'b'): SAGEConv((3, 2), 4),
            ('b', 'to', 'a'): SAGEConv((2, 3), 4),
        }
        self.conv = HeteroConv(edges)

    def forward(self, x_dict, edge_index_dict):
        out = self.conv(x_dict, edge_index_dict)
        return {key: x.relu() for key, x in out.items()}


def hetero(folder):
    data = HeteroData()
    data['a'].x, data['b'].x = torch.rand(9, 3), torch.rand(5, 2)
    pairs = torch.stack([torch.arange(40) % 9, torch.arange(40) % 5])
    data['a', 'to', 'b'].edge_index = pairs
    data['b', 'to', 'a'].edge_index = pairs.flip(0)
    snn = convert(Types().eval(), data)
    spikegraph.save(snn, folder / 'types')
    save_partition(partition_graph(data, 2, 'hash'), data, folder / 'typed')
    return {key: x.numpy() for key, x in snn(data).items()}


def test_several_outputs(here):
    outputs = hetero(here)
    assert main(['infer', 'types', 'typed', '--output', 'out.npy']) == 0
    assert {path.name for path in here.glob('out*')} == {'out.a.npy', 'out.b.npy'}
    for key, values in outputs.items():
        assert np.array_equal(np.load(f'out.{key}.npy'), values)


def test_two_processes(here):
    """Rows of two types; then another network in one process; then a part that is
    missing; then a first process that works alone for longer than the others wait for
    one that is gone."""
    outputs = hetero(here)
    args = ['infer', 'snn', 'parts', '--output', 'out.npy', '--timeout', '20']
    shutil.copytree(here / 'parts', here / 'fewer')
    shutil.rmtree(here / 'fewer' / 'part_1')
    table = f'table.{"parquet" if has_pyarrow else "npy"}'
    slow = ['infer', 'snn', 'parts', '--output', table, '--timeout', '3']
    before = (
        'import time\n'
        'from spikegraph.cli import infer, rows\n'
        'def slow(work):\n'
        '    def wait(*args):\n'
        f'        if "{table}" in calls[0]: time.sleep(4)\n'
        '        return work(*args)\n'
        '    return wait\n'
        'infer.edge_cut, rows._to_table = slow(infer.edge_cut), slow(rows._to_table)'
    )
    found = launch(
        [
            2 * [['infer', 'types', 'typed', '--output', 'types.npy']],
            [args, ['infer', 'other', *args[2:]]],
            2 * [['infer', 'snn', 'fewer', *args[3:]]],
            2 * [slow],
        ],
        here,
        before,
    )
    calls = [by_call(errors) for _, errors in finish(found)]
    good, other, missing, alone = zip(*calls, strict=True)
    assert alone == ((0, ''), (0, '')) and (here / table).exists()
    assert good == ((0, ''), (0, ''))
    for key, values in outputs.items():
        assert np.array_equal(np.load(f'types.{key}.npy'), values)
    for code, error in other:
        assert code == 2 and error.count('\n') == 1
        assert 'Expected all processes to have the same network' in error
    for code, error in missing:
        assert code == 2 and error.count('\n') == 1
        assert "Expected the part 1 of 2 in 'fewer/part_1' (found none)" in error
    assert missing[0][1].startswith('spikegraph: error: Process 1 failed while')
    assert not list(here.glob('.*')) and not (here / 'out.npy').exists()


def torchrun(folder, *args):
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', '2']
    command += ['--master-port', str(free_port()), '-m', 'spikegraph', *args]
    env = environment(0, 1, 0)
    env = {
        k: v for k, v in env.items() if k not in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK')
    }
    return subprocess.run(
        command, cwd=folder, env=env, capture_output=True, text=True, timeout=200
    )


def commands_of_the_page():
    """The commands for large graphs, as words."""
    page = ROOT / 'docs' / 'large_graphs.md'
    text = page.read_text().split('\n## Beyond one machine')[1]
    block = re.search(r'```bash\n(.*?)```', text, flags=re.DOTALL)[1]
    names = {'network.spikegraph': 'snn', 'GRAPH': 'whole.pt'}
    lines = [shlex.split(line, comments=True) for line in block.splitlines()]
    return [[names.get(word, word) for word in line] for line in lines]


def test_commands_of_the_page(here):
    """One after the other, as a reader would."""
    shutil.rmtree(here / 'parts')
    divide, several, alone = commands_of_the_page()
    assert divide[0] == 'spikegraph' and main(divide[1:]) == 0
    launcher = ['torchrun', '--nproc-per-node', '2', '-m', 'spikegraph']
    assert several[: len(launcher)] == launcher
    result = torchrun(here, *several[len(launcher) :], '--json', '-')
    assert result.returncode == 0, result.stderr
    assert np.array_equal(np.load(here / 'out.npy'), expected(here))
    assert not list(here.glob('.*'))
    (here / 'out.npy').unlink()
    assert alone[0] == 'spikegraph' and main(alone[1:]) == 0
    assert np.array_equal(np.load(here / 'out.npy'), expected(here))
    found = json.loads(result.stdout)  # Of one process only.
    assert found['processes'] == 2 and found['edge_cut']['cut_edges'] > 0
    stages = {stage['stage']: stage for stage in found['stages']}
    act = stages['act']  # 8 spike times in 4 bytes, instead of 8 floats.
    assert act['rows_sent'] == found['edge_cut']['num_boundary']
    assert act['float_bytes'] == 32 * act['rows_sent'] == 8 * act['bytes_sent']
    assert found['bytes_sent'] == sum(s['bytes_sent'] for s in found['stages'])
    for text in (
        'in 2 processes',
        'cut edges',
        'halo nodes',
        'rows sent',
        'wrote out.npy',
    ):
        assert text in result.stderr


def test_a_process_that_is_killed(here):
    """In the middle of a run: the other one says so, and no file appears."""
    args = ['infer', 'snn', 'parts', '--output', 'out.npy', '--timeout', '20']
    before = (
        'from spikegraph.cli import rows\n'
        'fill = rows._fill\n'
        'def kill(*args):\n'
        '    if os.environ["RANK"] == "1": os.kill(os.getpid(), 9)\n'
        '    return fill(*args)\n'
        'rows._fill = kill'
    )
    (code, errors), (other, _) = finish(launch([[args, args]], here, before))
    assert code == 2 and other == -signal.SIGKILL
    ((_, err),) = by_call(errors)
    assert err.startswith('spikegraph: error: Process 0 of 2 lost another one while')
    assert 'writing results' in err and err.count('\n') == 1
    assert_nothing_new(here)


@pytest.mark.parametrize(
    'place, says',
    [
        ('running.distributed.infer._Run.run', 'interrupted while waiting for others'),
        ('cli.rows._fill', 'spikegraph: interrupted'),
    ],
)
def test_processes_that_wait_are_interrupted(place, says, here):
    """The first waits for the second: in a run no exception of Python arrives."""
    args = ['infer', 'snn', 'parts', '--output', 'out.npy', '--timeout', '100']
    before = (
        'import time\n'
        'from unittest import mock\n'
        'from spikegraph.cli import infer\n'
        f'found = mock.patch("spikegraph.{place}", autospec=True)\n'
        'work, _ = found.get_original()\n'
        'def wait(*args, **kwargs):\n'
        '    if os.environ["RANK"] == "1":\n'
        '        print("waiting", flush=True)\n'
        '        time.sleep(100)\n'
        '    return work(*args, **kwargs)\n'
        'found.start().side_effect = wait'
    )
    first, second = launch([[args, args]], here, before)
    assert second.stdout.readline() == 'waiting\n'
    time.sleep(0.5)
    start = time.monotonic()
    first.send_signal(signal.SIGINT)
    (code, errors) = finish([first])[0]
    assert code == 130 and f'{says}\n' in errors
    second.send_signal(signal.SIGTERM)
    ((code, errors),) = finish([second])
    assert code == 143 and 'Traceback' not in errors
    assert time.monotonic() - start < 30
    assert_nothing_new(here)


def test_a_process_that_never_joins(here, capsys, monkeypatch):
    for name, value in environment(0, 2, free_port()).items():
        monkeypatch.setenv(name, value)
    start = time.monotonic()
    assert main(['infer', 'snn', 'parts', '--timeout', '1.5']) == 2
    assert time.monotonic() - start < 30
    err = capsys.readouterr().err
    assert 'Process 0 of 2 was not joined by all others within 1.5 s' in err


def alone_in_a_group(monkeypatch):
    for name, value in environment(0, 1, free_port()).items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    'args, match',
    [
        (
            ['whole.pt'],
            "'whole.pt' to be a graph in parts (got a whole one); divide it ",
        ),
        (['parts'], 'one part for each of 1 processes (got 2)'),
        (['parts'], "'spikegraph partition GRAPH --parts 1 --output DIR', or with"),
        (['parts', '--block-size', '8'], "Expected no '--block-size' here (got 8)"),
    ],
)
def test_errors_of_processes(args, match, here, capsys, monkeypatch):
    alone_in_a_group(monkeypatch)
    assert main(['infer', 'snn', *args]) == 2
    assert match in capsys.readouterr().err
    assert not torch.distributed.is_initialized()
    monkeypatch.delenv('MASTER_PORT')
    assert main(['infer', 'snn', 'parts']) == 2
    assert 'Expected MASTER_PORT in the environment' in capsys.readouterr().err


@pytest.mark.parametrize(
    'args, match',
    [
        (['nowhere', 'parts'], 'nowhere'),
        (['snn', 'no/where'], "'no/where' to hold a graph (found none)"),
        (['parts/partition.json', 'parts'], "'parts/partition.json'"),
        (
            ['snn', 'parts', '--output', 'a.csv'],
            "end in .npy or .parquet (got 'a.csv')",
        ),
        (['snn', 'parts', '--output', 'no/a.npy'], 'no/a.npy'),
        (['snn', 'parts', '--classes'], "'--output' beside '--classes'"),
        (['snn', 'parts', '--fresh'], "'--storage' beside '--fresh' (got none)"),
        (
            ['snn', 'parts', '--timeout', '3'],
            "no '--timeout' here (got 3.0); start with",
        ),
        (['snn', 'parts', '--no-pack'], "no '--no-pack' here (got True); start with"),
        (
            ['snn', 'parts', '--block-size', '0'],
            "'block_size' to be at least 1 (got 0)",
        ),
    ],
)
def test_errors(args, match, here, capsys):
    assert main(['infer', *args]) == 2
    out, err = capsys.readouterr()
    assert out == '' and err.startswith('spikegraph: error: ') and err.count('\n') == 1
    assert match in err
    assert_nothing_new(here)


@pytest.mark.parametrize('text', ['0', '-1', 'nan', 'inf', 'soon'])
def test_usage_errors(text, capsys):
    with pytest.raises(SystemExit) as error:
        main(['infer', 'snn', 'parts', '--timeout', text])
    assert error.value.code == 2
    assert f"a positive number of seconds (got '{text}')" in capsys.readouterr().err


def test_pyarrow_that_is_missing(here, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, 'pyarrow', None)
    monkeypatch.setitem(sys.modules, 'pyarrow.parquet', None)
    assert main(['infer', 'snn', 'parts', '--output', 'out.parquet']) == 2
    assert "pip install 'spikegraph[parquet]'" in capsys.readouterr().err
    assert_nothing_new(here)


def test_a_disk_that_is_full(here, monkeypatch, capsys):
    def fail(*args):
        raise OSError(28, os.strerror(28), 'out.npy')

    monkeypatch.setattr(os, 'posix_fallocate', fail)
    assert main(['infer', 'snn', 'parts', '--output', 'out.npy']) == 2
    assert 'free some space on that disk' in capsys.readouterr().err
    assert_nothing_new(here)
