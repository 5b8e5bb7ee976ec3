#!/usr/bin/env python3
"""Load the fog host with NVIDIA's perf_analyzer, unmodified.

    python perf_analyzer_check.py [--binaries DIR] [--folder DIR]

`perf_analyzer` comes from the wheel of Triton's client that is pinned in
`requirements-perf-analyzer.txt`, installed in a folder of its own; it wants Debian's
`libb64-0d`. It measures two reference models over HTTP with JSON and with binary tensors
and over gRPC, synchronously and asynchronously, at several numbers of requests under way
and at given rates. In each of its reports no request has failed, the server's parts of a
request's time are there, as it reads them from the host's statistics, and the host has
answered at least the requests that it counted.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from fog_host import FogHost
from leeway import Leeway, default_binaries
from tally import Tally
from triton_check import VERSION, prepare
from triton_grpc_check import free_address

HERE = Path(__file__).parent
TIMEOUT_SECONDS = 300
# Each level is measured until three windows of so many requests agree to within this
# share; where so many windows do not, the program fails. A busy machine is not steady.
WINDOW_REQUESTS, STABILITY_PERCENT, TRIALS = 100, 400, 10


class PerfAnalyzer:
    """The program, in a folder."""

    def __init__(self, folder: Path) -> None:
        self._program = folder / "bin" / "perf_analyzer"
        if not self._program.exists():
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
            pip += ["--disable-pip-version-check", "--only-binary=:all:", "--target", str(folder)]
            pip += ["--requirement", str(HERE / "requirements-perf-analyzer.txt")]
            subprocess.run(pip, check=True)
            # The wheel has it as data, without the right to be executed.
            self._program.chmod(0o755)
        libraries = folder / "nvidia" / "cuda_runtime" / "lib"
        self._environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}

    def measure(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it, whatever becomes of it."""
        command = [str(self._program), "--service-kind", "triton", "--shared-memory", "none"]
        command += ["--measurement-mode", "count_windows"]
        command += ["--measurement-request-count", str(WINDOW_REQUESTS)]
        command += ["--stability-percentage", str(STABILITY_PERCENT), "--max-trials", str(TRIALS)]
        return subprocess.run(
            [*command, *arguments],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            env=self._environment,
        )


@dataclass(frozen=True)
class Way:
    """A protocol, and how tensors are in it."""

    name: str
    options: tuple[str, ...]


JSON = ("--input-tensor-format", "json", "--output-tensor-format", "json")
WAYS = (
    Way("HTTP, JSON", ("-i", "http", *JSON)),
    Way("HTTP, binary", ("-i", "http")),
    Way("gRPC", ("-i", "grpc")),
)
# How requests are made, and the levels of the report.
LOADS = (
    ("sync", ("--sync", "--concurrency-range", "1:4:3"), ("1", "4")),
    ("async", ("--async", "--concurrency-range", "8"), ("8",)),
    ("rates", ("--request-rate-range", "400"), ("400",)),
    ("poisson", ("--request-rate-range", "400", "--request-distribution", "poisson"), ("400",)),
)
# The parts of a request's time that the server tells, in its report.
SERVER = ("Server Queue", "Server Compute Input", "Server Compute Infer", "Server Compute Output")


def statistics(host: FogHost, model: str) -> dict[str, dict[str, int]]:
    """What the host says of a model's requests: numbers and nanoseconds."""
    with urllib.request.urlopen(f"http://{host.address}/v2/models/{model}/stats") as response:
        return json.load(response)["model_stats"][0]["inference_stats"]


def check_report(tally: Tally, what: str, rows: list[dict[str, str]], levels: tuple) -> None:
    """Each level has a line, with numbers that can be."""
    # They are in the order of their throughput.
    seen = {row.get("Concurrency") or row.get("Request Rate") for row in rows}
    tally.check(f"{what}: a line for each level", seen == set(levels), rows)
    for row in rows:
        rate = float(row["Inferences/Second"])
        tally.check(f"{what}: requests are answered", rate > 0, row)
        p50, p99 = float(row["p50 latency"]), float(row["p99 latency"])
        tally.check(f"{what}: latencies", 0 < p50 <= p99, row)
        parts = [float(row[part]) for part in SERVER]
        # Microseconds, of which queue, input and output may be less than one.
        told = all(part >= 0 for part in parts) and parts[SERVER.index("Server Compute Infer")] > 0
        tally.check(f"{what}: the server's part of the time", told and sum(parts) < 1e6, row)


def check(
    tally: Tally,
    analyzer: PerfAnalyzer,
    host: FogHost,
    grpc: str,
    name: str,
    loads_of_ways: tuple,
    work: Path,
) -> None:
    """All ways with one model, each with its loads."""
    for way, loads in zip(WAYS, loads_of_ways, strict=True):
        url = grpc if "grpc" in way.options else host.address
        for load, options, levels in loads:
            what = f"{name}, {way.name}, {load}"
            report, requests = work / "report.csv", work / "requests.json"
            for file in (report, requests):
                file.unlink(missing_ok=True)
            before = statistics(host, name)
            done = analyzer.measure(
                *("-m", name, "-x", VERSION, "-u", url, *way.options, *options),
                *("-f", str(report), "--profile-export-file", str(requests)),
            )
            said = done.stdout + done.stderr
            tally.check(f"{what}: it ends well", done.returncode == 0, said)
            if done.returncode != 0:
                continue
            # It prints this line where some have failed.
            tally.check(f"{what}: none has failed", "Failed Request Count" not in said, said)
            with report.open() as file:
                check_report(tally, what, list(csv.DictReader(file)), levels)
            after = statistics(host, name)
            experiments = json.loads(requests.read_text())["experiments"]
            counted = sum(len(one["requests"]) for one in experiments)
            answered = after["success"]["count"] - before["success"]["count"]
            right = 0 < counted <= answered and after["fail"]["count"] == 0
            tally.check(f"{what}: the host counted them", right, (counted, before, after))


def main() -> None:
    """Run all checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binaries", type=Path, default=default_binaries())
    parser.add_argument("--folder", type=Path, help="where perf_analyzer is or shall be")
    arguments = parser.parse_args()
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="leeway-perf-") as work:
        work = Path(work)
        analyzer = PerfAnalyzer(arguments.folder or work / "perf_analyzer")
        leeway = Leeway(arguments.binaries, work)
        grpc = free_address()
        options = ("--listen-grpc", grpc)
        with FogHost(arguments.binaries, work / "store", work / "log", options) as host:
            sync = LOADS[:1]
            for name, loads in (
                ("mlp-digits", (sync, LOADS, LOADS)),
                ("cnn-digits", (sync, sync, sync)),
            ):
                component = prepare(leeway, name).component
                host.push(component.digest, component.path.read_bytes())
                host.alias(name, VERSION, component.digest)
                with tally.guard(name):
                    check(tally, analyzer, host, grpc, name, loads, work)
    tally.exit()


if __name__ == "__main__":
    main()
