"""A person's way through the dashboard in headless Chromium: a real gateway, our homeserver, a node on MicroPython."""

from __future__ import annotations

from pathlib import Path

import segno
from PIL import Image
from tests.browser.dashboard_browser import DESK, PHONE, DashboardBrowser, dashboard_browser
from tests.gateway.command_support import SWITCH, movements
from tests.gateway.dashboard_support import Scene, open_scene
from tests.homeserver.running import PASSWORD
from tests.node.node_process import NodeProcess, node_settings

# Of every page: what is asked for has a label, pictures have words, nothing is wider than the screen.
WELL_MADE = """(() => {
  const faults = [...document.querySelectorAll("input:not([type=hidden]), select")].filter((one) => !one.labels.length);
  faults.push(...[...document.images].filter((one) => !one.hasAttribute("alt")));
  faults.push(...[...document.querySelectorAll("button, a")].filter((one) => !one.textContent.trim()));
  const found = faults.map((one) => one.outerHTML);
  if (document.querySelectorAll("h1").length !== 1) found.push("not one h1");
  const levels = [...document.querySelectorAll("h1, h2, h3")].map((one) => Number(one.tagName[1]));
  if (levels.some((level, index) => level > (levels[index - 1] ?? 0) + 1)) found.push(`headings ${levels}`);
  if (document.documentElement.scrollWidth > innerWidth) found.push(`${document.documentElement.scrollWidth} wide`);
  return found;
})()"""
DRAWN = "[...document.querySelectorAll('.chart')].some((one) => one.dataset.drawn && one.querySelector('path.mean'))"


async def _is_well_made(browser: DashboardBrowser, path: str, folder: Path) -> None:
    """On a phone and on a desk, in light and in dark; the pictures are in `folder`."""
    await browser.open(path)
    for size in (PHONE, DESK):
        for scheme in ("light", "dark"):
            await browser.look(size, scheme)
            assert await browser.evaluate(WELL_MADE) == [], (path, size)
            picture = folder / f"{size[0]}-{scheme}.png"
            await browser.screenshot(picture)
            with Image.open(picture) as image:
                assert image.size == size
                bright = sum(image.convert("L").resize((1, 1)).tobytes())
                assert bright > 200 if scheme == "light" else bright < 80, (path, scheme, bright)
    await browser.look(PHONE, "light")


async def test_a_day_with_the_dashboard(tmp_path: Path) -> None:
    async with open_scene(tmp_path / "home") as scene:
        dashboard = scene.home.gateway.dashboard
        assert dashboard is not None
        async with dashboard_browser(f"http://127.0.0.1:{dashboard.port}") as browser:
            await _sign_in(browser, scene)
            await _pair_and_switch(browser, scene, tmp_path)
            await _look_at_charts(browser, scene)
            for path in ("/", f"/device/{scene.kitchen.hex}", "/pair", "/rejected", "/status"):
                await _is_well_made(browser, path, tmp_path)
            await _as_a_member(browser, scene)
            problems = await browser.problems()
            # The browser itself reports the answers that refuse.
            assert [one for one in problems if "40" not in one["text"]] == []


async def _sign_in(browser: DashboardBrowser, scene: Scene) -> None:
    assert (await browser.open("/")).startswith("/sign-in")
    assert await browser.evaluate(WELL_MADE) == []
    await browser.fill("Name", "owner")
    await browser.fill("Password", "a wrong one")
    await browser.click("Sign in")
    await browser.wait_for("does not know this name", ".said")
    await browser.sign_in("owner", PASSWORD)
    await browser.wait_for("22.3", f"#card-{scene.kitchen.hex}")
    # A value changes while one looks, on the same page.
    await browser.evaluate("window.same = 'page'")
    await browser.wait_until("document.documentElement.dataset.live === 'on'")
    await scene.home.reading(scene.kitchen, 317)
    await browser.wait_for("31.7", f"#card-{scene.kitchen.hex}")
    assert await browser.evaluate("window.same") == "page"


async def _pair_and_switch(browser: DashboardBrowser, scene: Scene, folder: Path) -> None:
    await browser.click("Pair", "link")
    await browser.click("Open pairing")
    code = (await browser.text(".code code")).strip()
    shown = await browser.evaluate("document.querySelector('.qr').src")
    content = code.replace(" ", "")
    made = segno.make(content, error="m", micro=False)
    assert shown == made.svg_data_uri(scale=6, border=4, dark="#000", light="#fff"), "the QR code is the code"
    settings = node_settings(
        folder,
        name="Reading lamp",
        profile="switch",
        link="coap",
        port=scene.home.config.coap.port,
        pairing_code=content,
        sensor={"kind": "none"},
        actuators=[SWITCH],
        interval_ms=2000,
    )
    async with NodeProcess(folder, settings):
        await browser.wait_for("Reading lamp", "main .fresh")
        kid = await browser.evaluate("document.querySelector('.fresh').id.slice('fresh-'.length)")
        await browser.fill_in(f"#place-{kid}", "Kitchen")
        await browser.click("Move", within=f"#fresh-{kid}")
        await browser.wait_for("moves from Reading lamp to Kitchen", ".said")
        await browser.click("Close pairing")
        await browser.open(f"/device/{kid}")
        await browser.wait_for("off", f"#now-{kid} .number")
        await browser.click("On")
        await browser.wait_for("Switch on", f"#commands-{kid} li.done")
        await browser.wait_until("document.querySelector('button[value=on]').getAttribute('aria-pressed') === 'true'")
        assert movements(folder) == (True, 1)


async def _look_at_charts(browser: DashboardBrowser, scene: Scene) -> None:
    await browser.open(f"/device/{scene.kitchen.hex}")
    await browser.wait_until(DRAWN)
    usual = await browser.text(".chart .summary")
    assert "22.3 °C" in usual or "21.4 °C to 31.7 °C" in usual
    await browser.hover(".chart .plot svg", 0.9, 0.5)
    await browser.wait_until(f"document.querySelector('.chart .summary').textContent !== {usual!r}")
    await browser.click("7 days", "link")
    await browser.wait_until(DRAWN)
    assert "span=7d" in await browser.path()


async def _as_a_member(browser: DashboardBrowser, scene: Scene) -> None:
    await browser.open("/")
    await browser.click("Sign out")
    await browser.sign_in("member", PASSWORD)
    assert "Cellar" not in await browser.text()
    await browser.open(f"/device/{scene.lamp.hex}")
    await browser.wait_for("Only those who may change this room")
    assert await browser.evaluate("[...document.querySelectorAll('.control button')].every((one) => one.disabled)")
    # Whoever helps themselves is refused all the same.
    await browser.evaluate("document.querySelectorAll('.control button').forEach((one) => (one.disabled = false))")
    await browser.click("On")
    await browser.wait_for("Sorry, that is for those who may change its room")
    await browser.open("/pair")
    await browser.wait_for("Sorry, that is for the owner")
