"""Fetching the files of other servers: the two parts of their answer, where it sends us on, and servers of before 1.11.

May import core, the media package and this package. It is the `Fetcher` port of media/remote_files.py, which keeps
what comes. Source: Server-Server API, "Content Repository". The other direction is federation_api/media.py.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from functools import partial
from urllib.parse import quote

import aiohttp
import yarl

from thingroom_homeserver.federation.client import FederationClient, Read, path, refusal_of
from thingroom_homeserver.federation.multipart import (
    Malformed,
    MultipartReader,
    PartBegins,
    PartBytes,
    PartEnds,
    Piece,
    boundary_of,
    file_name_of,
)
from thingroom_homeserver.federation.outcomes import Failed
from thingroom_homeserver.media.mxc import Mxc
from thingroom_homeserver.media.outcomes import NOT_FOUND, Refused, Why
from thingroom_homeserver.media.presentation import MAX_FILE_NAME, content_type_of
from thingroom_homeserver.media.remote_files import RemoteHead, Take

SECONDS = 600.0
"""For a whole file, after it begins to come."""
IDLE_SECONDS = 30.0
"""For its next piece."""
MAX_METADATA_BYTES = 65_536
MAX_REDIRECTS = 3
MAX_URL = 4000
REDIRECTS = frozenset({301, 302, 303, 307, 308})
TOO_LARGE = Refused(Why.TOO_LARGE, "The other server's file is too large")


class MediaFetching:
    """Asks the server that a file was uploaded to; never anybody else."""

    def __init__(self, client: FederationClient, http: aiohttp.ClientSession) -> None:
        """`http` may connect to permitted addresses only."""
        self._client = client
        self._http = http

    async def fetch(self, mxc: Mxc, wait_ms: int, take: Take) -> RemoteHead | Refused:
        """Hand the file's bytes to `take`, until that answers False. `wait_ms`: how long the other server may wait."""
        if not self._client.enabled:
            return NOT_FOUND
        seconds = wait_ms / 1000 + SECONDS
        read_two_parts: Read[RemoteHead | Refused] = partial(self._read_two_parts, take)
        answer: RemoteHead | Refused | Failed = await self._client.download(
            mxc.server_name,
            path("v1", "media", "download", mxc.media_id),
            read_two_parts,
            query=(("timeout_ms", str(wait_ms)),),
            timeout_seconds=seconds,
        )
        if isinstance(answer, Failed) and answer.status in (404, 405) and answer.errcode in (None, "M_UNRECOGNIZED"):
            read_file: Read[RemoteHead | Refused] = partial(self._read_file, take, MAX_REDIRECTS)
            old = f"/_matrix/media/v3/download/{quote(mxc.server_name, safe='')}/{mxc.media_id}"
            answer = await self._client.download(
                mxc.server_name,
                old,
                read_file,
                query=(("allow_remote", "false"), ("allow_redirect", "true"), ("timeout_ms", str(wait_ms))),
                timeout_seconds=seconds,
                signed=False,
            )
        return _refused(answer) if isinstance(answer, Failed) else answer

    async def _read_two_parts(self, take: Take, response: aiohttp.ClientResponse) -> RemoteHead | Refused | Failed:
        if response.status != 200:
            return await refusal_of(response)
        boundary = boundary_of(response.headers.get("Content-Type", ""))
        if boundary is None or _is_encoded(response.headers.get("Content-Encoding")):
            return Failed("bad_answer", 200, text="The answer is not multipart/mixed")
        try:
            async with aclosing(_pieces(response, MultipartReader(boundary))) as pieces:
                head = await _read_parts(pieces, take)
        except Malformed as error:
            return Failed("bad_answer", 200, text=str(error))
        return await self._follow(head, take, MAX_REDIRECTS) if isinstance(head, str) else head

    async def _read_file(
        self, take: Take, redirects: int, response: aiohttp.ClientResponse
    ) -> RemoteHead | Refused | Failed:
        """A response that is the file itself, or says where that is."""
        location = response.headers.get("Location")
        if response.status in REDIRECTS and location is not None:
            where = str(response.url.join(yarl.URL(location[:MAX_URL])))
            return await self._follow(where, take, redirects)
        if response.status != 200:
            return await refusal_of(response)
        if _is_encoded(response.headers.get("Content-Encoding")):
            return Failed("bad_answer", 200, text="The file is compressed")
        async for data in _chunks(response):
            if not await take(data):
                return TOO_LARGE
        return _head(response.headers.get("Content-Type"), response.headers.get("Content-Disposition"))

    async def _follow(self, location: str, take: Take, redirects: int) -> RemoteHead | Refused | Failed:
        """Get the file from where the server says that it is. Nothing is told there of who asks."""
        if redirects <= 0:
            return Failed("bad_answer", 200, text="The server sends us on too often")
        try:
            url = yarl.URL(location)
            if url.scheme != "https" or not url.raw_host or url.raw_user is not None or len(location) > MAX_URL:
                return Failed("bad_answer", 200, text="The server sends us to an address that is not https")
            async with self._http.get(url.with_fragment(None), allow_redirects=False) as response:
                return await self._read_file(take, redirects - 1, response)
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error, TimeoutError):
                raise
            return Failed("bad_answer", 200, text=f"Where the server sends us, there is no file: {error}")


async def _read_parts(pieces: AsyncIterator[Piece], take: Take) -> RemoteHead | Refused | str:
    """The second of exactly two parts, its content taken; or the Location that it has instead. Raises Malformed."""
    number = skipped = 0
    head: RemoteHead | str | None = None
    async for piece in pieces:
        if isinstance(piece, PartBegins):
            number += 1
            if number > 2:
                raise Malformed("The answer has more than two parts")
            if number == 2:
                location = piece.headers.get("location")
                content_type, disposition = piece.headers.get("content-type"), piece.headers.get("content-disposition")
                head = location if location is not None else _head(content_type, disposition)
        elif isinstance(piece, PartBytes):
            if number == 2 and not isinstance(head, str):
                if not await take(piece.data):
                    return TOO_LARGE
                continue
            skipped += len(piece.data)
            if skipped > MAX_METADATA_BYTES:
                raise Malformed("The file's metadata are too large")
        elif isinstance(piece, PartEnds) and number == 2:
            assert head is not None
            return head
    raise Malformed("The answer ends too early")


async def _pieces(response: aiohttp.ClientResponse, reader: MultipartReader) -> AsyncGenerator[Piece, None]:
    async for data in _chunks(response):
        for piece in reader.feed(data):
            yield piece
        if reader.is_complete:
            return


async def _chunks(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The body. Raises TimeoutError where it stands still, aiohttp.ClientError where it breaks off."""
    while True:
        async with asyncio.timeout(IDLE_SECONDS):
            data = await response.content.readany()
        if not data:
            return
        yield data


def _head(content_type: str | None, disposition: str | None) -> RemoteHead:
    name = None if disposition is None else file_name_of(disposition)
    return RemoteHead(content_type_of(content_type), None if name is None else name[:MAX_FILE_NAME])


def _is_encoded(header: str | None) -> bool:
    return header is not None and header.strip().lower() not in ("", "identity")


def _refused(failed: Failed) -> Refused:
    """What the person is told who asked for the file."""
    if failed.status == 504 or failed.errcode == "M_NOT_YET_UPLOADED":
        return Refused(Why.NOT_YET_UPLOADED, "The file has not been uploaded yet")
    if failed.errcode == "M_TOO_LARGE":
        return TOO_LARGE
    if failed.status == 404:
        return NOT_FOUND
    return Refused(Why.UNREACHABLE, f"The file cannot be had from the other server: {failed.text}")
