"""CNNs as people write them, and what there is to convert in each."""

import torch
import torch.nn.functional as F
from torch import nn


class LambdaLayer(nn.Module):
    def __init__(self, lambd):
        super().__init__()
        self.lambd = lambd

    def forward(self, x):
        return self.lambd(x)


def conv3x3(in_planes, planes, stride=1):
    return nn.Conv2d(in_planes, planes, 3, stride, padding=1, bias=False)


class VGG(nn.Module):
    """Built from a list, with in-place activations and a classifier."""

    def __init__(self):
        super().__init__()
        layers, channels = [], 3
        for width in (8, 'M', 16, 16, 'M', 16):
            if width == 'M':
                layers.append(nn.MaxPool2d(2, 2))
            else:
                layers += [
                    nn.Conv2d(channels, width, 3, padding=1),
                    nn.BatchNorm2d(width),
                    nn.ReLU(inplace=True),
                ]
                channels = width
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((2, 2))
        self.classifier = nn.Sequential(
            nn.Linear(64, 32), nn.ReLU(True), nn.Dropout(), nn.Linear(32, 10)
        )

    def forward(self, x):
        x = self.avgpool(self.features(x))
        return self.classifier(torch.flatten(x, 1))


class BasicBlock(nn.Module):
    """Functional ReLU, and option A: a lambda for the shortcut."""

    def __init__(self, in_planes, planes, stride=1):
        super().__init__()
        self.conv1, self.bn1 = (
            conv3x3(in_planes, planes, stride),
            nn.BatchNorm2d(planes),
        )
        self.conv2, self.bn2 = conv3x3(planes, planes), nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_planes != planes:
            pad = (planes - in_planes) // 2
            self.shortcut = LambdaLayer(
                lambda x: F.pad(
                    x[:, :, ::2, ::2], (0, 0, 0, 0, pad, pad), 'constant', 0
                )
            )

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += self.shortcut(x)
        return F.relu(out)


class ResNetA(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = conv3x3(3, 8), nn.BatchNorm2d(8)
        self.layer1 = nn.Sequential(BasicBlock(8, 8), BasicBlock(8, 8))
        self.layer2 = nn.Sequential(BasicBlock(8, 16, 2))
        self.linear = nn.Linear(16, 10)

    def forward(self, x):
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.layer2(self.layer1(out))
        out = F.avg_pool2d(out, out.size()[3])
        out = out.view(out.size(0), -1)
        return self.linear(out)


class Bottleneck(nn.Module):
    """One shared in-place ReLU object, grouped convolutions, option B."""

    def __init__(self, in_planes, planes, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, 1, groups=2, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = None
        if stride != 1 or in_planes != 4 * planes:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_planes, 4 * planes, 1, stride, bias=False),
                nn.BatchNorm2d(4 * planes),
            )

    def forward(self, x):
        identity = x
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        if self.downsample is not None:
            identity = self.downsample(x)
        out += identity
        return self.relu(out)


