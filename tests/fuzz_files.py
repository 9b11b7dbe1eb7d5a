"""HDF5 files with lies in them: python tests/fuzz_files.py [COUNT] [SEED] [--inside]. Over 200 lines: kinds of files, kinds of lies.

Layouts 1 to 4 of compress.hdf5, hdf5_roibin and hdf5_wavelet (both kinds), small files; one to four lies anywhere: bits, bytes, numbers at their extremes,
pieces moved, cleared or cut off. --inside: HDF5 itself writes the lies, so that its checksums agree: into chunks (four of five times with the CRC that
guards them), lists and attributes, and lengths of datasets. Files are read in a child process of at most 4 GiB (RLIMIT_AS) and 20 s a file. Right is
DecodeError, ConfigError or OSError, or the values that were written; with --inside also other values, counted: whoever writes a file writes its CRCs too.
What dies or does not end is counted by the innermost Python function: h5py's, or ours that called libhdf5.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from fuzz import EXTREMES, one_lie
from fuzz_oracles import Child, serve

from gpuredux import DecodeError
from gpuredux.compress import Precondition, Quantize, hdf5
from gpuredux.compress.crc32c import crc32c
from gpuredux.stream.faults import ConfigError

SECONDS, GIB = 20, 4


def hdf5_values(path: Path) -> np.ndarray:
    return np.asarray(hdf5.read(path, "d"))


def makers() -> dict[str, tuple[Callable[[Path], None], Callable[[Path], Any]]]:
    """How each kind of file is written and read."""
    from test_golden_files import MADE, scene

    made = {name: (write, read) for name, (write, read, *_) in MADE.items()}
    for codec in ("bitshuffle_lz4", "shuffle_zstd", "shuffle_deflate"):
        made[f"hdf5_layout_1 {codec}"] = (lambda p, codec=codec: hdf5.write(p, "d", scene("uint16"), codec), hdf5_values)
    made["hdf5_layout_1 codes"] = (lambda p: hdf5.write(p, "d", scene("float32"), Quantize(abs=0.1, capacity=4)), hdf5_values)
    made["hdf5_layout_4"] = (lambda p: hdf5.write(p, "d", scene("uint16"), Precondition("uint16", predictor="previous", every=2)), hdf5_values)
    return made


def digest(x: Any) -> str:
    return f"{x.dtype} {x.shape} {hashlib.sha256(np.ascontiguousarray(x).tobytes()).hexdigest()}"


# -------------------------------------------------------------------------------------------------------- in the child
def outcome(kind: str, data: bytes, seed: int | None = None) -> str:
    """Of reading these bytes: digest of the values or name of the error; and of verify, if that is an error of another kind. seed: lies inside."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / "file.h5"
        path.write_bytes(data)
        if seed is not None:
            with h5py.File(path, "r+") as f:
                rng = random.Random(seed)
                with suppress(OSError, RuntimeError, MemoryError):      # a lie is refused, for the one before is found
                    for _ in range(1 + int(3 * rng.random() ** 2)):
                        if lie_inside(rng, f):
                            break
        said = tried(lambda: digest(makers()[kind][1](path)))
        checked = tried(lambda: str(hdf5.verify(path, "d"))) if kind.startswith("hdf5") else ""
    return checked if checked.startswith("WRONG") else said


