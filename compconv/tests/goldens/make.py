"""Goldens for the CompConv module: forward, input gradient and every parameter gradient, in float64, saved as float32.

Written from the paper's definition (levels, widths, tail, shuffle), with channels moved one by one, so that it shares no
arithmetic with the Rust code. `python make.py` writes goldens.safetensors beside this file: tensors `CASE.x`, `CASE.y`,
`CASE.grad_y` (what the output gradient was), `CASE.grad_x`, `CASE.param.NAME`, `CASE.grad.NAME`, with inner norms also
`CASE.after.NAME` (running statistics after the one training step) and `CASE.eval` (the output at inference then); the
file's metadata holds the cases' specifications as JSON.
"""

import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(20210620)
torch.set_default_dtype(torch.float64)


class CompConv(torch.nn.Module):
    def __init__(self, c_in, c_out, k, stride, bias, depth, shuffle=2, tail="depthwise", tail_kernel=None,
                 downsample="average", inner_norm="none", identity=True, integration=True):
        super().__init__()
        self.c_in, self.c_out, self.k, self.stride, self.d = c_in, c_out, k, stride, depth
        self.groups, self.tail_kind, self.downsample = shuffle, tail, downsample
        self.inner_norm, self.identity, self.integration = inner_norm, identity, integration
        if depth == 0:
            self.weight = torch.nn.Parameter(torch.randn(c_out, c_in, k, k) / math.sqrt(c_in * k * k))
        else:
            if integration:
                self.c_p = math.ceil(c_out / sum(2**i for i in range(1, depth + 1)))
            else:
                self.c_p = math.ceil(c_out / 2**depth)
            self.width = {i: 2 ** (depth - 1 - i) * self.c_p for i in range(depth)}
            emitted = self.width[0]
            if integration:
                emitted += sum(2 * self.width[i] for i in range(1, depth))
            self.a0 = c_out - emitted
            assert self.a0 >= 1
            assert not identity or sum(self.width[i] for i in range(1, depth)) <= c_in
            self.inner = torch.nn.ModuleList()
            self.side = torch.nn.ModuleList()
            for i in reversed(range(depth)):
                reads = c_in if i == depth - 1 else 2 * self.width[i + 1]
                self.inner.append(self.conv(reads, self.width[i], k, stride if i == depth - 1 else 1, 1))
                if i > 0 and not identity:
                    self.side.append(self.conv(self.width[i], self.width[i], k, 1, self.width[i]))
            t = 1 if tail == "pointwise" else (tail_kernel or k)
            if tail == "depthwise":
                self.tail = self.conv(self.a0, self.a0, t, 1, self.a0, norm=False)
            else:
                self.tail = self.conv(self.width[0], self.a0, t, 1, 1, norm=False)
        self.bias = torch.nn.Parameter(torch.randn(c_out)) if bias else None

    def conv(self, reads, makes, k, stride, groups, norm=True):
        layer = torch.nn.Conv2d(reads, makes, k, stride, (k - 1) // 2, groups=groups, bias=False)
        if norm and self.inner_norm != "none":
            layer.bn = torch.nn.BatchNorm2d(makes)
            torch.nn.init.normal_(layer.bn.weight, 1.0, 0.2)
            torch.nn.init.normal_(layer.bn.bias, 0.0, 0.2)
        return layer

    def run(self, layer, x):
        y = F.conv2d(x, layer.weight, None, layer.stride, layer.padding, 1, layer.groups)
        if hasattr(layer, "bn"):
            y = layer.bn(y)
            if self.inner_norm == "bn_relu":
                y = torch.relu(y)
        return y

    def shrink(self, x):
        """To the output size: means over the pixels that exist of s x s windows, or every s-th pixel."""
        s, (_, _, h, w) = self.stride, x.shape
        rows = []
        for top in range(0, h, s):
            row = []
            for left in range(0, w, s):
                window = x[:, :, top : min(top + s, h), left : min(left + s, w)]
                row.append(window.mean((2, 3)) if self.downsample == "average" else window[:, :, 0, 0])
            rows.append(torch.stack(row, -1))
        return torch.stack(rows, -2)

    def forward(self, x):
        if self.d == 0:
            y = F.conv2d(x, self.weight, None, self.stride, (self.k - 1) // 2)
        else:
            channels, taken = [], 0
            b = self.run(self.inner[0], x)
            for step, i in enumerate(reversed(range(self.d))):
                if i == 0:
                    a = self.run(self.tail, b[:, : self.a0] if self.tail_kind == "depthwise" else b)
                elif self.identity:
                    a = self.shrink(x[:, taken : taken + self.width[i]])
                    taken += self.width[i]
                else:
                    a = self.run(self.side[step], b)
                if self.integration or i == 0:
                    channels += [b[:, j] for j in range(b.shape[1])] + [a[:, j] for j in range(a.shape[1])]
                if i > 0:
                    b = self.run(self.inner[step + 1], torch.cat([b, a], 1))
            assert len(channels) == self.c_out
            if self.groups > 1 and self.c_out % self.groups == 0:
                block = self.c_out // self.groups
                shuffled = [None] * self.c_out
                for i in range(self.groups):
                    for j in range(block):
                        shuffled[j * self.groups + i] = channels[i * block + j]
                channels = shuffled
            y = torch.stack(channels, 1)
        return y if self.bias is None else y + self.bias[None, :, None, None]


def case(c_in, c_out, depth, k=3, stride=1, bias=False, size=(4, 5), **switches):
    return {"c_in": c_in, "c_out": c_out, "k": k, "stride": stride, "bias": bias, "size": size,
            "options": {"depth": depth, **switches}}


CASES = [
    # Every depth at both strides, widths that fit and widths that leave a surplus, odd sizes.
    case(28, 28, 3),
    case(28, 28, 3, stride=2, size=(5, 7)),
    *[case(11, 23, d, stride=s, bias=d % 2 == 1, size=(5, 6)) for d in range(4) for s in (1, 2)],
    case(5, 6, 2, stride=2, size=(5, 5)),
    case(7, 29, 4, size=(3, 3)),
    case(6, 2, 1, size=(3, 4)),
    case(9, 14, 2, stride=3, size=(7, 5)),
    case(8, 14, 2, stride=2, size=(1, 3)),
    # Kernels.
    case(9, 14, 2, k=1),
    case(9, 14, 2, k=1, tail_kernel=3),
    case(6, 14, 2, k=5, stride=2, size=(5, 6)),
    # One switch at a time, then together.
    case(10, 18, 2, shuffle=1),
    case(10, 18, 2, shuffle=3, bias=True),
    case(10, 25, 3, tail="full", stride=2),
    case(10, 17, 2, tail="full", tail_kernel=5),
    case(10, 17, 2, tail="pointwise"),
    case(10, 17, 2, tail_kernel=5),
    case(10, 25, 3, downsample="slice", stride=2, size=(5, 6)),
    case(10, 17, 2, identity=False, stride=2),
    case(10, 38, 3, identity=False),
    case(10, 17, 2, integration=False, stride=2),
    case(12, 29, 3, integration=False),
    case(10, 17, 2, inner_norm="bn"),
    case(10, 25, 3, inner_norm="bn_relu", stride=2, size=(5, 7)),
    case(12, 28, 3, inner_norm="bn_relu", identity=False, integration=False, tail="full", shuffle=4, bias=True),
]


def main():
    tensors = {}

    def put(name, value):
        tensors[name] = value.detach().to(torch.float32).contiguous().clone()

    for number, spec in enumerate(CASES):
        layer = CompConv(spec["c_in"], spec["c_out"], spec["k"], spec["stride"], spec["bias"], **spec["options"]).train()
        # Both sides start from the same float32 values.
        for value in layer.parameters():
            value.data = value.data.to(torch.float32).to(torch.float64)
        x = torch.randn(2, spec["c_in"], *spec["size"]).to(torch.float32).to(torch.float64).requires_grad_()
        for name, value in layer.named_parameters():
            put(f"{number}.param.{name}", value)
        y = layer(x)
        grad_y = torch.randn(y.shape).to(torch.float32).to(torch.float64)
        (y * grad_y).sum().backward()
        for name, value in [("x", x), ("y", y), ("grad_y", grad_y), ("grad_x", x.grad)]:
            put(f"{number}.{name}", value)
        for name, value in layer.named_parameters():
            put(f"{number}.grad.{name}", value.grad)
        if spec["options"].get("inner_norm", "none") != "none":
            for name, value in layer.named_buffers():
                if "running" in name:
                    put(f"{number}.after.{name}", value)
            put(f"{number}.eval", layer.eval()(x))
    save_file(tensors, str(Path(__file__).parent / "goldens.safetensors"), metadata={"cases": json.dumps(CASES)})


if __name__ == "__main__":
    main()
