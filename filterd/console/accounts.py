"""Who may use the console: accounts in `<state>/console.json`, passwords as scrypt, three roles.

The file is 0600 and read anew when it changes, so `filterd console password` needs no reload. A password's
hash is a part of what signs its sessions: whoever gets a new one has to sign in again everywhere.
"""

import hashlib
import hmac
import os
import re
import secrets
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from filterd.errors import BadInput, StoreError

FILE: Final = "console.json"
MIN_PASSWORD: Final = 10  # characters
MAX_PASSWORD: Final = 1_000  # characters; hashing more is work that nobody asked for
MAX_BYTES: Final = 1 << 20  # of the file: some thousand accounts
NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
# RFC 7914; 50 ms and 16 MB, which two threads of the console's own do at a time.
_COST: Final = {"n": 1 << 14, "r": 8, "p": 1}


class Role(StrEnum):
    """What an account may do. A user sees and corrects mail to his own addresses and nothing else."""

    ADMINISTRATOR = "administrator"
    USER = "user"
    READER = "read-only"


class Account(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """addresses: whose mail a user sees. password: salt and hash in hex; "" for who comes by a proxy only."""

    name: str
    role: Role
    password: str = ""
    addresses: tuple[str, ...] = ()


class Accounts:
    """The accounts of one state folder."""

    def __init__(self, state: Path) -> None:
        self._path = state / FILE
        self._read: tuple[int, dict[str, Account]] = (-1, {})

    def __len__(self) -> int:
        return len(self.all())

    def all(self) -> dict[str, Account]:
        """Accounts by name; none where the file is missing. Raises StoreError where it is damaged."""
        try:
            changed = self._path.stat().st_mtime_ns
            if changed != self._read[0]:
                self._read = (changed, _parse(self._path))
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror}; check its owner and mode") from error
        return self._read[1]

    def get(self, name: str) -> Account | None:
        """An account by its name."""
        return self.all().get(name)

    def verify(self, name: str, password: str) -> Account | None:
        """The account whose password this is. Takes as long for a name that there is not."""
        account = self.get(name)
        stored = account.password if account and account.password else _hash("", bytes(16))
        salt = bytes.fromhex(stored.partition("$")[0])
        matches = hmac.compare_digest(_hash(password[:MAX_PASSWORD], salt), stored)
        return account if account and account.password and matches else None

    def put(self, name: str, role: Role, password: str, addresses: tuple[str, ...] = ()) -> None:
        """Make an account or give it another password. Raises BadInput, StoreError."""
        if not NAME.fullmatch(name):
            raise BadInput(f"{name!r}: a name has letters, digits and . _ @ + -, 64 at most")
        if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
            raise BadInput(f"a password has {MIN_PASSWORD} to {MAX_PASSWORD} characters")
        made = Account(name, role, _hash(password, secrets.token_bytes(16)), addresses)
        self._write(self.all() | {name: made})

    def remove(self, name: str) -> bool:
        """Take an account away; False where there is none."""
        rest = {key: one for key, one in self.all().items() if key != name}
        if len(rest) == len(self.all()):
            return False
        self._write(rest)
        return True

    def _write(self, accounts: dict[str, Account]) -> None:
        temporary = self._path.with_name(f".{FILE}.{os.getpid()}.new")
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
                stream.write(msgspec.json.format(msgspec.json.encode(list(accounts.values())), indent=2))
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(self._path)
        except OSError as error:
            raise StoreError(f"{self._path}: {error.strerror}; check its folder's owner and mode") from error


def _parse(path: Path) -> dict[str, Account]:
    try:
        found = msgspec.json.decode(path.read_bytes()[:MAX_BYTES], type=list[Account])
    except msgspec.MsgspecError as error:
        raise StoreError(f"{path}: {error}; remove it and set the passwords anew") from error
    return {one.name: one for one in found}


def _hash(password: str, salt: bytes) -> str:
    made = hashlib.scrypt(password.encode("utf-8", "replace"), salt=salt, maxmem=64 << 20, **_COST)
    return f"{salt.hex()}${made.hex()}"