def lie_inside(rng: random.Random, file: Any) -> bool:
    """Into a chunk, a value, a length or an attribute, as HDF5 writes them. Whether libhdf5 must write no more: it dies over chunks that are too short for
    its filters, and takes for ever to shorten what was made long."""
    names: list[str] = []
    file.visititems(lambda name, of: names.append(name) if isinstance(of, h5py.Dataset) else None)
    name = rng.choice(sorted(names))
    d = file[name]
    chunked, case = d.chunks is not None and d.id.get_num_chunks(), rng.randrange(10)
    if case < 5 and chunked and (not d.fletcher32 or rng.random() < 0.4):
        lie_in_chunk(rng, file, name, rng.randrange(d.id.get_num_chunks()))
        return bool(d.fletcher32)
    if case < 8 and d.size and d.dtype.kind in "iuf" and (not chunked or d.fletcher32):
        bits = np.atleast_1d(d[()]).copy()
        flat = bits.reshape(-1).view(f"u{d.dtype.itemsize}")
        at, most = rng.randrange(flat.size), (1 << 8 * d.dtype.itemsize) - 1
        flat[at] = rng.choice((int(flat[at]) + 1 & most, int(flat[at]) - 1 & most, rng.choice(EXTREMES) & most, most, rng.getrandbits(64) & most))
        d[()] = bits.reshape(d.shape)
    elif case == 8 and d.maxshape[:1] == (None,):
        d.resize(max(0, rng.choice((0, 1, len(d) - 1, len(d) + 1, 2**40))), axis=0)
        return len(d) == 2**40
    else:
        lie_in_attribute(rng, rng.choice((file, d)).attrs)
    return False


def lie_in_chunk(rng: random.Random, file: Any, name: str, i: int) -> None:
    d = file[name]
    info = d.id.get_chunk_info(i)
    chunk = bytearray(d.id.read_direct_chunk(info.chunk_offset)[1])
    other = [bytes(d.id.read_direct_chunk(d.id.get_chunk_info(k).chunk_offset)[1]) for k in range(d.id.get_num_chunks())]
    if d.fletcher32 and rng.random() < 0.7:
        del chunk[-4:]
        one_lie(rng, chunk, other)
        chunk += fletcher(bytes(chunk))
    else:
        one_lie(rng, chunk, other)
    mask = info.filter_mask if rng.random() < 0.9 else rng.choice((1, 2, 3, 9, 10, 0xFFFFFFFF))
    d.id.write_direct_chunk(info.chunk_offset, bytes(chunk) or b"x", mask)
    crc = next((file[k] for k in (f"{name}_side/chunk_crc32c", f"{name}_crc32c") if k in file), None)
    row = info.chunk_offset[0]
    if crc is not None and rng.random() < 0.8 and row < len(crc):
        crc[row] = crc32c(bytes(chunk) or b"x")


def fletcher(data: bytes) -> bytes:
    """HDF5's Fletcher-32 sum, as it stands behind the data."""
    first = second = 0
    for at in range(0, len(data), 2):
        first = (first + 256 * data[at] + (data[at + 1] if at + 1 < len(data) else 0)) % 65535
        second = (second + first) % 65535
    return (second << 16 | first).to_bytes(4, "little")


def lie_in_attribute(rng: random.Random, attrs: Any) -> None:
    name = rng.choice(sorted(attrs) or ["none"])
    value = attrs.get(name)
    if isinstance(value, (np.number, np.ndarray)) and np.asarray(value).dtype.kind in "iuf" and np.size(value) and rng.random() < 0.8:
        held = np.atleast_1d(value).copy()
        flat = held.reshape(-1).view(f"u{held.dtype.itemsize}")
        flat[rng.randrange(flat.size)] = (rng.choice(EXTREMES) if rng.random() < 0.5 else rng.getrandbits(64)) & (1 << 8 * held.dtype.itemsize) - 1
        attrs[name] = held.reshape(np.shape(value)) if np.shape(value) else held[0]
    elif name in attrs and rng.random() < 0.3:
        del attrs[name]
    elif name in attrs:
        attrs[name] = rng.choice(("", "x" * 70, 7, -1.5, np.arange(3)))


def tried(read: Callable[[], str]) -> str:
    try:
        return read()
    except (DecodeError, ConfigError, OSError) as e:
        return f"refused {type(e).__name__}"
    except Exception as e:
        at = e.__traceback__
        while at and at.tb_next:
            at = at.tb_next
        return f"WRONG {type(e).__name__} in {Path(at.tb_frame.f_code.co_filename).name}:{at.tb_lineno}: {' '.join(str(e).split())[:120]}"


