"""Races the same networks in the runtimes that a user could pick on a CPU against `harness bench`, and writes the page of this machine.

    cargo build -p harness
    cargo build --release --manifest-path harness/benches/peers/Cargo.toml      # tract; without it, it is named as absent
    python harness/benches/race                                                 # everything: hours, on an idle machine
    python harness/benches/race --quick                                         # a try of some minutes, written to standard output only

Needs torch, numpy, onnx and onnxruntime, and races openvino where it is installed. The page goes to docs/performance/PROCESSOR.md, its
geometric means and the lost cells also into README.md. Whatever does not race is named there, with the reason.
"""

import argparse
import csv
import os
import subprocess
import sys
from pathlib import Path

import machine
import page
import passes
from sides import SIDES, chosen
from table import cells, means

ROOT = Path(__file__).resolve().parents[3]
METHODS = ["vanilla", "depthwise", "ghost", "compconv,depth=1", "compconv,depth=2", "compconv,depth=3"]
BACKBONES = ["resnet20", "resnet56", "vgg16"]


def positive(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text}, accepted: an integer of at least 1")
    return int(text)


def arguments():
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    peers = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "harness/benches/peers/target"))
    names = ", ".join(side.name for side in SIDES)
    parser = argparse.ArgumentParser("race", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", nargs="+", choices=BACKBONES, help=f"[default: {' '.join(BACKBONES)}]")
    parser.add_argument("--method", nargs="+", choices=METHODS, help="[default: all]")
    parser.add_argument("--sides", nargs="+", metavar="SIDE", help=f"only these, and the harness's own; of {names}")
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--batch", type=positive, default=128)
    parser.add_argument("--passes", type=positive, help="how often every side has its turn [default: 9]")
    parser.add_argument("--rounds", type=positive, help="measured rounds of a side's turn [default: 3]")
    parser.add_argument("--patience", type=positive, default=1800, help="seconds that a side has for an answer [default: %(default)s]")
    parser.add_argument("--harness", type=Path, default=target / "debug/harness", help="the binary [default: %(default)s]")
    parser.add_argument("--peers", type=Path, default=peers / "release/race-peers", help="the binary [default: %(default)s]")
    parser.add_argument("--page", type=Path, help="where the page goes [default: docs/performance/PROCESSOR.md, and README.md]")
    parser.add_argument("--csv", type=Path, help="a file for each pass's medians")
    parser.add_argument("--no-memory", action="store_true", help="leaves out the peak memory in training, a process a network and side")
    parser.add_argument("--quick", action="store_true", help="ResNet-20 with two methods, two passes, nothing that compiles for long")
    args = parser.parse_args()
    quick = args.quick
    args.backbone = args.backbone or (["resnet20"] if quick else BACKBONES)
    args.methods = args.method or (["vanilla", "compconv,depth=2"] if quick else METHODS)
    args.passes, args.rounds = args.passes or (2 if quick else 9), args.rounds or (1 if quick else 3)
    args.no_memory = args.no_memory or quick
    # As `harness bench` has it: rounds of a turn before those that count.
    args.warm_up = 2
    if args.batch == 1:
        parser.error("--batch: found 1, accepted: an integer of at least 2, as single images are raced anyway")
    args.harness, args.peers = args.harness.resolve(), args.peers.resolve()
    if not args.harness.exists():
        parser.error(f"{args.harness} is not there: cargo build -p harness, or --harness PATH")
    try:
        args.run, args.absent = chosen(args.sides, quick)
    except ValueError as error:
        parser.error(str(error))
    return args


def output(*command):
    return subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True).stdout.strip()


def peaks(args):
    rows = csv.DictReader(output(args.harness, "bench", "peak", "--threads", str(args.threads), "--format", "csv").splitlines())
    return "; ".join(f"{row['name']} {float(row['value']):.0f} {row['unit']}" for row in rows)


def command(words):
    """The command line, without the paths of this machine."""
    paths = [at for at, word in enumerate(words) if word in ("--harness", "--peers", "--csv", "--page")]
    kept = [word for at, word in enumerate(words) if at not in paths and at - 1 not in paths]
    return " ".join(["python harness/benches/race", *kept])


def kept_in(path):
    """Writes times into this file as they come: what ends after hours is not lost with its end."""
    if path is None:
        return lambda times: None
    file = path.open("w", newline="")
    writer = csv.writer(file)

    def keep(times):
        writer.writerows(times)
        file.flush()

    keep([passes.Time._fields])
    return keep


def furthest(found):
    """Of a side's deviations, one a backbone, the largest, and where."""
    return "{:.0e} ({})".format(*max(found))


def main():
    args = arguments()
    model, flags = machine.read()
    keep = kept_in(args.csv)
    times, memory, versions, apart, absent = [], [], {}, {}, dict(args.absent)
    for backbone in args.backbone:
        one = passes.race(backbone, args.run, args, flags, keep)
        times, memory = times + one.times, memory + one.memory
        versions |= one.versions
        for name, far in one.apart.items():
            apart.setdefault(name, []).append(far)
        # What is missing for one network only is named with it.
        absent |= {name if len(args.backbone) == 1 or name not in versions else f"{name} ({backbone})": why for name, why in one.absent.items()}
    found = cells(times, args.run)
    raced = {time.side for time in times}
    commit = output("git", "describe", "--always", "--dirty", "--abbrev=7")
    facts = {
        "title": f"{model} ({machine.widest(flags)})",
        "command": command(sys.argv[1:]),
        "machine": [
            f"{args.threads} threads of {os.cpu_count()} processors; {peaks(args)}",
            f"{args.passes} passes of {args.rounds} rounds; the sides take turns, each in a process of its own",
            f"checkout at commit {commit}; Python {sys.version.split()[0]}",
        ],
        "precisions": {side.name: side.precision for side in SIDES},
        "sides": [(s.name, versions[s.name], furthest(apart[s.name])) for s in SIDES if s.name in raced],
        "absent": list(absent.items()),
        "memory": memory,
    }
    text = page.page(facts, means(found), found, args.batch)
    name = machine.slug(model, flags)
    whole = not (args.quick or args.page or args.sides or args.backbone != BACKBONES or args.methods != METHODS)
    if args.page or whole:
        path = args.page or ROOT / f"docs/performance/{name}.md"
        path.write_text(text)
        print(path)
    else:
        print(text)
    if whole:
        readme = ROOT / "README.md"
        paragraph = page.summary(means(found), found, args.batch)
        readme.write_text(page.put_in_readme(readme.read_text(), name, facts["title"], paragraph))


if __name__ == "__main__":
    main()
