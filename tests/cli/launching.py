"""Starts the command line as ``torchrun`` does: several processes that join."""

import os
import socket
import subprocess
import sys
from pathlib import Path

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


def launch(arguments, folder, size=None, before=''):
    """Starts one process for each list of arguments.

    Args:
        arguments (List[List[str]]): The arguments of each process.
        folder (pathlib.Path): Where they run.
        size (int, optional): How many they expect to be.
        before (str, optional): Code that each runs first.
    """
    port, size = free_port(), size or len(arguments)
    code = f'import os, sys\n{before}\nfrom spikegraph.cli import main\n'
    code += 'sys.exit(main(sys.argv[1:]))'
    return [
        subprocess.Popen(
            [sys.executable, '-c', code, *args],
            cwd=folder,
            env=environment(rank, size, port),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank, args in enumerate(arguments)
    ]


def finish(processes, seconds=120):
    """The exit code, the output and the errors of each."""
    found = []
    try:
        for process in processes:
            out, err = process.communicate(timeout=seconds)
            found.append((process.returncode, out, err))
    finally:
        for process in processes:
            process.kill()
    return found
