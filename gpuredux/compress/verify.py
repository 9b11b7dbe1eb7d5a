"""Was a bound kept? Decode what was stored and hold every value against the original, in float64, whatever wrote it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import backends
from ..op import Op
from ..status import Frame
from .quantize import Quantize
from .quantize_counts import QuantizeCounts

UNITS = {"abs": "the values' unit", "rel": "of the value", "k_sigma": "sigma"}


@dataclass(frozen=True)
class Verification:
    """What verify() found. values: all; masked: rightly, not looked at; outliers: exact ones that were listed; violations: values beyond their bound, lost NaN,
    Inf or outliers, masked measurements and all of a frame that its decoder calls CORRUPT, the first of them at (frame, flat pixel); bound: None =
    lossless, else in `unit`, which largest_error has too; largest_difference: in the values' unit; both Inf where a finite value is not finite any more;
    psnr [dB]: of the range of the finite values, Inf where nothing differs, -Inf where one of them is lost, NaN where there is no range."""

    values: int
    masked: int
    outliers: int
    violations: int
    first: tuple[int, int] | None
    bound: float | None
    unit: str
    largest_error: float
    largest_difference: float
    psnr: float

    @property
    def holds(self) -> bool:
        return self.violations == 0

    def __str__(self) -> str:
        what = "lossless" if self.bound is None else f"bound {self.bound:.6g} {self.unit}, largest error {self.largest_error:.6g}"
        kept = "holds" if self.holds else f"BROKEN by {self.violations} values, the first is pixel {self.first[1]} of frame {self.first[0]}"     # type: ignore
        return (f"{what}: {kept}; {self.values} values, {self.masked} masked, {self.outliers} outliers exact; largest difference "
                f"{self.largest_difference:.6g}, PSNR {self.psnr:.2f} dB")


def verify(original: Any, stored: Any, decode: Any, bound: Any = None, *, pixel_status: Any = None) -> Verification:
    """Decode, and compare each value of original (n, *frame), an array of any backend.

    decode: a Quantize or QuantizeCounts, whose outputs `stored` then is, and whose bound is looked at in its own unit; or an Op that decodes, `stored` being
            its inputs: one, a tuple of them, or a mapping or named tuple by name; or any function of `stored` that returns the decoded array; or
            (decoder of chunks, Quantize or QuantizeCounts): `stored` is a mapping of the chunks and the lists, all the way from what a file holds
    bound:  None = lossless, every bit; a number: of the absolute error; or an op with bound_on(values). NaN must come back as NaN, Inf as the same Inf
    pixel_status: (n, *frame) as the Quantize or QuantizeCounts was given it: only where it is not 0, or the op's own `good` is False, may a value be masked
    Raises ValueError if what was decoded has another shape or the bound is no bound, and DecodeError as the decoder does."""
    if not (bound is None or hasattr(bound, "bound_on") or (np.ndim(bound) == 0 and bound >= 0)):
        raise ValueError(f"verify: bound must be a number, 0 or more, or an operation that has one, got {bound!r}")
    x = _host(original)
    given, unread = _named(stored), np.False_
    if isinstance(decode, tuple):
        chunks, decode = decode
        codes, unread = _decoded(chunks, given)
        given = {**given, "code": codes}
    encoder = decode if isinstance(decode, (Quantize, QuantizeCounts)) else None
    if encoder is not None:
        decode, bound = encoder.inverse() if isinstance(encoder, Quantize) else encoder.decoder(), encoder
    y, lost = _decoded(decode, given)
    if y.shape != x.shape:
        raise ValueError(f"verify: decoded {y.shape}, the original is {x.shape}")
    code = given["code"] if encoder is not None and isinstance(given, dict) else None
    return _compare(x, y, code, encoder, bound, (_unused(x, encoder, pixel_status), np.broadcast_to(lost | unread, len(x))))


def _unused(x: np.ndarray, encoder: Any, pixel_status: Any) -> np.ndarray:
    """Which values may be masked, (n, *frame) or less of it; as the caller says, not as the codes do."""
    good = getattr(encoder, "good", None)
    unused: np.ndarray = np.zeros(x.shape[1:], bool) if good is None else _host(good) == 0
    if pixel_status is None:
        return np.broadcast_to(unused, x.shape)
    marks = _host(pixel_status)
    if encoder is None or marks.shape != x.shape:
        raise ValueError(f"verify: pixel_status {marks.shape} must be one of a Quantize or QuantizeCounts, of the shape {x.shape}")
    either: np.ndarray = unused | (marks != 0)
    return either


def _host(x: Any) -> np.ndarray:
    owners = backends.owners(x)
    if not owners:
        raise TypeError(f"verify: {type(x).__name__} is no array of {', '.join(backends.BACKENDS)}")
    there: np.ndarray = owners[0].get(x)
    return there


def _named(stored: Any) -> Any:
    """Host arrays, by name where they have names."""
    if hasattr(stored, "_asdict"):
        stored = stored._asdict()
    if isinstance(stored, Mapping):
        return {k: _host(v) for k, v in stored.items()}
    if isinstance(stored, (tuple, list)):
        return tuple(_host(v) for v in stored)
    return _host(stored) if backends.owners(stored) else stored     # bytes, for a function


def _decoded(decode: Op | Callable[[Any], Any], given: Any) -> tuple[np.ndarray, Any]:
    """What the decoder makes; and of which frames it says that they cannot be decoded, (n,) or False."""
    if not isinstance(decode, Op):
        return np.asarray(decode(given)), np.False_
    if isinstance(given, dict):
        out = decode(**{k: v for k, v in given.items() if k in decode.input_names}, backend="numba")
    else:
        out = decode(*(given if isinstance(given, tuple) else (given,)), backend="numba")
    before = given.get("frame_status", 0) if isinstance(given, dict) else 0
    lost = (getattr(out, "frame_status", np.uint32(0)) & ~np.asarray(before, np.uint32) & np.uint32(Frame.CORRUPT)) != 0
    return np.asarray(out[0] if isinstance(out, tuple) else out), lost


def _frames(x: np.ndarray, y: np.ndarray, code: Any, encoder: Any, bound: Any) -> Iterator[tuple[np.ndarray, ...]]:
    """For each frame: its values, what came back, allowed errors, whether masked, whether in the list of outliers; flat."""
    for f in range(len(x)):
        allowed = np.float64(0) if bound is None else bound.bound_on(x[f : f + 1]) if hasattr(bound, "bound_on") else np.float64(bound)
        masked, listed = (np.zeros(x[f].shape, bool) if encoder is None else code[f] == k for k in _reserved(encoder))
        yield tuple(np.broadcast_to(a, x[f : f + 1].shape).reshape(-1) for a in (x[f], y[f], allowed, masked, listed))


def _reserved(encoder: Any) -> tuple[int, int]:
    return (0, 0) if encoder is None else (encoder.masked_code, encoder.fill_code)


def _same_bits(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Whether values are the same, bit for bit if they are of one dtype, else as the second one's dtype has them."""
    if a.dtype != b.dtype:
        with np.errstate(invalid="ignore"):
            same: np.ndarray = (a.astype(b.dtype) == b) | ((a != a) & (b != b))
        return same
    bytes_of = [np.ascontiguousarray(v).view(np.uint8).reshape(len(v), -1) for v in (a, b)]
    alike: np.ndarray = (bytes_of[0] == bytes_of[1]).all(axis=1)
    return alike


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a - b| of finite values of a, 0 of others; Inf where b is not finite; of whole numbers exact until it is made float64."""
    if a.dtype.kind in "iu" and b.dtype.kind in "iu":
        one, two = a.astype(np.uint64), b.astype(np.uint64)
        return np.where(a > b, one - two, two - one).astype(np.float64)
    away = np.where(np.isfinite(b), np.abs(a.astype(np.float64) - b.astype(np.float64)), np.inf)
    return np.where(np.isfinite(a), away, 0.0)


def _compare(x: np.ndarray, y: np.ndarray, code: Any, encoder: Any, bound: Any, known: tuple[np.ndarray, np.ndarray]) -> Verification:
    n_masked = n_listed = violations = counted = 0
    first, squares, largest, worst, low, high = None, 0.0, 0.0, 0.0, math.inf, -math.inf
    (unused, lost), (named, unit) = known, _bound_of(bound, encoder)
    for f, (a, b, allowed, coded_away, listed) in enumerate(_frames(x, y, code, encoder, bound)):
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            finite, error, kept, masked = np.isfinite(a), _apart(a, b), _same_bits(a, b), coded_away & unused[f].reshape(-1)
            if bound is not None:
                kept = np.where(listed, kept, kept | (finite & (error <= allowed)) | (np.isnan(a) & np.isnan(b)))
            kept = kept & ~coded_away & ~lost[f]
            held = error[~masked & ~(listed & kept)], allowed[~masked & ~(listed & kept)]
            shares = held[0] if unit == UNITS["abs"] else np.where(held[0] > 0, held[0] / held[1], 0.0) * named
        wrong, used = ~masked & ~kept, ~masked & finite
        violations, n_masked, n_listed = violations + int(wrong.sum()), n_masked + int(masked.sum()), n_listed + int((listed & ~wrong).sum())
        first = (f, int(np.argmax(wrong))) if first is None and wrong.any() else first
        largest, worst = max(largest, float(error[~masked].max(initial=0.0))), max(worst, float(shares.max(initial=0.0)))
        squares, counted = squares + float((error[used] ** 2).sum()), counted + int(used.sum())
        seen = a[used].astype(np.float64)
        low, high = min(low, float(seen.min(initial=math.inf))), max(high, float(seen.max(initial=-math.inf)))
    return Verification(x.size, n_masked, n_listed, violations, first, None if bound is None else named, unit, worst, largest,
                        _psnr(squares, counted, high - low))


def _bound_of(bound: Any, encoder: Any) -> tuple[float, str]:
    """The bound as a number, and its unit."""
    if isinstance(encoder, Quantize):
        return encoder.bound, UNITS[encoder.mode]
    if isinstance(encoder, QuantizeCounts) or hasattr(bound, "bound_on"):
        return 1.0, "of what each value may be off"
    return float(bound or 0.0), UNITS["abs"]


def _psnr(squares: float, counted: int, span: float) -> float:
    if squares == 0 or math.isinf(squares):
        return -math.inf if squares else math.inf if counted else math.nan
    return 20.0 * math.log10(span / math.sqrt(squares / counted)) if span > 0 else math.nan
