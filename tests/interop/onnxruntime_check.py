#!/usr/bin/env python3
"""Compare the components that `leeway build` makes with ONNX Runtime.

    python onnxruntime_check.py [--binaries DIR] [--samples N]

For each reference model on samples of its test set, and for each model of
`small_models` on seeded random inputs:

- the outputs have ONNX Runtime's names, types and shapes, and its numbers
  within 1e-5, relative to the number or absolute;
- those of `quantised_models`, which ONNX Runtime's quantiser makes, within one step
  of the result's scale;
- native and Pulley give the same bits;
- the fuel of each run is the certified fuel.

And models that are broken or reach outside their folder are refused, with a
message and without a panic.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import external_data_helper, helper

import quantised_models
import small_models
from leeway import (
    ENGINES,
    REFERENCE_MODELS,
    ROOT,
    Component,
    Leeway,
    Run,
    default_binaries,
)
from tally import Tally

TOLERANCE = 1e-5
Tensors = dict[str, np.ndarray]


class OnnxRuntime:
    """A model in ONNX Runtime, on one thread."""

    def __init__(self, model: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        self._session = onnxruntime.InferenceSession(model, options, providers=providers)

    def run(self, inputs: Tensors) -> Tensors:
        """The outputs by their names."""
        names = [output.name for output in self._session.get_outputs()]
        return dict(zip(names, self._session.run(names, inputs), strict=True))


def difference(seen: np.ndarray, wanted: np.ndarray, step: float = TOLERANCE) -> str:
    """How two tensors differ; empty if they are equal within the tolerance, or within
    `step`."""
    if seen.dtype != wanted.dtype or seen.shape != wanted.shape:
        return f"seen {seen.dtype}{seen.shape}, wanted {wanted.dtype}{wanted.shape}"
    if np.allclose(seen, wanted, TOLERANCE, step, equal_nan=True):
        return ""
    apart = np.abs(seen.astype(np.float64) - wanted)
    worst = np.unravel_index(np.argmax(np.nan_to_num(apart, nan=np.inf)), apart.shape)
    where = [int(index) for index in worst]
    wrong = int(np.sum(~np.isclose(seen, wanted, TOLERANCE, step, equal_nan=True)))
    of_all = f"{wrong} of {seen.size} elements"
    return f"{of_all}, at {where}: seen {seen[worst]}, wanted {wanted[worst]}"


def check_outputs(
    tally: Tally, what: str, seen: Tensors, wanted: Tensors, step: float = TOLERANCE
) -> None:
    """Compare with ONNX Runtime."""
    names = f"seen {sorted(seen)}, wanted {sorted(wanted)}"
    tally.check(f"{what}: names of outputs", seen.keys() == wanted.keys(), names)
    for name in seen.keys() & wanted.keys():
        apart = difference(seen[name], wanted[name], step)
        tally.check(f"{what}: {name} equals ONNX Runtime's", not apart, apart)


def check_fuel(tally: Tally, what: str, component: Component, run: Run) -> None:
    """The fuel burned is the fuel certified, at build time and now."""
    fuel = (run.fuel, run.certified_fuel, component.certified_fuel)
    tally.check(f"{what}: fuel is the certified fuel", len(set(fuel)) == 1, fuel)


def check_bits(tally: Tally, what: str, runs: dict[str, Run]) -> None:
    """All engines give the same bits."""
    bits = {
        engine: {name: array.tobytes() for name, array in run.outputs.items()}
        for engine, run in runs.items()
    }
    same = all(of == bits[ENGINES[0]] for of in bits.values())
    tally.check(f"{what}: the same bits on {' and '.join(ENGINES)}", same, "they differ")


def check_input(
    tally: Tally,
    leeway: Leeway,
    what: str,
    component: Component,
    inputs: Tensors,
    wanted: Tensors,
    step: float = TOLERANCE,
) -> None:
    """All checks on one input."""
    runs = {engine: leeway.run(component, inputs, engine) for engine in ENGINES}
    for engine, run in runs.items():
        check_outputs(tally, f"{what} on {engine}", run.outputs, wanted, step)
        check_fuel(tally, f"{what} on {engine}", component, run)
    check_bits(tally, what, runs)


def check_reference_model(tally: Tally, leeway: Leeway, name: str, samples: int) -> None:
    """One reference model on its first test samples."""
    folder = ROOT / "guest-models" / name
    component = leeway.build(folder / "model.onnx", folder / "validation.npz")
    runtime = OnnxRuntime(folder / "model.onnx")
    batch = np.load(folder / "test.npz")["input"]
    for number in range(samples):
        inputs = {"input": batch[number : number + 1]}
        what = f"{name}, sample {number}"
        check_input(tally, leeway, what, component, inputs, runtime.run(inputs))


def random_inputs(model: onnx.ModelProto) -> Tensors:
    """Seeded random numbers for a model's inputs."""
    random = np.random.default_rng(len(model.SerializeToString()))
    inputs = {}
    for value in model.graph.input:
        shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        dtype = helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        if dtype == np.float32:
            inputs[value.name] = random.standard_normal(shape).astype(dtype)
        else:
            inputs[value.name] = random.integers(0, 256, shape).astype(dtype)
    return inputs


