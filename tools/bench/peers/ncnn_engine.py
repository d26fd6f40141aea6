"""ncnn on the CPU, float32 throughout. It runs one image at a time: a batch is as many runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ncnn
import numpy as np

from clprune.files import write_atomically
from tools.bench.peers.ncnn_file import INPUT, OUTPUT, ncnn_files
from tools.bench.peers.options import load_chain
from tools.bench.serve import FloatArray


class NcnnEngine:
    """Options: model, weights, batch, threads, folder (where ncnn's files go)."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        stem = Path(options["folder"]) / f"{Path(options['weights']).stem}-ncnn"
        param, binary = stem.with_suffix(".param"), stem.with_suffix(".bin")
        text, content = ncnn_files(load_chain(options))
        write_atomically(param, text)
        write_atomically(binary, content)
        self._net = ncnn.Net()
        for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage"):
            setattr(self._net.opt, name, False)
        self._net.opt.use_vulkan_compute = False
        self._net.opt.num_threads = options["threads"]
        if self._net.load_param(str(param)) != 0 or self._net.load_model(str(binary)) != 0:
            raise ValueError(f"ncnn cannot read {param.name}")

    def describe(self) -> dict[str, Any]:
        return {"version": ncnn.__version__}

    def run(self, x: FloatArray) -> FloatArray:
        return np.stack([self._run_image(image) for image in x])

    def _run_image(self, image: FloatArray) -> FloatArray:
        with self._net.create_extractor() as extractor:
            extractor.input(INPUT, ncnn.Mat(image))
            status, answer = extractor.extract(OUTPUT)
            if status != 0:
                raise ValueError(f"ncnn ended with status {status}")
            return np.array(answer, np.float32)


def load(options: Mapping[str, Any]) -> NcnnEngine:
    return NcnnEngine(options)
