"""Races the same networks in PyTorch and ONNX Runtime against `harness bench`, and prints the times with their ratios
(own / theirs: below 1, own is faster).

    cargo build -p harness
    python harness/benches/race.py [--backbone resnet20 resnet56 vgg16] [--threads 2] [--batch 128] [--rounds 9]

Needs torch, numpy, onnx and onnxruntime, and a machine that does nothing else.

What is the same: widths, batch, threads, f32, and the recipe, SGD with Nesterov momentum and weight decay on
everything; the first convolution stays vanilla. CompConv is the paper's with a depthwise tail, shuffle 2 and no inner
norms; Ghost has its own norms and ReLUs. Networks of equal name have equally many multiply-accumulates and parameters,
which is checked.

What the rivals are: for a training step, eager PyTorch with its fused SGD, in NCHW or channels_last, whichever is
faster; for inference, ONNX Runtime's CPU provider on the exported graph, with all its optimizations. Nobody loads data.

How it is measured: in passes, each of which runs `harness bench`, then PyTorch, then ONNX Runtime, so that a machine
that grows slower does so for all; within each, all networks take turns in rounds. The first two rounds of a pass are
thrown away, and before inference is timed the network has run once, on every side. What is printed is the median over
the passes of each pass's median. Peak memory is that of a process that takes two training steps (in NCHW): the whole of
the harness, and of PyTorch what comes on top of an idle process that has loaded it, half a gigabyte in some builds.

`--harness PATH` names the binary, `--csv FILE` keeps the rows.
"""

import argparse
import csv
import io
import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# As `harness bench` does it: rounds before those that count, and single images a round.
WARM_UP, SINGLES = 2, 10
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


def timed(work, times=1):
    """Milliseconds of each call."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append((time.perf_counter() - start) * 1e3)
    return taken


def sgd(model):
    return torch.optim.SGD(model.parameters(), 1e-3, 0.9, weight_decay=5e-4, nesterov=True, fused=True)


def train_step(model, optimizer, images, labels):
    optimizer.zero_grad(set_to_none=True)
    F.cross_entropy(model(images), labels).backward()
    optimizer.step()


def pytorch(models, batch, rounds):
    """Milliseconds of a training step by method: the better of both memory formats."""
    x, labels = torch.randn(batch, 3, 32, 32), torch.arange(batch) % 10
    best = {}
    for layout in [torch.contiguous_format, torch.channels_last]:
        entries = [(name, model.train().to(memory_format=layout)) for name, model in models.items()]
        entries = [(name, model, sgd(model)) for name, model in entries]
        images, times = x.to(memory_format=layout), {name: [] for name in models}
        for turn in range(WARM_UP + rounds):
            for name, model, optimizer in entries:
                taken = timed(lambda: train_step(model, optimizer, images, labels))
                if turn >= WARM_UP:
                    times[name] += taken
        for name, taken in times.items():
            best[name] = min(best.get(name, np.inf), float(np.median(taken)))
    return best


def sessions(models, batch, threads):
    """An ONNX Runtime session by method and number of images."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    made = {}
    with TemporaryDirectory() as folder:
        for name, model in models.items():
            for n in [1, batch]:
                path, x = str(Path(folder) / "network.onnx"), torch.zeros(n, 3, 32, 32)
                torch.onnx.export(model.eval(), (x,), path, input_names=["x"], dynamo=False)
                made[name, n] = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    return made


def onnx(sessions, rounds):
    """Milliseconds of inference by method and number of images."""
    times = {key: [] for key in sessions}
    images = {n: np.random.randn(n, 3, 32, 32).astype(np.float32) for _, n in sessions}
    for turn in range(WARM_UP + rounds):
        for (name, n), session in sessions.items():
            x = {"x": images[n]}
            # Once unmeasured, as the other side does: the threads of the session before have gone to sleep by then.
            session.run(None, x)
            taken = timed(lambda: session.run(None, x), SINGLES if n == 1 else 1)
            if turn >= WARM_UP:
                times[name, n] += taken
    return {key: float(np.median(taken)) for key, taken in times.items()}