class ResNetB(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 7, 2, 3, bias=False)
        self.bn1, self.relu = nn.BatchNorm2d(8), nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        self.layer1 = nn.Sequential(Bottleneck(8, 4), Bottleneck(16, 4))
        self.layer2 = Bottleneck(16, 6, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(24, 10)

    def forward(self, x):
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.avgpool(self.layer2(self.layer1(x)))
        return self.fc(x.view(x.shape[0], -1))


class PreActBlock(nn.Module):
    """Batch norm before ReLU, after a sum; a shortcut that may not exist."""

    def __init__(self, in_planes, planes, stride=1):
        super().__init__()
        self.bn1, self.conv1 = (
            nn.BatchNorm2d(in_planes),
            conv3x3(in_planes, planes, stride),
        )
        self.bn2, self.conv2 = nn.BatchNorm2d(planes), conv3x3(planes, planes)
        if stride != 1 or in_planes != planes:
            self.shortcut = nn.Sequential(nn.Conv2d(in_planes, planes, 1, stride))

    def forward(self, x):
        out = F.relu(self.bn1(x))
        shortcut = self.shortcut(out) if hasattr(self, 'shortcut') else x
        out = self.conv1(out)
        out = self.conv2(F.relu(self.bn2(out)))
        return out + shortcut


class PreActResNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = conv3x3(3, 8)
        self.blocks = nn.Sequential(PreActBlock(8, 8), PreActBlock(8, 16, 2))
        self.fc = nn.Linear(16, 10)

    def forward(self, x):
        return self.fc(self.blocks(self.conv(x)).mean([2, 3]))


class DenseLayer(nn.Module):
    def __init__(self, in_channels, growth):
        super().__init__()
        self.norm1, self.relu1 = nn.BatchNorm2d(in_channels), nn.ReLU(inplace=True)
        self.conv1 = nn.Conv2d(in_channels, 2 * growth, 1, bias=False)
        self.norm2, self.relu2 = nn.BatchNorm2d(2 * growth), nn.ReLU(inplace=True)
        self.conv2 = conv3x3(2 * growth, growth)

    def forward(self, features):
        x = torch.cat(features, 1)
        return self.conv2(self.relu2(self.norm2(self.conv1(self.relu1(self.norm1(x))))))


class DenseBlock(nn.ModuleDict):
    def __init__(self, num_layers, in_channels, growth):
        super().__init__()
        for i in range(num_layers):
            layer = DenseLayer(in_channels + i * growth, growth)
            self.add_module(f'denselayer{i + 1}', layer)

    def forward(self, x):
        features = [x]
        for _, layer in self.items():
            features.append(layer(features))
        return torch.cat(features, 1)


class DenseNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            *(conv3x3(3, 8), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
            *(DenseBlock(2, 8, 4), nn.BatchNorm2d(16), nn.ReLU(inplace=True)),
            *(nn.Conv2d(16, 8, 1), nn.AvgPool2d(2, 2), nn.BatchNorm2d(8)),
        )
        self.classifier = nn.Linear(8, 10)

    def forward(self, x):
        out = F.relu(self.features(x), inplace=True)
        out = F.adaptive_avg_pool2d(out, (1, 1))
        return self.classifier(torch.flatten(out, 1))


class InvertedResidual(nn.Module):
    def __init__(self, in_planes, planes, stride):
        super().__init__()
        hidden = 2 * in_planes
        self.use_res_connect = stride == 1 and in_planes == planes
        self.conv = nn.Sequential(
            *(nn.Conv2d(in_planes, hidden, 1, bias=False), nn.BatchNorm2d(hidden)),
            nn.ReLU6(inplace=True),
            nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
            *(nn.BatchNorm2d(hidden), nn.ReLU6(inplace=True)),
            *(nn.Conv2d(hidden, planes, 1, bias=False), nn.BatchNorm2d(planes)),
        )

    def forward(self, x):
        return x + self.conv(x) if self.use_res_connect else self.conv(x)


class MobileNet(nn.Module):
    """Depthwise convolutions and ReLU6."""

    def __init__(self):
        super().__init__()
        stem = nn.Sequential(
            conv3x3(3, 8, 2), nn.BatchNorm2d(8), nn.ReLU6(inplace=True)
        )
        self.features = nn.Sequential(
            stem, InvertedResidual(8, 8, 1), InvertedResidual(8, 12, 2)
        )
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(12, 10))

    def forward(self, x):
        return self.classifier(self.features(x).mean(3).mean(2))


class Fire(nn.Module):
    def __init__(self, in_channels, squeeze, expand):
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.activation(self.squeeze(x))
        parts = [self.expand1x1(x), self.expand3x3(x)]
        return torch.cat([self.activation(part) for part in parts], 1)


class SqueezeNet(nn.Module):
    """Max pooling over the concatenation of two populations."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            *(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(inplace=True)),
            *(nn.MaxPool2d(3, 2, ceil_mode=True), Fire(8, 4, 8)),
            *(nn.MaxPool2d(3, 2, ceil_mode=True), Fire(16, 4, 8)),
        )
        self.classifier = nn.Sequential(
            *(nn.Dropout(), nn.Conv2d(16, 10, 1), nn.ReLU(inplace=True)),
            nn.AdaptiveAvgPool2d((1, 1)),
        )

    def forward(self, x):
        return torch.flatten(self.classifier(self.features(x)), 1)


class Inception(nn.Module):
    def __init__(self):
        super().__init__()
        relu = nn.ReLU(True)  # One object for all.
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), relu)
        self.b1 = nn.Sequential(nn.Conv2d(8, 4, 1), relu)
        self.b2 = nn.Sequential(nn.Conv2d(8, 4, 1), relu, conv3x3(4, 4), relu)
        self.b3 = nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(8, 4, 1), relu)
        self.maxpool, self.avgpool = nn.MaxPool2d(3, 2, 1), nn.AvgPool2d(8, 1)
        self.linear = nn.Linear(12, 10)

    def forward(self, x):
        x = self.stem(x)
        x = self.maxpool(torch.cat([self.b1(x), self.b2(x), self.b3(x)], 1))
        x = self.avgpool(x)
        return self.linear(x.view(x.size(0), -1))


class LeNet(nn.Module):
    """Pools before it activates, and computes a size in a loop."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 5), nn.Conv2d(6, 8, 3)
        self.fc1, self.fc2 = nn.Linear(8 * 2 * 2, 16), nn.Linear(16, 10)
        self.drop = nn.Dropout2d()

    def forward(self, x):
        x = F.relu(F.max_pool2d(self.conv1(x), 2))
        x = F.relu(F.max_pool2d(self.drop(self.conv2(x)), 2))
        x = x.view(-1, self.num_flat_features(x))
        x = F.dropout(F.relu(self.fc1(x)), training=self.training)
        return F.log_softmax(self.fc2(x), dim=1)

    def num_flat_features(self, x):
        num = 1
        for size in x.size()[1:]:
            num *= size
        return num


