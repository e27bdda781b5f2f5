"""Golden values of bfloat16, from PyTorch: `python make_bf16.py` writes bf16.safetensors and bf16_network.safetensors beside itself.

Of single convolutions inputs, weights and outputs' gradients are bf16; so is what PyTorch makes of them: outputs, and gradients of
inputs and weights. Of a network in training parameters are f32, rounded where they are multiplied; norms are PyTorch's own
of bf16 values with parameters and statistics in f32. What the same comes to in f64 from the rounded images and parameters is beside it.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(11)
store = {}


def rand(*shape):
    return torch.randn(*shape).bfloat16()


for label, (n, c, o, h, w, k, s, p, g) in {
    "dense": (3, 5, 7, 9, 6, 3, 1, 1, 1),
    "wide": (16, 35, 18, 5, 4, 3, 1, 1, 1),
    "strided": (2, 6, 4, 11, 8, 3, 2, 1, 1),
    "pointwise": (2, 9, 5, 4, 7, 1, 1, 0, 1),
    "projection": (2, 4, 6, 7, 7, 1, 2, 0, 1),
    "grouped": (2, 6, 9, 6, 5, 3, 1, 1, 3),
    "depthwise": (2, 7, 7, 8, 5, 3, 2, 1, 7),
    "multiplied": (3, 4, 8, 5, 6, 3, 1, 1, 4),
    "stem": (1, 3, 4, 17, 15, 7, 2, 3, 1),
}.items():
    x, weight = rand(n, c, h, w).requires_grad_(), rand(o, c // g, k, k).requires_grad_()
    y = F.conv2d(x, weight, stride=s, padding=p, groups=g)
    dy = rand(*y.shape)
    y.backward(dy)
    of_case = {"x": x, "w": weight, "y": y, "dy": dy, "dx": x.grad, "dw": weight.grad}
    store |= {f"{label}/{key}": value.detach() for key, value in of_case.items()}
    store[f"{label}/sizes"] = torch.tensor([s, p, g])

save_file(store, Path(__file__).parent / "bf16.safetensors")

shapes = {"a.weight": (8, 3, 3, 3), "b.weight": (8, 8, 3, 3), "fc.weight": (5, 8)}
params = {name: torch.randn(shape) / shape[1] ** 0.5 for name, shape in shapes.items()}
params |= {f"{layer}.bn.weight": torch.rand(8) + 0.5 for layer in "ab"} | {f"{layer}.bn.bias": torch.randn(8) / 4 for layer in "ab"}
params["fc.bias"] = torch.randn(5)
statistics = {f"{layer}.bn.running_{what}": make(8) for layer in "ab" for what, make in (("mean", torch.zeros), ("var", torch.ones))}
images, labels = rand(19, 3, 12, 10), torch.arange(19) % 5
store = {f"before/{name}": value for name, value in {**params, **statistics}.items()} | {"images": images.float(), "labels": labels}


def step(multiplied, kept):
    """Multiplies values of the one type, and keeps parameters and statistics in the other."""
    own = {name: value.to(kept, copy=True).requires_grad_() for name, value in params.items()}
    running = {name: value.to(kept, copy=True) for name, value in statistics.items()}

    def weight(name):
        return own[name].bfloat16().to(multiplied)

    def normed(name, x):
        of = (running[f"{name}.bn.running_{what}"] for what in ("mean", "var"))
        x = F.conv2d(x, weight(f"{name}.weight"), padding=1)
        return F.batch_norm(x, *of, own[f"{name}.bn.weight"], own[f"{name}.bn.bias"], training=True, momentum=0.1)

    pooled = F.max_pool2d(F.relu(normed("a", images.to(multiplied))), 2)
    maps = F.relu(normed("b", pooled) + pooled)
    logits = F.linear(maps.mean((2, 3)), weight("fc.weight"), weight("fc.bias")).to(kept)
    loss = F.cross_entropy(logits, labels, label_smoothing=0.1)
    loss.backward()
    found = {name: value.grad for name, value in own.items()} | running | {"logits": logits.detach(), "loss": loss.detach()}
    return {name: value.float() for name, value in found.items()}


store |= {f"bf16/{name}": value for name, value in step(torch.bfloat16, torch.float32).items()}
store |= {f"exact/{name}": value for name, value in step(torch.float64, torch.float64).items()}
save_file(store, Path(__file__).parent / "bf16_network.safetensors")
