"""A stand-in of the hub's API on this machine, which keeps what is uploaded to it."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "0" * 40


@dataclass
class Hub:
    """What a stand-in knows, and what it was asked."""

    address: str = ""
    token: str = "hf_a_secret_token"
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    private: dict[str, bool] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    refuses: int | None = None
    """A status that every upload ends in."""


@contextmanager
def hub_stand_in() -> Iterator[Hub]:
    """A hub that runs meanwhile."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def answer(self, status: int, value: Any) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self.reply(b"")

        def do_POST(self) -> None:
            self.reply(self.rfile.read(int(self.headers.get("Content-Length") or 0)))

        def reply(self, content: bytes) -> None:
            path = self.path.partition("?")[0]
            hub.asked.append(f"{self.command} {path}")
            if self.headers.get("Authorization") != f"Bearer {hub.token}":
                return self.answer(401, {"error": "Invalid credentials"})
            if path == "/api/repos/create":
                asked = json.loads(content)
                name = f"{asked['organization']}/{asked['name']}" if asked.get("organization") else asked["name"]
                status = 409 if name in hub.repositories else 200
                hub.repositories.setdefault(name, {".gitattributes": b""})
                hub.private.setdefault(name, asked.get("private") or asked.get("visibility") == "private")
                return self.answer(status, {"url": f"{hub.address}/{name}"})
            if path == "/api/validate-yaml":
                return self.answer(200, {"errors": [], "warnings": []})
            _, _, _, owner, name, action, *_ = path.split("/")
            files = hub.repositories[f"{owner}/{name}"]
            if action == "tree":
                told = [{"type": "file", "path": path, "size": len(files[path]), "oid": "0"} for path in files]
                return self.answer(200, told)
            if action == "preupload":
                if hub.refuses is not None:
                    return self.answer(hub.refuses, {"error": "no"})
                asked = [file["path"] for file in json.loads(content)["files"]]
                modes = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in asked]
                return self.answer(200, {"files": modes})
            for line in map(json.loads, content.splitlines()):
                if line["key"] == "file":
                    files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
            return self.answer(200, {"commitUrl": f"{hub.address}/{owner}/{name}/commit/{COMMIT}", "commitOid": COMMIT})

        def log_message(self, *_arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
