"""Append compressed frames to an HDF5 dataset. Over 200 lines: one class, and a frame is committed only if all of its parts go in together."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import Any

import h5py
import numpy as np

from .. import backends
from ..op import Op, Spec
from . import hdf5_layout as layout
from . import hdf5_rows as rows
from .codecs import encoder_of, filters_of, of_any_frames
from .crc32c import crc32c, crc32c_rows
from .precondition import Precondition
from .quantize import Quantize
from .quantize_counts import DTYPES as COUNTS
from .quantize_counts import QuantizeCounts
from .zfp import Zfp

CODED = (Quantize, QuantizeCounts, Precondition)    # what makes codes of frames, and lists what has none
BATCH = 64 << 20    # bytes of raw frames that append() encodes at a time: bounds the memory


class Writer:
    """Frames go in, encoded here or before; the file holds them as chunks of standard filters. The layout: hdf5.py.

    where:       a path, of which a new file is made; or an open h5py File or Group, which stays open
    frame_shape: of one frame, 1 to 4 axes
    codec:       the dtype of lossless frames, or of frames for zfp; or a Quantize, for float32 frames; or a QuantizeCounts, and count_dtype is the frames';
                 or a Precondition: with predictor "previous" an append() begins with a plain frame, and so does every 64 MiB of it
    encoder:     what makes chunks of frames or codes: a name of codecs.CODECS or an operation, for writers that follow each other the same one, so that its
                 plan is made once; Zfp takes frames alone, and its bound is the user's affair: frame_status says NOT_HELD where it does not hold
    panels:      one panel (first axis of a frame) a chunk instead of one frame
    attrs:       more attributes of the dataset; provenance: what is known of the data's way, as JSON (append() adds backend and device)
    counts:      frames, lossless_frames, stored_bytes: all appended since the writer was made

    A frame counts as committed when commit() or flush() returned; readers know these by the length of chunk_crc32c. All objects and attributes
    exist from the start, so that the file's owner can switch it to SWMR. After an OSError the writer takes no more frames: close it.
    """

    def __init__(self, where: Any, name: str, frame_shape: tuple[int, ...], codec: Any, *, panels: bool = False, attrs: Mapping[str, Any] | None = None,
                 provenance: dict[str, Any] | None = None, backend: str | None = None, encoder: Op | str = "bitshuffle_lz4", count_dtype: Any = None) -> None:
        self.name, self.panels, self.backend = name.strip("/"), panels, backend
        if not self.name:
            raise ValueError("hdf5.Writer: name must name a dataset, got an empty one")
        if isinstance(codec, Op) and not isinstance(codec, CODED):
            raise TypeError(f"hdf5.Writer: codec must be a dtype (lossless) or a compress.Quantize, QuantizeCounts or Precondition, got {codec.name}; "
                            "encoder= takes others")
        self.codec = codec if isinstance(codec, Op) else None
        self.taken = _taken(codec, count_dtype)
        kind = np.dtype(codec.code) if self.codec else self.taken
        self.frame, self.dtype = layout.check_frame("hdf5.Writer", frame_shape, kind, panels)
        for field in ("good", "sigma", "gaps", "pedestal"):
            plane = getattr(self.codec, field, None)
            if plane is not None and plane.shape != self.frame:
                raise ValueError(f"hdf5.Writer: {type(codec).__name__}.{field} must be {self.frame} as the frames, got {plane.shape}")
        self.chunk_shape = self.frame[1:] if panels else self.frame
        self.chunks_per_frame = self.frame[0] if panels else 1
        self.frames = self.lossless_frames = self.stored_bytes = self._outliers = 0
        self._pending: dict[str, list[np.ndarray]] = {}
        self._failed = self._closed = False
        self._provenance, self._encoder = dict(provenance or {}), encoder_of(encoder, "hdf5.Writer")
        self._own_encoder()
        hosts = backends.owners(np.empty(0))
        self._host = next((b for b in hosts if b.name == backend), hosts[0])     # encodes the lossless frames beside codes
        own = self._attributes(attrs or {})
        given = {**own, **(attrs or {})}
        self._own = None if isinstance(where, h5py.Group) else layout.new_file(where, "hdf5.Writer", " (hdf5.write with overwrite=True replaces it)")
        with nullcontext() if self._own is None else layout.gone_if_it_fails(where, self._own):
            self._create(where if self._own is None else self._own, given)

    def _own_encoder(self) -> None:
        """What makes chunks, held against the frames or codes that it is to take."""
        self._lossy = isinstance(self._encoder, Zfp)
        if self._lossy and self.codec:
            raise TypeError(f"hdf5.Writer: {self._encoder.name} loses bits of codes: {self.codec.name} wants an encoder that does not")
        if "block_bits" in {o.name for o in self._outputs()}:
            raise TypeError(f"hdf5.Writer: a file holds no block_bits, which {self._encoder.name} with side=True writes: give it side=False")
        self._filters = filters_of(self._encoder, self.chunk_shape, self.dtype)
        self._masked = "filter_mask" in self._encoder.writes
        self._words = isinstance(self.codec, Precondition)       # codes without a bound, for they are exact
        self._bounded = not self._words if self.codec else "max_error" in {o.name for o in self._outputs()}

    def _attributes(self, attrs: Mapping[str, Any]) -> dict[str, Any]:
        """Those of the dataset that are the writer's own affair."""
        number = layout.LAYOUT if self.codec is None else layout.LAYOUT_COUNTS if isinstance(self.codec, QuantizeCounts) else \
            layout.LAYOUT_WORDS if self._words else layout.LAYOUT if self.codec.mode == "abs" else layout.LAYOUT_BOUNDS
        own = {"gpuredux_layout": number, "side": layout.side_of(self.name).rpartition("/")[2], **(self.codec.attributes() if self.codec else {}),
               **_of_zfp(self._encoder), **layout.provenance([op for op in (self.codec, self._encoder) if op], self._provenance)}
        clash = sorted(own.keys() & attrs.keys())
        if clash:
            raise ValueError(f"hdf5.Writer: attrs must leave {', '.join(clash)} to the writer")
        return own

    def _create(self, group: Any, attrs: dict[str, Any]) -> None:
        """The dataset, its attributes, and the empty lists beside it."""
        self.file, self._path, side = group.file, group.file.filename, layout.side_of(self.name)
        for old in (self.name, side):
            if group.get(old, getlink=True) is not None:
                raise FileExistsError(errno.EEXIST, f"{old!r} exists (hdf5.write with overwrite=True replaces it)", str(self._path))
        layout.reserve(self.file, 0)
        self._made = [(group, layout.first_absent(group, path)) for path in (self.name, side)]
        try:
            self._fill(group, side, attrs)
        except BaseException:
            self.discard()
            raise

    def _fill(self, group: Any, side: str, attrs: dict[str, Any]) -> None:
        self.dataset = layout.create_chunks(group, self.name, self.frame, self.dtype, self.panels, self.codec.fill_code if self.codec else None,
                                            self._filters)
        self.dataset.attrs.update(attrs)
        self.side = group.create_group(side)
        lists: dict[str, Any] = {"frame_status": np.uint32, "chunk_crc32c": np.uint32}
        lists |= {"max_error": np.float32} if self._bounded else {}
        if self.codec:
            listed = np.dtype({"f": np.float32, "i": np.int32, "u": np.uint32}[self.taken.kind])
            lists |= {"outlier_index": np.uint32, "outlier_value": listed, "outlier_offset": np.uint64,
                      "lossless_frame": np.uint64, "lossless_crc32c": np.uint32}
            for key, plane in self.codec.maps().items():
                packed = {"compression": "gzip", "shuffle": True} if self._words else {}
                self.side.create_dataset(key, data=plane, chunks=plane.shape, fletcher32=True, **packed)
            lists |= {"key_frame": np.uint64} if self._words and self.codec.predictor == "previous" else {}
            self._exact = of_any_frames(self._encoder)
            self._lossless = layout.create_chunks(self.side, "lossless", self.frame, self.taken, filters=filters_of(self._exact, self.frame, self.taken))
            self._lossless.attrs.update(layout.provenance([self._exact], {"backend": self._host.name, "device": str(self._host.devices()[0])}))
        for key, dtype in lists.items():
            layout.create_list(self.side, key, dtype, [0] if key == "outlier_offset" else [])

    def discard(self) -> None:
        """Delete the dataset, the lists beside it, and the groups that had to be made for them."""
        for group, path in self._made:
            with suppress(OSError, RuntimeError, KeyError):     # gone with the one before; and the first error is the one to be seen
                del group[path]

    # ------------------------------------------------------------------------------------------------ appending
    def append(self, frames: Any, pixel_status: Any = None, frame_status: Any = None) -> None:
        """Encode frames (n, *frame) where they lie and store them: a host batch in pieces of 64 MiB, a device batch at once."""
        owners = backends.owners(frames)
        if not owners:
            raise TypeError(f"hdf5.append: frames must be an array of {', '.join(backends.BACKENDS)}, got {type(frames).__name__}")
        wanted = self.taken
        if frames.dtype != wanted or tuple(frames.shape[1:]) != self.frame or frames.ndim != len(self.frame) + 1:
            error = TypeError if frames.dtype != wanted else ValueError
            raise error(f"hdf5.append: frames must be {wanted} (n, {', '.join(map(str, self.frame))}), got {frames.dtype} {tuple(frames.shape)}")
        if pixel_status is not None and (self._words or not self.codec):
            raise TypeError(f"hdf5.append: {self.name} is lossless: pixel_status has no place in it")
        wrong = owners[0].misfit(frames)
        if wrong:
            raise ValueError(f"hdf5.append: frames {wrong}")
        self._note(next((b for b in owners if b.name == self.backend), owners[0]), frames)
        step = max(1, BATCH // layout.frame_nbytes(self.frame, wanted)) if isinstance(frames, np.ndarray) else max(1, len(frames))
        for a in range(0, len(frames), step):
            self._encode(owners[0], *(None if x is None else x[a : a + step] for x in (frames, pixel_status, frame_status)))

    def _note(self, owner: Any, frames: Any) -> None:
        """Write down, once, where the frames are encoded."""
        if "backend" not in self._provenance and not self.frames and not self.file.swmr_mode:
            self._provenance |= {"backend": owner.name, "device": str(owner.device_of(frames))}
            self.dataset.attrs["provenance"] = layout.provenance([], self._provenance)["provenance"]

    def _encode(self, owner: Any, frames: Any, pixel_status: Any, frame_status: Any) -> None:
        code, parts, lossless = frames, {}, {}
        if self.codec:
            out = self.codec(frames, *(() if self._words else (pixel_status,)), backend=self.backend)
            code = out.code
            parts = {key: owner.get(getattr(out, key)) for key in ("outlier_index", "outlier_value", "outlier_count", "max_error") if key in out._fields}
            lossless = {int(row): owner.get(frames[row]) for row in np.flatnonzero(parts["outlier_count"] > self.codec.capacity)}
        made = self._encoder(code.reshape((-1, *self.chunk_shape)), backend=self.backend)
        status = None if frame_status is None else owner.get(frame_status)
        named = {key: owner.get(a) for key, a in made._asdict().items()}
        per_frame = {key: named[key].reshape(-1, self.chunks_per_frame) for key in ("max_error", "frame_status") if key in named}
        if self._lossy:
            status = np.bitwise_or.reduce(per_frame["frame_status"], axis=1) | (0 if status is None else status)
            parts |= {"max_error": per_frame["max_error"].max(axis=1)} if "max_error" in per_frame else {}
        self.append_encoded(named["payload"], named["size"], filter_mask=named.get("filter_mask"), frame_status=status, lossless=lossless, **parts)

    def _outputs(self) -> tuple[Any, ...]:
        return self._encoder.outputs(*self._encoder.bind((Spec("frames", (1, *self.chunk_shape), self.dtype),), {}))

    def append_encoded(self, payload: np.ndarray, size: np.ndarray, *, filter_mask: Any = None, outlier_index: Any = None, outlier_value: Any = None,
                       outlier_count: Any = None, max_error: Any = None, frame_status: Any = None, lossless: Mapping[int, np.ndarray] | None = None) -> None:
        """Store chunks that the encoder made, with what Quantize or QuantizeCounts said of their frames.

        in: payload (rows, capacity) u8, size (rows,): a row is a frame, or a panel of a frame, in order; filter_mask (rows,) u32, where the encoder gives
            one; with a Quantize outlier_index and outlier_value (n, capacity), outlier_count and max_error (n,), and lossless {row: frame as it
            was given} for each frame that has more outliers than its list holds; with a Precondition those of one run of it, and no max_error;
            with zfp's tolerance max_error; frame_status (n,) u32
        """
        if self._failed or self._closed:
            raise OSError(f"hdf5.append_encoded: {self.name} takes no more frames: the writer {'is closed' if self._closed else 'failed before'}")
        n = rows.count_frames(payload, size, self.chunks_per_frame, rows.least_bytes(self._filters))
        masks = rows.chunk_masks(len(size), filter_mask, len(self._filters), self._masked)
        exact = rows.exact_frames(n, self.frame, self.taken, lossless)
        parts = {"frame_status": rows.frame_words(n, frame_status, list(exact)), "chunk_crc32c": crc32c_rows(payload, size)}
        chunks, exact_chunks = [(payload[i, : size[i]], masks[i]) for i in range(len(size))], []
        if self.codec:
            parts |= rows.side_lists(n, outlier_index, outlier_value, outlier_count, max_error, exact, self.side["outlier_value"].dtype, not self._words)
            if "key_frame" in self.side:
                parts["key_frame"] = np.arange(self.frames, self.frames + n, self.codec.every, np.uint64)
            exact_chunks = [self._chunk(frame) for frame in exact.values()]
            parts["lossless_frame"] = np.array(list(exact), np.uint64) + np.uint64(self.frames)
            parts["lossless_crc32c"] = np.array([crc32c(c) for c, _ in exact_chunks], np.uint32)
        elif self._bounded:
            rows.require("max_error", max_error, (np.float32,), n, 1)
            parts["max_error"] = max_error.copy()
        elif exact or any(x is not None for x in (outlier_index, outlier_value, outlier_count, max_error)):
            raise TypeError(f"hdf5.append_encoded: {self.name} is lossless {self.dtype}: no outliers, max_error or lossless frames belong to it")
        stored = sum(c.nbytes for c, _ in (*chunks, *exact_chunks))
        waiting = sum(a.nbytes for held in self._pending.values() for a in held) + sum(a.nbytes for a in parts.values())
        layout.reserve(self.file, stored + waiting + 64 * len(chunks))
        if self._own and not self.file.swmr_mode:
            self.file.swmr_mode = True      # from here on a killed process leaves a file that reads, as far as it was flushed
        with self._storing(f"frames {self.frames} to {self.frames + n - 1}"):
            if exact_chunks:
                self._put(self._lossless, self.lossless_frames, exact_chunks, 1)
            self._put(self.dataset, self.frames, chunks, self.chunks_per_frame)
        for key, part in parts.items():
            self._pending.setdefault(key, []).append(part)
        self.frames, self.lossless_frames, self.stored_bytes = self.frames + n, self.lossless_frames + len(exact), self.stored_bytes + stored

    def _chunk(self, frame: np.ndarray) -> tuple[np.ndarray, int]:
        made = self._exact(np.ascontiguousarray(frame)[None], backend=self._host.name)
        return made.payload[0, : made.size[0]], int(made.filter_mask[0]) if self._masked else 0

    def _put(self, dataset: Any, first: int, chunks: list[tuple[np.ndarray, int]], per_frame: int) -> None:
        """Write whole chunks as they are, behind the first frames."""
        if chunks:
            dataset.resize(first + len(chunks) // per_frame, axis=0)
        for i, (chunk, mask) in enumerate(chunks):
            frame, panel = divmod(i, per_frame)
            start = (first + frame, panel) if self.panels and dataset is self.dataset else (first + frame,)
            dataset.id.write_direct_chunk(start + (0,) * (dataset.ndim - len(start)), chunk, mask)

    @contextmanager
    def _storing(self, what: str) -> Iterator[None]:
        """One clear OSError of whatever HDF5 says; the writer then takes no more."""
        try:
            yield
        except (OSError, RuntimeError) as e:
            self._failed = True
            number = getattr(e, "errno", None) or errno.EIO
            raise OSError(number, f"{os.strerror(number)}: cannot store {what} of {self.name}", str(self._path)) from e

    # ------------------------------------------------------------------------------------------------ making it last
    def commit(self) -> None:
        """Write the lists of all appended frames; chunk_crc32c last, for it is what makes a frame count."""
        pending, self._pending = {k: np.concatenate(v) for k, v in self._pending.items()}, {}
        if "outlier_count" in pending:
            ends = np.uint64(self._outliers) + np.cumsum(pending.pop("outlier_count"), dtype=np.uint64)
            pending["outlier_offset"], self._outliers = ends, int(ends[-1]) if len(ends) else self._outliers
        crc = pending.pop("chunk_crc32c", None)
        with self._storing("the lists"):
            for key, values in pending.items():
                layout.extend(self.side[key], values)
            if crc is not None:
                layout.extend(self.side["chunk_crc32c"], crc)

    def flush(self) -> None:
        """commit(), and hand the file to the operating system: what was appended survives the end of this process."""
        if self._failed or self._closed:
            raise OSError(f"hdf5.flush: {self.name}: the writer {'is closed' if self._closed else 'failed before'}")
        self.commit()
        with self._storing("the file's metadata"):
            self.file.flush()
        layout.trim(self.file)

    def close(self) -> None:
        """flush(), and close the file if this writer made it. After a failure: only let go, the error was raised before."""
        if self._closed:
            return
        try:
            if not self._failed:
                self.flush()
        finally:
            self._closed = True
            if self._own:
                with suppress(OSError, RuntimeError) if self._failed else nullcontext():
                    self._own.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        with nullcontext() if error is None else suppress(OSError):     # the first error is the one to be seen
            self.close()


def _taken(codec: Any, count_dtype: Any) -> np.dtype[Any]:
    """Of the frames that a writer takes."""
    if not isinstance(codec, QuantizeCounts):
        if count_dtype is not None:
            raise TypeError(f"hdf5.Writer: count_dtype belongs to a compress.QuantizeCounts, got {count_dtype}")
        return np.dtype(np.float32 if isinstance(codec, Quantize) else codec.dtype if isinstance(codec, Precondition) else codec)
    if count_dtype is None or np.dtype(count_dtype) not in COUNTS:
        raise TypeError(f"hdf5.Writer: count_dtype must say what frames QuantizeCounts is to take: {', '.join(map(str, COUNTS))}; got {count_dtype}")
    return np.dtype(count_dtype)


def _of_zfp(encoder: Op) -> dict[str, float]:
    """Attributes of frames that zfp made chunks of."""
    return {f"zfp_{k}": v for k, v in encoder.config().items() if k in ("tolerance", "rate", "precision") and v is not None} if isinstance(encoder, Zfp) else {}
