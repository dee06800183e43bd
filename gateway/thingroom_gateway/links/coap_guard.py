"""What stands before aiocoap's message layer: it keeps something of every message that it is handed, without bounds.

May import aiocoap, coap_sources, counters. Two bounds rest on what aiocoap has inside: how many messages it
remembers, and how many responses wait for a remote. `Guard.attach` refuses an aiocoap that is made otherwise, so that a
new version cannot take the bounds away unnoticed. links/coap.py puts it in place.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, Final

import aiocoap
from aiocoap import Message
from aiocoap.meta import version
from aiocoap.numbers.constants import TransportTuning
from aiocoap.numbers.types import ACK, RST

from thingroom_common.config_file import ConfigError
from thingroom_gateway.counters import Counters
from thingroom_gateway.links.coap_sources import Sources, source_of

# Messages that aiocoap remembers, with their responses, to recognise repeats; beyond it strangers are not heard.
MAX_REMEMBERED: Final = 20_000
# Responses that wait until a remote acknowledges an earlier one; beyond it that remote is not heard.
MAX_OWED: Final = 16
# What aiocoap keeps by remote or message, and how it hands messages on.
_KEPT: Final = ("_recent_messages", "_backlogs")


class _Tuning(TransportTuning):  # type: ignore[misc]
    """Repeats are recognised for a minute, not for four: one that is not does no harm, envelopes have numbers."""

    EXCHANGE_LIFETIME = 60.0


class Guard:
    """Lets through what `sources` admits, and what there is room for."""

    def __init__(self, sources: Sources, counters: Counters) -> None:
        self._sources = sources
        self._counters = counters
        self._managers: list[Any] = []

    def attach(self, context: aiocoap.Context) -> None:
        """Put ourselves before every message manager of `context`. Raises ConfigError for an aiocoap unlike ours."""
        for interface in context.request_interfaces:
            manager = getattr(interface, "token_interface", None)
            check(manager)
            self._put_before(manager)

    def _put_before(self, manager: Any) -> None:
        self._managers.append(manager)
        dispatch: Callable[[Message], None] = manager.dispatch_message

        def guarded(message: Message) -> None:
            if message.mtype in (ACK, RST):
                if message.code.is_request():
                    # There is no such thing (RFC 7252, 4.2), but aiocoap would remember it.
                    self._counters.add("coap.rejected.malformed")
                    return
            else:
                source = source_of_remote(message.remote)
                if not self._sources.admit(source):
                    self._counters.add("coap.rejected.too_many")
                    return
                owed = len(manager._backlogs.get(message.remote, ()))
                is_full = len(manager._recent_messages) >= MAX_REMEMBERED and not self._sources.is_known(source)
                if owed >= MAX_OWED or is_full:
                    self._counters.add("coap.rejected.no_room")
                    return
                message.transport_tuning = _Tuning()
            dispatch(message)

        manager.dispatch_message = guarded

    def is_busy(self, remote: Any) -> bool:
        """Whether `remote` has not acknowledged the last thing that was sent to it."""
        return any(remote in manager._backlogs for manager in self._managers)

    def heard_of(self, record: logging.LogRecord) -> bool:
        """What aiocoap warns of is what strangers send: counted, not logged line by line."""
        if record.levelno >= logging.ERROR:
            return True
        if "nparsable" in str(record.msg):
            self._counters.add("coap.rejected.malformed")
        return False


def check(manager: Any) -> None:
    """Raise ConfigError unless aiocoap's message manager is made as our bounds need it."""
    wrong = [name for name in _KEPT if type(getattr(manager, name, None)) is not dict]
    if not callable(getattr(manager, "dispatch_message", None)):
        wrong.append("dispatch_message")
    if not hasattr(TransportTuning, "EXCHANGE_LIFETIME"):
        wrong.append("EXCHANGE_LIFETIME")
    if wrong:
        raise ConfigError(
            f"aiocoap {version} is made otherwise than Thingroom expects (no {', '.join(wrong)}), and nothing would"
            " bound what strangers cost over CoAP: install the version that Thingroom names, or set enabled = false in"
            " [gateway.coap]."
        )


def source_of_remote(remote: Any) -> str:
    """The source that aiocoap's remote counts as."""
    host = remote.hostinfo
    return source_of(host[1 : host.index("]")] if host.startswith("[") else host.partition(":")[0])
