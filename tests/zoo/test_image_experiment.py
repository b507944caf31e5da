import json
import re
from dataclasses import replace

import pytest
import torch
from torch import nn

import spikegraph
from spikegraph import ConversionConfig, SpikingModel
from spikegraph.cli import main
from spikegraph.formatting import format_experiment, format_sweep
from spikegraph.zoo.datasets import ImageDataset, load_images
from spikegraph.zoo.experiment import (
    default_config,
    evaluate_images,
    run_experiment,
    run_sweep,
)
from spikegraph.zoo.experiment.evaluation import calibration_batches, measured_batches
from spikegraph.zoo.models import CNN, IMAGE_RECIPES, ImageRecipe, ResNet20
from spikegraph.zoo.training import load_weights, prepare

PNG = b'\x89PNG\r\n\x1a\n'


class MLP(nn.Module):
    """A network for images that has no convolution."""

    def __init__(self, image_size, out_channels, hidden_channels):
        super().__init__()
        channels, height, width = image_size
        self.lin1 = nn.Linear(channels * height * width, hidden_channels)
        self.lin2 = nn.Linear(hidden_channels, out_channels)

    def reset_parameters(self):
        self.lin1.reset_parameters()
        self.lin2.reset_parameters()

    def forward(self, x):
        return self.lin2(self.lin1(x.flatten(1)).relu())


def random_images(name, num_train=150, num_test=20, **kwargs):
    generator = torch.Generator().manual_seed(0)
    size = (3, 32, 32) if name == 'cifar10' else (1, 28, 28)
    total = num_train + num_test
    x = torch.randint(256, (total, *size), generator=generator, dtype=torch.uint8)
    y = torch.randint(10, (total,), generator=generator)
    parts = [x[:num_train], y[:num_train], x[num_train:], y[num_train:]]
    return ImageDataset(name, *parts, num_classes=10, description='noise', **kwargs)


@pytest.fixture
def mlp(monkeypatch):
    """A perceptron in place of the CNN, for what does not depend on the network."""
    monkeypatch.setattr(
        ImageRecipe,
        'build_model',
        lambda recipe, size, num: MLP(size, num, recipe.hidden_channels),
    )
    quick = ImageRecipe(hidden_channels=24, epochs=12, shift=0)
    monkeypatch.setitem(IMAGE_RECIPES, 'digits', quick)


@pytest.fixture
def noise(monkeypatch):
    monkeypatch.setattr(
        'spikegraph.zoo.training.load_images', lambda name, root: random_images(name)
    )


def run(**kwargs):
    options = dict(model='cnn', config=ConversionConfig(8), progress=False)
    return run_experiment('digits', **{**options, **kwargs})


def test_results_are_those_of_the_networks(mlp):
    result = run(seeds=2)
    dataset = result.dataset
    assert isinstance(dataset, ImageDataset)
    x, y = dataset.normalize(dataset.test_x), dataset.test_y
    for seed, one in enumerate(result.runs):
        assert one.trained.seed == seed and one.trained.epochs == 12
        with torch.no_grad():
            ann, snn = one.trained.model(x), one.snn(x)
        metrics = one.metrics
        hits = (ann.argmax(-1) == y).double().mean().item()
        snn_hits = (snn.argmax(-1) == y).double().mean().item()
        same = (ann.argmax(-1) == snn.argmax(-1)).double().mean().item()
        assert hits > 0.8
        assert metrics['ann_accuracy'] == pytest.approx(100 * hits)
        assert metrics['snn_accuracy'] == pytest.approx(100 * snn_hits)
        assert metrics['loss_points'] == pytest.approx(100 * (hits - snn_hits))
        assert metrics['agreement'] == pytest.approx(100 * same)
        error = (snn - ann).norm() / ann.norm()
        assert metrics['logit_relative_error'] == pytest.approx(error.item(), rel=1e-4)
        counted = spikegraph.measure(one.snn, x, one.trained.model)  # All 500 of them.
        assert one.measurement.num_nodes == 500
        assert metrics['spikes_per_neuron'] == counted.spikes_per_neuron
        assert one.measurement.energy_pj() == pytest.approx(counted.energy_pj())
        assert all(value > 0 for key, value in one.seconds.items())


