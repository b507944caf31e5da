"""What fails ends all processes within its time, and nothing is lost."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch_geometric.nn.models import GCN

from spikegraph import DistributedModel, PeerError, convert, partition_graph
from spikegraph.running.distributed import infer
from tests.running.distributed.processes import TIMEOUT, run
from tests.running.distributed.test_infer import graph


def network(data):
    torch.manual_seed(1)
    return convert(GCN(8, 16, 3, 4).eval(), data)


def build(size, storage=None, data=None, snn=None, timeout=TIMEOUT):
    data = graph() if data is None else data
    snn = network(graph()) if snn is None else snn
    partition = partition_graph(graph(), size, 'hash')
    return DistributedModel(
        snn, data, partition=partition, storage=storage, timeout=timeout
    )


def outcome(make):
    """The message of an error, and after how many seconds it came."""
    start = time.monotonic()
    try:
        make()
    except PeerError as error:
        return str(error), time.monotonic() - start
    return 'no error', time.monotonic() - start


def at_stage(number, act):
    """Does something when a stage is run."""
    plain = infer._Run._stage

    def stage(self, at, is_done):
        if at == number:
            act()
        return plain(self, at, is_done)

    infer._Run._stage = stage


def other_networks(rank, size):
    data, snn = graph(), network(graph())
    if rank == 1:
        next(iter(snn.network.parameters())).data.mul_(1.5)
    found = [outcome(lambda: build(size, snn=snn))]
    if rank == 1:
        data.edge_index = data.edge_index[:, :-1]
    found.append(outcome(lambda: build(size, data=data)))
    if rank == 1:
        infer.version = lambda: '0.0.0'
    found.append(outcome(lambda: build(size)))
    return found


def test_processes_must_run_the_same():
    results = run(other_networks, 3)
    assert len(results) == 3
    for found in results.values():
        for (message, seconds), name in zip(
            found, ('network', 'graph', 'version of spikegraph'), strict=True
        ):
            assert f'to have the same {name} (got process 0: ' in message
            assert seconds < TIMEOUT


def killed(rank, size, number):
    model = build(size)
    if rank == size - 1:
        at_stage(number, lambda: os.kill(os.getpid(), signal.SIGKILL))
    return outcome(model.run)


@pytest.mark.parametrize('number', [0, 3])
def test_a_process_is_killed(number):
    results = run(killed, 3, number)
    assert set(results) == {0, 1}
    for message, seconds in results.values():
        assert 'lost another one while ' in message  # It may be a stage behind.
        assert 'it closed its connection. Nothing was returned' in message
        assert seconds < TIMEOUT


def stopped(rank, size):
    model = build(size, timeout=2.0)
    if rank == size - 1:
        at_stage(1, lambda: os.kill(os.getpid(), signal.SIGSTOP))
    return outcome(model.run)


def test_a_process_does_not_answer():
    results = run(stopped, 2, ends={0})
    assert set(results) == {0}
    message, seconds = results[0]
    assert 'lost another one' in message and '(waited 2 s at most)' in message
    assert seconds < 10


def missing(rank, size):
    if rank == size - 1:
        time.sleep(6)  # It never joins.
        return None
    return outcome(lambda: build(size, timeout=2.0))


def test_a_process_never_joins():
    results = run(missing, 2)
    message, seconds = results[0]
    assert 'lost another one while joining' in message and seconds < 6


def raising(rank, size):
    """A process that fails alone stays, and the others do not wait for it."""
    model = build(size, timeout=60.0)
    if rank == 1:
        at_stage(1, lambda: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            model.run()
        found = '', 0.0
    else:
        found = outcome(model.run)
    again = outcome(model.run)
    dist.barrier()  # The user's own group is as it was.
    return found, again


def test_a_process_raises_in_a_run():
    results = run(raising, 3)
    assert set(results) == {0, 1, 2}
    for rank, (found, again) in results.items():
        assert rank == 1 or 'lost another one while' in found[0]
        assert found[1] < 20
        assert 'processes that have neither failed nor left' in again[0]


def test_a_process_raises():
    results = run(_failing_alone, 3)
    assert results[1] == 'own error'
    for rank in (0, 2):
        message, seconds = results[rank]
        assert message.startswith('Process 1 failed while preparing the network: ')
        assert seconds < TIMEOUT


def _failing_alone(rank, size):
    data = graph()
    if rank != 1:
        return outcome(lambda: build(size, data=data))
    data.x[3, 2] = float('nan')
    try:
        build(size, data=data)
    except ValueError:
        return 'own error'
    return 'no error'


def stored(rank, size, folder, kill_at):
    model = build(size, storage=folder)
    if kill_at is not None and rank == kill_at[0]:
        at_stage(kill_at[1], lambda: os.kill(os.getpid(), signal.SIGKILL))
    try:
        result = model.run()
    except PeerError as error:
        return str(error)
    out = model.gather(result)
    same = rank > 0 or torch.equal(out, network(graph())(graph()))
    return same, [stage.is_kept for stage in result.stages]


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == 'truncated':
        path.write_bytes(content[:-1])
    elif how == 'flipped':
        content[len(content) // 2] ^= 16
        path.write_bytes(content)
    else:
        path.unlink()


@pytest.mark.parametrize('how', ['flipped', 'truncated', 'removed'])
def test_a_run_goes_on_from_its_last_layer(tmp_path, how):
    folder = str(tmp_path / 'kept')
    results = run(stored, 2, folder, (1, 2))  # Killed in the third of four stages.
    assert set(results) == {0} and 'lost another one' in results[0]
    results = run(stored, 2, folder, None)
    kept = [True, True, False, False]
    assert results == {0: (True, kept), 1: (True, kept)}
    # A file of one process is damaged: all of them go back to that layer.
    (path,) = Path(folder).glob('part_1_of_2/neurons_act.spikes.spikegraph')
    damage(path, how)
    results = run(stored, 2, folder, None)
    kept = [True, False, False, False]
    assert results == {0: (True, kept), 1: (True, kept)}
    results = run(stored, 2, folder, None)
    assert results[0] == (True, [True] * 4)
