"""Sends messages, twenty at a time, and prints "<transaction id> <event id>" for each answered one, until killed."""

import asyncio
import sys
from pathlib import Path

from tests.homeserver.room_support import open_house


async def main(path: Path) -> None:
    async with open_house(path) as house:
        room_id = await house.create("alice")
        print(room_id, flush=True)
        numbers = iter(range(10**9))

        async def send() -> None:
            for number in numbers:
                event_id = await house.say("alice", room_id, f"m{number}", str(number))
                print(number, event_id, flush=True)

        await asyncio.gather(*(send() for _ in range(20)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
