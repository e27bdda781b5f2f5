"""Holds exported networks against the harness's own logits.

    python check.py FOLDER

FOLDER has a folder a network: what `harness export` writes of it, `images.f32` and `logits.f32` (values in order, little-endian) and
`case.json` with their shapes and a tolerance. Prints the largest error of each runtime over all networks, and fails where one is too
large, where ONNX's checker finds fault, or where names are not PyTorch's.
"""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy
import onnx
import onnxruntime
import torch
from safetensors import safe_open
from safetensors.torch import load_file

worst = {}
failed = []


def read(path, shape):
    return numpy.fromfile(path, dtype="<f4").reshape(shape)


def hold(case, runtime, found, expected, tolerance):
    scale = max(float(numpy.abs(expected).max()), 1e-30)
    error = float(numpy.abs(found - expected).max()) / scale
    worst[runtime] = max(worst.get(runtime, (0.0, "")), (error, case))
    if not (found.shape == expected.shape and error <= tolerance):
        failed.append(f"{case}: {runtime} is off by {error:.2e}")


def check_onnx(folder, images, logits, tolerance):
    model = onnx.load(folder / "model.onnx")
    onnx.checker.check_model(model, full_check=True)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(metadata["shape"]) == list(images.shape[1:]), metadata
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    hold(folder.name, "onnxruntime", session.run(["logits"], {"images": images})[0], logits, tolerance)
    # Any number of images: one alone as among others.
    hold(folder.name, "onnxruntime, one", session.run(["logits"], {"images": images[:1]})[0], logits[:1], tolerance)


def check_pytorch(folder, images, logits, tolerance):
    spec = importlib.util.spec_from_file_location("model", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with torch.no_grad():
        found = module.load()(torch.from_numpy(images)).numpy()
    hold(folder.name, "pytorch", found, logits, tolerance)


def check_safetensors(folder, vanilla):
    path = folder / "weights.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    state = torch.load(folder / "weights.pth", weights_only=True)
    if sum(tensor.numel() for tensor in tensors.values()) != sum(tensor.numel() for tensor in state.values()):
        failed.append(f"{folder.name}: other values in safetensors and in PyTorch's file")
    if vanilla and metadata["names"] != "pytorch":
        failed.append(f"{folder.name}: names of {metadata['names']}")
    if metadata["names"] == "harness" and any(not torch.equal(tensor, state[name]) for name, tensor in tensors.items()):
        failed.append(f"{folder.name}: other values in safetensors and in PyTorch's file")


def main(root):
    torch.set_num_threads(1)
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    for folder in folders:
        case = json.loads((folder / "case.json").read_text())
        images, logits = read(folder / "images.f32", case["images"]), read(folder / "logits.f32", case["logits"])
        for check in (check_onnx, check_pytorch):
            try:
                check(folder, images, logits, case["tolerance"])
            except Exception as error:  # Every network is looked at, whatever is wrong with another.
                failed.append(f"{folder.name}: {check.__name__}: {type(error).__name__}: {error}")
        check_safetensors(folder, case["vanilla"])
    alone = subprocess.run([sys.executable, folders[0] / "model.py"], capture_output=True, text=True, check=True).stdout
    assert "->" in alone and "parameters" in alone, alone
    for runtime, (error, case) in worst.items():
        print(f"{runtime}: at most {error:.2e} off ({case})")
    for line in failed:
        print(line)
    print(f"{len(folders)} networks, {len(failed)} faults")
    sys.exit(1 if failed else 0)


main(Path(sys.argv[1]))
