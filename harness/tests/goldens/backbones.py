"""Writes backbones.safetensors: whole networks in PyTorch, in double precision, for tests/it/backbone_goldens.rs.

    python backbones.py            (torch, numpy, safetensors)

Weights, images and probes are not stored: both sides compute them from a tensor's name (`values`). A network's entries are
    NAME/eval, NAME/train   logits, with running and with batch statistics
    NAME/loss               cross-entropy with label smoothing 0.1 in training, labels 3 i mod classes
    NAME/grad/PARAMETER     the gradient's norm, and its product with values(PARAMETER + ".probe")
    NAME/stat/STATISTIC     the same two numbers of a running statistic after the training pass
"""

import copy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file
from torch import nn

torch.set_default_dtype(torch.float64)
MASK = (1 << 64) - 1


def values(name, shape):
    """Uniform in [-1, 1), on a grid of 2^-23: FNV-1a of the name, plus the index, through SplitMix64."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & MASK
    count = int(np.prod(shape))
    z = np.uint64(seed) + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return torch.from_numpy((z >> np.uint64(40)).astype(np.float64) / 2**23 - 1).reshape(shape)


def parameter(name, shape, gain):
    v = values(name, shape)
    if name.endswith("running_mean"):
        v = 0.1 * v
    elif name.endswith("running_var"):
        v = 1 + 0.5 * v
    elif name.endswith("bn.weight"):
        v = gain * (1 + 0.25 * v)
    elif name.endswith("bias"):
        v = 0.1 * v
    elif len(shape) == 4:
        v = v * (6 / (shape[0] * shape[2] * shape[3])) ** 0.5
    else:
        v = v * (1 / shape[1]) ** 0.5
    return v.float().double()


def scaled(channels, width):
    return max(1, int(channels * width + 0.5))


class Conv(nn.Conv2d):
    def __init__(self, i, o, k, stride=1, groups=1):
        super().__init__(i, o, k, stride, k // 2, bias=False, groups=groups)
        self.bn = nn.BatchNorm2d(o)

    def forward(self, x):
        return self.bn(super().forward(x))


class Vgg16(nn.Module):
    STAGES = [[64] * 2, [128] * 2, [256] * 3, [512] * 3, [512] * 3]

    def __init__(self, channels, classes, width, head):
        super().__init__()
        self.features = nn.ModuleList()
        for stage in self.STAGES:
            for out in stage:
                self.features.append(Conv(channels, scaled(out, width), 3))
                channels = scaled(out, width)
        self.hidden = None
        if head == "mlp":
            self.hidden = nn.Linear(channels, scaled(512, width))
            channels = scaled(512, width)
            self.hidden.bn = nn.BatchNorm1d(channels)
        self.classifier = nn.Linear(channels, classes)

    def forward(self, x):
        layers = iter(self.features)
        for stage in self.STAGES:
            for _ in stage:
                x = F.relu(next(layers)(x))
            x = F.max_pool2d(x, 2)
        x = x.mean((2, 3))
        if self.hidden is not None:
            x = F.relu(self.hidden.bn(self.hidden(x)))
        return self.classifier(x)


class Block(nn.Module):
    def __init__(self, i, inner, o, stride, bottleneck, option):
        super().__init__()
        if bottleneck:
            self.conv1, self.conv2, self.conv3 = Conv(i, inner, 1), Conv(inner, inner, 3, stride), Conv(inner, o, 1)
        else:
            self.conv1, self.conv2 = Conv(i, inner, 3, stride), Conv(inner, o, 3)
        self.new = o - i
        self.stride = stride
        self.option = option if stride > 1 or i != o else None
        if self.option == "B":
            self.downsample = Conv(i, o, 1, stride)

    def forward(self, x):
        y = self.conv2(F.relu(self.conv1(x)))
        if hasattr(self, "conv3"):
            y = self.conv3(F.relu(y))
        if self.option == "A":
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))
        elif self.option == "B":
            x = self.downsample(x)
        return F.relu(y + x)


class ResNet(nn.Module):
    def __init__(self, channels, classes, width, stem, widths, blocks, bottleneck, option):
        super().__init__()
        kernel, stride, self.pool = stem
        i = scaled(widths[0], width)
        self.conv1 = Conv(channels, i, kernel, stride)
        for s, (inner, count) in enumerate(zip(widths, blocks)):
            stage = nn.ModuleList()
            for b in range(count):
                o = scaled(inner * 4 if bottleneck else inner, width)
                stride = 2 if s > 0 and b == 0 else 1
                stage.append(Block(i, scaled(inner, width), o, stride, bottleneck, option))
                i = o
            setattr(self, f"layer{s + 1}", stage)
        self.stages = len(widths)
        self.fc = nn.Linear(i, classes)

    def forward(self, x):
        x = F.relu(self.conv1(x))
        if self.pool:
            x = F.max_pool2d(x, 3, 2, 1)
        for s in range(self.stages):
            for block in getattr(self, f"layer{s + 1}"):
                x = block(x)
        return self.fc(x.mean((2, 3)))


def resnet20(channels, classes, width):
    return ResNet(channels, classes, width, (3, 1, False), [16, 32, 64], [3, 3, 3], False, "A")


def imagenet(channels, classes, width, blocks, bottleneck):
    return ResNet(channels, classes, width, (7, 2, True), [64, 128, 256, 512], blocks, bottleneck, "B")


class Separable(nn.Module):
    def __init__(self, i, o, stride):
        super().__init__()
        self.depthwise, self.pointwise = Conv(i, i, 3, stride, i), Conv(i, o, 1)

    def forward(self, x):
        return F.relu(self.pointwise(F.relu(self.depthwise(x))))


class Inverted(nn.Module):
    def __init__(self, i, o, stride, expansion):
        super().__init__()
        inner = expansion * i
        if expansion > 1:
            self.expand = Conv(i, inner, 1)
        self.depthwise, self.project = Conv(inner, inner, 3, stride, inner), Conv(inner, o, 1)
        self.residual = stride == 1 and i == o

    def forward(self, x):
        y = F.relu6(self.expand(x)) if hasattr(self, "expand") else x
        y = self.project(F.relu6(self.depthwise(y)))
        return y + x if self.residual else y


class MobileNet(nn.Module):
    V1 = [(64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2)]
    V2 = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]

    def __init__(self, channels, classes, width, version, cifar):
        super().__init__()
        i = scaled(32, width)
        self.act = F.relu if version == 1 else F.relu6
        self.conv1 = Conv(channels, i, 3, 1 if cifar else 2)
        stages = [(1, *stage) for stage in self.V1] if version == 1 else self.V2
        for s, (expansion, nominal, count, first) in enumerate(stages):
            if version == 2 and cifar and s == 1:
                first = 1
            stage, o = nn.ModuleList(), scaled(nominal, width)
            for b in range(count):
                stride = first if b == 0 else 1
                stage.append(Separable(i, o, stride) if version == 1 else Inverted(i, o, stride, expansion))
                i = o
            setattr(self, f"layer{s + 1}", stage)
        self.stages, self.last = len(stages), None
        if version == 2:
            self.last = Conv(i, scaled(1280, width), 1)
            i = scaled(1280, width)
        self.fc = nn.Linear(i, classes)

    def forward(self, x):
        x = self.act(self.conv1(x))
        for s in range(self.stages):
            for block in getattr(self, f"layer{s + 1}"):
                x = block(x)
        if self.last is not None:
            x = self.act(self.last(x))
        return self.fc(x.mean((2, 3)))


# Network, images, and the seed of those: one with which no activation stands so close to ReLU's kink (and no two so close to a
# tie in a maximum) that rounding in single precision decides where its gradient goes. How far PyTorch's own float32 is from
# these values is printed; a seed with which it is far would test nothing.
NETWORKS = {
    "resnet20": (resnet20(3, 10, 0.25), (4, 3, 32, 32), 0),
    "resnet20-odd": (resnet20(1, 7, 0.3), (3, 1, 29, 26), 0),
    "vgg16": (Vgg16(3, 10, 0.25, "linear"), (6, 3, 32, 32), 36),
    "vgg16-mlp": (Vgg16(3, 10, 0.125, "mlp"), (4, 3, 64, 40), 115),
    "resnet18": (imagenet(3, 5, 0.125, [2, 2, 2, 2], False), (3, 3, 75, 67), 10),
    "resnet50": (imagenet(3, 10, 0.0625, [3, 4, 6, 3], True), (8, 3, 48, 48), 58),
    "mobilenet_v1": (MobileNet(3, 10, 0.125, 1, True), (6, 3, 32, 32), 1),
    "mobilenet_v2": (MobileNet(3, 10, 0.0625, 2, True), (8, 3, 16, 16), 0),
    "mobilenet_v2-odd": (MobileNet(1, 7, 0.08, 2, False), (8, 1, 45, 38), 0),
}


def two_numbers(name, tensor):
    return np.array([tensor.norm().item(), (tensor * values(name + ".probe", tuple(tensor.shape))).sum().item()])


def start(name, network):
    # With scales around 1.5 some of what meets ReLU6 is larger than 6; with larger ones rounding grows from layer to layer.
    gain = 1.5 if name.startswith("mobilenet_v2") else 1
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            if not key.endswith("num_batches_tracked"):
                tensor.copy_(parameter(key, tuple(tensor.shape), gain))


def train(network, x):
    """Logits and loss in training mode; gradients and running statistics stay in the network."""
    network.train()
    logits = network(x)
    loss = F.cross_entropy(logits, torch.arange(len(x)) * 3 % logits.shape[1], label_smoothing=0.1)
    loss.backward()
    return logits.detach(), loss.detach()


tensors = {}
for name, (network, shape, seed) in NETWORKS.items():
    start(name, network)
    x = values(f"images {seed}", shape).float().double()
    single = copy.deepcopy(network).float()
    train(single, x.float())
    network.eval()
    tensors[f"{name}/eval"] = network(x).detach().numpy()
    logits, loss = train(network, x)
    tensors[f"{name}/train"] = logits.numpy()
    tensors[f"{name}/loss"] = np.array([loss.item()])
    drift = 0.0
    # Of what is exactly 0 (the shift of a linear bottleneck, which the next norm takes away), or nearly so, rounding leaves something.
    largest = max(parameter.grad.norm().item() for parameter in network.parameters())
    slack = 1e-6 * (largest if name.startswith("mobilenet") else 1.0)
    for (key, tensor), other in zip(network.named_parameters(), single.parameters()):
        numbers = two_numbers(key, tensor.grad)
        tensors[f"{name}/grad/{key}"] = numbers
        error = np.abs(numbers - two_numbers(key, other.grad.double())).max()
        drift = max(drift, (error - slack) / numbers[0])
    for key, tensor in network.named_buffers():
        if "running" in key:
            tensors[f"{name}/stat/{key}"] = two_numbers(key, tensor)
    print(f"{name}: PyTorch's own float32 is off by {drift:.1e} of a gradient's norm")

save_file({key: value.astype(np.float32) for key, value in tensors.items()}, Path(__file__).with_suffix(".safetensors"))
