"""The spiking twins of PyTorch's attention and of the layers made of it: values arrive
delayed by their coefficients.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikegraph.nn.conv.twin import SpikingTwin, dense


class SpikingMultiheadAttention(SpikingTwin):
    r"""Attention with several heads, whose scores are sums of delayed spikes:

    .. math::
        \mathbf{v}_i = \frac{\sum_j \hat{e}_{ij} \mathbf{\hat{v}}_j}{\sum_j \hat{e}_{ij}},
        \quad e_{ij} = \exp \left( \frac{\mathbf{\hat{q}}_i^{\top} \mathbf{\hat{k}}_j}
        {\sqrt{d}} + m_{ij} \right)

    Arguments and shapes are those of :class:`torch.nn.MultiheadAttention`. A hint that
    a mask is causal is not needed.
    """

    ann_type = nn.MultiheadAttention

    def build(self, conv: Any) -> None:
        """Takes the weights."""
        if conv.in_proj_weight is None:
            weights = conv.q_proj_weight, conv.k_proj_weight, conv.v_proj_weight
        else:
            weights = conv.in_proj_weight.chunk(3)
        biases: Any = (None,) * 3
        if conv.in_proj_bias is not None:
            biases = conv.in_proj_bias.chunk(3)
        parts = [dense(w, b) for w, b in zip(weights, biases, strict=True)]
        self.of_query, self.of_key, self.of_value = parts
        self.out = dense(conv.out_proj.weight, conv.out_proj.bias)
        self.heads, self.width = conv.num_heads, conv.head_dim
        self.batch_first, self.adds_zero = conv.batch_first, conv.add_zero_attn
        self.bias_k, self.bias_v = conv.bias_k, conv.bias_v

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """Returns the output, and the coefficients if they are asked for."""
        rank: int = query.dim()
        q = self._split(self.of_query(query), rank)
        k = self._longer(self._split(self.of_key(key), rank), self.bias_k)
        v = self._longer(self._split(self.of_value(value), rank), self.bias_v)
        mask = self._mask(attn_mask, key_padding_mask, rank, query.dtype)
        score = (q @ k.transpose(-2, -1)) * (1 / math.sqrt(self.width))
        if mask is not None:
            extra = (self.bias_k is not None) + self.adds_zero
            mask = F.pad(mask, (0, extra)) if extra else mask
            hides = mask.dtype == torch.bool
            score = score.masked_fill(mask, -math.inf) if hides else score + mask
        alpha = torch.softmax(score, -1)
        out = self.out(self._merge(alpha @ v, rank))
        if not need_weights:
            return out, None
        return out, alpha.mean(-3) if average_attn_weights else alpha

    def _split(self, x: Tensor, rank: int) -> Tensor:
        """The heads in front of the places :math:`(*, H, L, d)`."""
        x = x.unflatten(-1, (self.heads, self.width))
        if rank == 3 and not self.batch_first:
            return x.permute(1, 2, 0, 3)
        return x.transpose(-3, -2)

    def _merge(self, x: Tensor, rank: int) -> Tensor:
        if rank == 3 and not self.batch_first:
            return x.permute(2, 0, 1, 3).flatten(-2)
        return x.transpose(-3, -2).flatten(-2)

    def _longer(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """With the places that are learned, and one of zeros, behind the others."""
        if bias is not None:
            row = bias.view(self.heads, 1, self.width)
            if x.dim() == 4:
                row = row.expand(x.size(0), -1, -1, -1)
            x = torch.cat([x, row], -2)
        if self.adds_zero:
            x = torch.cat([x, torch.zeros_like(x[..., :1, :])], -2)
        return x

    def _mask(
        self, attn_mask: Any, padding: Any, rank: int, dtype: torch.dtype
    ) -> Tensor | None:
        """One mask of both: of places that are hidden, or numbers to add."""
        if attn_mask is not None and attn_mask.dim() == 3 and rank == 3:
            attn_mask = attn_mask.unflatten(0, (-1, self.heads))
        if padding is not None and rank == 3:
            padding = padding.unsqueeze(1).unsqueeze(1)
        masks = [mask for mask in (attn_mask, padding) if mask is not None]
        if len(masks) < 2:
            return masks[0] if masks else None
        if all(mask.dtype == torch.bool for mask in masks):
            return torch.logical_or(*masks)
        added, other = (_added(mask, dtype) for mask in masks)
        return added + other


def _added(mask: Tensor, dtype: torch.dtype) -> Tensor:
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -math.inf)


class SpikingTransformerEncoderLayer(SpikingTwin):
    r"""Attention and two dense layers, each beside a connection around it.

    Arguments and shapes are those of :class:`torch.nn.TransformerEncoderLayer`.
    """

    ann_type: ClassVar[type[nn.Module]] = nn.TransformerEncoderLayer
    names: tuple[str, ...] = ('self_attn', 'linear1', 'linear2', 'norm1', 'norm2')

    def build(self, conv: Any) -> None:
        """Takes the parts."""
        for name in self.names:
            setattr(self, name, getattr(conv, name))
        self.norm_first, self.activation = conv.norm_first, conv.activation

    def forward(
        self,
        src: Tensor,
        src_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """Returns the features of every place."""

        def attend(x: Tensor) -> Tensor:
            return self.attend(self.self_attn, x, x, src_mask, src_key_padding_mask)

        src = self.around(src, self.norm1, attend)
        return self.around(src, self.norm2, self.feed)

    def around(self, x: Tensor, norm: Any, block: Any) -> Tensor:
        """A block and the connection around it, normalised before or behind."""
        if self.norm_first:
            return x + block(norm(x))
        out: Tensor = norm(x + block(x))
        return out

    def attend(
        self, attention: Any, x: Tensor, memory: Tensor, mask: Any, padding: Any
    ) -> Tensor:
        """What places read of others."""
        out: Tensor = attention(
            x,
            memory,
            memory,
            attn_mask=mask,
            key_padding_mask=padding,
            need_weights=False,
        )[0]
        return out

    def feed(self, x: Tensor) -> Tensor:
        """The dense layers."""
        activation: Any = self.activation
        linear1: Any = self.linear1
        linear2: Any = self.linear2
        out: Tensor = linear2(activation(linear1(x)))
        return out


class SpikingTransformerDecoderLayer(SpikingTransformerEncoderLayer):
    r"""The same with attention to a memory in between.

    Arguments and shapes are those of :class:`torch.nn.TransformerDecoderLayer`.
    """

    ann_type = nn.TransformerDecoderLayer
    names = (
        *SpikingTransformerEncoderLayer.names,
        *('multihead_attn', 'norm3'),
    )

    def forward(  # type: ignore[override]
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool = False,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Returns the features of every place."""

        def attend(x: Tensor) -> Tensor:
            return self.attend(self.self_attn, x, x, tgt_mask, tgt_key_padding_mask)

        def remember(x: Tensor) -> Tensor:
            masks = memory_mask, memory_key_padding_mask
            return self.attend(self.multihead_attn, x, memory, *masks)

        tgt = self.around(tgt, self.norm1, attend)
        tgt = self.around(tgt, self.norm2, remember)
        return self.around(tgt, self.norm3, self.feed)


