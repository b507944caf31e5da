import pytest
import torch
from ogb.graphproppred.mol_encoder import AtomEncoder, BondEncoder
from torch import nn

from spikegraph import ConversionConfig, convert
from spikegraph.nn.embedding import embed_sum

pytestmark = pytest.mark.usefixtures('no_grad')


@pytest.fixture
def no_grad():
    with torch.no_grad():
        yield


def categories(encoder, num=50):
    tables = next(iter(encoder.children()))
    columns = [torch.randint(len(table.weight), (num,)) for table in tables]
    return torch.stack(columns, dim=1)


@pytest.mark.parametrize('encoder', [AtomEncoder, BondEncoder])
@pytest.mark.parametrize('width', [1, 7, 64])
def test_sums_are_those_of_the_encoder_bit_by_bit(encoder, width):
    module = encoder(width)
    index = categories(module)
    assert torch.equal(embed_sum(module, (index,), {}), module(index))
    few = index[:, :2]
    assert torch.equal(embed_sum(module, (few,), {}), module(few))


def test_what_is_not_known_is_left_to_the_encoder():
    module = BondEncoder(4)
    index = categories(module)
    too_large, negative = index.clone(), index.clone()
    too_large[3, 1], negative[0, 0] = 99, -1
    for args in ((too_large,), (negative,), (index[:0],), (index.int(),), (index[0],)):
        assert embed_sum(module, args, {}) is None
    assert embed_sum(module, (), {'edge_attr': index}) is None
    assert embed_sum(nn.Embedding(3, 4), (index,), {}) is None
    module.bond_embedding_list[1].max_norm = 1.0
    assert embed_sum(module, (index,), {}) is None
    module = BondEncoder(4)
    module.bond_embedding_list[0].register_forward_hook(lambda *_: None)
    assert embed_sum(module, (index,), {}) is None
    with torch.enable_grad():
        assert embed_sum(BondEncoder(4), (index,), {}) is None
    assert embed_sum(BondEncoder(4).double(), (index,), {}) is None


class Read(nn.Module):
    def __init__(self):
        super().__init__()
        self.atoms, self.lin = AtomEncoder(16), nn.Linear(16, 3)

    def forward(self, x):
        return self.lin(self.atoms(x).relu())


def test_networks_read_encoders_as_they_are():
    model = Read().eval()
    x = categories(model.atoms)
    snn = convert(model, x, ConversionConfig(num_steps=16))
    found = snn(x)
    hook = snn.network.atoms.register_forward_hook(lambda module, args, out: out * 1)
    assert torch.equal(snn(x), found)
    hook.remove()
    with pytest.raises(IndexError):
        snn(torch.full_like(x, 500))
