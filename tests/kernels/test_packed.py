import pytest
import torch
from torch import nn

from spikegraph import ConversionConfig, convert
from spikegraph.kernels import tape
from spikegraph.kernels.packed import packed_convolution


class Images(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 8, 3, 2)
        self.third = nn.Conv2d(8, 8, 3, groups=2, dilation=2)

    def forward(self, x):
        x = self.second(self.first(x).relu()).relu()
        return self.third(x).relu().mean((2, 3))


@pytest.mark.parametrize('size', [1, 4])
@torch.no_grad()
def test_recorded_convolutions_give_the_same_bits(size, monkeypatch):
    asked = []

    def ask(args, out):
        found = packed_convolution(args, out)
        asked.append(found is not None)
        return found

    monkeypatch.setattr(tape, 'packed_convolution', ask)
    x = torch.randn(size, 3, 12, 13)
    snn = convert(Images().eval(), x, ConversionConfig(num_steps=16))
    first = snn(x)
    for _ in range(3):
        assert torch.equal(snn(x), first)
    assert snn.plan.way == 'recorded' and len(asked) == 3
    other = torch.randn_like(x)
    recorded = snn(other)
    assert snn.plan.way == 'recorded'
    snn.plan._tapes.clear()
    assert torch.equal(snn(other), recorded)
    snn.network.get_submodule('first').conv.weight.data.mul_(1.5)
    changed = snn(other)
    assert not torch.equal(changed, recorded)
    for _ in range(3):
        assert torch.equal(snn(other), changed)


def arguments_of(conv, x):
    how = conv.stride, conv.padding, conv.dilation
    return x, conv.weight, conv.bias, *map(list, how), False, [0, 0], conv.groups


@torch.no_grad()
def test_others_stay_as_they_are():
    conv, x = nn.Conv2d(3, 4, 3), torch.randn(2, 3, 8, 8)
    last = x.contiguous(memory_format=torch.channels_last)
    args = arguments_of(conv, last)
    if packed_convolution(args, conv(last)) is not None:
        call, given = packed_convolution(args, conv(last))
        assert torch.equal(call(*given), conv(last))
    assert packed_convolution(args, conv(last) + 1) is None  # Not the same.
    assert packed_convolution(args, conv(last).contiguous()) is None
    assert packed_convolution(arguments_of(conv, x), conv(x)) is None
    double = conv.double()
    assert packed_convolution(arguments_of(double, last.double()), x) is None
    assert packed_convolution(args[:8], x) is None