def most_memory():
    """The most MiB that this process has held so far."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def memory(backbone, method, batch, threads):
    """Peak MiB of a process that takes two training steps, above what it held before."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import torch, race\n"
        f"torch.set_num_threads({threads}); idle = race.most_memory()\n"
        f"m = race.network('{backbone}', '{method}'); o = race.sgd(m)\n"
        "for _ in range(2):\n"
        f"    race.train_step(m, o, torch.randn({batch}, 3, 32, 32), torch.arange({batch}) % 10)\n"
        "print(race.most_memory() - idle)\n"
    )
    here = str(Path(__file__).resolve().parent)
    command = [sys.executable, "-c", code, here]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def ours(harness, backbone, batch, threads, rounds, with_memory):
    """Rows of `harness bench` by method."""
    command = [harness, "bench", "--backbone", backbone, "--batch", str(batch), "--threads", str(threads)]
    command += ["--rounds", str(rounds), "--format", "csv"] + ([] if with_memory else ["--no-memory"])
    for method in METHODS:
        command += ["--method", method]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    rows = dict(zip(METHODS, csv.DictReader(io.StringIO(output)), strict=True))
    for method, row in rows.items():
        if row["method"] != method.replace(",", " "):
            sys.exit(f"{method} was asked for, the harness answered for {row['method']}")
    return rows


def check(backbone, method, model, row):
    """That both sides have the same network, as far as counting tells."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    for what, here in [("macs", macs(model)), ("params", parameters)]:
        if here != int(row[what]):
            sys.exit(f"{backbone} {method}: {what} are {here} here and {row[what]} in the harness")


def race(backbone, args):
    """A row of the table for each method."""
    models = {method: network(backbone, method) for method in METHODS}
    runtimes = sessions(models, args.batch, args.threads)
    passes = min(args.passes, args.rounds)
    rounds = -(-args.rounds // passes)
    own, theirs = {method: [] for method in METHODS}, {method: [] for method in METHODS}
    for index in range(passes):
        rows = ours(args.harness, backbone, args.batch, args.threads, rounds, index == 0 and not args.no_memory)
        if index == 0:
            first = rows
            for method, model in models.items():
                check(backbone, method, model, rows[method])
        train, infer = pytorch(models, args.batch, rounds), onnx(runtimes, rounds)
        for method, row in rows.items():
            own[method].append([float(row[k]) for k in ["train_step_ms", "infer_b1_ms", f"infer_b{args.batch}_ms"]])
            theirs[method].append([train[method], infer[method, 1], infer[method, args.batch]])
    table = []
    for method in METHODS:
        mine, other = np.median(own[method], axis=0), np.median(theirs[method], axis=0)
        peaks = [None, None]
        if not args.no_memory:
            peaks = [first[method]["peak_mib"], memory(backbone, method, args.batch, args.threads)]
        table.append([backbone, method, *mine.tolist(), *other.tolist(), *(mine / other).tolist(), *peaks])
    return table


def positive(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text}, accepted: an integer of at least 1")
    return int(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", nargs="+", default=["resnet20", "resnet56", "vgg16"])
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--batch", type=positive, default=128)
    parser.add_argument("--rounds", type=positive, default=9, help="measured rounds, over all passes")
    parser.add_argument("--passes", type=positive, default=3, help="how often both sides are run")
    built = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "debug", "harness")
    parser.add_argument("--harness", default=built, help=f"the binary (default: {built})")
    parser.add_argument("--csv", help="a file for the rows")
    parser.add_argument("--no-memory", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    rows = [row for backbone in args.backbone for row in race(backbone, args)]
    names = ["backbone", "method", "train", "infer_b1", f"infer_b{args.batch}"]
    names += [f"theirs_{n}" for n in names[2:]] + [f"ratio_{n}" for n in names[2:]] + ["peak_mib", "theirs_peak_mib"]
    if args.csv:
        with open(args.csv, "w", newline="") as file:
            csv.writer(file).writerows([names, *rows])
    print("| " + " | ".join(names) + " |")
    print("|" + "---|" * len(names))
    for row in rows:
        cells = [f"{cell:.2f}" if isinstance(cell, float) else str(cell or "") for cell in row]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
