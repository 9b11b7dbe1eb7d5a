"""Every decoder against mutated chunks: python tests/fuzz.py [DECODER|all] [COUNT] [SEED] [--opencl NAME]. Over 200 lines: one tool.

DECODER: bitshuffle, bitshuffle_lz4, lz4 (filter 32004), bitshuffle_zstd, shuffle_zstd, shuffle_deflate, blosc, zfp, auto. --opencl: on the OpenCL device whose
name holds NAME. One to four lies a chunk: bits, bytes, cuts, more bytes, pieces of other chunks, pieces twice, lengths at their extremes, sizes that are
wrong; half of them with what would give them away put right again (checksum, header). A row is what fuzz_oracles.py says, byte for byte, zeros of what
is refused included. The judge:
  shuffle_deflate: zlib.            shuffle_zstd, bitshuffle_zstd, auto: libzstd, and where it takes more, the reason must be one of zstd_decode.py's docstring.
  bitshuffle_lz4, lz4, blosc: LZ4_decompress_safe. Where it differs, the block format written anew decides: gpuredux does not demand the rules for encoders, and
  refuses an offset of 0. blosc also: c-blosc in a child process; what it takes and gpuredux refuses must be of a kind that BloscDecode's docstring refuses.
  bitshuffle: the bitshuffle library, and the size.
  zfp: of what is taken, zfpy in a child process, with zeros and with ones behind the stream; of what is refused, and how much padding is taken, for one in
  20 the readable decoder of zfp_decode.py (it was written apart from numba's text, but by us).
Also: behind the last live row lies one that must stay as it was, and so must the bytes around scratch and, on a device, around every array (fringes.py); every
eighth mutant is decoded alone, before such a row, and from memory that ends (mprotect) where the chunk does; a batch that takes more than a minute ends the
program.
"""

from __future__ import annotations

import argparse
import ctypes
import faulthandler
import functools
import mmap
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from fringes import Fringes
from fuzz_forms import MAKERS, SHAPES, ZFP, Form, Row

from gpuredux import DecodeError, backends

DIRT, BATCH, ALONE, LIMIT_S = 0xA5, 1024, 8, 60


