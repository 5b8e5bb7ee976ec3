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
  is wrong     its numbers are, and unsupported.txt says that they are known to be;
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
import os
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
# Of the cases that native tract passes.
WANTED_PERCENT = 95

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


# Operators whose outputs a component pads with -1 to the longest that they can be,
# and the axis along which it does.
PADDED = {"NonMaxSuppression": 0, "NonZero": 1}


def without_padding(operator, array):
    """The output as ONNX has it."""
    axis = PADDED.get(operator)
    if axis is None or array.ndim <= axis:
        return array
    others = tuple(other for other in range(array.ndim) if other != axis)
    there = ~np.all(array == -1, axis=others)
    # All that is there comes first.
    return np.take(array, np.arange(np.sum(there)), axis=axis)


# Two units in the last place of a 16-bit float, relative to the number.
HALF_UNITS = 2.0**-9
# What the suite expects of these is what sums in FP32 leave of an exact zero.
NOISE = {"DFT": 1e-6}


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


class Prepared:
    """A data set of a case as files: a model with static shapes, its inputs and
    the outputs that are wanted of it."""

    def __init__(self, case, inputs, outputs, folder):
        self.folder = folder
        model = onnx.ModelProto()
        model.CopyFrom(case.model)
        arrays = dict(zip((value.name for value in model.graph.input), map(array_of, inputs)))
        self.wanted = [array_of(value) for value in outputs]
        freeze(model, arrays)
        self.outputs = [value.name for value in model.graph.output]
        self.inputs = []
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
        # After sums in another order, or roundings elsewhere in between, a 16-bit
        # float is off by units that are more than the suite's own tolerance.
        self.atol = max(case.atol, NOISE.get(operator_of(case), 0.0))
        halves = any(array.dtype == np.float16 for array in self.wanted)
        self.rtol = max(case.rtol, HALF_UNITS if halves else 0.0)
        (folder / "tolerance").write_text(f"{self.rtol} {self.atol}")
        for index, value in enumerate(model.graph.input):
            file = folder / f"input_{index}"
            np.save(file.with_suffix(".npy"), arrays[value.name])
            save(arrays[value.name], file)
            self.inputs.append(f"{value.name}={file}.npy")
        for index, array in enumerate(self.wanted):
            save(array, folder / f"output_{index}")


def save(array, file):
    file.with_suffix(".pb").write_bytes(numpy_helper.from_array(array).SerializeToString())


def prepare(case, folder):
    """The data sets of a case as files, or why it is skipped."""
    reason = skip_reason(case)
    if reason:
        return reason
    try:
        return [
            Prepared(case, inputs, outputs, folder / f"{case.name}.{index}")
            for index, (inputs, outputs) in enumerate(case.data_sets)
        ]
    except Exception as error:  # noqa: BLE001
        return f"cannot be read: {error}"


def run_case(leeway, case, data_sets, unsupported):
    """(state, detail) of one case."""
    if isinstance(data_sets, str):
        return "skipped", data_sets
    for data in data_sets:
        component = data.folder / "model.wasm"
        code, text = call([leeway, "build", str(data.folder / "model.onnx"), "-o", str(component)])
        if code != 0:
            if code != 1 or "panicked" in text or "defect in the compiler" in text:
                return "failed", f"build: {code}: {text}"
            why = unsupported.reason(case, text)
            if why:
                return "refused", f"{why}: {text}"
            return "failed", f"refused for a reason that is not in unsupported.txt: {text}"
        out = data.folder / "out"
        command = [leeway, "run", str(component), "--output-dir", str(out)]
        for given in data.inputs:
            command += ["--input", given]
        code, text = call(command)
        if code != 0:
            return "failed", f"run: {code}: {text}"
        for name, want in zip(data.outputs, data.wanted):
            file = out / f"{name}.npy"
            if not file.exists():
                return "failed", f"no output {name}, only {[f.name for f in out.iterdir()]}"
            seen = without_padding(operator_of(case), np.load(file))
            difference = compare(seen, want, data.rtol, data.atol)
            if difference:
                text = f"output {name}: {difference}"
                why = unsupported.reason(case, text)
                return ("wrong", f"{why}: {text}") if why else ("failed", text)
    return "passed", ""


def run_native_tract(program, prepared):
    """For each case that is not skipped, "passed" or what native tract says."""
    folders = {
        str(data.folder): name
        for name, data_sets in prepared.items()
        if not isinstance(data_sets, str)
        for data in data_sets
    }
    left, answers = list(folders), {}
    while left:
        # A case that ends the process is told by its missing line.
        try:
            text = subprocess.run([program, *left], capture_output=True, text=True, timeout=TIMEOUT_S)
            text = text.stdout
        except subprocess.TimeoutExpired as error:
            text = (error.stdout or b"").decode()
        lines = [line.split("\t", 1) for line in text.splitlines() if "\t" in line]
        seen = [(folder, answer) for folder, answer in lines if folder in folders]
        if len(seen) < len(left):
            seen.append((left[len(seen)], "the process ended"))
        for folder, answer in seen:
            name = folders[folder]
            if answers.get(name, "passed") == "passed":
                answers[name] = answer
        left = left[len(seen):]
    return answers


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


