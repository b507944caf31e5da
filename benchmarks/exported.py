"""How near exported programs come to the networks that they were made from.

    python benchmarks/exported.py --weights resnet20.th

Three networks: the GCN of the zoo on Cora, the GIN with a virtual node for molecules, and
ResNet-20 on CIFAR-10 with the weights of a state dict; weights that are not trained are
drawn, batch norms' statistics then being those of a pass in training. Each is exported by
an example and run on inputs of other sizes, by PyTorch (torch.export) and by ONNX
Runtime; errors are the largest difference, relative to the largest output of the library.

In float64 nothing but rounding may differ, which is checked; ONNX Runtime has no
convolutions of that type. In float32, potentials within rounding of a threshold may fire
or not: the share of spikes that do is written, and the errors that they make. Seconds
are the median of one pass over the last input, on one thread.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import onnxruntime
import torch
from networks import untrained
from records import RESULTS, origin, write
from torch_geometric.data import Batch
from torch_geometric.utils import subgraph

from spikegraph import ConversionConfig, convert
from spikegraph.export import PlainNetwork, to_onnx, to_program
from spikegraph.zoo.experiment.evaluation import calibration_batches
from spikegraph.zoo.training import build, load_weights, prepare, train

EXACT = 1e-9


def part_of(data, num_nodes, rewired):
    """The first nodes, the edges between them, and as many again."""
    kept = torch.arange(num_nodes)
    edge_index, _ = subgraph(kept, data.edge_index)
    generator = torch.Generator().manual_seed(num_nodes)
    more = torch.randint(0, num_nodes, (2, rewired), generator=generator)
    return data.x[:num_nodes], torch.cat([edge_index, more], dim=1)


def cora(arguments):
    dataset, recipe = prepare('cora', None, None, 1, arguments.root)
    with torch.enable_grad():
        model = train(dataset, recipe, 0).model
    data = dataset.data
    example = data.x, data.edge_index
    snn = convert(model, example, ConversionConfig(num_steps=16, per_channel=True))
    others = [part_of(data, n, r) for n, r in ((1, 0), (50, 0), (700, 9000))]
    return snn, example, [*others, example]


def batch_of(graphs):
    batch = Batch.from_data_list(list(graphs))
    return batch.x, batch.edge_index, batch.edge_attr, batch.batch


def molecules(arguments):
    dataset, recipe = prepare('ogbg-molhiv', 300, 5, 1, arguments.root, 'gin')
    example = batch_of(dataset.train[:256])
    torch.manual_seed(0)
    model = untrained(build(dataset, recipe), *example)
    snn = convert(model, [example], ConversionConfig(num_steps=16, per_channel=True))
    others = [batch_of(dataset.test[a:b]) for a, b in ((0, 1), (1, 40), (40, 296))]
    return snn, batch_of(dataset.train[:20]), others


def images(arguments):
    dataset, recipe = prepare(
        'cifar10', None, None, 1, arguments.root, 'resnet20', loads_weights=True
    )
    batches = calibration_batches(dataset)
    torch.manual_seed(0)
    if arguments.weights is None:
        model = untrained(build(dataset, recipe), torch.cat(batches))
    else:
        model = load_weights(dataset, recipe, arguments.weights).model
    snn = convert(model, batches, ConversionConfig(num_steps=16, per_channel=True))
    x = torch.cat(batches)[:128]
    return snn, (x[:4],), [(x[:1],), (x[:33],), (x,)]


NETWORKS = {'GCN, Cora': cora, 'GIN, molhiv': molecules, 'ResNet-20': images}


def error_of(found, expected):
    return float((found - expected).abs().max() / expected.abs().max())


def median_of(run, repeats):
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def cast(args, dtype):
    return tuple(v.to(dtype) if v.is_floating_point() else v for v in args)


def flipped(snn, example, others):
    """The share of the spikes that are others in the plain network."""
    plain, counts = PlainNetwork(snn, *example), [0, 0]
    for args in others:
        expected = snn.spikes(*args)
        for label, spikes in plain.spikes(*args).items():
            wrong = spikes.spike_time != expected[label].spike_time.int()
            counts[0] += int(wrong.sum())
            counts[1] += wrong.numel()
    return counts


def session_of(path):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options)
    names = [value.name for value in session.get_inputs()]

    def run(*args):
        values = dict(zip(names, (v.numpy() for v in args), strict=True))
        return torch.from_numpy(session.run(None, values)[0])

    return run


def exported(snn, example, folder, dtype):
    """The program and the session, and the seconds that it took to make them."""
    start = time.perf_counter()
    program = to_program(snn, *example)
    middle = time.perf_counter()
    torch.export.save(program, folder / 'network.pt2')
    runs = {'torch': program.module()}
    has_images = example[0].dim() == 4
    if dtype == torch.float32 or not has_images:
        to_onnx(snn, folder / 'network.onnx', *example)
        runs['onnx'] = session_of(folder / 'network.onnx')
    return runs, [middle - start, time.perf_counter() - middle]


def measure(name, arguments, folder):
    snn, example, others = NETWORKS[name](arguments)
    row = {'network': name, 'rows': [len(args[0]) for args in (example, *others)]}
    for dtype in (torch.float64, torch.float32):
        snn, kind = snn.to(dtype), str(dtype).removeprefix('torch.')
        given = [cast(args, dtype) for args in others]
        first = cast(example, dtype)
        runs, row[f'{kind}_export_seconds'] = exported(snn, first, folder, dtype)
        expected = [snn(*args) for args in given]
        if dtype == torch.float64:
            exact = expected
        pairs = zip(expected, exact, strict=True)  # What float32 does to the library.
        row[f'{kind}_rounding'] = [error_of(out, best) for out, best in pairs]
        wrong, total = flipped(snn, first, given)
        row[f'{kind}_flipped'] = [wrong, total]
        for way, function in runs.items():
            pairs = zip(given, expected, strict=True)
            errors = [error_of(function(*args), out) for args, out in pairs]
            row[f'{kind}_{way}_errors'] = errors
            if dtype == torch.float64:
                assert max(errors) < EXACT and wrong == 0, (name, way, errors, wrong)
            else:
                row[f'{way}_pass'] = median_of(lambda f=function, a=given[-1]: f(*a), 5)
    row['library_pass'] = median_of(lambda: snn(*cast(others[-1], torch.float32)), 5)
    for kind in ('pt2', 'onnx'):
        row[f'{kind}_bytes'] = (folder / f'network.{kind}').stat().st_size
    return row


@torch.no_grad()
def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--networks', nargs='+', choices=NETWORKS, default=[*NETWORKS])
    parser.add_argument('--weights', type=Path, help='the state dict of ResNet-20')
    parser.add_argument('--root', help='folder of the datasets')
    parser.add_argument('--output', type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in arguments.networks:
        with tempfile.TemporaryDirectory() as folder:
            row = measure(name, arguments, Path(folder))
        rows.append(row)
        for key, value in row.items():
            print(f'{key:24} {value}', flush=True)
        write(arguments.output / 'exported.json', {**origin(), 'rows': rows})


if __name__ == '__main__':
    main()
