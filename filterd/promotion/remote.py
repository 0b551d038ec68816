"""A bundle from a web server or an object store, into a folder: `filterd bundle use https://…`.

What is at the address is a bundle's files as they are in its folder, and beside the manifest perhaps
`manifest.json.sha256`, as `sha256sum manifest.json` writes it. The manifest's hash is what everything else
hangs on: it names the hash and size of every other file. So it has to be known before anything is read: given
by whoever promotes, or, where the server has proved who it is (https), from the file beside it.

Nothing that a server says makes this take more than MAX_BYTES or MAX_S, or write outside the folder.
"""

import hashlib
import http.client
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import msgspec

from filterd import __version__
from filterd.errors import BadInput, BundleError
from filterd.scoring import bundle

SIDE = f"{bundle.MANIFEST}.sha256"
MAX_SIDE_BYTES = 1000  # a hash, two blanks and a name
MAX_FILES = 32  # a bundle has seven
MAX_BYTES = 8 << 30  # of all files: GPT-2 XL as floats, the largest that the trainer exports, is 6.2 GB
TIMEOUT_S = 30.0  # without a byte
MAX_S = 3600.0  # for all of it: the largest at 2 MB/s
CHUNK = 1 << 18

_HASH = re.compile(r"[0-9a-f]{64}")
Report = Callable[[str, int, int], None]  # file, its bytes that are here, its bytes


def is_remote(where: str) -> bool:
    """Whether a bundle's place is an address rather than a folder."""
    return "://" in where


def fetch(address: str, sha256: str, target: Path, report: Report = lambda name, done, total: None) -> None:
    """Put the bundle at an address into an empty folder. sha256: of its manifest, "" for the file beside it.

    Whoever opens the bundle has it checked once more, with its probe scores. Call it from the main thread.
    Raises BadInput, BundleError, and OSError without space.
    """
    scheme = _scheme(address)
    wanted = _hash(sha256) if sha256 else ""
    if scheme == "http" and not wanted:
        raise BadInput(
            f"{address}: http does not prove who answers; give the manifest's --sha256, or use https"
        )
    with _within(MAX_S, address):
        _fetch(_Source(address.rstrip("/")), wanted, target, report)


def _scheme(address: str) -> str:
    """http or https. Raises BadInput for what is no address of a folder."""
    try:
        parts = urlsplit(address)
        fits = parts.hostname and not parts.query and "@" not in parts.netloc and parts.port != 0
    except ValueError:
        fits = False
    if not fits or parts.scheme not in {"http", "https"}:
        raise BadInput(f"{address}: give a folder's address, https://host/path, without user and query")
    return parts.scheme


def _fetch(source: "_Source", wanted: str, target: Path, report: Report) -> None:
    address = source.address
    wanted = wanted or _beside(source)
    raw = source.small(bundle.MANIFEST, bundle.MAX_MANIFEST_BYTES)
    if hashlib.sha256(raw).hexdigest() != wanted:
        raise BundleError(f"{address}: its {bundle.MANIFEST} is not the one with SHA-256 {wanted}")
    (target / bundle.MANIFEST).write_bytes(raw)
    try:
        files = msgspec.json.decode(raw, type=bundle.Manifest).files
    except msgspec.MsgspecError as error:
        raise BundleError(
            f"{address}: {bundle.MANIFEST}: {error}; another version of filterd made it"
        ) from error
    size = sum(entry.bytes for entry in files.values())
    if len(files) > MAX_FILES or size > MAX_BYTES or any(entry.bytes < 0 for entry in files.values()):
        raise BundleError(f"{address}: {len(files)} files of {size:,} bytes; a bundle has no more than "
                          f"{MAX_FILES} and {MAX_BYTES:,}")  # fmt: skip
    for name, entry in files.items():
        if Path(name).name != name or name.startswith(".") or name == bundle.MANIFEST:
            raise BundleError(f"{address}: file name {name!r} leads out of the bundle")
        source.file(name, entry, target / name, report)


