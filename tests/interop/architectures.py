#!/usr/bin/env python3
"""Whole architectures from torchvision, compiled and compared with ONNX Runtime.

    python architectures.py [--binaries DIR] [--rounds N] [--only NAME ...] [--keep DIR]

Each model has seeded random weights, and batch normalisations whose statistics
are those of random images, so that folding them is exercised. It is exported to
ONNX (opset 17, batch 1), compiled with `leeway build` and run natively:

- the outputs are ONNX Runtime's within 1e-4, relative to the number or, where
  that is larger, to the tensor's root mean square;
- the fuel of each run is the certified fuel.

The times are medians of runs that take turns with ONNX Runtime's, on one thread
each. The last table lists what `leeway build` does not support, in its own words.

It needs the packages of requirements-architectures.txt. Not part of `.ci/run`:
torch is too large to install there.
"""

import argparse
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torchvision.models as vision
from torch import Tensor, nn

from leeway import CommandError, Component, Leeway, default_binaries
from tally import Tally

TOLERANCE = 1e-4
OPSET = 17
SEED = 2017

# Of one turn; the first ones of a process are slower, and the median skips them.
RUNS_PER_ROUND = 7


class DoubleConvolution(nn.Sequential):
    """Two 3x3 convolutions, as in each level of a U-Net."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
        )


class UNet(nn.Module):
    """A U-Net of three levels (Ronneberger, Fischer, Brox 2015). `up` makes the layer
    that doubles the resolution."""

    def __init__(self, up: Callable[[int, int], nn.Module], width: int = 16) -> None:
        super().__init__()
        self.down1 = DoubleConvolution(3, width)
        self.down2 = DoubleConvolution(width, 2 * width)
        self.bottom = DoubleConvolution(2 * width, 4 * width)
        self.pool = nn.MaxPool2d(2)
        self.up2 = up(4 * width, 2 * width)
        self.join2 = DoubleConvolution(4 * width, 2 * width)
        self.up1 = up(2 * width, width)
        self.join1 = DoubleConvolution(2 * width, width)
        self.classes = nn.Conv2d(width, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        fine = self.down1(image)
        middle = self.down2(self.pool(fine))
        coarse = self.bottom(self.pool(middle))
        middle = self.join2(torch.cat([self.up2(coarse), middle], 1))
        fine = self.join1(torch.cat([self.up1(middle), fine], 1))
        return self.classes(fine)


def transposed(inputs: int, outputs: int) -> nn.Module:
    """Resolution doubled by a transposed convolution."""
    return nn.ConvTranspose2d(inputs, outputs, 2, stride=2)


def resized(mode: str) -> Callable[[int, int], nn.Module]:
    """Resolution doubled by interpolation, and a convolution after it."""
    return lambda inputs, outputs: nn.Sequential(
        nn.Upsample(scale_factor=2, mode=mode), nn.Conv2d(inputs, outputs, 3, padding=1)
    )


class ResidualBlock1d(nn.Module):
    """Two wide 1-D convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(inputs, outputs, 15, stride, padding=7, bias=False),
            nn.BatchNorm1d(outputs),
            nn.ReLU(),
            nn.Conv1d(outputs, outputs, 15, padding=7, bias=False),
            nn.BatchNorm1d(outputs),
        )
        self.shortcut = nn.Sequential(
            nn.Conv1d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm1d(outputs)
        )

    def forward(self, signal: Tensor) -> Tensor:
        return torch.relu(self.body(signal) + self.shortcut(signal))


def ecg_resnet() -> nn.Module:
    """A 1-D ResNet as for electrocardiograms: twelve leads, five classes."""
    blocks = [ResidualBlock1d(32 << i, 64 << i, 2) for i in range(3)]
    return nn.Sequential(
        nn.Conv1d(12, 32, 15, 2, padding=7, bias=False),
        nn.BatchNorm1d(32),
        nn.ReLU(),
        nn.MaxPool1d(3, 2, padding=1),
        *blocks,
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(256, 5),
    )


