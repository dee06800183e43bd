"""What a device says to people: a notice now and then, or one live message that is edited.

May import storage, devices, matrix_event, notices, observation. batching.py calls it in the write that makes the event
for machines; whether something is worth saying is decided in notices.py.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from datetime import datetime, tzinfo
from typing import Final, Literal

from thingroom_common.database import Transaction
from thingroom_gateway.devices import ACTIVE, Device
from thingroom_gateway.matrix_event import EDIT_TYPE, MESSAGE_TYPE, edit_request, notice_content
from thingroom_gateway.notices import Live, Said, live_step, worth_a_notice, worth_one_later
from thingroom_gateway.observation import describe
from thingroom_gateway.storage import live as store
from thingroom_gateway.storage import outbox
from thingroom_gateway.storage.devices import DeviceRow

EVERYWHERE: Final = "*"
# A notice is about now: a reading older than this is for machines only.
NOTICE_AGE_MS: Final = 15 * 60 * 1000
Step = Literal["said", "later", "nothing"]


class Announcer:
    """Puts what is worth saying into the outbox."""

    def __init__(self, timezone: tzinfo, live: Set[str], gap_ms: int, now_ms: Callable[[], int]) -> None:
        """`live`: places and names of devices that have live messages unless people chose otherwise, or EVERYWHERE.

        `gap_ms`: how far apart edits are.
        """
        self._timezone = timezone
        self._live = live
        self._gap_ms = gap_ms
        self._now_ms = now_ms

    def change(self, live: Set[str], gap_ms: int) -> None:
        """Other defaults from now on."""
        self._live, self._gap_ms = live, gap_ms

    def is_live_by_default(self, row: DeviceRow) -> bool:
        """Whether the device has a live message where nobody chose."""
        return bool(self._live & {EVERYWHERE, row.place, row.name})

    def announce(self, transaction: Transaction, device: Device, latest: dict[str, str], ts: int) -> None:
        """Say `latest` (values by quantity name), read at `ts` (Unix ms, not in the future), if it is worth it.

        What comes too soon is kept, and said by `catch_up` unless it is outdated by then.
        """
        unsaid = store.load_unsaid(transaction, device.row.id)
        if unsaid is not None and ts >= unsaid.ts:
            latest = {**unsaid.latest, **latest}
        self._judge(transaction, device, Said(latest, ts), ts)

    def catch_up(self, transaction: Transaction, device: Device) -> None:
        """Say what came too soon, if the time for it has come now."""
        unsaid, now = store.load_unsaid(transaction, device.row.id), self._now_ms()
        if unsaid is None:
            return
        if device.row.status != ACTIVE or now - unsaid.ts > NOTICE_AGE_MS:
            store.drop_unsaid(transaction, device.row.id)
            return
        self._judge(transaction, device, unsaid, max(now, unsaid.ts))

    def _judge(self, transaction: Transaction, device: Device, reading: Said, at: int) -> None:
        """Say `reading`, keep it for later or leave it, as is right at the time `at`."""
        row = device.row
        last = outbox.load_said(transaction, row.id)
        chosen = store.choice_of(transaction, row.id, row.place)
        live = self.is_live_by_default(row) if chosen is None else chosen
        known = Said({**(last.latest if last else {}), **reading.latest}, reading.ts)
        if live:
            step = self._edit(transaction, device, last, known, at)
        else:
            step = self._notice(transaction, device, last, reading, at)
        if step == "later":
            store.save_unsaid(transaction, row.id, reading)
            return
        store.drop_unsaid(transaction, row.id)
        if step == "said":
            outbox.save_said(transaction, row.id, Said(known.latest, at))

    def _notice(self, transaction: Transaction, device: Device, last: Said | None, reading: Said, at: int) -> Step:
        row, profile = device.row, device.profile
        text = describe(profile, reading.latest)
        if text and worth_a_notice(profile, last, reading.latest, at):
            content = notice_content(row.name, text)
            outbox.add(transaction, outbox.NewRow(row.place, row.id, device.kid_hex, MESSAGE_TYPE, content, reading.ts))
            return "said"
        return "later" if text and worth_one_later(profile, last, reading.latest, at) else "nothing"

    def _edit(self, transaction: Transaction, device: Device, last: Said | None, said: Said, at: int) -> Step:
        row, now = device.row, self._now_ms()
        values = describe(device.profile, said.latest)
        known = store.load(transaction, row.id)
        step = live_step(device.profile, known, last, row.place, said.latest, at, now, self._gap_ms)
        if not values or step == "nothing":
            return "nothing"
        if step == "later":
            return "later"
        # A message that is edited is shown with the time of its beginning.
        text = f"{values} ({datetime.fromtimestamp(said.ts / 1000, self._timezone):%H:%M})"
        if step == "open" or known is None:
            content = notice_content(row.name, text)
            opening = outbox.NewRow(row.place, row.id, device.kid_hex, MESSAGE_TYPE, content, said.ts)
            store.opened(transaction, row.id, Live(row.place, opening.txn_id, now))
            outbox.add(transaction, opening)
            return "said"
        content = edit_request(known.opening, row.name, text)
        edit = outbox.NewRow(row.place, row.id, device.kid_hex, EDIT_TYPE, content, said.ts)
        store.edited(transaction, row.id, edit)
        return "said"
