"""Asking a running daemon, over its unix socket, with nothing but the standard library's socket and json.

`filterd check` in a pipe runs once a mail: what it imports is what it costs. So this is HTTP/1.1 by hand
(RFC 9112), one request a connection, and only as much of it as our own daemon speaks. Many messages share a
request, as many as MAX_BATCH and MAX_BATCH_BYTES allow.
"""

import binascii
import contextlib
import json
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import urlencode

from filterd.api import Action, Kind, Label, Message, ModelAnswer, Verdict
from filterd.errors import BadInput, FilterdError, LearningClosed, ModelUnavailable, Overloaded, StoreError
from filterd.headers import STYLE_HEADER, HeaderStyle

SOCKET = "/run/filterd/http.sock"
CONNECT_TIMEOUT_S = 0.5  # a local daemon that does not accept by then is not serving
ANSWER_TIMEOUT_S = 30.0  # longer than the daemon's own deadline for a message
MAX_BATCH = 256  # messages of one request: as many as the daemon takes in hand at once
MAX_BATCH_BYTES = 8 << 20  # of them; far below its http.max_bytes, in base64 too
MAX_ANSWER_BYTES = 64 << 20  # 10,000 verdicts are 3 MB

_ERRORS: dict[int, type[FilterdError]] = {
    400: BadInput,
    413: BadInput,
    403: LearningClosed,
    429: Overloaded,
    503: ModelUnavailable,
    507: StoreError,
}


def socket_path() -> str | None:
    """The daemon's socket if there is one: FILTERD_SOCKET, else the usual place. "" there turns it off.

    None where a daemon that died has left its socket.
    """
    path = os.environ.get("FILTERD_SOCKET", SOCKET)
    if not path:
        return None
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.settimeout(CONNECT_TIMEOUT_S)
            probe.connect(path)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        return None
    except OSError:  # there is one, and asking it says what is wrong
        return path
    return path


class Daemon:
    """A daemon's socket. Every method raises ModelUnavailable where nobody answers."""

    def __init__(self, path: str, answer_timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self._path = path
        self._answer_timeout_s = answer_timeout_s
        self.style = HeaderStyle()  # as its last answer has said

    def check(self, messages: Sequence[Message]) -> list[Verdict]:
        """Verdicts in the order of the messages. Raises what the daemon said was wrong."""
        return [found for batch in batches(messages) for found in self._check(batch)]

    def _check(self, batch: Sequence[Message]) -> list[Verdict]:
        if len(batch) == 1 and not batch[0].sender:
            return [self._verdict(self._post("/v1/check", batch[0], {}))]
        body = json.dumps({"messages": [_as_json(message) for message in batch]}).encode()
        said = self._ask("POST", "/v1/check", body, "application/json").get("verdicts")
        if not isinstance(said, list) or len(said) != len(batch):
            raise _foreign(self._path)
        return [self._verdict(one) for one in said]

    def learn(self, message: Message, label: Label) -> bool:
        """Take a correction; durable once this returns."""
        return bool(self._post("/v1/learn", message, {"label": label})["learned"])

    def forget(self, message: Message) -> bool:
        """Take a correction back."""
        return bool(self._post("/v1/forget", message, {})["forgotten"])

    def status(self) -> dict[str, Any]:
        """What GET /v1/status says."""
        return self._ask("GET", "/v1/status", b"")

    def _verdict(self, said: dict[str, Any]) -> Verdict:
        try:
            return _verdict(said)
        except (KeyError, TypeError, ValueError) as error:
            raise _foreign(self._path) from error

    def _post(self, path: str, message: Message, query: dict[str, str]) -> dict[str, Any]:
        if message.kind:
            query["kind"] = message.kind
        if message.id:
            query["id"] = message.id
        if message.user:
            query["user"] = message.user
        return self._ask("POST", f"{path}?{urlencode(query)}", message.raw)

    def _ask(self, method: str, target: str, body: bytes, media_type: str = "") -> dict[str, Any]:
        fields = ["Host: filterd", f"Content-Length: {len(body)}", "Connection: close"]
        fields += [f"Content-Type: {media_type}"] if media_type else []
        head = "\r\n".join((f"{method} {target} HTTP/1.1", *fields, "", ""))
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(CONNECT_TIMEOUT_S)
                connection.connect(self._path)
                connection.settimeout(self._answer_timeout_s)
                with contextlib.suppress(ConnectionError):  # its answer was there before our body was read
                    connection.sendall(head.encode("ascii") + body)
                answer = _receive(connection)
        except OSError as error:
            raise ModelUnavailable(f"{self._path}: {error}; is filterd serve running?") from error
        said, _, content = answer.partition(b"\r\n\r\n")
        self.style = _style(said, self.style)
        return _parse(self._path, said, content)


def batches(messages: Sequence[Message]) -> Iterator[list[Message]]:
    """The messages as they share requests, in their order; one that is larger goes alone."""
    batch: list[Message] = []
    size = 0
    for message in messages:
        if batch and (len(batch) == MAX_BATCH or size + len(message.raw) > MAX_BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += len(message.raw)
    if batch:
        yield batch


def _as_json(message: Message) -> dict[str, Any]:
    """A message in a batch; see `filterd.protocols.http.wire.MessageBody`."""
    people = {"sender": message.sender, "recipients": message.recipients, "user": message.user}
    given = {"kind": message.kind, "id": message.id, **people}
    raw = binascii.b2a_base64(message.raw, newline=False).decode("ascii")
    return {"raw": raw} | {name: value for name, value in given.items() if value}


def _receive(connection: socket.socket) -> bytes:
    answer = bytearray()
    try:
        while part := connection.recv(1 << 16):
            answer += part
            if len(answer) > MAX_ANSWER_BYTES:
                raise OSError("the answer is too long")
    except ConnectionResetError:  # how closing on a body that nobody read looks from here
        if not answer:
            raise
    return bytes(answer)


def _style(head: bytes, default: HeaderStyle) -> HeaderStyle:
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == STYLE_HEADER.lower().encode():
            return HeaderStyle.from_text(value.decode("ascii", "replace").strip())
    return default


def _parse(path: str, head: bytes, body: bytes) -> dict[str, Any]:
    try:
        status = int(head.split(b" ", 2)[1])
        content = json.loads(_unchunked(body) if b"transfer-encoding: chunked" in head.lower() else body)
    except (IndexError, ValueError, RecursionError) as error:
        raise _foreign(path) from error
    if not isinstance(content, dict):
        raise _foreign(path)
    if status != 200:
        raise _ERRORS.get(status, FilterdError)(str(content.get("error", f"status {status}")))
    return content


def _foreign(path: str) -> ModelUnavailable:
    return ModelUnavailable(f"{path}: that is not filterd's answer; what listens there?")


def _unchunked(body: bytes) -> bytes:
    """A chunked body in one piece, RFC 9112 7.1."""
    parts = []
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size.split(b";")[0], 16)
        parts.append(body[:length])
        body = body[length + 2 :]
    return b"".join(parts)


def _verdict(said: dict[str, Any]) -> Verdict:
    return Verdict(
        label=Label(said["label"]) if "points" in said else Label.HAM,
        answer=None if "points" in said else ModelAnswer.of(said),
        probability=said.get("probability", 0.0),
        points=said.get("points", 0.0),
        kind=Kind(said["kind"]),
        model=said["model"],
        tests=tuple(said["tests"]),
        classes=said["classes"],
        available=said["available"],
        subject=said["subject"],
        seconds=said["ms"] / 1000,
        action=Action(said["action"]) if "action" in said else None,  # an older daemon says none
    )