def auto_encoder() -> nn.Module:
    """The dense auto-encoder of MLPerf Tiny's anomaly detection."""
    widths = [640, 128, 128, 128, 128, 8, 128, 128, 128, 128]
    layers = [
        layer
        for inputs, outputs in zip(widths, widths[1:], strict=False)
        for layer in (nn.Linear(inputs, outputs), nn.BatchNorm1d(outputs), nn.ReLU())
    ]
    return nn.Sequential(*layers, nn.Linear(128, 640))


@dataclass(frozen=True)
class Architecture:
    """A model to be made, and the shape of its input without the batch."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...] = (3, 224, 224)


ARCHITECTURES = {
    "mobilenet-v2": Architecture(vision.mobilenet_v2),
    "mobilenet-v3-small": Architecture(vision.mobilenet_v3_small),
    "resnet-18": Architecture(vision.resnet18),
    "resnet-50": Architecture(vision.resnet50),
    "efficientnet-b0": Architecture(vision.efficientnet_b0),
    "squeezenet-1.1": Architecture(vision.squeezenet1_1),
    "shufflenet-v2-x1.0": Architecture(vision.shufflenet_v2_x1_0),
    "unet-transposed": Architecture(lambda: UNet(transposed), (3, 128, 128)),
    "unet-nearest": Architecture(lambda: UNet(resized("nearest")), (3, 128, 128)),
    "unet-bilinear": Architecture(lambda: UNet(resized("bilinear")), (3, 128, 128)),
    "ecg-resnet-1d": Architecture(ecg_resnet, (12, 1000)),
    "auto-encoder": Architecture(auto_encoder, (640,)),
}


def settle(model: nn.Module, shape: tuple[int, ...]) -> None:
    """Give each batch normalisation random factors, and the statistics of random images."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
            module.momentum = None  # the plain mean of all batches
    model.train()
    with torch.no_grad():
        model(torch.randn(8, *shape))
    model.eval()


def export(architecture: Architecture, path: Path) -> None:
    """Write an architecture with seeded weights as ONNX."""
    torch.manual_seed(SEED)
    model = architecture.make()
    settle(model, architecture.shape)
    # TrainingMode.EVAL would have the exporter fold the batch normalisations.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (torch.randn(1, *architecture.shape),),
            path,
            input_names=["input"],
            output_names=["output"],
            opset_version=OPSET,
            training=torch.onnx.TrainingMode.PRESERVE,
            dynamo=False,
        )


def largest_difference(seen: np.ndarray, wanted: np.ndarray) -> float:
    """Relative to the number or the tensor's root mean square, whichever is larger."""
    if seen.dtype != wanted.dtype or seen.shape != wanted.shape:
        return float("inf")
    wanted = wanted.astype(np.float64)
    scale = np.maximum(np.abs(wanted), np.sqrt(np.mean(wanted**2)))
    apart = np.abs(seen - wanted) / scale
    return float("inf") if np.isnan(apart).any() else float(apart.max())


