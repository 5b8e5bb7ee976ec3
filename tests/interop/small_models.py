"""Small ONNX models, each with one operator and an attribute whose meaning the
specification defines in a way that is easy to get wrong."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8  # the one that came with opset 17
SEED = 2017


def weights(*shape: int) -> np.ndarray:
    """Seeded weights, scaled so that a layer's outputs are about as large as its inputs."""
    fan_in = int(np.prod(shape[1:])) or 1
    values = np.random.default_rng(SEED).standard_normal(shape) / np.sqrt(fan_in)
    return values.astype(np.float32)


def positive(*shape: int) -> np.ndarray:
    """Seeded numbers between 0.5 and 2."""
    return np.random.default_rng(SEED + 1).uniform(0.5, 2.0, shape).astype(np.float32)


def one_operator(
    operator: str,
    shape: Sequence[int],
    *constants: np.ndarray,
    dtype: int = TensorProto.FLOAT,
    opset: int = OPSET,
    **attributes: Any,
) -> onnx.ModelProto:
    """A model of one node: `x` and then the constants are its inputs."""
    names = [f"c{i}" for i in range(len(constants))]
    node = helper.make_node(operator, ["x", *names], ["y"], name=f"the_{operator}", **attributes)
    return model([node], {"x": shape}, dict(zip(names, constants, strict=True)), dtype, opset)


