#!/usr/bin/env python3
"""Runs the ONNX project's own node tests through `leeway build` and `leeway run`.

    python3 -m venv VENV && VENV/bin/pip install -r tests/onnx-nodes/requirements.txt
    cargo build --release
    VENV/bin/python tests/onnx-nodes/run.py [--leeway target/release/leeway] [FILTER ...]

Models, inputs and expected outputs come from the package `onnx`
(`onnx.backend.test`), tolerances too. A case

  passes       its outputs are the expected ones, and the component's fuel is the
               certificate's (`leeway run` fails otherwise);
  is refused   `leeway build` says which operator, type or attribute it does not
               support: exit code 1 and a message, no panic;
  is skipped   it is of a kind in SKIPPED, with the reason there;
  fails        anything else: a wrong number, type or shape, a crash, a panic, a
               time-out, or a refusal that unsupported.txt does not know.

The file unsupported.txt holds the reviewed list of what is refused: reasons, and
for each what the compiler says. The exit code is 1 if any case fails.
"""

import argparse
import collections
import concurrent.futures
import fnmatch
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import warnings

import numpy as np
import onnx
from onnx import numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TIMEOUT_S = 60

# Kinds of cases that cannot be put to a component, whatever it supports.
SKIPPED = [
    (r"^test_(training|adagrad|adam|momentum|nesterov|gradient)", "another domain: training"),
    (r"^test_(sequence|split_to_sequence|concat_from_sequence|optional|identity_sequence|identity_opt|if_opt|if_seq|loop\d*_seq|loop16|range_.*_sequence|sequence_map)",
     "sequences and optionals are no tensors"),
    (r"^test_(string|strnorm|regex|tfidf|equal_string|cast_.*STRING|castlike_.*STRING)", "strings are no numbers"),
    (r"^test_(bernoulli|random|multinomial|dropout.*training|training_dropout)", "random results"),
    (r"^test_image_decoder", "a file format, not a tensor"),
]


def skip_reason(case):
    for pattern, reason in SKIPPED:
        if re.search(pattern, case.name):
            return reason
    values = list(case.model.graph.input) + list(case.model.graph.output)
    if any(not value.type.HasField("tensor_type") for value in values):
        return "sequences and optionals are no tensors"
    if any(value.type.tensor_type.elem_type == onnx.TensorProto.STRING for value in values):
        return "strings are no numbers"
    return None


def operator_of(case):
    """The operator that a case is about."""
    operators = [node.op_type for node in case.model.graph.node]
    if len(set(operators)) == 1:
        return operators[0]
    stem = case.name.removeprefix("test_").split("_expanded")[0].split("_")[0].lower()
    for operator in operators:
        if operator.lower() == stem:
            return operator
    return case.name.removeprefix("test_").split("_")[0] + " (several)"


def array_of(value):
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value)


def load_cases(filters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        cases = collect_testcases(None)
    wanted = [case for case in cases if case.kind == "node"]
    if filters:
        wanted = [c for c in wanted if any(fnmatch.fnmatch(c.name, f"*{f}*") for f in filters)]
    return wanted


def call(command):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return None, f"no end after {TIMEOUT_S} s"
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stderr.strip() or done.stdout.strip())
    # The reader warns of new opsets.
    return done.returncode, "\n".join(line for line in text.splitlines() if " WARN " not in line)


def compare(seen, wanted, rtol, atol):
    if seen.dtype != wanted.dtype:
        return f"type {seen.dtype}, wanted {wanted.dtype}"
    if seen.shape != wanted.shape:
        return f"shape {seen.shape}, wanted {wanted.shape}"
    if wanted.dtype.kind in "fc":
        with np.errstate(all="ignore"):
            close = np.isclose(seen, wanted, rtol=rtol, atol=atol, equal_nan=True)
    else:
        close = seen == wanted
    if not np.all(close):
        at = np.argwhere(~np.asarray(close))[0] if close.ndim else ()
        at = tuple(at)
        return f"at {at} {seen[at]!r}, wanted {wanted[at]!r} ({np.sum(~close)} of {close.size} wrong)"
    return None


def run_case(leeway, case, unsupported):
    """(state, detail) of one case."""
    reason = skip_reason(case)
    if reason:
        return "skipped", reason
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for inputs, outputs in case.data_sets:
            model = onnx.ModelProto()
            model.CopyFrom(case.model)
            try:
                arrays = [array_of(value) for value in inputs]
                wanted = [array_of(value) for value in outputs]
                names = [value.name for value in model.graph.input]
                arrays = dict(zip(names, arrays))
                freeze(model, arrays)
            except Exception as error:  # noqa: BLE001
                return "skipped", f"cannot be read: {error}"
            path = folder / "model.onnx"
            path.write_bytes(model.SerializeToString())
            component = folder / "model.wasm"
            code, text = call([leeway, "build", str(path), "-o", str(component)])
            if code != 0:
                if code != 1 or "panicked" in text or "defect in the compiler" in text:
                    return "failed", f"build: {code}: {text}"
                for pattern, why in unsupported:
                    if pattern.search(text):
                        return "refused", f"{why}: {text}"
                return "failed", f"refused for a reason that is not in unsupported.txt: {text}"
            command = [leeway, "run", str(component), "--output-dir", str(folder / "out")]
            for value in model.graph.input:
                file = folder / f"in{len(command)}.npy"
                np.save(file, arrays[value.name])
                command += ["--input", f"{value.name}={file}"]
            code, text = call(command)
            if code != 0:
                return "failed", f"run: {code}: {text}"
            for value, want in zip(model.graph.output, wanted):
                file = folder / "out" / f"{value.name}.npy"
                if not file.exists():
                    found = [f.name for f in (folder / "out").iterdir()]
                    return "failed", f"no output {value.name}, only {found}"
                difference = compare(np.load(file), want, case.rtol, case.atol)
                if difference:
                    return "failed", f"output {value.name}: {difference}"
    return "passed", ""


