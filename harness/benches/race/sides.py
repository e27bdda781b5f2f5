"""Who races: every side is an entry of SIDES, and nothing else in this folder knows how many there are.

To add one, add an entry; where its runtime is new, also a class for it (see worker.py).
"""

from dataclasses import dataclass, field

TRAIN, ONE, BATCH = "training step", "inference, 1 image", "inference, batch"
ALL, INFERENCE = (TRAIN, ONE, BATCH), (ONE, BATCH)
F32, BF16 = "f32", "bf16"
# Largest deviation of a logit, in parts of the reference's largest one; for a training step, of its loss and of its gradient's norm.
BOUNDS = {F32: 1e-3, BF16: 1e-1}


@dataclass(frozen=True)
class Side:
    name: str
    runtime: str
    precision: str
    phases: tuple
    own: bool = False
    # Left out by --quick, unless --sides names it: it prepares for minutes.
    slow: bool = False
    # Its peak memory in training is measured, too; a process that compiles holds the compiler as well.
    memory: bool = False
    # What the runtime's class is told.
    options: dict = field(default_factory=dict)
    # Environment variables, in which {threads} is filled in.
    environment: dict = field(default_factory=dict)


# As PyTorch's performance tuning guide recommends for OpenMP; compilers run in the process itself, so as not to stay about.
TORCH = {
    "OMP_NUM_THREADS": "{threads}",
    "MKL_NUM_THREADS": "{threads}",
    "OMP_SCHEDULE": "STATIC",
    "OMP_PROC_BIND": "CLOSE",
    "TORCHINDUCTOR_COMPILE_THREADS": "1",
}
BOTH = ("contiguous", "channels_last")

SIDES = (
    Side("harness", "harness", F32, ALL, own=True, memory=True),
    Side("harness-bf16", "harness", BF16, ALL, own=True, memory=True, options={"arguments": ["--set", "recipe.precision=bf16"]}),
    Side("torch", "torch", F32, ALL, memory=True, options={"layouts": BOTH}, environment=TORCH),
    Side("torch-compile", "torch", F32, ALL, slow=True, options={"layouts": BOTH, "compile": True}, environment=TORCH),
    Side("onnxruntime", "onnxruntime", F32, INFERENCE),
    Side("openvino", "openvino", F32, INFERENCE),
    Side("tract", "tract", F32, INFERENCE),
    Side("torch-bf16", "torch", BF16, ALL, memory=True, options={"layouts": BOTH}, environment=TORCH),
    Side("torch-compile-bf16", "torch", BF16, ALL, slow=True, options={"layouts": BOTH, "compile": True}, environment=TORCH),
    Side("openvino-bf16", "openvino", BF16, INFERENCE),
)
# Who could be expected here and is not, and why.
NOT_RACED = {
    "burn": "its networks would have to be generated as Rust code from each exported file, or written by hand a second time",
    "onnxruntime in bf16": "its CPU provider has no bf16 convolutions on x86-64",
}


def chosen(names, quick):
    """The sides that run, and why each of the others does not, by name."""
    known = {side.name: side for side in SIDES}
    for name in names or []:
        if name not in known:
            raise ValueError(f"--sides: found {name}, accepted: {', '.join(known)}")
    run, absent = [], dict(NOT_RACED)
    for side in SIDES:
        if names and side.name not in names and not side.own:
            absent[side.name] = "not among --sides"
        elif quick and side.slow and not names:
            absent[side.name] = "left out by --quick"
        else:
            run.append(side)
    return run, absent
