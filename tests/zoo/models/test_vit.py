import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spikegraph import ConversionConfig, convert
from spikegraph.zoo.models import ViT
from spikegraph.zoo.models.vit import ViTBlock


@pytest.fixture
def model():
    torch.manual_seed(0)
    return ViT((2, 8, 12), 5, hidden_channels=8, num_layers=2, heads=2, patch_size=4)


def test_patches_are_cut_out(model):
    x, cut = torch.rand(3, 2, 8, 12), []
    model.eval().blocks.register_forward_pre_hook(lambda _, args: cut.append(args[0]))
    assert model(x).shape == (3, 5) and cut[0].shape == (3, 6, 8)
    weight, bias = model.patches.weight, model.patches.bias
    patch = x[:, :, 4:, 8:].flatten(1) @ weight.flatten(1).t() + bias
    expected = patch + model.positions[:, 5]
    torch.testing.assert_close(cut[0][:, 5], expected)


def test_a_block_is_what_torch_has():
    """Pre-norm, with the exact GELU."""
    block = ViTBlock(8, heads=2, mlp_ratio=3).eval()
    other = nn.TransformerEncoderLayer(
        8, 2, 24, dropout=0.0, activation=F.gelu, batch_first=True, norm_first=True
    ).eval()
    other.self_attn.in_proj_weight = block.qkv.weight
    other.self_attn.in_proj_bias = block.qkv.bias
    other.self_attn.out_proj = block.proj
    other.norm1, other.norm2 = block.norm1, block.norm2
    other.linear1, other.linear2 = block.mlp[0], block.mlp[2]
    x = torch.randn(3, 5, 8)
    torch.testing.assert_close(block(x), other(x))


def test_parameters_are_drawn_anew(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    torch.manual_seed(1)
    model.reset_parameters()
    after = model.state_dict()
    for name, value in before.items():
        assert torch.equal(value, after[name]) == ('norm' in name), name
    torch.manual_seed(1)
    model.reset_parameters()
    assert all(torch.equal(v, after[k]) for k, v in model.state_dict().items())


def test_attention_and_norms_become_spikes(model):
    x = torch.rand(20, 2, 8, 12)
    config = ConversionConfig(num_steps=24, per_channel=True)
    snn = convert(model.eval(), x[:16], config)
    assert snn.report.analog == {} and len(snn.report.products) >= 4
    with torch.no_grad():
        out, expected = snn(x[16:]), model(x[16:])
    assert (out - expected).norm() < 0.1 * expected.norm()


@pytest.mark.parametrize(
    'kwargs, match',
    [
        (dict(patch_size=5), r"of 'patch_size' \(got 8 by 12 .* patches of 5\)"),
        (dict(heads=3), r'multiple .* \(got 8 features and 3 heads\)'),
        (dict(mlp_ratio=0), r"'mlp_ratio' to be at least 1 \(got 0\)"),
        (dict(num_layers=0), r"'num_layers' to be at least 1 \(got 0\)"),
    ],
)
def test_errors(kwargs, match):
    options = {'hidden_channels': 8, 'heads': 2, 'patch_size': 4, **kwargs}
    with pytest.raises(ValueError, match=match):
        ViT((1, 8, 12), 5, **options)
