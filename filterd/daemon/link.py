"""What a worker and its supervisor say to one another: short JSON messages over a pair of sockets.

    worker       {"said": "ready", "model": "mini-1"}    it serves
                 {"said": "failed", "reason": …, "status": 78}    it could not start
                 {"said": "beat"}    its event loop turns
                 {"said": "prepared"}, {"said": "refused", "reason": …}, {"said": "took", "model": …}
                 {"said": "reload"}    a trial has ended: all are to reload
    supervisor   {"do": "prepare"}, {"do": "commit"}, {"do": "refuse", "reason": …}

SOCK_SEQPACKET keeps messages apart. The end of either side reads as the end of file at the other.
"""

import asyncio
import contextlib
import json
import socket
from typing import Any

from filterd.daemon.worker import Worker
from filterd.errors import FilterdError
from filterd.log import log

MAX_MESSAGE_BYTES = 64 << 10
MAX_REASON = 1000  # characters of an error
BEAT_S = 1.0

Said = dict[str, Any]


def pair() -> tuple[socket.socket, socket.socket]:
    """The supervisor's end and the worker's."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(sock: socket.socket, **said: object) -> None:
    """Say something; nobody may be there to hear it."""
    with contextlib.suppress(OSError):
        sock.send(json.dumps(said).encode())


def receive(sock: socket.socket) -> Said | None:
    """What was said; None where the other side has ended."""
    try:
        data = sock.recv(MAX_MESSAGE_BYTES)
    except BlockingIOError:
        return {}
    except OSError:
        return None
    return dict(json.loads(data)) if data else None


class ChiefLink:
    """The chief of a worker that has a supervisor (`worker.Chief`)."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._worker: Worker | None = None

    async def begin(self, worker: Worker) -> None:
        """Say that this one serves, and listen to what is to be done."""
        self._worker = worker
        self._sock.setblocking(False)
        asyncio.get_running_loop().add_reader(self._sock, self._read)
        worker.spawn(self._beat())
        send(self._sock, said="ready", model=worker.model)

    def ask_reload(self) -> None:
        """All workers are to reload."""
        send(self._sock, said="reload")

    def end(self) -> None:
        """Whoever is told to reload from now on does not."""
        with contextlib.suppress(OSError, ValueError):
            asyncio.get_running_loop().remove_reader(self._sock)

    async def _beat(self) -> None:
        while True:
            send(self._sock, said="beat")
            await asyncio.sleep(BEAT_S)

    def _read(self) -> None:
        said, worker = receive(self._sock), self._worker
        assert worker
        if said is None:
            log.error("supervisor gone")
            self.end()
            worker.stop()
            return
        match said.get("do"):
            case "prepare":
                worker.spawn(self._prepare(worker))
            case "commit":
                worker.commit()
                send(self._sock, said="took", model=worker.model)
            case "refuse":
                worker.refuse(str(said.get("reason")))

    async def _prepare(self, worker: Worker) -> None:
        try:
            await worker.prepare()
        except FilterdError as error:
            send(self._sock, said="refused", reason=str(error)[:MAX_REASON])
        else:
            send(self._sock, said="prepared")
