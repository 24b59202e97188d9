"""Downloading a large file: with resume, progress and one line for what goes wrong."""

from __future__ import annotations

import errno
import hashlib
import http.client
import json
import os
import shutil
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

TIMEOUT = 30.0
"""Seconds without an answer from the server."""
ATTEMPTS = 3
"""Connections in a row that may bring nothing before a download gives up."""
PAUSE = 1.0
"""Seconds before the next try, times the tries that brought nothing."""
CHUNK = 1 << 20
"""Bytes that are read and written at a time."""


class TransferError(OSError):
    """A download or an extraction that cannot go on, in one line."""


@dataclass(frozen=True)
class Archive:
    """A file to download, and the folders of the data set by which it is recognised; it may bring more beside them.

    The SHA-256 is compared where one is published; the size always is, with what the server announces.
    """

    url: str
    brings: tuple[str, ...]
    sha256: str | None = None

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


def download(archive: Archive, target: Path) -> None:
    """Download into ``target``, by way of ``target.part``, which a later call goes on with.

    It starts afresh where the file on the server is another than the one begun with (size, ETag or date), or the
    server cannot send a part.

    Raises:
        TransferError: with the address, the reason and what to do by hand.
    """
    part, note = (target.with_name(target.name + suffix) for suffix in (".part", ".part.json"))
    idle, most = 0, part.stat().st_size if part.exists() else 0
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeRemainingColumn(),
        disable=not sys.stderr.isatty(),
        transient=True,
    ) as progress:
        bar = progress.add_task(target.name, total=None)
        while True:
            try:
                if _receive(
                    archive.url, part, note, lambda done, total: progress.update(bar, completed=done, total=total)
                ):
                    break
                reason = "the connection ended early"
            except urllib.error.HTTPError as error:
                if error.code == 416:  # there is no such range: what was begun is not of this file
                    part.unlink(missing_ok=True)
                elif error.code < 500:
                    raise TransferError(_by_hand(archive, f"the server answers {error.code} {error.reason}")) from error
                reason = f"the server answers {error.code} {error.reason}"
            except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
                reason = f"no connection ({getattr(error, 'reason', '') or error or type(error).__name__})"
            after = part.stat().st_size if part.exists() else 0
            # more than ever: what is dropped and begun again would go on for ever
            idle, most = (0, after) if after > most else (idle + 1, most)
            if idle >= ATTEMPTS:
                raise TransferError(_by_hand(archive, reason))
            time.sleep(PAUSE * idle)
    if archive.sha256 and _sha256(part) != archive.sha256:
        part.unlink()
        note.unlink(missing_ok=True)
        raise TransferError(_by_hand(archive, "what came has another SHA-256 than the published file"))
    os.replace(part, target)
    note.unlink(missing_ok=True)


def _by_hand(archive: Archive, reason: str) -> str:
    return (
        f"cannot download {archive.url}: {reason}. Download it by hand and give it with --archive FILE, or run the "
        f"same command again to go on"
    )


def _receive(url: str, part: Path, note: Path, report: Callable[[int, int | None], None]) -> bool:
    """One connection: append what comes to ``part``; whether the file is complete."""
    begun = _read_note(note, url) if part.exists() else None
    have = part.stat().st_size if begun else 0
    headers = {"User-Agent": "mtl", "Accept-Encoding": "identity"}
    if begun and have:
        if have == begun["size"]:
            return True
        headers["Range"] = f"bytes={have}-"
        if begun["validator"]:
            headers["If-Range"] = begun["validator"]
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT) as answer:
        resumed = answer.status == 206
        size = _total(answer.headers, resumed)
        validator = _validator(answer.headers)
        if resumed and begun:
            same = (size, validator) == (begun["size"], begun["validator"])
            if not same or not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
                part.unlink()
                return False
        have = have if resumed else 0
        if size is not None and shutil.disk_usage(part.parent).free < size - have:
            raise TransferError(f"no room for {part}: {(size - have) / 2**30:.1f} GiB are to come")
        note.write_text(json.dumps({"url": url, "size": size, "validator": validator}))
        # unbuffered: what a full disk refused would be tried again at closing
        with open(part, "ab" if resumed else "wb", buffering=0) as file:
            while chunk := answer.read(CHUNK):
                with writing(part):
                    file.write(chunk)
                have += len(chunk)
                report(have, size)
    return size is None or have == size


def _total(headers: Any, resumed: bool) -> int | None:
    """Bytes of the whole file as the server announces them."""
    text = headers.get("Content-Range", "").rpartition("/")[2] if resumed else headers.get("Content-Length", "")
    return int(text) if text.isdigit() else None


def _validator(headers: Any) -> str | None:
    etag = headers.get("ETag")
    return etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")


def _read_note(note: Path, url: str) -> dict[str, Any] | None:
    """What was begun; None where it is not known or is of another address."""
    try:
        begun = json.loads(note.read_text())
        return begun if begun["url"] == url and {"size", "validator"} <= set(begun) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Errors of the disk in one line."""
    try:
        yield
    except OSError as error:
        full = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "the disk refuses"
        raise TransferError(f"cannot write {path}: {full} ({error.strerror}); make room and run again") from error


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
