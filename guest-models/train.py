#!/usr/bin/env python3
"""Train the four reference models of Leeway and export them to ONNX.

    python train.py                     train and export all four
    python train.py mlp-digits          only the named ones
    python train.py --check             run the stored models on the stored data

For each model the script writes, in the folder of that name beside this file,

    model.onnx       the trained network, pre-processing and softmax included
    validation.npz   `input`, `label`: held out, for the calibration of the WCET
    test.npz         `input`, `label`, and `probabilities`, the output that
                     ONNX Runtime gives for `input`

and `models.json`, which describes them all.

A model is a list of layers. Every layer says both how it is computed (JAX, for
the training) and which ONNX node it is, so what is trained is what is exported,
one node for each layer. Everything random is seeded and everything runs on one
thread: a second run on the same machine writes the same bytes.
"""

import argparse
import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

# Read when JAX is imported. With one thread the order of every sum stays the same.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["NPROC"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import optax
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.model_selection import train_test_split

HERE = Path(__file__).resolve().parent
SEED = 2019
OPSET = 17
IR_VERSION = 8  # the one that came with opset 17

Params = dict[str, jax.Array]


# --- Data ---------------------------------------------------------------------


@dataclass(frozen=True)
class Split:
    """Samples and their labels."""

    input: np.ndarray
    label: np.ndarray


@dataclass(frozen=True)
class Dataset:
    """A data set, cut into its three parts."""

    name: str
    labels: list[str]
    train: Split
    validation: Split
    test: Split


def split(name: str, labels: list[str], inputs: np.ndarray, classes: np.ndarray) -> Dataset:
    """Cut a data set 60/20/20, each part with the same share of every class."""
    classes = classes.astype(np.int64)
    rest, test = train_test_split(
        np.arange(len(classes)), test_size=0.2, stratify=classes, random_state=SEED
    )
    train, validation = train_test_split(
        rest, test_size=0.25, stratify=classes[rest], random_state=SEED
    )
    parts = (Split(inputs[part], classes[part]) for part in (train, validation, test))
    return Dataset(name, labels, *parts)


