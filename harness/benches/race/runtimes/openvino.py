"""OpenVINO's CPU plugin on the exported graph: one request, all threads, in the precision it is told."""

import openvino
from files import images, onnx_macs
from worker import Call


class Runtime:
    def __init__(self, side, job):
        self.job, self.version = job, openvino.__version__.split("-")[0]
        self.core = openvino.Core()
        self.settings = {
            "INFERENCE_NUM_THREADS": job.threads,
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": side.precision,
        }

    def counts(self, method):
        return {"macs": onnx_macs(self.job.path(method, None) + ".onnx")}

    def runners(self, method, phase):
        model = self.core.compile_model(self.job.path(method, phase) + ".onnx", "CPU", self.settings)
        request, x = model.create_infer_request(), images(self.job.images(phase))
        return [Call(lambda: request.infer({"x": x}, share_inputs=True, share_outputs=True)[0])]
