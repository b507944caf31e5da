"""Every script of this folder: its smallest honest run, the runs behind the results,
the files that they write, and what they need."""

from dataclasses import dataclass, field

# What scripts import, and run in processes of their own.
HELPERS = (
    'code_tables',
    'competitors',
    'limits',
    'memory',
    'networks',
    'one_call',
    'paired',
    'processors',
    'quantised',
    'records',
    'scripts',
    'techniques',
)
# What reads results, and what runs scripts.
TOOLS = ('code_pages', 'noise_pages', 'report', 'run_all')
BOTH_PROCESSORS = ('', '--processor avx2')


@dataclass(frozen=True)
class Script:
    """Arguments are text; {weights} is the state dict of ResNet-20, {output} and
    {scratch} are folders. Needs are 'weights', 'cuda', 'package NAME', 'dataset NAME',
    'GB NUMBER' of memory and 'files GB NUMBER'."""

    quick: str
    full: tuple[str, ...] = ('',)
    results: tuple[str, ...] = ()
    quick_needs: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    before: tuple[str, ...] = field(default=())  # Scripts whose results are read.


def _speeds(name, quick, full=BOTH_PROCESSORS, *, needs=(), quick_needs=()):
    results = tuple(
        name + ('_avx2' if 'avx2' in arguments else '') + '.json' for arguments in full
    )
    return Script(f'--repeats 1 {quick}', full, results, quick_needs, needs)


