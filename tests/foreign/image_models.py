"""Convolutional networks, as in the many repositories of small ones."""

import torch
import torch.nn.functional as F
from torch import nn

from tests.foreign.brute_force import reached
from tests.foreign.registry import NUM_CLASSES, NUM_FEATURES, define, images, sequences

SIZES = (4, 7, 3)


@define(
    'LeNet: pools between, a view with -1',
    images,
    sizes=SIZES,
    activations=3,
    synops=lambda model, s: (
        reached(s[0], model.conv1)
        + reached(F.max_pool2d(s[1], 2), model.conv2)
        + reached(F.max_pool2d(s[2], 2).flatten(1), model.fc1)
        + reached(s[3], model.fc2)
    ),
)
class SmallLeNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3), nn.Conv2d(6, 8, 2)
        self.fc1, self.fc2 = nn.Linear(32, 16), nn.Linear(16, NUM_CLASSES)

    def forward(self, x):
        out = F.max_pool2d(F.relu(self.conv1(x)), 2)
        out = F.max_pool2d(F.relu(self.conv2(out)), 2)
        out = out.view(out.size(0), -1)
        return self.fc2(F.relu(self.fc1(out)))


@define('features and classifier from a list', images, sizes=SIZES, activations=3)
class FromList(nn.Module):
    def __init__(self, cfg=(8, 'M', 8, 'M')):
        super().__init__()
        layers, channels = [], 3
        for entry in cfg:
            if entry == 'M':
                layers += [nn.MaxPool2d(kernel_size=2, stride=2)]
            else:
                layers += [
                    nn.Conv2d(channels, entry, 3, padding=1),
                    nn.BatchNorm2d(entry),
                    nn.ReLU(inplace=True),
                ]
                channels = entry
        layers += [nn.AvgPool2d(kernel_size=1, stride=1)]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Linear(72, 16), nn.ReLU(True), nn.Linear(16, NUM_CLASSES)
        )

    def forward(self, x):
        return self.classifier(torch.flatten(self.features(x), 1))