def enlarge(images: np.ndarray, size: int) -> np.ndarray:
    """Scale square images bilinearly, from integers 0..16 to bytes 0..255.

    The weights are kept as integers over a common denominator, so that the
    result is exact and the same everywhere.
    """
    source = images.shape[-1]
    weights = np.zeros((size, source), np.int64)
    for row in range(size):
        # The centre of the target pixel, (row + 0.5) * source / size - 0.5 in
        # pixels of the source, times 2 * size.
        centre = (2 * row + 1) * source - size
        low, part = divmod(centre, 2 * size)
        weights[row, max(low, 0)] += 2 * size - part
        weights[row, min(low + 1, source - 1)] += part
    scaled = weights @ images.astype(np.int64) @ weights.T
    full = 16 * (2 * size) ** 2
    return ((scaled * 255 + full // 2) // full).astype(np.uint8)


def digits() -> Dataset:
    """Handwritten digits, scaled from 8x8 to 28x28: uint8 [n, 1, 28, 28]."""
    source = load_digits()
    images = enlarge(source.images, 28)[:, np.newaxis]
    return split("digits", [str(name) for name in source.target_names], images, source.target)


def breast_cancer() -> Dataset:
    """Measurements of cell nuclei, as they are: float32 [n, 30]."""
    source = load_breast_cancer()
    features = source.data.astype(np.float32)
    return split(
        "breast-cancer", [str(name) for name in source.target_names], features, source.target
    )


def with_channel(data: Dataset) -> Dataset:
    """The same data set with a channel axis of one after the batch axis."""
    parts = (
        Split(p.input[:, np.newaxis], p.label) for p in (data.train, data.validation, data.test)
    )
    return Dataset(data.name, data.labels, *parts)


# --- Layers -------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """One node of the graph.

    `operands` names the tensors that the ONNX node takes after its input, in
    its order; `trained` those of them that the training counts and changes.
    """

    name: str

    operator: ClassVar[str]
    operands: ClassVar[tuple[str, ...]] = ()
    trained: ClassVar[tuple[str, ...]] = ()

    def init(self, key: jax.Array, shape: tuple[int, ...]) -> Params:
        """Fresh tensors for an input of this shape (the batch axis included)."""
        return {}

    def forward(self, params: Params, x: jax.Array, training: bool = False) -> jax.Array:
        """What the layer computes."""
        raise NotImplementedError

    def calibrate(self, params: Params, x: jax.Array) -> Params:
        """The tensors after the training, given the layer's input on all of it."""
        return params

    def attributes(self) -> dict:
        """The attributes of the ONNX node."""
        return {}


@dataclass(frozen=True)
class Cast(Layer):
    """To float32."""

    operator = "Cast"

    def forward(self, params, x, training=False):
        return x.astype(jnp.float32)

    def attributes(self):
        return {"to": TensorProto.FLOAT}


@dataclass(frozen=True)
class Arithmetic(Layer):
    """`x` and a constant, element by element."""

    operation: Callable
    constant: np.ndarray

    operands = ("constant",)

    @property
    def operator(self) -> str:
        return {jnp.subtract: "Sub", jnp.multiply: "Mul", jnp.divide: "Div"}[self.operation]

    def init(self, key, shape):
        return {"constant": jnp.asarray(self.constant, jnp.float32)}

    def forward(self, params, x, training=False):
        return self.operation(x, jax.lax.stop_gradient(params["constant"]))


@dataclass(frozen=True)
class Flatten(Layer):
    """All axes but the first into one."""

    operator = "Flatten"

    def forward(self, params, x, training=False):
        return x.reshape(x.shape[0], -1)

    def attributes(self):
        return {"axis": 1}


def he_normal(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """He initialisation of a weight whose first axis is the output's."""
    fan_in = int(np.prod(shape[1:]))
    return jax.random.normal(key, shape, jnp.float32) * np.float32(np.sqrt(2 / fan_in))


@dataclass(frozen=True)
class Dense(Layer):
    """A fully connected layer, its weight [output, input]."""

    units: int

    operator = "Gemm"
    operands = trained = ("weight", "bias")

    def init(self, key, shape):
        return {"weight": he_normal(key, (self.units, shape[1])), "bias": jnp.zeros(self.units)}

    def forward(self, params, x, training=False):
        return x @ params["weight"].T + params["bias"]

    def attributes(self):
        return {"transB": 1}


@dataclass(frozen=True)
class Conv(Layer):
    """A convolution over one or two axes, with stride one."""

    channels: int
    kernel: tuple[int, ...]
    padding: int = 0
    bias: bool = True

    operator = "Conv"

    @property
    def operands(self) -> tuple[str, ...]:
        return ("weight", "bias") if self.bias else ("weight",)

    trained = operands

    def init(self, key, shape):
        params = {"weight": he_normal(key, (self.channels, shape[1], *self.kernel))}
        if self.bias:
            params["bias"] = jnp.zeros(self.channels)
        return params

    def forward(self, params, x, training=False):
        axes = "HW"[: len(self.kernel)]
        y = jax.lax.conv_general_dilated(
            x,
            params["weight"],
            window_strides=(1,) * len(axes),
            padding=((self.padding, self.padding),) * len(axes),
            dimension_numbers=("NC" + axes, "OI" + axes, "NC" + axes),
        )
        return y + params["bias"].reshape(1, -1, *(1,) * len(axes)) if self.bias else y

    def attributes(self):
        return {
            "kernel_shape": self.kernel,
            "pads": (self.padding,) * 2 * len(self.kernel),
            "strides": (1,) * len(self.kernel),
        }


@dataclass(frozen=True)
class BatchNorm(Layer):
    """Batch normalisation of every channel.

    In training the statistics are the batch's; those of the exported node are
    measured once, over the whole training set, when the training is over.
    """

    epsilon: float = 1e-5

    operator = "BatchNormalization"
    operands = ("scale", "bias", "mean", "variance")
    trained = ("scale", "bias")

    def init(self, key, shape):
        ones, zeros = jnp.ones(shape[1]), jnp.zeros(shape[1])
        return {"scale": ones, "bias": zeros, "mean": zeros, "variance": ones}

    @staticmethod
    def statistics(x: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Mean and variance of every channel."""
        axes = (0, *range(2, x.ndim))
        return x.mean(axes), x.var(axes)

    def forward(self, params, x, training=False):
        mean, variance = self.statistics(x) if training else (params["mean"], params["variance"])
        factor = params["scale"] / jnp.sqrt(variance + self.epsilon)
        spread = (1, -1, *(1,) * (x.ndim - 2))
        return (x - mean.reshape(spread)) * factor.reshape(spread) + params["bias"].reshape(spread)

    def calibrate(self, params, x):
        mean, variance = self.statistics(x)
        return params | {"mean": mean, "variance": variance}

    def attributes(self):
        return {"epsilon": self.epsilon}


@dataclass(frozen=True)
class Relu(Layer):
    """The larger of x and zero."""

    operator = "Relu"

    def forward(self, params, x, training=False):
        return jax.nn.relu(x)


@dataclass(frozen=True)
class MaxPool(Layer):
    """The largest of every window; the windows do not overlap."""

    kernel: tuple[int, ...]

    operator = "MaxPool"

    def forward(self, params, x, training=False):
        window = (1, 1, *self.kernel)
        return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, window, "VALID")

    def attributes(self):
        return {"kernel_shape": self.kernel, "strides": self.kernel}


@dataclass(frozen=True)
class Softmax(Layer):
    """Probabilities of the classes."""

    operator = "Softmax"

    def forward(self, params, x, training=False):
        return jax.nn.softmax(x, axis=1)

    def attributes(self):
        return {"axis": 1}


# --- Models -------------------------------------------------------------------


@dataclass(frozen=True)
class Model:
    """An architecture on a data set, and how long to train it."""

    name: str
    architecture: str
    data: Dataset
    layers: list[Layer]
    epochs: int
    batch: int = 32
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3


def pixels() -> list[Layer]:
    """Bytes to floats 0..1."""
    return [Cast("cast"), Arithmetic("scale", jnp.multiply, np.float32(1 / 255))]


def standardise(data: Dataset) -> list[Layer]:
    """Every feature to mean zero and deviation one, as measured in training."""
    inputs = data.train.input.astype(np.float64)
    return [
        Arithmetic("subtract_mean", jnp.subtract, inputs.mean(0, keepdims=True)),
        Arithmetic("divide_std", jnp.divide, inputs.std(0, keepdims=True)),
    ]


def mlp_digits() -> Model:
    """One hidden layer on the images."""
    layers = [
        *pixels(),
        Flatten("flatten"),
        Dense("fc1", 32),
        Relu("relu1"),
        Dense("fc2", 10),
        Softmax("softmax"),
    ]
    return Model("mlp-digits", "mlp", digits(), layers, epochs=60)


def cnn_digits() -> Model:
    """Two convolutions, the first normalised, on the images."""
    layers = [
        *pixels(),
        Conv("conv1", 32, (3, 3), bias=False),
        BatchNorm("bn1"),
        Relu("relu1"),
        MaxPool("pool1", (2, 2)),
        Conv("conv2", 64, (3, 3)),
        Relu("relu2"),
        MaxPool("pool2", (2, 2)),
        Flatten("flatten"),
        Dense("fc1", 128),
        Relu("relu3"),
        Dense("fc2", 10),
        Softmax("softmax"),
    ]
    return Model("cnn-digits", "cnn", digits(), layers, epochs=20)


def mlp_tabular() -> Model:
    """One hidden layer on the measurements."""
    data = breast_cancer()
    layers = [
        *standardise(data),
        Dense("fc1", 32),
        Relu("relu1"),
        Dense("fc2", 2),
        Softmax("softmax"),
    ]
    return Model("mlp-tabular", "mlp", data, layers, epochs=40)


def cnn_tabular() -> Model:
    """Two convolutions along the measurements."""
    data = with_channel(breast_cancer())
    layers = [
        *standardise(data),
        Conv("conv1", 32, (3,)),
        Relu("relu1"),
        Conv("conv2", 64, (3,), padding=1),
        Relu("relu2"),
        MaxPool("pool1", (2,)),
        Flatten("flatten"),
        Dense("fc1", 128),
        Relu("relu3"),
        Dense("fc2", 2),
        Softmax("softmax"),
    ]
    return Model("cnn-tabular", "cnn", data, layers, epochs=20)


MODELS = {
    "mlp-digits": mlp_digits,
    "cnn-digits": cnn_digits,
    "mlp-tabular": mlp_tabular,
    "cnn-tabular": cnn_tabular,
}


# --- Training -----------------------------------------------------------------


def run(layers: list[Layer], params: list[Params], x: jax.Array, training: bool = False):
    """The output of the last of these layers."""
    for layer, own in zip(layers, params):
        x = layer.forward(own, x, training)
    return x


def init(layers: list[Layer], x: jax.Array) -> list[Params]:
    """Fresh tensors for all layers; `x` shows the shape of the input."""
    params = []
    for layer, key in zip(layers, jax.random.split(jax.random.key(SEED), len(layers))):
        params.append(layer.init(key, x.shape))
        x = jax.eval_shape(layer.forward, params[-1], x)
    return params


def calibrate(layers: list[Layer], params: list[Params], x: jax.Array) -> list[Params]:
    """Measure on the training set what is not trained but measured."""
    measured = []
    for layer, own in zip(layers, params):
        measured.append(layer.calibrate(own, x))
        x = layer.forward(measured[-1], x)
    return measured


def train(model: Model) -> list[Params]:
    """Train a model with AdamW for its number of epochs; the tensors by layer."""
    data = model.data.train
    logits = model.layers[:-1]
    params = init(model.layers, data.input[:1])
    batches = len(data.label) // model.batch
    optimiser = optax.adamw(
        optax.cosine_decay_schedule(model.learning_rate, model.epochs * batches),
        weight_decay=model.weight_decay,
        mask=lambda tree: [{name: name == "weight" for name in layer} for layer in tree],
    )

    def loss(params, x, label):
        scores = run(logits, params, x, training=True)
        return optax.softmax_cross_entropy_with_integer_labels(scores, label).mean()

    @jax.jit
    def step(params, state, x, label):
        value, gradient = jax.value_and_grad(loss)(params, x, label)
        update, state = optimiser.update(gradient, state, params)
        return optax.apply_updates(params, update), state, value

    state = optimiser.init(params)
    random = np.random.default_rng(SEED)
    for _ in range(model.epochs):
        order = random.permutation(len(data.label))[: batches * model.batch]
        for chosen in order.reshape(batches, model.batch):
            params, state, _ = step(params, state, data.input[chosen], data.label[chosen])
    return calibrate(model.layers, params, data.input)


def count(model: Model, params: list[Params]) -> int:
    """The number of trained parameters."""
    return sum(own[name].size for layer, own in zip(model.layers, params) for name in layer.trained)


# --- Export -------------------------------------------------------------------


def export(model: Model, params: list[Params]) -> bytes:
    """The model as an ONNX file: one node for each layer, named like it."""
    sample = model.data.train.input
    nodes, tensors, value = [], [], "input"
    for layer, own in zip(model.layers, params):
        operands = [f"{layer.name}.{name}" for name in layer.operands]
        tensors += [
            numpy_helper.from_array(np.asarray(own[name]), operand)
            for name, operand in zip(layer.operands, operands)
        ]
        result = "probabilities" if layer is model.layers[-1] else layer.name
        nodes.append(
            helper.make_node(
                layer.operator, [value, *operands], [result], name=layer.name, **layer.attributes()
            )
        )
        value = result

    graph = helper.make_graph(
        nodes,
        model.name,
        [
            helper.make_tensor_value_info(
                "input", helper.np_dtype_to_tensor_dtype(sample.dtype), ["N", *sample.shape[1:]]
            )
        ],
        [
            helper.make_tensor_value_info(
                "probabilities", TensorProto.FLOAT, ["N", len(model.data.labels)]
            )
        ],
        tensors,
    )
    proto = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="leeway-guest-models",
    )
    onnx.checker.check_model(proto, full_check=True)
    return proto.SerializeToString(deterministic=True)


def infer(file: bytes, x: np.ndarray) -> np.ndarray:
    """The probabilities that ONNX Runtime gives, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"input": x})[0]


def accuracy(probabilities: np.ndarray, label: np.ndarray) -> float:
    """The share of samples whose likeliest class is the right one."""
    return round(float((probabilities.argmax(1) == label).mean()), 6)


def build(model: Model) -> dict:
    """Train a model, write its files, and return its entry for `models.json`."""
    params = train(model)
    file = export(model, params)
    data = model.data
    probabilities = infer(file, data.test.input)
    trained = np.asarray(run(model.layers, params, data.test.input))
    np.testing.assert_allclose(probabilities, trained, rtol=0, atol=1e-5)

    folder = HERE / model.name
    folder.mkdir(exist_ok=True)
    (folder / "model.onnx").write_bytes(file)
    np.savez_compressed(
        folder / "validation.npz", input=data.validation.input, label=data.validation.label
    )
    np.savez_compressed(
        folder / "test.npz",
        input=data.test.input,
        label=data.test.label,
        probabilities=probabilities,
    )
    return {
        "name": model.name,
        "architecture": model.architecture,
        "dataset": data.name,
        "input": {
            "name": "input",
            "dtype": str(data.test.input.dtype),
            "shape": ["N", *data.test.input.shape[1:]],
        },
        "classes": len(data.labels),
        "parameters": count(model, params),
        "onnx_sha256": hashlib.sha256(file).hexdigest(),
        "test_accuracy": accuracy(probabilities, data.test.label),
        "validation_samples": len(data.validation.label),
        "test_samples": len(data.test.label),
        "labels": data.labels,
    }


# --- Check --------------------------------------------------------------------


def check(entry: dict) -> None:
    """Hold the stored files of a model against each other and against its entry."""
    folder = HERE / entry["name"]
    file = (folder / "model.onnx").read_bytes()
    assert hashlib.sha256(file).hexdigest() == entry["onnx_sha256"]
    with np.load(folder / "test.npz") as test, np.load(folder / "validation.npz") as validation:
        for part, samples in ((test, "test_samples"), (validation, "validation_samples")):
            assert part["input"].shape == (entry[samples], *entry["input"]["shape"][1:])
            assert part["input"].dtype == entry["input"]["dtype"]
            assert part["label"].shape == (entry[samples],)
            assert part["label"].dtype == np.int64
        probabilities = infer(file, test["input"])
        np.testing.assert_allclose(probabilities, test["probabilities"], rtol=0, atol=1e-5)
        assert accuracy(probabilities, test["label"]) == entry["test_accuracy"]
        held_out = accuracy(infer(file, validation["input"]), validation["label"])
    print(
        f"{entry['name']}: test {entry['test_accuracy']:.4f}, validation {held_out:.4f}, as stored"
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Train the reference models and export them.")
    parser.add_argument("model", nargs="*", help=f"{', '.join(MODELS)} (all, unless named)")
    parser.add_argument("--check", action="store_true", help="only check the stored files")
    options = parser.parse_args()
    if unknown := set(options.model) - set(MODELS):
        parser.error(f"no such model: {', '.join(sorted(unknown))}")
    chosen = options.model or list(MODELS)

    manifest = HERE / "models.json"
    entries = {}
    if manifest.exists():
        entries = {entry["name"]: entry for entry in json.loads(manifest.read_text())}
    if not options.check:
        for name in chosen:
            entries[name] = build(MODELS[name]())
        listed = [entries[name] for name in MODELS if name in entries]
        manifest.write_text(json.dumps(listed, indent=2) + "\n")
    for name in chosen:
        check(entries[name])


if __name__ == "__main__":
    main()