class SpikingTransformerEncoder(SpikingTwin):
    r"""Layers that attend, one behind the other.

    Arguments and shapes are those of :class:`torch.nn.TransformerEncoder`. Outputs at
    padded places are what the layers make of them; PyTorch fills in zeros at times.
    """

    ann_type: ClassVar[type[nn.Module]] = nn.TransformerEncoder

    def build(self, conv: Any) -> None:
        """Takes the layers."""
        self.layers, self.norm = conv.layers, conv.norm

    def forward(
        self,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        """Returns the features of every place."""
        for layer in self.layers:
            src = layer(src, src_mask=mask, src_key_padding_mask=src_key_padding_mask)
        return src if self.norm is None else self.norm(src)


class SpikingTransformerDecoder(SpikingTransformerEncoder):
    r"""Layers that attend to a memory, too.

    Arguments and shapes are those of :class:`torch.nn.TransformerDecoder`.
    """

    ann_type = nn.TransformerDecoder

    def forward(  # type: ignore[override]
        self,
        tgt: Tensor,
        memory: Tensor,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Returns the features of every place."""
        masks = {'tgt_mask': tgt_mask, 'memory_mask': memory_mask}
        masks['tgt_key_padding_mask'] = tgt_key_padding_mask
        masks['memory_key_padding_mask'] = memory_key_padding_mask
        for layer in self.layers:
            tgt = layer(tgt, memory, **masks)
        return tgt if self.norm is None else self.norm(tgt)


class SpikingTransformer(SpikingTwin):
    r"""An encoder and a decoder.

    Arguments and shapes are those of :class:`torch.nn.Transformer`.
    """

    ann_type = nn.Transformer

    def build(self, conv: Any) -> None:
        """Takes both."""
        self.encoder, self.decoder = conv.encoder, conv.decoder

    def forward(
        self,
        src: Tensor,
        tgt: Tensor,
        src_mask: Tensor | None = None,
        tgt_mask: Tensor | None = None,
        memory_mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        tgt_key_padding_mask: Tensor | None = None,
        memory_key_padding_mask: Tensor | None = None,
        src_is_causal: bool | None = None,
        tgt_is_causal: bool | None = None,
        memory_is_causal: bool = False,
    ) -> Tensor:
        """Returns the features of the places of the target."""
        memory = self.encoder(src, src_mask, src_key_padding_mask)
        out: Tensor = self.decoder(
            tgt,
            memory,
            tgt_mask,
            memory_mask,
            tgt_key_padding_mask,
            memory_key_padding_mask,
        )
        return out
