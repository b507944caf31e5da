"""Operations on images and sequences that are affine in their input."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

#: Convolutions with weights that are given: affine while those are fixed.
CONVOLUTIONS: tuple[Any, ...] = (
    *(F.conv1d, F.conv2d, F.conv3d),
    *(F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d),
)
#: Averages over windows.
AVERAGES: tuple[Any, ...] = (
    *(nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
    *(nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
    *(F.avg_pool1d, F.avg_pool2d, F.avg_pool3d, torch.avg_pool1d),
    *(F.adaptive_avg_pool1d, F.adaptive_avg_pool2d, F.adaptive_avg_pool3d),
    torch.adaptive_avg_pool1d,
)
#: What moves values and computes none, or repeats them.
MOVES: tuple[Any, ...] = (
    *(nn.Flatten, nn.Unflatten, nn.Unfold, nn.PixelShuffle, nn.PixelUnshuffle),
    *(nn.ChannelShuffle, nn.UpsamplingNearest2d, F.unfold),
    *(nn.ZeroPad1d, nn.ZeroPad2d, nn.ZeroPad3d, nn.ReflectionPad1d),
    *(nn.ReflectionPad2d, nn.ReflectionPad3d, nn.ReplicationPad1d),
    *(nn.ReplicationPad2d, nn.ReplicationPad3d, nn.CircularPad1d),
    *(nn.CircularPad2d, nn.CircularPad3d, nn.ConstantPad1d, nn.ConstantPad2d),
    *(nn.ConstantPad3d, F.pad, torch.pixel_shuffle, torch.pixel_unshuffle),
    *(F.pixel_shuffle, F.pixel_unshuffle, torch.channel_shuffle),
    *(torch.movedim, torch.moveaxis, torch.swapaxes, torch.swapdims, torch.roll),
    *('movedim', 'moveaxis', 'swapaxes', 'swapdims', 'unflatten', torch.unflatten),
    *(torch.tile, 'tile', torch.rot90, 'unfold'),
)
#: What interpolates.
INTERPOLATIONS: tuple[Any, ...] = (
    *(nn.Upsample, nn.UpsamplingBilinear2d, F.interpolate, nn.Fold, F.fold),
    F.batch_norm,
)

IMAGE_OPERATIONS = (*CONVOLUTIONS, *AVERAGES, *MOVES, *INTERPOLATIONS)
