"""Time of Ed25519 on MicroPython's unix port: ours, a naive one beside it, ours on CPython, and PyNaCl.

Medians over a message of 300 bytes, about what one reading's Sig_structure has. A PC says nothing of a board's seconds;
the ratios carry over roughly. "First use" builds the table of the base point and makes a public key. The code that is
timed is signing_workload.py.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from nacl.signing import SigningKey
from rich.console import Console
from rich.table import Table
from tests.micropython_runner import FIRMWARE, run_file

WORKLOAD = Path(__file__).parent / "signing_workload.py"
ROUNDS = 25
MESSAGE = bytes(300)


def main() -> dict[str, float]:
    """Measure, print the table, and return the medians in seconds."""
    micropython = _figures(run_file(WORKLOAD, str(ROUNDS), timeout=300))
    cpython = _figures(_run_on_cpython())
    pynacl = _pynacl()

    table = Table(title="Ed25519, medians in ms; ours and naive on MicroPython", title_justify="left")
    table.add_column("what")
    for heading in ("ours", "naive", "naive / ours", "ours on CPython", "PyNaCl"):
        table.add_column(heading, justify="right")
    for name in ("sign", "verify", "sha512"):
        ours, naive = micropython[name], micropython[f"naive {name}"]
        known = f"{pynacl[name] * 1e3:.3f}" if name in pynacl else ""
        ratio = f"{naive / ours:.1f}x"
        table.add_row(name, f"{ours * 1e3:.3f}", f"{naive * 1e3:.3f}", ratio, f"{cpython[name] * 1e3:.3f}", known)
    first = micropython["first use"]
    table.add_row("first use", f"{first * 1e3:.3f}", "", "", f"{cpython['first use'] * 1e3:.3f}", "")
    Console().print(table)
    return {
        "micropython.sign": micropython["sign"],
        "micropython.verify": micropython["verify"],
        "micropython.naive_sign": micropython["naive sign"],
        "micropython.sign.ratio": micropython["naive sign"] / micropython["sign"],
        "cpython.sign": cpython["sign"],
        "pynacl.sign": pynacl["sign"],
        "pynacl.verify": pynacl["verify"],
    }


def _run_on_cpython() -> str:
    environment = {**os.environ, "PYTHONPATH": str(FIRMWARE)}
    argv = [sys.executable, str(WORKLOAD), str(ROUNDS)]
    return subprocess.run(argv, env=environment, check=True, capture_output=True, text=True, timeout=300).stdout


def _figures(output: str) -> dict[str, float]:
    """Name to seconds."""
    lines = (line.split("\t") for line in output.splitlines())
    return {name: float(microseconds) / 1e6 for name, microseconds in lines}


def _pynacl() -> dict[str, float]:
    key = SigningKey(bytes(range(32)))
    signed = key.sign(MESSAGE)
    return {
        "sign": _median(lambda: key.sign(MESSAGE)),
        "verify": _median(lambda: key.verify_key.verify(MESSAGE, signed.signature)),
    }


def _median(function: Callable[[], object]) -> float:
    times = []
    for _ in range(1000):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