def test_report_and_json(mlp):
    result = run()
    text = format_experiment(result)
    for part in [
        'digits: handwritten digits',
        '1,297 training and 500 test images, 1 x 8 x 8 pixels, 10 classes\n',
        'calibrated on 1,020 training images, without labels; operations counted on 500 '
        'test images\n',
        'CNN, 24 channels in the first layer; 1 seed\n',
        'ANN accuracy',
        'accuracy loss',
        'agreement with the ANN',
        's (batch of 128 images)\nSNN forward',
        'Operations of 500 test images (seed 0)',
        'energy, nJ per image',
    ]:
        assert part in text
    assert 'per node' not in text and 'graph' not in text
    values = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert values['dataset'] == dict(
        name='digits',
        description=result.dataset.description,
        num_train=1297,
        num_test=500,
        image_size=[1, 8, 8],
        num_classes=10,
        num_calibration=1020,
        num_measured=500,
    )
    assert values['model']['name'] == 'cnn' and values['model']['epochs'] == 12
    assert values['summary']['populations'] == 2


def test_cnn(monkeypatch):
    quick = ImageRecipe(hidden_channels=8, epochs=12)
    monkeypatch.setitem(IMAGE_RECIPES, 'digits', quick)
    result = run(config=default_config('digits', 'cnn'))
    metrics = result.runs[0].metrics
    assert metrics['ann_accuracy'] > 95 and abs(metrics['loss_points']) < 2
    assert 0 < metrics['spikes_per_neuron'] <= 1 and metrics['agreement'] > 95
    assert result.summary()['populations'] == 4  # The input and three activations.
    assert not result.runs[0].snn.report.analog
    assert 'CNN, 8 channels in the first layer' in format_experiment(result)


def test_sweep(mlp):
    sweep = run_sweep('digits', [4, 8], [1.5], model='cnn', progress=False)
    assert sweep.config.per_channel
    single = run(config=ConversionConfig(8, base=1.5, per_channel=True))
    summary = single.summary()
    assert {name: sweep.rows[1][name] for name in summary} == summary
    text = format_sweep(sweep)
    assert '1,297 training and 500 test images' in text and 'ANN accuracy' in text


def test_weights_need_no_training(mlp, tmp_path, monkeypatch):
    result = run()
    path = tmp_path / 'weights.pt'
    torch.save(result.runs[0].trained.model.state_dict(), path)
    monkeypatch.setattr(
        'spikegraph.zoo.experiment.runs.train', lambda *args: pytest.fail('trained')
    )
    again = run(weights=path)
    assert again.runs[0].metrics == result.runs[0].metrics
    sweep = run_sweep(
        'digits', [8], ['auto'], model='cnn', weights=path, progress=False
    )
    assert sweep.rows[0]['ann_accuracy'] == result.summary()['ann_accuracy']


def test_batches():
    dataset = load_images('digits')
    batches = calibration_batches(dataset)
    assert [len(batch) for batch in batches] == [*7 * [128], 124]
    assert all(b.dtype == torch.float32 and b.shape[1:] == (1, 8, 8) for b in batches)
    again = calibration_batches(dataset)
    assert all(torch.equal(a, b) for a, b in zip(batches, again, strict=True))
    # Different training images, in random order.
    pixels = (torch.cat(batches) * 16).byte()
    known = {image.numpy().tobytes() for image in dataset.train_x}
    drawn = [image.numpy().tobytes() for image in pixels]
    assert set(drawn) <= known and len(set(drawn)) > 1000
    assert not torch.equal(pixels[:128], dataset.train_x[:128])
    few = replace(dataset, train_x=dataset.train_x[:130])
    assert [len(batch) for batch in calibration_batches(few)] == [128, 2]
    many = replace(dataset, test_x=dataset.train_x)
    measured = measured_batches(many)
    assert [len(batch) for batch in measured] == 4 * [128]
    assert torch.equal(torch.cat(measured), dataset.normalize(many.test_x[:512]))


def test_mirrored_batches(monkeypatch):
    dataset = load_images('digits')
    once, twice = calibration_batches(dataset), calibration_batches(dataset, True)
    for x, both in zip(once, twice, strict=True):
        assert torch.equal(both, torch.cat([x, x.flip(3)]))


