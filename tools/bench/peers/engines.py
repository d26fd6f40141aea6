"""The engines that the benchmarks compare, each loaded by a function that alone imports it, in a process of its own.

A function takes options: model (a cfg with its weights beside it), batch, and all but clprune threads.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from clprune.container.model import Model, load_model
from clprune.darknet.fold import fold_network
from clprune.errors import UsageError
from clprune.files import write_atomically
from tools.bench.process import run_process
from tools.bench.serve import Engine, FloatArray

Options = Mapping[str, Any]

CONVERSION_SECONDS = 300.0


def load_folded(options: Options) -> Model:
    """The model for `options["batch"]` images, with batch normalization folded into the weights as engines do it."""
    model = load_model(options["model"], batch=options["batch"])
    network, weights = fold_network(model.network, model.weights)
    return replace(model, network=network, weights=weights)


def onnx_file(options: Options) -> Path:
    """The model's ONNX file for this batch, beside its cfg; written unless another engine did."""
    from clprune.exchange.write import onnx_content

    cfg = Path(options["model"])
    path = cfg.with_name(f"{cfg.stem}-batch{options['batch']}.onnx")
    if not path.exists():
        write_atomically(path, onnx_content(load_folded(options), batch=options["batch"]))
    return path


def joined(outputs: Iterable[Any]) -> FloatArray:
    """The outputs of a network, `[N, ...]` each, as one `[N, outputs]`."""
    arrays = [np.asarray(output, np.float32) for output in outputs]
    return np.concatenate([array.reshape(len(array), -1) for array in arrays], axis=1)


def clprune_engine(options: Options) -> Engine:
    """A Runner with the tiles that are tuned. Further options: device (None: the one that would be chosen),
    connected_storage, algorithms (separated by commas), precision.
    """
    import clprune
    from clprune.algorithms import Algorithms
    from tools.bench.layers import largest_neighbours_bytes

    runner = clprune.Runner(
        options["model"],
        batch=options["batch"],
        device=options["device"],
        connected_storage=options["connected_storage"],
        algorithms=Algorithms(names=tuple(options["algorithms"].split(",")), precision=options["precision"]),
    )
    bound, info = runner.bound, runner.session.info
    steps = [step.step for step in bound.steps]
    kept = sum(step.step.operation.flops * step.kept_share for step in bound.steps)
    description = {
        "version": clprune.__version__,
        "device": info.name,
        "platform": info.platform_name,
        "driver_version": info.driver_version,
        "tile_origins": dict(Counter(step.tile_origin for step in steps if step.tile_origin)),
        "algorithms": dict(Counter(step.algorithm for step in steps if step.layer is not None)),
        "operations_share": kept / sum(step.operation.flops for step in steps),
        "parameter_bytes": bound.parameter_bytes,
        "tensor_bytes": bound.tensor_bytes,
        "largest_neighbours_bytes": largest_neighbours_bytes(bound.plan),
    }
    return Engine(description=description, run=runner)


def pytorch_engine(options: Options) -> Engine:
    """PyTorch, eager, on a CPU or on a GPU with cuDNN. Further options: memory_format ("contiguous" or
    "channels_last"), device ("cpu" or "cuda"), tf32 (whether matrix units may round float32 to 10 bits of mantissa).
    """
    import torch

    import clprune

    torch.set_num_threads(options["threads"])
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = options["tf32"]
    torch.backends.cudnn.benchmark = True  # measure cuDNN's algorithms and take the fastest
    device = torch.device(options["device"])
    layout = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}[options["memory_format"]]
    module = clprune.to_torch(load_folded(options)).to(device, memory_format=layout)
    description: dict[str, Any] = {"version": torch.__version__}
    if device.type == "cuda":
        name, cudnn = torch.cuda.get_device_name(device), torch.backends.cudnn.version()
        description |= {"device": name, "cuda": torch.version.cuda, "cudnn": cudnn}

    def run(x: FloatArray) -> FloatArray:
        with torch.inference_mode():
            answer: FloatArray = module(torch.from_numpy(x).to(device).contiguous(memory_format=layout)).cpu().numpy()
        return answer

    return Engine(description=description, run=run)


