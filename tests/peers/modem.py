"""A GSM modem on a TCP port: as much of 3GPP TS 27.005 and 23.040 as smsd asks for.

Messages are put on its SIM card; who reads them gets PDUs, and may delete them. What is sent is kept.
"""

import re
import socket
import threading
from dataclasses import dataclass, field

GSM7 = "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ\x1bÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡"  # 3GPP TS 23.038 6.2.1
GSM7 += "ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
NUMBER = "490154203237518\r\n"  # its IMEI and, for smsd, its IMSI too
ANSWERS = {
    "AT+CPIN": "+CPIN: READY\r\n",
    "AT+CSQ": "+CSQ: 20,0\r\n",
    "AT+CREG": "+CREG: 0,1\r\n",
    "AT+CIMI": NUMBER,
    "AT+CGSN": NUMBER,
}


def deliver(sender: str, text: str) -> str:
    """An SMS-DELIVER in hex: GSM 7 bit where the text allows it, else UCS-2."""
    seven = all(c in GSM7 for c in text)
    data = _packed(text) if seven else text.encode("utf-16-be")
    digits = sender + "F" * (len(sender) % 2)
    number = bytes.fromhex("".join(digits[i + 1] + digits[i] for i in range(0, len(digits), 2)))
    address = bytes([len(sender), 0x91]) + number
    time = bytes.fromhex("62114202000000")  # 2026-11-24 20:00:00, digits swapped
    length = len(text) if seven else len(data)
    pdu = b"\x04" + address + bytes([0, 0 if seven else 8]) + time + bytes([length]) + data
    return "00" + pdu.hex().upper()  # "00": no address of a service centre


def _packed(text: str) -> bytes:
    bits = sum(GSM7.index(c) << (7 * i) for i, c in enumerate(text))
    return bits.to_bytes((7 * len(text) + 7) // 8, "little")


@dataclass
class Modem:
    """Answers one program after the other until `stop`."""

    card: dict[int, str] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._connection: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def receive(self, sender: str, text: str) -> None:
        self.card[max(self.card, default=0) + 1] = deliver(sender, text)

    def stop(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        if self._connection:
            self._connection.close()
        self._thread.join()

    def _serve(self) -> None:
        while True:
            try:
                self._connection, _ = self._listening.accept()
            except OSError:
                return
            with self._connection as connection:
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        waiting = b""
        try:
            while part := connection.recv(4096):
                waiting += part
                while match := re.match(rb"([^\r\x1a]*)[\r\x1a]\n?", waiting):
                    waiting = waiting[match.end() :]
                    connection.sendall(self._answer(match[1].decode("latin-1").strip()).encode("latin-1"))
        except OSError:
            return

    def _answer(self, command: str) -> str:
        if re.fullmatch(r"[0-9A-F]{20,}", command):
            self.sent.append(command)
            return f"\r\n+CMGS: {len(self.sent)}\r\n\r\nOK\r\n"
        if command.startswith("AT+CMGS="):
            return "\r\n> "
        return f"\r\n{self._reply(command)}\r\nOK\r\n"

    def _reply(self, command: str) -> str:
        name, _, value = command.partition("=")
        name = name.rstrip("?")
        if name == "AT+CPMS":
            used = f'"SM",{len(self.card)},20'
            return f"+CPMS: {used},{used},{used}\r\n"
        if name == "AT+CMGR" and (pdu := self.card.get(int(value))):
            return f"+CMGR: 0,,{len(pdu) // 2 - 1}\r\n{pdu}\r\n"
        if name == "AT+CMGD":
            self.card.pop(int(value.partition(",")[0]), None)
        return ANSWERS.get(name, "")
