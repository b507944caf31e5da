"""Starts the command line as ``torchrun`` does: several processes that join."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

END = 'exit code'
ROOT = Path(__file__).parents[2]


def free_port():
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return found.getsockname()[1]


def environment(rank, size, port):
    paths = os.pathsep.join([str(ROOT), os.environ.get('PYTHONPATH', '')])
    return {
        **os.environ,
        'PYTHONPATH': paths,
        'OMP_NUM_THREADS': '1',
        'GLOO_SOCKET_IFNAME': 'lo',
        'RANK': str(rank),
        'WORLD_SIZE': str(size),
        'LOCAL_RANK': str(rank),
        'MASTER_ADDR': '127.0.0.1',
        'MASTER_PORT': str(port),
    }


def launch(calls, folder, before=''):
    """Starts processes that join for one call of the command line after the other, and
    print its exit code after what it prints.

    Args:
        calls (List[List[List[str]]]): The arguments of each process, call by call.
        folder (pathlib.Path): Where they run.
        before (str, optional): Code that each runs first.
    """
    size = len(calls[0])
    ports = [str(free_port()) for _ in calls]
    code = (
        f'import os, sys\n{before}\nfrom spikegraph.cli import main\n'
        f'for port, calls in zip({ports}, {calls}):\n'
        '    os.environ["MASTER_PORT"] = port\n'
        '    code = main(calls[int(os.environ["RANK"])])\n'
        f'    print("{END}", code, file=sys.stderr, flush=True)\n'
        'sys.exit(code)\n'
    )
    return [
        subprocess.Popen(
            [sys.executable, '-c', code],
            cwd=folder,
            env=environment(rank, size, 0),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]


def finish(processes, seconds=120):
    """The exit code and the errors of each."""
    found = []
    try:
        for process in processes:
            _, errors = process.communicate(timeout=seconds)
            found.append((process.returncode, errors))
    finally:
        for process in processes:
            process.kill()
    return found


def by_call(errors):
    """The exit code and the errors of each call."""
    *texts, last = re.split(rf'{END} (\d+)\n', errors)
    assert last == ''
    return list(zip(map(int, texts[1::2]), texts[::2], strict=True))
