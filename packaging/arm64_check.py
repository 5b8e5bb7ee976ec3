"""The agent for arm64, under qemu-user, beside the one for this machine: the same
module on both gives the same bits and burns the same fuel.

    packaging/arm64_check.py TARGET_DIR/aarch64-unknown-linux-gnu/release/leeway-device

The agent must be linked statically, as qemu-user 7.2, Debian 12's, hangs in
pthread_create where the arm64 C library is linked dynamically:

    cargo rustc --release -p leeway-device --bin leeway-device \\
        --target aarch64-unknown-linux-gnu -- -C target-feature=+crt-static

Needs qemu-user-static, registered with the kernel for arm64 programs (binfmt_misc), as the
agent has a program of its own compile; the arm64 C library (libc6-dev-arm64-cross), a
release build for this machine, and numpy.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "clients/python/src"))
from leeway_client import Client, NotReached  # noqa: E402

BINARIES = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
MODELS = ("mlp-digits", "cnn-digits", "mlp-tabular", "cnn-tabular")
INPUTS = 20
START_SECONDS = 120


def start(folder, command):
    """An agent that takes unsigned modules, and its address."""
    folder.mkdir()
    config = folder / "device.toml"
    config.write_text('root = "s"\nsocket = "device.sock"\n[trust]\nallow_unsigned = true\n')
    process = subprocess.Popen([*command, "--config", config], stderr=(folder / "log").open("w"))
    address = f"unix:{folder / 'device.sock'}"
    with Client(address) as client:
        for _ in range(START_SECONDS * 10):
            try:
                client.status()
                return process, address
            except NotReached:
                time.sleep(0.1)
    process.kill()
    sys.exit((folder / "log").read_text())


def leeway(*arguments):
    subprocess.run([BINARIES / "leeway", *arguments], check=True, capture_output=True)


def inputs(metadata, generator):
    """Random inputs of every type that the reference models have."""
    arrays = {}
    for tensor in metadata.inputs:
        if tensor.datatype == "UINT8":
            arrays[tensor.name] = generator.integers(0, 256, tensor.shape, np.uint8)
        else:
            arrays[tensor.name] = generator.normal(size=tensor.shape).astype(np.float32)
    return arrays


def compare(name, here, there, generator):
    metadata = here.metadata(name)
    assert there.metadata(name).digest == metadata.digest
    for _ in range(INPUTS):
        arrays = inputs(metadata, generator)
        one, two = here.infer(name, arrays), there.infer(name, arrays)
        assert one.fuel == two.fuel == metadata.fuel, (name, one.fuel, two.fuel)
        for output in one:
            assert one[output].tobytes() == two[output].tobytes(), (name, output)
    print(f"{name}: {INPUTS} inputs, {metadata.fuel} units of fuel, the same bits")


def main(agent):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        emulator = ["qemu-aarch64-static", "-L", "/usr/aarch64-linux-gnu"]
        processes, addresses = [], []
        try:
            for architecture, command in (
                ("native", [BINARIES / "leeway-device"]),
                ("arm64", [*emulator, agent]),
            ):
                process, address = start(folder / architecture, command)
                processes.append(process)
                addresses.append(address)
            generator = np.random.default_rng(7)
            with Client(addresses[0]) as here, Client(addresses[1], timeout=300) as there:
                for model in MODELS:
                    module = folder / f"{model}.wasm"
                    source = ROOT / "guest-models" / model / "model.onnx"
                    leeway("build", source, "-o", module, "--name", model, "--version", "1")
                    for address in addresses:
                        leeway("deploy", module, "--to", address)
                    compare(model, here, there, generator)
        finally:
            for process in processes:
                process.kill()
                process.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