# Inputs that say how and not what: of each operator, which. A component has
# static shapes, so they are constants to it, as they are in real models.
HOW = {
    "Reshape": [1], "Expand": [1], "Tile": [1], "Slice": [1, 2, 3, 4], "Pad": [1, 2, 3],
    "Resize": [1, 2, 3], "Upsample": [1], "Squeeze": [1], "Unsqueeze": [1], "Split": [1],
    "ReduceSum": [1], "ReduceMean": [1], "ReduceMax": [1], "ReduceMin": [1], "ReduceProd": [1],
    "ReduceL1": [1], "ReduceL2": [1], "ReduceLogSum": [1], "ReduceLogSumExp": [1],
    "ReduceSumSquare": [1], "ConstantOfShape": [0], "Range": [0, 1, 2], "OneHot": [1, 2],
    "CumSum": [1], "TopK": [1], "Trilu": [1], "Clip": [1, 2], "CenterCropPad": [1],
    "Conv": [1, 2], "ConvTranspose": [1, 2], "BatchNormalization": [1, 2, 3, 4],
    "LSTM": [1, 2, 3, 4, 7], "GRU": [1, 2, 3, 4], "RNN": [1, 2, 3, 4],
    "MelWeightMatrix": [0, 1, 2, 3, 4], "BlackmanWindow": [0], "HannWindow": [0],
    "HammingWindow": [0], "DFT": [1, 2], "STFT": [1, 2, 3], "AffineGrid": [1], "Col2Im": [1, 2],
    "QLinearConv": [1, 2, 3, 4, 5, 6, 7, 8], "QLinearMatMul": [1, 2, 3, 4, 5, 6, 7],
    "QuantizeLinear": [1, 2], "DequantizeLinear": [1, 2], "ConvInteger": [1, 2, 3],
    "MatMulInteger": [1, 2, 3], "MaxUnpool": [2], "NonMaxSuppression": [2, 3, 4],
}


def freeze(model, arrays):
    """Fixes the shapes of a model's inputs, and makes constants of those in HOW."""
    names = {value.name: value for value in model.graph.input}
    constants = set()
    for node in model.graph.node:
        for at in HOW.get(node.op_type, []):
            if at < len(node.input) and node.input[at] in names:
                constants.add(node.input[at])
    for name in constants:
        model.graph.initializer.append(numpy_helper.from_array(arrays[name], name))
        model.graph.input.remove(names.pop(name))
    for name, value in names.items():
        shape = value.type.tensor_type.shape
        shape.ClearField("dim")
        for size in arrays[name].shape:
            shape.dim.add().dim_value = size


def read_unsupported():
    """Pairs of a pattern and the reason over it."""
    patterns, reason = [], None
    for line in (HERE / "unsupported.txt").read_text().splitlines():
        if line.startswith("= "):
            reason = line[2:]
        elif line.strip() and not line.startswith("#"):
            patterns.append((re.compile(line.strip()), reason))
    return patterns


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--leeway", default=str(ROOT / "target/release/leeway"))
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", help="a file for the state of every case")
    parser.add_argument("--verbose", action="store_true", help="say why each refused case is")
    parser.add_argument("filter", nargs="*", help="only cases whose name has this in it")
    arguments = parser.parse_args()
    unsupported = read_unsupported()
    cases = load_cases(arguments.filter)
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        results = list(pool.map(lambda c: run_case(arguments.leeway, c, unsupported), cases))

    states = ["passed", "failed", "refused", "skipped"]
    table = collections.defaultdict(collections.Counter)
    for case, (state, _) in zip(cases, results):
        table[operator_of(case)][state] += 1
    print(f"{'operator':32}" + "".join(f"{state:>9}" for state in states))
    for operator in sorted(table):
        print(f"{operator:32}" + "".join(f"{table[operator][state] or '':>9}" for state in states))
    total = sum(table.values(), collections.Counter())
    print(f"{'all':32}" + "".join(f"{total[state]:>9}" for state in states))
    reasons = collections.Counter(
        (state, detail.split(": ")[0]) for state, detail in results if state in ("refused", "skipped")
    )
    for (state, reason), count in sorted(reasons.items(), key=lambda item: (item[0][0], -item[1])):
        print(f"{count:6} {state}: {reason}")
    for case, (state, detail) in zip(cases, results):
        if state == "failed" or (arguments.verbose and state == "refused"):
            print(f"{state} {case.name}: {detail}")
    if arguments.json:
        rows = {case.name: result for case, result in zip(cases, results)}
        pathlib.Path(arguments.json).write_text(json.dumps(rows, indent=1))
    sys.exit(1 if total["failed"] else 0)


if __name__ == "__main__":
    main()
