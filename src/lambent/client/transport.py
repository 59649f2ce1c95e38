"""HTTP to one server: pooled connections, time-outs, and every failure as one of our errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

import msgspec
import urllib3
from urllib3 import exceptions

from lambent.client.discovery import Endpoint, no_server
from lambent.client.errors import error_of
from lambent.core.errors import CallerFault, PlatformFault

CONNECTIONS_MAX: Final = 64
CONNECT_TIMEOUT_S: Final = 5.0
# While a body is sent, this bounds each wait for the server to take more of it.
UPLOAD_STALL_TIMEOUT_S: Final = 60.0
LINE_BYTES_MAX: Final = 1 << 20
PIECE_BYTES: Final = 1 << 20


class Answer(msgspec.Struct, frozen=True):
    """A response that is no error. Names of headers are lower-case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Transport:
    """Requests to one endpoint. Safe to use from several threads."""

    def __init__(self, endpoint: Endpoint) -> None:
        """Connects to nothing yet. Raises `CallerFault` where the URL or the key cannot be one."""
        self.url: Final = endpoint.url
        if not (endpoint.api_key.isascii() and (endpoint.api_key or "-").isprintable()):
            raise CallerFault("the API key holds characters that no key has: check LAMBENT_API_KEY")
        self._headers: Final = {"authorization": f"Bearer {endpoint.api_key}"} if endpoint.api_key else {}
        try:
            parsed = urllib3.util.parse_url(endpoint.url)
            if parsed.scheme not in ("http", "https") or not parsed.host:
                raise exceptions.LocationParseError(endpoint.url)
            self._pool: Final = urllib3.connection_from_url(
                endpoint.url, maxsize=CONNECTIONS_MAX, block=False, retries=False
            )
        except exceptions.HTTPError as error:
            raise CallerFault(
                f"{endpoint.url!r} is not a URL of a server, such as http://127.0.0.1:8700"
            ) from error
        self._prefix: Final = (parsed.path or "").rstrip("/")

    def close(self) -> None:
        """Close the idle connections."""
        self._pool.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """The whole answer. `timeout_s` bounds the wait for it once the request is sent.

        Raises `NoServer` where nothing listens, `ApiError` where it refuses, `PlatformFault` where it is
        silent or hangs up: the request may have been carried out then.
        """
        response = self._open(method, path, timeout_s=timeout_s, body=body, headers=headers)
        try:
            content = response.read()
        except exceptions.HTTPError as error:
            raise self._broken(error, timeout_s) from error
        finally:
            response.release_conn()
        return Answer(response.status, _lower(response), content)

    def lines(self, path: str, *, timeout_s: float | None) -> Iterator[str]:
        """The lines of a text as they arrive. `timeout_s` bounds the wait for each; None waits for ever.

        A line over `LINE_BYTES_MAX` comes in pieces. Raises as `request` does, the refusals at once.
        """
        response = self._open("GET", path, timeout_s=timeout_s)
        return self._lines_of(response, timeout_s)

    def pieces(self, path: str, *, timeout_s: float) -> Iterator[bytes]:
        """A body as it arrives. Raises as `request` does, the refusals at once."""
        response = self._open("GET", path, timeout_s=timeout_s)
        return self._pieces_of(response, timeout_s)

    def _pieces_of(self, response: urllib3.BaseHTTPResponse, timeout_s: float) -> Iterator[bytes]:
        try:
            yield from response.stream(PIECE_BYTES)
        except exceptions.HTTPError as error:
            raise self._broken(error, timeout_s) from error
        finally:
            response.close()

    def _lines_of(self, response: urllib3.BaseHTTPResponse, timeout_s: float | None) -> Iterator[str]:
        rest = b""
        try:
            for chunk in response.stream():
                *lines, rest = (rest + chunk).split(b"\n")
                if len(rest) > LINE_BYTES_MAX:
                    lines, rest = [*lines, rest], b""
                for line in lines:
                    yield line.decode("utf-8", "replace")
            if rest:
                yield rest.decode("utf-8", "replace")
        except exceptions.HTTPError as error:
            raise self._broken(error, timeout_s) from error
        finally:
            response.close()

    def _open(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float | None,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> urllib3.BaseHTTPResponse:
        for name, value in (headers or {}).items():
            if not (value.isascii() and value.isprintable()):
                raise CallerFault(f"{name}: {value!r} holds characters that a header cannot")
        connect_s = CONNECT_TIMEOUT_S if body is None else UPLOAD_STALL_TIMEOUT_S
        try:
            response = self._pool.urlopen(
                method,
                self._prefix + path,
                body=body,
                headers={**self._headers, **(headers or {})},
                timeout=urllib3.Timeout(connect=connect_s, read=timeout_s),
                redirect=False,
                preload_content=False,
                decode_content=True,
            )
            if response.status >= 300:  # nothing of ours redirects
                raise error_of(response.status, _lower(response), response.read())
        except exceptions.HTTPError as error:
            raise self._broken(error, timeout_s) from error
        return response

    def _broken(self, error: exceptions.HTTPError, timeout_s: float | None) -> Exception:
        if isinstance(error, exceptions.NewConnectionError):
            return no_server(self.url)
        if isinstance(error, exceptions.ConnectTimeoutError):
            return no_server(self.url, f"no connection within {CONNECT_TIMEOUT_S:g} s")
        if isinstance(error, exceptions.ReadTimeoutError):
            return PlatformFault(f"the server at {self.url} gave no answer within {timeout_s:g} s")
        if isinstance(error, exceptions.SSLError):
            return CallerFault(
                f"no trusted connection to {self.url}: {error}; "
                "SSL_CERT_FILE may name a certificate to trust, as PEM"
            )
        return PlatformFault(
            f"the connection to {self.url} broke before the answer was complete; the server may have stopped"
        )


def _lower(response: urllib3.BaseHTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}
