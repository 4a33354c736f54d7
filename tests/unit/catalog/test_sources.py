"""A price file from the web, and what can go wrong on the way."""

from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from threading import Event, Thread
from urllib.error import URLError
from urllib.request import Request

import pytest

from gatewaydb.catalog import read_catalog, sources
from gatewaydb.errors import CatalogUnavailableError, InvalidValueError

PAGES = {
    "/prices.json": (200, {}, b'{"m": {"input_cost_per_token": 5e-07}}'),
    "/moved": (302, {"Location": "/prices.json"}, b""),
    "/to-a-file": (302, {"Location": "file:///etc/hostname"}, b""),
    "/to-ftp": (302, {"Location": "ftp://127.0.0.1/prices.json"}, b""),
    "/in-circles": (302, {"Location": "/in-circles"}, b""),
    "/forbidden": (403, {}, b"{}"),
    "/page": (200, {}, b"<html>"),
    "/cut-off": (200, {"Content-Length": "1000"}, b'{"m": {"input_cost'),
    "/no-http": (0, {}, b"what?\r\n\r\n"),
}


class Web(BaseHTTPRequestHandler):
    released = Event()

    def do_GET(self) -> None:
        if self.path.startswith("/silent"):
            self.released.wait(10)
            return
        status, headers, body = PAGES[self.path.partition("?")[0]]
        if status:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Web) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


@pytest.mark.parametrize("path", ["/prices.json", "/moved", "/prices.json?token=s3cret#x"])
async def test_a_page_is_read_and_redirects_are_followed(site: str, path: str) -> None:
    catalog = await read_catalog(site + path)
    assert [model.name for model in catalog.models] == ["m"]
    assert catalog.source == site + path.partition("?")[0]


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/forbidden", "403"),
        ("/in-circles", "infinite loop"),
        ("/to-a-file", "is not allowed"),
        ("/to-ftp", "redirects to ftp"),
        ("/no-http", "BadStatusLine"),
    ],
)
async def test_a_page_that_cannot_be_had_is_unavailable(site: str, path: str, reason: str) -> None:
    with pytest.raises(CatalogUnavailableError, match=reason) as raised:
        await read_catalog(f"{site}{path}?token=s3cret")
    assert str(raised.value).startswith(f"{site}{path}: ")
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("path", ["/page", "/cut-off"])
async def test_a_page_that_is_no_price_file_is_invalid(site: str, path: str) -> None:
    with pytest.raises(InvalidValueError, match=f"{path}: "):
        await read_catalog(site + path)


async def test_a_page_that_is_too_large_is_refused(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "CATALOG_MAX_BYTES", 30)
    with pytest.raises(InvalidValueError, match=r"/prices\.json: is larger than 30 bytes"):
        await read_catalog(f"{site}/prices.json")


async def test_a_server_that_says_nothing_is_unavailable_in_time(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "CATALOG_TIMEOUT", timedelta(milliseconds=50))
    try:
        with pytest.raises(CatalogUnavailableError, match="/silent: took longer"):
            await read_catalog(f"{site}/silent")
    finally:
        Web.released.set()


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/prices.json", "https://host.invalid/", "http://" + "é" * 70 + "/"])
async def test_a_host_that_does_not_answer_is_unavailable(url: str) -> None:
    with pytest.raises(CatalogUnavailableError, match=f"^{url.rstrip('/')}"):
        await read_catalog(url)


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://host/f.json", "file:///etc/hostname", "data://x", "http://", "http://host/a b", "http://a b/"),
        *(
            "https://user:s3cret@host/",
            "https://user:s3cret#@host/",
            "https://user:s3cret/@host/",
            "https://s3cret@host",
        ),
    ],
)
async def test_another_kind_of_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidValueError, match="a URL must be http or https") as raised:
        await read_catalog(url)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("target", ["http://host/prices.json", "file:///etc/hostname", "HTTP://host/"])
def test_a_redirect_never_leaves_https(target: str) -> None:
    redirects = sources._Redirects()
    with pytest.raises(URLError, match="not followed"):
        redirects.redirect_request(Request("https://host/"), BytesIO(), 302, "Found", {}, target)  # type: ignore[arg-type]
