"""The README's picture: a room of readings as a stock browser client shows it.

    python -m tests.browser.picture --homeserver http://127.0.0.1:8008 --user owner --password ... \\
        --room Kitchen --out docs/pictures/readings.png

Signs in like a person, opens the room, waits until it shows `--readings` messages (new ones may still be arriving),
and takes the picture. The demo's owner and password are printed by `thingroom run --demo`.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import click
from tests.browser.browser_client import BrowserClient, browser_client
from tests.browser.worked_client import ClientFailed

SIZE = (1200, 750)


@click.command(help="Take the README's picture: a room of readings in a stock browser client.")
@click.option("--homeserver", required=True, help="Its URL.")
@click.option("--user", required=True, help="User name or user id.")
@click.option("--password", required=True)
@click.option("--room", default="Kitchen", show_default=True, help="The room's name in the list.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True, help="The PNG to write.")
@click.option("--readings", default=12, show_default=True, help="Messages that the room must show first.")
@click.option("--patience", default=120.0, show_default=True, help="Seconds to wait for them.")
def main(homeserver: str, user: str, password: str, room: str, out: Path, readings: int, patience: float) -> None:
    async def take() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with browser_client(Path(folder), homeserver) as client:
                await client.log_in(user, password)
                await client.wait_for_room(room)
                await client.open_room(room)
                await wait_for_messages(client, readings, patience)
                await client.screenshot(out.resolve(), SIZE)

    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        asyncio.run(take())
    except ClientFailed as error:
        raise click.ClickException(str(error)) from None


async def wait_for_messages(client: BrowserClient, number: int, seconds: float) -> None:
    """Wait until the open timeline shows that many. Raises ClientFailed."""
    deadline = time.monotonic() + seconds
    while (shown := len(await client.messages())) < number:
        if time.monotonic() > deadline:
            raise ClientFailed(f"the room shows {shown} messages after {seconds:g} s, not {number}")
        await asyncio.sleep(0.2)


if __name__ == "__main__":
    main()
