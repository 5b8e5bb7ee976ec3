"""Small models quantised to 8 bits by ONNX Runtime's own quantiser, in each of its forms."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from small_models import SEED, model, weights

Tensors = dict[str, np.ndarray]
CALIBRATION_INPUTS = 8


def cnn() -> onnx.ModelProto:
    """A convolution of each kind, a shortcut, pools, a concatenation and a dense layer."""
    node = helper.make_node
    window = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    nodes = [
        node("Conv", ["x", "w1", "b1"], ["c1"], name="full", **window),
        node("Relu", ["c1"], ["r1"], name="relu1"),
        node("Conv", ["r1", "w2", "b2"], ["c2"], name="depthwise", group=9, strides=[2, 2], **window),
        node("Clip", ["c2", "zero", "six"], ["r2"], name="relu6"),
        node("Conv", ["r2", "w3", "b3"], ["c3"], name="pointwise"),
        node("Add", ["c3", "r2"], ["a"], name="shortcut"),
        node("MaxPool", ["a"], ["m"], name="maximum", kernel_shape=[2, 2], strides=[1, 1]),
        node("AveragePool", ["a"], ["v"], name="mean", kernel_shape=[2, 2], strides=[1, 1]),
        node("Concat", ["m", "v"], ["j"], name="join", axis=1),
        node("GlobalAveragePool", ["j"], ["g"], name="pool"),
        node("Flatten", ["g"], ["f"], name="flatten"),
        node("Gemm", ["f", "w4", "b4"], ["y"], name="classes", transB=1),
    ]
    constants = {
        "w1": weights(9, 3, 3, 3),
        "b1": weights(9),
        "w2": weights(9, 1, 3, 3),
        "b2": weights(9),
        "w3": weights(9, 9, 1, 1),
        "b3": weights(9),
        "w4": weights(5, 18),
        "b4": weights(5),
        "zero": np.array(0, np.float32),
        "six": np.array(6, np.float32),
    }
    return model(nodes, {"x": [1, 3, 15, 13]}, constants)


def mlp() -> onnx.ModelProto:
    """Two dense layers."""
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["h"], name="first", transB=1),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("MatMul", ["r", "w2"], ["p"], name="second"),
        helper.make_node("Add", ["p", "b2"], ["y"], name="bias"),
    ]
    constants = {
        "w1": weights(33, 21),
        "b1": weights(33),
        "w2": weights(33, 7),
        "b2": weights(7),
    }
    return model(nodes, {"x": [1, 21]}, constants)


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {"cnn": cnn, "mlp": mlp}


class Calibration(CalibrationDataReader):
    """Seeded random inputs."""

    def __init__(self, shape: list[int]) -> None:
        random = np.random.default_rng(SEED)
        arrays = random.standard_normal((CALIBRATION_INPUTS, *shape)).astype(np.float32)
        self._inputs: Iterator[Tensors] = iter([{"x": array} for array in arrays])

    def get_next(self) -> Tensors | None:
        """The next input."""
        return next(self._inputs, None)


def write(folder: Path) -> Iterator[tuple[str, Path]]:
    """Write all models in all forms: what each is, and its file.

    Weights have 7 bits: with 8, ONNX Runtime saturates sums of two products on
    processors without instructions for them."""
    for name, make in MODELS.items():
        made = make()
        plain = folder / f"{name}.onnx"
        onnx.save(made, plain)
        shape = [dim.dim_value for dim in made.graph.input[0].type.tensor_type.shape.dim]
        for form in QuantFormat:
            for per_channel in (False, True):
                kind = "per channel" if per_channel else "per tensor"
                path = folder / f"{name}-{form.name}-{per_channel}.onnx"
                quantize_static(
                    plain,
                    path,
                    Calibration(shape),
                    quant_format=form,
                    per_channel=per_channel,
                    reduce_range=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                )
                yield f"{name} as {form.name}, {kind}", path
        path = folder / f"{name}-dynamic.onnx"
        quantize_dynamic(plain, path, reduce_range=True, weight_type=QuantType.QUInt8)
        yield f"{name} quantised at run time", path


def step(path: Path) -> float:
    """One step of what a model gives: the scale of the node that makes reals of it. Of a
    model that is quantised at run time, whose layers give reals, a hundredth."""
    graph = onnx.load(path).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    last = next(node for node in graph.node if "y" in node.output)
    if last.op_type != "DequantizeLinear":
        return 0.01
    return float(numpy_helper.to_array(constants[last.input[1]]))
