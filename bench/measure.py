"""Small arithmetic and facts that every benchmark needs: quantiles, memory of a process, the machine's description.

Imports nothing of ours.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

RESULTS = Path(__file__).parent.parent / "bench_results"


def quantile(samples: Sequence[float], fraction: float) -> float:
    """The smallest sample that at least `fraction` of all samples do not exceed (nearest rank)."""
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    rank = max(1, -(-len(ordered) * fraction // 1))
    return ordered[int(rank) - 1]


def resident_megabytes(pid: int) -> float:
    """Resident memory of a process and its children, in units of 10^6 bytes."""
    process = psutil.Process(pid)
    return float(sum(one.memory_info().rss for one in (process, *process.children(recursive=True)))) / 1e6


def own_megabytes(pid: int) -> float:
    """Memory that ending the process would give back: resident, without the pages it shares with other programs."""
    return float(psutil.Process(pid).memory_full_info().uss) / 1e6


def processor_seconds(pid: int) -> float:
    """User and system time that a process has taken so far: unlike the wall clock, hardly touched by its neighbours.

    On Linux to the nanosecond, less what threads took that have ended; elsewhere as coarse as the system counts.
    """
    try:
        threads = (Path(f"/proc/{pid}/task/{one.name}/schedstat") for one in Path(f"/proc/{pid}/task").iterdir())
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9
    except (OSError, ValueError):
        times = psutil.Process(pid).cpu_times()
        return float(times.user + times.system)


def console() -> Console:
    """For the tables: at least 110 columns where the output is no terminal, so that rows stay on one line."""
    found = Console()
    return found if found.is_terminal else Console(width=max(110, found.width))


def machine() -> dict[str, Any]:
    """What the figures were taken on, and how busy it was."""
    return {
        "python": platform.python_version(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "load": round(os.getloadavg()[0], 2),
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def describe(facts: dict[str, Any]) -> str:
    """`machine()` in one line."""
    return (
        f"Python {facts['python']}, {facts['cpu']}, {facts['cores']} cores, {facts['system']}, "
        f"load {facts['load']} at the start, {facts['at']}"
    )


def save(name: str, content: dict[str, Any]) -> Path:
    """Write `content` as bench_results/<name>.json and return the path."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def progress(text: str) -> None:
    """One line about what runs now: overwritten on a terminal, an ordinary line elsewhere. On stderr."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
