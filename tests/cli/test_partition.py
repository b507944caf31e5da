import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_geometric.data import Data

from spikegraph.cli import main
from spikegraph.partitioning import edge_cut, load_partition, partition_graph
from tests.partitioning.graphs import assert_same, random_graph

ROOT = Path(__file__).parents[2]


def test_a_dataset_is_divided_and_written(tmp_path, capsys):
    folder = tmp_path / 'a' / 'parts'
    args = ['partition', 'digits', '--parts', '3', '--method', 'range']
    assert main([*args, '--output', str(folder)]) == 0
    out = capsys.readouterr().out
    loaded = load_partition(folder)
    cut = edge_cut(loaded.whole(), loaded.partition)
    assert out.startswith('digits: handwritten digits')
    assert str(cut) in out and '1,797 nodes, 19,858 edges in 3 parts, by range' in out
    size = sum(f.stat().st_size for f in folder.rglob('*') if f.is_file())
    assert f'wrote 3 parts, {size / 1e6:.2f} MB, to {folder}' in out
    assert not (folder / 'result.json').exists()
    # What was written is read again, and replaced.
    assert (
        main(['partition', str(folder), '--parts', '2', '--output', str(folder)]) == 0
    )
    again = load_partition(folder)
    assert again.num_parts == 2 and again.digest == loaded.digest
    assert '1,797 nodes' in capsys.readouterr().out


def test_json(tmp_path, capsys):
    data = random_graph(40, 100)
    torch.save(data, tmp_path / 'g.pt')
    args = ['partition', str(tmp_path / 'g.pt'), '--parts', '4', '--method', 'hash']
    assert main([*args, '--seed', '5', '--json', '-']) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    cut = edge_cut(data, partition_graph(data, 4, 'hash', seed=5))
    assert str(cut) in err
    assert result.items() >= json.loads(json.dumps(cut.to_dict())).items()
    assert result['seed'] == 5 and result['output'] is None
    assert result['input'] == str(tmp_path / 'g.pt') and result['seconds'] >= 0
    folder, file = tmp_path / 'p', tmp_path / 'r.json'
    assert main([*args, '--output', str(folder), '--json', str(file)]) == 0
    assert json.loads(file.read_text())['output'] == str(folder)
    assert_same(load_partition(folder).whole(), data)


def test_it_runs_as_a_module_without_matplotlib(tmp_path):
    np.save(tmp_path / 'edge_index.npy', [[0, 1, 2], [1, 2, 0]])
    args = ['partition', str(tmp_path), '--parts', '2', '--output', str(tmp_path / 'p')]
    code = (
        'import sys\nsys.modules["matplotlib"] = None\n'
        f'from spikegraph.cli import main\nsys.exit(main({args}))'
    )
    command = [sys.executable, '-c', code]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0 and result.stderr == ''
    assert '3 nodes, 3 edges in 2 parts' in result.stdout


@pytest.mark.parametrize(
    'args, match',
    [
        (
            ['nowhere', '--parts', '2'],
            r"a folder or one of digits, cora, .*(got 'nowhere')",
        ),
        (['no/where', '--parts', '2'], "'no/where' to hold a graph (found none)"),
        (['mnist', '--parts', '2'], 'one graph, such as digits, cora'),
        (['ogbg-molhiv', '--parts', '2'], "(got 'ogbg-molhiv', which is none)"),
        (['digits', '--parts', '0'], "'num_parts' to be a positive integer (got 0)"),
        (['digits', '--parts', '2', '--seed', '-1'], "'seed' to be an integer from 0"),
        (['docs', '--parts', '2'], "'docs' to hold a graph (got a folder with"),
        (
            ['digits', '--parts', '2', '--output', 'docs'],
            "'docs' to be a new folder, an empty one or one of this kind",
        ),
        (['digits', '--parts', '2', '--output', 'README.md'], '(got a file)'),
    ],
)
def test_errors(args, match, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert main(['partition', *args]) == 2
    out, err = capsys.readouterr()
    head, _, tail = match.partition('.*')
    assert out == '' and err.startswith('spikegraph: error: ') and err.count('\n') == 1
    assert head in err and tail in err


@pytest.mark.parametrize(
    'args, match',
    [
        (['digits'], 'required: --parts'),
        (['--parts', '2'], 'required: INPUT'),
        (['digits', '--parts', 'two'], "invalid int value: 'two'"),
        (['digits', '--parts', '2', '--method', 'kway'], "invalid choice: 'kway'"),
        (['digits', '--part', '2'], 'required: --parts'),
    ],
)
def test_usage_errors(args, match, capsys):
    with pytest.raises(SystemExit) as error:
        main(['partition', *args])
    assert error.value.code == 2 and match in capsys.readouterr().err


def test_metis_that_is_missing(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, 'pymetis', None)
    torch.save(Data(x=torch.eye(9)), tmp_path / 'g.pt')
    args = ['partition', str(tmp_path / 'g.pt'), '--parts', '2', '--method', 'metis']
    assert main(args) == 2
    assert "pip install 'spikegraph[partition]'" in capsys.readouterr().err
