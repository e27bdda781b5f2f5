"""Writes given/: small files of weights as torch.save and safetensors write them, and logits of torchvision's networks.

    python given.py            (torch, torchvision, numpy, safetensors)

The small files hold one state dict in many forms; `weights/given` reads each of them:
    a.weight  f32 [2, 3]: 0 .. 5, stored transposed      b.weight  f64 [2]: 0.5, -1.5
    c.bias    f16 [3]: 1, 2, 3, the middle of 5 numbers   d.weight  bf16 [1]: -2
    bn.num_batches_tracked  int64
`both.pth` has it under `state_dict` and its double under `model`; `unread.pth` has tensors of types that are not read.

`logits.safetensors`: logits [1, 10] of torchvision's resnet18 and resnet50 for an image of 64 x 64, in double precision. Weights and
image are not stored: both sides compute them from a tensor's name (`values` of backbones.py).
"""

from pathlib import Path

import numpy as np
import torch
import torchvision
from safetensors.torch import save_file

HERE = Path(__file__).with_name("given")
MASK = (1 << 64) - 1


def values(name, shape):
    """Uniform in [-1, 1), on a grid of 2^-23: FNV-1a of the name, plus the index, through SplitMix64."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = ((seed ^ byte) * 0x100000001B3) & MASK
    count = int(np.prod(shape))
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + (np.arange(count, dtype=np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return torch.from_numpy((z >> np.uint64(40)).astype(np.float64) / 2**23 - 1).reshape(shape)


def parameter(name, shape):
    v = values(name, shape)
    if name.endswith("running_var"):
        v = 1 + 0.5 * v
    elif len(shape) == 4:
        v = v * (6 / (shape[1] * shape[2] * shape[3])) ** 0.5
    elif len(shape) == 2:
        v = v * (1 / shape[1]) ** 0.5
    elif name.endswith("weight"):
        v = 0.5 * (1 + 0.25 * v)
    else:
        v = 0.1 * v
    return v.float().double()


def state():
    return {
        "a.weight": torch.tensor([[0.0, 3.0], [1.0, 4.0], [2.0, 5.0]]).t(),
        "b.weight": torch.tensor([0.5, -1.5], dtype=torch.float64),
        "c.bias": torch.arange(5, dtype=torch.float16)[1:4],
        "d.weight": torch.tensor([-2.0], dtype=torch.bfloat16),
        "bn.num_batches_tracked": torch.tensor(7),
    }


class Odd:
    """What a training script may keep beside its weights."""

    def __init__(self):
        self.rate = 0.1


# The old form keeps the source of a module's class beside it; a class that is made so has none.
Whole = type("Whole", (torch.nn.Module,), {})


def save_odd(plain, wrapped):
    """What a reader trips over: places in the zip, what stands beside the weights, types, whole modules in disguise."""
    # With a name of this length the zip's directory and the records behind it begin one entry apart.
    torch.save(plain, HERE / "name_of_21_characters.pth")
    beside = {"best_acc1": torch.tensor(71.2), "rng_state": torch.zeros(16, dtype=torch.uint8), "large": -(2**70), "small": -(2**62)}
    torch.save({"epoch": 3, "state_dict": wrapped, **beside}, HERE / "beside.pth")
    doubled = {name: 2 * tensor for name, tensor in plain.items()}
    torch.save({"model": doubled, "state_dict": plain}, HERE / "both.pth")
    unread = {
        "count": torch.tensor([1, 2]),
        "complex": torch.zeros(1, dtype=torch.complex64),
        "quantised": torch.quantize_per_tensor(torch.zeros(1), 0.1, 0, torch.qint8),
        "sparse": torch.nn.Parameter(torch.eye(2).to_sparse()),
        "meta": torch.zeros(1, device="meta"),
        "float8": torch.zeros(1).to(torch.float8_e4m3fn),
    }
    torch.save(plain | unread, HERE / "unread.pth")
    torch.save(plain | {"complex": unread["complex"]}, HERE / "legacy_unread.pth", _use_new_zipfile_serialization=False)
    whole = Whole()
    whole.weight = torch.nn.Parameter(torch.zeros(2))
    torch.save(whole, HERE / "legacy_module.pth", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "model": torch.nn.Linear(2, 2)}, HERE / "nested_module.pth")


def main():
    HERE.mkdir(exist_ok=True)
    plain = state()
    wrapped = {f"module.{name}": tensor for name, tensor in plain.items()}
    torch.save(plain, HERE / "plain.pth")
    torch.save(plain, HERE / "legacy.pth", _use_new_zipfile_serialization=False)
    torch.save({"epoch": 3, "state_dict": wrapped, "args": Odd(), "seen": {1, 2}}, HERE / "nested.pth")
    torch.save({"model": wrapped, "lr": 0.1}, HERE / "legacy_nested.pth", _use_new_zipfile_serialization=False)
    torch.save({name: torch.nn.Parameter(t) if t.is_floating_point() else t for name, t in plain.items()}, HERE / "parameters.pth")
    torch.save(torch.nn.Linear(2, 2), HERE / "module.pth")
    torch.save([1, 2], HERE / "list.pth")
    save_odd(plain, wrapped)
    save_file({name: tensor.contiguous() for name, tensor in plain.items()}, HERE / "plain.safetensors")
    logits = {}
    for name in ["resnet18", "resnet50"]:
        network = getattr(torchvision.models, name)(num_classes=10).double().eval()
        network.load_state_dict({
            key: tensor if "num_batches" in key else parameter(key, tuple(tensor.shape))
            for key, tensor in network.state_dict().items()
        })
        with torch.no_grad():
            logits[name] = network(values("image", (1, 3, 64, 64)))
        print(name, logits[name])
    save_file(logits, HERE / "logits.safetensors")


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