def model(
    nodes: list[onnx.NodeProto],
    inputs: dict[str, Sequence[int]],
    constants: dict[str, np.ndarray],
    dtype: int = TensorProto.FLOAT,
    opset: int = OPSET,
) -> onnx.ModelProto:
    """A checked model with the output `y`."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, dtype, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
    made = onnx.shape_inference.infer_shapes(made, strict_mode=True)
    onnx.checker.check_model(made)
    return made


def convolutions() -> dict[str, onnx.ModelProto]:
    """Conv: strides, dilations, groups, explicit and automatic padding."""
    image, signal = [1, 4, 15, 12], [1, 4, 31]
    plain, line, bias = weights(6, 4, 3, 3), weights(6, 4, 3), weights(6)
    grouped, depthwise = weights(6, 2, 3, 3), weights(8, 1, 3, 3)

    def conv(
        *constants: np.ndarray, shape: list[int] = image, **attributes: Any
    ) -> onnx.ModelProto:
        return one_operator("Conv", shape, *constants, **attributes)

    return {
        "conv stride 2x3": conv(plain, bias, strides=[2, 3]),
        "conv dilation 3x2": conv(plain, bias, dilations=[3, 2]),
        "conv 2 groups": conv(grouped, bias, group=2),
        "conv depthwise, multiplier 2": conv(depthwise, group=4, pads=[1, 1, 1, 1]),
        "conv uneven pads": conv(plain, bias, pads=[0, 2, 1, 1]),
        "conv pads wider than the kernel": conv(plain, bias, pads=[4, 4, 4, 4]),
        "conv SAME_UPPER stride 2": conv(plain, auto_pad="SAME_UPPER", strides=[2, 2]),
        "conv SAME_LOWER stride 2": conv(plain, auto_pad="SAME_LOWER", strides=[2, 2]),
        "conv SAME_UPPER even kernel": conv(weights(6, 4, 2, 4), auto_pad="SAME_UPPER"),
        "conv SAME_LOWER even kernel": conv(weights(6, 4, 2, 4), auto_pad="SAME_LOWER"),
        "conv VALID stride 2": conv(plain, auto_pad="VALID", strides=[2, 2]),
        "conv 1x1": conv(weights(5, 4, 1, 1), weights(5)),
        "conv batch of 3": conv(plain, bias, shape=[3, 4, 8, 7], strides=[2, 1]),
        "conv 1-D stride 2, dilation 2, pads 3 and 1": conv(
            line, bias, shape=signal, strides=[2], dilations=[2], pads=[3, 1]
        ),
        "conv 1-D SAME_LOWER stride 3": conv(
            line, bias, shape=signal, auto_pad="SAME_LOWER", strides=[3]
        ),
        "conv 1-D depthwise": conv(weights(4, 1, 5), shape=signal, group=4, pads=[2, 2]),
    }


def pooling() -> dict[str, onnx.ModelProto]:
    """MaxPool and AveragePool: rounding, padding and what an average is over."""
    image = [1, 3, 13, 10]

    def pool(
        operator: str, kernel: list[int], shape: list[int] = image, **attributes: Any
    ) -> onnx.ModelProto:
        return one_operator(operator, shape, kernel_shape=kernel, **attributes)

    ceil: dict[str, Any] = {"ceil_mode": 1, "strides": [2, 2]}
    padded: dict[str, Any] = {"strides": [2, 2], "pads": [1, 1, 1, 1]}
    return {
        "max-pool ceil_mode": pool("MaxPool", [2, 2], **ceil),
        "max-pool ceil_mode stride 3": pool("MaxPool", [2, 2], strides=[3, 3], ceil_mode=1),
        "max-pool ceil_mode, padded": pool("MaxPool", [3, 3], ceil_mode=1, **padded),
        "max-pool ceil_mode, uneven pads": pool("MaxPool", [3, 3], pads=[0, 1, 1, 0], **ceil),
        "max-pool SAME_UPPER": pool("MaxPool", [3, 3], auto_pad="SAME_UPPER", strides=[2, 2]),
        "max-pool SAME_LOWER": pool("MaxPool", [2, 2], auto_pad="SAME_LOWER", strides=[2, 2]),
        "max-pool dilation 2": pool("MaxPool", [3, 3], dilations=[2, 2]),
        "max-pool stride 1": pool("MaxPool", [3, 2]),
        "max-pool 1-D ceil_mode": pool("MaxPool", [3], shape=[1, 4, 16], strides=[2], ceil_mode=1),
        "average-pool padded": pool("AveragePool", [3, 3], **padded),
        "average-pool padding counted": pool("AveragePool", [3, 3], count_include_pad=1, **padded),
        "average-pool ceil_mode": pool("AveragePool", [2, 2], **ceil),
        "average-pool ceil_mode, padded": pool("AveragePool", [3, 3], ceil_mode=1, **padded),
        "average-pool ceil_mode, padding counted": pool(
            "AveragePool", [3, 3], ceil_mode=1, count_include_pad=1, **padded
        ),
        "average-pool SAME_UPPER": pool(
            "AveragePool", [3, 3], auto_pad="SAME_UPPER", strides=[2, 2]
        ),
        "global average-pool": one_operator("GlobalAveragePool", image),
    }


def normalisations() -> dict[str, onnx.ModelProto]:
    """BatchNormalization with and without a convolution before it; Softmax axes."""
    parameters = (positive(5), weights(5), weights(5), positive(5))
    names = ["scale", "shift", "mean", "variance"]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["h"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["h", *names], ["y"], name="bn", epsilon=0.1),
    ]
    constants = {"w": weights(5, 3, 3, 3), **dict(zip(names, parameters, strict=True))}
    softmax = [2, 3, 4, 5]
    return {
        "batch norm after a convolution": model(nodes, {"x": [1, 3, 9, 8]}, constants),
        "batch norm alone": one_operator(
            "BatchNormalization", [2, 5, 4, 3], *parameters, epsilon=1e-2
        ),
        "batch norm of a vector": one_operator("BatchNormalization", [3, 5], *parameters),
        **{f"softmax axis {a}": one_operator("Softmax", softmax, axis=a) for a in (0, 1, -2, -1)},
        "softmax without axis": one_operator("Softmax", softmax),
        # Before opset 13 it is over all axes from the given one on.
        "softmax opset 11": one_operator("Softmax", softmax, opset=11, axis=2),
        "softmax opset 11 without axis": one_operator("Softmax", softmax, opset=11),
    }


def dense_layers() -> dict[str, onnx.ModelProto]:
    """Gemm's transpositions, factors and broadcast; MatMul on many axes."""

    def gemm(shape: list[int], *constants: np.ndarray, **attributes: Any) -> onnx.ModelProto:
        return one_operator("Gemm", shape, *constants, **attributes)

    both: dict[str, Any] = {"transA": 1, "transB": 1}
    return {
        "gemm transA, alpha, beta": gemm(
            [7, 3], weights(7, 5), weights(5), transA=1, alpha=0.5, beta=-2.0
        ),
        "gemm transA, transB": gemm([7, 3], weights(5, 7), weights(5), **both),
        "gemm without C": gemm([3, 7], weights(5, 7), transB=1, alpha=-1.5),
        "gemm scalar C": gemm([3, 7], weights(7, 5), np.array(0.75, np.float32), beta=2.0),
        "gemm C per row": gemm([3, 7], weights(7, 5), weights(3, 1), beta=0.5),
        "gemm whole C": gemm([3, 7], weights(7, 5), weights(3, 5)),
        "matmul 2x3 batch": one_operator("MatMul", [2, 3, 4, 7], weights(7, 6)),
        "matmul of a vector": one_operator("MatMul", [7], weights(7, 6)),
    }


