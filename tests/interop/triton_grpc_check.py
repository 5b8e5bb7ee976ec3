#!/usr/bin/env python3
"""Talk to the fog host over gRPC with NVIDIA's Triton client, unmodified.

    python triton_grpc_check.py [--binaries DIR]

What `triton_check.py` does over HTTP, `tritonclient.grpc` does on the second port:
health, metadata, configuration, inference one by one and several at once,
classification, deadlines, statistics, loading and unloading. The answers are bit for
bit those of `leeway run`.
"""

import argparse
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from fog_host import FogHost
from leeway import Leeway, default_binaries
from tally import Tally
from triton_check import INPUT, OUTPUT, VERSION, Model, prepare

CONCURRENT = 16


def free_address() -> str:
    """A loopback address that nothing listens on at this moment."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listening.getsockname()[1]}"


def triton_input(array: np.ndarray, name: str = INPUT) -> triton.InferInput:
    """An input in the client's form."""
    made = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    return made.set_data_from_numpy(array)


def check_about(tally: Tally, server: triton.InferenceServerClient, model: Model) -> None:
    """Health, metadata and configuration."""
    tally.check("server is live and ready", server.is_server_live() and server.is_server_ready())
    metadata = server.get_server_metadata()
    tally.check("server metadata", metadata.name == "leeway-fog", metadata)
    tally.check(f"{model.name} is ready", server.is_model_ready(model.name, VERSION))
    tally.check(f"{model.name} 2 is not ready", not server.is_model_ready(model.name, "2"))
    about = server.get_model_metadata(model.name)
    seen = (about.name, list(about.versions), about.platform)
    tally.check("model metadata", seen == (model.name, [VERSION], "leeway_wasm"), about)
    config = server.get_model_config(model.name).config
    for kind, described, array in (
        ("input", about.inputs[0], model.sample),
        ("output", about.outputs[0], model.wanted),
    ):
        shape = list(array.shape)
        datatype = np_to_triton_dtype(array.dtype)
        same = (described.datatype, list(described.shape)) == (datatype, shape)
        tally.check(f"{kind}: metadata", same, described)
        configured = getattr(config, kind)[0]
        name = triton.model_config_pb2.DataType.Name(configured.data_type)
        same = (name, list(configured.dims)) == (f"TYPE_{datatype}", shape)
        tally.check(f"{kind}: configuration", same, configured)


def check_result(tally: Tally, what: str, result: triton.InferResult, model: Model) -> None:
    """An answer has the bits that `leeway run` gives, and its fuel."""
    seen = result.as_numpy(OUTPUT)
    same = seen.dtype == model.wanted.dtype and seen.tobytes() == model.wanted.tobytes()
    tally.check(f"{what}: the bits of `leeway run`", same, f"{seen}, wanted {model.wanted}")
    parameters = result.get_response().parameters
    right = parameters["fuel"].int64_param == model.fuel
    right = right and parameters["digest"].string_param == model.component.digest
    tally.check(f"{what}: fuel and digest", right, parameters)


def check_infer(tally: Tally, server: triton.InferenceServerClient, model: Model) -> None:
    """Inference by name, version and digest, one by one and several at once."""
    data = [triton_input(model.sample)]
    output = triton.InferRequestedOutput
    named = server.infer(model.name, data, outputs=[output(OUTPUT)], request_id="7")
    check_result(tally, "by name", named, model)
    tally.check("the id is echoed", named.get_response().id == "7")
    check_result(tally, "by version", server.infer(model.name, data, VERSION), model)
    check_result(tally, "by digest", server.infer(model.component.digest, data), model)
    best = server.infer(model.name, data, outputs=[output(OUTPUT, class_count=1)])
    best = best.as_numpy(OUTPUT).ravel()[0].decode()
    wanted = int(model.wanted.argmax())
    tally.check("classification", best.split(":")[1] == str(wanted), best)

    answers: list[tuple] = []
    for _ in range(CONCURRENT):
        server.async_infer(model.name, data, lambda result, error: answers.append((result, error)))
    server.infer(model.name, data)
    while len(answers) < CONCURRENT:
        pass
    for number, (result, error) in enumerate(answers):
        tally.check(f"asynchronous {number}", error is None, error)
        if error is None:
            check_result(tally, f"asynchronous {number}", result, model)
    contents = server.get_inference_statistics(model.name, VERSION).model_stats[0]
    tally.check("statistics", contents.inference_count >= CONCURRENT + 4, contents)


