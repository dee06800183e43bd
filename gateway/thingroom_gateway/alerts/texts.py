"""What an alert says, for people.

Pure; may import profiles, rules, values. engine.py and the bot's commands use it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, tzinfo
from decimal import Decimal

from thingroom_gateway.alerts.late import Stretch
from thingroom_gateway.alerts.rules import Ended, Missed, Raised, Rule
from thingroom_gateway.profiles import Profile, Quantity
from thingroom_gateway.values import shown


def shown_value(quantity: Quantity, value: Decimal) -> str:
    """ "21.4 °C" of a value in the device's unit."""
    if quantity.kind == "boolean":
        return truth_words(quantity, value == 1)
    text = shown(format(quantity.for_people(value), "f"), quantity.precision)
    return f"{text} {quantity.shown_unit}".rstrip()


def shown_threshold(quantity: Quantity, value: Decimal) -> str:
    """As shown_value, but as exactly as somebody wrote it."""
    number = round(quantity.for_people(value), 6)
    text = format(number.normalize(), "f") if number else "0"
    return f"{text} {quantity.shown_unit}".rstrip()


def shown_change(quantity: Quantity, value: Decimal) -> str:
    """The size of a change."""
    text = shown(format(abs(quantity.difference_for_people(value)), "f"), quantity.precision)
    return f"{text} {quantity.shown_unit}".rstrip()


def truth_words(quantity: Quantity, truth: bool) -> str:
    """ "open", "Leak on"."""
    word = quantity.words.get("true" if truth else "false")
    return word or ("on" if truth else "off")


def describe_rule(rule: Rule, profile: Profile) -> str:
    """A rule as a list of alerts shows it: "Temperature above 30 °C"."""
    quantity = profile.quantities.get(rule.quantity)
    if rule.kind == "silence":
        return f"silent for {shown_duration(rule.within_ms)}"
    if rule.kind == "clock":
        return "clock running ahead"
    if quantity is None:
        return f"{rule.kind} {rule.quantity}"
    if rule.kind == "is":
        return f"{quantity.title} is {truth_words(quantity, rule.threshold == 1)}"
    if rule.kind == "rate":
        verb = {"up": "rises", "down": "falls", "either": "changes"}[rule.direction]
        return f"{quantity.title} {verb} by {_threshold_change(rule, quantity)} in {shown_duration(rule.within_ms)}"
    word = "above" if rule.kind == "above" else "below"
    return f"{quantity.title} {word} {shown_threshold(quantity, rule.threshold)}"


def event_text(name: str, profile: Profile, rule: Rule, event: Raised | Ended, timezone: tzinfo) -> str:
    """What is said when an alert begins or ends."""
    if isinstance(event, Raised):
        return _raised(name, profile, rule, event, timezone)
    return _ended(name, profile, rule, event, timezone)


def missed_text(name: str, missed: Sequence[tuple[Profile, Rule, Missed]], timezone: tzinfo, now: int) -> str:
    """What is said of a device that was away and measured on, when all that it has to tell is here."""
    lines = [_missed_line(profile, rule, event, timezone, now) for profile, rule, event in missed]
    if len(lines) == 1:
        return f"📋 {name}, while it was away: {lines[0]}."
    return f"📋 {name}, while it was away:\n" + "\n".join(f"• {line}" for line in lines)


def _missed_line(profile: Profile, rule: Rule, event: Missed, timezone: tzinfo, now: int) -> str:
    """ "Temperature was above 30 °C from 03:10 to 05:40 (31.5 °C at most)"."""
    quantity = profile.quantities[rule.quantity]
    if rule.kind == "is":
        what = rule.text or f"{quantity.title} was {truth_words(quantity, rule.threshold == 1)}"
        extreme = ""
    else:
        above = rule.kind == "above"
        what = f"{quantity.title} was {'above' if above else 'below'} {shown_threshold(quantity, rule.threshold)}"
        values = [stretch.worst for stretch in event.stretches]
        worst = shown_value(quantity, max(values) if above else min(values))
        extreme = f" ({worst} at {'most' if above else 'least'})"
    times = ", ".join(_stretch(stretch, timezone, now) for stretch in event.stretches)
    more = f", and {event.more} times more" if event.more else ""
    return f"{what} {times}{more}{extreme}"


