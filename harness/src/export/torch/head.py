#
# The network above in plain PyTorch. `load()` gives it with its weights; it takes images [n, c, h, w] in [0, 1] (it standardises them
# itself) and gives logits [n, classes].

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F


