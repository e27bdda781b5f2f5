"""Golden values of the layers, from PyTorch: `python make.py` writes layers.safetensors beside itself.

Every case stores inputs, output(s), and the gradients of sum(output * probe) for a stored random probe.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import save_file

torch.manual_seed(7)
store = {}


def case(name, function, **inputs):
    inputs = {key: value.clone().requires_grad_(value.is_floating_point()) for key, value in inputs.items()}
    y = function(**inputs)
    probe = torch.randn_like(y)
    (y * probe).sum().backward()
    store[f"{name}/y"], store[f"{name}/probe"] = y.detach(), probe
    for key, value in inputs.items():
        store[f"{name}/{key}"] = value.detach()
        if value.grad is not None:
            store[f"{name}/d{key}"] = value.grad


def rand(*shape):
    return torch.randn(*shape)


for label, (n, c, o, h, w, k, s, p, g) in {
    "dense": (3, 5, 7, 9, 6, 3, 1, 1, 1),
    "strided": (2, 6, 4, 11, 8, 3, 2, 1, 1),
    "pointwise": (2, 9, 5, 4, 7, 1, 1, 0, 1),
    "projection": (2, 4, 6, 7, 7, 1, 2, 0, 1),
    "grouped": (2, 6, 9, 6, 5, 3, 1, 1, 3),
    "depthwise": (2, 7, 7, 8, 5, 3, 2, 1, 7),
    "stem": (1, 3, 4, 17, 15, 7, 2, 3, 1),
}.items():
    case(f"conv/{label}", lambda x, w: F.conv2d(x, w, stride=s, padding=p, groups=g), x=rand(n, c, h, w), w=rand(o, c // g, k, k))

for label, residual, relu in [("plain", False, False), ("relu", False, True), ("residual", True, False), ("both", True, True)]:
    mean, var = torch.zeros(5), torch.ones(5)

    def norm(x, gamma, beta, residual=None):
        y = F.batch_norm(x, mean, var, gamma, beta, training=True)
        y = y if residual is None else y + residual
        return F.relu(y) if relu else y

    inputs = {"x": rand(4, 5, 3, 7) * 2 + 1, "gamma": rand(5), "beta": rand(5)}
    if residual:
        inputs["residual"] = rand(4, 5, 3, 7)
    case(f"norm/{label}", norm, **inputs)
    store[f"norm/{label}/running_mean"], store[f"norm/{label}/running_var"] = mean.clone(), var.clone()

# Small integers: many ties, so that the rule for equal values is tested.
ties = torch.randint(0, 3, (2, 3, 7, 8)).float()
case("max_pool/ties", lambda x: F.max_pool2d(x, 2, 2), x=ties)
case("max_pool/padded", lambda x: F.max_pool2d(x, 3, 2, padding=1), x=ties)
case("avg_pool/plain", lambda x: F.avg_pool2d(x, 2, 2), x=rand(2, 3, 7, 8))
case("avg_pool/ceil", lambda x: F.avg_pool2d(x, 2, 2, ceil_mode=True), x=rand(2, 3, 7, 9))
case("avg_pool/global", lambda x: x.mean((2, 3)), x=rand(2, 3, 5, 4))
case("relu", lambda x: F.relu(x), x=torch.randint(-2, 3, (2, 3, 4, 5)).float())
case("shuffle", lambda x: F.channel_shuffle(x, 3), x=rand(2, 12, 3, 2))
case("linear", lambda x, w, b: F.linear(x, w, b), x=rand(4, 6), w=rand(5, 6), b=rand(5))
labels = torch.tensor([0, 3, 6, 2, 2])
for smoothing in [0.0, 0.1]:
    case(f"loss/{smoothing}", lambda x: F.cross_entropy(x, labels, label_smoothing=smoothing), x=rand(5, 7) * 3)
store["labels"] = labels.int()

save_file({key: value.contiguous() for key, value in store.items()}, Path(__file__).parent / "layers.safetensors")
