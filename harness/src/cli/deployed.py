"""Times exported networks, one inference when asked for one.

    python deployed.py BATCH THREADS CHANNELS HEIGHT WIDTH MODEL...

First prints a line of JSON: versions of the runtimes there are. Then, for each line `MODEL RUNTIME` (the number of a model, the name of
a runtime) runs it once and prints the milliseconds that took.
"""

import json
import sys
import time

try:
    import numpy
except ImportError:
    print("{}", flush=True)
    sys.exit()

batch, threads, channels, height, width = map(int, sys.argv[1:6])
models = sys.argv[6:]
images = numpy.random.default_rng(0).random((batch, channels, height, width), dtype=numpy.float32)


def with_onnxruntime():
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    sessions = [onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]) for model in models]
    return onnxruntime.__version__, [lambda session=session: session.run(None, {"images": images}) for session in sessions]


def with_openvino():
    import openvino

    core = openvino.Core()
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    requests = []
    for model in models:
        model = core.read_model(model)
        model.reshape({"images": list(images.shape)})
        requests.append(core.compile_model(model, "CPU", settings).create_infer_request())
    return openvino.__version__.split("-")[0], [lambda request=request: request.infer({"images": images}) for request in requests]


runtimes, versions = {}, {}
for name, prepare in (("onnxruntime", with_onnxruntime), ("openvino", with_openvino)):
    try:
        versions[name], runtimes[name] = prepare()
    except ImportError:
        pass
print(json.dumps(versions), flush=True)
for line in sys.stdin:
    model, runtime = line.split()
    infer = runtimes[runtime][int(model)]
    started = time.perf_counter()
    infer()
    print(1000 * (time.perf_counter() - started), flush=True)
