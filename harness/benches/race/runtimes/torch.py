"""PyTorch: eager or compiled, in f32 or under autocast to bf16."""

import contextlib

import networks
import torch
import torch.nn.functional as F
from files import images
from sides import BF16, TRAIN
from worker import Call

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def sgd(model):
    return torch.optim.SGD(model.parameters(), 1e-3, 0.9, weight_decay=5e-4, nesterov=True, fused=True)


class Step:
    """Training steps on one batch."""

    def __init__(self, model, batch, layout, precision=None, compiled=False):
        self.model, self.optimizer = model.train(), sgd(model)
        self.images = torch.from_numpy(images(batch)).to(memory_format=layout)
        self.labels = torch.arange(batch) % 10
        self.precision = precision
        self.forward = torch.compile(self.loss, dynamic=False) if compiled else self.loss

    def loss(self, images, labels):
        with autocast(self.precision):
            return F.cross_entropy(self.model(images), labels)

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.forward(self.images, self.labels)
        loss.backward()
        self.optimizer.step()
        return loss

    def checked(self):
        """A step, and the loss and the gradient's norm that it had."""
        loss = self.step().item()
        norm = torch.sqrt(sum((parameter.grad**2).sum() for parameter in self.model.parameters())).item()
        return [loss, norm]


def autocast(precision):
    return torch.autocast("cpu", torch.bfloat16) if precision == BF16 else contextlib.nullcontext()


def reference_steps(job):
    """By method the loss and the gradient's norm of the first step, in f32."""
    model = {method: networks.prepared(job.backbone, method) for method in job.methods}
    return {method: Step(model[method], job.batch, torch.contiguous_format).checked() for method in job.methods}


class Training(Call):
    """A runner of training steps: what is timed leaves out what a check wants to know."""

    def __init__(self, step):
        super().__init__(step.step)
        self.checked = step.checked


class Runtime:
    def __init__(self, side, job):
        torch.set_num_threads(job.threads)
        self.side, self.job = side, job
        self.compiled = side.options.get("compile", False)
        self.version = torch.__version__

    def counts(self, method):
        model = networks.prepared(self.job.backbone, method)
        return {"macs": networks.macs(model), "params": networks.parameters(model)}

    def train(self, method):
        """Two training steps and nothing else, for their memory."""
        step = Step(networks.prepared(self.job.backbone, method), self.job.batch, torch.contiguous_format, self.side.precision)
        step.step()
        step.step()

    def runners(self, method, phase):
        return [self.runner(method, phase, LAYOUTS[layout]) for layout in self.side.options["layouts"]]

    def runner(self, method, phase, layout):
        # Shapes are fixed, so each network is compiled for its own; what was compiled for others is of no use.
        model = networks.prepared(self.job.backbone, method).to(memory_format=layout)
        if phase == TRAIN:
            return Training(Step(model, self.job.batch, layout, self.side.precision, self.compiled))
        return Call(self.inference(model.eval(), torch.from_numpy(images(self.job.images(phase))).to(memory_format=layout)))

    def inference(self, model, images):
        # Weights as constants, so that norms are folded: what PyTorch recommends for inference on a CPU.
        forward = torch.compile(model, options={"freezing": True}, dynamic=False) if self.compiled else model

        def run():
            with torch.no_grad(), autocast(self.side.precision):
                return forward(images).float()

        return run
