"""Get the UCI SMS Spam Collection: download it, or take it from a file that is already here.

What counts is the sha256 of the file inside the archive: however it arrived, a file that passes is the one
that every figure of ours is about. A download that was cut goes on where it stopped (RFC 9110 14.2).
"""

import hashlib
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from filterd.errors import BadInput, FilterdError, NotFound, Unwritable
from filterd.promotion.remote import TIMEOUT_S, why

URL = "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip"
NAME = "SMSSpamCollection"
NAMES = (NAME, f"{NAME}.tsv", f"{NAME}.txt")  # the lecture renames it to .tsv
SHA256 = "7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d"
NOTICE = "readme.txt"  # the collection's terms ask to keep it
MAX_ARCHIVE = 16 << 20  # bytes; the archive has 0.2 MB, and a wrong address should not fill a disk
MAX_FILE = 4 << 20  # bytes unpacked; the collection has 0.5 MB
TRIES = 3  # connections that may be cut before the person is asked; each resumes
CHUNK = 1 << 16

Report = Callable[[str, int, int], None]  # (stage, done, total) in bytes; total 0 where it is unknown


class ServerUnreachable(FilterdError):
    """The server cannot be reached, refuses, or breaks off."""

    exit_status = 69  # EX_UNAVAILABLE


def fetch(out: Path, report: Report, source: Path | None = None, url: str = URL) -> Path:
    """Put the collection into folder `out` and return the file's path; nothing is done if it is there.

    source: a zip, the file itself, or a folder that holds either; None downloads `url`.
    Raises Unreachable, NotFound, BadInput (not the collection we know) and Unwritable.
    """
    target = out / NAME
    if source is None and target.is_file() and _sha256(target.read_bytes()) == SHA256:
        return target
    try:
        out.mkdir(parents=True, exist_ok=True)
        archive = None if source else download(url, out / f"{NAME}.zip.part", report)
        files = _open(_find(source) if source else archive)
        for name, content in files.items():
            _write(out / name, content)
    except OSError as error:
        where = error.filename or out
        raise Unwritable(f"{where}: {error.strerror or error}; choose another --out") from error
    finally:
        # A complete archive is of no more use: unpacked, or wrong and to be fetched from its beginning.
        with suppress(UnboundLocalError, OSError):
            if archive:
                archive.unlink()
    return target


def download(url: str, part: Path, report: Report) -> Path:
    """Download into `part`, going on where an earlier try stopped. Raises Unreachable, BadInput."""
    host = urlsplit(url).hostname
    if urlsplit(url).scheme not in {"http", "https"} or not host:
        raise BadInput(f"{url}: not an http or https address; give a full one with --url")
    reason = ""
    for _ in range(TRIES):
        try:
            if _receive(url, part, report):
                return part
            reason = "the connection was cut"
        except HTTPError as error:
            error.close()
            if error.code != 416:  # the part is no beginning of what is there now
                raise ServerUnreachable(
                    f"{url}: the server answers {error.code} {error.reason}; {_OTHERWISE}"
                ) from None
            part.unlink(missing_ok=True)
            reason = "the server refuses to go on"
        except URLError as error:
            raise ServerUnreachable(f"cannot reach {host} ({why(error.reason)}); {_OTHERWISE}") from None
        except (HTTPException, ConnectionError, TimeoutError) as error:
            reason = why(error)
    held = part.stat().st_size if part.exists() else 0
    raise ServerUnreachable(f"{url}: {reason}; {held:,} bytes are kept, run the same command again to go on")


_OTHERWISE = "fetch the zip elsewhere and give it with --from PATH"


def _receive(url: str, part: Path, report: Report) -> bool:
    """One connection's worth; whether the archive is complete."""
    held = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "filterd-trainer", "Accept-Encoding": "identity"}
    if held:
        headers["Range"] = f"bytes={held}-"
    with urlopen(Request(url, headers=headers), timeout=TIMEOUT_S) as response:  # noqa: S310, scheme is checked
        resumed = response.status == 206 and _starts_at(response) == held
        if response.status == 206 and not resumed:  # another range than was asked for
            part.unlink()
            return False
        held = held if resumed else 0
        length = response.headers.get("Content-Length")
        total = held + int(length) if length and length.isdigit() else 0
        with part.open("ab" if resumed else "wb") as file:
            while block := response.read(CHUNK):
                file.write(block)
                held += len(block)
                report("download", held, total)
                if held > MAX_ARCHIVE:
                    part.unlink()
                    raise BadInput(
                        f"{url}: larger than {MAX_ARCHIVE >> 20} MB, so not the collection; check --url"
                    )
    return total in {0, held}


def _starts_at(response: HTTPResponse) -> int:
    """First byte of a 206 answer (RFC 9110 14.4), -1 where it does not say."""
    unit, _, span = (response.headers.get("Content-Range") or "").partition(" ")
    first = span.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdigit() else -1


def _find(source: Path) -> Path:
    """The collection's file or archive at or in `source`."""
    if source.is_file():
        return source
    if not source.is_dir():
        raise NotFound(f"{source}: no such file or folder; give --from the zip, {NAME} or their folder")
    for folder in (source, *sorted(child for child in source.iterdir() if child.is_dir())):
        for name in (*NAMES, "sms+spam+collection.zip", "sms_spam_collection.zip"):
            if (folder / name).is_file():
                return folder / name
    raise NotFound(f"{source}: holds neither {NAME} nor its zip; give --from the file itself")


def _open(file: Path | None) -> dict[str, bytes]:
    """The collection and, if it is there, its notice: name -> content. Raises BadInput."""
    assert file is not None
    with file.open("rb") as stream:
        content = stream.read(MAX_ARCHIVE + 1)
    notice = file.with_name(NOTICE)
    files = {NAME: content}
    if content.startswith(b"PK\x03\x04"):
        files = _unzip(content, file)
    elif notice.is_file() and notice.stat().st_size <= MAX_FILE:
        files[NOTICE] = notice.read_bytes()
    found = _sha256(files[NAME])
    if found != SHA256:
        raise BadInput(f"{file}: {NAME} has sha256 {found[:12]}…, expected {SHA256[:12]}…; fetch it again")
    return files


_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError),
    *(NotImplementedError, RuntimeError),  # a method or an encryption that zipfile does not know
)


def _unzip(content: bytes, file: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            for member in archive.infolist():
                base = member.filename.rpartition("/")[2]
                name = NAME if base in NAMES else NOTICE if base.lower() in {"readme", NOTICE} else ""
                if name:
                    with archive.open(member) as stream:
                        files[name] = stream.read(MAX_FILE)
    except _DAMAGE as error:
        raise BadInput(f"{file}: a damaged zip ({error}); fetch it again") from error
    if NAME not in files:
        raise BadInput(f"{file}: a zip without {NAME}; give the one from {URL}")
    return files


def _write(file: Path, content: bytes) -> None:
    """All or nothing: whoever finds the file finds all of it."""
    partial = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    partial.write_bytes(content)
    partial.replace(file)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
