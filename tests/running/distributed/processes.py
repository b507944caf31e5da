"""Runs a function in several processes, and ends them all after some time.

They are forked from a process that has imported all there is to import, and has not
computed anything.
"""

import os
import queue
import socket
import time
import traceback

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

TIMEOUT = 8.0  # Seconds that processes wait for each other.
PRELOADED = ['tests.running.distributed.imports']


def free_port():
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return found.getsockname()[1]


def _call(function, rank, size, port, found, arguments, joins):
    torch.set_num_threads(1)
    os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    try:
        if joins:
            dist.init_process_group('gloo', rank=rank, world_size=size)
        found.put((rank, function(rank, size, *arguments)))
    except BaseException as error:
        found.put((rank, f'{type(error).__name__}: {error}'))
        traceback.print_exc()
    found.close()
    found.join_thread()  # Its result is out.
    os._exit(0)


def run(function, size, *arguments, limit=240.0, ends=None, joins=True):
    """What the function returns in each process, or its error as text; nothing of those
    that were killed. Fails if it takes too long.

    Args:
        limit (float): Seconds that it may take.
        ends (Set[int], optional): The processes that are waited for. (default: all)
        joins (bool): Whether they are a group.
    """
    context, port = mp.get_context('forkserver'), free_port()
    context.set_forkserver_preload(PRELOADED)
    found = context.Queue()
    started = [
        context.Process(
            target=_call,
            args=(function, rank, size, port, found, arguments, joins),
            daemon=True,
        )
        for rank in range(size)
    ]
    for process in started:
        process.start()
    results, end = {}, time.monotonic() + limit
    try:
        while any(process.is_alive() for process in started) or not found.empty():
            assert time.monotonic() < end, f'only {sorted(results)} have ended'
            if ends is not None and ends <= results.keys():
                break
            try:
                rank, value = found.get(timeout=0.2)
                results[rank] = value
            except queue.Empty:
                if set(results) >= {r for r, p in enumerate(started) if p.is_alive()}:
                    break
    finally:
        for process in started:
            process.kill()
            process.join()
    return results
