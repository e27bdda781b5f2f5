"""The process of one side: reads requests from standard input, a line of JSON each, and answers likewise.

A runtime is a class with `version`, `counts(method)` and `runners(method, phase)`: a runner for each way to run the phase, of which
the fastest counts. A runner has `checked()`, which answers logits [N, 10], or for a training step (loss, norm of the gradient), and `times(n)`:
milliseconds of n runs.
"""

import importlib
import json
import os
import statistics
import sys
import time
import traceback
from types import SimpleNamespace

from sides import BF16, ONE, SIDES, TRAIN

# Single images a round, as `harness bench` has them.
SINGLES = 10


class Absent(Exception):
    """The side cannot run here, and why."""


class Call:
    """A runner of a function."""

    def __init__(self, run):
        self.run = self.checked = run

    def times(self, n):
        taken = []
        for _ in range(n):
            start = time.perf_counter()
            self.run()
            taken.append((time.perf_counter() - start) * 1e3)
        return taken


class Worker:
    def __init__(self, side, job):
        try:
            module = importlib.import_module(f"runtimes.{side.runtime}")
            self.runtime = module.Runtime(side, job)
        except ImportError as error:
            raise Absent(f"not installed ({error})") from error
        self.side, self.job = side, job
        self.keys = [(method, phase) for method in job.methods for phase in side.phases]
        self.runners = None

    def prepare(self):
        if self.runners is None:
            self.runners = {key: self.runtime.runners(*key) for key in self.keys}
        return self.runners

    def check(self):
        """How far each of the side's runners is from the reference, by method and phase; the worst."""
        import numpy

        found = []
        for (method, phase), runners in self.prepare().items():
            for runner in runners:
                answer = numpy.asarray(runner.checked(), dtype=numpy.float64)
                if phase == TRAIN:
                    reference = numpy.array(self.job.steps[method])
                    apart = numpy.max(numpy.abs(answer - reference) / reference)
                else:
                    reference = numpy.load(self.job.path(method, phase) + ".npy")
                    apart = numpy.max(numpy.abs(answer - reference)) / numpy.max(numpy.abs(reference))
                found.append([method, phase, float(apart)])
        counts = {method: self.runtime.counts(method) for method in self.job.methods}
        return {"apart": found, "counts": counts}

    def time(self, rounds, warm_up):
        """[method, phase, milliseconds]: of each runner the median, and of these the least."""
        taken = {}
        for turn in range(warm_up + rounds):
            for key, runners in self.prepare().items():
                for index, runner in enumerate(runners):
                    if key[1] != TRAIN:
                        # Once unmeasured, as the harness does it: the threads of whoever ran before have gone to sleep by then.
                        runner.times(1)
                    times = runner.times(SINGLES if key[1] == ONE else 1)
                    if turn >= warm_up:
                        taken.setdefault(key, {}).setdefault(index, []).extend(times)
        return [[*key, min(map(statistics.median, by.values()))] for key, by in taken.items()]


def most_memory():
    """The most MiB that this process has held so far."""
    with open("/proc/self/status") as status:
        line = next(line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


class Job(SimpleNamespace):
    """What is raced: folder, backbone, methods, batch, threads, steps (by method, what a first training step comes to)."""

    def images(self, phase):
        return 1 if phase == ONE else self.batch

    def path(self, method, phase):
        """Of the files of a network, without their ends."""
        return f"{self.folder}/{self.methods.index(method)}-{self.images(phase)}"


def needs_bf16(side, flags):
    """Emulated bf16 is slower than f32, and a peer that nobody would pick."""
    if side.precision == BF16 and not {"avx512_bf16", "amx_bf16", "bf16"} & set(flags):
        raise Absent("this processor has no bf16 instructions")


def answer(request, state):
    kind = request.pop("do")
    if kind == "export":
        import warnings

        import networks
        from runtimes.torch import reference_steps

        job = Job(**request["job"])
        # The exporter speaks of itself, at length.
        warnings.simplefilter("ignore")
        counted = networks.export(job.folder, job.backbone, job.methods, job.batch)
        return {"counted": counted, "steps": reference_steps(job)}
    if kind == "own":
        import own

        return {"apart": own.check(request["harness"], Job(**request["job"]), request["precision"])}
    if kind == "open":
        side = next(side for side in SIDES if side.name == request["side"])
        try:
            needs_bf16(side, request["flags"])
            state["worker"] = Worker(side, Job(**request["job"]))
        except Absent as why:
            return {"absent": str(why)}
        return {"version": state["worker"].runtime.version}
    if kind == "check":
        return state["worker"].check()
    if kind == "memory":
        idle = most_memory()
        state["worker"].runtime.train(request["method"])
        return {"mib": most_memory() - idle}
    return {"times": state["worker"].time(**request)}


def main():
    # Answers go where nobody else prints: what libraries say on standard output is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # The runtimes import this module by its name.
    sys.modules["worker"] = sys.modules["__main__"]
    state = {}
    for line in sys.stdin:
        try:
            answered = answer(json.loads(line), state)
        except Exception as error:  # Whatever a runtime throws: the side is left out, and the page says why.
            traceback.print_exc()
            answered = {"failed": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"}
        print(json.dumps(answered), file=answers, flush=True)


if __name__ == "__main__":
    main()
