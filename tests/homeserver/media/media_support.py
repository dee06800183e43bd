"""Pictures made by Pillow, and requests for bytes rather than JSON."""

from __future__ import annotations

import io
from typing import Any

import aiohttp
import yarl
from PIL import Image
from tests.homeserver.running import MatrixClient

EXIF_ORIENTATION = 0x0112


def picture(width: int, height: int, form: str = "JPEG", mode: str = "RGB", **options: Any) -> bytes:
    """A picture whose left half is red and whose right half is blue."""
    image = Image.new(mode, (width, height), "blue")
    image.paste("red", (0, 0, width // 2, height))
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def turned_picture(width: int, height: int, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    return picture(width, height, exif=exif)


def moving_picture(width: int, height: int, frames: int, form: str = "GIF") -> bytes:
    images = [Image.new("RGB", (width, height), (40 * number % 256, 0, 0)) for number in range(frames)]
    out = io.BytesIO()
    images[0].save(out, form, save_all=True, append_images=images[1:], duration=50)
    return out.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


class Got:
    """A response with its bytes."""

    def __init__(self, response: aiohttp.ClientResponse, data: bytes) -> None:
        self.status = response.status
        self.headers = response.headers
        self.data = data


async def fetch(client: MatrixClient, path: str, headers: dict[str, str] | None = None, **query: Any) -> Got:
    """GET a path below /_matrix with the client's token."""
    url = yarl.URL(f"{client.base_url}/_matrix/{path}", encoded=True).update_query(query)
    token = {"Authorization": f"Bearer {client.token}"} if client.token else {}
    async with client.http.get(url, headers={**token, **(headers or {})}) as response:
        return Got(response, await response.read())


async def upload(
    client: MatrixClient,
    data: Any,
    content_type: str | None = "image/png",
    *,
    path: str = "media/v3/upload",
    method: str = "POST",
    **query: Any,
) -> tuple[int, Any]:
    """Upload and return status and JSON body."""
    headers = {"Authorization": f"Bearer {client.token}"}
    if content_type is not None:
        headers["Content-Type"] = content_type
    url = yarl.URL(f"{client.base_url}/_matrix/{path}").update_query(query)
    skip = [] if content_type else ["Content-Type"]
    async with client.http.request(method, url, data=data, headers=headers, skip_auto_headers=skip) as response:
        return response.status, await response.json()


async def uploaded(client: MatrixClient, data: Any, content_type: str = "image/png", **query: Any) -> str:
    """Upload, and return "server/id"."""
    status, body = await upload(client, data, content_type, **query)
    assert status == 200, body
    return body["content_uri"].removeprefix("mxc://")
