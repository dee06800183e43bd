"""Which keys of the configuration may change while the gateway runs, and what is done then.

May import the parts that app.py builds. Each function takes the new configuration, checks it (raises ConfigError,
ProfileError) and returns what makes it so. reload.py calls them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from thingroom_common.log_lines import log_as
from thingroom_gateway.alerts.engine import Alerts
from thingroom_gateway.announce import Announcer
from thingroom_gateway.batching import Batching, Limits
from thingroom_gateway.bot.people import People
from thingroom_gateway.commands.queue import CommandQueue
from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.devices import Registry
from thingroom_gateway.enrolment import Enrolment
from thingroom_gateway.ingest import Ingest
from thingroom_gateway.links.coap import CoapLink
from thingroom_gateway.links.serial import SerialLink
from thingroom_gateway.outbox import Outbox
from thingroom_gateway.profiles import Profile, ProfileError, load_profiles
from thingroom_gateway.quotas import Quotas
from thingroom_gateway.reload import Apply, Reload
from thingroom_gateway.series.upkeep import Upkeep

# Libraries that say much which concerns nobody here.
QUIET = ("coap", "coap-server", "asyncio", "amqtt")


def start_log(config: GatewayConfig, verbose: bool = False) -> None:
    """Log as `config` says; `verbose`: everything."""
    log_as(config.log_format, "debug" if verbose else config.log_level, QUIET)


@dataclass(frozen=True, slots=True)
class Parts:
    """What of a gateway can be changed; `profiles` is the one dictionary that everybody shares."""

    profiles: dict[str, Profile]
    registry: Registry
    alerts: Alerts
    enrolment: Enrolment
    ingest: Ingest
    quotas: Quotas
    batching: Batching
    outbox: Outbox
    announcer: Announcer
    people: People
    commands: CommandQueue
    upkeep: Upkeep
    serial: SerialLink
    coap: CoapLink | None


def connect(reload: Reload, parts: Parts) -> None:
    """Tell `reload` of every part."""

    def log(new: GatewayConfig) -> Apply:
        old = reload.config
        if (new.log_format, new.log_level) == (old.log_format, old.log_level):
            return _nothing
        return lambda: start_log(new)

    def profiles(new: GatewayConfig) -> Apply:
        own = Path(new.profile_directory) if new.profile_directory else None
        found = load_profiles(own=own, choices=new.units.choices)
        for device in parts.registry:
            if device.row.profile not in found:
                raise ProfileError(f"{device.row.name} has the profile {device.row.profile}, which is gone")
        return lambda: _use_profiles(parts, found)

    def limits(new: GatewayConfig) -> Apply:
        def apply() -> None:
            parts.ingest.limit(new.limits.queue_frames, new.limits.queue_bytes)
            parts.quotas.change(new.limits.device_readings_per_second, new.limits.device_bytes_per_day)
            parts.enrolment.max_devices = new.limits.devices

        return apply

    def rooms(new: GatewayConfig) -> Apply:
        def apply() -> None:
            parts.people.change_level = new.bot.change_level or None
            parts.announcer.change(frozenset(new.notices.live), round(new.notices.live_seconds * 1000))
            parts.batching.limits = Limits(new.batch.seconds, new.batch.envelopes, new.batch.bytes)
            parts.outbox.back_off = new.homeserver.retry_seconds

        return apply

    def store(new: GatewayConfig) -> Apply:
        def apply() -> None:
            parts.upkeep.keep = new.history
            parts.commands.config = new.commands

        return apply

    def links(new: GatewayConfig) -> Apply:
        coap = parts.coap.prepare(new.coap) if parts.coap is not None else _nothing

        def apply() -> None:
            parts.serial.use(new.serial.ports)
            coap()

        return apply

    reload.part(("log_format", "log_level"), log)
    reload.part(("profile_directory", "units."), profiles)
    reload.part(("limits.",), limits)
    reload.part(("bot.", "notices.", "batch.", "homeserver.retry_seconds"), rooms)
    reload.part(("history.", "commands."), store)
    reload.part(
        (
            "serial.ports",
            "coap.readers",
            "coap.requests_per_second",
            "coap.burst",
            "coap.unlimited",
        ),
        links,
    )


def _use_profiles(parts: Parts, found: dict[str, Profile]) -> None:
    """Also where only the files changed: alerts and ranges are the new ones from the next reading on."""
    if found == parts.profiles:
        return
    parts.profiles.clear()
    parts.profiles.update(found)
    for device in list(parts.registry):
        parts.alerts.enrolled(parts.registry.put(device.row))


def _nothing() -> None:
    """There is nothing to change."""