def onnxruntime_engine(options: Options) -> Engine:
    """ONNX Runtime's CPU provider, its own settings but for the threads."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = options["threads"]
    session = onnxruntime.InferenceSession(str(onnx_file(options)), settings, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    return Engine(
        description={"version": onnxruntime.__version__}, run=lambda x: joined(session.run(None, {given.name: x}))
    )


def openvino_engine(options: Options) -> Engine:
    """OpenVINO's CPU plug-in, set for latency and for float32 throughout (it may choose bfloat16 by itself)."""
    import openvino

    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": options["threads"],
    }
    request = openvino.Core().compile_model(str(onnx_file(options)), "CPU", settings).create_infer_request()

    def run(x: FloatArray) -> FloatArray:
        return joined(request.infer([x], share_inputs=True, share_outputs=True).values())

    return Engine(description={"version": openvino.__version__.partition("-")[0]}, run=run)


def ncnn_engine(options: Options) -> Engine:
    """ncnn on the CPU, float32 throughout, from the ONNX file by its own converter, pnnx.

    It runs one image at a time: a batch is as many runs.
    """
    import ncnn
    import pnnx

    path = onnx_file({**options, "batch": 1})
    shape = "1," + ",".join(map(str, load_model(options["model"]).network.input.dimensions))
    param, binary = (str(path.with_suffix(suffix)) for suffix in (".param", ".bin"))
    settings = [f"inputshape=[{shape}]f32", "fp16=0", f"ncnnparam={param}", f"ncnnbin={binary}"]
    run_process([pnnx.EXEC_PATH, str(path), *settings], name="pnnx", limit_s=CONVERSION_SECONDS)
    net = ncnn.Net()
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
        setattr(net.opt, name, False)
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = options["threads"]
    if net.load_param(param) != 0 or net.load_model(binary) != 0:
        raise ValueError(f"ncnn cannot read what pnnx made of {path.name}")

    def run_image(image: FloatArray) -> FloatArray:
        with net.create_extractor() as extractor:
            extractor.input(net.input_names()[0], ncnn.Mat(image))
            answers = [extractor.extract(name) for name in net.output_names()]
            if any(status != 0 for status, _ in answers):
                raise ValueError(f"ncnn ended with status {max(status for status, _ in answers)}")
            return joined(np.array(answer)[None] for _, answer in answers)

    return Engine(
        description={"version": ncnn.__version__}, run=lambda x: np.concatenate([run_image(image) for image in x])
    )


def deepsparse_engine(options: Options) -> Engine:
    """DeepSparse, which makes use of single zeros in weights on a CPU."""
    os.environ.setdefault("NM_DISABLE_ANALYTICS", "1")  # it reports its use otherwise
    import deepsparse

    engine = deepsparse.compile_model(
        str(onnx_file(options)), batch_size=options["batch"], num_cores=options["threads"]
    )
    return Engine(description={"version": deepsparse.__version__}, run=lambda x: joined(engine.run([x])))


#: Name on the command line -> (what loads it, distribution whose version is reported).
ENGINES: Mapping[str, tuple[Callable[[Options], Engine], str]] = {
    "clprune": (clprune_engine, "clprune"),
    "pytorch": (pytorch_engine, "torch"),
    "onnxruntime": (onnxruntime_engine, "onnxruntime"),
    "openvino": (openvino_engine, "openvino"),
    "ncnn": (ncnn_engine, "ncnn"),
    "deepsparse": (deepsparse_engine, "deepsparse"),
}


def load_engine(name: str, options: Options) -> Engine:
    """Load the engine `name`. Raises UsageError, and what the engine raises."""
    if name not in ENGINES:
        raise UsageError(f"engine {name!r}: expected one of {', '.join(ENGINES)}")
    return ENGINES[name][0](options)