CIFAR10 = 'dataset cifar10', 'weights'
GRAPHS = 'dataset cora', 'dataset pubmed'
FIVE = (
    *('dataset cora', 'dataset citeseer', 'dataset pubmed'),
    *('dataset photo', 'dataset computers'),
)
MOLECULES = 'dataset ogbg-molhiv', 'dataset ogbg-molbace', 'dataset ogbg-molesol'
RESNET = '--datasets cifar10 --weights {weights}'
SCRIPTS = {
    'aggregation_speed': _speeds(
        'aggregation_speed',
        '--graphs arxiv-128 --shrink 10',
        needs=('dataset pubmed', 'dataset computers', 'dataset ogbg-molhiv', 'GB 16'),
    ),
    'attention_ablation': Script(
        '--datasets digits --models gat --seeds 1 --num-steps 8',
        results=('attention_ablation_*.json',),
        needs=('dataset cora',),
    ),
    'attention_speed': _speeds(
        'attention_speed',
        '--graphs arxiv --shrink 200 --no-memory',
        ('',),
        needs=(*GRAPHS, 'GB 8'),
    ),
    'claims': Script(
        '--networks digits_gcn --num-steps 8 --seeds 2',
        (
            '--networks cora_gcn citeseer_gcn pubmed_gcn',
            '--networks photo_gcn computers_gcn cora_sage cora_gin cora_gat '
            '--seeds-of-all-rows 1',
            '--networks mnist_cnn --seeds-of-all-rows 1',
            '--networks cifar10_resnet20 --weights {weights} '
            "--rows 'base of each population, not shifted' 'default options'",
        ),
        ('claims_*.json',),
        needs=(*FIVE, 'dataset mnist', *CIFAR10),
    ),
    'cnn_accuracy': Script(
        '--weights {weights} --images 100 --num-steps 8',
        ('--weights {weights}',),
        ('cnn_accuracy_*.json',),
        CIFAR10,
        CIFAR10,
    ),
    'cnn_speed': _speeds(
        'cnn_speed',
        '--networks cnn --batch-sizes 1 --threads 1',
        ('--weights {weights}', '--weights {weights} --processor avx2'),
        needs=('dataset mnist', *CIFAR10),
        quick_needs=('dataset mnist',),
    ),
    'codes': Script(
        '--networks digits_cnn --seeds 1 --num-steps 4',
        (
            '--networks cora_gcn citeseer_gcn pubmed_gcn photo_gcn computers_gcn '
            'cora_gin cora_gat digits_cnn --seeds 5',
            '--networks cifar10_resnet20 --weights {weights} --images 300',
        ),
        ('codes_*.json',),
        needs=(*FIVE, *CIFAR10),
    ),
    'distributed': Script(
        '--graphs arxiv --shrink 200 --models gcn --num-steps 15 --processes 1 2 '
        '--repeats 1 --parts 2 4',
        (
            '--graphs pubmed computers',
            '--graphs arxiv communities --num-steps 15 --processes 1 2 --repeats 4',
        ),
        ('distributed_*.json',),
        ('package pymetis',),
        ('package pymetis', 'dataset pubmed', 'dataset computers', 'GB 16'),
    ),
    'energy': Script(
        '--datasets digits --num-steps 4',
        (
            '--datasets cora citeseer pubmed photo computers mnist cifar10 '
            'ogbg-molhiv --weights cifar10={weights}',
        ),
        ('energy.json',),
        needs=(*FIVE, 'dataset mnist', *CIFAR10, 'dataset ogbg-molhiv'),
    ),
    'evidence': Script(
        '--results {output} --output {output}',
        results=('claims.json',),
        before=('claims', 'energy'),
    ),
    'exported': Script(
        "--networks 'GCN, Cora'",
        ('--weights {weights}',),
        ('exported.json',),
        ('dataset cora', 'package onnxruntime', 'package onnxscript'),
        ('dataset cora', *CIFAR10, 'package onnxruntime', 'package onnxscript'),
    ),
    'first_call': Script('--repeats 1', results=('first_call.json',)),
    'fuzz': Script(
        '--cases 8 --block 4 --targets spike_times',
        results=('fuzz.json',),
        quick_needs=('package hypothesis',),
        needs=('package hypothesis',),
    ),
    'gcn_accuracy': Script(
        '--datasets digits --num-steps 8 --seeds 1',
        results=('gcn_accuracy_*.json',),
        needs=FIVE,
    ),
    'gcn_speed': _speeds(
        'gcn_speed',
        '--graphs arxiv --shrink 200 --no-memory',
        needs=('dataset pubmed', 'dataset computers', 'GB 16'),
    ),
    'gpu': Script(
        '--out {output} --device cpu --shrink 2000 --repeats 1 --graphs arxiv '
        '--seconds 840',
        ('--out {output}',),
        ('gpu.json',),
        ('package triton',),
        ('package triton', 'cuda'),
    ),
    'image_accuracy': Script(
        '--datasets digits --models cnn --num-steps 8',
        ('--num-steps 8', '', '--num-steps 24'),
        ('image_accuracy_*.json',),
        needs=('dataset mnist',),
    ),
    'integers': Script(
        '--datasets digits --num-steps 8 --bits 8 --widths 16 --seeds 1',
        (
            '--datasets cora citeseer',
            '--datasets cora --model gat --seeds 1',
            RESNET,
        ),
        ('integers_*.json',),
        needs=('dataset cora', 'dataset citeseer', *CIFAR10),
    ),
    'layer_speed': _speeds('layer_speed', '--graphs 1000 --shrink 5'),
    'link_prediction': Script(
        '--dataset digits --seeds 1',
        ('--num-steps 8', '', '--num-steps 24'),
        ('link_prediction_*.json',),
        needs=('dataset cora',),
    ),
    'molecule_accuracy': Script(
        '--datasets ogbg-molesol --models gcn --seeds 1 --num-steps 8',
        (
            '--datasets ogbg-molhiv --models gin gcn --seeds 2',
            '--datasets ogbg-molesol --models gin gcn',
            '--datasets ogbg-molbace',
        ),
        ('molecule_accuracy_*.json',),
        ('dataset ogbg-molesol',),
        MOLECULES,
    ),
    'molecule_speed': _speeds(
        'molecule_speed',
        '--models gcn --batch-size 16 --batches 2 --threads 1',
        needs=('dataset ogbg-molhiv',),
        quick_needs=('dataset ogbg-molhiv',),
    ),
    'neurobench_counts': Script(
        '--datasets digits --models cnn --images 50',
        results=('neurobench_counts.json',),
        quick_needs=('package neurobench',),
        needs=('package neurobench', *GRAPHS),
    ),
    'neuron_kernels': _speeds('neuron_kernels', '--threads 1', ('',)),
    'nir_rates': Script(
        '--samples 10 --nodes 8 --epochs 20 --rate-steps 16 256',
        results=('nir_rates.json',),
        quick_needs=('package nir',),
        needs=('package nir',),
    ),
    'node_accuracy': Script(
        '--datasets digits --models gcn sgc --seeds 1 --num-steps 8',
        (
            '--datasets cora pubmed photo '
            '--models gcn sage sage-max gin sgc appnp gcn2 resgcn',
            '--datasets cora --models gat gatv2 transformer gcn-layernorm '
            'gcn-graphnorm resgated film',
            '--datasets cora --models gps --seeds 1',
            '--datasets citeseer --models gat gatv2',
            '--datasets pubmed --models gat gatv2 gcn-layernorm gcn-graphnorm '
            '--seeds 4',
            '--datasets photo --models gat gatv2 transformer resgated film --seeds 3',
            '--datasets cora --models gat transformer resgated film --num-steps 8',
            '--datasets cora --models gat transformer resgated film --num-steps 24',
        ),
        ('node_accuracy_*.json',),
        needs=(*FIVE[:4],),
    ),
    'noise': Script(
        '--networks digits_gcn --seeds 1 --num-steps 8 --bits 8 --kinds drop extra',
        (
            '--networks cora_gcn cora_gin cora_gat --seeds 5',
            '--networks cifar10_resnet20 --weights {weights} --seeds 4',
        ),
        ('noise_*.json',),
        needs=('dataset cora', *CIFAR10),
    ),
    'out_of_core': Script(
        '--folder {scratch} --shrink 100 --block-size 256 --limit 0.5',
        ('--folder {scratch}',),
        ('out_of_core.json',),
        needs=('GB 8', 'files GB 10'),
    ),
    'papers100m': Script(
        '--results {output} --shrink 100',
        results=('papers100m.json',),
        before=('distributed', 'out_of_core'),
    ),
    'reordering': _speeds(
        'reordering',
        "--graphs communities plane 'power law' --shrink 500",
        ('',),
        needs=('dataset pubmed', 'dataset computers'),
    ),
    'scaling': Script(
        '--edges 1e4 2e3 --degree 10 --repeats 1',
        ('', '--products'),
        ('scaling.json', 'scaling_products.json'),
        needs=('GB 16',),
    ),
    'spikingjelly_rival': Script(
        '--images 10 --epochs 20 --timed-images 2 --timed-steps 8 --repeats 1',
        ('--weights {weights} --images 100',),
        ('spikingjelly.json',),
        ('package spikingjelly',),
        ('package spikingjelly', *CIFAR10),
    ),
    'weight_bits': Script(
        '--datasets digits --num-steps 4 --bits 0 8 --seeds 1',
        (
            '--datasets cora citeseer pubmed photo computers',
            f'{RESNET} --per-channel',
            '--datasets ogbg-molhiv --seeds 1 --per-channel',
        ),
        ('weight_bits_*.json',),
        needs=(*FIVE, *CIFAR10, 'dataset ogbg-molhiv'),
    ),
    'weight_precision': _speeds(
        'weight_precision',
        '--images 20 --threads 1',
        ('--weights {weights}',),
        needs=CIFAR10,
        quick_needs=('dataset cifar10',),
    ),
}
# Made by `spikegraph run ... --json`, for README.md and docs/design.md.
RUNS = {
    'run_cora_T16.json': 'run cora',
    'run_cora_T4.json': 'run cora --num-steps 4 --seeds 10',
    'run_mnist_T12.json': 'run mnist --num-steps 12',
    'run_cifar10_resnet20_T16.json': 'run cifar10 --model resnet20 --weights {weights}',
}
