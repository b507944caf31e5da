import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch_geometric.nn.models import GCN

from spikegraph import ConversionConfig, convert, load, measure, save
from tests.conversion.cnns import images

GIVEN = [dict(base=1.5), dict(scale='max'), dict(threshold_shift=0.9)]


def network(layer):
    head = nn.Sequential(nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    return nn.Sequential(layer, head)


def converted(layer, x, **options):
    torch.manual_seed(0)
    model = network(layer).to(x.dtype).eval()
    model(x)
    return model, convert(model, x, ConversionConfig(num_steps=6, **options))


@pytest.mark.parametrize(
    'layer, size',
    [
        (nn.Conv2d(3, 4, 3), (12, 3, 8, 8)),
        (nn.Conv3d(2, 4, 3), (12, 2, 5, 5, 5)),
        (nn.ConvTranspose2d(3, 4, 3), (12, 3, 4, 4)),
    ],
    ids=str,
)
def test_images_have_fitted_levels_and_a_scale_per_channel(layer, size):
    _, snn = converted(layer, torch.rand(size))
    assert snn.config.levels == snn.report.levels == 'fitted'
    assert snn.config.per_channel and snn.report.per_channel
    assert 'codes         fitted levels, a scale for each channel' in str(snn.report)
    hidden = [n for name, n in snn.neurons.items() if not name.startswith('input')]
    assert hidden[0].code.base is None and hidden[0].scale.numel() == 4


@pytest.mark.parametrize(
    'layer, size',
    [(nn.Linear(5, 4), (12, 5)), (nn.Conv1d(3, 4, 3), (12, 3, 9))],
    ids=str,
)
def test_others_have_geometric_levels_and_one_scale(layer, size):
    _, snn = converted(layer, torch.rand(size))
    assert snn.config.levels == 'geometric' and not snn.config.per_channel
    assert 'codes         geometric levels, one scale each' in str(snn.report)
    assert all(n.scale.numel() == 1 for n in snn.neurons.values())


@pytest.mark.parametrize('options', [*GIVEN, dict(levels='geometric')], ids=str)
def test_what_is_given_is_kept(options):
    _, snn = converted(nn.Conv2d(3, 4, 3), images(12), **options)
    assert snn.config.levels == 'geometric' and snn.config.per_channel
    _, snn = converted(nn.Conv2d(3, 4, 3), images(12), per_channel=False, **options)
    assert not snn.config.per_channel
    assert all(n.scale.numel() == 1 for n in snn.neurons.values())


def test_both_defaults_pay_for_images():
    error, layer, x = {}, nn.Conv2d(3, 4, 3), images(48)
    for options in ({}, dict(per_channel=False), dict(levels='geometric')):
        _, snn = converted(layer, x, compensate=None, **options)
        error[str(options)] = snn.report.logit_relative_error
    assert min(error, key=error.__getitem__) == '{}'


def test_what_was_chosen_is_saved_and_measured(tmp_path):
    model, snn = converted(nn.Conv2d(3, 4, 3), images(12))
    save(snn, tmp_path / 'snn')
    loaded = load(tmp_path / 'snn', model)
    assert loaded.config == snn.config and loaded.report == snn.report
    assert measure(loaded, images(3), model).unit == 'image'


@pytest.mark.parametrize('has_images', [True, False])
@pytest.mark.parametrize('options', [{}, *GIVEN, dict(levels='fitted')], ids=str)
def test_resolve_leaves_nothing_open(has_images, options):
    config = ConversionConfig(**options)
    found = config.resolve(has_images)
    assert None not in (found.levels, found.per_channel, found.relay_steps)
    assert found.resolve(not has_images) == found
    kept = dataclasses.replace(
        found, levels=config.levels, per_channel=config.per_channel, relay_steps=None
    )
    assert kept == config


def test_graphs_are_no_images(graph):
    model = GCN(graph.x.size(1), 8, 2, 3).to(graph.x.dtype)
    snn = convert(model, graph)
    assert snn.report.levels == 'geometric' and not snn.report.per_channel


class Arranged(nn.Module):
    """Dimensions are moved between a convolution and what follows."""

    def __init__(self, arrange):
        super().__init__()
        self.conv, self.arrange = nn.Conv2d(3, 4, (3, 8)), arrange

    def forward(self, x):
        return self.arrange(self.conv(x))


@pytest.mark.parametrize(
    'arrange, shape',
    [
        (lambda h: h.squeeze(3).relu().mean(2), (4, 1)),
        (lambda h: h.relu().squeeze(-1).mean(2), (4, 1, 1)),
        (lambda h: F.max_pool1d(h.squeeze(3), 2).relu().mean(2), (4, 1)),
        (lambda h: h.permute(0, 2, 3, 1).relu().mean((1, 2)), (4,)),
        (lambda h: h.flatten(2).relu().mean(2), (4, 1)),
        (lambda h: h.unsqueeze(2).relu().flatten(2).mean(2), (4, 1, 1, 1)),
    ],
)
def test_channels_are_found_where_they_were_moved_to(arrange, shape):
    torch.manual_seed(0)
    model, x = Arranged(arrange).eval(), torch.rand(12, 3, 9, 8)
    snn = convert(model, x)
    scales = {tuple(n.scale.shape) for k, n in snn.neurons.items() if 'input' not in k}
    assert scales == {shape}
    other = torch.rand(5, 3, 13, 8)  # As many channels, at more places.
    assert (snn(other) - model(other)).norm() < 0.2 * model(other).norm()


@pytest.mark.parametrize('shift', ['a', True, 0.0, 1.5, [0.9]])
def test_shifts_that_are_none(shift):
    with pytest.raises(
        ValueError, match=r"'threshold_shift' to be None or in \(0, 1\]"
    ):
        ConversionConfig(threshold_shift=shift)
