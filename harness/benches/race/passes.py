"""The race itself: every side in a process of its own, in turns, and what each took."""

import csv
import io
import json
import os
import subprocess
import sys
import threading
from collections import namedtuple
from pathlib import Path
from tempfile import TemporaryDirectory

from sides import BATCH, BOUNDS, ONE, TRAIN

HERE = Path(__file__).resolve().parent
# A median of one side's rounds in one pass, in milliseconds.
Time = namedtuple("Time", "turn side backbone method phase ms")
# Of a process that takes two training steps: the harness's whole, of others what comes on top of the idle process.
Memory = namedtuple("Memory", "side backbone method mib")
# What a race found: times of all passes, memory, and by side its version, how far it was from the reference, or why it has no times.
Found = namedtuple("Found", "times memory versions apart absent")


class Failed(Exception):
    """A side that ended, said an error, or is not what it has to be."""


class Python:
    """A side in a Python process of its own."""

    def __init__(self, side, settings):
        self.side, self.settings = side, settings
        filled = {} if side is None else {k: v.format(threads=settings.threads) for k, v in side.environment.items()}
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py")],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **filled},
        )  # fmt: skip

    def ask(self, do, **request):
        print(json.dumps({"do": do, **request}), file=self.process.stdin, flush=True)
        # With its process ends the line that is waited for, so that one side that hangs does not hang the race.
        patience = threading.Timer(self.settings.patience, self.process.kill)
        patience.start()
        line = self.process.stdout.readline()
        patience.cancel()
        if not line:
            raise Failed(f"its process ended at `{do}`, or was ended after {self.settings.patience} s")
        answer = json.loads(line)
        if "failed" in answer:
            raise Failed(answer["failed"])
        return answer

    def open(self, job, flags):
        answer = self.ask("open", side=self.side.name, job=job, flags=flags)
        if "absent" in answer:
            raise Failed(answer["absent"])
        return answer["version"]

    def check(self, counted):
        answer = self.ask("check")
        for method, counts in answer["counts"].items():
            same(self.side.name, method, counts, counted[method])
        return max((apart, f"{method}, {phase}") for method, phase, apart in answer["apart"])

    def memory(self, job, flags):
        """(method, MiB), each in a process of its own."""
        for method in job["methods"]:
            fresh = Python(self.side, self.settings)
            fresh.open(job, flags)
            yield method, fresh.ask("memory", method=method)["mib"]
            fresh.close()

    def time(self):
        return self.ask("time", rounds=self.settings.rounds, warm_up=self.settings.warm_up)["times"]

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait()


class Harness:
    """The harness's own side: `harness bench`, a process a pass."""

    def __init__(self, side, settings):
        self.side, self.settings = side, settings

    def open(self, job, flags):
        self.job = job
        run = subprocess.run([self.settings.harness, "--version"], check=True, stdout=subprocess.PIPE, text=True)
        return run.stdout.strip().split(" ", 1)[-1]

    def rows(self, rounds, memory=False):
        job = self.job
        command = [self.settings.harness, "bench", "--backbone", job["backbone"], "--batch", str(job["batch"])]
        command += ["--threads", str(job["threads"]), "--rounds", str(rounds), "--format", "csv"]
        command += [] if memory else ["--no-memory"]
        command += self.side.options.get("arguments", [])
        for method in job["methods"]:
            command += ["--method", method]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if run.returncode:
            raise Failed(f"`{' '.join(command)}` ended with code {run.returncode}")
        rows = {row["method"].replace(" ", ","): row for row in csv.DictReader(io.StringIO(run.stdout))}
        missing = [method for method in job["methods"] if method not in rows]
        if missing:
            raise Failed(f"asked for {', '.join(missing)}, it answered for {', '.join(rows)}")
        # Vanilla runs along, whether it was asked for or not.
        return {method: rows[method] for method in job["methods"]}

    def check(self, counted):
        for method, row in self.rows(1).items():
            same(self.side.name, method, {what: int(row[what]) for what in ("macs", "params")}, counted[method])
        worker = Python(None, self.settings)
        found = worker.ask(
            "own", harness=str(self.settings.harness), job=self.job, precision=self.side.precision
        )["apart"]
        worker.close()
        return max((apart, method) for method, apart in found)

    def memory(self, job, flags):
        for method, row in self.rows(1, memory=True).items():
            yield method, float(row["peak_mib"])

    def time(self):
        columns = {TRAIN: "train_step_ms", ONE: "infer_b1_ms", BATCH: f"infer_b{self.job['batch']}_ms"}
        rows = self.rows(self.settings.rounds).items()
        return [[method, phase, float(row[columns[phase]])] for method, row in rows for phase in self.side.phases]

    def close(self):
        pass


