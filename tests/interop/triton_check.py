#!/usr/bin/env python3
"""Talk to the fog host with NVIDIA's Triton client, unmodified.

    python triton_check.py [--binaries DIR]

A `leeway-fog` with a temporary store gets two reference models by digest, under
names. Then `tritonclient.http` asks for health, metadata, configuration, the
repository and statistics, runs inference with JSON and with binary data in both
directions, by name, by version and by digest, one request at a time and several at
once, asks for classes, unloads and loads a model, and is refused in each way that
a client can be wrong. The answers are bit for bit those of `leeway run`. At last
SIGTERM ends the host cleanly, and one that starts on the same store serves the
same models.
"""

import argparse
import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from fog_host import FogHost
from leeway import ROOT, Component, Leeway, default_binaries
from tally import Tally

VERSION = "1"
INPUT, OUTPUT = "input", "probabilities"
CONCURRENT = 4


@dataclass(frozen=True)
class Model:
    """A reference model, a sample, and what `leeway run` gives for it."""

    name: str
    component: Component
    sample: np.ndarray
    wanted: np.ndarray
    fuel: int


def prepare(leeway: Leeway, name: str) -> Model:
    """Compile a reference model and run it here."""
    folder = ROOT / "guest-models" / name
    component = leeway.build(folder / "model.onnx", folder / "validation.npz")
    sample = np.load(folder / "test.npz")[INPUT][:1]
    run = leeway.run(component, {INPUT: sample}, "native")
    return Model(name, component, sample, run.outputs[OUTPUT], run.fuel)


def client(host: FogHost) -> triton.InferenceServerClient:
    """A client that may have several requests under way."""
    return triton.InferenceServerClient(host.address, concurrency=CONCURRENT)


def triton_input(array: np.ndarray, binary: bool = True, name: str = INPUT) -> triton.InferInput:
    """An input in the client's form."""
    made = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    return made.set_data_from_numpy(array, binary_data=binary)


def check_push(tally: Tally, host: FogHost, model: Model) -> None:
    """Push by digest and alias; a digest that is not the bytes' is refused."""
    bytes_ = model.component.path.read_bytes()
    digest = model.component.digest
    wrong = host.push("sha256:" + "0" * 64, bytes_)
    refused = wrong.status == 400 and digest in wrong.body["error"]
    tally.check(f"{model.name}: a wrong digest is refused", refused, wrong)
    early = host.alias(model.name, VERSION, digest)
    tally.check(f"{model.name}: no alias before the module", early.status == 404, early)
    for wanted in (201, 200):
        pushed = host.push(digest, bytes_)
        right = pushed.status == wanted and pushed.body["digest"] == digest
        tally.check(f"{model.name}: pushed, {wanted}", right, pushed)
    aliased = host.alias(model.name, VERSION, digest)
    tally.check(f"{model.name}: aliased", aliased.status == 200, aliased)


def check_server(tally: Tally, server: triton.InferenceServerClient) -> None:
    """Health and metadata of the host."""
    tally.check("server is live", server.is_server_live())
    tally.check("server is ready", server.is_server_ready())
    metadata = server.get_server_metadata()
    named = metadata["name"] == "leeway-fog" and metadata["version"]
    tally.check("server metadata", bool(named), metadata)
    extensions = metadata["extensions"]
    for name in ("binary_tensor_data", "classification", "model_repository", "statistics"):
        tally.check(f"extension {name}", name in extensions, extensions)


def check_metadata(tally: Tally, server: triton.InferenceServerClient, model: Model) -> None:
    """Readiness and metadata of a model."""
    tally.check(f"{model.name} is ready", server.is_model_ready(model.name))
    tally.check(f"{model.name} 1 is ready", server.is_model_ready(model.name, VERSION))
    tally.check(f"{model.name} 2 is not ready", not server.is_model_ready(model.name, "2"))
    metadata = server.get_model_metadata(model.name, VERSION)
    wanted = {"name": model.name, "versions": [VERSION], "platform": "leeway_wasm"}
    seen = {key: metadata[key] for key in wanted}
    tally.check(f"{model.name}: metadata", seen == wanted, metadata)
    for key, name, array in (("inputs", INPUT, model.sample), ("outputs", OUTPUT, model.wanted)):
        datatype = np_to_triton_dtype(array.dtype)
        tensor = {"name": name, "datatype": datatype, "shape": list(array.shape)}
        tally.check(f"{model.name}: metadata, {key}", metadata[key] == [tensor], metadata[key])


