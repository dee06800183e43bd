"""`python -m hil`: build what the bench needs, run its stories, and make the report.

What is missing is said in one sentence. May import build, report and pytest.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest
from tests.synapse_peer.environment import synapse_python

from hil import build, report
from hil.application import application

RESULTS = Path("hil_results")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hil")
    parser.add_argument("arguments", nargs="*", help="for pytest")
    given = parser.parse_args()
    try:
        print("preparing the emulated board (once; about half a minute) ...", flush=True)
        build.firmware()
        application()
        synapse_python()
    except build.BuildError as error:
        print(error, file=sys.stderr)
        return 2
    RESULTS.mkdir(exist_ok=True)
    for old in RESULTS.glob("*.json"):
        old.unlink()
    argv = [str(Path(__file__).parent), "-v", f"--junitxml={RESULTS / 'junit.xml'}", f"--hil-results={RESULTS}"]
    code = pytest.main([*argv, *given.arguments])
    page = report.write(RESULTS)
    print(f"\nThe report is in {page.resolve()}, JUnit's file beside it.")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
