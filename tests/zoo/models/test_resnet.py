import pytest
import torch
from torch import nn

from spikegraph.zoo.models import ResNet20
from spikegraph.zoo.models.resnet import ResidualBlock
from spikegraph.zoo.training import load_weights, prepare


def test_names_and_sizes():
    model = ResNet20()
    state = model.state_dict()
    for name, shape in [
        ('conv1.weight', (16, 3, 3, 3)),
        ('bn1.running_var', (16,)),
        ('layer1.0.conv1.weight', (16, 16, 3, 3)),
        ('layer2.0.conv1.weight', (32, 16, 3, 3)),
        ('layer2.2.bn2.bias', (32,)),
        ('layer3.0.conv2.weight', (64, 64, 3, 3)),
        ('linear.weight', (10, 64)),
        ('linear.bias', (10,)),
    ]:
        assert state[name].shape == shape
    layers = [m for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert len(layers) == 20
    # The paper's table gives 0.27 million.
    assert sum(p.numel() for p in model.parameters()) == 269_722
    assert ResNet20(1, 7).eval()(torch.rand(2, 1, 32, 32)).shape == (2, 7)


def test_shortcut_skips_pixels_and_pads_channels():
    block = ResidualBlock(4, 8, stride=2).eval()
    nn.init.zeros_(block.conv2.weight)
    x = torch.rand(3, 4, 6, 10)
    out = block(x)
    assert out.shape == (3, 8, 3, 5)
    for pixel in [(0, 0), (1, 3), (2, 4)]:
        row, column = pixel
        expected = x[:, :, 2 * row, 2 * column]
        assert torch.equal(out[:, 2:6, row, column], expected)
    assert (out[:, :2] == 0).all() and (out[:, 6:] == 0).all()
    assert torch.equal(ResidualBlock(4, 4).eval()(0 * x), 0 * x)


def test_reset_parameters():
    model = ResNet20()
    torch.manual_seed(1)
    model.reset_parameters()
    first = {name: value.clone() for name, value in model.state_dict().items()}
    for value in model.state_dict().values():
        value.fill_(3)
    torch.manual_seed(1)
    model.reset_parameters()
    for name, value in model.state_dict().items():
        assert torch.equal(value, first[name]), name


def test_errors():
    with pytest.raises(ValueError, match=r"'out_channels' to be at least 1 \(got 0\)"):
        ResNet20(out_channels=0)


@pytest.mark.data
def test_public_weights(dataset_root):
    root = dataset_root('cifar10')
    path = root / 'cifar10' / 'resnet20-12fca82f.th'
    if not path.exists():
        pytest.skip(f"there is no '{path}'")
    dataset, recipe = prepare('cifar10', None, None, 1, root, loads_weights=True)
    model = load_weights(dataset, recipe, path).model
    # It is right for 9,173 of all 10,000 test images, which is its published 91.73 %.
    batches = zip(dataset.test_x.split(250), dataset.test_y.split(250), strict=True)
    with torch.no_grad():
        correct = [
            int((model(dataset.normalize(x)).argmax(dim=-1) == y).sum())
            for x, y in list(batches)[:4]
        ]
    assert sum(correct) == 913
