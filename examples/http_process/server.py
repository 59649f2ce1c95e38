"""The least that a program needs to be deployed: it serves HTTP on $PORT. Nothing of Lambent is in it."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answer(BaseHTTPRequestHandler):
    """Says what it was asked, and who answers."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Add up the numbers of a JSON list."""
        numbers = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self._say({"sum": sum(numbers), "by": os.environ["K_SERVICE"]})

    def do_GET(self) -> None:
        """Say what was asked for."""
        self._say({"path": self.path, "by": os.environ["K_SERVICE"]})

    def _say(self, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


ThreadingHTTPServer((os.environ["HOST"], int(os.environ["PORT"])), Answer).serve_forever()
