"""Makes rivals.safetensors: what an independent PyTorch implementation computes for the rivals.

    python make.py          (torch, safetensors)

Each case is one unit: a training pass, the gradients of sum(y * loss) to the input and every weight, the running
statistics after that one pass, and an inference pass with them. Tensors are named CASE/KIND/NAME; the Rust side
(../goldens.rs) knows each case's specification by its name. The modules are written from the papers and GhostNet's released
code, with PyTorch's own layers only.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn


class ConvBn(nn.Module):
    """A convolution with an optional batch norm, named as this workspace names them: weight, bias, bn.*"""

    def __init__(self, i, o, k, stride, padding, groups, bias, norm):
        super().__init__()
        conv = nn.Conv2d(i, o, k, stride, padding, groups=groups, bias=bias)
        self.weight, self.bias = conv.weight, conv.bias
        self.how = dict(stride=stride, padding=padding, groups=groups)
        self.bn = nn.BatchNorm2d(o) if norm else nn.Identity()

    def forward(self, x):
        return self.bn(F.conv2d(x, self.weight, self.bias, **self.how))


class Ghost(nn.Module):
    def __init__(self, i, o, k, stride, ratio, cheap, norm, relu, bias):
        super().__init__()
        m = math.ceil(o / ratio)
        self.o, self.relu = o, relu
        self.primary = ConvBn(i, m, k, stride, k // 2, 1, bias, norm)
        self.cheap = ConvBn(m, m * (ratio - 1), cheap, 1, cheap // 2, m, bias, norm)

    def forward(self, x, residual):
        inner = F.relu if self.relu and residual is None else (lambda t: t)
        first = inner(self.primary(x))
        y = torch.cat([first, inner(self.cheap(first))], dim=1)[:, : self.o]
        if residual is not None:
            y = y + residual
            y = F.relu(y) if self.relu else y
        return y


class Depthwise(nn.Module):
    def __init__(self, i, o, k, stride, norm, relu, bias):
        super().__init__()
        self.relu = relu
        self.depthwise = ConvBn(i, i, k, stride, k // 2, i, bias and not norm, norm)
        self.pointwise = ConvBn(i, o, 1, 1, 0, 1, bias, norm)

    def forward(self, x, residual):
        y = self.pointwise(F.relu(self.depthwise(x)))
        if residual is not None:
            y = y + residual
        return F.relu(y) if self.relu else y


# name: (module, whether a residual is added)
CASES = {
    "ghost_s2_stride1": (Ghost(6, 8, 3, 1, 2, 3, True, True, False), False),
    "ghost_s2_stride2_odd": (Ghost(5, 7, 3, 2, 2, 3, True, True, False), False),
    "ghost_s3_stride1_odd": (Ghost(4, 10, 3, 1, 3, 3, True, True, False), False),
    "ghost_s3_stride2": (Ghost(5, 9, 5, 2, 3, 5, True, True, False), False),
    "ghost_s2_no_activation": (Ghost(6, 7, 1, 2, 2, 3, True, False, False), False),
    "ghost_s3_no_activation": (Ghost(4, 8, 3, 1, 3, 3, True, False, False), False),
    "ghost_s2_residual": (Ghost(6, 7, 3, 1, 2, 3, True, True, False), True),
    "ghost_s2_no_norm": (Ghost(6, 7, 3, 1, 2, 3, False, True, True), False),
    "depthwise_stride1": (Depthwise(6, 8, 3, 1, True, True, False), False),
    "depthwise_stride2_odd": (Depthwise(5, 7, 3, 2, True, True, False), False),
    "depthwise_k5_no_activation": (Depthwise(5, 9, 5, 1, True, False, False), False),
    "depthwise_residual": (Depthwise(6, 6, 3, 1, True, True, False), True),
    "depthwise_no_norm": (Depthwise(5, 7, 3, 2, False, True, True), False),
}


def case(name, module, with_residual):
    out = {}
    with torch.no_grad():
        for key, value in module.named_parameters():
            # Batch norms that are not the identity, weights of a size that keeps activations around 1.
            value.copy_(torch.randn_like(value) * (0.4 if value.dim() == 4 else 0.3))
            if key.endswith("bn.weight"):
                value.add_(1.0)
    first = next(m for m in module.children())
    x = torch.randn(3, first.weight.shape[1] * first.how["groups"], 7, 6, requires_grad=True)
    residual = None
    if with_residual:
        with torch.no_grad():
            shape = module.eval()(x, None).shape
        residual = torch.randn(shape, requires_grad=True)
        out["in/residual"] = residual
    out["in/x"] = x
    for key, value in module.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            out[f"before/{key}"] = value.clone()

    y = module.train()(x, residual)
    loss = torch.randn(y.shape)
    (y * loss).sum().backward()
    out["in/loss"] = loss
    out["out/train"] = y
    out["grad/x"] = x.grad
    if with_residual:
        out["grad/residual"] = residual.grad
    for key, value in module.named_parameters():
        out[f"grad/{key}"] = value.grad
    for key, value in module.named_buffers():
        if not key.endswith("num_batches_tracked"):
            out[f"after/{key}"] = value.clone()
    out["out/eval"] = module.eval()(x, residual)
    return {f"{name}/{key}": value.detach().contiguous() for key, value in out.items()}


if __name__ == "__main__":
    torch.manual_seed(20210618)
    tensors = {}
    for name, (module, with_residual) in CASES.items():
        tensors.update(case(name, module, with_residual))
    save_file(tensors, Path(__file__).with_name("rivals.safetensors"))
