"""One connection's requests and answers, without a socket: HTTP/1.1 by h11, with bounds.

h11 owns the state machine (a table, `h11/_state.py`); here is what it leaves open: how large a request may
be, and which answer ends a connection.
"""

from http import HTTPStatus
from urllib.parse import unquote

import h11

from filterd_plugins.sms.gateways import Answer, Refused, Request

MAX_HEAD_BYTES = 16 << 10  # request line and headers; a long SMS in Kannel's query has 5 KB, escaped
MAX_BODY_BYTES = 64 << 10  # Twilio's longest message and all its fields have 20 KB


class Session:
    """Feed it what comes in; it gives requests one at a time, and the bytes of their answers."""

    def __init__(self) -> None:
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._head: h11.Request | None = None
        self._body = bytearray()

    @property
    def over(self) -> bool:
        """Whether nothing more can come or go."""
        return self._http.our_state in {h11.CLOSED, h11.MUST_CLOSE, h11.ERROR} or (
            self._http.their_state in {h11.CLOSED, h11.ERROR} and self._http.our_state is h11.IDLE
        )

    def feed(self, data: bytes) -> None:
        """What came in; b"" for the end."""
        self._http.receive_data(data)

    def request(self) -> Request | None:
        """The next whole request, None where more has to come. Raises Refused."""
        try:
            return self._request()
        except h11.RemoteProtocolError as error:
            raise Refused(error.error_status_hint, str(error)) from error

    def _request(self) -> Request | None:
        while True:
            event = self._http.next_event()
            match event:
                case h11.Request():
                    self._head, self._body = event, bytearray()
                case h11.Data():
                    self._body += event.data
                    if len(self._body) > MAX_BODY_BYTES:
                        raise Refused(413, f"a body has {MAX_BODY_BYTES:,} bytes at most")
                case h11.EndOfMessage():
                    assert self._head is not None
                    return _request(self._head, bytes(self._body))
                case _:  # NEED_DATA, PAUSED or ConnectionClosed
                    return None

    def answer(self, given: Answer) -> bytes:
        """An answer's bytes; see `over` for whether the connection ends after them."""
        headers = [
            ("Content-Type", given.kind),
            ("Content-Length", str(len(given.body))),
            *given.headers,
        ]
        if self._http.their_state not in {h11.DONE, h11.MUST_CLOSE, h11.CLOSED}:
            headers.append(("Connection", "close"))  # the rest of the request is not read
        body = b"" if self._head and self._head.method == b"HEAD" else given.body
        out = [
            self._http.send(
                h11.Response(
                    status_code=given.status, reason=HTTPStatus(given.status).phrase, headers=headers
                )
            ),
            self._http.send(h11.Data(data=body)),
            self._http.send(h11.EndOfMessage()),
        ]
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        return b"".join(part for part in out if part)


def _request(head: h11.Request, body: bytes) -> Request:
    target = head.target.decode("ascii")
    path, _, query = target.partition("?")
    return Request(
        head.method.decode("ascii"),
        unquote(path, errors="replace"),
        query,
        {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers},
        body,
    )