def _stretch(stretch: Stretch, timezone: tzinfo, now: int) -> str:
    begin = shown_time(stretch.since, timezone, now)
    if stretch.cut and stretch.until <= stretch.since:
        return f"at {begin}, its last word"
    same_day = shown_time(stretch.until, timezone, stretch.since)
    end = same_day if ":" in same_day and " " not in same_day else shown_time(stretch.until, timezone, now)
    return f"from {begin} until its last word at {end}" if stretch.cut else f"from {begin} to {end}"


def still_text(name: str, profile: Profile, rule: Rule, since: int, now: int) -> str:
    """The reminder after a snooze."""
    lasting = shown_duration(now - since)
    return f"⏰ {name}: still {describe_rule(rule, profile)}, for {lasting} now."


def _raised(name: str, profile: Profile, rule: Rule, event: Raised, timezone: tzinfo) -> str:
    text = rule.text.rstrip(".")
    if rule.kind == "silence":
        said = text or "no word"
        return f"🔕 {name}: {said} since {shown_time(event.ts, timezone)}."
    if rule.kind == "clock":
        ahead = shown_duration(int(event.value or 0))
        return f"🕰️ {name}: its clock runs ahead by {ahead}; its readings are taken as of now."
    quantity = profile.quantities[rule.quantity]
    value = event.value if event.value is not None else Decimal(0)
    flag = " (its clock is not set: the time is when it arrived)" if event.clock == "unset" else ""
    if rule.kind == "is":
        since = f" since {shown_time(event.since, timezone, event.ts)}" if event.since else ""
        return f"⚠️ {name}: {text or f'{quantity.title} is {truth_words(quantity, value == 1)}'}{since}{flag}."
    if rule.kind == "rate":
        change = event.change if event.change is not None else Decimal(0)
        verb = "rose" if change >= 0 else "fell"
        said = f"{text}: " if text else ""
        return (
            f"⚠️ {name}: {said}{quantity.title} {verb} by {shown_change(quantity, change)} within"
            f" {shown_duration(rule.within_ms)}, it is {shown_value(quantity, value)} now{flag}."
        )
    word = "above" if rule.kind == "above" else "below"
    icon = "🪫" if rule.kind == "battery" else "⚠️"
    said = f"{text}: " if text else ""
    threshold = shown_threshold(quantity, rule.threshold)
    since = f" since {shown_time(event.since, timezone, event.ts)}" if event.since else ""
    shown_now = shown_value(quantity, value)
    if shown_now == threshold:
        # "45 %, above 45 %" helps nobody.
        shown_now = shown_threshold(quantity, value)
    return f"{icon} {name}: {said}{quantity.title} is {shown_now}, {word} {threshold}{since}{flag}."


def _ended(name: str, profile: Profile, rule: Rule, event: Ended, timezone: tzinfo) -> str:
    lasted = shown_duration(event.ts - event.since)
    if rule.kind == "silence":
        return f"✅ {name} is back after {lasted}."
    if rule.kind == "clock":
        return f"✅ {name}: its clock is right again."
    quantity = profile.quantities[rule.quantity]
    value = event.value if event.value is not None else Decimal(0)
    now = shown_value(quantity, value)
    when = f"was {now} again at {shown_time(event.ts, timezone)}" if event.late else f"is {now} again"
    if rule.kind == "is":
        return f"✅ {name}: {quantity.title} {when}, after {lasted}."
    if rule.kind == "rate":
        return f"✅ {name}: {quantity.title} is steady again at {now}."
    worst = ""
    if event.worst is not None and rule.kind in ("above", "below"):
        word = "at most" if rule.kind == "above" else "at least"
        worst = f" (it was {shown_value(quantity, event.worst)} {word})"
    return f"✅ {name}: {quantity.title} {when}, after {lasted}{worst}."


def _threshold_change(rule: Rule, quantity: Quantity) -> str:
    number = round(abs(quantity.difference_for_people(rule.threshold)), 6).normalize()
    return f"{format(number, 'f')} {quantity.shown_unit}".rstrip()


def shown_duration(ms: int) -> str:
    """ "40 s", "5 min", "2 h 30 min", "3 days"."""
    seconds = max(0, ms) // 1000
    if seconds < 60:
        return f"{seconds} s"
    minutes = seconds // 60
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} days"


def shown_time(ms: int, timezone: tzinfo, now: int | None = None) -> str:
    """Local time, with the date unless that is today's (`now`, Unix ms)."""
    when = datetime.fromtimestamp(ms / 1000, timezone)
    if now is not None and datetime.fromtimestamp(now / 1000, timezone).date() == when.date():
        return f"{when:%H:%M}"
    return f"{when:%Y-%m-%d %H:%M}"