def check_small_model(
    tally: Tally,
    leeway: Leeway,
    what: str,
    model: onnx.ModelProto,
    data: str | None = None,
) -> None:
    """One small model on one input; its weights are in the file `data` beside it, if given."""
    path = leeway.new_folder() / "model.onnx"
    inputs = random_inputs(model)
    beside = data is not None
    onnx.save(model, path, save_as_external_data=beside, location=data, size_threshold=0)
    check_input(tally, leeway, what, leeway.build(path), inputs, OnnxRuntime(path).run(inputs))


def check_quantised_model(tally: Tally, leeway: Leeway, what: str, path: Path) -> None:
    """One quantised model on one input."""
    inputs = random_inputs(onnx.load(path))
    wanted = OnnxRuntime(path).run(inputs)
    # Half a step more, so that rounding of the step itself does not count.
    step = 1.5 * quantised_models.step(path)
    check_input(tally, leeway, what, leeway.build(path), inputs, wanted, step)


def outside_data(folder: Path) -> Path:
    """A model whose weights are said to be in the folder above its own. The file
    is there: it must not be read."""
    inner = folder / "inner"
    inner.mkdir()
    model = small_models.one_operator("MatMul", [1, 64], small_models.weights(64, 64))
    tensor = model.graph.initializer[0]
    (folder / "weights.bin").write_bytes(tensor.raw_data)
    external_data_helper.set_external_data(tensor, "../weights.bin")
    tensor.ClearField("raw_data")
    path = inner / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def truncated(folder: Path) -> Path:
    """The first half of a reference model."""
    whole = (ROOT / "guest-models" / "mlp-digits" / "model.onnx").read_bytes()
    path = folder / "truncated.onnx"
    path.write_bytes(whole[: len(whole) // 2])
    return path


def check_refused(tally: Tally, leeway: Leeway, what: str, model: Path, words: list[str]) -> None:
    """`leeway build` fails with a message that has these words, and writes nothing."""
    component = model.with_suffix(".wasm")
    done = leeway.execute("build", model, "-o", component)
    seen = f"exit code {done.returncode}: {done.stderr.strip()!r}"
    tally.check(f"{what} is refused", done.returncode == 1 and not component.exists(), seen)
    tally.check(f"{what}: the message says why", all(w in done.stderr for w in words), seen)
    panic = any(word in done.stderr for word in ("panicked", "RUST_BACKTRACE", "unwrap"))
    tally.check(f"{what}: no panic", done.stderr.startswith("error: ") and not panic, seen)


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare components with ONNX Runtime.")
    parser.add_argument("--binaries", type=Path, default=default_binaries(), metavar="DIR")
    parser.add_argument("--samples", type=int, default=8, help="of each reference model")
    arguments = parser.parse_args()

    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        leeway = Leeway(arguments.binaries, Path(folder))
        for name in REFERENCE_MODELS:
            with tally.guard(name):
                check_reference_model(tally, leeway, name, arguments.samples)
        for what, model in small_models.all_models().items():
            with tally.guard(what):
                check_small_model(tally, leeway, what, model)
        for what, path in quantised_models.write(leeway.new_folder()):
            with tally.guard(what):
                check_quantised_model(tally, leeway, what, path)
        what = "data beside the model"
        with tally.guard(what):
            matrix = small_models.one_operator("MatMul", [1, 64], small_models.weights(64, 64))
            check_small_model(tally, leeway, what, matrix, "weights.bin")
        outside, half = outside_data(leeway.new_folder()), truncated(leeway.new_folder())
        check_refused(tally, leeway, "data outside the folder", outside, [outside.name, "external"])
        check_refused(tally, leeway, "a truncated file", half, [half.name])
    tally.exit()


if __name__ == "__main__":
    main()
