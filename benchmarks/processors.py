"""What a script measures on: this processor, or this one told to be a lesser one.

Numba, PyTorch and its libraries read the environment when they start, so that a script
runs again in a process of its own. FBGEMM, of the embedding bags, knows nothing below
AVX2. MKL heeds MKL_ENABLE_INSTRUCTIONS on processors of Intel only, and MKL_CBWR on all.
"""

import os
import platform
import subprocess
import sys
from pathlib import Path

# What kernels are compiled for. Numba's cache tells processors apart.
KERNELS = {
    'avx2': {
        'NUMBA_CPU_NAME': 'haswell',
        'NUMBA_CPU_FEATURES': (
            '+avx,+avx2,+fma,+bmi,+bmi2,+popcnt,+sse4.1,+sse4.2,+ssse3'
        ),
    },
    'generic': {'NUMBA_CPU_NAME': 'generic', 'NUMBA_CPU_FEATURES': ''},
}
# What PyTorch and its libraries may use.
LIBRARIES = {
    'avx2': {
        'ATEN_CPU_CAPABILITY': 'avx2',
        'MKL_ENABLE_INSTRUCTIONS': 'AVX2',
        'ONEDNN_MAX_CPU_ISA': 'AVX2',
        'FBGEMM_ENABLE_INSTRUCTIONS': 'AVX2',
    },
    'generic': {
        'ATEN_CPU_CAPABILITY': 'default',
        'MKL_ENABLE_INSTRUCTIONS': 'SSE4_2',
        'MKL_CBWR': 'COMPATIBLE',
        'ONEDNN_MAX_CPU_ISA': 'SSE41',
        'FBGEMM_ENABLE_INSTRUCTIONS': 'AVX2',
    },
}
# Where kernels look levels up (spikegraph.kernels.info), and what PyTorch says it uses.
EXPECTED = {'avx2': ('avx2', 'AVX2'), 'generic': ('memory', 'DEFAULT')}
NAMES = ('native', *KERNELS)
_FORCED = 'BENCHMARK_PROCESSOR'


def forced():
    """What this process has been told to be; None for what is there."""
    return os.environ.get(_FORCED)


def run_again(name, script):
    """Runs a script with its arguments on another processor; its exit status."""
    environment = {**os.environ, **KERNELS[name], **LIBRARIES[name], _FORCED: name}
    command = [sys.executable, str(script), *sys.argv[1:]]
    return subprocess.run(command, env=environment).returncode


def model_name():
    """What the processor calls itself."""
    path = Path('/proc/cpuinfo')
    lines = path.read_text().splitlines() if path.exists() else []
    for line in lines:
        name, _, value = line.partition(':')
        if name.strip() == 'model name':
            return value.strip()
    return platform.processor() or platform.machine()