def same(folder: Path, sha256: str) -> None:
    """Check the manifest's hash of a bundle in a folder. Raises BadInput, BundleError."""
    wanted = _hash(sha256)
    try:
        found = bundle.sha256(folder / bundle.MANIFEST)
    except OSError as error:
        raise BundleError(
            f"{folder / bundle.MANIFEST}: {error.strerror}; name a folder that holds a bundle"
        ) from error
    if found != wanted:
        raise BundleError(f"{folder}: its {bundle.MANIFEST} is not the one with SHA-256 {wanted}")


def _hash(given: str) -> str:
    if not _HASH.fullmatch(given.lower()):
        raise BadInput(f"{given[:80]}: no SHA-256; `sha256sum {bundle.MANIFEST}` prints its 64 characters")
    return given.lower()


def _beside(source: "_Source") -> str:
    said = source.small(SIDE, MAX_SIDE_BYTES).decode("ascii", "replace").split()
    if not said or not _HASH.fullmatch(said[0]):
        raise BundleError(
            f"{source.address}/{SIDE}: holds no SHA-256; `sha256sum {bundle.MANIFEST}` writes it"
        )
    return said[0]


class _Source:
    """The files at an address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._opener = build_opener(_Redirects)

    def small(self, name: str, most: int) -> bytes:
        """A whole file of at most so many bytes."""
        found = bytearray()
        self._read(name, most, found.extend)
        return bytes(found)

    def file(self, name: str, entry: bundle.FileEntry, target: Path, report: Report) -> None:
        """A file as its entry says, or an error."""
        digest, size = hashlib.sha256(), 0
        with target.open("wb") as stream:

            def take(piece: bytes) -> None:
                nonlocal size
                size += len(piece)
                digest.update(piece)
                stream.write(piece)
                report(name, size, entry.bytes)

            self._read(name, entry.bytes, take)
        if (size, digest.hexdigest()) != (entry.bytes, entry.sha256):
            raise BundleError(f"{self.address}/{name}: does not match its hash in {bundle.MANIFEST}")

    def _read(self, name: str, most: int, take: Callable[[bytes], object]) -> None:
        for piece in self._pieces(f"{self.address}/{quote(name)}", most):
            take(piece)

    def _pieces(self, url: str, most: int) -> Iterator[bytes]:
        """What the server sends. What goes wrong in here is the network's, and in who takes it the disk's."""
        got = 0
        headers = {"User-Agent": f"filterd/{__version__}", "Accept-Encoding": "identity"}
        try:
            with self._opener.open(Request(url, headers=headers), timeout=TIMEOUT_S) as answer:  # noqa: S310 (fetch checks the scheme)
                while piece := answer.read1(min(CHUNK, most + 1 - got)):
                    got += len(piece)
                    if got > most:
                        raise BundleError(f"{url}: larger than {most:,} bytes")
                    yield piece
        except HTTPError as error:
            error.close()
            raise BundleError(f"{url}: the server answers {error.code} {error.reason}") from None
        except URLError as error:
            raise BundleError(f"{url}: {why(error.reason)}") from None
        except (http.client.HTTPException, OSError, ValueError) as error:  # ValueError: where it sends us on
            raise BundleError(f"{url}: {why(error)}") from None


@contextmanager
def _within(seconds: float, address: str) -> Iterator[None]:
    """An end to it, also where a server sends a byte of its headers now and then; of the main thread only."""

    def end(*_: object) -> None:
        raise BundleError(f"{address}: not all of it was here within {seconds:,g} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class _Redirects(HTTPRedirectHandler):
    """An object store may send us on, but not from https to what proves nothing."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        to = urlsplit(newurl).scheme
        if to != "https" and (to != "http" or req.type == "https"):
            raise BundleError(f"{req.full_url}: sends us on to {to}://, which is refused")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def why(reason: object) -> str:
    """What kept a request of TIMEOUT_S from its answer, for people."""
    if isinstance(reason, TimeoutError):
        return f"no answer in {TIMEOUT_S:.0f} s"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror
    return str(reason) or type(reason).__name__
