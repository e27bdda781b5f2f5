"""Makes training.safetensors: 20 optimizer steps of PyTorch on a vanilla, a Ghost and a CompConv ResNet-20 by SGD, and on the
vanilla one by Adam and AdamW.

    python harness/tests/goldens/training.py

Needs torch, numpy and safetensors. Everything is computed in float64, so the file holds what exact arithmetic would give
and a float32 implementation has to come close to. Weights and batches are drawn by a formula of (name, index) that the
Rust test repeats (`fill`), so neither is stored. The Ghost and CompConv modules are written here from the papers, on
torch.nn alone.

Stored per network: `NAME.losses` [20], float64, and `NAME.final.PARAMETER`, float32: rank 1 and 2 whole, convolution
weights folded (`fold`), so that every value counts and the file stays small. And `lr.*`: rates of
torch.optim.lr_scheduler, float64.

A float32 run can leave the exact one for good where a ReLU's input is within rounding of 0: how far PyTorch's own float32
does is printed, and has to stay well below the test's tolerance (another LR or SIZE changes it).
"""

import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, MultiStepLR, SequentialLR

STEPS, WARMUP, BATCH, SIZE, CLASSES = 20, 4, 8, 8, 10
WIDTHS = [8, 16, 32]  # ResNet-20 at width 0.5
LR, MOMENTUM, DECAY, SMOOTHING = 0.01, 0.9, 5e-3, 0.1
# Where a gradient is all but 0, Adam's step is its sign: the eps keeps rounding from choosing it.
ADAM_LR, ADAM_DECAY, EPS = 1e-3, 0.1, 1e-4


# --- weights and batches by formula


