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


def config(digest: str) -> str:
    """schemathesis's settings: paths that lead to something, half of the time."""
    return f"""
[parameters]
"path.name" = ["{NAME}", "{digest}", "nobody"]
"path.version" = ["{VERSION}", "2"]
"path.digest" = ["{digest}", "sha256:{'0' * 64}"]
"""


def run(address: str, folder: Path, examples: int, seed: int, digest: str) -> int:
    """Run schemathesis; its exit status."""
    settings = folder / "schemathesis.toml"
    settings.write_text(config(digest))
    program = Path(sys.executable).with_name("schemathesis")
    command = [
        str(program), "--config-file", str(settings), "run", f"http://{address}/openapi.json",
        "--max-examples", str(examples), "--seed", str(seed), "--generation-database", "none",
        "--request-timeout", "60", "--suppress-health-check", "all", "--no-color",
        "--checks", "all", "--exclude-checks", "ignored_auth",
    ]
    return subprocess.run(command, env={**os.environ, "HYPOTHESIS_STORAGE_DIRECTORY": str(folder)}).returncode


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

            push()
            status = run(
                host.address, folder, arguments.examples, arguments.seed, component.digest
            )
            tally.check("schemathesis finds nothing", status == 0, status)
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