def sections(wasm: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The sections of a WebAssembly module or component: id and contents."""
    at = 8
    while at < len(wasm):
        section, size, shift = wasm[at], 0, 0
        while True:
            at += 1
            size |= (wasm[at] & 0x7F) << shift
            shift += 7
            if wasm[at] < 0x80:
                break
        at += 1
        yield section, wasm[at : at + size]
        at += size


def code_bytes(component: Path) -> int:
    """The size of the code of all core modules in a component."""
    core_module, code = 1, 10
    whole = memoryview(component.read_bytes())
    modules = [contents for section, contents in sections(whole) if section == core_module]
    return sum(len(body) for m in modules for section, body in sections(m) if section == code)


class OnnxRuntime:
    """A model in ONNX Runtime, on one thread."""

    def __init__(self, model: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            model, options, providers=["CPUExecutionProvider"]
        )

    def run(self, inputs: dict[str, np.ndarray]) -> tuple[np.ndarray, float]:
        """The output, and the milliseconds that it took."""
        start = time.perf_counter()
        output = self._session.run(["output"], inputs)[0]
        return output, 1e3 * (time.perf_counter() - start)


@dataclass(frozen=True)
class Row:
    """What was seen of one architecture."""

    name: str
    component: Component
    code_bytes: int
    difference: float
    load_ms: float
    leeway_ms: float
    onnxruntime_ms: float

    HEADER = (
        f"{'architecture':20}{'MMACs':>8}{'stages':>8}{'build s':>9}{'size MB':>9}"
        f"{'code kB':>9}{'activ. MB':>11}{'load s':>8}{'Leeway ms':>11}{'ORT ms':>9}"
        f"{'ratio':>7}{'difference':>12}"
    )

    def __str__(self) -> str:
        built = self.component
        return (
            f"{self.name:20}{built.macs / 1e6:8.0f}{built.stages:8}{built.build_ms / 1e3:9.2f}"
            f"{built.path.stat().st_size / 1e6:9.1f}{self.code_bytes / 1e3:9.0f}"
            f"{built.activation_bytes / 1e6:11.2f}{self.load_ms / 1e3:8.2f}"
            f"{self.leeway_ms:11.2f}{self.onnxruntime_ms:9.2f}"
            f"{self.leeway_ms / self.onnxruntime_ms:7.2f}{self.difference:12.1e}"
        )


def check(tally: Tally, leeway: Leeway, name: str, model: Path, rounds: int) -> Row:
    """Compile a model, compare it with ONNX Runtime, and measure both in turns."""
    component = leeway.build(model)
    shape = ARCHITECTURES[name].shape
    random = np.random.default_rng(SEED)
    inputs = {"input": random.standard_normal((1, *shape)).astype(np.float32)}
    runtime = OnnxRuntime(model)
    wanted, _ = runtime.run(inputs)

    ours, theirs, loads = [], [], []
    for _ in range(rounds):
        start = time.perf_counter()
        run = leeway.run(component, inputs, "native", RUNS_PER_ROUND)
        loads.append(1e3 * (time.perf_counter() - start) - sum(run.milliseconds))
        ours += run.milliseconds
        theirs += [runtime.run(inputs)[1] for _ in range(RUNS_PER_ROUND)]
    difference = largest_difference(run.outputs["output"], wanted)
    tally.check(f"{name}: equals ONNX Runtime's", difference <= TOLERANCE, difference)
    fuel = (run.fuel, run.certified_fuel, component.certified_fuel)
    tally.check(f"{name}: fuel is the certified fuel", len(set(fuel)) == 1, fuel)
    return Row(
        name,
        component,
        code_bytes(component.path),
        difference,
        statistics.median(loads),
        statistics.median(ours),
        statistics.median(theirs),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compile and compare whole architectures.")
    parser.add_argument("--binaries", type=Path, default=default_binaries(), metavar="DIR")
    parser.add_argument("--rounds", type=int, default=3, help="of runs that take turns")
    parser.add_argument("--only", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the ONNX files there")
    arguments = parser.parse_args()

    tally = Tally()
    unsupported: dict[str, str] = {}
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        models = arguments.keep or work
        leeway = Leeway(arguments.binaries, work)
        print(Row.HEADER, flush=True)
        for name in arguments.only:
            model = models / f"{name}.onnx"
            with tally.guard(name):
                if not model.exists():
                    export(ARCHITECTURES[name], model)
                try:
                    row = check(tally, leeway, name, model, arguments.rounds)
                    print(row, flush=True)
                except CommandError as error:
                    unsupported[name] = str(error)
                    tally.check(f"{name}: is compiled and runs", False, error)
    for name, message in unsupported.items():
        print(f"not supported: {name}: {message}")
    tally.exit()


if __name__ == "__main__":
    main()