def check_result(tally: Tally, what: str, result: triton.InferResult, model: Model) -> None:
    """An answer has the bits that `leeway run` gives, and its fuel."""
    seen = result.as_numpy(OUTPUT)
    same = seen.dtype == model.wanted.dtype and seen.shape == model.wanted.shape
    same = same and seen.tobytes() == model.wanted.tobytes()
    tally.check(f"{what}: the bits of `leeway run`", same, f"{seen}, wanted {model.wanted}")
    parameters = result.get_response()["parameters"]
    right = parameters["fuel"] == model.fuel and parameters["digest"] == model.component.digest
    tally.check(f"{what}: fuel and digest", right, parameters)


def check_infer(tally: Tally, server: triton.InferenceServerClient, model: Model) -> None:
    """Inference with JSON and binary data, in each direction."""
    for binary_in, binary_out in itertools.product((False, True), repeat=2):
        what = f"{model.name}, binary in {binary_in}, out {binary_out}"
        result = server.infer(
            model.name,
            [triton_input(model.sample, binary_in)],
            outputs=[triton.InferRequestedOutput(OUTPUT, binary_data=binary_out)],
            request_id="request-7",
        )
        check_result(tally, what, result, model)
        response = result.get_response()
        head = (response["model_name"], response["model_version"], response["id"])
        tally.check(f"{what}: head", head == (model.name, VERSION, "request-7"), response)
        is_binary = "binary_data_size" in result.get_output(OUTPUT).get("parameters", {})
        tally.check(f"{what}: as requested", is_binary == binary_out, response)

    data = [triton_input(model.sample)]
    everything = server.infer(model.name, data)
    check_result(tally, f"{model.name}, no outputs requested", everything, model)
    tally.check(f"{model.name}: no id", "id" not in everything.get_response())
    versioned = server.infer(model.name, data, model_version=VERSION)
    check_result(tally, f"{model.name}, by version", versioned, model)
    by_digest = server.infer(model.component.digest, data)
    check_result(tally, f"{model.name}, by digest", by_digest, model)


def check_configuration(
    tally: Tally, server: triton.InferenceServerClient, model: Model
) -> None:
    """A model's configuration, in Triton's form."""
    config = server.get_model_config(model.name, VERSION)
    head = (config["name"], config["max_batch_size"])
    tally.check(f"{model.name}: configuration", head == (model.name, 0), config)
    for key, name, array in (("input", INPUT, model.sample), ("output", OUTPUT, model.wanted)):
        datatype = "TYPE_" + np_to_triton_dtype(array.dtype)
        tensor = {"name": name, "data_type": datatype, "dims": list(array.shape)}
        tally.check(f"{model.name}: configuration, {key}", config[key] == [tensor], config[key])


def check_classes(tally: Tally, server: triton.InferenceServerClient, model: Model) -> None:
    """The classification extension: the largest elements, with their places."""
    wanted = np.argsort(-model.wanted.ravel(), kind="stable")[:3]
    for binary in (False, True):
        what = f"{model.name}, classes, binary {binary}"
        output = triton.InferRequestedOutput(OUTPUT, binary_data=binary, class_count=3)
        result = server.infer(model.name, [triton_input(model.sample)], outputs=[output])
        texts = [
            text.decode() if isinstance(text, bytes) else text
            for text in result.as_numpy(OUTPUT).ravel()
        ]
        places = [int(text.split(":")[1]) for text in texts]
        tally.check(f"{what}: the largest", places == wanted.tolist(), texts)
        values = [float(text.split(":")[0]) for text in texts]
        near = np.allclose(values, model.wanted.ravel()[wanted], rtol=1e-4)
        tally.check(f"{what}: their values", bool(near), texts)


