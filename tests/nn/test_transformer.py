"""Attention of PyTorch, and the layers made of it."""

import pytest
import torch
from torch import nn

from spikegraph import ConversionConfig, convert
from spikegraph.nn.transformer import SpikingMultiheadAttention, SpikingTransformer
from tests.conversion.zoo import randomize
from tests.nn.exactness import CONFIG, assert_exact, real

CAUSAL = torch.triu(torch.ones(4, 4, dtype=torch.bool), 1)
PADDED = torch.arange(4) >= torch.tensor([[4], [2], [3]])
ADDED = torch.zeros(4, 4).double().masked_fill(CAUSAL, -torch.inf) + 0.3
EACH = torch.stack([CAUSAL, CAUSAL.T] * 3)


class Attending(nn.Module):
    """Attention of places to each other, or to those of a second sequence."""

    def __init__(self, attention, mask=None, padding=None, **options):
        super().__init__()
        self.attention, self.options = attention, options
        self.register_buffer('mask', mask, persistent=False)
        self.register_buffer('padding', padding, persistent=False)

    def forward(self, x, y=None):
        y = x if y is None else y
        masks = {'attn_mask': self.mask, 'key_padding_mask': self.padding}
        out, weights = self.attention(x, y, y, **masks, **self.options)
        return (out, weights) if self.options.get('need_weights') else out


def attention(**options):
    return nn.MultiheadAttention(6, 2, **options)


BATCHED = {
    'plain': ({}, (), {}),
    'a hidden future': ({}, (CAUSAL,), {}),
    'numbers to add': ({}, (ADDED,), {}),
    'padding': ({'bias': False}, (None, PADDED), {}),
    'both': ({'add_zero_attn': True}, (CAUSAL, PADDED), {}),
    'both, one of numbers': ({}, (ADDED, PADDED), {}),
    'a mask for each head': ({}, (EACH,), {}),
    'learned places': ({'add_bias_kv': True, 'add_zero_attn': True}, (CAUSAL,), {}),
    'without weights': ({}, (), {'need_weights': False}),
    'with weights': ({}, (CAUSAL,), {'need_weights': True}),
    'those of heads': ({}, (), {'need_weights': True, 'average_attn_weights': False}),
}


@pytest.mark.filterwarnings('ignore:Support for mismatched')
@pytest.mark.parametrize('batch_first', [False, True])
@pytest.mark.parametrize('options, masks, call', BATCHED.values(), ids=BATCHED)
def test_attention(options, masks, call, batch_first):
    model = Attending(attention(batch_first=batch_first, **options), *masks, **call)
    assert_exact(model, real(3, 4, 6) if batch_first else real(4, 3, 6))


def test_attention_to_others():
    model = Attending(attention(kdim=5, vdim=5))
    assert_exact(model, real(4, 3, 6), real(5, 3, 5, seed=1))


@pytest.mark.parametrize(
    'mask, padding', [(None, PADDED[1]), (CAUSAL, PADDED[2]), (EACH[:2], None)]
)
def test_one_sequence(mask, padding):
    assert_exact(Attending(attention(), mask, padding), real(4, 6))


def test_the_twin_is_the_layer():
    layer = randomize(attention(add_bias_kv=True, batch_first=True))
    x = real(3, 4, 6)
    found = SpikingMultiheadAttention.from_ann(layer)(x, x, x, PADDED, True, CAUSAL)
    expected = layer(x, x, x, PADDED, True, CAUSAL)
    for a, b in zip(found, expected, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-12)


class Layer(nn.Module):
    """A layer with masks."""

    def __init__(self, layer, **masks):
        super().__init__()
        self.layer, self.masks = layer, masks

    def forward(self, *inputs):
        raise NotImplementedError


class One(Layer):
    def forward(self, x):
        return self.layer(x, **self.masks)


class Two(Layer):
    def forward(self, x, y):
        return self.layer(x, y, **self.masks)


def encoder(**options):
    return nn.TransformerEncoderLayer(6, 2, 8, **options)


def encoders(num_layers, norm=None):
    options = {'enable_nested_tensor': False}
    return nn.TransformerEncoder(encoder(), num_layers, norm, **options)


def decoder(**options):
    return nn.TransformerDecoderLayer(6, 2, 8, **options)


def transformer(num_layers, **options):
    inner = encoders(num_layers, nn.LayerNorm(6))
    return nn.Transformer(6, 2, 1, 1, 8, custom_encoder=inner, **options)


ENCODERS = {
    'one': One(encoder()),
    'normalised before': One(encoder(norm_first=True, activation='gelu')),
    'batch first': One(encoder(batch_first=True, bias=False)),
    'two': One(encoders(2, nn.LayerNorm(6)), mask=CAUSAL),
    'padded': One(encoders(1), src_key_padding_mask=PADDED),
}


@pytest.mark.parametrize('model', ENCODERS.values(), ids=ENCODERS)
def test_encoders(model):
    assert_exact(model, real(4, 3, 6), most=0.4)


DECODERS = {
    'one': Two(decoder(), tgt_mask=CAUSAL),
    'normalised before': Two(decoder(norm_first=True), memory_key_padding_mask=PADDED),
    'two': Two(nn.TransformerDecoder(decoder(activation='gelu'), 1, nn.LayerNorm(6))),
    'both': Two(transformer(1), tgt_mask=CAUSAL),
}


@pytest.mark.parametrize('model', DECODERS.values(), ids=DECODERS)
def test_decoders(model):
    assert_exact(model, real(4, 3, 6), real(4, 3, 6, seed=1), most=0.4)


def test_the_twin_of_both_is_the_model():
    model = randomize(transformer(2, norm_first=True)).eval()
    source, target = real(5, 3, 6), real(4, 3, 6)
    found = SpikingTransformer.from_ann(model)(source, target, tgt_mask=CAUSAL)
    expected = model(source, target, tgt_mask=CAUSAL)
    assert torch.allclose(found, expected, rtol=0, atol=1e-9)


class Masked(nn.Module):
    """Masks that come with the data."""

    def __init__(self):
        super().__init__()
        self.layer = encoders(1)

    def forward(self, x, mask, padding):
        return self.layer(x, mask, padding)


def test_masks_are_inputs():
    model = randomize(Masked()).eval()
    config = ConversionConfig(num_steps=40, base=1.15, compensate=None)
    snn = convert(model, (real(4, 3, 6), CAUSAL, PADDED), config)
    others = real(4, 3, 6, seed=1), CAUSAL.T, PADDED.flip(0)
    found, expected = snn(*others), model(*others)
    assert (found - expected).norm() < 0.15 * expected.norm()
    assert snn.report.analog == {}


def test_sequences_of_other_lengths():
    model = randomize(Attending(attention())).eval()
    snn = convert(model, real(4, 3, 6), CONFIG)
    x = real(7, 2, 6, seed=1)
    found, expected = snn(x), model(x)
    assert (found - expected).norm() < 0.3 * expected.norm()
