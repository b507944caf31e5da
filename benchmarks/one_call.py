"""What first_call.py runs in new processes, and times from the first import on.

python benchmarks/one_call.py FOLDER OUTPUT THREADS [--without-numba]
"""

import sys
import time
import warnings

seconds, since = {}, time.perf_counter()


def lap(name):
    global since
    seconds[name] = time.perf_counter() - since
    since = time.perf_counter()


if '--without-numba' in sys.argv:
    sys.modules['numba'] = None  # Cannot be imported.

import torch  # noqa: E402
import torch_geometric.nn  # noqa: E402, F401

folder, output, num_threads = sys.argv[1:4]
torch.set_num_threads(int(num_threads))
lap('import PyTorch and PyG')

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter('always')
    import spikegraph
    from spikegraph.kernels import info

    spikegraph.SpikingModel  # noqa: B018
    lap('import spikegraph')
    inputs = torch.load(f'{folder}/inputs.pt', weights_only=False)
    snn = spikegraph.load(f'{folder}/snn', inputs['model'])
    with torch.no_grad():
        inputs['model'](*inputs['graph'])
    lap('load, and run the ANN')
    out = snn(*inputs['graph'])
    lap('first call')
    again = snn(*inputs['graph'])
    lap('second call')
    assert torch.equal(out, again)
    spikes = snn.spikes(*inputs['graph'])

found = {
    'seconds': seconds,
    'warnings': [str(w.message) for w in caught if 'Numba' in str(w.message)],
    'kernels': info(),
    'output': out,
    'spike_times': {name: found.spike_time for name, found in spikes.items()},
}
torch.save(found, output)