class TextCNN(nn.Module):
    """1-D convolutions and the maximum over the whole sequence."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv1d(3, 6, k, padding=k // 2) for k in (3, 5))
        self.fc = nn.Linear(12, 4)

    def forward(self, x):
        x = x.flatten(2)
        x = [F.relu(conv(x)) for conv in self.convs]
        x = [F.max_pool1d(part, part.size(2)).squeeze(2) for part in x]
        return F.log_softmax(self.fc(torch.cat(x, 1)), dim=1)


class PointNet(nn.Module):
    """A maximum over all points, and over all pixels."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv1d(3, 8, 1), nn.Conv1d(8, 8, 1)
        self.bn1, self.bn2 = nn.BatchNorm1d(8), nn.BatchNorm1d(8)
        self.image, self.fc = conv3x3(3, 4), nn.Linear(12, 4)

    def forward(self, x):
        points = F.relu(self.bn1(self.conv1(x.flatten(2))))
        points = torch.max(self.bn2(self.conv2(points)), 2, keepdim=True)[0]
        pixels = self.image(x).relu().amax((2, 3))
        return self.fc(torch.cat([points.view(-1, 8), pixels], dim=1))


class UNet(nn.Module):
    """Transposed convolution and interpolation."""

    def __init__(self):
        super().__init__()
        self.act, self.pool = nn.ReLU(), nn.MaxPool2d(2)
        self.down1, self.down2 = nn.Conv2d(3, 6, 3, 1, 1), nn.Conv2d(6, 8, 3, 1, 1)
        self.up, self.bn = nn.ConvTranspose2d(8, 6, 3, 1, 1), nn.BatchNorm2d(6)
        self.merge, self.out = nn.Conv2d(12, 6, 3, 1, 1), nn.Conv2d(6, 2, 1)

    def forward(self, x):
        a = self.act(self.down1(x))
        b = self.act(self.bn(self.up(self.act(self.down2(self.pool(a))))))
        b = F.interpolate(b, size=a.shape[2:], mode='bilinear', align_corners=False)
        return self.out(self.act(self.merge(torch.cat((a, b), dim=1))))


class ShuffleNet(nn.Module):
    """Channels that are split, shuffled and joined."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(conv3x3(3, 8), nn.BatchNorm2d(8), nn.ReLU())
        self.branch = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1))
        self.head = nn.Conv2d(8, 10, 16)

    def shuffle(self, x, groups):
        batch_size, num_channels, height, width = x.data.size()
        per_group = num_channels // groups
        x = x.view(batch_size, groups, per_group, height, width)
        x = torch.transpose(x, 1, 2).contiguous()
        return x.view(batch_size, -1, height, width)

    def forward(self, x):
        x1, x2 = self.stem(x).chunk(2, dim=1)
        x = torch.relu(self.shuffle(torch.cat((x1, self.branch(x2)), 1), 2))
        return self.head(x).flatten(1)


class Volume(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            *(nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU()),
            *(nn.MaxPool3d(2), nn.ConstantPad3d(1, 0.1), nn.Conv3d(4, 4, 1), nn.ReLU()),
            *(nn.AdaptiveMaxPool3d(1), nn.Flatten(), nn.Linear(4, 3)),
        )

    def forward(self, x):
        return self.net(x[:, None, :, :8, :8])


def mlp():
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(768, 32), nn.BatchNorm1d(32), nn.ReLU()),
        nn.Linear(32, 10),
    )


# The network, and the numbers of its activations and of the norms that follow no layer.
CNNS = {
    'vgg': (VGG, 5, 0),
    'resnet-a': (ResNetA, 7, 0),
    'resnet-b': (ResNetB, 10, 0),
    'preact': (PreActResNet, 4, 2),
    'densenet': (DenseNet, 7, 4),
    'mobilenet': (MobileNet, 5, 0),
    'squeezenet': (SqueezeNet, 8, 0),
    'inception': (Inception, 5, 0),
    'lenet': (LeNet, 3, 0),
    'textcnn': (TextCNN, 2, 0),
    'pointnet': (PointNet, 2, 0),
    'unet': (UNet, 4, 0),
    'shufflenet': (ShuffleNet, 3, 0),
    'volume': (Volume, 2, 0),
    'mlp': (mlp, 1, 0),
}
_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def make_cnn(name):
    """A network in evaluation mode, as if trained, in double precision."""
    torch.manual_seed(1)
    model = CNNS[name][0]().double()
    for module in model.modules():
        if isinstance(module, _NORMS):
            nn.init.normal_(module.running_mean, 0, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.1, 0.3)
        elif getattr(module, 'bias', None) is not None:
            nn.init.uniform_(module.bias, -0.1, 0.3)
    return model.eval()


def images(num_images, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(num_images, 3, 16, 16, generator=generator, dtype=torch.float64)
    return 1.5 * x - 0.5
