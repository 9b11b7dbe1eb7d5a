"""frame = its chunk in a dataset of compress.Auto, by the filters that its mask says were applied, decoded with every length checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ..op import DecodeError, Op, Plan, Spec, live_rows, nbytes
from ..status import Frame
from . import zstd_decode_numba as numba_zstd
from .auto import BITS, BYTES, Auto, require_profile
from .bitshuffle_lz4_decode import BitshuffleLZ4Decode, elements
from .chunk_decoder import ChunkDecoder
from .shuffle_deflate_decode import ShuffleDeflateDecode
from .shuffle_zstd_decode import ShuffleZstdDecode, first_errors
from .zstd_decode import frame_content
from .zstd_encode import REGION

FILE = "compress/auto_decode.cl"


@dataclass(frozen=True, eq=False)
class AutoDecode(ChunkDecoder):
    """code[f] = the frame whose chunk is payload[f, :size[f]], of those filters of Auto(profile=...) that filter_mask[f] does not skip.

    "small": masks of shuffle + zstd and of bitshuffle + zstd, one zstd frame each, whoever wrote it; zstd_decode.py says what is taken. "fast": what
    BitshuffleLZ4Decode takes; "no_plugin": what ShuffleDeflateDecode takes; both with mask 0. Nothing is read beyond size, whatever the bytes say.

    fields: shape of a frame, dtype (native numbers of 1, 2, 4 or 8 bytes), profile of the encoder
    in:  payload (n, cap) u8; size (n,) u32 [bytes]; filter_mask (n,) u32; frame_status (n,) u32; live (1,) i32
    out: code (n, *shape) dtype: of a chunk with an error as the codec's own decoder says; all zero for any other mask, and in "small"
         frame_status (n,) u32, always: what was given or 0, with CORRUPT where anything was wrong, or the mask is another
    exact: bit-identical on every backend, for every input. Scratch: the raw batch once
    traffic: the raw bytes, the sizes, the masks and the status; how much of payload is needed depends on the data and is not counted
    source: HDF5's filter masks; the decoders named
    """

    name: ClassVar[str] = "compress.auto_decode"
    inputs: ClassVar[tuple[str, ...]] = ("payload", "size", "filter_mask", "frame_status?", "live?")

    profile: str = "small"

    def __post_init__(self) -> None:
        require_profile(self.name, self.profile)
        super().__post_init__()

    @property
    def codec(self) -> ChunkDecoder:
        """Of the profile; in "small" of its first kind, whose steps serve both."""
        return {"small": ShuffleZstdDecode, "fast": BitshuffleLZ4Decode, "no_plugin": ShuffleDeflateDecode}[self.profile](self.shape, self.dtype)

    @property
    def masks(self) -> tuple[int, int]:
        return (BYTES, BITS) if self.profile == "small" else (0, 0)

    def layout_of(self, frame: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        codec = ShuffleZstdDecode if self.profile == "small" else type(self.codec)
        return codec(frame, dtype.str).layout

    def inverse(self) -> Op:
        return Auto(self.shape, self.dtype, self.profile)

    def outputs(self, payload: Any, size: Any, filter_mask: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:      # type: ignore[override]
        out = super().outputs(payload, size, frame_status, live)
        self.require("filter_mask", filter_mask, np.uint32, (size.shape[0],))
        return out

    def traffic(self, payload: Any, size: Any, filter_mask: Any, frame_status: Any, live: Any) -> int:      # type: ignore[override]
        return nbytes(size, filter_mask, frame_status, live) + nbytes(*self.outputs(payload, size, filter_mask, frame_status, live))

    def scratch(self, payload: Any, size: Any, filter_mask: Any, frame_status: Any, live: Any) -> tuple[Spec, ...]:
        return *self.codec.scratch(payload, size, frame_status, live), Spec("known_size", size.shape, np.dtype(np.uint32))

    def numpy(self, plan: Plan, payload: Any, size: Any, filter_mask: Any, frame_status: Any, live: Any, code: Any,     # type: ignore[override]
              new_status: Any) -> None:
        for f in range(live_rows(payload, live)):
            known = filter_mask[f] in self.masks and size[f] <= payload.shape[1]
            raw, good = self.chunk_bytes(payload[f, : size[f]].tobytes() if known else b"", filter_mask[f])
            code[f] = np.frombuffer(raw, self.dtype).reshape(self.shape)
            new_status[f] = (0 if frame_status is None else frame_status[f]) | (0 if good else Frame.CORRUPT)

    def chunk_bytes(self, chunk: bytes, filter_mask: int) -> tuple[bytes, bool]:
        """The bytes of a frame, and whether its chunk was right in every byte."""
        if filter_mask != BITS or self.profile != "small":
            return self.codec.frame_bytes(chunk)
        total, itemsize = self.layout.nbytes, np.dtype(self.dtype).itemsize
        usable = total // (8 * itemsize) * 8 * itemsize
        try:
            planes = frame_content(chunk, total)
        except DecodeError:
            return bytes(total), False
        return b"".join(elements(planes[k : min(k + REGION, usable)], itemsize) for k in range(0, usable, REGION)) + planes[usable:], True

    def numba(self, plan: Plan, payload: Any, size: Any, filter_mask: Any, frame_status: Any, live: Any, code: Any, new_status: Any) -> None:
        n, known_size = live_rows(payload, live), plan.scratch["known_size"]
        known_size[:n] = np.where(np.isin(filter_mask[:n], self.masks), size[:n], 0)      # no chunk is empty
        if self.profile != "small":
            self.codec.numba(plan, payload, known_size, frame_status, live, code, new_status)
        elif n:
            kinds = np.where(filter_mask[:n] == BITS, numba_zstd.PLANES, numba_zstd.SHUFFLE)
            raw, itemsize = code.reshape(len(code), -1).view(np.uint8), np.dtype(self.dtype).itemsize
            first = first_errors(payload[:n], known_size[:n], itemsize, kinds, raw[:n], plan.scratch["planes"][:n], 1)
            self.mark(n, first[:, 0], frame_status, new_status)

    def device(self, plan: Plan, payload: Any, size: Any, filter_mask: Any, frame_status: Any, live: Any, code: Any, new_status: Any) -> None:
        n, known_size = payload.shape[0], plan.scratch["known_size"] if plan.scratch else None
        have_live, before = (new_status if a is None else a for a in (live, frame_status))      # stand in where the kernels never look
        itemsize, lives = np.dtype(self.dtype).itemsize, {"LIVE": live is not None}
        args = (size, filter_mask, known_size, have_live, np.uint32(n), *(np.uint32(k) for k in self.masks))
        plan.launch(FILE, "auto_known", (-(-n // 128),), 128, args, SIZE=1, STATUS=False, **lives)
        if not isinstance(self.codec, ShuffleZstdDecode):
            self.codec.device(plan, payload, known_size, frame_status, live, code, new_status)
            return
        planes, verdict = (plan.scratch[k] if plan.scratch else None for k in ("planes", "starts"))
        npix, row = self.layout.nbytes // itemsize, self.scratch(payload, size, filter_mask, None, live)[0].shape[1]
        tiles = -(-npix // 1024)
        self.codec.launch_frames(plan, payload, known_size, live, code, self.layout.nbytes, 1)
        args = (planes, filter_mask, verdict, before, new_status, code, have_live, *(np.uint32(k) for k in (n, tiles, npix, row, BITS)))
        plan.launch(FILE, "auto_join", (n * tiles,), 128, args, SIZE=itemsize, STATUS=frame_status is not None, **lives)