@pytest.mark.parametrize('mirror', [None, True, False])
@pytest.mark.parametrize('mirrored', [True, False])
def test_mirror_reaches_the_calibration(mlp, monkeypatch, mirror, mirrored):
    """Photographs look alike in a mirror, digits do not."""
    digits = replace(load_images('digits'), mirrored=mirrored)
    monkeypatch.setattr(
        'spikegraph.zoo.training.load_images', lambda name, root: digits
    )
    given, expected = [], mirrored if mirror is None else mirror

    def spy(dataset, mirror):
        given.append(mirror)
        return calibration_batches(dataset, mirror)

    monkeypatch.setattr('spikegraph.zoo.experiment.runs.calibration_batches', spy)
    result = run(mirror=mirror)
    assert given == [expected]
    assert ('training images, also mirrored' in format_experiment(result)) is expected
    assert result.to_dict()['mirrored_calibration'] is expected
    sweep = run_sweep(
        'digits', [4], ['auto'], model='cnn', mirror=mirror, progress=False
    )
    assert given[-1] is expected and sweep.to_dict()['mirrored_calibration'] is expected


def test_energies_are_per_image(mlp):
    assert run(per='image').energy_pj() == run().energy_pj()
    assert run().to_dict()['energy_per'] == 'image'
    with pytest.raises(ValueError, match=r"'per' to be 'image' for .* \(got 'node'\)"):
        run(per='node')


def test_mirror_is_for_images():
    with pytest.raises(ValueError, match=r"False for 'digits', .* \(got True\)"):
        run_experiment('digits', mirror=True, progress=False)
    assert 'mirrored_calibration' not in run(model='gcn').to_dict()


def test_photographs_are_mirrored(tmp_path):
    from tests.zoo.test_images import write_npz

    for name in ('cifar10', 'mnist'):
        write_npz(tmp_path, name)
    assert load_images('cifar10', tmp_path).mirrored
    assert not load_images('mnist', tmp_path).mirrored


@pytest.mark.parametrize(
    'args, levels, bases',
    [
        ('', 'fitted', ['auto']),
        ('--levels geometric', 'geometric', ['auto', 2.0, 1.41, 1.19]),
        ('--scale max', 'geometric', ['auto', 2.0, 1.41, 1.19]),
        ('--base 2 auto', 'geometric', [2.0, 'auto']),
    ],
)
def test_levels_of_a_sweep(mlp, capsys, args, levels, bases):
    command = f'sweep digits --model cnn --num-steps 4 --json - {args}'
    assert main(command.split()) == 0
    result = json.loads(capsys.readouterr().out)
    assert result['config']['levels'] == levels
    assert [row['base'] for row in result['rows']] == bases


def test_default_config():
    assert default_config('mnist').per_channel
    assert default_config('digits', 'cnn', num_steps=5) == ConversionConfig(
        5, per_channel=True, levels='fitted', relay_steps=9
    )
    for given in (dict(base=1.5), dict(scale='max'), dict(threshold_shift=0.7)):
        assert default_config('mnist', **given).levels == 'geometric'
    with pytest.raises(ValueError, match="'levels' = 'fitted', which fits"):
        default_config('mnist', levels='fitted', base=1.5)
    plain = ConversionConfig(per_channel=False, levels='geometric', relay_steps=31)
    assert default_config('digits') == default_config('cora') == plain
    assert not default_config('mnist', per_channel=False).per_channel


class Exact(SpikingModel):
    """Stands for a converted network without error."""

    def __init__(self, model):
        nn.Module.__init__(self)
        self.model = model

    def forward(self, x):
        return self.model(x)


def test_evaluation_shows_bars_and_needs_images(mlp, capsys):
    model = MLP((1, 28, 28), 10, 3).eval()
    dataset, snn = random_images('mnist'), Exact(model)
    evaluate_images(snn, dataset, model)
    assert capsys.readouterr().err == ''
    metrics = evaluate_images(snn, dataset, model, progress=True)
    err = capsys.readouterr().err
    assert 'Testing the ANN' in err and 'Testing the SNN' in err
    assert metrics['agreement'] == 100 and metrics['logit_relative_error'] == 0
    empty = replace(dataset, test_x=dataset.test_x[:0])
    with pytest.raises(ValueError, match=r"'dataset.test_x' .*\(got 0\)"):
        evaluate_images(snn, empty, model)


