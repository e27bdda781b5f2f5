"""The networks of the race in PyTorch, and their files, which every other side reads: weights, ONNX, reference logits."""

import numpy as np
import torch
import torch.nn.functional as F
from files import fold_constants, images, onnx_macs
from torch import nn


class Depthwise(nn.Sequential):
    """A depthwise and a pointwise convolution, each with norm and ReLU."""

    def __init__(self, c, o, stride, relu):
        layers = [nn.Conv2d(c, c, 3, stride, 1, groups=c, bias=False), nn.BatchNorm2d(c), nn.ReLU()]
        layers += [nn.Conv2d(c, o, 1, bias=False), nn.BatchNorm2d(o)] + ([nn.ReLU()] if relu else [])
        super().__init__(*layers)


class Ghost(nn.Module):
    """Half of the channels by a dense convolution, the others of these by a depthwise one; both with norm and ReLU."""

    def __init__(self, c, o, stride, relu):
        super().__init__()
        m = -(-o // 2)
        act = [nn.ReLU()] if relu else []
        self.primary = nn.Sequential(nn.Conv2d(c, m, 3, stride, 1, bias=False), nn.BatchNorm2d(m), *act)
        self.cheap = nn.Sequential(nn.Conv2d(m, m, 3, 1, 1, groups=m, bias=False), nn.BatchNorm2d(m), *act)
        self.o = o

    def forward(self, x):
        y = self.primary(x)
        return torch.cat([y, self.cheap(y)], 1)[:, : self.o]


class CompConv(nn.Module):
    """B_(d-1) = conv(x), A_i = slices of x, B_(i-1) = conv(B_i, A_i), A_0 = depthwise(B_0), shuffled."""

    def __init__(self, c, o, stride, depth):
        super().__init__()
        self.o = o
        feasible = [d for d in range(depth, 0, -1) if self.fits(c, o, d)]
        self.depth, self.stride = (feasible or [0])[0], stride
        if self.depth == 0:
            self.inner = nn.ModuleList([nn.Conv2d(c, o, 3, stride, 1, bias=False)])
            return
        whole = 2 * (2**self.depth - 1)
        self.unit = -(-o // whole)
        self.tail_width = o - (whole - 2 ** (self.depth - 1)) * self.unit
        widths = [self.unit * 2**i for i in range(self.depth)]
        convs = [nn.Conv2d(c, widths[0], 3, stride, 1, bias=False)]
        convs += [nn.Conv2d(w, w, 3, 1, 1, bias=False) for w in widths[1:]]
        self.inner = nn.ModuleList(convs)
        t = self.tail_width
        self.tail = nn.Conv2d(t, t, 3, 1, 1, groups=t, bias=False)

    @staticmethod
    def fits(c, o, d):
        whole = 2 * (2**d - 1)
        unit = -(-o // whole)
        return (whole - 2 ** (d - 1)) * unit < o and (2 ** (d - 1) - 1) * unit <= c

    def forward(self, x):
        if self.depth == 0:
            return self.inner[0](x)
        kept = x if self.stride == 1 else F.avg_pool2d(x, self.stride, self.stride, ceil_mode=True)
        parts, start, level = [], 0, x
        for i, conv in enumerate(self.inner):
            b = conv(level)
            if i + 1 == self.depth:
                parts += [b, self.tail(b[:, : self.tail_width])]
                break
            a = kept[:, start : start + b.shape[1]]
            start += b.shape[1]
            level = torch.cat([b, a], 1)
            parts.append(level)
        y = torch.cat(parts, 1)
        return y.unflatten(1, (2, self.o // 2)).transpose(1, 2).flatten(1, 2) if self.o % 2 == 0 else y


def unit(method, c, o, stride, relu, stem=False):
    name, _, option = method.partition(",")
    if stem or name == "vanilla":
        body = [nn.Conv2d(c, o, 3, stride, 1, bias=False), nn.BatchNorm2d(o)]
    elif name == "depthwise":
        return Depthwise(c, o, stride, relu)
    elif name == "ghost":
        return Ghost(c, o, stride, relu)
    else:
        body = [CompConv(c, o, stride, int(option.split("=")[1])), nn.BatchNorm2d(o)]
    return nn.Sequential(*body, *([nn.ReLU()] if relu else []))


class Block(nn.Module):
    def __init__(self, method, c, o, stride):
        super().__init__()
        self.first, self.second = unit(method, c, o, stride, True), unit(method, o, o, 1, False)
        self.new, self.stride = o - c, stride

    def forward(self, x):
        y = self.second(self.first(x))
        if self.new:
            x = x[:, :, :: self.stride, :: self.stride]
            x = F.pad(x, (0, 0, 0, 0, self.new // 2, self.new - self.new // 2))
        return F.relu(x + y)


def network(backbone, method):
    """[N, 3, 32, 32] -> [N, 10]"""
    if backbone == "vgg16":
        layers, c = [], 3
        for widths in [[64, 64], [128, 128], [256] * 3, [512] * 3, [512] * 3]:
            for o in widths:
                layers.append(unit(method, c, o, 1, True, stem=c == 3))
                c = o
            layers.append(nn.MaxPool2d(2))
    else:
        blocks = (int(backbone.removeprefix("resnet")) - 2) // 6
        layers, c = [unit(method, 3, 16, 1, True, stem=True)], 16
        for o in [16, 32, 64]:
            for index in range(blocks):
                layers.append(Block(method, c, o, 2 if o > 16 and index == 0 else 1))
                c = o
        layers.append(nn.AdaptiveAvgPool2d(1))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(c, 10))


def macs(model):
    """Multiply-accumulates of convolutions and linear maps for one image, as the harness counts them."""
    total = 0

    def count(module, _, y):
        nonlocal total
        per = module.weight[0].numel()
        total += y[0].numel() * per

    hooks = [m.register_forward_hook(count) for m in model.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    with torch.no_grad():
        model.eval()(torch.zeros(1, 3, 32, 32))
    for hook in hooks:
        hook.remove()
    return total


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def prepared(backbone, method):
    """A network with the weights that all sides of PyTorch have: the seed's, and norms that have seen images, so that a runtime
    that folds them wrongly is found out."""
    torch.manual_seed(0)
    model = network(backbone, method).train()
    with torch.no_grad():
        for _ in range(20):
            model(torch.randn(32, 3, 32, 32))
    return model


def export(folder, backbone, methods, batch):
    """Writes INDEX-N.onnx, INDEX-N.images (bytes of f32) and INDEX-N.npy, the logits of these, for N = 1 and a batch; what was
    counted, by method."""
    counted = {}
    for index, method in enumerate(methods):
        model = prepared(backbone, method).eval()
        counted[method] = {"macs": macs(model), "params": parameters(model)}
        for count in (1, batch):
            path, x = f"{folder}/{index}-{count}", torch.from_numpy(images(count))
            with torch.no_grad():
                np.save(path + ".npy", model(x).numpy())
            images(count).tofile(path + ".images")
            torch.onnx.export(model, (x,), path + ".onnx", input_names=["x"], output_names=["y"], opset_version=17, dynamo=False)
            fold_constants(path + ".onnx")
            counted[method][f"onnx_macs_{count}"] = onnx_macs(path + ".onnx")
    return counted
