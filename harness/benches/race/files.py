"""What the sides share without PyTorch: images, and what an ONNX file multiplies."""

import numpy as np


def images(count):
    """[count, 3, 32, 32], f32"""
    return np.random.default_rng(count).standard_normal((count, 3, 32, 32), dtype=np.float32)


def fold_constants(path):
    """Replaces an ONNX file by one in which what is known beforehand has been computed: PyTorch writes down how shapes are found,
    which not every runtime understands. The operations that remain are ONNX's own."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = path
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def onnx_macs(path):
    """Multiply-accumulates for one image of an ONNX file of convolutions and linear maps."""
    import onnx

    model = onnx.shape_inference.infer_shapes(onnx.load(path))
    weights = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    values = [*model.graph.value_info, *model.graph.output]
    shapes = {value.name: [size.dim_value for size in value.type.tensor_type.shape.dim] for value in values}
    total = 0
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm"):
            total += int(np.prod(shapes[node.output[0]][1:])) * int(np.prod(weights[node.input[1]][1:]))
    return total
