"""Makes more_rivals.safetensors: as make.py, for rivals that came after it (its own file stays as it is, bit for bit).

    python more_rivals.py          (torch, safetensors)

The modules are written from the papers and the released code of FasterNet, BSConv and RepVGG, with PyTorch's own layers only.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from make import ConvBn, case
from safetensors.torch import save_file
from torch import nn


class Rival(nn.Module):
    """What follows every one of them: the residual, then ReLU."""

    def __init__(self, relu):
        super().__init__()
        self.relu = relu

    def forward(self, x, residual):
        y = self.body(x)
        y = y if residual is None else y + residual
        return F.relu(y) if self.relu else y


def norm_of(channels, norm):
    return nn.BatchNorm2d(channels) if norm else nn.Identity()


class Grouped(Rival):
    def __init__(self, i, o, k, stride, groups, norm, relu, bias):
        super().__init__(relu)
        self.groups = groups
        self.grouped = ConvBn(i, o, k, stride, k // 2, groups, bias, False)
        self.bn = norm_of(o, norm)

    def body(self, x):
        y = self.grouped(x)
        n, c, h, w = y.shape
        y = y.view(n, self.groups, c // self.groups, h, w).transpose(1, 2).reshape(n, c, h, w)
        return self.bn(y)


class HetConv(Rival):
    def __init__(self, i, o, k, stride, parts, norm, relu, bias):
        super().__init__(relu)
        self.wide = ConvBn(i, o, k, stride, k // 2, parts, bias, False)
        self.narrow = ConvBn(i, o, 1, stride, 0, 1, False, False)
        self.bn = norm_of(o, norm)

    def body(self, x):
        return self.bn(self.wide(x) + self.narrow(x))


class PConv(Rival):
    """At a stride: the k x k convolution at full size, then the 1 x 1 convolution with the stride."""

    def __init__(self, i, o, k, stride, parts, norm, relu, bias):
        super().__init__(relu)
        self.c, self.stride = i // parts, stride
        self.pointwise = ConvBn(i, o, 1, stride, 0, 1, bias, norm)
        self.partial = ConvBn(self.c, self.c, k, 1, k // 2, 1, False, False)

    def body(self, x):
        first, others = x[:, : self.c], x[:, self.c :]
        return self.pointwise(torch.cat([self.partial(first), others], dim=1))


class BsConv(Rival):
    def __init__(self, i, o, k, stride, norm, relu, bias):
        super().__init__(relu)
        self.pointwise = ConvBn(i, o, 1, 1, 0, 1, False, False)
        self.depthwise = ConvBn(o, o, k, stride, k // 2, o, bias, norm)

    def body(self, x):
        return self.depthwise(self.pointwise(x))


class Tucker2(Rival):
    def __init__(self, i, o, k, stride, ranks, norm, relu, bias):
        super().__init__(relu)
        self.first = ConvBn(i, ranks[0], 1, 1, 0, 1, False, False)
        self.core = ConvBn(ranks[0], ranks[1], k, stride, k // 2, 1, False, False)
        self.last = ConvBn(ranks[1], o, 1, 1, 0, 1, bias, norm)

    def body(self, x):
        return self.last(self.core(self.first(x)))


class Svd(Rival):
    def __init__(self, i, o, k, stride, rank, norm, relu, bias):
        super().__init__(relu)
        self.core = ConvBn(i, rank, k, stride, k // 2, 1, False, False)
        self.last = ConvBn(rank, o, 1, 1, 0, 1, bias, norm)

    def body(self, x):
        return self.last(self.core(x))


class Normed(nn.Module):
    def __init__(self, channels, norm):
        super().__init__()
        self.bn = norm_of(channels, norm)

    def forward(self, x):
        return self.bn(x)


class RepVgg(Rival):
    def __init__(self, i, o, k, stride, norm, relu, bias):
        super().__init__(relu)
        self.wide = ConvBn(i, o, k, stride, k // 2, 1, bias, norm)
        self.narrow = ConvBn(i, o, 1, stride, 0, 1, False, norm)
        self.identity = Normed(i, norm) if i == o and stride == 1 else None

    def body(self, x):
        y = self.wide(x) + self.narrow(x)
        return y if self.identity is None else y + self.identity(x)


# name: (module, whether a residual is added)
CASES = {
    "grouped": (Grouped(6, 9, 3, 1, 3, True, True, False), False),
    "grouped_stride2_residual": (Grouped(6, 8, 3, 2, 2, True, True, False), True),
    "grouped_no_norm": (Grouped(4, 8, 1, 1, 4, False, True, True), False),
    "hetconv": (HetConv(8, 12, 3, 1, 4, True, True, False), False),
    "hetconv_stride2_residual": (HetConv(6, 8, 5, 2, 2, True, True, False), True),
    "hetconv_no_norm": (HetConv(6, 9, 3, 1, 3, False, True, True), False),
    "pconv": (PConv(8, 6, 3, 1, 4, True, True, False), False),
    "pconv_stride2_odd_residual": (PConv(7, 9, 3, 2, 3, True, True, False), True),
    "pconv_no_norm": (PConv(5, 7, 5, 2, 2, False, True, True), False),
    "bsconv": (BsConv(6, 8, 3, 1, True, True, False), False),
    "bsconv_stride2_residual": (BsConv(5, 7, 3, 2, True, True, False), True),
    "bsconv_no_norm": (BsConv(5, 7, 5, 1, False, True, True), False),
    "tucker2": (Tucker2(6, 8, 3, 1, (3, 4), True, True, False), False),
    "tucker2_stride2_residual": (Tucker2(6, 8, 3, 2, (2, 2), True, True, False), True),
    "svd": (Svd(6, 8, 3, 1, 4, True, True, False), False),
    "svd_no_norm": (Svd(5, 7, 1, 2, 3, False, True, True), False),
    "repvgg_identity": (RepVgg(6, 6, 3, 1, True, True, False), False),
    "repvgg_identity_residual": (RepVgg(6, 6, 5, 1, True, True, False), True),
    "repvgg_stride2": (RepVgg(5, 7, 3, 2, True, False, True), False),
    "repvgg_no_norm": (RepVgg(6, 6, 3, 1, False, True, True), False),
}


if __name__ == "__main__":
    torch.manual_seed(20210618)
    tensors = {}
    for name, (module, with_residual) in CASES.items():
        tensors.update(case(name, module, with_residual))
    save_file(tensors, Path(__file__).with_name("more_rivals.safetensors"))
