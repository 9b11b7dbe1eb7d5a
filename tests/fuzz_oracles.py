"""What other people's decoders make of a chunk, for fuzz.py. Over 200 lines: one judge a format.

In this process: zlib's decompressobj, libzstd's ZSTD_decompress (of hdf5plugin), numcodecs' LZ4 (LZ4_decompress_safe), the bitshuffle library's
transposition: all of them check their bounds. In a child process, which may die: c-blosc (of numcodecs) and zfp (zfpy), which are given bytes of ours behind
the stream. What frames the blocks of filters 32008 and 32004 and of blosc is written here once more, from the formats, and shares nothing with gpuredux.
"""

from __future__ import annotations

import atexit
import ctypes
import faulthandler
import functools
import os
import pickle
import resource
import signal
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import bitshuffle
import numpy as np

Unpack = Callable[[bytes, int], bytes | None]       # a block and its raw bytes: what it holds, None if that is not it


class Judged(NamedTuple):
    """The bytes of a frame as the decoder's docstring has them, and whether all was right."""

    raw: bytes
    good: bool


# ------------------------------------------------------------------------------------------------------------ one block
@functools.cache
def zstd_library() -> Any:
    import hdf5plugin

    lib = ctypes.CDLL(str(Path(hdf5plugin.__file__).parent / "plugins" / "libh5zstd.so"))
    lib.ZSTD_decompress.restype = ctypes.c_size_t
    lib.ZSTD_decompress.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t)
    return lib


def by_libzstd(frame: bytes, n: int) -> bytes | None:
    """Its promise: at most n bytes are written, and n is returned only where these are what the frame (or frames) hold."""
    room = ctypes.create_string_buffer(n + 1)
    return room.raw[:n] if frame and zstd_library().ZSTD_decompress(room, n, frame, len(frame)) == n else None


def by_lz4(block: bytes, n: int) -> bytes | None:
    from numcodecs import lz4

    if not block or n == 0:
        return None
    try:
        return bytes(lz4.decompress(n.to_bytes(4, "little") + block))
    except RuntimeError:
        return None


def by_zlib(chunk: bytes, n: int) -> bytes | None:
    stream = zlib.decompressobj()
    try:
        raw = stream.decompress(chunk, n + 1)
    except zlib.error:
        return None
    return raw if stream.eof and stream.unused_data == b"" and len(raw) == n else None


def by_lz4_format(block: bytes, n: int, zeros: list[int] | None = None) -> bytes | None:
    """The block format without its rules for encoders: what decides where numcodecs and gpuredux differ. zeros: takes the place of a match at the offset 0."""
    out, rest = bytearray(), iter(block)

    def more(count: int) -> int:
        total = count
        while count == 15:
            byte = next(rest)
            total += byte
            if byte < 255:
                break
        return total

    try:
        while True:
            token = next(rest)
            for _ in range(more(token >> 4)):
                out.append(next(rest))
            if len(out) > n:
                return None
            low = next(rest, None)
            if low is None:
                return bytes(out) if len(out) == n else None
            offset = low + 256 * next(rest)
            length = more(token & 15) + 4
            if offset == 0 and zeros is not None:
                zeros.append(len(out))
            if offset == 0 or offset > len(out) or len(out) + length > n:
                return None
            for _ in range(length):
                out.append(out[len(out) - offset])
    except StopIteration:
        return None


# --------------------------------------------------------------------------------------------------------------- frames
def bits_back(planes: bytes, itemsize: int) -> bytes:
    """Of one block, by the bitshuffle library; a multiple of 8 elements."""
    x = np.frombuffer(planes, f"u{itemsize}")
    return bytes(bitshuffle.bitunshuffle(x, x.size).tobytes()) if x.size else b""


