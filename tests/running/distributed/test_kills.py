"""Processes that are killed anywhere in a run lose no layer that they had finished."""

import json
import os
import random
import signal
import sys
import traceback
from datetime import timedelta

import pytest
import torch
import torch.distributed as dist
from torch_geometric.nn.models import GAT

import spikegraph
from spikegraph import (
    ConversionConfig,
    DistributedModel,
    PeerError,
    convert,
    layerwise,
    load_partition,
    partition_graph,
    save_partition,
)
from spikegraph.running.distributed import infer
from tests.running.distributed.processes import TIMEOUT, run
from tests.running.distributed.test_infer import graph

PACKAGE = os.sep + os.path.join('spikegraph', 'running', '')
NUM_KILLS = 15
KILLED = -signal.SIGKILL


def plan(num, size, seed):
    """For each run: its folder, who is killed, and at which share of its calls. What goes
    on is killed, too; the last run of a folder is not."""
    choices, runs, folder = random.Random(seed), [(0, None, None)], 0
    while num > 0:
        folder += 1
        for _ in range(min(num, choices.randint(1, 4))):
            runs.append((folder, choices.randrange(size), choices.random()))
            num -= 1
        runs.append((folder, None, None))
    return runs


def count_calls(die_at):
    """Counts the calls and returns of the library's functions, and dies at one."""
    counted = [0]

    def profile(frame, event, argument):
        if event in ('call', 'return') and PACKAGE in frame.f_code.co_filename:
            counted[0] += 1
            if counted[0] == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.setprofile(profile)
    return counted


def tell_stages(path):
    """Writes down each stage that this process has finished."""
    plain, told = infer._Run._stage, os.open(path, os.O_WRONLY | os.O_CREAT)

    def stage(self, number, is_done):
        report = plain(self, number, is_done)
        os.write(told, b'.')
        return report

    infer._Run._stage = stage


def run_once(rank, size, name, storage, snn, part, expected, die_at):
    """What a forked process does: it leaves its stages, and what it found, in files."""
    store = dist.FileStore(f'{name}.store', size)
    limit = timedelta(seconds=60)
    dist.init_process_group(
        'gloo', store=store, rank=rank, world_size=size, timeout=limit
    )
    model = DistributedModel(snn, part, storage=storage, timeout=TIMEOUT)
    tell_stages(f'{name}.told_{rank}')
    counted, found = count_calls(die_at), {}
    try:
        result = model.run()
        sys.setprofile(None)
        found['is_right'] = torch.equal(result.values, expected[result.rows['x']])
        found['kept'] = [stage.is_kept for stage in result.stages].count(True)
    except PeerError as error:
        sys.setprofile(None)
        found['lost'] = str(error)
    found['calls'] = counted[0]
    with open(f'{name}.found_{rank}', 'w') as file:
        json.dump(found, file)


def keep_running(rank, size, folder, runs):
    """Forks a process for each run; whether they were killed, and what they found."""
    snn, part = spikegraph.load(f'{folder}/snn'), load_partition(f'{folder}/parts')
    expected, results, calls = torch.load(f'{folder}/expected'), [], 0
    layerwise(snn, graph())  # Kernels are loaded once, and not by each fork.
    for number, (chain, victim, share) in enumerate(runs):
        name, storage = f'{folder}/run_{number}', f'{folder}/kept_{chain}'
        die_at = None if victim != rank else 1 + int(share * calls)
        child = os.fork()
        if child == 0:
            code = 1
            try:
                run_once(rank, size, name, storage, snn, part, expected, die_at)
                code = 0
            except BaseException:
                traceback.print_exc()
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        found = {'code': code, 'told': 0}
        if os.path.exists(f'{name}.told_{rank}'):
            found['told'] = os.path.getsize(f'{name}.told_{rank}')
        if code == 0:
            with open(f'{name}.found_{rank}') as file:
                found.update(json.load(file))
            calls = calls or found['calls']  # Of the first run.
        results.append(found)
    return results


def prepare(folder, size):
    data = graph()
    torch.manual_seed(1)
    snn = convert(GAT(8, 16, 3, 4, heads=2).eval(), data, ConversionConfig(num_steps=8))
    spikegraph.save(snn, folder / 'snn')
    save_partition(partition_graph(data, size, 'hash'), data, folder / 'parts')
    torch.save(snn(data), folder / 'expected')


def kill(folder, num, size, seed):
    """Kills processes at random calls, and asserts that nothing is lost or wrong.

    Returns:
        Tuple[int, int]: The runs in which a process was killed, and those that went on
        from a finished stage.
    """
    prepare(folder, size)
    runs = plan(num, size, seed)
    limit = 60 + 10 * num
    found = run(keep_running, size, str(folder), runs, limit=limit, joins=False)
    assert sorted(found) == list(range(size)), found
    num_killed, num_resumed, known = 0, 0, {}
    for number, (chain, victim, _) in enumerate(runs):
        each = [found[rank][number] for rank in range(size)]
        where = f'seed {seed}, run {number}: {each}'
        is_killed = victim is not None and each[victim]['code'] == KILLED
        for rank, one in enumerate(each):
            assert one['code'] == (KILLED if is_killed and rank == victim else 0), where
            assert one.get('is_right', True), where  # Whoever was lost.
            assert one.get('kept', 10**9) >= known.get(chain, 0), where
            if not is_killed:
                assert 'lost' not in one, where
                num_resumed += rank == 0 and one['kept'] > 0
        num_killed += is_killed
        known[chain] = max(known.get(chain, 0), min(one['told'] for one in each))
    return num_killed, num_resumed


@pytest.mark.parametrize('size, seed', [(2, 0), (3, 1)])
def test_kills(tmp_path, size, seed):
    num_killed, num_resumed = kill(tmp_path, NUM_KILLS, size, seed)
    assert num_killed > 0.8 * NUM_KILLS and num_resumed > 0