# --------------------------------------------------------------------------------------------------------------- mutants
EXTREMES = (0, 1, 2, 7, 8, 15, 16, 255, 256, 65535, 65536, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def mutant(rng: random.Random, right: list[bytes], heal: Callable[[bytearray, bytes], None], most: int) -> bytes:
    """A chunk with one to four lies in it."""
    of = right[int(rng.random() * len(right))]
    chunk = bytearray(of)
    for _ in range(1 + int(4 * rng.random() ** 2)):
        one_lie(rng, chunk, right)
    if chunk and rng.random() < 0.5:
        heal(chunk, of)
    return bytes(chunk[:most])


def one_lie(rng: random.Random, chunk: bytearray, right: list[bytes]) -> None:
    u = rng.random
    at = int(u() * (len(chunk) if u() < 0.6 else min(len(chunk), 40)))      # often near the lengths
    match int(u() * 11) if chunk else 10:
        case 0:
            chunk[at] ^= 1 << int(8 * u())
        case 1:
            chunk[at] = int(256 * u())
        case 2:
            chunk[at] = (0, 15, 16, 127, 128, 240, 255)[int(7 * u())]
        case 3:
            del chunk[at:]
        case 4:
            del chunk[at : at + 1 + int(8 * u())]
        case 5:
            chunk[at:at] = rng.randbytes(1 + int(8 * u()))
        case 6:     # a piece of another chunk, over or between
            other = right[int(u() * len(right))]
            begin, n = int(u() * len(other)), 1 + int(60 * u())
            chunk[at : at + (n if u() < 0.5 else 0)] = other[begin : begin + n]
        case 7:     # a piece twice
            chunk[at:at] = chunk[at : at + 1 + int(60 * u())]
        case 8:
            n = (2, 4, 8)[int(3 * u())]
            value = EXTREMES[int(14 * u())] & (1 << 8 * n) - 1
            chunk[at : at + n] = value.to_bytes(n, "big" if u() < 0.5 else "little")
        case 9:     # a length that is a little wrong
            order = "big" if u() < 0.5 else "little"
            chunk[at : at + 4] = (int.from_bytes(chunk[at : at + 4], order) + int(19 * u()) - 9 & 0xFFFFFFFF).to_bytes(4, order)
        case _:
            chunk += bytes(1 + int(9 * u())) if u() < 0.5 else rng.randbytes(1 + int(9 * u()))


# ---------------------------------------------------------------------------------------------------------------- to run
class Cliff:
    """Memory that ends where the chunk does: reading one byte more is a segmentation fault."""

    def __init__(self, size: int) -> None:
        page = mmap.PAGESIZE
        self.size = -(-size // page) * page
        self.map = mmap.mmap(-1, self.size + page)
        self.bytes = np.frombuffer(self.map, np.uint8)
        libc = ctypes.CDLL(None, use_errno=True)
        libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
        if libc.mprotect(self.bytes.ctypes.data + self.size, page, 0):
            raise OSError(ctypes.get_errno(), "mprotect")

    def put(self, chunk: bytes) -> np.ndarray:
        self.bytes[self.size - len(chunk) : self.size] = np.frombuffer(chunk, np.uint8)
        return self.bytes[self.size - len(chunk) : self.size]


class Runner:
    """A decoder's plan for so many rows and one more, that is not live and must stay as it was."""

    def __init__(self, form: Form, rows: int, cap: int, backend: Any = None, device: Any = None) -> None:
        self.form, self.rows, self.backend, self.device = form, rows, backend or backends.NUMBA, device
        given = {"payload": np.zeros((rows + 1, cap), np.uint8), "size": np.zeros(rows + 1, np.uint32), "live": np.array([rows], np.int32)}
        given |= {"filter_mask": np.zeros(rows + 1, np.uint32)} if form.masks else {}
        self.fringes = self.backend.empty = Fringes(self.backend)
        try:
            self.inputs = {k: self.put(v) for k, v in given.items()}
            self.plan = form.op.plan(**self.inputs, backend=self.backend.name)
            self.dirt = [np.full(s.nbytes, DIRT, np.uint8).view(s.dtype).reshape(s.shape) for s in self.plan.outs]
            self.out = [self.put(x.copy()) for x in self.dirt]
        finally:
            self.backend.empty = self.fringes.empty

    def put(self, x: np.ndarray) -> Any:
        return x if not self.backend.kernels else self.backend.put(x, self.device)

    def __call__(self, payload: np.ndarray, size: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """code (rows, bytes) and whether it was right, of rows that are given in full."""
        changed = {"payload": payload, "size": size} | ({"filter_mask": mask} if self.form.masks else {})
        for held, new in [*((self.inputs[k], v) for k, v in changed.items()), *zip(self.out, self.dirt, strict=True)]:
            if self.backend.kernels:
                self.backend.overwrite(held, new)
            else:
                held[...] = new
        begin = time.monotonic()
        self.plan(**self.inputs, out=self.out)
        code, status = (np.ascontiguousarray(self.backend.get(x)) for x in self.out)
        self.fringes.check()
        assert time.monotonic() - begin < LIMIT_S, "a batch took more than a minute"
        raw = code.reshape(len(code), -1).view(np.uint8)
        assert (raw[-1] == DIRT).all() and status[-1] == DIRT * 0x01010101, f"{self.form.op.name}: the row behind the last live one was written"
        return raw[:-1], status[:-1] == 0


def fuzz_form(form: Form, count: int, rng: random.Random, kinds: Counter[str], wrong: list[str], backend: Any = None, device: Any = None) -> None:
    """kinds: how many of each; wrong: the first chunks that were not decoded as they should be."""
    cap = max(map(len, form.right)) + 150
    rows = min(BATCH, count)
    runner, alone, cliff = Runner(form, rows, cap, backend, device), None, Cliff(cap + 1)
    for done in range(0, count, rows):
        chunks = [mutant(rng, form.right, form.heal, cap) for _ in range(rows)]
        first = min(len(form.right), rows // 4) if done == 0 else 0      # right ones
        chunks[:first] = form.right[:first]
        payload, size = np.frombuffer(rng.randbytes((rows + 1) * cap), np.uint8).reshape(-1, cap).copy(), np.zeros(rows + 1, np.uint32)
        mask = np.array([rng.choice(form.masks or (0,)) for _ in range(rows + 1)], np.uint32)
        for k, chunk in enumerate(chunks):
            payload[k, : len(chunk)] = np.frombuffer(chunk, np.uint8)
            size[k] = len(chunk) if k < first or rng.random() < 0.98 else rng.choice((0, 1, cap - 1, cap, cap + 1, 0xFFFFFFFF, len(chunk) + 1))
        mask[:first] = form.masks[0] if form.masks else 0
        raw, good = runner(payload, size, mask)
        assert good[:first].all(), f"{form.op.name}: a right chunk is refused"
        seen = [payload[k, : size[k]].tobytes() if size[k] <= cap else None for k in range(rows)]
        got = [Row(seen[k], int(mask[k]), bool(good[k]), raw[k].tobytes()) for k in range(rows)]
        said = form.judge(got)
        if not runner.backend.kernels:
            alone = alone or Runner(form, 1, cap)
            for k in range(int(rng.random() * ALONE), rows, ALONE):
                said[k] = said[k] or by_itself(form, alone, cliff, got[k], payload[k], size[k], mask[k])
        for row, kind in zip(got, said, strict=True):
            if kind:
                kinds[kind] += 1
                if kind.startswith("WRONG") and len(wrong) < 20:
                    wrong.append(f"{form.op.name} {form.op.config()} mask {row.mask}: {kind}: {(row.chunk or b'').hex()}")
        kinds["taken"] += sum(row.good for row in got)
        kinds["mutants"] += rows


def by_itself(form: Form, alone: Runner, cliff: Cliff, row: Row, payload: np.ndarray, size: Any, mask: Any) -> str:
    """The same, decoded by itself."""
    raw, good = alone(np.stack([payload, payload]), np.array([size, 0], np.uint32), np.array([mask, 0], np.uint32))
    if (raw[0].tobytes(), bool(good[0])) != (row.raw, row.good):
        return "WRONG: another result in a batch"
    if form.one is None or row.chunk is None:
        return ""
    try:
        code = form.one(cliff.put(row.chunk))
    except DecodeError:
        return "WRONG: refused by the function for one chunk" if row.good else ""
    return "" if row.good and code.tobytes() == row.raw else "WRONG: taken by the function for one chunk"


@functools.lru_cache(None)
def forms(name: str) -> tuple[Form, ...]:
    return tuple(MAKERS[name](name, *kind) for kind in (ZFP if name == "zfp" else SHAPES))


def fuzz(name: str, count: int, seed: int, backend: Any = None, device: Any = None, some: slice = slice(None)) -> tuple[Counter[str], list[str]]:
    """So many mutants and at most a batch more for each of the forms."""
    rng, kinds, wrong = random.Random(f"{name} {seed}"), Counter(), []
    chosen = forms(name)[some]
    for form in chosen:
        fuzz_form(form, -(-count // len(chosen)), rng, kinds, wrong, backend, device)
    return kinds, wrong


def lines(name: str, where: str, seed: int, kinds: Counter[str], seconds: float) -> Iterator[str]:
    wrong = sum(n for k, n in kinds.items() if k.startswith("WRONG"))
    refused = kinds["mutants"] - kinds["taken"]
    yield f"{name} on {where}, seed {seed}: {kinds['mutants']} mutants, {kinds['taken']} taken, {refused} refused, {wrong} wrong, {seconds:.0f} s"
    yield from (f"    {n} {k}" for k, n in sorted(kinds.items()) if k not in ("mutants", "taken"))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, kind, default in (("decoder", str, "all"), ("count", int, 1_000_000), ("seed", int, 1)):
        parser.add_argument(name, type=kind, nargs="?", default=default)
    parser.add_argument("--opencl", metavar="NAME")
    asked, backend, device, failed = parser.parse_args(), None, None, False
    if asked.opencl:
        backend = backends.OPENCL
        device = next(d for d in backend.devices() if asked.opencl.lower() in d.name.lower())
    for name in MAKERS if asked.decoder == "all" else [asked.decoder]:
        faulthandler.dump_traceback_later(3600, exit=True)
        begin = time.monotonic()
        kinds, wrong = fuzz(name, asked.count, asked.seed, backend, device)
        print(*lines(name, device.name if device else "numba", asked.seed, kinds, time.monotonic() - begin), *wrong, sep="\n", flush=True)
        failed |= bool(wrong)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
