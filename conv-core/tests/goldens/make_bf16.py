"""Golden values of convolutions in bfloat16, from PyTorch: `python make_bf16.py` writes bf16.safetensors beside itself.

Inputs, weights and outputs' gradients are bf16; so is what PyTorch makes of them: outputs, and gradients of inputs and weights.
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
