"""Trains PyTorch's ResNet-20 on CIFAR-10 in Parquet, by the recipe that the harness uses: the yardstick for its accuracy.

    python harness/tests/goldens/resnet20_cifar.py FOLDER [--epochs 4] [--seed 0] [--threads 2] [--limit 0]

FOLDER holds `train*.parquet` and `test*.parquet` as CIFAR-10's public Parquet release does (`img.bytes`, `label`). Needs
torch, numpy, pyarrow and pillow. `--limit N` takes N training images only, to see that it runs.

The same as `harness` with [recipe] batch = 128, lr = 0.1, cosine, momentum 0.9, Nesterov, weight_decay = 5e-4 on every
parameter, no label smoothing, and [protocol] validation = 5000:

- 45,000 images are trained on and 5,000 validate, 500 of each class (which ones, and in which order, is drawn by another
  generator than the harness's);
- pixels / 255, less the mean and over the standard deviation per channel of the images trained on;
- crops after 4 pixels of black padding (pixel value 0, then normalised), then a flip with probability 1/2;
- the last, smaller batch of an epoch is left out; the rate changes at every step, from 0.1 along half a cosine;
- ResNet-20 with option A shortcuts, Kaiming-normal convolutions (fan-out), torch.nn.Linear's default classifier;
- the last epoch counts; validation decides nothing.

Prints one line an epoch: loss and accuracy on training batches, accuracy on validation; after the last, on test.
"""

import argparse
import io
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

BATCH, LR, MOMENTUM, DECAY, VALIDATION, PADDING = 128, 0.1, 0.9, 5e-4, 5000, 4


def read(folder, split):
    """Images [n, 3, 32, 32] of uint8 and labels [n]."""
    images, labels = [], []
    files = sorted(Path(folder).glob(f"{split}*.parquet"))
    if not files:
        raise SystemExit(f"{folder}: no {split}*.parquet in it")
    for file in files:
        table = parquet.read_table(file)
        labels += table["label"].to_pylist()
        for cell in table["img"].to_pylist():
            images.append(np.asarray(Image.open(io.BytesIO(cell["bytes"])).convert("RGB")))
    return np.stack(images).transpose(0, 3, 1, 2).copy(), np.array(labels)


class Block(nn.Module):
    def __init__(self, c_in, c_out, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(c_in, c_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.stride, self.pad = stride, (c_out - c_in) // 2

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        short = x[:, :, :: self.stride, :: self.stride]
        return F.relu(y + F.pad(short, (0, 0, 0, 0, self.pad, self.pad)))


def resnet20():
    layers = [nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()]
    c_in = 16
    for c_out in (16, 32, 64):
        for i in range(3):
            layers.append(Block(c_in, c_out, 2 if i == 0 and c_out > 16 else 1))
            c_in = c_out
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return network


def augment(images, black, generator):
    """Random crop of the padded image and flip, each image by itself; `black` [c, 1, 1] is what a pixel of 0 became."""
    n, c, h, w = images.shape
    padded = F.pad(images - black, (PADDING,) * 4) + black
    top = torch.randint(2 * PADDING + 1, (n, 1, 1, 1), generator=generator)
    left = torch.randint(2 * PADDING + 1, (n, 1, 1, 1), generator=generator)
    columns = torch.arange(w).view(1, 1, 1, w)
    flipped = torch.rand((n, 1, 1, 1), generator=generator) < 0.5
    columns = torch.where(flipped, w - 1 - columns, columns) + left
    rows = torch.arange(h).view(1, 1, h, 1) + top
    return padded[torch.arange(n).view(n, 1, 1, 1), torch.arange(c).view(1, c, 1, 1), rows, columns]


@torch.no_grad()
def accuracy(network, images, labels):
    network.eval()
    right = sum((network(x).argmax(1) == y).sum().item() for x, y in zip(images.split(500), labels.split(500)))
    return right / len(labels)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--limit", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(options.seed)

    pixels, labels = read(options.folder, "train")
    order = np.random.default_rng(0).permutation(len(labels))
    by_class = [order[labels[order] == c] for c in range(10)]
    validation = np.sort(np.concatenate([members[: VALIDATION // 10] for members in by_class]))
    train = np.sort(np.concatenate([members[VALIDATION // 10 :] for members in by_class]))
    if options.limit:
        train, validation = train[: options.limit], validation[: options.limit]
    scaled = pixels[train].astype(np.float64) / 255
    mean, std = scaled.mean((0, 2, 3)), scaled.std((0, 2, 3))
    print(f"{len(train)} training and {len(validation)} validation images, mean {mean.round(4)}, std {std.round(4)}")

    def tensors(pixels, labels):
        images = (pixels.astype(np.float32) / 255 - mean.reshape(3, 1, 1)) / std.reshape(3, 1, 1)
        return torch.from_numpy(images.astype(np.float32)), torch.from_numpy(labels)

    images, targets = tensors(pixels[train], labels[train])
    black = torch.from_numpy((-mean / std).astype(np.float32)).reshape(3, 1, 1)
    network = resnet20()
    optimizer = torch.optim.SGD(network.parameters(), lr=LR, momentum=MOMENTUM, nesterov=True, weight_decay=DECAY)
    steps = len(train) // BATCH
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=options.epochs * steps)
    held_out = tensors(pixels[validation], labels[validation])
    for epoch in range(1, options.epochs + 1):
        network.train()
        started, total, right = time.time(), 0.0, 0
        for members in torch.randperm(len(train), generator=generator)[: steps * BATCH].split(BATCH):
            y = targets[members]
            logits = network(augment(images[members], black, generator))
            loss = F.cross_entropy(logits, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
            right += (logits.argmax(1) == y).sum().item()
        seconds = time.time() - started
        print(
            f"epoch {epoch}/{options.epochs}: loss {total / steps:.3f}, acc {right / steps / BATCH:.2%}, "
            f"val {accuracy(network, *held_out):.2%}, {steps * BATCH / seconds:.0f} img/s",
            flush=True,
        )
    test = tensors(*read(options.folder, "test"))
    print(f"test {accuracy(network, *test):.2%}")


main()