def check_typed(tally: Tally, server: triton.InferenceServerClient, model: Model) -> None:
    """Elements in typed fields, which this client writes only by hand, come back in them."""
    messages = triton.service_pb2
    request = messages.ModelInferRequest(model_name=model.name)
    tensor = request.inputs.add()
    tensor.name, tensor.datatype = INPUT, np_to_triton_dtype(model.sample.dtype)
    tensor.shape.extend(model.sample.shape)
    tensor.contents.uint_contents.extend(model.sample.ravel().tolist())
    response = server._client_stub.ModelInfer(request)
    seen = np.array(response.outputs[0].contents.fp32_contents, np.float32)
    same = seen.tobytes() == model.wanted.tobytes() and not response.raw_output_contents
    tally.check("typed contents: the bits of `leeway run`", same, response)


def check_refusals(tally: Tally, server: triton.InferenceServerClient, model: Model) -> None:
    """What a client can do wrong raises the client's exception with the host's words."""
    good = triton_input(model.sample)
    wrong_shape = triton_input(model.sample[..., :-1])
    wrong_type = triton_input(model.sample.astype(np.int32))
    wrong_name = triton_input(model.sample, name="pixels")

    def infer(*inputs: triton.InferInput, name: str = model.name, **options: object) -> object:
        return server.infer(name, list(inputs), **options)

    unknown = "sha256:" + "0" * 64
    logits = [triton.InferRequestedOutput("logits")]
    refusals: list[tuple[str, str, Callable[[], object], list[str]]] = [
        ("an unknown model", "NOT_FOUND", lambda: infer(good, name="nobody"), ["nobody"]),
        ("an unknown version", "NOT_FOUND", lambda: infer(good, model_version="9"), ['"9"']),
        ("an unknown digest", "NOT_FOUND", lambda: infer(good, name=unknown), ["push it"]),
        ("a wrong shape", "INVALID_ARGUMENT", lambda: infer(wrong_shape), [INPUT, "27", "28"]),
        ("a wrong datatype", "INVALID_ARGUMENT", lambda: infer(wrong_type), ["INT32", "UINT8"]),
        ("a wrong input", "INVALID_ARGUMENT", lambda: infer(wrong_name), [INPUT, "missing"]),
        ("an input too many", "INVALID_ARGUMENT", lambda: infer(good, wrong_name), ["pixels"]),
        ("a wrong output", "INVALID_ARGUMENT", lambda: infer(good, outputs=logits), ["logits"]),
        ("no time", "UNAVAILABLE", lambda: infer(good, timeout=1), ["are left"]),
        ("no such method", "UNIMPLEMENTED", server.get_trace_settings, []),
        ("a parameter", "INVALID_ARGUMENT", lambda: server.load_model(model.name, config="{}"), ["config"]),
    ]
    for what, status, request, words in refusals:
        try:
            answer = request()
        except InferenceServerException as error:
            right = error.status() == f"StatusCode.{status}"
            right = right and all(word in error.message() for word in words)
            tally.check(f"{what}: {status} and {words}", right, error)
        else:
            tally.check(f"{what} is refused", False, answer)
    check_result(tally, "after refusals", infer(good, client_timeout=20), model)


def check_repository(tally: Tally, server: triton.InferenceServerClient, model: Model) -> None:
    """Unloaded, a model is not there; loaded again, it is."""
    def states() -> list[str]:
        return [entry.state for entry in server.get_model_repository_index().models]

    tally.check("the index", states() == ["READY"], states())
    server.unload_model(model.name)
    tally.check("unloaded", states() == ["UNAVAILABLE"], states())
    tally.check("not ready", not server.is_model_ready(model.name))
    server.load_model(model.name)
    check_result(tally, "loaded", server.infer(model.name, [triton_input(model.sample)]), model)


def main() -> None:
    parser = argparse.ArgumentParser(description="Talk gRPC to the fog host with Triton's client.")
    parser.add_argument("--binaries", type=Path, default=default_binaries(), metavar="DIR")
    binaries = parser.parse_args().binaries

    tally = Tally()
    with tempfile.TemporaryDirectory() as folder, tally.guard("the checks"):
        scratch, store = Path(folder) / "scratch", Path(folder) / "store"
        scratch.mkdir()
        store.mkdir()
        model = prepare(Leeway(binaries, scratch), "mlp-digits")
        address = free_address()
        options = ["--listen-grpc", address]
        with FogHost(binaries, store, store / "log", options) as host:
            host.push(model.component.digest, model.component.path.read_bytes())
            host.alias(model.name, VERSION, model.component.digest)
            with triton.InferenceServerClient(address) as server:
                check_about(tally, server, model)
                check_infer(tally, server, model)
                check_typed(tally, server, model)
                check_refusals(tally, server, model)
                check_repository(tally, server, model)
            status = host.terminate()
            tally.check("SIGTERM gives a clean exit status", status == 0, status)
    tally.exit()


if __name__ == "__main__":
    main()
