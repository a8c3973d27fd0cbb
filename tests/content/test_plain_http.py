"""Files behind plain URLs of strangers: bounded, from public hosts, and where the URL says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from validator.content.errors import BadStore, ContentError, FetchError, Flood, NotFound
from validator.content.plain_http import read_url


class Server(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/file")
            self.end_headers()
            return
        body = b"x" * 100
        self.send_response(200 if self.path.startswith("/file") else 404)
        if self.path == "/file?lies":
            body = b"x" * 5000
        else:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_read__file_within_the_limit__is_its_bytes(url: str):
    assert read_url(f"{url}/file?id=1&x=y", 100, private=True) == b"x" * 100


@pytest.mark.parametrize(
    ("path", "kind"), [("/file", Flood), ("/file?lies", Flood), ("/moved", FetchError), ("/none", NotFound)]
)
def test_read__too_long_moved_or_missing__is_refused(url: str, path: str, kind: type[ContentError]):
    with pytest.raises(kind):
        read_url(f"{url}{path}", 99, private=True)


@pytest.mark.parametrize(
    "text",
    [
        "http://example.org/file",
        "https://127.0.0.1/file",
        "https://10.0.0.1/file",
        "https://[::1]/file",
        "https://localhost/file",
        "https://2130706433/file",
        "https://user:secret@example.org/file",
        "https://example.org:22/file",
        "https://example.org/file#part",
        "https://example.org\\@127.0.0.1/",
        "https://example.org/ file",
        "https://[/",
        "file:///etc/passwd",
        "https://example.org/" + "a" * 2048,
    ],
)
def test_read__url_that_may_not_be_asked__is_refused_without_a_request(text: str):
    with pytest.raises(BadStore) as caught:
        read_url(text, 99)
    assert "secret" not in str(caught.value)


def test_read__name_that_leads_here__is_not_connected_to(url: str, monkeypatch: pytest.MonkeyPatch):
    import ipaddress

    from validator.content import addresses

    monkeypatch.setattr(addresses, "resolve", lambda host, port, seconds=0: [ipaddress.ip_address("127.0.0.1")])

    with pytest.raises(FetchError):
        read_url("https://rebound.example/file", 99)
