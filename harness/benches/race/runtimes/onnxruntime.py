"""ONNX Runtime's CPU provider on the exported graph, with all its optimizations."""

import numpy
import onnxruntime
from files import images, onnx_macs
from worker import Call


class Runtime:
    def __init__(self, side, job):
        self.job, self.version = job, onnxruntime.__version__
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = job.threads
        self.options.inter_op_num_threads = 1
        self.options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL

    def counts(self, method):
        return {"macs": onnx_macs(self.job.path(method, None) + ".onnx")}

    def runners(self, method, phase):
        path, x = self.job.path(method, phase) + ".onnx", images(self.job.images(phase))
        session = onnxruntime.InferenceSession(path, self.options, ["CPUExecutionProvider"])
        return [Call(lambda: numpy.asarray(session.run(None, {"x": x})[0]))]
