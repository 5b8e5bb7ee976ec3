"""Counting checks: one that fails is printed at once and does not end the others."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class Tally:
    """How many checks passed and failed."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0

    def check(self, what: str, passed: bool, seen: object = "") -> None:
        """Count one check. `seen` is printed where it failed."""
        if passed:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED {what}: {seen}", flush=True)

    @contextmanager
    def guard(self, what: str) -> Iterator[None]:
        """Count an exception as one failed check named `what`."""
        try:
            yield
        except Exception as error:
            self.check(what, False, f"{type(error).__name__}: {error}")

    def exit(self) -> None:
        """Print the totals and end the program, successfully if nothing failed."""
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        sys.exit(self.failed > 0 or self.passed == 0)
