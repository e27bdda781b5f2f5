"""The harness's own networks against the race's, with the harness's weights: what it exports, and what it computes itself.

`harness bench` makes weights of its own and tells nobody its logits, so a small sweep on synthetic images stands for it: its networks are
exported to PyTorch, their weights loaded into the race's modules, and the harness's probabilities for images compared with theirs.
"""

import csv
import importlib.util
import json
import os
import struct
import subprocess
import tempfile
import zlib
from pathlib import Path

import networks
import numpy as np
import torch

# Enough steps for norms to know their images, so that no probability is all but 1 and hides the rest.
SWEEP = """name = "own"
dataset = {{ name = "cifar10", sources = ["synthetic:64+16"], augment = false }}
backbone.name = "{backbone}"
recipe = {{ epochs = 6, batch = 16, subset = 32, warmup_epochs = 1, lr = 0.01, precision = "{precision}" }}
protocol = {{ seeds = [0], validation = 16, controls = [] }}
run.measure = false
"""
IMAGES = 4


def png(pixels):
    """The bytes of an image [height, width, 3] of u8."""
    height, width, _ = pixels.shape

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + row.tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def sweep(backbone, methods, precision):
    text = SWEEP.format(backbone=backbone, precision=precision)
    for method in methods:
        name, *options = method.split(",")
        text += f'[[grid]]\nmethod.name = "{name}"\n' + "".join(f"method.{option}\n" for option in options)
    return text


def exported(folder):
    """The network that the harness wrote as PyTorch."""
    spec = importlib.util.spec_from_file_location("exported", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    here = os.getcwd()
    try:
        os.chdir(folder)
        return module.load().eval()
    finally:
        os.chdir(here)


def with_weights_of(other, model):
    """The model with the other's weights, which are in the same order: that of the network."""
    found = [tensor for name, tensor in other.state_dict().items() if "num_batches" not in name]
    names = [name for name in model.state_dict() if "num_batches" not in name]
    model.load_state_dict(dict(zip(names, found, strict=True)), strict=False)
    return model.eval()


def check(harness, job, precision):
    """[method, deviation] of networks that were trained and infer in a precision: of the exported network's logits from the race's, in parts of the largest one, or of the harness's
    probabilities, in parts of the largest one, whichever is more."""
    harness, found = os.path.abspath(harness), []
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        folder = Path(folder)

        def run(*command):
            done = subprocess.run([harness, *command], cwd=folder, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"`{' '.join(command)}` said {done.stderr.strip()}")
            return done.stdout

        (folder / "own.toml").write_text(sweep(job.backbone, job.methods, precision))
        run("own.toml", "--output", "own", "--progress", "plain")
        rows = list(csv.DictReader((folder / "own/results.csv").open()))
        pixels = np.random.default_rng(0).integers(96, 160, (IMAGES, 32, 32, 3), dtype=np.uint8)
        files = [f"{index}.png" for index in range(IMAGES)]
        for name, image in zip(files, pixels):
            (folder / name).write_bytes(png(image))
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
        for method in job.methods:
            (row,) = [row for row in rows if row["label"] == method.replace(",", " ")]
            trial = f"own/trials/{row['key']}"
            run("export", trial, "--format", "pytorch", "--output", row["key"])
            other = exported(folder / row["key"])
            model = with_weights_of(other, networks.network(job.backbone, method))
            theirs, logits = other(x), model((x - other.mean) / other.std)
            apart = [((theirs - logits).abs().max() / logits.abs().max()).item()]
            sure = logits.softmax(1)
            for line in json.loads(run("predict", trial, *files, "--top", "10", "--format", "json")):
                expected = sure[files.index(line["image"]), int(line["class"])].item()
                apart.append(abs(float(line["probability"]) - expected) / sure.max().item())
            found.append([method, max(apart)])
    return found
