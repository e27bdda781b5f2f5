"""Reads the events below a folder as TensorBoard itself does, and says how many runs and epochs there are."""

import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

runs = sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir())
epochs = set()
for run in runs:
    events = EventAccumulator(str(run)).Reload()
    tags = events.Tags()["scalars"]
    assert {"loss/train", "loss/validation", "accuracy/validation", "recipe/lr"} <= set(tags), tags
    for tag in tags:
        scalars = events.Scalars(tag)
        assert [scalar.step for scalar in scalars] == list(range(1, len(scalars) + 1)), scalars
        assert all(first.wall_time < second.wall_time for first, second in zip(scalars, scalars[1:])), scalars
        epochs.add(len(scalars))
(count,) = epochs
print(f"{len(runs)} runs of {count} epochs")
