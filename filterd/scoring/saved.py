"""A memory as a file: a line of JSON about it, then its arrays. Atomic, synced, 0600, checked by a hash."""

import contextlib
import copy
import hashlib
import os
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from filterd.errors import StoreError
from filterd.scoring.memory import Memory
from filterd.scoring.owner import Owner, Table

FORMAT: Final = 4  # of the file; part of its header
MAX_HEADER: Final = 64 << 20  # bytes; 0.2 KB an owner
MAX_ARRAYS: Final = 1 << 30  # bytes; more is no memory of ours

Arrays = dict[str, NDArray[np.generic]]


class _Owner(msgspec.Struct, kw_only=True, frozen=True, array_like=True):
    name: str
    key: int
    places: int  # of its table; 0 for none
    counts: list[list[int]]
    model: list[float]
    campaigns: float
    agreed: int
    contradicted: int
    seat: int


class _Header(msgspec.Struct, frozen=True):
    format: int
    revision: int
    sha256: str
    arrays: list[tuple[str, str, tuple[int, ...]]]  # name, type, shape
    owners: list[_Owner]


class MemoryState(NamedTuple):
    """A copy of a memory at one moment."""

    revision: int
    owners: list[_Owner]
    arrays: Arrays

    def write(self, path: Path) -> None:
        """Write it. Raises StoreError."""
        pieces = [np.ascontiguousarray(array).tobytes() for array in self.arrays.values()]
        about = [(name, array.dtype.str, array.shape) for name, array in self.arrays.items()]
        header = _Header(FORMAT, self.revision, "", about, self.owners)
        head = msgspec.json.encode(msgspec.structs.replace(header, sha256=_digest(header, pieces)))
        temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            # hashes of words still tell something of what people wrote, hence 0600
            with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
                stream.writelines([head, b"\n", *pieces])
                stream.flush()
                os.fsync(stream.fileno())
            temporary.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise StoreError(f"{path}: {error.strerror}; the memory is rebuilt at the next start") from error


def save(memory: Memory) -> MemoryState:
    """A copy of the memory's state; takes milliseconds, so the lock may be held meanwhile."""
    owners: list[_Owner] = []
    arrays: Arrays = memory.panel.arrays()
    for name, who in memory.owners.items():
        owners.append(
            _Owner(
                name=name,
                key=who.key,
                places=0 if who.table is None else len(who.table.weights),
                counts=who.counts,
                model=who.model,
                campaigns=who.campaigns,
                agreed=who.agreed,
                contradicted=who.contradicted,
                seat=who.seat,
            )
        )
    tables = [Table.empty(0), *(who.table for who in memory.owners.values() if who.table is not None)]
    arrays["weights"] = np.concatenate([one.weights for one in tables])
    arrays["seen"] = np.concatenate([one.seen for one in tables])
    keys, said = memory.words.keys(), memory.words.values()
    arrays["word_keys"] = np.fromiter(keys, np.uint64, len(keys))
    arrays["words"] = np.fromiter(said, np.float64, len(said))
    campaigns = {name: array.copy() for name, array in memory.campaigns.arrays().items()}
    return MemoryState(memory.revision, copy.deepcopy(owners), arrays | campaigns)


def load(path: Path, agreement: float = 0.3) -> Memory:
    """Read what `MemoryState.write` wrote.

    Raises StoreError where it is missing, damaged or of another version.
    """
    wrong = StoreError(f"{path}: damaged or of another version; rebuild the memory from the store")
    try:
        with path.open("rb") as stream:
            # read(n) makes room for n bytes at once, whatever is there.
            size = min(MAX_ARRAYS, os.fstat(stream.fileno()).st_size)
            line, rest = stream.readline(MAX_HEADER), stream.read(size)
        header = msgspec.json.decode(line, type=_Header)
        arrays = _arrays(header, rest)
        pieces = [array.tobytes() for array in arrays.values()]
        if header.format != FORMAT or header.sha256 != _digest(header, pieces):
            raise wrong
        return _memory(header, arrays, agreement)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror}; rebuild the memory from the store") from error
    except (ValueError, KeyError, TypeError) as error:
        raise wrong from error


def _arrays(header: _Header, rest: bytes) -> Arrays:
    found: Arrays = {}
    at = 0
    for name, dtype, shape in header.arrays:
        kind = np.dtype(dtype)
        if kind.hasobject or min(shape, default=0) < 0:
            raise ValueError(name)
        size = int(np.prod(shape, dtype=np.int64))
        found[name] = np.frombuffer(rest, kind, size, at).reshape(shape)
        at += size * kind.itemsize
    if at != len(rest):
        raise ValueError("length")
    return found


def _memory(header: _Header, arrays: Arrays, agreement: float) -> Memory:
    memory = Memory(agreement)
    memory.panel.take(arrays)
    memory.campaigns.take(arrays)
    memory.words = dict(zip(arrays["word_keys"].tolist(), arrays["words"].tolist(), strict=True))
    at = 0
    for one in header.owners:
        part = slice(at, at + one.places)
        table = Table(arrays["weights"][part].astype(np.float16), arrays["seen"][part].astype(np.uint16))
        memory.take(one.name, _owner(one, table if one.places else None))
        at += one.places
    memory.revision = header.revision
    return memory


def _owner(one: _Owner, table: Table | None) -> Owner:
    who = Owner(one.key)
    who.table, who.counts, who.model = table, one.counts, one.model
    who.campaigns, who.seat = one.campaigns, one.seat
    who.agreed, who.contradicted = one.agreed, one.contradicted
    return who


def _digest(header: _Header, pieces: list[bytes]) -> str:
    digest = hashlib.sha256(msgspec.json.encode(msgspec.structs.replace(header, sha256="")))
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
