"""What a device says to people: a notice now and then, or one live message that is edited.

May import storage, devices, matrix_event, notices, observation. batching.py calls it in the write that makes the event
for machines; whether something is worth saying is decided in notices.py.
"""

from __future__ import annotations

from collections.abc import Callable, Set
from datetime import datetime, tzinfo

from thingroom_common.database import Transaction
from thingroom_gateway.devices import Device
from thingroom_gateway.matrix_event import EDIT_TYPE, MESSAGE_TYPE, edit_request, notice_content
from thingroom_gateway.notices import Live, Said, live_step, worth_a_notice
from thingroom_gateway.observation import describe
from thingroom_gateway.storage import live as store
from thingroom_gateway.storage import outbox
from thingroom_gateway.storage.devices import DeviceRow

EVERYWHERE = "*"


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
        """Say `latest` (values by quantity name), read at `ts` (Unix ms, not in the future), if it is worth it."""
        row, profile = device.row, device.profile
        last = outbox.load_said(transaction, row.id)
        all_latest = {**(last.latest if last else {}), **latest}
        chosen = store.choice_of(transaction, row.id, row.place)
        if self.is_live_by_default(row) if chosen is None else chosen:
            self._edit(transaction, device, last, Said(all_latest, ts))
            return
        text = describe(profile, latest)
        if text and worth_a_notice(profile, last, latest, ts):
            outbox.save_said(transaction, row.id, Said(all_latest, ts))
            content = notice_content(row.name, text)
            outbox.add(transaction, outbox.NewRow(row.place, row.id, device.kid_hex, MESSAGE_TYPE, content, ts))

    def _edit(self, transaction: Transaction, device: Device, last: Said | None, said: Said) -> None:
        row, now = device.row, self._now_ms()
        values = describe(device.profile, said.latest)
        known = store.load(transaction, row.id)
        step = live_step(device.profile, known, last, row.place, said.latest, said.ts, now, self._gap_ms)
        if not values or step == "nothing":
            return
        # A message that is edited is shown with the time of its beginning.
        text = f"{values} ({datetime.fromtimestamp(said.ts / 1000, self._timezone):%H:%M})"
        outbox.save_said(transaction, row.id, said)
        if step == "open" or known is None:
            content = notice_content(row.name, text)
            opening = outbox.NewRow(row.place, row.id, device.kid_hex, MESSAGE_TYPE, content, said.ts)
            store.opened(transaction, row.id, Live(row.place, opening.txn_id, now))
            outbox.add(transaction, opening)
            return
        content = edit_request(known.opening, row.name, text)
        edit = outbox.NewRow(row.place, row.id, device.kid_hex, EDIT_TYPE, content, said.ts)
        store.edited(transaction, row.id, edit)