@pytest.mark.parametrize('prefix', ['', 'module.'])
@pytest.mark.parametrize('nested', [False, True])
def test_checkpoints(noise, tmp_path, prefix, nested):
    model = ResNet20()
    for value in model.state_dict().values():
        value.copy_(torch.rand_like(value.float()))
    state = {
        f'{prefix}{name}': value
        for name, value in model.state_dict().items()
        if 'num_batches' not in name  # Old ones lack it.
    }
    path = tmp_path / 'weights.th'
    torch.save({'state_dict': state, 'best': 91.7} if nested else state, path)
    dataset, recipe = prepare('cifar10', None, None, 1, None, loads_weights=True)
    loaded = load_weights(dataset, recipe, path)
    assert loaded.epochs == 0 and not loaded.model.training
    for name, value in loaded.model.state_dict().items():
        assert 'num_batches' in name or torch.equal(value, model.state_dict()[name])


@pytest.mark.parametrize(
    'content, match',
    [
        (ResNet20(3, 7).state_dict(), r'size mismatch for linear.weight'),
        (CNN((3, 32, 32), 10).state_dict(), r'Missing key\(s\).*conv1.weight'),
        ({'model': ResNet20().state_dict()}, r'Unexpected key\(s\) .*"model"'),
        ({'state_dict': 3}, r'\(got a int, not tensors by name\)'),
        (torch.zeros(3), r'\(got a Tensor, not tensors by name\)'),
        ({0: torch.zeros(3)}, r'\(got a dict, not tensors by name\)'),
        ({}, r'Missing key\(s\)'),
        (ResNet20(), r'or a whole module\); .*torch.save\(model.state_dict\(\)'),
    ],
)
def test_unfit_checkpoints(noise, tmp_path, content, match):
    path = tmp_path / 'weights.th'
    torch.save(content, path)
    dataset, recipe = prepare('cifar10', None, None, 1, None, loads_weights=True)
    with pytest.raises(
        ValueError, match=f'(?s)state dict of a ResNet20 .*{match}'
    ) as e:
        load_weights(dataset, recipe, path)
    assert str(path) in str(e.value)
    with pytest.raises(
        FileNotFoundError, match=r'nowhere.th.*state dict.*no such file'
    ):
        load_weights(dataset, recipe, tmp_path / 'nowhere.th')


@pytest.mark.parametrize('size', [0, 1, 100, 5000, -5000, -1])
def test_cut_checkpoints(noise, tmp_path, size):
    path = tmp_path / 'weights.th'
    torch.save(ResNet20().state_dict(), path)
    path.write_bytes(path.read_bytes()[:size])
    dataset, recipe = prepare('cifar10', None, None, 1, None, loads_weights=True)
    message = f"Expected '{path}' to hold the state dict of a ResNet20"
    with pytest.raises(ValueError, match=re.escape(message)):
        load_weights(dataset, recipe, path)


@pytest.mark.parametrize(
    'kwargs, match',
    [
        (dict(name='mnist', model='gcn'), r"cnn.* for the images .*\(got 'gcn'\)"),
        (dict(name='cora', model='cnn'), r"for the nodes of 'cora' \(got 'cnn'\)"),
        (dict(name='digits', model='cnn', layers=3), r"for 'cnn', .*\(got 3\)"),
        (dict(name='digits', model='cnn', hidden=0), r"'hidden' .*\(got 0\)"),
        (dict(name='cifar10', hidden=8, weights='x'), r"'resnet20', .*\(got 8\)"),
        (
            dict(name='cifar10'),
            r"'weights' .* 'resnet20' on 'cifar10'.*\(got None\).* as 'state_dict'",
        ),
        (dict(name='cifar10', seeds=2, weights='x'), r"'seeds' to be 1 .*\(got 2\)"),
    ],
)
def test_unsuitable_options(kwargs, match, monkeypatch):
    for name in ('load_dataset', 'load_images'):
        monkeypatch.setattr(
            f'spikegraph.zoo.training.{name}', lambda *args: pytest.fail('loaded')
        )
    with pytest.raises(ValueError, match=match):
        run_experiment(**kwargs)


