"""A small Hugging Face hub on this machine: one model, one commit, the answers that a download needs."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

NAME = "Owner/Tiny-Qwen3"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """What the server has, and what it was asked for."""

    def __init__(self, files: Mapping[str, bytes]) -> None:
        self.files = dict(files)
        self.asked: list[str] = []
        self.cut: set[str] = set()  # files whose transfer breaks off in the middle
        self.port = 0

    @property
    def endpoint(self) -> str:
        """Its address, for HF_ENDPOINT."""
        return f"http://127.0.0.1:{self.port}"


@contextlib.contextmanager
def serving(files: Mapping[str, bytes]) -> Iterator[Hub]:
    """Serve `files` as NAME at COMMIT."""
    hub = Hub(files)

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            hub.asked.append(self.path)
            if self.path == f"/api/models/{NAME}/revision/{COMMIT}":
                siblings = [{"rfilename": name} for name in hub.files]
                return self.answer(json.dumps({"id": NAME, "sha": COMMIT, "siblings": siblings}).encode(), {})
            start = f"/{NAME}/resolve/{COMMIT}/"
            name = self.path.removeprefix(start)
            if self.path.startswith(start) and name in hub.files:
                content = hub.files[name]
                large = name.endswith(".safetensors")
                git = hashlib.sha1(f"blob {len(content)}\0".encode() + content, usedforsecurity=False)
                etag = hashlib.sha256(content).hexdigest() if large else git.hexdigest()
                headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
                if large:
                    headers |= {"X-Linked-Etag": f'"{etag}"', "X-Linked-Size": str(len(content))}
                return self.answer(content, headers, cut=name in hub.cut)
            known = self.path.startswith((f"/api/models/{NAME}", f"/{NAME}/"))
            error = "RevisionNotFound" if known else "RepoNotFound"
            return self.answer(b"{}", {"X-Error-Code": error}, status=404)

        def answer(self, content: bytes, headers: Mapping[str, str], status: int = 200, cut: bool = False) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(content))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(content[: len(content) // 2] if cut else content)
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
