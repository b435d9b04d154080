from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from registry import RegistryError, digest_of, parts_of

DIGEST = "sha256:" + "ab" * 32


class Registry(BaseHTTPRequestHandler):
    """Has one image; gives its digest to who shows the token that it hands out to anybody."""

    def do_GET(self) -> None:
        assert "scope=repository" in self.path
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"token": "t"}).encode())

    def do_HEAD(self) -> None:
        if self.headers.get("Authorization") != "Bearer t":
            self.send_response(401)
            realm = f"http://{self.headers['Host']}/token"
            self.send_header("WWW-Authenticate", f'Bearer realm="{realm}",service="s",scope="repository:a/b:pull"')
        elif self.path == "/v2/a/b/manifests/1.0":
            self.send_response(200)
            self.send_header("Docker-Content-Digest", DIGEST)
        elif self.path == "/v2/a/b/manifests/none":
            self.send_response(200)
        else:
            self.send_response(404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def host() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("python:3.11-slim", ("registry-1.docker.io", "library/python", "3.11-slim")),
        ("python", ("registry-1.docker.io", "library/python", "latest")),
        ("docker.io/python:3", ("registry-1.docker.io", "library/python", "3")),
        ("slimerl/slime:nightly", ("registry-1.docker.io", "slimerl/slime", "nightly")),
        ("example.org/a/b:1", ("example.org", "a/b", "1")),
        ("localhost:5000/a:1", ("localhost:5000", "a", "1")),
        (f"a/b:1@{DIGEST}", ("registry-1.docker.io", "a/b", DIGEST)),
    ],
)
def test_names_are_read_as_docker_reads_them(image: str, expected: tuple[str, str, str]) -> None:
    assert parts_of(image) == expected


def test_a_tags_digest_is_asked_of_the_registry(host: str) -> None:
    assert digest_of(f"{host}/a/b:1.0") == DIGEST


def test_a_digest_in_the_name_needs_no_registry() -> None:
    assert digest_of(f"nowhere.invalid/a@{DIGEST}") == DIGEST


def test_an_image_that_is_not_there_is_said_so(host: str) -> None:
    with pytest.raises(RegistryError, match="404"):
        digest_of(f"{host}/a/b:2.0")
    with pytest.raises(RegistryError, match="no digest"):
        digest_of(f"{host}/a/b:none")


def test_a_registry_that_is_not_there_is_said_so() -> None:
    with pytest.raises(RegistryError, match="cannot be asked"):
        digest_of("127.0.0.1:9/a/b:1")