# -------------------------------------------------------------------------------------------------------------- mutants
def damaged(rng: random.Random, right: bytes) -> bytes:
    data = bytearray(right)
    for _ in range(1 + int(4 * rng.random() ** 2)):
        at = rng.randrange(len(data)) if data else 0
        match rng.randrange(9):
            case 0 | 1 if data:
                data[at] ^= 1 << rng.randrange(8)
            case 2 if data:
                data[at] = rng.randrange(256)
            case 3 | 4:
                n = rng.choice((2, 4, 8))
                data[at : at + n] = (rng.choice(EXTREMES) & (1 << 8 * n) - 1).to_bytes(n, "little")
            case 5:
                n, other = rng.choice((8, 64, 512)), rng.randrange(max(len(data), 1))
                data[at : at + n] = data[other : other + n]
            case 6:
                n = min(rng.choice((8, 64, 512)), len(data) - at)
                data[at : at + n] = bytes(n)
            case 7:
                n = rng.randrange(1, 9)
                data[at : at + n] = rng.randbytes(n)
            case _ if rng.random() < 0.2:
                del data[at:]
    return bytes(data)


def fuzz_files(count: int, seed: int, inside: bool = False) -> tuple[dict[str, Counter[str]], list[tuple[str, bytes, str]]]:
    """Of each kind so many files: how many of each outcome; and the files that were not read as they should be."""
    rng, child, counts, wrong = random.Random(seed), Child(__file__, GIB, SECONDS), {}, []
    for kind, (write, read) in makers().items():
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "file.h5"
            write(path)
            right, want = path.read_bytes(), digest(read(path))
        asked: list[tuple[Any, ...]] = [(kind, right)]
        asked += [(kind, right, rng.getrandbits(48)) if inside else (kind, damaged(rng, right)) for _ in range(count - 1)]
        counts[kind] = Counter()
        for item, said in zip(asked, child.ask("outcome", asked), strict=True):
            other = "other values" if inside else "WRONG values"
            told = "right" if said == want else said if said.startswith(("refused", "died", "WRONG")) else other
            counts[kind][told] += 1
            if told.startswith(("WRONG", "died")):
                wrong.append((kind, item[1], f"{told} {item[2:]}"))
    child.close()
    return counts, wrong


def lines(counts: dict[str, Counter[str]], seed: int, seconds: float) -> Iterator[str]:
    total = sum(counts.values(), Counter())
    bad = sum(n for k, n in total.items() if k.startswith("WRONG"))
    died = sum(n for k, n in total.items() if k.startswith("died"))
    refused = sum(n for k, n in total.items() if k.startswith("refused"))
    told = f"{total['right']} right, {refused} refused, {total['other values']} other values, {died} died, {bad} wrong"
    yield f"{total.total()} files, seed {seed}: {told}, {seconds:.0f} s"
    for kind, of in counts.items():
        yield f"  {kind}: {of.total()}"
        yield from (f"    {n} {k}" for k, n in sorted(of.items()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("count", type=int, nargs="?", default=20_000)
    parser.add_argument("seed", type=int, nargs="?", default=1)
    parser.add_argument("--inside", action="store_true")
    asked, begin = parser.parse_args(), time.monotonic()
    counts, wrong = fuzz_files(-(-asked.count // len(makers())), asked.seed, asked.inside)
    print(*lines(counts, asked.seed, time.monotonic() - begin), sep="\n")
    for k, (kind, data, told) in enumerate(wrong[:40]):
        place = Path(tempfile.gettempdir()) / f"fuzz_{asked.seed}_{k}.h5"
        place.write_bytes(data)
        print(f"{place}: {kind}: {told}")
    return int(any(told.startswith("WRONG") for *_, told in wrong))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(*map(int, sys.argv[2:]), globals())
    else:
        sys.exit(main())
