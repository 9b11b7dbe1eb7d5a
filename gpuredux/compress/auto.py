"""chunk = the smaller of two for each frame, in one HDF5 dataset: which filters were applied its filter mask says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar, NamedTuple

import numba
import numpy as np

from ..op import Op, Plan, Spec, live_rows, nbytes
from . import auto_device
from .auto_numba import encode_frames
from .bitshuffle_lz4 import BitshuffleLZ4, bit_planes
from .chunk_encoder import ChunkEncoder, Filter
from .shuffle_deflate import ShuffleDeflate, shuffled
from .shuffle_zstd import Layout, zstd_layout
from .zstd_encode import BIT, RAW, REGION, UNIT, block_header, estimated_blocks, frame_header
from .zstd_encode_numba import SLOT, stages

PROFILES = ("small", "fast", "no_plugin")
BYTES, BITS, DEFLATE = 0b1001, 0b1010, 0b0101       # masks of "small": the filters that a chunk has not gone through, of those four in their order


class Blocks(NamedTuple):
    """Blocks of a zstd frame, and about how many units of bits they have, as it was known before they were made."""

    content: bytes
    about: int


@dataclass(frozen=True, eq=False)
class Auto(ChunkEncoder):
    """payload[f, :size[f]] = the chunk of frame f, the smaller one of S and B, in a dataset of the filters 32008 (bitshuffle), 2 (shuffle), 32015 (zstd), 1.

    Both are one zstd frame, with its content size and without a checksum: S of the shuffled bytes, as ShuffleZstd makes it; B of the bit planes of
    each 128 KiB, in the blocks of BitshuffleZstd, and in a raw block the last elements, fewer than 8. Made first is the one that zstd_encode.py
    estimates to be smaller, S of equals. The other one is made where it may be smaller still: where at_least() of its estimate is below the
    first one's size; then the smaller one is taken, S of equals. This fixes every byte.

    fields: shape, dtype of the frames: wanted only for inverse(), checked where given
            profile: "small", as above; "fast": chunks of BitshuffleLZ4; "no_plugin": of ShuffleDeflate; each with its own filters, all masks 0
    in:  code (n, *frame) of 1, 2, 4 or 8 bytes each; live (1,) i32
    out: payload (n, cap) u8: bytes at or beyond size are not changed; cap is the worst case, a multiple of 16
         size (n,) u32 [bytes]
         filter_mask (n,) u32: bit i: filters()[i] was not applied; what write_direct_chunk wants to know beside the chunk
    exact: byte-identical on every backend. Scratch: 7 times the raw batch on a device, twice it on a CPU
    traffic: the raw bytes, the sizes and the masks; the compressed bytes depend on the data and are not counted
    source: ShuffleZstd, BitshuffleZstd; HDF5's direct chunk write and its filter masks
    """

    name: ClassVar[str] = "compress.auto"
    writes: ClassVar[tuple[str, ...]] = ("payload", "size", "filter_mask")

    profile: str = "small"

    def __post_init__(self) -> None:
        require_profile(self.name, self.profile)
        super().__post_init__()

    @property
    def only(self) -> ChunkEncoder | None:
        """The codec of a profile that has but one."""
        return None if self.profile == "small" else (BitshuffleLZ4 if self.profile == "fast" else ShuffleDeflate)(self.shape, self.dtype)

    def layout(self, frame: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        return auto_layout(self.name, frame, dtype) if self.profile == "small" else type(self.only)().layout(frame, dtype)

    def filters(self, itemsize: int) -> tuple[Filter, ...]:  # type: ignore[override]  # they depend on the profile
        """Of a dataset that holds such chunks, in the order in which they encode: bit i of a mask is number i."""
        if self.only is not None:
            return self.only.filters(itemsize)
        return Filter(32008, (REGION // itemsize, 0)), Filter(2, ()), Filter(32015, (1,)), Filter(1, (1,))

    def decoder(self) -> Callable[..., Op]:
        from .auto_decode import AutoDecode

        return partial(AutoDecode, profile=self.profile)

    def outputs(self, code: Any, live: Any) -> tuple[Spec, ...]:
        payload, size = super().outputs(code, live)
        return payload, size, Spec("filter_mask", size.shape, np.dtype(np.uint32))

    def traffic(self, code: Any, live: Any) -> int:
        return super().traffic(code, live) + nbytes(self.outputs(code, live)[2])

    def scratch(self, code: Any, live: Any) -> tuple[Spec, ...]:
        if self.only is not None:
            return self.only.scratch(code, live)
        layout = self.layout(code.shape[1:], np.dtype(code.dtype))
        return auto_device.scratch(code.shape[0], *(-(-k // UNIT) for k in (layout.nbytes, layout.usable)), layout.regions * SLOT)

    def numpy(self, plan: Plan, code: Any, live: Any, payload: Any, size: Any, filter_mask: Any) -> None:
        for f in range(live_rows(code, live)):
            chunk, filter_mask[f] = auto_chunk(code[f]) if self.only is None else (self.only.chunk_of(code[f]), 0)
            payload[f, : len(chunk)] = np.frombuffer(chunk, np.uint8)
            size[f] = len(chunk)

    def numba(self, plan: Plan, code: Any, live: Any, payload: Any, size: Any, filter_mask: Any) -> None:
        n, threads = live_rows(code, live), numba.get_num_threads()
        if self.only is not None:
            self.only.numba(plan, code, live, payload, size)
            filter_mask[:n] = 0
        elif n:
            regions = self.layout(code.shape[1:], code.dtype).regions
            spans = 1 if threads == 1 else max(1, min(regions, 4 * threads // n))
            raw, slots = code.reshape(len(code), -1).view(np.uint8), (plan.scratch[k][:n] for k in ("s_slots", "b_slots"))
            made, about = np.full((2, n, regions), -1, np.int64), np.zeros((2, n, spans), np.int64)
            encode_frames(raw[:n], code.dtype.itemsize, payload[:n], size[:n], filter_mask[:n], *slots, made, about, spans, min(threads, n * spans), stages())

    def device(self, plan: Plan, code: Any, live: Any, payload: Any, size: Any, filter_mask: Any) -> None:
        if self.only is not None:
            self.only.device(plan, code, live, payload, size)
            auto_device.no_mask(plan, live, filter_mask)
        else:
            auto_device.encode(plan, self.layout(code.shape[1:], np.dtype(code.dtype)), code, live, payload, size, filter_mask)


def require_profile(who: str, profile: str) -> None:
    if profile not in PROFILES:
        raise ValueError(f"{who}: profile must be one of {', '.join(PROFILES)}, got {profile!r}")


def auto_layout(who: str, frame: tuple[int, ...], dtype: np.dtype[Any]) -> Layout:
    """Raises TypeError or ValueError for frames that these filters cannot hold. usable: bytes in whole planes of bits. The largest chunk has a raw block
    for every unit, and one for the last elements."""
    layout = zstd_layout(who, frame, dtype, False)
    if layout.cap + 16 >= 1 << 32:
        raise ValueError(f"{who}: a frame of {layout.nbytes} bytes could need a chunk of 4 GiB or more; cut it into panels")
    return replace(layout, usable=layout.nbytes // (8 * dtype.itemsize) * 8 * dtype.itemsize, cap=layout.cap + 16)


# ------------------------------------------------------------------------------------------------------------------ the readable encoder
def auto_chunk(frame: np.ndarray) -> tuple[bytes, int]:
    """The whole chunk of one frame, and its filter mask."""
    s, b = byte_blocks(frame), bit_blocks(frame)
    first, other = (s, b) if s.about <= b.about else (b, s)
    if at_least(other.about) < 8 * BIT * len(first.content):
        first = s if len(s.content) <= len(b.content) else b
    return frame_header(frame.nbytes) + first.content, BYTES if first is s else BITS


def at_least(about: int) -> int:
    """What blocks of this estimate have at least, both in units: estimates err upwards by 1.6 % at most, by 31 bytes of less than 3 KB, as far as was tried."""
    return about - about // 32 - 64 * 8 * BIT


def byte_blocks(frame: np.ndarray) -> Blocks:
    x = shuffled(frame)
    starts = range(0, len(x), REGION)
    made = [estimated_blocks(x[k : k + REGION], (1,), 4, k == starts[-1]) for k in starts]
    return Blocks(b"".join(content for content, _ in made), sum(about for _, about in made))


def bit_blocks(frame: np.ndarray) -> Blocks:
    x, size = frame.reshape(-1), frame.itemsize
    usable, step, tail = len(x) // 8 * 8, REGION // size, x[len(x) // 8 * 8 :].tobytes()
    made = []
    for start in range(0, usable, step):
        planes = bit_planes(x[start : min(start + step, usable)])
        made.append(estimated_blocks(planes, (1, len(planes) // (8 * size)), 8, start + step >= usable and not tail))
    if tail:
        made.append((block_header(len(tail), RAW, True) + tail, 8 * BIT * (3 + len(tail))))
    return Blocks(b"".join(content for content, _ in made), sum(about for _, about in made))