def uniform(name, count):
    """`count` values in [-1, 1): SplitMix64 seeded with FNV-1a of the name, the top 24 bits of each output."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.uint64(0x9E3779B97F4A7C15) * np.arange(1, count + 1, dtype=np.uint64)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(40)).astype(np.float64) / 2.0**23 - 1.0


def fill(name, shape):
    """A parameter's initial value: Kaiming-uniform weights, batch norm scales around 1, shifts and
    biases around 0.3 (so that no channel dies, which would make the float32 result a matter of chance)."""
    values = uniform(name, math.prod(shape)).reshape(shape)
    if len(shape) > 1:
        values = values * math.sqrt(6.0 / math.prod(shape[1:]))
    elif name.endswith("weight"):
        values = 1.0 + 0.2 * values
    else:
        values = 0.3 + 0.1 * values
    return torch.from_numpy(values.astype(np.float32).astype(np.float64))


def fold(name, tensor):
    """Sums of 7 neighbouring values, each times a factor between 1/2 and 1 of either sign: no value can be wrong unseen."""
    factors = uniform(f"{name}.fold", tensor.numel())
    factors = np.copysign(0.5 + np.abs(factors) / 2.0, factors)
    values = torch.from_numpy(factors) * tensor.flatten()
    return F.pad(values, (0, -len(values) % 7)).reshape(-1, 7).sum(1)


def batch(step):
    images = uniform(f"images.{step}", BATCH * 3 * SIZE * SIZE).reshape(BATCH, 3, SIZE, SIZE) * 1.7
    labels = np.floor((uniform(f"labels.{step}", BATCH) + 1.0) / 2.0 * CLASSES).astype(np.int64)
    return torch.from_numpy(images.astype(np.float32).astype(np.float64)), torch.from_numpy(labels)


# --- units: convolution, norm, residual addition, ReLU


class VanillaUnit(nn.Module):
    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(c_out, c_in, 3, 3))
        self.bn = nn.BatchNorm2d(c_out)
        self.stride = stride

    def forward(self, x, residual=None):
        y = self.bn(F.conv2d(x, self.weight, stride=self.stride, padding=1))
        return F.relu(y if residual is None else y + residual)


class GhostUnit(nn.Module):
    """GhostNet's module, s = 2: its own norms and ReLUs stand for the unit's. Before a residual addition there is no ReLU
    inside, as in GhostNet's bottleneck; one follows the addition."""

    class Part(nn.Module):
        def __init__(self, c_in, c_out, stride, groups):
            super().__init__()
            self.weight = nn.Parameter(torch.empty(c_out, c_in // groups, 3, 3))
            self.bn = nn.BatchNorm2d(c_out)
            self.stride, self.groups = stride, groups

        def forward(self, x):
            return self.bn(F.conv2d(x, self.weight, stride=self.stride, padding=1, groups=self.groups))

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.primary = self.Part(c_in, c_out // 2, stride, 1)
        self.cheap = self.Part(c_out // 2, c_out // 2, 1, c_out // 2)

    def forward(self, x, residual=None):
        if residual is None:
            primary = F.relu(self.primary(x))
            return torch.cat([primary, F.relu(self.cheap(primary))], 1)
        primary = self.primary(x)
        return F.relu(torch.cat([primary, self.cheap(primary)], 1) + residual)


class CompConvUnit(nn.Module):
    """CompConv of depth 3, or the deepest feasible one below; depthwise tail, average pooling, shuffle of 2 groups."""

    class Conv(nn.Module):
        def __init__(self, c_in, c_out, stride=1, groups=1):
            super().__init__()
            self.weight = nn.Parameter(torch.empty(c_out, c_in // groups, 3, 3))
            self.stride, self.groups = stride, groups

        def forward(self, x):
            return F.conv2d(x, self.weight, stride=self.stride, padding=1, groups=self.groups)

    def __init__(self, c_in, c_out, stride):
        super().__init__()
        for d in (3, 2, 1):
            c_p = -(-c_out // (2 * (2**d - 1)))
            tail = c_out - sum(2 * 2 ** (d - 1 - i) * c_p for i in range(1, d)) - 2 ** (d - 1) * c_p
            if tail >= 1 and (2 ** (d - 1) - 1) * c_p <= c_in:
                break
        self.depth, self.c_p, self.stride = d, c_p, stride
        convs = [self.Conv(c_in, c_p, stride)]
        convs += [self.Conv(2**j * c_p, 2**j * c_p) for j in range(1, d)]
        self.inner = nn.ModuleList(convs)
        self.tail = self.Conv(tail, tail, groups=tail)
        self.bn = nn.BatchNorm2d(c_out)

    def forward(self, x, residual=None):
        small = x if self.stride == 1 else F.avg_pool2d(x, self.stride, ceil_mode=True, count_include_pad=False)
        b, start, out = self.inner[0](x), 0, []
        for i in range(self.depth - 1, 0, -1):
            a = small[:, start : start + b.shape[1]]
            start += b.shape[1]
            out += [b, a]
            b = self.inner[self.depth - i](torch.cat([b, a], 1))
        out += [b, self.tail(b[:, : self.tail.weight.shape[0]])]
        y = torch.cat(out, 1)
        n, c, h, w = y.shape
        y = self.bn(y.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w))
        return F.relu(y if residual is None else y + residual)


# --- ResNet-20 for CIFAR, option A


class Block(nn.Module):
    def __init__(self, unit, c_in, c_out, stride):
        super().__init__()
        self.conv1, self.conv2 = unit(c_in, c_out, stride), unit(c_out, c_out, 1)
        self.stride, self.pad = stride, (c_out - c_in) // 2

    def forward(self, x):
        short = x[:, :, :: self.stride, :: self.stride]
        return self.conv2(self.conv1(x), F.pad(short, (0, 0, 0, 0, self.pad, self.pad)))


class ResNet20(nn.Module):
    def __init__(self, unit):
        super().__init__()
        self.conv1 = VanillaUnit(3, WIDTHS[0], 1)
        c_in = WIDTHS[0]
        for stage, c_out in enumerate(WIDTHS, 1):
            blocks = [Block(unit, c_in if i == 0 else c_out, c_out, 2 if i == 0 and stage > 1 else 1) for i in range(3)]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks))
            c_in = c_out
        self.fc = nn.Linear(c_in, CLASSES)

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(x.mean((2, 3)))


def rates(optimizer, scheduler, steps):
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return torch.tensor(found, dtype=torch.float64)


def warmup_cosine(optimizer, warmup, steps):
    linear = LinearLR(optimizer, start_factor=1.0 / warmup, total_iters=warmup - 1)
    return SequentialLR(optimizer, [linear, CosineAnnealingLR(optimizer, T_max=steps - warmup)], milestones=[warmup])


def sgd(groups):
    return torch.optim.SGD(groups, lr=LR, momentum=MOMENTUM, nesterov=True)


def adam(groups):
    return torch.optim.Adam(groups, lr=ADAM_LR, eps=EPS)


def adamw(groups):
    return torch.optim.AdamW(groups, lr=ADAM_LR, eps=EPS)


def train(unit, rule, dtype):
    network = ResNet20(unit).to(dtype)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.copy_(fill(name, tuple(parameter.shape)))
    network.train()
    decayed = [p for p in network.parameters() if p.dim() > 1]
    spared = [p for p in network.parameters() if p.dim() <= 1]
    decay = DECAY if rule is sgd else ADAM_DECAY
    optimizer = rule([{"params": decayed, "weight_decay": decay}, {"params": spared, "weight_decay": 0.0}])
    scheduler = warmup_cosine(optimizer, WARMUP, STEPS)
    losses = []
    for step in range(STEPS):
        images, labels = batch(step)
        loss = F.cross_entropy(network(images.to(dtype)), labels, label_smoothing=SMOOTHING)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    final = {name: t.detach().double() for name, t in network.state_dict().items() if "num_batches" not in name}
    return torch.tensor(losses, dtype=torch.float64), final


def stored_values(final):
    return {name: tensor if tensor.dim() < 4 else fold(name, tensor) for name, tensor in final.items()}


def main():
    stored = {}
    networks = {
        "vanilla": (VanillaUnit, sgd),
        "ghost": (GhostUnit, sgd),
        "compconv": (CompConvUnit, sgd),
        "adam": (VanillaUnit, adam),
        "adamw": (VanillaUnit, adamw),
    }
    for name, (unit, rule) in networks.items():
        losses, final = train(unit, rule, torch.float64)
        single, single_final = train(unit, rule, torch.float32)
        final, single_final = stored_values(final), stored_values(single_final)
        gap = max((final[k] - single_final[k]).abs().max().item() for k in final)
        print(f"{name}: losses {losses[0]:.4f} .. {losses[-1]:.4f}; PyTorch's own float32 differs by at most "
              f"{(losses - single).abs().max():.1e} in a loss and {gap:.1e} in a stored value")
        stored[f"{name}.losses"] = losses
        stored |= {f"{name}.final.{key}": tensor.float() for key, tensor in final.items()}

    def still():
        return torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.4)

    optimizer = still()
    stored["lr.cosine"] = rates(optimizer, CosineAnnealingLR(optimizer, T_max=30), 30)
    optimizer = still()
    stored["lr.warmup_cosine"] = rates(optimizer, warmup_cosine(optimizer, 5, 30), 30)
    optimizer = still()
    stored["lr.step"] = rates(optimizer, MultiStepLR(optimizer, milestones=[15, 22], gamma=0.2), 30)
    save_file({k: v.contiguous() for k, v in stored.items()}, Path(__file__).with_name("training.safetensors"))


main()
