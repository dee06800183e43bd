"""The dashboard's pages: what they show to whom, what may be done, what stays up to date, and odd requests."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.gateway.dashboard_support import Page, Scene, Visitor, open_scene
from tests.gateway.gateway_support import Thing, eventually
from yarl import URL

from thingroom_gateway import dashboard
from thingroom_gateway.dashboard.live import Watcher
from thingroom_gateway.dashboard.pages_status import Link, counts_of, links_of, trouble_of
from thingroom_gateway.dashboard.parameters import Bad, form_fields
from thingroom_gateway.dashboard.view import value_of
from thingroom_gateway.profiles import load_profiles
from thingroom_gateway.series.reading import Reading, SeriesReading
from thingroom_gateway.status import Broker, Status

MODULE = pytest.mark.asyncio(loop_scope="module")
NOW = time.time_ns() // 1_000_000
MINUTE = 60_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    async with open_scene(tmp_path_factory.mktemp("dashboard")) as made:
        yield made


@MODULE
async def test_everybody_sees_the_devices_of_their_rooms(scene: Scene) -> None:
    page = await scene.owner.get("/")
    assert page.status == 200
    assert "Kitchen Temperature 22.3 °C Humidity 45 % online signed" in page.words
    assert "<b>Cellar</b>" in page.words and "<b>Cellar</b>" not in page.text, "names are text, not HTML"
    assert "Below & beside" in page.words
    mine = await scene.member.get("/")
    assert "22.3 °C" in mine.words and "Cellar" not in mine.words
    data = (await scene.member.get("/api/devices")).data
    assert [device["name"] for device in data["devices"]] == ["Kitchen", "Lamp"]
    assert data["devices"][0]["values"][0] == {
        "name": "temperature",
        "title": "Temperature",
        "icon": "🌡️",
        "text": "22.3",
        "unit": "°C",
        "value": "22.3",
        "code": "Cel",
        "kind": "number",
        "ts": data["devices"][0]["values"][0]["ts"],
    }
    cellar = scene.cellar.hex
    for path in (f"/device/{cellar}", f"/api/devices/{cellar}", f"/api/devices/{cellar}/series?quantity=temperature"):
        assert (await scene.member.get(path)).status == 404
        assert (await scene.owner.get(path)).status == 200
    found = await scene.owner.get("/?find=BELOW")
    assert "Cellar" in found.words and "22.3" not in found.words
    assert "Nothing is called" in (await scene.owner.get("/?find=attic")).words


@MODULE
async def test_a_device_with_its_gaps_and_what_was_refused(scene: Scene) -> None:
    assert await scene.home.door.send(scene.kitchen.envelope(payload=scene.kitchen.pack(9990)))
    assert await scene.home.door.send(b"rubbish")
    page = await scene.owner.get(f"/device/{scene.kitchen.hex}")
    assert "2 readings no. 2 to 3" in page.words
    detail = (await scene.owner.get(f"/api/devices/{scene.kitchen.hex}")).data
    assert [(gap["first"], gap["last"]) for gap in detail["missing"]] == [(2, 3)]
    assert {"number", "text", "on"} <= set(detail["rules"][0])
    rejected = (await scene.owner.get("/api/rejected")).data
    words = {count["reason"]: count["words"] for count in rejected["counts"]}
    assert words["above_range"] == "a value above what the sensor can measure"
    assert {"MQTT", "dashboard"} >= {count["door"] for count in rejected["counts"]} > {"dashboard"}
    assert [one["name"] for one in rejected["recent"]][:2] == ["", "Kitchen"]
    assert "a value above what the sensor can measure, of Kitchen" in (await scene.owner.get("/rejected")).words
    # Of a single message nobody hears whose device they do not see.
    await scene.home.door.send(scene.cellar.envelope(payload=scene.cellar.pack(9990)))
    assert (await scene.owner.get("/api/rejected")).data["recent"][0]["device"] == scene.cellar.hex
    assert scene.cellar.hex not in (await scene.member.get("/rejected")).text


@MODULE
async def test_charts_are_points_and_pictures(scene: Scene) -> None:
    number = scene.home.gateway.core.registry.by_kid(scene.cellar.kid).row.id
    times = [NOW - minute * MINUTE for minute in range(24 * 60, 0, -1) if not 300 < minute < 500]
    await scene.home.gateway.core.database.write(
        lambda transaction: scene.home.gateway.core.series.add(
            transaction, number, [SeriesReading("temperature", ts, "12.5", 0, 0) for ts in times]
        )
    )
    base = f"/api/devices/{scene.cellar.hex}/series?quantity=temperature"
    day = (await scene.owner.get(base)).data
    assert day["unit"] == "°C" and day["timezone"] == "Europe/Berlin" and day["to"] - day["from"] == 24 * 60 * MINUTE
    assert len(day["points"]) > 100 and all(len(point) == 4 for point in day["points"])
    assert len(day["gaps"]) == 1 and 190 * MINUTE < day["gaps"][0][1] - day["gaps"][0][0] <= 202 * MINUTE
    year = (await scene.owner.get(base + "&span=1y")).data
    assert year["resolution"] > 0 and 0 < len(year["points"]) < 600
    for bad in ("quantity=nothing", "quantity=", "span=2d&quantity=temperature", "quantity=" + "x" * 65):
        page = await scene.owner.get(f"/api/devices/{scene.cellar.hex}/series?{bad}")
        assert page.status == 400 and page.data["error"].endswith(".")
    picture = await scene.owner.get(f"/device/{scene.cellar.hex}/chart.png?quantity=temperature&span=7d")
    assert (picture.status, picture.headers["Content-Type"]) == (200, "image/png")
    drawn = [await scene.owner.get(f"/picture/climate{end}.png") for end in ("", "-attested")]
    assert [one.status for one in drawn] == [200, 200] and drawn[0].text != drawn[1].text
    assert (await scene.owner.get("/picture/nothing.png")).status == 404


@MODULE
async def test_only_those_who_may_change_things(scene: Scene) -> None:
    lamp = f"/device/{scene.lamp.hex}"
    page = await scene.member.get(lamp)
    assert "Only those who may change this room" in page.words and "Revoke" not in page.words
    form = page.form
    for path, fields in (
        (f"{lamp}/command", {"actuator": "on", "value": "on"}),
        (f"{lamp}/rename", {"name": "Mine"}),
        (f"{lamp}/move", {"place": "Attic"}),
        (f"{lamp}/revoke", {}),
        ("/pair", {"minutes": "10"}),
        ("/pair/close", {}),
        ("/pair/adopt", {"topic": "x", "name": "x"}),
        ("/status/retry", {}),
    ):
        refused = await scene.member.post(path, form, **fields)
        assert refused.status == 403 and "Sorry, that is for" in refused.words, path
    for path in ("/pair", f"{lamp}/revoke", "/api/pairing", "/live?pairing=1"):
        assert (await scene.member.get(path)).status == 403
    queue = scene.home.gateway.commands
    device = scene.home.gateway.core.registry.by_kid(scene.lamp.kid)
    assert queue is not None and queue.waiting(device) == [] and device.row.name == "Lamp"
    assert scene.home.gateway.core.pairing.current() is None

    switched = await scene.owner.post(f"{lamp}/command", actuator="on", value="on")
    assert switched.path == lamp and "on its way" in switched.said
    assert [command.requested_by for command in queue.waiting(device)] == ["@owner:localhost"]
    assert "Switch on by @owner:localhost" in (await scene.owner.get(lamp)).words
    for fields in ({"actuator": "on", "value": "blue"}, {"actuator": "self-destruct", "value": "on"}, {"value": "on"}):
        assert (await scene.owner.post(f"{lamp}/command", **fields)).status == 400


@MODULE
async def test_renaming_moving_and_revoking_say_what_the_bot_says(scene: Scene) -> None:
    spare = Thing(9, "Spare")
    await scene.home.enrol(spare, "Kitchen")
    page = f"/device/{spare.hex}"
    assert (await scene.owner.post(f"{page}/rename", name="Shelf")).said == "Spare is Shelf now."
    moved = await scene.owner.post(f"{page}/move", place="Attic")
    assert moved.said == "Shelf moves from Kitchen to Attic (a new room). What it said stays here."
    assert (await scene.owner.post(f"{page}/rename", name="x" * 65)).said.startswith("A name has 1 to 64")
    assert "cannot come back" in (await scene.owner.get(f"{page}/revoke")).words
    assert "is revoked" in (await scene.owner.post(f"{page}/revoke")).said
    assert scene.home.gateway.core.registry.by_kid(spare.kid).row.status == "revoked"
    assert "Shelf" not in (await scene.owner.get("/")).words, "the overview is of those that speak"
    assert "revoked" in (await scene.owner.get(page)).words


@MODULE
async def test_alerts_are_turned_on_and_off_made_and_taken_away(scene: Scene) -> None:
    page, api = f"/device/{scene.kitchen.hex}", f"/api/devices/{scene.kitchen.hex}"

    async def rules() -> dict[str, dict[str, Any]]:
        return {rule["text"]: rule for rule in (await scene.owner.get(api)).data["rules"]}

    frost = (await rules())["Temperature below 3 °C"]
    assert not frost["on"] and frost["preset"] == "frost"
    assert "is on for Kitchen" in (await scene.owner.post(f"{page}/alert", do="on", preset="frost")).said
    assert (await rules())["Temperature below 3 °C"]["on"]
    assert "is off" in (await scene.owner.post(f"{page}/alert", do="off", number=str(frost["number"]))).said
    made = await scene.owner.post(f"{page}/alert", do="above", quantity="temperature", threshold="28,5")
    assert made.path == page and "Temperature above 28.5 °C" in made.said
    warm = (await rules())["Temperature above 28.5 °C"]
    assert warm["on"] and warm["asked_by"] == "@owner:localhost"
    form = (await scene.member.get(page)).form
    for fields in ({"do": "off", "number": str(warm["number"])}, {"do": "on", "preset": "frost"}):
        assert (await scene.member.post(f"{page}/alert", form, **fields)).status == 403
    assert "gone" in (await scene.owner.post(f"{page}/alert", do="off", number=str(warm["number"]))).said
    odd: tuple[dict[str, str], ...] = ({}, {"do": "explode"}, {"do": "above", "quantity": "x", "threshold": "1e9"})
    for fields in odd:
        assert (await scene.owner.post(f"{page}/alert", **fields)).status == 400


@MODULE
async def test_pairing_shows_its_code_and_the_device_that_used_it(scene: Scene) -> None:
    page = await scene.owner.post("/pair", minutes="5")
    window = scene.home.gateway.core.pairing.current()
    assert window is not None and window.code in page.words and 'src="data:image/svg+xml' in page.text
    assert abs((await scene.owner.get("/api/pairing")).data["window"]["until"] - NOW - 5 * MINUTE) < 4 * MINUTE
    fresh = Thing(20, "Fresh one")
    await scene.home.door.send(fresh.pairing_hello(window.code), "hello")
    page = await scene.owner.get("/pair")
    assert "Fresh one" in page.words and page.words.index("Fresh one") > page.words.index("within the last hour")
    placed = await scene.owner.post(f"/device/{fresh.hex}/move", place="Kitchen", back="pair")
    assert placed.path == "/pair" and "moves from Fresh one to Kitchen" in placed.said
    closed = await scene.owner.post("/pair/close")
    assert closed.said == "Pairing is closed." and scene.home.gateway.core.pairing.current() is None
    assert (await scene.owner.post("/pair", minutes="0")).status == 400


@MODULE
async def test_the_status_page_tells_what_is_wrong(scene: Scene) -> None:
    page = await scene.owner.get("/status")
    assert page.status == 200 and "CoAP" in page.words and "answers in" in page.words
    data = (await scene.owner.get("/api/status")).data
    assert data["homeserver"]["state"] == "good" and data["status"]["disk_free"] > 0
    status = msgspec.convert(data["status"], Status, strict=False)
    good, bad = (Link("home", "http://home", state, "does not answer (why)") for state in ("good", "bad"))
    assert trouble_of(msgspec.structs.replace(status, disk_free=1 << 40), [], good) == []
    away = Broker(devices="plain", address="b:1", connected=False)
    broken = msgspec.structs.replace(status, stalled=True, disk_free=1, outbox_parked=2, brokers=(away,))
    said = " ".join(trouble_of(broken, links_of(broken), bad))
    for words in ("does not take readings", "nearly full", "b:1: not connected", "does not answer (why)", "refused 2"):
        assert words in said


class Stream:
    """A live page."""

    def __init__(self, scene: Visitor, path: str) -> None:
        self._visitor, self._path = scene, path
        self.pieces: dict[str, str] = {}
        self.stale = 0

    async def __aenter__(self) -> Stream:
        self._answer = await self._visitor.session.get(URL(self._visitor.url + self._path))
        assert self._answer.status == 200, await self._answer.text()
        assert self._answer.content_type == "text/event-stream"
        self._task = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        self._answer.close()

    async def _read(self) -> None:
        event = ""
        async for line in self._answer.content:
            name, _, rest = line.decode().rstrip("\n").partition(": ")
            if name == "event":
                event = rest
            elif name == "data" and event == "piece":
                piece = json.loads(rest)
                self.pieces[piece["id"]] = re.sub(r"<[^>]*>", " ", piece["html"])
            elif name == "data" and event == "stale":
                self.stale += 1


@MODULE
async def test_pages_are_kept_up_to_date(scene: Scene) -> None:
    kid = scene.kitchen.hex
    async with Stream(scene.member, "/live") as cards, Stream(scene.owner, f"/live?device={kid}") as one:
        await eventually(lambda: f"card-{kid}" in cards.pieces and f"now-{kid}" in one.pieces, 30)
        assert f"card-{scene.cellar.hex}" not in cards.pieces
        await scene.home.reading(scene.kitchen, 317)
        await eventually(lambda: "31.7" in cards.pieces[f"card-{kid}"] and "31.7" in one.pieces[f"now-{kid}"], 30)
        await scene.home.enrol(Thing(30, "Newcomer"), "Kitchen")
        await eventually(lambda: cards.stale, 30)
    live = scene.home.gateway.dashboard
    assert live is not None
    await eventually(lambda: len(live.live) == 0, 30)


@MODULE
async def test_there_are_only_so_many_live_pages(scene: Scene) -> None:
    here = scene.home.gateway.dashboard
    assert here is not None
    many = scene.home.config.dashboard.streams // 4
    async with AsyncExitStack() as stack:
        for _ in range(many):
            await stack.enter_async_context(Stream(scene.member, "/live"))
        refused = await scene.member.get("/live")
        assert refused.status == 429 and "Too many pages" in refused.data["error"]
        async with Stream(scene.owner, "/live"):
            pass
    await eventually(lambda: len(here.live) == 0, 30)


@MODULE
async def test_a_slow_browser_gets_the_newest_only() -> None:
    watcher = Watcher("cards", frozenset({1, 2}))
    for number in range(1000):
        watcher.put({"card-1": str(number), "card-2": "same"})
    assert watcher.take() == ({"card-1": "999", "card-2": "same"}, False)
    watcher.put({"card-1": "999", "card-2": "same"})
    assert not watcher.wake.is_set(), "what is shown already is not sent again"


PATHS = (
    *("/", "/pair", "/rejected", "/status", "/live", "/sign-in", "/sign-in/sso", "/sign-in/return", "/static/page.js"),
    *("/api/devices", "/api/status", "/api/rejected", "/api/pairing", "/picture/climate.png", "/nothing", "/api/no"),
    *("/device/KID", "/api/devices/KID", "/api/devices/KID/series", "/device/KID/chart.png", "/device/KID/revoke"),
)
FORMS = (
    *("/pair", "/pair/close", "/pair/adopt", "/status/retry", "/sign-in"),
    *("/device/KID/command", "/device/KID/rename", "/device/KID/move", "/device/KID/revoke", "/device/KID/alert"),
)
NAMES = ("find", "page", "span", "quantity", "device", "pairing", "to", "loginToken", "state", "x")
FIELDS = (
    "form",
    "do",
    "number",
    "preset",
    "quantity",
    "threshold",
    "actuator",
    "value",
    "name",
    "place",
    "minutes",
    "topic",
    "profile",
    "user",
    "password",
    "back",
    "to",
)
STRANGE = ("", "0", "-1", "1e9", "9" * 12, "²", "٣", "\x00", "' OR 1=1", "../..", "%ff", "\ud800", "NaN")
ODD = st.one_of(st.text(max_size=80), st.sampled_from(STRANGE))


def _is_said_well(page: Page) -> None:
    """Never a fault of ours; and what is refused comes with a sentence."""
    assert page.status < 500 or page.status == 503, page.words
    assert "Traceback" not in page.text
    if page.status >= 400:
        sentence = page.data["error"] if page.text.startswith("{") else page.words
        assert len(sentence.split()) > 2, page.text


@MODULE
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(PATHS), query=st.dictionaries(st.sampled_from(NAMES), ODD, max_size=3))
async def test_odd_queries_are_refused_with_a_sentence(scene: Scene, path: str, query: dict[str, str]) -> None:
    for kid in (scene.kitchen.hex, "0" * 16):
        url = URL(scene.owner.url + path.replace("KID", kid)).with_query(
            {name: value.encode("utf-8", "replace").decode() for name, value in query.items()}
        )
        async with scene.owner.session.get(url, allow_redirects=False) as answer:
            if answer.content_type == "text/event-stream":
                continue
            body = (await answer.read()).decode(errors="replace")
            _is_said_well(Page(answer.status, body, path, dict(answer.headers)))


@MODULE
@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(FORMS), fields=st.dictionaries(st.sampled_from(FIELDS), ODD, max_size=4), raw=st.binary())
async def test_odd_forms_are_refused_with_a_sentence(
    scene: Scene, path: str, fields: dict[str, str], raw: bytes
) -> None:
    form = (await scene.member.get("/")).form
    url = scene.member.url + path.replace("KID", scene.lamp.hex)
    well = {name: value.encode("utf-8", "replace").decode() for name, value in fields.items()}
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    for data in (well, {**well, "form": form}, raw, f"form={form}&".encode() + raw):
        sent: dict[str, Any] = {"data": data} if isinstance(data, dict) else {"data": data, "headers": headers}
        async with scene.member.session.post(url, allow_redirects=False, **sent) as answer:
            body = (await answer.read()).decode(errors="replace")
            _is_said_well(Page(answer.status, body, path, dict(answer.headers)))
    assert scene.home.gateway.core.pairing.current() is None


@MODULE
async def test_large_and_broken_requests_end_early(scene: Scene) -> None:
    form = (await scene.owner.get("/")).form
    big = await scene.owner.post(f"/device/{scene.kitchen.hex}/rename", form, name="x" * 20_000)
    assert big.status == 413 and "too much" in big.words
    long = await scene.owner.post(f"/device/{scene.kitchen.hex}/rename", form, name="x" * 2000)
    assert long.status == 400
    assert (await scene.owner.get("/?find=" + "x" * 3000)).status == 414
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"):
        async with scene.owner.session.request(method, scene.owner.url + "/") as answer:
            assert answer.status == 405
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(scene.owner.url).port)
    writer.write(b"GET /%zz\x00 HTTP/9.9\r\nCookie: \xff\xfe\r\n\r\n")
    assert b" 400 " in await asyncio.wait_for(reader.readline(), 30)
    writer.close()
    counters = scene.home.gateway.core.counters
    for word in ("malformed", "too_large", "bad_request", "wrong_method"):
        assert counters[f"dashboard.rejected.{word}"] > 0, word


@given(st.binary(max_size=300))
def test_any_bytes_are_a_form_or_refused(body: bytes) -> None:
    try:
        fields = form_fields(body)
    except Bad as error:
        assert str(error).endswith(".")
    else:
        assert all(isinstance(value, str) for value in fields.values()) and len(fields) <= 20


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_can_be_told_apart(scheme: str) -> None:
    """WCAG 2.1, 1.4.3: text has a contrast of 4.5 to what is behind it."""
    style = (Path(dashboard.__file__).parent / "static" / "style.css").read_text(encoding="utf-8")
    light, dark = style.split("prefers-color-scheme: dark", 1)
    colours = dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6});", light))
    if scheme == "dark":
        colours |= dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{3,6});", dark))

    def luminance(name: str) -> float:
        digits = colours[name][1:]
        digits = "".join(2 * digit for digit in digits) if len(digits) == 3 else digits
        parts = [int(digits[start : start + 2], 16) / 255 for start in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    inks = ("ink", "soft", "accent", "good", "sleep", "warn", "bad")
    pairs = [(ink, ground) for ink in inks for ground in ("page", "card")]
    pairs += [("on-accent", "accent"), ("warn", "warn-page"), ("ink", "bad-page"), ("ink", "good-page")]
    for ink, ground in pairs:
        one, other = sorted((luminance(ink), luminance(ground)))
        assert (other + 0.05) / (one + 0.05) >= 4.5, (ink, ground)


def test_values_from_before_a_profile_changed_are_shown_as_they_are() -> None:
    profile = load_profiles()["soil"]
    quantity = profile.quantities["moisture"]
    for reading in (Reading(1, "wet", "", "text"), Reading(1, "0.4", "/", "number"), Reading(1, "true", "", "boolean")):
        shown = value_of(quantity, "moisture", reading)
        assert (shown.text, shown.unit, shown.kind) == (reading.value, reading.unit, reading.kind)
    assert value_of(quantity, "moisture", Reading(1, "41.4", "%", "number")).text == "41"


def test_counts_are_sorted_and_in_words() -> None:
    counts = counts_of({"mqtt.rejected.bad_signature": 2, "coap.refused.wrong_unit": 5, "mqtt.accepted": 9, "odd": 1})
    assert [(one.door, one.number) for one in counts] == [("CoAP", 5), ("MQTT", 2)]
    assert counts[1].words == "the signature is not the device's"
    assert json.loads(msgspec.json.encode(counts[0]))["reason"] == "wrong_unit"
