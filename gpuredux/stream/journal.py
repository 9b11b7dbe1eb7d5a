"""The journal of a run: an append-only file of records with checksums. What it says was committed can be found after any crash.

A record is 4 bytes mark, u32 length, u32 number, u32 CRC-32C of length and number, the payload (JSON in UTF-8, length bytes),
u32 CRC-32C of the payload; integers little-endian. Records are numbered from 0. The kinds and their fields:
  start   version, format, config, provenance      seen   ids: given to the pipeline, written before they enter it; duplicate, corrupt: ids
  commit  part, file, bytes, crc32c, ids by outcome   end    account, expected, exit, reason
  pedestal  frames computed before these pedestals were taken, pixels moved, median and most [ADU] from the start, sha256 of the pedestals
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import struct
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

from ..compress.crc32c import crc32c
from ..compress.hdf5_layout import sync

MARK = b"\xabGRJ"
HEAD = struct.Struct("<4sIII")
NAME = "journal.bin"
FORMAT = 1


class JournalDamaged(ValueError):
    """A journal with damage before its last good record: nothing in it is skipped in silence."""


class Journal(NamedTuple):
    """The good records, and what is wrong with the end: '' or one line."""

    records: list[dict[str, Any]]
    torn: str


def record(number: int, payload: dict[str, Any]) -> bytes:
    """One record as it stands in the file."""
    body = json.dumps(payload, separators=(",", ":"), allow_nan=False).encode()
    counted = struct.pack("<II", len(body), number)
    return MARK + counted + struct.pack("<I", crc32c(counted)) + body + struct.pack("<I", crc32c(body))


class JournalWriter:
    """Appends records; safe to call from several threads. durable: after return the record survives a power failure."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        self._fd = os.open(folder / NAME, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self._number = 0
        self._size = 0
        self._closed = False
        try:
            _hold(self._fd)
            sync(folder)
        except BaseException:
            os.close(self._fd)
            raise

    def append(self, payload: dict[str, Any], durable: bool = True) -> None:
        """Write one record whole; after an error the file is cut back to the record before. Raises OSError."""
        with self._lock:
            if self._closed:
                raise OSError(errno.EBADF, "the journal is closed")
            data, done = record(self._number, payload), 0
            try:
                while done < len(data):
                    done += os.pwrite(self._fd, data[done:], self._size + done)
                if durable:
                    os.fdatasync(self._fd)
            except OSError:
                os.ftruncate(self._fd, self._size)
                raise
            self._size += done
            self._number += 1

    def close(self) -> None:
        with self._lock:
            if not self._closed:
                self._closed = True
                os.close(self._fd)


def _hold(fd: int) -> None:
    """The lock that being_written looks for. The file is new: what else holds it is such a look, for an instant. Raises BlockingIOError after 1 s."""
    for left in range(99, -1, -1):
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not left:
                raise
            time.sleep(0.01)
        except OSError:
            return      # a file system without locks (Lustre, unless asked) goes without this guard


def being_written(folder: Path) -> bool:
    """Whether a living process holds the journal of this folder."""
    try:
        with open(folder / NAME, "rb") as f:
            fcntl.flock(f, fcntl.LOCK_SH | fcntl.LOCK_NB)       # NFS refuses LOCK_EX on a descriptor that only reads
    except BlockingIOError:
        return True
    except OSError:
        pass        # no journal, or no locks there; what cannot be opened is not overwritten either
    return False


def read_journal(folder: Path) -> Journal:
    """All records. A torn end is reported; damage that has good records behind it raises JournalDamaged."""
    data = (folder / NAME).read_bytes()
    records: list[dict[str, Any]] = []
    offset = 0
    while (found := _record_at(data, offset)) is not None:
        number, payload, offset = found
        if number != len(records):
            raise JournalDamaged(f"{folder / NAME}: record {len(records)} is missing: number {number} follows {len(records) - 1}")
        records.append(payload)
    if offset == len(data):
        return Journal(records, "")
    later = offset
    while (later := data.find(MARK, later + 1)) >= 0:
        if (found := _record_at(data, later)) is not None:
            raise JournalDamaged(f"{folder / NAME}: damaged at byte {offset} (record {len(records)}), and good again at byte {later} (record {found[0]})")
    return Journal(records, f"{NAME}: the last {len(data) - offset} bytes, from byte {offset}, are no whole record: torn, or damaged at its end")


def _record_at(data: bytes, offset: int) -> tuple[int, dict[str, Any], int] | None:
    """(number, payload, where the next begins) of the good record at this offset, if there is one."""
    if offset + HEAD.size > len(data):
        return None
    mark, length, number, check = HEAD.unpack_from(data, offset)
    start = offset + HEAD.size
    if mark != MARK or check != crc32c(data[offset + 4 : offset + 12]) or start + length + 4 > len(data):
        return None
    body = data[start : start + length]
    if struct.unpack_from("<I", data, start + length)[0] != crc32c(body):
        return None
    payload: dict[str, Any] = json.loads(body)
    return number, payload, start + length + 4