def element_wise() -> dict[str, onnx.ModelProto]:
    """Broadcasting in both directions, between inputs and constants; types; activations."""

    def binary(operator: str, *shapes: list[int]) -> onnx.ModelProto:
        node = helper.make_node(operator, ["a", "b"], ["y"], name=f"the_{operator}")
        return model([node], dict(zip("ab", shapes, strict=True)), {})

    cast = [
        helper.make_node("Cast", ["x"], ["f"], name="cast", to=TensorProto.FLOAT),
        helper.make_node("Sub", ["f", "mean"], ["d"], name="centre"),
        helper.make_node("Mul", ["d", "scale"], ["y"], name="scaling"),
    ]
    bounds = np.array([-0.5, 0.75], np.float32)
    pixels = {"mean": 100 * positive(3, 1, 1), "scale": positive(3, 1, 1) / 50}
    return {
        "add a row to a column": binary("Add", [4, 1], [1, 5]),
        "multiply ranks 4 and 2": binary("Mul", [2, 3, 4, 5], [4, 1]),
        "subtract rank 3 from rank 1": binary("Sub", [5], [2, 3, 5]),
        "divide by a channel": one_operator("Div", [1, 3, 4, 5], positive(3, 1, 1)),
        "maximum with a scalar": one_operator("Max", [2, 3], np.array(0.25, np.float32)),
        "bytes to numbers": model(cast, {"x": [1, 3, 5, 6]}, pixels, TensorProto.UINT8),
        "clip": one_operator("Clip", [2, 9], *bounds),
        "leaky relu": one_operator("LeakyRelu", [2, 9], alpha=0.2),
        "sigmoid": one_operator("Sigmoid", [2, 9]),
        "tanh": one_operator("Tanh", [2, 9]),
    }


def shapes() -> dict[str, onnx.ModelProto]:
    """Reshape's 0 and -1, Flatten's axis, Transpose's default."""
    shape = [2, 3, 4, 5]
    return {
        "reshape with 0 and -1": one_operator("Reshape", shape, np.array([0, -1, 5])),
        "flatten axis 2": one_operator("Flatten", shape, axis=2),
        "flatten axis -1": one_operator("Flatten", shape, axis=-1),
        "transpose without perm": one_operator("Transpose", shape),
        "transpose 0 2 3 1": one_operator("Transpose", shape, perm=[0, 2, 3, 1]),
    }


def all_models() -> dict[str, onnx.ModelProto]:
    """All of them, by what they show."""
    groups = (convolutions, pooling, normalisations, dense_layers, element_wise, shapes)
    return {name: made for group in groups for name, made in group().items()}
