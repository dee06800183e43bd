"""Where an axis of time gets its ticks and what they say, for ranges from seconds to decades.

Pure; imports the standard library only. draw.py and the dashboard use it.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Literal, NamedTuple

Unit = Literal["seconds", "days", "weeks", "months"]
_DAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Tick(NamedTuple):
    """A tick at `ts` (Unix ms). `label` may have a second line: what changed there, a date or a year."""

    ts: int
    label: str


class Step(NamedTuple):
    """`number` units from tick to tick; `about` is that in seconds, roughly."""

    unit: Unit
    number: int
    about: int


_STEPS: Final = (
    *(Step("seconds", n, n) for n in (1, 2, 5, 10, 15, 30)),
    *(Step("seconds", n * 60, n * 60) for n in (1, 2, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720)),
    *(Step("days", n, n * 86_400) for n in (1, 2)),
    *(Step("weeks", n, n * 604_800) for n in (1, 2)),
    *(Step("months", n, n * 2_629_746) for n in (1, 2, 3, 6, 12, 24, 60, 120, 240, 600, 1200)),
)


def time_ticks(from_ms: int, to_ms: int, zone: tzinfo, most: int = 7) -> list[Tick]:
    """Ticks on round local times between two instants (Unix ms), about `most` or fewer."""
    seconds = max(1, to_ms - from_ms) / 1000
    step = next((step for step in _STEPS if seconds <= step.about * most), _STEPS[-1])
    ticks: list[Tick] = []
    before: datetime | None = None
    begin, end = _local(from_ms, zone), _local(to_ms, zone)
    # Where the clocks change within the range, what they show is longer or shorter than what passes.
    slack = abs((end - begin) - timedelta(milliseconds=to_ms - from_ms))
    # The hour that comes twice in autumn has its ticks twice, if they are minutes.
    folds = (0, 1) if step.about <= 1800 else (0,)
    at: dict[int, datetime] = {}
    for local in _round_times(begin - slack, end + slack, step):
        for fold in folds:
            ts = round(local.replace(tzinfo=zone, fold=fold).timestamp() * 1000)
            # What the clocks skip in spring is no time: the way back leads elsewhere.
            if from_ms <= ts <= to_ms and _local(ts, zone) == local:
                at[ts] = local
    for ts, local in sorted(at.items()):
        ticks.append(Tick(ts, _label(local, before, step)))
        before = local
    return ticks


def range_text(from_ms: int, to_ms: int, zone: tzinfo) -> str:
    """For people: "Sat 21 Nov 18:00 – Sun 22 Nov 18:00 2026", in the zone's time, as short as it is clear."""
    begin, end = _local(from_ms, zone), _local(to_ms, zone)
    if to_ms - from_ms > 40 * 86_400_000:
        return f"{_date(begin)} {begin.year} – {_date(end)} {end.year}"
    year = f" {begin.year}" if begin.year != end.year else ""
    if begin.date() == end.date():
        return f"{_DAYS[end.weekday()]} {_date(end)} {end.year}, {_clock(begin)} – {_clock(end)}"
    return (
        f"{_DAYS[begin.weekday()]} {_date(begin)}{year} {_clock(begin)}"
        f" – {_DAYS[end.weekday()]} {_date(end)} {end.year} {_clock(end)}"
    )


def _local(ts: int, zone: tzinfo) -> datetime:
    """The wall clock at `ts`, naive."""
    return datetime.fromtimestamp(ts / 1000, UTC).astimezone(zone).replace(tzinfo=None, fold=0)


def _round_times(begin: datetime, end: datetime, step: Step) -> Iterator[datetime]:
    midnight = begin.replace(hour=0, minute=0, second=0, microsecond=0)
    if step.unit == "months":
        month = begin.year * 12 + begin.month - 1
        month -= month % step.number
        while month // 12 <= min(end.year, 9998):
            if month >= 12:
                yield datetime(month // 12, month % 12 + 1, 1)
            month += step.number
        return
    if step.unit == "seconds":
        length = timedelta(seconds=step.number)
        at = midnight + (begin - midnight) // length * length
    elif step.unit == "weeks":
        length = timedelta(weeks=step.number)
        at = midnight - timedelta(days=midnight.weekday())
    else:
        length = timedelta(days=step.number)
        # Every second day is the same one wherever the range begins.
        at = midnight - timedelta(days=midnight.toordinal() % step.number)
    while at <= end:
        yield at
        at += length


def _label(local: datetime, before: datetime | None, step: Step) -> str:
    if step.unit == "seconds":
        seconds = f":{local.second:02}" if step.number < 60 else ""
        new = before is None or before.date() != local.date()
        return _clock(local) + seconds + (f"\n{_DAYS[local.weekday()]} {_date(local)}" if new else "")
    if step.unit == "months":
        if step.number >= 12:
            return str(local.year)
        new = before is None or before.year != local.year
        return _MONTHS[local.month - 1] + (f"\n{local.year}" if new else "")
    new = before is None or before.year != local.year
    if step.unit == "days":
        return f"{_DAYS[local.weekday()]} {local.day}" + (
            f"\n{_MONTHS[local.month - 1]}" if before is None or before.month != local.month else ""
        )
    return _date(local) + (f"\n{local.year}" if new else "")


def _clock(local: datetime) -> str:
    return f"{local.hour:02}:{local.minute:02}"


def _date(local: datetime) -> str:
    return f"{local.day} {_MONTHS[local.month - 1]}"
