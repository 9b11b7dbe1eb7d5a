"""Nasty inputs of compress.auto and compress.auto_decode: frames whose bytes, or whose bits, are the smaller ones, ties, and masks of no meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import h5py
import numpy as np

from gpuredux.compress.auto import Auto
from gpuredux.compress.auto_decode import AutoDecode
from gpuredux.compress.bitshuffle_lz4 import BitshuffleLZ4
from gpuredux.compress.hdf5_layout import create_chunks
from gpuredux.compress.shuffle_deflate import ShuffleDeflate

from .case import Case, frame_bits, live_of, seeded
from .cases_zstd import bytes_to_code, counts_of, frame_of, repeated_planes, sized
from .cases_zstd_decode import damaged, rows_of


def close_frames(shape: tuple[int, int], dtype: str) -> np.ndarray:
    """Counts between those that are smaller as bytes and those that are smaller as bits: estimates of both are close, and both are made."""
    rng = seeded("close")
    return np.stack([rng.poisson(mean, shape) for mean in (0.01, 0.1, 0.2, 0.4, 0.8, 5)]).astype(dtype)


def auto() -> Iterator[Case]:
    blocks = [frame_of(x, np.uint8, planes) for planes in (False, True) for x in bytes_to_code(seeded("auto"), 20001)]
    yield Case("blocks", Auto((1, 20001), "uint8"), {"code": np.stack(blocks)[:, None]})
    yield Case("planes", Auto(), {"code": np.stack([frame_of(x, np.uint8, True) for x in repeated_planes(seeded("planes"), 1 << 16)])[:, None]})
    yield Case("close", Auto((240, 251), "uint16"), {"code": close_frames((240, 251), "uint16")})
    large = counts_of("regions", (301, 1127), "uint16", 4)[[1, 2, 0]]
    large[0, 200:, :500] = 700
    yield Case("regions", Auto(), {"code": large})
    for shape, dtype, rows in (((37, 53), "uint16", 4), ((24, 17), "int32", None), ((9, 17), "float64", 99), ((7,), "uint8", None), ((64, 1025), "uint16", 3)):
        yield Case(f"{dtype}-{shape}-live{rows}", Auto(shape, dtype), {"code": counts_of(f"{shape}", shape, dtype), **live_of(rows)})
    yield Case("one pixel", Auto(), {"code": counts_of("one", (1, 1), "uint16")})
    yield Case("no rows live", Auto(), {"code": counts_of("none", (4, 10), "uint16"), **live_of(0)})
    yield Case("empty", Auto(), {"code": np.empty((0, 4, 10), np.uint16)})
    for profile in ("fast", "no_plugin"):
        yield Case(profile, Auto((37, 53), "uint16", profile), {"code": counts_of(profile, (37, 53), "uint16"), **live_of(5)})


def foreign_chunks(code: np.ndarray, masks: list[int]) -> list[bytes]:
    """What the filters of HDF5 itself, those that a mask of "small" does not skip, make of each frame."""
    chunks = []
    for frame, mask in zip(code, masks, strict=True):
        with h5py.File("chunk.h5", "w", driver="core", backing_store=False) as f:
            applied = [filter for k, filter in enumerate(Auto().filters(frame.itemsize)) if not mask >> k & 1]
            d = create_chunks(f, "x", frame.shape, frame.dtype, filters=applied)
            d.resize(1, axis=0)
            d[0] = frame
            chunks.append(d.id.read_direct_chunk((0,) * d.ndim)[1])
    return chunks


def decode_case(name: str, op: AutoDecode, chunks: list[bytes], masks: list[int], rows: int | None = None, bits: bool = True) -> Case:
    status = {"frame_status": frame_bits(len(chunks))} if bits else {}
    return Case(name, op, {**rows_of(chunks), "filter_mask": np.array(masks, np.uint32), **status, **live_of(rows)})


def auto_decode() -> Iterator[Case]:
    for i, (shape, dtype, rows) in enumerate((((37, 53), "uint16", 6), ((24, 17), "int32", None), ((9, 17), "float64", 99), ((7,), "uint8", None))):
        code, masks = counts_of(f"{shape}", shape, dtype), [9, 10, 10, 9, 10, 9]
        yield decode_case(f"{dtype}-{shape}", AutoDecode(shape, dtype), foreign_chunks(code, masks), masks, rows, i % 2 > 0)
    large = np.ascontiguousarray(close_frames((301, 503), "uint16")[1::2])
    yield decode_case("regions", AutoDecode((301, 503), "uint16"), foreign_chunks(large, [10, 9, 10]), [10, 9, 10], bits=False)
    small, rng, op = close_frames((61, 103), "uint16"), seeded("damaged"), AutoDecode((61, 103), "uint16")
    chunks, masks = foreign_chunks(small, [9, 10, 9, 10, 9, 10]), [9, 10, 9, 10, 9, 10]
    yield decode_case("masks", op, [chunks[0]] * 6 + [chunks[1]] * 6 + [b""], [9, 10, 0, 5, 15, 1 << 31] * 2 + [9])
    broken = decode_case("damaged", op, [damaged(rng, chunks[k % 6]) for k in range(24)] + [chunks[0]], masks * 4 + [9])
    broken.inputs["size"][-1] = broken.inputs["payload"].shape[1] + 1
    yield broken
    yield decode_case("no rows live", op, chunks, masks, 0)
    yield decode_case("empty", op, [], [])
    for profile, codec in (("fast", BitshuffleLZ4()), ("no_plugin", ShuffleDeflate())):
        chunks = [codec.chunk_of(frame) for frame in small[:3]]
        yield decode_case(profile, AutoDecode((61, 103), "uint16", profile), [*chunks, damaged(rng, chunks[0]), *chunks[:2]], [0, 0, 0, 0, 1, 9])


CASES: dict[str, Callable[[], Iterator[Case]]] = {"compress.auto": auto, "compress.auto_decode": auto_decode}


def sized_auto(shape: tuple[int, ...], n: int, _: bool) -> Case:
    return sized(Auto, shape, n)


def sized_auto_decode(shape: tuple[int, ...], n: int, _: bool) -> Case:
    code = seeded("sized").poisson(2, (n, *shape)).astype(np.uint16)
    payload, size, mask = Auto()(code, backend="numba")
    return Case("counts of 2", AutoDecode(shape, "uint16"), {"payload": payload, "size": size, "filter_mask": mask})


SIZED: dict[str, Callable[[tuple[int, ...], int, bool], Case]] = {"compress.auto": sized_auto, "compress.auto_decode": sized_auto_decode}
