"""Was a bound kept? Decode what was stored and hold every value against the original, in float64, whatever wrote it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import backends
from ..op import Op
from .quantize import Quantize
from .quantize_counts import QuantizeCounts

UNITS = {"abs": "the values' unit", "rel": "of the value", "k_sigma": "sigma"}


@dataclass(frozen=True)
class Verification:
    """What verify() found. values: all; masked: not looked at; outliers: exact ones that were listed; violations: values beyond their bound, lost NaN, Inf
    or outliers, the first of them at (frame, flat pixel); bound: None = lossless, else in `unit`, which largest_error has too; largest_difference: in the
    values' unit; psnr [dB]: of the range of the finite values, Inf where nothing differs, NaN where there is no range."""

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


def verify(original: Any, stored: Any, decode: Any, bound: Any = None) -> Verification:
    """Decode, and compare each value of original (n, *frame), an array of any backend.

    decode: a Quantize or QuantizeCounts, whose outputs `stored` then is, and whose bound is looked at in its own unit; or an Op that decodes, `stored` being
            its inputs: one, a tuple of them, or a mapping or named tuple by name; or any function of `stored` that returns the decoded array
    bound:  None = lossless, every bit; a number: of the absolute error; or an op with bound_on(values). NaN must come back as NaN, Inf as the same Inf
    Raises ValueError if what was decoded has another shape, and DecodeError as the decoder does."""
    x = _host(original)
    encoder = decode if isinstance(decode, (Quantize, QuantizeCounts)) else None
    given = _named(stored)
    if encoder is not None:
        decode, bound = encoder.inverse() if isinstance(encoder, Quantize) else encoder.decoder(), encoder
    y = _decoded(decode, given)
    if y.shape != x.shape:
        raise ValueError(f"verify: decoded {y.shape}, the original is {x.shape}")
    code = given["code"] if encoder is not None and isinstance(given, dict) else None
    return _compare(x, y, code, encoder, bound)


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


def _decoded(decode: Op | Callable[[Any], Any], given: Any) -> np.ndarray:
    if not isinstance(decode, Op):
        return np.asarray(decode(given))
    if isinstance(given, dict):
        out = decode(**{k: v for k, v in given.items() if k in decode.input_names}, backend="numba")
    else:
        out = decode(*(given if isinstance(given, tuple) else (given,)), backend="numba")
    return np.asarray(out[0] if isinstance(out, tuple) else out)


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


def _compare(x: np.ndarray, y: np.ndarray, code: Any, encoder: Any, bound: Any) -> Verification:
    n_masked = n_listed = violations = squares = counted = 0
    first, largest, share, low, high = None, 0.0, 0.0, math.inf, -math.inf
    for f, (a, b, allowed, masked, listed) in enumerate(_frames(x, y, code, encoder, bound)):
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            wide, finite = a.astype(np.float64), np.isfinite(a)
            error = np.where(finite, np.abs(wide - b.astype(np.float64)), 0.0)
            kept = _same_bits(a, b)
            if bound is not None:
                kept = np.where(listed, kept, kept | (finite & (error <= allowed)) | (np.isnan(wide) & np.isnan(b)))
            relative = np.where((error > 0) & ~masked & ~listed, error / allowed, 0.0)
        wrong = ~masked & ~kept
        used = ~masked & finite & np.isfinite(error)
        violations, n_masked, n_listed = violations + int(wrong.sum()), n_masked + int(masked.sum()), n_listed + int((listed & ~wrong).sum())
        first = (f, int(np.argmax(wrong))) if first is None and wrong.any() else first
        largest = max(largest, float(error[~masked].max(initial=0.0)))
        share = max(share, float(np.nan_to_num(relative, nan=math.inf).max(initial=0.0))) if bound is not None else share
        squares, counted = squares + float((error[used] ** 2).sum()), counted + int(used.sum())
        low, high = min(low, float(wide[used].min(initial=math.inf))), max(high, float(wide[used].max(initial=-math.inf)))
    named, unit = _bound_of(bound, encoder)
    worst = largest if bound is None else share * named
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
    if squares == 0:
        return math.inf if counted else math.nan
    return 20.0 * math.log10(span / math.sqrt(squares / counted)) if span > 0 else math.nan