class Unsupported:
    """The reviewed list of what is refused."""

    def __init__(self):
        self.lines, reason = [], None
        for line in (HERE / "unsupported.txt").read_text().splitlines():
            if line.startswith("= "):
                reason = line[2:]
            elif line.strip() and not line.startswith("#"):
                operators, pattern = line.split(None, 1)
                self.lines.append((operators.split(","), re.compile(pattern.strip()), reason))
        self.used = set()

    def reason(self, case, text):
        """Why a refused case is, by the first line that is about it."""
        operator = operator_of(case).removesuffix(" (several)")
        for number, (operators, pattern, reason) in enumerate(self.lines):
            if (operators == ["*"] or operator in operators) and pattern.search(text):
                self.used.add(number)
                return reason
        return None

    def stale(self):
        """Lines that no refused case needs."""
        lines = (line for number, line in enumerate(self.lines) if number not in self.used)
        return [f"{','.join(operators)} {pattern.pattern}" for operators, pattern, _ in lines]


def read_peer():
    """The cases that native tract passes."""
    lines = (HERE / "native-tract.txt").read_text().splitlines()
    return {line for line in lines if line and not line.startswith("#")}


PEER_HEAD = """\
# The node tests that native tract passes, with static shapes and at the suite's
# tolerance: written by `run.py --measure-native-tract`.
"""


def print_score(cases, results):
    """Beside native tract: whether enough of what it passes is passed."""
    peer = read_peer()
    states = {case.name: state for case, (state, _) in zip(cases, results)}
    of_peer = [case for case in cases if case.name in peer]
    missing = collections.defaultdict(list)
    for case in of_peer:
        if states[case.name] != "passed":
            missing[operator_of(case)].append(case.name)
    for operator, names in sorted(missing.items()):
        print(f"native tract passes, not leeway: {operator}: {' '.join(names)}")
    passed = len(of_peer) - sum(map(len, missing.values()))
    share = 100 * passed / max(len(of_peer), 1)
    beyond = sum(state == "passed" and name not in peer for name, state in states.items())
    print(
        f"leeway passed {passed} of the {len(of_peer)} that native tract passes ({share:.1f} %), "
        f"and {beyond} others"
    )
    return share >= WANTED_PERCENT


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--leeway", default=str(ROOT / "target/release/leeway"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--json", help="a file for the state of every case")
    parser.add_argument("--verbose", action="store_true", help="say why each refused case is")
    parser.add_argument(
        "--measure-native-tract",
        metavar="PROGRAM",
        help="write native-tract.txt anew, with target/release/examples/native_tract",
    )
    parser.add_argument("filter", nargs="*", help="only cases whose name has this in it")
    arguments = parser.parse_args()
    unsupported = Unsupported()
    cases = load_cases(arguments.filter)
    with tempfile.TemporaryDirectory() as folder:
        prepared = {case.name: prepare(case, pathlib.Path(folder)) for case in cases}
        peer = {}
        if arguments.measure_native_tract:
            peer = run_native_tract(arguments.measure_native_tract, prepared)
            passed = sorted(name for name, answer in peer.items() if answer == "passed")
            if not arguments.filter:
                (HERE / "native-tract.txt").write_text(PEER_HEAD + "\n".join(passed) + "\n")
        with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
            run = lambda case: run_case(arguments.leeway, case, prepared[case.name], unsupported)
            results = list(pool.map(run, cases))

    states = ["passed", "failed", "wrong", "refused", "skipped"]
    table = collections.defaultdict(collections.Counter)
    for case, (state, _) in zip(cases, results):
        table[operator_of(case)][state] += 1
    print(f"{'operator':32}" + "".join(f"{state:>9}" for state in states))
    for operator in sorted(table):
        print(f"{operator:32}" + "".join(f"{table[operator][state] or '':>9}" for state in states))
    total = sum(table.values(), collections.Counter())
    print(f"{'all':32}" + "".join(f"{total[state]:>9}" for state in states))
    reasons = collections.Counter(
        (state, detail.split(": ")[0]) for state, detail in results if state in ("wrong", "refused", "skipped")
    )
    for (state, reason), count in sorted(reasons.items(), key=lambda item: (item[0][0], -item[1])):
        print(f"{count:6} {state}: {reason}")
    for case, (state, detail) in zip(cases, results):
        if state == "failed" or (arguments.verbose and state == "refused"):
            print(f"{state} {case.name}: {detail}")
    if arguments.json:
        rows = {
            case.name: [operator_of(case), *result, peer.get(case.name)]
            for case, result in zip(cases, results)
        }
        pathlib.Path(arguments.json).write_text(json.dumps(rows, indent=1))
    stale = [] if arguments.filter else unsupported.stale()
    for line in stale:
        print(f"unsupported.txt is stale: nothing is refused for {line}")
    enough = print_score(cases, results)
    sys.exit(1 if total["failed"] or stale or not enough else 0)


if __name__ == "__main__":
    main()
