#!/usr/bin/env python3
"""ONNX Runtime on one thread, for the benchmark: it reads one request a line,
as JSON, and answers each with one line.

    {"cpu": 1}                                       stay on this CPU
    {"load": "model.onnx", "inputs": [INPUT, ...]}   INPUT: name, dtype, shape, file
    {"run": 100}                                     answers the seconds of CPU time
    {"outputs": "folder"}                            writes 0.bin, 1.bin, ...
    {"quantise": "model.onnx", "to": "int8.onnx"}    QDQ, static, per channel

An answer is `{"ok": ...}` or `{"error": "message"}`. It needs onnxruntime, and
onnx to quantise: both are in tests/interop/requirements.txt.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime

# Random inputs that the ranges of activations are taken from.
CALIBRATION_INPUTS = 8


class Worker:
    """The session that requests are about."""

    def __init__(self) -> None:
        self._session = None
        self._inputs: dict[str, np.ndarray] = {}

    def answer(self, request: dict) -> object:
        """What one request asks for."""
        if "cpu" in request:
            os.sched_setaffinity(0, {request["cpu"]})
            return onnxruntime.__version__
        if "load" in request:
            return self._load(request["load"], request["inputs"])
        if "run" in request:
            return self._run(request["run"])
        if "outputs" in request:
            return self._outputs(Path(request["outputs"]))
        if "quantise" in request:
            return quantise(request["quantise"], request["to"])
        raise ValueError(f"unknown request {sorted(request)}")

    def _load(self, model: str, inputs: list[dict]) -> None:
        self._session = open_session(model)
        self._inputs = {
            each["name"]: np.fromfile(each["file"], each["dtype"]).reshape(each["shape"])
            for each in inputs
        }

    def _run(self, repeats: int) -> float:
        start = time.thread_time()
        for _ in range(repeats):
            self._session.run(None, self._inputs)
        return time.thread_time() - start

    def _outputs(self, folder: Path) -> None:
        for index, output in enumerate(self._session.run(None, self._inputs)):
            output.tofile(folder / f"{index}.bin")


def open_session(model: str) -> onnxruntime.InferenceSession:
    """A session that computes on the calling thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def quantise(model: str, to: str) -> None:
    """Write the model with 8-bit weights and activations."""
    from onnxruntime import quantization

    session = open_session(model)
    random = np.random.default_rng(8)

    def numbers(spec: onnxruntime.NodeArg) -> np.ndarray:
        # A dimension with a name is the batch.
        shape = [size if isinstance(size, int) else 1 for size in spec.shape]
        if spec.type == "tensor(float)":
            return random.uniform(-1, 1, shape).astype(np.float32)
        return random.integers(0, 256, shape).astype(spec.type[7:-1])

    def sample() -> dict[str, np.ndarray]:
        return {spec.name: numbers(spec) for spec in session.get_inputs()}

    class Calibration(quantization.CalibrationDataReader):
        def __init__(self) -> None:
            self._left = iter([sample() for _ in range(CALIBRATION_INPUTS)])

        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(self._left, None)

    quantization.quantize_static(
        model,
        to,
        Calibration(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
    )


def main() -> None:
    # Only answers go to the standard output, whatever libraries print.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        try:
            answer = {"ok": worker.answer(json.loads(line))}
        except Exception as error:  # whatever it is, the benchmark prints it
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
