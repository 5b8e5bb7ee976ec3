"""A real agent with a model of known outputs, for all tests."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from leeway_client import Client, NotReached

ROOT = Path(__file__).resolve().parents[3]
BINARIES = Path(os.environ.get("LEEWAY_BINARIES", ROOT / "target/release"))
TOKEN = "a-token-of-some-length"


class Device:
    """An agent in a process of its own."""

    def __init__(self, folder: Path, listen: str, tls: str = "") -> None:
        self.folder = folder
        self.address = f"unix:{folder / 'device.sock'}"
        (folder / "token").write_text(TOKEN)
        (folder / "device.toml").write_text(
            'root = "state"\nsocket = "device.sock"\n[trust]\nallow_unsigned = true\n'
            f'[tcp]\nlisten = "{listen}"\ntoken_file = "token"\n{tls}'
        )
        self.start()

    def start(self) -> None:
        command = [str(BINARIES / "leeway-device"), "--config", str(self.folder / "device.toml")]
        self.process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        with Client(self.address) as client:
            for _ in range(600):
                try:
                    if client.is_live():
                        return
                except NotReached:
                    time.sleep(0.05)
        raise AssertionError("the agent does not answer")

    def build(self) -> None:
        """A model to deploy."""
        model = ROOT / "guest-models/mlp-digits/model.onnx"
        build = ["build", str(model), "-o", "digits.wasm", "--name", "digits"]
        self.leeway(*build, "--version", "1.2.0")

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def leeway(self, *arguments: str) -> str:
        command = [str(BINARIES / "leeway"), *arguments]
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def tls_file(name: str) -> Path:
    """A certificate or key of the tests."""
    return ROOT / "tls/fixtures" / name


@pytest.fixture(scope="session")
def secure(tmp_path_factory):
    """An agent that is reached by TLS, with a token or a certificate."""
    port = free_port()
    tls = "".join(
        f'{setting} = "{tls_file(name)}"\n'
        for setting, name in [
            ("certificate", "host.pem"), ("key", "host.key"), ("client_authority", "ca.pem")
        ]
    )
    device = Device(tmp_path_factory.mktemp("secure"), f"127.0.0.1:{port}", tls)
    device.url = f"https://127.0.0.1:{port}"
    yield device
    device.stop()


@pytest.fixture(scope="session")
def device(tmp_path_factory):
    folder = tmp_path_factory.mktemp("device")
    port = free_port()
    device = Device(folder, f"127.0.0.1:{port}")
    device.url = f"http://127.0.0.1:{port}"
    device.build()
    device.certificate = json.loads(device.leeway("inspect", "digits.wasm", "--json"))
    device.leeway("deploy", "digits.wasm", "--to", device.address)
    yield device
    device.stop()
