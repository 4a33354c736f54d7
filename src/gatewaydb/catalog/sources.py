"""Where a price file comes from: the bytes of a file or of a web page, bounded in size and time."""

import asyncio
import re
from collections.abc import Callable
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from threading import Event
from typing import IO
from urllib import request
from urllib.error import HTTPError, URLError

from gatewaydb.config import CATALOG_MAX_BYTES, CATALOG_TIMEOUT, TEXT_MAX_CHARS
from gatewaydb.entities import checks
from gatewaydb.errors import CatalogUnavailableError, InvalidValueError

_URL = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_WEB_URL = re.compile(r"https?://(\[[0-9a-f:.]+\]|[^\s/?#@:\[\]]+)(:\d+)?([/?#][!-~]*)?", re.IGNORECASE)
_HEADERS = {"User-Agent": "gatewaydb"}
_SOCKET_TIMEOUT_S = 10
_PART_BYTES = 2**16


async def read_source(source: str | Path) -> bytes:
    """The content of a file or of an http(s) URL, read on another thread.

    Raises CatalogUnavailableError, and InvalidValueError for another kind of URL and for more than CATALOG_MAX_BYTES.
    """
    place = checks.text("source", str(source), TEXT_MAX_CHARS)
    is_url = _URL.match(place) is not None
    if is_url and not _WEB_URL.fullmatch(place):
        raise InvalidValueError("source: a URL must be http or https, without a user, a password or spaces")
    stopped = Event()
    try:
        async with asyncio.timeout(CATALOG_TIMEOUT.total_seconds()):
            return await asyncio.to_thread(_read_url if is_url else _read_file, place, stopped)
    except TimeoutError:
        raise CatalogUnavailableError(f"{shown(source)}: took longer than {CATALOG_TIMEOUT}") from None
    finally:
        # The thread of a caller who no longer waits ends after the part that it is reading.
        stopped.set()


def shown(source: str | Path) -> str:
    """The source for people's eyes: a URL without its query, which may hold a token."""
    text = str(source)
    return re.split(r"[?#]", text)[0] if _URL.match(text) else text


def _read_file(path: str, stopped: Event) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return _read_parts(path, file.read, stopped)
    except OSError as error:
        raise CatalogUnavailableError(f"{path}: {error.strerror}") from error


def _read_url(url: str, stopped: Event) -> bytes:
    try:
        with _opener().open(request.Request(url, headers=_HEADERS), timeout=_SOCKET_TIMEOUT_S) as response:  # noqa: S310
            return _read_parts(shown(url), response.read1, stopped)
    except HTTPError as error:
        error.close()
        raise CatalogUnavailableError(f"{shown(url)}: {error.code} {error.reason}") from None
    except URLError as error:
        raise CatalogUnavailableError(f"{shown(url)}: {error.reason}") from None
    except (OSError, UnicodeError) as error:
        raise CatalogUnavailableError(f"{shown(url)}: {error}") from None
    except HTTPException as error:  # its text may hold the whole URL
        raise CatalogUnavailableError(f"{shown(url)}: {type(error).__name__}") from None


def _read_parts(name: str, read: Callable[[int], bytes], stopped: Event) -> bytes:
    data = bytearray()
    while (part := read(_PART_BYTES)) and not stopped.is_set():
        data += part
        if len(data) > CATALOG_MAX_BYTES:
            raise InvalidValueError(f"{name}: is larger than {CATALOG_MAX_BYTES:,} bytes, which no price file is")
    return bytes(data)


class _Redirects(request.HTTPRedirectHandler):
    """Follows to the web only, and never from https to http, where anybody on the way could change a price."""

    def redirect_request(
        self, req: request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> request.Request | None:
        allowed = ("https",) if req.type == "https" else ("http", "https")
        if newurl.partition(":")[0].lower() not in allowed:
            fp.close()
            raise URLError(f"redirects to {shown(newurl)}, which is not followed")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener() -> request.OpenerDirector:
    # Not `build_opener`, whose openers read files and FTP, too.
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler(),
        request.HTTPHandler(),
        request.HTTPSHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPErrorProcessor(),
        _Redirects(),
    ):
        opener.add_handler(handler)
    return opener
