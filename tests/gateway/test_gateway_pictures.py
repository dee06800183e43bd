"""The pictures of ghosts: drawn for each profile, uploaded once, given once, and never over somebody else's."""

from __future__ import annotations

import io

from PIL import Image
from tests.gateway.fake_homeserver import SERVER, FakeHomeserver, Fault
from tests.gateway.gateway_support import Thing, eventually, gateway
from tests.gateway.test_gateway_outbox import Door

from thingroom_gateway.config import GatewayConfig
from thingroom_gateway.icons import HOME, name_of
from thingroom_gateway.pictures import PAPER, SHAPES, draw
from thingroom_gateway.profiles import load_profiles


def test_every_profile_has_a_shape_and_the_attested_look_different() -> None:
    assert {name_of(profile.icon, False) for profile in load_profiles().values()} <= set(SHAPES)
    paper = tuple(bytes.fromhex(PAPER[1:]))
    for icon in ("🌡️", "💧", "🔌", "🫁", "🦄"):
        files = [draw(name_of(icon, flag)) for flag in (False, True)]
        signed, attested = (Image.open(io.BytesIO(file)) for file in files)
        assert signed.size == attested.size == (256, 256)
        corner = {image.convert("RGB").getpixel((20, 20)) for image in (signed, attested)}
        assert paper in corner and len(corner) == 2
        assert max(map(len, files)) < 12_000


async def test_uploaded_once_and_given_once(config: GatewayConfig, homeserver: FakeHomeserver) -> None:
    kitchen, attic, cellar = Thing(1, "Kitchen"), Thing(2, "Attic"), Thing(3, "Cellar", profile="soil")
    owned = f"@thing_{attic.hex}:{SERVER}"
    homeserver.avatars[owned] = "mxc://somewhere/else"
    for _ in range(2):
        async with gateway(config, kitchen, attic, cellar) as running:
            await Door(running).send(kitchen.envelope(), attic.envelope(), cellar.envelope())
            for thing in (kitchen, attic, cellar):
                await eventually(lambda t=thing: t.sequence in homeserver.sequences(t.hex), seconds=30)  # type: ignore[misc]
    assert len(homeserver.uploads) == 3, "the home, a thermometer, a plant"
    assert draw(HOME) in homeserver.uploads and draw("🌡") in homeserver.uploads
    assert homeserver.avatars[owned] == "mxc://somewhere/else"
    given = {homeserver.avatars[f"@thing_{thing.hex}:{SERVER}"] for thing in (kitchen, cellar)}
    assert len(given) == 2 and all(uri.startswith(f"mxc://{SERVER}/") for uri in given)
    asked = [path for method, path in homeserver.requests if method == "PUT" and path.endswith("/avatar_url")]
    assert len(asked) == 3
    assert homeserver.rooms["!room0"].state["m.room.avatar", ""]["url"].startswith("mxc://")


async def test_readings_do_not_wait_for_pictures(config: GatewayConfig, homeserver: FakeHomeserver) -> None:
    homeserver.faults.append(Fault(status=500, match="/upload", times=3))
    thing = Thing()
    async with gateway(config, thing) as running:
        await Door(running).send(thing.envelope())
        await eventually(lambda: homeserver.sequences(thing.hex) == [1], seconds=30)
        await Door(running).send(thing.envelope())
        await eventually(lambda: homeserver.sequences(thing.hex) == [1, 2], seconds=30)
    ghost = f"@thing_{thing.hex}:{SERVER}"
    assert ghost not in homeserver.avatars
    async with gateway(config, thing) as running:
        await Door(running).send(thing.envelope())
        await eventually(lambda: ghost in homeserver.avatars, seconds=30)
