"""The bytes of a part on their way to the disk, and what becomes of the disk's refusals."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ..compress.crc32c import crc32c

READ = 1 << 17      # bytes that digest() holds at a time


class SinkFailed(RuntimeError):
    """A part or the journal could not be written."""


class PartBytes:
    """The file object that HDF5 writes a part through.

    HDF5 cannot close a file that it can no longer write. So an error of the disk is kept here and later writes go nowhere:
    HDF5 closes in peace, and whoever owns the part looks at `error` before it counts anything as stored."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        self.error: OSError | None = None
        self._at = self._end = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._end)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        got = os.preadv(self.fd, [view], self._at)
        view[got:] = bytes(len(view) - got)     # what went nowhere
        return len(view)

    def read(self, size: int) -> bytes:
        """Never called: by this method h5py knows a file object."""
        return os.pread(self.fd, size, self._at)

    def close(self) -> None:
        """Once: the number may soon be another file's."""
        if self.fd >= 0:
            fd, self.fd = self.fd, -1
            os.close(fd)

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(view) and self.error is None:
                done += os.pwrite(self.fd, view[done:], self._at + done)
        except OSError as e:
            self.error = e
        self._at += len(view)
        self._end = max(self._end, self._at)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        self._end = self._at if size is None else size
        try:
            if self.error is None:
                os.ftruncate(self.fd, self._end)
        except OSError as e:
            self.error = e
        return self._end

    def flush(self) -> None:
        pass


def digest(fd: int) -> tuple[int, int]:
    """(bytes, CRC-32C) of a whole file as it can be read now. HDF5 goes back to what it wrote, so it cannot be summed on its way out. Raises OSError."""
    size, at, crc = os.fstat(fd).st_size, 0, 0
    buffer = memoryview(bytearray(min(size, READ)))
    while at < size:
        if not (got := os.preadv(fd, [buffer], at)):
            raise OSError(f"it ends at byte {at} of {size}")
        crc = crc32c(buffer[: min(got, size - at)], crc)
        at += got
    return size, crc