def check_statistics(
    tally: Tally, server: triton.InferenceServerClient, models: list[Model]
) -> None:
    """The statistics extension counts what was answered and what was not."""
    def counts(model: Model) -> tuple[int, int, int]:
        (stats,) = server.get_inference_statistics(model.name, VERSION)["model_stats"]
        sums = stats["inference_stats"]
        return stats["inference_count"], sums["success"]["count"], sums["fail"]["count"]

    model = models[0]
    before = counts(model)
    server.infer(model.name, [triton_input(model.sample)])
    try:
        server.infer(model.name, [triton_input(model.sample, name="pixels")])
    except InferenceServerException:
        pass
    after = counts(model)
    wanted = tuple(count + 1 for count in before)
    tally.check(f"{model.name}: counted", after == wanted, f"{before}, {after}")
    every = server.get_inference_statistics()["model_stats"]
    named = sorted(stats["name"] for stats in every)
    tally.check("statistics of all", named == sorted(model.name for model in models), every)
    (stats,) = server.get_inference_statistics(model.name, VERSION)["model_stats"]
    times = stats["inference_stats"]
    whole, compute = times["success"]["ns"], times["compute_infer"]["ns"]
    tally.check(f"{model.name}: timed", 0 < compute < whole, stats)


def check_repository(tally: Tally, server: triton.InferenceServerClient, model: Model) -> None:
    """The model repository extension: index, unload and load."""
    def state() -> str:
        entries = server.get_model_repository_index()
        (entry,) = [entry for entry in entries if entry["name"] == model.name]
        return entry["state"]

    tally.check(f"{model.name}: in the index", state() == "READY", state())
    server.unload_model(model.name)
    tally.check(f"{model.name}: unloaded", state() == "UNAVAILABLE", state())
    tally.check(f"{model.name}: not ready", not server.is_model_ready(model.name))
    data = [triton_input(model.sample)]
    check_refused(
        tally, "an unloaded model", "404", lambda: server.infer(model.name, data), ["unloaded"]
    )
    by_digest = server.infer(model.component.digest, data)
    check_result(tally, f"{model.name}, unloaded, by digest", by_digest, model)
    server.load_model(model.name)
    tally.check(f"{model.name}: loaded", server.is_model_ready(model.name))
    check_result(tally, f"{model.name}, loaded again", server.infer(model.name, data), model)


def check_concurrent(tally: Tally, server: triton.InferenceServerClient, model: Model) -> None:
    """Several requests under way at once."""
    data = [triton_input(model.sample)]
    pending = [server.async_infer(model.name, data) for _ in range(4 * CONCURRENT)]
    for number, request in enumerate(pending):
        check_result(tally, f"{model.name}, asynchronous {number}", request.get_result(), model)