def same(side, method, found, counted):
    """Networks of equal name are equal, as far as counting tells; anything else ends the race."""
    for what, here in found.items():
        if here != counted[what]:
            sys.exit(f"{side}, {method}: {what} are {here}, and {counted[what]} in the reference")


def say(text):
    print(text, file=sys.stderr, flush=True)


def export(folder, backbone, settings):
    """The job of a backbone: its files, and what they come to."""
    job = {"folder": folder, "backbone": backbone, "methods": settings.methods, "batch": settings.batch}
    job |= {"threads": settings.threads, "peers": str(settings.peers)}
    worker = Python(None, settings)
    try:
        answer = worker.ask("export", job=job)
    except Failed as why:
        sys.exit(f"{backbone} cannot be exported: {why}")
    worker.close()
    for method, counts in answer["counted"].items():
        same("exported file", method, {"macs": counts[f"onnx_macs_{settings.batch}"]}, counts)
    return {**job, "steps": answer["steps"]}, answer["counted"]


def drop(racer, why, backbone, absent):
    """Goes on without a side; not without the harness's own, about which the race is."""
    name = racer.side.name
    if racer.side.own:
        sys.exit(f"{name}: {why}")
    say(f"{backbone}: {name} is left out: {why}")
    absent[name] = why
    racer.close()


def race(backbone, sides, settings, flags, keep):
    """What a backbone came to; `keep` gets the times of every turn as soon as they are there."""
    times, memory, versions, apart, absent, running = [], [], {}, {}, {}, []
    with TemporaryDirectory() as folder:
        job, counted = export(folder, backbone, settings)
        for side in sides:
            racer = (Harness if side.own else Python)(side, settings)
            try:
                versions[side.name] = racer.open(job, flags)
                say(f"{backbone}: {side.name} {versions[side.name]} prepares")
                apart[side.name] = racer.check(counted)
                far, where = apart[side.name]
                # NaN is too far, too.
                if not far <= BOUNDS[side.precision]:
                    raise Failed(f"wrong: {far:.1e} from the reference ({where}), allowed {BOUNDS[side.precision]:.0e}")
            except Failed as why:
                drop(racer, str(why), backbone, absent)
                continue
            running.append(racer)
        for racer in [] if settings.no_memory else [racer for racer in running if racer.side.memory]:
            memory += [Memory(racer.side.name, backbone, *row) for row in racer.memory(job, flags)]
        for turn in range(settings.passes):
            say(f"{backbone}: pass {turn + 1} of {settings.passes}")
            # There and back again, so that nobody always runs after the same one.
            for racer in list(running if turn % 2 == 0 else running[::-1]):
                try:
                    found = [Time(turn, racer.side.name, backbone, *row) for row in racer.time()]
                    times += found
                    keep(found)
                except Failed as why:
                    # Whoever does not last has no times at all: ratios are of passes that both sides ran.
                    drop(racer, str(why), backbone, absent)
                    running.remove(racer)
                    times = [time for time in times if time.side != racer.side.name]
        for racer in running:
            racer.close()
    return Found(times, memory, versions, apart, absent)
