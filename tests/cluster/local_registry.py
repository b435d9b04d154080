"""An image registry on this machine with one image, made of a SIF: enough of the protocol to pull from."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@contextlib.contextmanager
def registry(root: Path, folder: Path, name: str, tag: str) -> Iterator[tuple[str, str]]:
    """Serve an image whose files are those below `root`.

    Yields
    ------
    tuple
        Its name with host, port and tag, and its digest.
    """
    layer = folder / "layer.tar"
    subprocess.run(["tar", "--create", "--file", layer, "--numeric-owner", "--directory", root, "."], check=True)
    packed = folder / "layer.tar.gz"
    with open(layer, "rb") as source, gzip.open(packed, "wb", compresslevel=1) as target:
        shutil.copyfileobj(source, target)
    blobs = {_digest(packed.read_bytes()): packed.read_bytes()}
    (layer_digest,) = blobs
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer.read_bytes())]},
    }
    layer.unlink()
    text = json.dumps(config).encode()
    blobs[_digest(text)] = text
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _descriptor("application/vnd.oci.image.config.v1+json", text),
        "layers": [
            {
                "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": layer_digest,
                "size": packed.stat().st_size,
            }
        ],
    }
    body = json.dumps(manifest).encode()
    digest = _digest(body)
    answers = {f"/v2/{name}/blobs/{key}": ("application/octet-stream", value) for key, value in blobs.items()}
    answers |= {f"/v2/{name}/manifests/{reference}": (MANIFEST, body) for reference in (tag, digest)}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, answers | {"/v2/": ("text/plain", b"")}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}/{name}:{tag}", digest
    finally:
        server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    def __init__(self, answers: dict[str, tuple[str, bytes]], *arguments: object) -> None:
        self.answers = answers
        super().__init__(*arguments)

    def do_GET(self) -> None:
        kind, body = self.answers.get(self.path, ("", b""))
        self.send_response(200 if kind else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Docker-Content-Digest", _digest(body))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        pass


def _descriptor(kind: str, body: bytes) -> dict[str, str | int]:
    return {"mediaType": kind, "digest": _digest(body), "size": len(body)}


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