def check_refusals(tally: Tally, server: triton.InferenceServerClient, model: Model) -> None:
    """What a client can do wrong raises the client's exception with the host's words."""
    good = [triton_input(model.sample)]
    wrong_shape = triton_input(model.sample[..., :-1])
    wrong_type = triton_input(model.sample.astype(np.int32))
    wrong_name = triton_input(model.sample, name="pixels")
    short = triton_input(model.sample[..., :-1])
    short.set_shape(list(model.sample.shape))

    def infer(*inputs: triton.InferInput, name: str = model.name, **options: object) -> object:
        return server.infer(name, list(inputs), **options)

    def output(name: str, **options: object) -> list[triton.InferRequestedOutput]:
        return [triton.InferRequestedOutput(name, **options)]

    no_stage = {"first_stage": 99}
    refusals: list[tuple[str, str, Callable[[], object], list[str]]] = [
        ("an unknown model", "404", lambda: infer(*good, name="nobody"), ["nobody"]),
        ("an unknown version", "404", lambda: infer(*good, model_version="9"), [model.name, '"9"']),
        ("no such metadata", "404", lambda: server.get_model_metadata("nobody"), ["nobody"]),
        ("an unknown digest", "404", lambda: infer(*good, name="sha256:" + "0" * 64), ["push it"]),
        ("a wrong shape", "400", lambda: infer(wrong_shape), [INPUT, "27", "28"]),
        ("a wrong datatype", "400", lambda: infer(wrong_type), [INPUT, "INT32", "UINT8"]),
        ("too few bytes", "400", lambda: infer(short), [INPUT, "756", "784"]),
        ("a wrong input", "400", lambda: infer(wrong_name), [INPUT, "missing"]),
        ("an input too many", "400", lambda: infer(*good, wrong_name), ["pixels"]),
        ("no input", "400", infer, [INPUT, "missing"]),
        ("a wrong output", "400", lambda: infer(*good, outputs=output("logits")), ["logits"]),
        ("no such stage", "400", lambda: infer(*good, parameters=no_stage), ["99"]),
        ("no load of it", "404", lambda: server.load_model("nobody"), ["nobody"]),
        ("no trace settings", "404", server.get_trace_settings, ["trace"]),
        (
            "no shared memory",
            "404",
            lambda: server.register_system_shared_memory("room", "/room", 64),
            ["shared memory"],
        ),
        ("no status of it", "404", server.get_system_shared_memory_status, ["shared memory"]),
        ("nor of CUDA's", "404", server.get_cuda_shared_memory_status, ["shared memory"]),
    ]
    for what, status, request, words in refusals:
        check_refused(tally, what, status, request, words)
    check_result(tally, f"{model.name}, after refusals", infer(*good), model)


def check_refused(
    tally: Tally, what: str, status: str, request: Callable[[], object], words: list[str]
) -> None:
    """A request raises with this status and a message that has these words."""
    try:
        answer = request()
    except InferenceServerException as error:
        message = error.message()
        tally.check(f"{what}: status {status}", error.status() == status, error)
        # The client's own words for a response that it cannot read.
        readable = "exception occurred" not in message and "empty response" not in message
        right = readable and all(word in message for word in words)
        tally.check(f"{what}: the message says {words}", right, message)
    else:
        tally.check(f"{what} is refused", False, answer)


def check_restart(tally: Tally, binaries: Path, store: Path, models: list[Model]) -> None:
    """A host that starts on a store serves what was pushed before."""
    with FogHost(binaries, store, store / "second.log") as host, client(host) as server:
        for model in models:
            result = server.infer(model.name, [triton_input(model.sample)])
            check_result(tally, f"{model.name}, after a restart", result, model)
        tally.check("ready after a restart", server.is_server_ready())


def check_stop(tally: Tally, host: FogHost) -> None:
    """SIGTERM ends the host cleanly, though the client still holds connections."""
    status = host.terminate()
    tally.check("SIGTERM gives a clean exit status", status == 0, status)
    log = host.log()
    errors = [line for line in log.splitlines() if " ERROR " in line or "panicked" in line]
    tally.check("no error in the log", not errors, errors)


def main() -> None:
    parser = argparse.ArgumentParser(description="Talk to the fog host with Triton's client.")
    parser.add_argument("--binaries", type=Path, default=default_binaries(), metavar="DIR")
    binaries = parser.parse_args().binaries

    tally = Tally()
    with tempfile.TemporaryDirectory() as folder, tally.guard("the checks"):
        scratch, store = Path(folder) / "scratch", Path(folder) / "store"
        scratch.mkdir()
        store.mkdir()
        leeway = Leeway(binaries, scratch)
        models = [prepare(leeway, name) for name in ("mlp-digits", "cnn-tabular")]
        with FogHost(binaries, store, store / "first.log") as host, client(host) as server:
            for model in models:
                check_push(tally, host, model)
            check_server(tally, server)
            for model in models:
                check_metadata(tally, server, model)
                check_configuration(tally, server, model)
                check_infer(tally, server, model)
                check_classes(tally, server, model)
                check_concurrent(tally, server, model)
                check_repository(tally, server, model)
            check_refusals(tally, server, models[0])
            check_statistics(tally, server, models)
            check_stop(tally, host)
        check_restart(tally, binaries, store, models)
    tally.exit()


if __name__ == "__main__":
    main()