def bytes_back(planes: bytes, itemsize: int) -> bytes:
    return planes if itemsize == 1 else b"".join(planes[k :: len(planes) // itemsize] for k in range(len(planes) // itemsize))


def filter_32008(chunk: bytes, n: int, itemsize: int, unpack: Unpack) -> Judged:
    """u64 of raw bytes, u32 of a block's bytes, for each block u32 and so many bytes; then the elements that fill no 8, as they are."""
    zeros = Judged(bytes(n), False)
    if len(chunk) < 12:
        return zeros
    total, step = struct.unpack_from(">QI", chunk)
    unit = 8 * itemsize
    if total != n or step == 0 or step % unit:
        return zeros
    out, at, good, left = [], 12, True, n // unit * unit
    while left:
        count = min(step, left)
        if len(chunk) - at < 4:
            break
        (size,) = struct.unpack_from(">I", chunk, at)
        if size > len(chunk) - at - 4:
            break
        planes = unpack(chunk[at + 4 : at + 4 + size], count)
        out.append(bytes(count) if planes is None else bits_back(planes, itemsize))
        good &= planes is not None
        at, left = at + 4 + size, left - count
    raw, tail = b"".join(out), n % unit
    if left or len(chunk) - at < tail:
        return Judged(raw + bytes(n - len(raw)), False)
    return Judged(raw + chunk[at : at + tail], good and len(chunk) == at + tail)


def filter_32004(chunk: bytes, n: int, unpack: Unpack) -> Judged:
    """u64 of raw bytes, u32 of a block's bytes; for each block u32 and so many bytes: these as they are if they are all."""
    zeros = Judged(bytes(n), False)
    if len(chunk) < 12 or struct.unpack_from(">Q", chunk)[0] != n or chunk[8:12] == bytes(4):
        return zeros
    step, at, out = struct.unpack_from(">I", chunk, 8)[0], 12, b""
    while len(out) < n:
        count = min(step, n - len(out))
        if len(chunk) - at < 4 or struct.unpack_from(">I", chunk, at)[0] > len(chunk) - at - 4:
            return zeros
        block = chunk[at + 4 : at + 4 + struct.unpack_from(">I", chunk, at)[0]]
        raw = block if len(block) == count else unpack(block, count)
        if raw is None:
            return zeros
        out, at = out + raw, at + 4 + len(block)
    return Judged(out, True) if at == len(chunk) else zeros


def blosc_1(chunk: bytes, n: int, itemsize: int, unpack: Unpack) -> Judged:
    """What BloscDecode says it takes of chunk formats 1 and 2: LZ4, and any codec that did not compress."""
    zeros = Judged(bytes(n), False)
    if len(chunk) < 16:
        return zeros
    version, codec_version, flags, typesize, raw, step, size = struct.unpack_from("<4B3I", chunk)
    if version not in (1, 2) or raw != n or not 0 < step <= n or size != len(chunk) or typesize == 0 or flags & 8:
        return zeros
    if flags & 2:
        return Judged(chunk[16:], True) if len(chunk) == 16 + n else zeros
    shuffle, bits = flags & 1, flags & 4
    if flags >> 5 != 1 or codec_version != 1 or (shuffle and bits) or ((shuffle or bits) and typesize != itemsize):
        return zeros
    parts = typesize if not flags & 16 and typesize <= 16 and step // typesize >= 128 else 1
    if step % parts:
        return zeros
    count, out, good = -(-n // step), [], True
    for k in range(count):
        whole = min(step, n - k * step)
        planes = blosc_block(chunk, 16 + 4 * count, k, whole, parts if whole == step else 1, unpack)
        good &= planes is not None
        out.append(bytes(whole) if planes is None else blosc_back(planes, itemsize, bool(shuffle), bool(bits)))
    return Judged(b"".join(out), good)


def blosc_block(chunk: bytes, first: int, k: int, whole: int, parts: int, unpack: Unpack) -> bytes | None:
    if len(chunk) < first:
        return None
    (at,) = struct.unpack_from("<I", chunk, 16 + 4 * k)
    if not first <= at <= len(chunk):
        return None
    out = b""
    for _ in range(parts):
        if len(chunk) - at < 4 or struct.unpack_from("<I", chunk, at)[0] > len(chunk) - at - 4:
            return None
        stream = chunk[at + 4 : at + 4 + struct.unpack_from("<I", chunk, at)[0]]
        raw = stream if len(stream) == whole // parts else unpack(stream, whole // parts)
        if raw is None:
            return None
        out, at = out + raw, at + 4 + len(stream)
    return out


def blosc_back(planes: bytes, itemsize: int, shuffle: bool, bits: bool) -> bytes:
    count = len(planes) // itemsize
    whole = planes[: count * itemsize]
    if shuffle:
        return bytes_back(whole, itemsize) + planes[len(whole) :]
    return bits_back(whole, itemsize) + planes[len(whole) :] if bits and count % 8 == 0 else planes


# -------------------------------------------------------------------------------------------------- in a child, that may die
def c_blosc(chunk: bytes, n: int) -> bytes | None:
    """numcodecs' c-blosc. It does not know how long its input is: it is asked only where the header has the right sizes."""
    from numcodecs import blosc

    if len(chunk) < 16 or struct.unpack_from("<I", chunk, 4)[0] != n or struct.unpack_from("<I", chunk, 12)[0] != len(chunk):
        return None
    try:
        return bytes(blosc.decompress(chunk))
    except (RuntimeError, ValueError, MemoryError):
        return None


def zfp_library(stream: bytes, dtype: str, shape: tuple[int, ...], mode: dict[str, Any], behind: int) -> tuple[bytes, bytes]:
    """What zfpy makes of a stream with zeros behind it, and with ones."""
    import zfpy

    kind = {"int32": zfpy.type_int32, "int64": zfpy.type_int64, "float32": zfpy.type_float, "float64": zfpy.type_double}[dtype]
    both = (np.ascontiguousarray(zfpy._decompress(stream + byte * behind, kind, shape, **mode)).tobytes() for byte in (b"\0", b"\xff"))
    return next(both), next(both)


class Child:
    """A process that runs functions of a file; a death is one item's answer ("died ..."), and another child goes on behind it."""

    def __init__(self, script: str = __file__, gib: int = 4, seconds: int = 60) -> None:
        self.command, self.process = [sys.executable, script, "--serve", str(gib), str(seconds)], None

    def ask(self, name: str, items: Iterable[tuple[Any, ...]]) -> list[Any]:
        asked, answers = list(items), []
        while len(answers) < len(asked):
            if self.process is None:
                self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            try:
                pickle.dump((name, asked[len(answers) :]), self.process.stdin)
                self.process.stdin.flush()
                while len(answers) < len(asked):
                    answers.append(pickle.load(self.process.stdout))
            except (EOFError, BrokenPipeError, pickle.UnpicklingError):
                answers.append(f"died: {self.last_words()}")
        return answers

    def last_words(self) -> str:
        """How it ended, and the innermost Python function that faulthandler saw."""
        said = self.process.stderr.read().decode(errors="replace").splitlines()
        code = self.close()
        ended = "too long" if any("Timeout" in line for line in said) else signal.Signals(-code).name if code < 0 else f"exit {code}"
        current = next((k for k, line in enumerate(said) if line.startswith("Current thread")), 0)
        where = next((line.split("/")[-1].replace('"', "") for line in said[current:] if line.startswith("  File ")), "nowhere")
        return f"{ended} in {where}"

    def close(self) -> int:
        if self.process is None:
            return 0
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            try:
                pipe.close()
            except BrokenPipeError:     # what it was not told before it died
                continue
        code, self.process = self.process.wait(), None
        return code


@functools.cache
def child() -> Child:
    """The one of this process."""
    made = Child()
    atexit.register(made.close)
    return made


def serve(gib: int, seconds: int, functions: dict[str, Any]) -> None:
    """For each item so many seconds, then the process says where it is and ends."""
    resource.setrlimit(resource.RLIMIT_AS, (gib << 30, gib << 30))
    faulthandler.enable()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)       # whatever a library prints is no answer
    while True:
        try:
            name, items = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        for item in items:
            faulthandler.dump_traceback_later(seconds, exit=True)
            pickle.dump(functions[name](*item), answers)
            answers.flush()
            faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__" and sys.argv[1:2] == ["--serve"]:
    serve(*map(int, sys.argv[2:]), globals())