class Block(nn.Module):
    def __init__(self, planes, out_planes, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(planes, out_planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_planes)
        self.conv2 = nn.Conv2d(out_planes, out_planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or planes != out_planes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(planes, out_planes, 1, stride, bias=False),
                nn.BatchNorm2d(out_planes),
            )

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


@define('residual blocks with +=, a pool of 4', images, sizes=SIZES, activations=5)
class Residuals(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(*[Block(8, 8, 1)])
        self.layer2 = nn.Sequential(*[Block(8, 12, 2)])
        self.linear = nn.Linear(12, NUM_CLASSES)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.avg_pool2d(self.layer2(self.layer1(out)), 6)
        return self.linear(out.view(out.size(0), -1))


@define(
    'channels shuffled by view, permute and reshape; halves by slices',
    images,
    sizes=SIZES,
    activations=3,
    bound=0.2,
)
class Shuffled(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.conv1 = nn.Conv2d(4, 4, 1, bias=False)
        self.conv2 = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.fc = nn.Linear(8, NUM_CLASSES)

    def forward(self, x):
        x = F.relu(self.stem(x))
        c = int(x.size(1) * 0.5)
        left, right = x[:, :c, :, :], x[:, c:, :, :]
        right = F.relu(self.conv1(right))
        right = F.relu(self.conv2(right))
        x = torch.cat([left, right], 1)
        n, channels, h, w = x.size()
        x = x.view(n, 2, channels // 2, h, w).permute(0, 2, 1, 3, 4)
        return self.fc(x.reshape(n, channels, h, w).mean([2, 3]))


@define('inverted residuals, ReLU6', images, sizes=SIZES, activations=2, bound=0.2)
class Inverted(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 3, 2, 1)
        self.expand = nn.Conv2d(4, 16, 1, bias=False)
        self.depth = nn.Conv2d(16, 16, 3, 1, 1, groups=16, bias=False)
        self.project = nn.Conv2d(16, 4, 1, bias=False)
        self.bns = nn.ModuleList([nn.BatchNorm2d(c) for c in (16, 16, 4)])
        self.fc = nn.Linear(4, NUM_CLASSES)

    def forward(self, x):
        x = self.stem(x)
        out = F.relu6(self.bns[0](self.expand(x)))
        out = F.relu6(self.bns[1](self.depth(out)))
        x = x + self.bns[2](self.project(out))
        return self.fc(F.adaptive_avg_pool2d(x, 1).squeeze(-1).squeeze(-1))


@define('dense connections along a list', images, sizes=SIZES, activations=3)
class Dense(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, padding=1)
        self.norms = nn.ModuleList([nn.BatchNorm2d(c) for c in (6, 10, 14)])
        self.convs = nn.ModuleList([nn.Conv2d(c, 4, 3, padding=1) for c in (6, 10)])
        self.fc = nn.Linear(14, NUM_CLASSES)

    def forward(self, x):
        features = [self.stem(x)]
        for norm, conv in zip(self.norms, self.convs, strict=False):
            features.append(conv(F.relu(norm(torch.cat(features, 1)))))
        out = F.relu(self.norms[-1](torch.cat(features, 1)))
        return self.fc(F.adaptive_avg_pool2d(out, (1, 1)).view(x.size(0), -1))


@define('two paths: some channels added, the rest appended', images, sizes=SIZES)
class DualPath(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.conv = nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 3, padding=1)
        self.fc = nn.Linear(12, NUM_CLASSES)

    def forward(self, x):
        out, x = self.conv(x), self.stem(x)
        d = 4
        parts = [x[:, :d, :, :] + out[:, :d, :, :], x[:, d:, :, :], out[:, d:, :, :]]
        return self.fc(F.relu(torch.cat(parts, 1)).mean(dim=(-2, -1)))


class Double(nn.Module):
    def __init__(self, num_in, num_out):
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(num_in, num_out, 3, padding=1),
            nn.BatchNorm2d(num_out),
            nn.ReLU(inplace=True),
        )

    def forward(self, x):
        return self.double_conv(x)


def odd(number):
    return images(number, 11)


@define(
    'a U-Net that pads by the difference of sizes',
    odd,
    sizes=SIZES,
    activations=3,
    bound=0.2,
    macs=False,
)
class PaddedUNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.inc, self.down = Double(3, 6), Double(6, 8)
        self.pool, self.up = nn.MaxPool2d(2), nn.ConvTranspose2d(8, 6, 2, stride=2)
        self.conv, self.outc = Double(12, 6), nn.Conv2d(6, 2, kernel_size=1)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.up(self.down(self.pool(x1)))
        dy, dx = x1.size()[2] - x2.size()[2], x1.size()[3] - x2.size()[3]
        x2 = F.pad(x2, [dx // 2, dx - dx // 2, dy // 2, dy - dy // 2])
        return self.outc(self.conv(torch.cat([x1, x2], dim=1)))


@define(
    'a U-Net that interpolates to the size of the skip',
    odd,
    sizes=SIZES,
    activations=2,
    bound=0.2,
    macs=False,
)
class InterpolatedUNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.inc, self.down = Double(3, 6), Double(6, 6)
        self.outc = nn.Conv2d(12, 2, kernel_size=1)

    def forward(self, x):
        x1 = self.inc(x)
        x2 = self.down(F.max_pool2d(x1, 2))
        size = (x1.size(2), x1.size(3))
        x2 = F.interpolate(x2, size=size, mode='bilinear', align_corners=True)
        return self.outc(torch.cat((x1, x2), dim=1))


@define('branches of several kernels', images, sizes=SIZES, activations=3)
class Branches(nn.Module):
    def __init__(self):
        super().__init__()
        self.b1 = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU(True))
        self.b2 = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(True))
        self.b3 = nn.Sequential(
            nn.MaxPool2d(3, stride=1, padding=1), nn.Conv2d(3, 8, 1), nn.ReLU(True)
        )
        self.fc = nn.Linear(16, NUM_CLASSES)

    def forward(self, x):
        out = torch.cat([branch(x) for branch in (self.b1, self.b2, self.b3)], 1)
        return self.fc(out.flatten(2).mean(-1))


@define('squeezed channels weigh the others', images, activations=2)
class Squeezed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(3, 8, 3), nn.Linear(8, NUM_CLASSES)
        self.fc1, self.fc2 = nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1)

    def forward(self, x):
        x = self.conv(x)
        w = F.avg_pool2d(x, x.size(2))
        w = self.fc2(F.relu(self.fc1(w))).sigmoid()
        return self.fc((x * w).mean((2, 3)))


@define('an auxiliary head, read in training only', images, sizes=SIZES, activations=2)
class Auxiliary(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, stride=2)
        self.aux, self.fc = nn.Linear(8, NUM_CLASSES), nn.Linear(8, NUM_CLASSES)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        aux = self.aux(x.mean((2, 3))) if self.training else None
        x = self.fc(F.relu(self.conv2(x)).mean((2, 3)))
        return (x, aux) if self.training else x


@define('instance norm with running statistics', images, sizes=SIZES)
class InstanceStatistics(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norm = nn.InstanceNorm2d(8, affine=True, track_running_stats=True)
        self.fc = nn.Linear(8, NUM_CLASSES)

    def forward(self, x):
        return self.fc(F.relu(self.norm(self.conv(x))).mean((2, 3)))


@define(
    'points: convolutions of width one, a maximum over all', sequences, activations=2
)
class Points(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv1d(NUM_FEATURES, 16, 1), nn.BatchNorm1d(16)
        self.conv2, self.fc = nn.Conv1d(16, 16, 1), nn.Linear(16, NUM_CLASSES)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x.transpose(2, 1))))
        x = F.relu(self.conv2(x))
        return self.fc(torch.max(x, 2, keepdim=True)[0].view(-1, 16))


@define('words in windows: one channel, pools as long as the text', sequences)
class Windows(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(1, 6, (k, NUM_FEATURES)) for k in (2, 3)])
        self.fc = nn.Linear(12, NUM_CLASSES)

    def forward(self, x):
        x = x.unsqueeze(1)
        x = torch.cat([self.pooled(x, conv) for conv in self.convs], 1)
        return self.fc(F.dropout(F.relu(x), training=self.training))

    def pooled(self, x, conv):
        x = conv(x).squeeze(3)
        return F.max_pool1d(x, x.size(2)).squeeze(2)


@define('encoder and decoder of images', images, sizes=SIZES, activations=2, macs=False)
class Autoencoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.ReLU())
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(8, 8, 3, stride=2, padding=1, output_padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 3, 3, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, x):
        return self.decoder(self.encoder(x))