def test_sweep_without_weights():
    with pytest.raises(ValueError, match=r"'weights' to be given .*\(got None\)"):
        run_sweep('cifar10', [8], [2.0])


def test_hidden_reaches_the_network(noise):
    dataset, recipe = prepare('mnist', 5, None, 1, None)
    assert recipe == replace(IMAGE_RECIPES['mnist'], hidden_channels=5)
    assert dataset.name == 'mnist'


def test_command_line(mlp, tmp_path, capsys, monkeypatch):
    sizes = []
    simulate = spikegraph.simulate

    def spy(snn, *args):
        sizes.extend(args[0].shape)
        return simulate(snn, *args)

    monkeypatch.setattr('spikegraph.running.steps.simulate', spy)
    args = ['run', 'digits', '--model', 'cnn', '--num-steps', '6', '--hidden', '16']
    assert main([*args, '--output', str(tmp_path)]) == 0
    assert 'energy, nJ per image' in capsys.readouterr().out
    assert sizes == [16, 1, 8, 8]
    for name in ['raster.png', 'spike_times.png', 'coding_error.png']:
        assert (tmp_path / name).read_bytes().startswith(PNG)
    result = json.loads((tmp_path / 'result.json').read_text())
    assert result['config']['per_channel'] and result['config']['num_steps'] == 6
    assert result['config']['levels'] == 'fitted'
    again = [*args, '--weights', str(tmp_path / 'ann.pt'), '--json', '-']
    assert main([*again, '--no-per-channel']) == 0
    whole = json.loads(capsys.readouterr().out)
    assert not whole['config']['per_channel']
    mean = [r['summary']['ann_accuracy']['mean'] for r in (result, whole)]
    assert mean[0] == mean[1]


@pytest.mark.parametrize(
    'args, match',
    [
        ('run cifar10', "'weights' to be given for 'resnet20'"),
        ('run mnist --model gcn', "(got 'gcn')"),
        ('run cora --model cnn', "(got 'cnn')"),
        ('run digits --model cnn --weights nowhere.pt', 'nowhere.pt'),
        ('sweep cifar10', "'weights' to be given for 'resnet20'"),
    ],
)
def test_command_line_errors(args, match, capsys):
    assert main(args.split()) == 2
    out, err = capsys.readouterr()
    assert out == '' and err.count('\n') == 1 and match in err


def test_listing(capsys):
    assert main(['datasets']) == 0
    graphs, images = capsys.readouterr().out.split('\n\n')[:2]
    assert 'mnist' not in graphs and 'digits' in graphs
    rows = {line.split()[0]: line for line in images.splitlines()}
    assert list(rows) == ['name', 'digits', 'mnist', 'cifar10']
    assert '70,000' in rows['mnist'] and '1 x 28 x 28' in rows['mnist']
    assert 'embedded' in rows['digits'] and '--model cnn' in rows['name']


def test_subsets_are_called_so(capsys, monkeypatch, tmp_path, mlp):
    monkeypatch.setenv('SPIKEGRAPH_ROOT', str(tmp_path))

    def rows():
        assert main(['datasets']) == 0
        images = capsys.readouterr().out.split('\n\n')[1]
        return {line.split()[0]: line for line in images.splitlines()}

    assert not any('subset' in row for row in rows().values())
    for file in ('train_20000.npz', 'test.npz'):
        (tmp_path / 'mnist').mkdir(exist_ok=True)
        (tmp_path / 'mnist' / file).touch()
    found = rows()
    assert found['mnist'].endswith('(in the folder: a subset)')
    assert '70,000' in found['mnist']
    assert 'subset' not in found['cifar10'] and 'subset' not in found['digits']
    result = run()
    assert 'subset' not in format_experiment(result)  # All digits.
    for name, total in (('mnist', '70,000'), ('cifar10', '60,000')):
        few = replace(result, dataset=random_images(name))
        head = format_experiment(few).splitlines()[1]
        assert head.startswith('150 training and 20 test images')
        assert head.endswith(f'10 classes; a subset of the {total} images of {name}')
    known = random_images('mnist')
    other = replace(result, dataset=replace(known, name='mine'))
    assert 'subset' not in format_experiment(other)
