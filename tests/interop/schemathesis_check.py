#!/usr/bin/env python3
"""Have schemathesis look for answers that are not as the fog host describes them.

    python schemathesis_check.py [--binaries DIR] [--examples N] [--seed N]

A `leeway-fog` gets a reference model by digest and under a name. schemathesis
reads `/openapi.json` and sends requests that fit the description, and requests
that do not, to every route: each answer must have a status, a content type and a
body that are described, valid requests are not refused as wrong, wrong ones are
refused, and nothing is answered with 5xx that is not described. At last the host
must still answer an inference with the right bits, and its log must have no panic.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import tritonclient.http as triton

from fog_host import FogHost
from leeway import ROOT, Leeway, default_binaries
from tally import Tally

INPUT, OUTPUT = "input", "probabilities"
NAME, VERSION = "mlp-digits", "1"


# What no schema can say: bytes must have the digest in the path, an envelope must be
# signed, and tensors must be the model's.
UNFIT = (
    "PUT /v1/modules/{digest}",
    "PUT /v1/modules/{digest}/signature",
    "POST /v2/models/{name}/infer",
    "POST /v2/models/{name}/versions/{version}/infer",
)

# Modules are bytes.
HOOKS = """
import schemathesis

schemathesis.serializer.alias("application/wasm", "application/octet-stream")
"""


def config(digest: str | None) -> str:
    """schemathesis's settings, with a path that leads to a model or with any."""
    lines = ["[checks]", "ignored_auth.enabled = false"]
    if digest:
        fixed = {"name": NAME, "version": VERSION, "digest": digest}
        lines += ["[parameters]", *(f'"path.{key}" = "{fixed[key]}"' for key in fixed)]
    for operation in UNFIT:
        lines += ["[[operations]]", f'include-name = "{operation}"']
        lines += ["checks.positive_data_acceptance.enabled = false"]
    return "\n".join(lines)


def run(address: str, folder: Path, options: list[str], digest: str | None) -> int:
    """Run schemathesis; its exit status."""
    settings, hooks = folder / "schemathesis.toml", folder / "schemathesis_hooks.py"
    settings.write_text(config(digest))
    hooks.write_text(HOOKS)
    program = Path(sys.executable).with_name("schemathesis")
    command = [str(program), "--config-file", str(settings), "run"]
    command += [f"http://{address}/openapi.json", "--no-color", "--warnings", "off"]
    command += ["--suppress-health-check", "all", "--request-timeout", "60", *options]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": hooks.stem, "PYTHONPATH": str(folder)}
    return subprocess.run(command, cwd=folder, env=environment).returncode


def main() -> None:
    parser = argparse.ArgumentParser(description="Run schemathesis against the fog host.")
    parser.add_argument("--binaries", type=Path, default=default_binaries(), metavar="DIR")
    parser.add_argument("--examples", type=int, default=50, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    arguments = parser.parse_args()

    tally = Tally()
    with tempfile.TemporaryDirectory() as name, tally.guard("the checks"):
        folder = Path(name)
        (folder / "scratch").mkdir()
        leeway = Leeway(arguments.binaries, folder / "scratch")
        model = ROOT / "guest-models" / NAME
        component = leeway.build(model / "model.onnx", model / "validation.npz")
        sample = np.load(model / "test.npz")[INPUT][:1]
        wanted = leeway.run(component, {INPUT: sample}, "native").outputs[OUTPUT]
        with FogHost(arguments.binaries, folder / "store", folder / "log") as host:
            def push() -> None:
                host.push(component.digest, component.path.read_bytes())
                host.alias(NAME, VERSION, component.digest)

            options = ["--max-examples", str(arguments.examples), "--seed", str(arguments.seed)]
            for what, digest in (("a model", component.digest), ("anything", None)):
                push()
                status = run(host.address, folder, options, digest)
                found = f"schemathesis finds nothing on paths to {what}"
                tally.check(found, status == 0, status)
            # It may have removed or unloaded them.
            push()
            with triton.InferenceServerClient(host.address) as server:
                server.load_model(NAME)
                data = triton.InferInput(INPUT, list(sample.shape), "UINT8")
                answer = server.infer(NAME, [data.set_data_from_numpy(sample)]).as_numpy(OUTPUT)
            tally.check("the right bits afterwards", answer.tobytes() == wanted.tobytes(), answer)
            tally.check("no panic", "panicked" not in host.log(), host.log()[-2000:])
    tally.exit()


if __name__ == "__main__":
    main()
