"""What a person sees of `thingroom run`: one readable screen, then a line for each reading.

Takes events as plain data (the gateway's standard output, line by line) and prints; decides nothing.
"""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from thingroom.supervisor import Ended

_MARKS = {"accepted": "[green]✓[/]", "duplicate": "[yellow]=[/]", "rejected": "[red]✗[/]"}
_VERDICTS = {"accepted": "signature verified", "duplicate": "had it already, acknowledged again"}


class Screen:
    """Prints to `console`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._in_rooms = 0

    def say(self, text: str) -> None:
        """One plain line."""
        self._console.print(escape(text), soft_wrap=True)

    def started(self, rows: list[tuple[str, str]]) -> None:
        """The addresses and sign-in details, label beside value."""
        table = Table.grid(padding=(0, 2))
        for label, value in rows:
            table.add_row(f"[bold]{escape(label)}[/]", escape(value))
        self._console.print(Panel(table, title="Thingroom is running", expand=False, border_style="green"))

    def child_ended(self, ended: Ended) -> None:
        """A program crashed; say so, with its last words, and when it comes back."""
        if ended.restarts_in is None:
            return
        self._console.print(
            f"[red]The {escape(ended.name)} stopped[/] (exit code {ended.exit_code}); "
            f"it is started again in {ended.restarts_in:g} s."
        )

    def gateway_event(self, event: dict[str, Any]) -> None:
        """One notable event of the gateway."""
        match event.get("event"):
            case "reading":
                self._reading(event)
            case "enrolled":
                self._line("[green]+[/]", str(event.get("name", "")), f"paired, key {event.get('device', '')}")
            case "in_room":
                self._in_rooms += 1
                if self._in_rooms == 1:
                    self._line("[green]✓[/]", "", "the first readings are in their Matrix room")

    def _reading(self, event: dict[str, Any]) -> None:
        verdict = str(event.get("verdict", ""))
        words = _VERDICTS.get(verdict) or f"rejected: {event.get('reason', 'unknown')}"
        text = f"{event.get('text') or '':<24}"
        number = f"#{event['sequence']}" if event.get("sequence") is not None else ""
        detail = f"{text} {number:>7}  {words}, {event.get('transport', '')}"
        self._line(_MARKS.get(verdict, "?"), str(event.get("name") or event.get("device") or "unknown"), detail)

    def _line(self, mark: str, name: str, detail: str) -> None:
        now = time.strftime("%H:%M:%S")
        self._console.print(f"[dim]{now}[/] {mark} [bold]{escape(f'{name:<12}')}[/] {escape(detail)}", soft_wrap=True)
