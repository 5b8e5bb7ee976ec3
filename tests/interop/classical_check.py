#!/usr/bin/env python3
"""Compare components of classical models with ONNX Runtime.

    python classical_check.py [--binaries DIR]

For each model of `classical_models`, on one row and on several:

- the outputs have ONNX Runtime's names, types and shapes; labels are its labels,
  numbers are its numbers within 1e-5, relative to the number or absolute, or 1e-6 of
  the offset (`rho`) that a support vector machine's sum is the difference to;
- native and Pulley give the same bits;
- the fuel of each run is the certified fuel.

Where ONNX Runtime gives a list of maps (`ZipMap`), a component gives their values
as a tensor, and where it gives strings, their indices among the certificate's
labels.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import onnx

import classical_models
from classical_models import Model
from leeway import Component, Leeway, default_binaries
from onnxruntime_check import TOLERANCE, OnnxRuntime, Tensors, check_input
from tally import Tally

# Numbers of rows: fewer than go in step, and more, with some left over.
ROWS = (1, 11)


def fixed(model: onnx.ModelProto, rows: int) -> onnx.ModelProto:
    """The model for this number of rows."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for value in copy.graph.input:
        value.type.tensor_type.shape.dim[0].dim_value = rows
    return copy


def as_tensors(outputs: dict, labels: list[str] | None) -> Tensors:
    """ONNX Runtime's outputs as a component gives them."""
    tensors = {}
    for name, value in outputs.items():
        if isinstance(value, list):
            value = np.array([list(row.values()) for row in value], np.float32)
        elif value.dtype.kind in "OU":
            value = np.array([labels.index(label) for label in value], np.int64)
        tensors[name] = value
    return tensors


def absolute_tolerance(model: onnx.ModelProto) -> float:
    """How far apart numbers may be that are small differences of large sums: both
    runtimes round these, each in its own order."""
    attributes = [attribute for node in model.graph.node for attribute in node.attribute]
    offsets = [abs(rho) for each in attributes if each.name == "rho" for rho in each.floats]
    return max([TOLERANCE, *(1e-6 * offset for offset in offsets)])


def check_model(tally: Tally, leeway: Leeway, model: Model, rows: int) -> None:
    """One model on this number of rows."""
    path = leeway.new_folder() / "model.onnx"
    onnx.save(fixed(model.onnx, rows), path)
    component: Component = leeway.build(path)
    what = f"{model.name}, {rows} rows"
    labels = component.certificate.get("labels")
    tally.check(f"{what}: the labels are the classes", labels == model.classes, labels)
    inputs = {model.onnx.graph.input[0].name: model.rows[:rows]}
    wanted = as_tensors(OnnxRuntime(path).run(inputs), labels)
    check_input(
        tally, leeway, what, component, inputs, wanted, absolute_tolerance(model.onnx)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare classical models with ONNX Runtime.")
    parser.add_argument("--binaries", type=Path, default=default_binaries(), metavar="DIR")
    arguments = parser.parse_args()
    tally = Tally()
    with tempfile.TemporaryDirectory() as folder:
        leeway = Leeway(arguments.binaries, Path(folder))
        for model in classical_models.all_models():
            for rows in ROWS:
                with tally.guard(f"{model.name}, {rows} rows"):
                    check_model(tally, leeway, model, rows)
    tally.exit()


if __name__ == "__main__":
    main()
