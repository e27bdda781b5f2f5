"""Races the same networks in PyTorch and ONNX Runtime against `harness bench`, and prints the ratios.

    cargo build -p harness
    python harness/benches/race.py [--backbone resnet20 resnet56 vgg16] [--threads 2] [--batch 128] [--rounds 9]

Needs torch, numpy, onnx and onnxruntime. Same widths, same batch, same threads, and the same recipe: SGD with Nesterov
momentum and weight decay; the first convolution stays vanilla. PyTorch's training step is the better of NCHW and
channels_last, of medians over rounds in which all networks take turns; inference is ONNX Runtime's CPU provider, on the graph
with all its optimizations. Networks of equal name have equally many multiply-accumulates, which is checked. `--harness PATH`
names the binary, `--csv FILE` keeps the rows.

CompConv is the paper's with a depthwise tail, shuffle 2 and no inner norms; Ghost has its own norms and ReLUs.
"""

import argparse
import csv
import io
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

METHODS = ["vanilla", "depthwise", "ghost", "compconv,depth=1", "compconv,depth=2", "compconv,depth=3"]


class Depthwise(nn.Sequential):
    def __init__(self, c, o, stride, relu):
        layers = [nn.Conv2d(c, c, 3, stride, 1, groups=c, bias=False), nn.BatchNorm2d(c), nn.ReLU()]
        layers += [nn.Conv2d(c, o, 1, bias=False), nn.BatchNorm2d(o)] + ([nn.ReLU()] if relu else [])
        super().__init__(*layers)


class Ghost(nn.Module):
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
        n, c, h, w = y.shape
        return y.reshape(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w) if c % 2 == 0 else y


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
    model.train()
    return total


def median(work, rounds):
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append((time.perf_counter() - start) * 1e3)
    return times


def pytorch(models, batch, rounds):
    """Milliseconds of a training step by method: the better of both memory formats."""
    x, labels = torch.randn(batch, 3, 32, 32), torch.arange(batch) % 10
    best = {}
    for layout in [torch.contiguous_format, torch.channels_last]:
        entries = []
        for name, model in models.items():
            model = model.to(memory_format=layout)
            optimizer = torch.optim.SGD(model.parameters(), 1e-3, 0.9, weight_decay=5e-4, nesterov=True)
            entries.append((name, model, optimizer))
        images, times = x.to(memory_format=layout), {name: [] for name in models}
        for turn in range(rounds + 2):
            for name, model, optimizer in entries:

                def step():
                    optimizer.zero_grad(set_to_none=True)
                    F.cross_entropy(model(images), labels).backward()
                    optimizer.step()

                taken = median(step, 1)
                if turn >= 2:
                    times[name] += taken
        for name, taken in times.items():
            best[name] = min(best.get(name, np.inf), float(np.median(taken)))
    return best


def onnx(models, batch, threads, rounds):
    """Milliseconds of inference by method, for one image and for a batch."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    result = {}
    with TemporaryDirectory() as folder:
        sessions = {}
        for name, model in models.items():
            model.eval()
            for n in [1, batch]:
                path = Path(folder) / f"{n}.onnx"
                torch.onnx.export(model, (torch.zeros(n, 3, 32, 32),), str(path), input_names=["x"], dynamo=False)
                sessions[name, n] = onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
        times = {key: [] for key in sessions}
        for turn in range(rounds + 2):
            for (name, n), session in sessions.items():
                x = np.random.randn(n, 3, 32, 32).astype(np.float32)
                taken = median(lambda: session.run(None, {"x": x}), 10 if n == 1 else 1)
                if turn >= 2:
                    times[name, n] += taken
        for name in models:
            result[name] = tuple(float(np.median(times[name, n])) for n in [1, batch])
    return result


def memory(backbone, method, batch, threads):
    """Peak MiB of a process that takes two training steps."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import torch, race\n"
        f"torch.set_num_threads({threads})\n"
        f"m = race.network('{backbone}', '{method}'); x = torch.randn({batch}, 3, 32, 32)\n"
        "o = torch.optim.SGD(m.parameters(), 1e-3, 0.9, weight_decay=5e-4, nesterov=True)\n"
        "for _ in range(2):\n"
        "    o.zero_grad(set_to_none=True)\n"
        f"    race.F.cross_entropy(m(x), torch.arange({batch}) % 10).backward(); o.step()\n"
        "line = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))\n"
        "print(int(line.split()[1]) / 1024)\n"
    )
    here = str(Path(__file__).resolve().parent)
    return float(subprocess.run([sys.executable, "-c", code, here], check=True, capture_output=True, text=True).stdout)


def ours(harness, backbone, batch, threads, rounds):
    command = [harness, "bench", "--backbone", backbone, "--batch", str(batch), "--threads", str(threads)]
    command += ["--rounds", str(rounds), "--format", "csv"]
    for method in METHODS:
        command += ["--method", method]
    rows = list(csv.DictReader(io.StringIO(subprocess.run(command, check=True, capture_output=True, text=True).stdout)))
    return dict(zip(METHODS, rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", nargs="+", default=["resnet20", "resnet56", "vgg16"])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--harness", default="target/debug/harness")
    parser.add_argument("--csv")
    parser.add_argument("--no-memory", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    rows = []
    for backbone in args.backbone:
        mine = ours(args.harness, backbone, args.batch, args.threads, args.rounds)
        models = {method: network(backbone, method) for method in METHODS}
        for method, model in models.items():
            counted = macs(model)
            if counted != int(mine[method]["macs"]):
                sys.exit(f"{backbone} {method}: {counted} multiply-accumulates here, {mine[method]['macs']} in the harness")
        train = pytorch(models, args.batch, args.rounds)
        infer = onnx(models, args.batch, args.threads, args.rounds)
        for method in METHODS:
            row = mine[method]
            own = [float(row[k]) for k in ["train_step_ms", "infer_b1_ms", f"infer_b{args.batch}_ms"]]
            theirs = [train[method], *infer[method]]
            peak = None if args.no_memory else memory(backbone, method, args.batch, args.threads)
            rows.append([backbone, method, *own, *theirs, *(a / b for a, b in zip(own, theirs)), row["peak_mib"], peak])
    names = ["backbone", "method", "train", "infer_b1", f"infer_b{args.batch}"]
    names += [f"theirs_{n}" for n in names[2:]] + [f"ratio_{n}" for n in names[2:]] + ["peak_mib", "theirs_peak_mib"]
    if args.csv:
        with open(args.csv, "w", newline="") as file:
            csv.writer(file).writerows([names, *rows])
    print("| " + " | ".join(names) + " |")
    print("|" + "---|" * len(names))
    for row in rows:
        cells = [f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
