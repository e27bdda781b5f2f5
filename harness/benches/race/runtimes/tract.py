"""tract on the exported graph: the program in harness/benches/peers, which runs networks when it is told to."""

import os
import subprocess

import numpy
from files import onnx_macs
from worker import Absent

BUILD = "cargo build --release --manifest-path harness/benches/peers/Cargo.toml"


class Runner:
    """It measures its times itself, so that the way to it and back does not count."""

    def __init__(self, runtime, index):
        self.runtime, self.index = runtime, index

    def checked(self):
        return numpy.array(self.runtime.ask(f"logits {self.index}")).reshape(-1, 10)

    def times(self, n):
        return self.runtime.ask(f"time {self.index} {n}")


class Runtime:
    def __init__(self, side, job):
        if not os.path.exists(job.peers):
            raise Absent(f"not built ({BUILD})")
        self.job, self.loaded = job, 0
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([job.peers, str(job.threads)], stdin=pipe, stdout=pipe, text=True)
        self.version = self.process.stdout.readline().strip()

    def ask(self, request):
        print(request, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the program ended when asked for: {request}")
        return [float(word) for word in line.split()]

    def counts(self, method):
        return {"macs": onnx_macs(self.job.path(method, None) + ".onnx")}

    def runners(self, method, phase):
        self.ask(f"load {self.job.images(phase)} {self.job.path(method, phase)}")
        self.loaded += 1
        return [Runner(self, self.loaded - 1)]
