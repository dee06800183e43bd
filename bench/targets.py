"""The targets of the design as data, and the arithmetic of how far a measured figure is from one. Pure.

A figure is named `<part>.<key>`, the key as that part's `main()` returned it. See docs/architecture.md for the targets.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Target:
    """`figure` shall be at least `bound`, or at most, where `at_most` is set. `scale` and `unit` are for showing."""

    text: str
    figure: str
    bound: float
    unit: str
    at_most: bool = False
    scale: float = 1.0


@dataclass(frozen=True)
class Standing:
    """Where one target stands. `met` is None when the figure was not measured in this run."""

    target: Target
    measured: float | None

    @property
    def met(self) -> bool | None:
        if self.measured is None:
            return None
        return self.measured <= self.target.bound if self.target.at_most else self.measured >= self.target.bound

    @property
    def margin(self) -> float | None:
        """How many times better than asked: 1 is exactly on target, below 1 is short of it."""
        if self.measured is None or self.measured <= 0:
            return None
        ratio = self.measured / self.target.bound
        return 1 / ratio if self.target.at_most else ratio

    def in_words(self) -> str:
        """ "met, 1.7x better than asked", "not met, 0.6x of what is asked" or "not measured"."""
        if self.met is None:
            return "not measured"
        by = f"{self.margin:.2f}x" if self.margin is not None else "no figure"
        return f"met, {by} of what is asked" if self.met else f"NOT met, {by} of what is asked"


TARGETS = (
    Target("event sends, one client, against Synapse", "homeserver.sends_sequential.ratio", 20, "x"),
    Target("event sends, 20 clients, against Synapse", "homeserver.sends_concurrent.ratio", 20, "x"),
    Target("/sync wake-up p50, shorter than Synapse's", "homeserver.wake_up_p50.ratio", 10, "x"),
    Target("/sync wake-up p99, shorter than Synapse's", "homeserver.wake_up_p99.ratio", 10, "x"),
    Target("a wake-up with 500 rooms, to one with 1", "homeserver.sync_500_to_1", 1.2, "x", at_most=True),
    Target("the same, sliding sync", "homeserver.sliding_500_to_1", 1.2, "x", at_most=True),
    Target("initial sync of 500 rooms, shorter than Synapse's", "homeserver.sync_first.ratio", 5, "x"),
    Target("idle memory, smaller than Synapse's", "homeserver.memory_idle.ratio", 3, "x"),
    Target("start-up", "homeserver.start_up.ours", 1.0, "s", at_most=True),
    Target("federated events, against Synapse to Synapse", "federation.events.ratio", 5, "x"),
    Target("send to the remote /sync p50, shorter than Synapse's", "federation.latency_p50.ratio", 5, "x"),
    Target(
        "envelopes in the room, of what PyNaCl verifies on one core",
        "end_to_end.in_room.of_verifies",
        0.5,
        "%",
        scale=100,
    ),
    Target("a million events' room opens, to a thousand's", "history.opening.ratio", 1.2, "x", at_most=True),
    Target("one signature on an RP2040", "signing.board", 0.100, "ms", at_most=True, scale=1000),
)


def standings(figures: Mapping[str, float]) -> list[Standing]:
    """Every target with its figure, where this run has one."""
    return [Standing(target, figures.get(target.figure)) for target in TARGETS]
