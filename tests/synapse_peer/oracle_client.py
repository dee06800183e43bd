"""Asking Synapse about events, from tests: starts oracle.py under Synapse's Python and speaks lines of JSON with it."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.synapse_peer.environment import synapse_python


class Oracle:
    """A running oracle. One question at a time."""

    def __init__(self, process: subprocess.Popen[str], log: IO[str]) -> None:
        self._process = process
        self._log = log

    def describe(self, room_version: str, pdus: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """For each PDU: event_id, content_hash, reference_hash, redacted, and `refused` (null or why)."""
        return self._ask({"room_version": room_version, "pdus": pdus})["events"]

    def check(
        self, room_version: str, pdus: list[dict[str, Any]], checks: list[dict[str, Any]]
    ) -> list[dict[str, str | None]]:
        """For each check (indices into `pdus`) the verdicts on the list of auth events and on the state."""
        return self._ask({"room_version": room_version, "pdus": pdus, "checks": checks})["verdicts"]

    def resolve(
        self, room_version: str, pdus: list[dict[str, Any]], state_sets: list[list[int]]
    ) -> dict[tuple[str, str], str]:
        """The resolution of state sets given as indices into `pdus`, the first of which is the create event."""
        return self.timed_resolve(room_version, pdus, state_sets)[0]

    def timed_resolve(
        self, room_version: str, pdus: list[dict[str, Any]], state_sets: list[list[int]]
    ) -> tuple[dict[tuple[str, str], str], float]:
        """The same, with the seconds that the resolution took in Synapse's code."""
        answer = self._ask({"room_version": room_version, "pdus": pdus, "resolve": state_sets})
        resolved = {(event_type, state_key): event_id for event_type, state_key, event_id in answer["resolved"]}
        return resolved, answer["seconds"]

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self._log.seek(0)
            raise RuntimeError(f"the oracle ended: {self._log.read()[-2000:]}")
        return json.loads(line)


@contextmanager
def running_oracle() -> Iterator[Oracle]:
    """Start an oracle; end it with the block."""
    command = (str(synapse_python()), str(Path(__file__).with_name("oracle.py")))
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8"
        )
        try:
            yield Oracle(process, log)
        finally:
            process.communicate()
