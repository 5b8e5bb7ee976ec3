"""The `leeway` command on NumPy arrays: build a model, run the component."""

import itertools
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
REFERENCE_MODELS = ("mlp-digits", "cnn-digits", "mlp-tabular", "cnn-tabular")
ENGINES = ("native", "pulley")

# Far longer than anything here takes: a command that hangs is a failure.
TIMEOUT_SECONDS = 120


def default_binaries() -> Path:
    """Where `cargo build --release` puts its binaries."""
    return Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"


class CommandError(Exception):
    """A command that failed: its exit code and what it printed."""


@dataclass(frozen=True)
class Component:
    """A compiled model."""

    path: Path
    digest: str
    certified_fuel: int
    build_ms: float
    certificate: dict[str, Any]

    @property
    def stages(self) -> int:
        """The number of its stages."""
        return len(self.certificate["stages"])

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations of all stages."""
        return sum(stage["macs"] for stage in self.certificate["stages"])

    @property
    def activation_bytes(self) -> int:
        """Memory for activations and scratch space."""
        return self.certificate["activation_bytes"]


@dataclass(frozen=True)
class Run:
    """One run of a component, or several on the same inputs."""

    outputs: dict[str, np.ndarray]
    fuel: int
    certified_fuel: int
    milliseconds: list[float]


class Leeway:
    """The command's binary, and a folder for the files that it reads and writes."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binary = binaries / "leeway"
        self._folder = folder
        self._numbers = itertools.count()

    def new_folder(self) -> Path:
        """A folder that is not used yet."""
        folder = self._folder / str(next(self._numbers))
        folder.mkdir()
        return folder

    def execute(self, *arguments: str | Path | int) -> subprocess.CompletedProcess[str]:
        """Run the command, whatever its exit code."""
        command = [str(self._binary), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS)

    def build(
        self, model: Path, golden: Path | None = None, name: str | None = None
    ) -> Component:
        """Compile an ONNX file."""
        path = self.new_folder() / "model.wasm"
        options = ("--golden", golden) if golden else ()
        options += ("--name", name) if name else ()
        built = self._json("build", model, "-o", path, *options)
        return Component(
            path,
            built["digest"],
            built["certified_fuel"],
            built["build_ms"],
            built["certificate"],
        )

    def run(
        self,
        component: Component,
        inputs: dict[str, np.ndarray],
        engine: str,
        repeat: int = 1,
    ) -> Run:
        """Run a component. Repeated runs must burn the same fuel."""
        folder = self.new_folder()
        options: list[str | Path | int] = []
        for number, (name, array) in enumerate(inputs.items()):
            file = folder / f"input{number}.npy"
            np.save(file, array)
            options += ["--input", f"{name}={file}"]
        options += ["--engine", engine, "--output-dir", folder / "outputs", "--repeat", repeat]
        ran = self._json("run", component.path, *options, "--digest", component.digest)
        outputs = {output["name"]: np.load(output["file"]) for output in ran["outputs"]}
        if len(set(ran["fuel"])) != 1:
            raise CommandError(f"run gave different fuel for the same inputs: {ran['fuel']}")
        milliseconds = [nanoseconds / 1e6 for nanoseconds in ran["nanoseconds"]]
        return Run(outputs, ran["fuel"][0], ran["certified_fuel"], milliseconds)

    def _json(self, *arguments: str | Path | int) -> dict:
        done = self.execute(*arguments, "--json")
        if done.returncode != 0:
            raise CommandError(f"{arguments[0]} gave {done.returncode}: {done.stderr.strip()}")
        return json.loads(done.stdout)
