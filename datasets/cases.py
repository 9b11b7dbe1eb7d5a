"""Seeded, nasty inputs of every operation, and one sized like a detector. Over 200 lines: one generator an op, and they lend each other inputs.

CASES[op name]() yields Case(name, op, inputs) for the contract test; FEEDING[op name](frame, n) the ops that a per-pixel
producer of such frames can feed, for fusion; SIZED[op name](shape, n, scattered) one realistic input for the benchmark.
Everything is seeded by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from gpuredux import calib, compress, veto
from gpuredux.detectors import DETECTORS, Detector
from gpuredux.status import Pixel

from . import (
    cases_assemble,
    cases_auto,
    cases_azimuthal,
    cases_beam,
    cases_binning,
    cases_bitshuffle,
    cases_blosc,
    cases_deflate,
    cases_dispersion,
    cases_lz4,
    cases_pack,
    cases_photon_counting,
    cases_pixelwise,
    cases_plain,
    cases_precondition,
    cases_psana_peaks,
    cases_quantize_counts,
    cases_regions,
    cases_roibin,
    cases_sparsify,
    cases_waveform,
    cases_wavelet,
    cases_wavelet_codec,
    cases_zfp,
    cases_zstd,
    cases_zstd_decode,
)
from .case import FILLED, FRAMES, ROWS, Case, decoding, frame_bits, live_of, seeded, spots
from .cases_common_mode import common_mode, fed_common_mode, sized_common_mode
from .cases_counts import counts, sized_counts
from .cases_crosstalk import recursive, sized_recursive, sized_stencil, stencil
from .cases_dark_median import dark_median, sized_dark_median
from .cases_dark_sums import dark_sums, sized_dark_sums
from .cases_peaks import droplets, peak_finder8, sized_droplets, sized_peak_finder8
from .cases_photons import fed_photons, photons, shared_photons, sized_photons, sized_shared_photons
from .cases_quantize import dequantize, fed_quantize, live_of_case, quantize

# ------------------------------------------------------------------------------------------------------------- calib.gain
FIVE = Detector(
    "five planes in 16 codes", (8, 8), adc_mask=0x0FFF, gain_shift=12, planes=(0, 1, 2, 3, 4, -1, 0, 7, 5, -1, 6, 1, -1, 0, 2, -1),
    codes=((0xF000, Pixel.SATURATED), (0x0001, Pixel.MISSING)),
)
ONE_BIT = Detector("one gain bit", (8, 8), adc_mask=0x3FFF, gain_shift=14, planes=(0, 1))
PACKED = Detector("packed in 12 bits", (8, 8), adc_mask=0xFFE, adc_shift=1, planes=(0, 1), word="packed12", codes=((0xFFF, Pixel.SATURATED),))


def raw_words(rng: np.random.Generator, kind: Detector, n: int, frame: tuple[int, ...]) -> np.ndarray:
    """Mostly plane 0 near the pedestal; words of every gain value at the spots; error codes and their neighbours."""
    npix = int(np.prod(frame))
    raw = rng.normal(3000, 40, (n, npix)).astype(np.uint16) & np.uint16(kind.adc_mask)
    edges = [0, 1, kind.adc_mask, 0xFFFF, 0x8000, 0x4000]
    edges += [v << kind.gain_shift | adc for v in range(len(kind.planes)) for adc in (0, 1, 1234, kind.adc_mask)]
    edges += [code + d for code, _ in kind.codes for d in (-1, 0, 1) if 0 <= code + d <= 0xFFFF]
    for f in range(n):
        where = spots(rng, npix)
        raw[f, where] = rng.choice(np.array(edges, np.uint16), where.size)
        if f % 5 == 3:      # a frame in which every block of pixels has every gain value
            raw[f] = rng.integers(0, 0x10000, npix, dtype=np.uint16)
    return pack12(raw.reshape(n, *frame)) if kind.word == "packed12" else raw.reshape(n, *frame)


def pack12(words: np.ndarray) -> np.ndarray:
    """Pairs of 12-bit words in 3 bytes, as bits from the lowest on."""
    bits = np.unpackbits(words.view(np.uint8).reshape(*words.shape, 2), axis=-1, bitorder="little")[..., :12]
    return np.packbits(bits.reshape(*words.shape[:-1], -1), axis=-1, bitorder="little")


def gain_constants(rng: np.random.Generator, kind: Detector, frame: tuple[int, ...], cells: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Pedestals with fractions that round, gains of both signs."""
    shape = (kind.n_planes, cells, *frame) if cells else (kind.n_planes, *frame)
    pedestal = rng.normal(3000, 50, shape).astype(np.float32)
    gain = (rng.normal(40, 1, shape) * (-1.0) ** np.arange(kind.n_planes).reshape(-1, *[1] * (len(shape) - 1))).astype(np.float32)
    pedestal.flat[:: 7] = 2999 + np.float32(2.0**-13)      # adc - pedestal needs rounding, ties included
    pedestal.flat[3::11] = -0.0
    return pedestal, gain


BAD_PEDESTAL = np.array([np.nan, np.inf, -np.inf, -3e38, 3e38, 1e-42], np.float32)
BAD_GAIN = np.array([0, -0.0, np.nan, np.inf, -np.inf, 1e-39, 1e-45, 3e38, -3e38, 8.5e37, 8.6e37, 2.94e-39, 2.93e-39, 1e-38], np.float32)


def gain() -> Iterator[Case]:
    kinds = (DETECTORS["jungfrau"], DETECTORS["epix100"], FIVE, ONE_BIT)
    for i, frame in enumerate(FRAMES):
        for j, kind in enumerate(kinds):
            n, rows = FILLED[(i + j) % 4]
            yield gain_case(f"{kind.name}-{frame}-{n}-live{rows}", kind, frame, n, rows, i == (0, 7, 5, 3)[j], status=(i // 2 + j) % 2 == 0)
    for n, rows in ROWS:
        yield gain_case(f"rows-{n}-live{rows}", kinds[0], (3, 5), n, rows, status=True)
        yield gain_case(f"rows8-{n}-live{rows}", kinds[0], (4, 10), n, rows, n in (0, 17))
    for cells, frame in ((1, (3, 5)), (3, (24, 17)), (3, (37, 53))):
        yield gain_case(f"cells{cells}-{frame}", kinds[0], frame, 37, 33, cells == 3, cells=cells, status=cells == 3)
    for bad_value in (np.nan, -0.0, 0.0):
        fields = {"invalid": "mask", "bad_value": bad_value, "status": bad_value == 0}
        yield gain_case(f"bad-constants-{bad_value}", kinds[0], (24, 17), 18, None, bool(np.isnan(bad_value)), **fields)
    yield gain_case("bad-constants-cells", kinds[0], (5, 7), 18, None, invalid="mask", cells=3, status=True)
    yield gain_case("bare", kinds[0], (24, 17), 5, None, True, bare=True)
    for name, word in (("a code whose gain bits mean no plane", 0xF000), ("a code that looks like plane 0", 0x0001), ("no plane", 0x5000)):
        alone = gain_case(name, FIVE, (8, 72), 3, None, status=True)      # in one frame nothing but this word is odd
        alone.inputs["raw"][1] = 3000
        alone.inputs["raw"][1, 3, 5::16] = word
        yield alone
    for frame in ((24, 18), (5, 6), (16, 40)):
        yield gain_case(f"packed-{frame}", PACKED, frame, 19, 17, frame == (16, 40), status=True, gain_stage=frame[0] % 2 == 0)
    for kind in (kinds[0], FIVE):
        fields = {"status": kind is FIVE, "gain_stage": True, "adu": True, "invalid": "mask"}
        yield gain_case(f"gain stages in ADU, {kind.name}", kind, (24, 17) if kind is FIVE else (16, 40), 18, 17, kind is not FIVE, **fields)
    masked = gain_case("a cell that does not exist, all pixels masked", kinds[0], (8, 72), 3, None, cells=2, status=True, masked=True)
    masked.inputs["cell"][:] = (0, 7, 1)
    yield masked


def gain_case(
    name: str, kind: Detector, frame: tuple[int, ...], n: int, rows: int | None, fuse: bool = False, bare: bool = False, masked: bool = False,
    **fields: Any,
) -> Case:
    rng = seeded(name)
    cells = fields.get("cells", 0)
    pedestal, factor = gain_constants(rng, kind, frame, cells)
    good = None if bare else (rng.random(frame) > 0.1) & (not masked)
    if fields.get("invalid") == "mask":
        pedestal.flat[rng.integers(0, pedestal.size, 40)] = rng.choice(BAD_PEDESTAL, 40)
        factor.flat[rng.integers(0, pedestal.size, 90)] = rng.choice(BAD_GAIN, 90)
    op = calib.Gain(pedestal, factor, good, detector=kind, **fields)
    inputs = {"raw": raw_words(rng, kind, n, frame), **live_of(rows)}
    if not bare:
        inputs["frame_status"] = frame_bits(n)
    if cells:
        inputs["cell"] = np.resize(np.array([0, cells - 1, cells - 1, cells, 1, 0, 65535, 0], np.uint16), n)
    return Case(name, op, inputs, fuse)


def sized_gain(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    """3 % of the pixels above the first gain: in runs of 256, as under peaks, or one by one, as under a bright smooth field."""
    rng = seeded("gain")
    kind = DETECTORS["jungfrau"]
    npix = int(np.prod(shape))
    pedestal = rng.normal(3000, 50, (3, *shape)).astype(np.float32)
    factor = (rng.normal(40, 1, (1, *shape)) * np.array([1, -0.035, -0.0025]).reshape(3, *[1] * len(shape))).astype(np.float32)
    raw = (rng.integers(2960, 3040, npix, dtype=np.uint16) + np.arange(n, dtype=np.uint16)[:, None] % 7).reshape(n, npix)
    run = 1 if scattered else 256
    for f in range(n):
        for gain_bits, share in ((1, 0.025), (3, 0.005)):
            start = rng.integers(0, npix, max(1, int(npix * share / run)))
            where = np.minimum(start[:, None] + np.arange(run), npix - 1).ravel()
            raw[f, where] = gain_bits << 14 | rng.integers(4000, 12000, where.size, dtype=np.uint16)
    good = rng.random(shape) > 0.001
    name = f"{'scattered' if scattered else 'clustered'} gain switching"
    return Case(name, calib.Gain(pedestal, factor, good, detector=kind), {"raw": raw.reshape(n, *shape), "frame_status": np.zeros(n, np.uint32)})


# ---------------------------------------------------------------------------------------------------- calib.threshold_gain
TWO_IMAGES = Detector("two images", (8, 8), adc_mask=0x3FFF, planes=(0, 1, 2), second_image=True, codes=((0xFFFF, Pixel.MISSING),))
FOUR_STAGES = Detector("four stages", (8, 8), adc_mask=0xFFFF, planes=(0, 2, 1, -1), second_image=True)


def threshold_gain() -> Iterator[Case]:
    yield threshold_case("panels", TWO_IMAGES, (2, 24, 17), 19, 17, status=True, gain_stage=True)
    yield threshold_case("one module", TWO_IMAGES, (24, 18), 35, 20, fuse=False, bare=True)
    yield threshold_case("fuses", TWO_IMAGES, (16, 40), 5, None, fuse=True, status=True)
    yield threshold_case("panels that 8 does not divide", TWO_IMAGES, (4, 3, 6), 5, 9, bad_value=np.nan, invalid="mask")
    yield threshold_case("cells", TWO_IMAGES, (2, 12, 16), 37, 33, cells=3, status=True, fuse=True)
    yield threshold_case("four stages", FOUR_STAGES, (37, 53), 3, None, status=True, gain_stage=True, adu=True)
    for n, rows in ROWS:
        yield threshold_case(f"rows-{n}-live{rows}", TWO_IMAGES, (3, 5), n, rows, status=True)


def threshold_case(name: str, kind: Detector, frame: tuple[int, ...], n: int, rows: int | None, fuse: bool = False, bare: bool = False, **fields: Any) -> Case:
    """The second image lies at, just below and just above the thresholds, some of which are NaN, Inf or equal."""
    plain = gain_case(name, Detector("plain", (8, 8), 0x3FFF, 14, (0, 1, 2, 2), kind.codes), frame, n, rows, bare=bare, **fields)
    rng, op = seeded(f"threshold {name}"), plain.op
    adc = raw_words(rng, Detector("adc", (8, 8), kind.adc_mask, codes=kind.codes), n, frame)
    threshold = np.sort(rng.integers(5000, 5004, (len(kind.planes) - 1, *op.pedestal.shape[1:])).astype(np.float32) + rng.choice([0, 0.5], 1), axis=0)
    threshold[-1].flat[::5], threshold[-1].flat[::11] = np.inf, np.nan
    if fields.get("cells"):
        threshold[:, 1] += 2
    digital = rng.integers(4998, 5007, (n, *frame), dtype=np.uint16)
    raw = np.stack([adc, digital], axis=-3)
    made = calib.ThresholdGain(op.pedestal, op.gain, op.good, detector=kind, threshold=threshold, **fields)
    return Case(name, made, {**plain.inputs, "raw": raw}, fuse)


def sized_threshold_gain(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    """AGIPD's two images, frames of a few cells; 3 % of the pixels above the first threshold, in runs or one by one."""
    plain = sized_gain(shape, n, scattered)
    rng, cells = seeded("threshold"), 2
    raw = plain.inputs["raw"]
    threshold = np.stack([np.full((cells, *shape), t, np.float32) for t in (5000, 6500)])
    digital = np.array([4600, 5500, 5500, 7000], np.uint16)[raw >> 14] + np.uint16(7)
    pedestal, factor = (np.repeat(a[:, None], cells, axis=1) for a in (plain.op.pedestal, plain.op.gain))
    op = calib.ThresholdGain(pedestal, factor, rng.random(shape) > 0.001, detector=TWO_IMAGES, threshold=threshold, cells=cells)
    images = np.stack([raw & np.uint16(0x3FFF), digital], axis=-3)
    return Case(plain.name, op, {"raw": images, "cell": (np.arange(n) % cells).astype(np.uint16), "frame_status": np.zeros(n, np.uint32)})


# -------------------------------------------------------------------------------------------------------- calib.status_count
def status_count() -> Iterator[Case]:
    """Every byte; none, all and a few pixels with a status."""
    for frame, (n, rows) in zip((*FRAMES, *[(4, 10)] * len(ROWS)), (*FILLED, *FILLED, *ROWS), strict=True):
        rng = seeded(f"status {frame} {n}")
        status = rng.choice(np.array([0] * 500 + [*range(256)], np.uint8), (n, *frame))
        status[1::4], status[2::4] = 0, 255
        if frame in ((24, 17), (4, 1024)):      # as marks alone
            image = frame == (4, 1024)
            yield Case(f"alone-{frame}-{n}-live{rows}", calib.StatusCount.alone(image), {"image_status" if image else "pixel_status": status, **live_of(rows)})
        yield Case(f"{frame}-{n}-live{rows}", calib.StatusCount(), {"energy": np.zeros((n, *frame), np.float32), "pixel_status": status, **live_of(rows)})


def sized_status_count(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    status = np.resize((seeded("count").random(1 << 20) > 0.99).astype(np.uint8) * np.uint8(8), (n, *shape))
    return Case("1 % of the pixels masked", calib.StatusCount(), {"energy": np.zeros((n, *shape), np.float32), "pixel_status": status})


# -------------------------------------------------------------------------------------------------------- veto.lit_pixels
def near(threshold: float) -> np.ndarray:
    """Energies where a comparison with threshold may slip."""
    t = np.float32(threshold)
    special = [t, np.nextafter(t, np.float32(np.inf)), np.nextafter(t, np.float32(-np.inf)), -t, np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0]
    return np.array([*special, 1e-45, -1e-45, 1e-39, -1e-39, 3.4e38, -3.4e38], np.float32)


def lit_energy(rng: np.random.Generator, threshold: float, counts: list[int], npix: int) -> np.ndarray:
    """Frames with exactly these numbers of lit pixels, the others as near below threshold as can be, NaN or -Inf."""
    values = near(threshold)
    with np.errstate(invalid="ignore"):
        lit = values > np.float32(threshold)
    energy = rng.choice(values[~lit], (len(counts), npix))
    for f, count in enumerate(counts):
        first = spots(rng, npix)
        where = np.concatenate([rng.permutation(first), np.setdiff1d(rng.permutation(npix), first)])[: min(count, npix)]
        energy[f, where] = rng.choice(values[lit], where.size)
    return energy


def lit_case(name: str, frame: tuple[int, ...], n: int, rows: int | None, given: str, threshold: float = 2.5, **fields: Any) -> Case:
    """given: which of good, status, pulse, frame are there."""
    rng = seeded(name)
    npix = int(np.prod(frame))
    low, high = npix // 3, max(npix // 2, npix // 3)
    counts = np.resize([low, low - 1, low + 1, high, high + 1, high - 1, 0, npix, 1, npix - 1], n).clip(0, npix)
    inputs = {"energy": lit_energy(rng, threshold, list(counts), npix).reshape(n, *frame), **live_of(rows)}
    if "good" in given:
        fields["good"] = rng.random(frame) > 0.02
    if "status" in given:
        inputs["pixel_status"] = rng.choice(np.array([0] * 60 + [1, 2, 4, 8, 16, 128, 255], np.uint8), (n, *frame))
    if "pulse" in given:
        ids = [0, 7, 21, 20, 42, 2**32 * 21, 2**32, 2**64 - 1, 2**63, (2**63 - 1) * 2, 2**63 - 1, 22]
        inputs["pulse_id"] = np.resize(np.array(ids, np.uint64), n)
        fields = {"raw_every": 3, "raw_stride": 7, **fields}
    if "frame" in given:
        inputs["frame_status"] = frame_bits(n)
    if "good" in given or "status" in given:    # the limits are to be met exactly all the same
        with np.errstate(invalid="ignore"):
            lit = (inputs["energy"] > np.float32(threshold)) & fields.get("good", True) & (inputs.get("pixel_status", np.uint8(0)) == 0)
        score = np.sort(lit.reshape(n, -1).sum(1)) if n else np.zeros(1, int)
        low, high = int(score[len(score) // 3]), int(score[len(score) * 2 // 3])
    op = veto.LitPixels(**{"threshold": threshold, "min_lit": low, "max_lit": high, **fields})
    return Case(name, op, inputs)


def lit_pixels() -> Iterator[Case]:
    for i, frame in enumerate(FRAMES):
        for j, given in enumerate(("", "good status pulse frame", "status")):
            n, rows = FILLED[(i + j) % 4]
            yield lit_case(f"{frame}-{n}-live{rows}-{given}", frame, n, rows, given)
    for n, rows in ROWS:
        yield lit_case(f"rows-{n}-live{rows}", (4, 10), n, rows, "good pulse frame")
        yield lit_case(f"rows1-{n}-live{rows}", (37, 53), n, rows, "frame")
    for threshold in (0.0, -0.0, -1.5, 1e-42, -1e-42, 0.1, 3.4e38, -3.4e38):
        yield lit_case(f"threshold{threshold}", (24, 17), 20, None, "", threshold)
    yield lit_case("no-upper-limit", (24, 17), 12, None, "", max_lit=None)
    yield lit_case("limits-of-u32", (24, 17), 12, None, "", min_lit=0, max_lit=2**32 - 1)
    yield lit_case("always", (24, 17), 12, None, "", min_lit=0)
    yield lit_case("never", (3, 5), 12, None, "", min_lit=16, max_lit=None)
    yield lit_case("raw-large-stride", (3, 5), 24, None, "pulse", raw_every=2, raw_stride=2**63 - 1)
    yield lit_case("raw-large-every", (3, 5), 24, None, "pulse", raw_every=2**63 - 1, raw_stride=1)
    yield lit_case("pulse-not-used", (3, 5), 24, None, "pulse", raw_every=0)


def fed_lit_pixels(frame: tuple[int, ...], n: int) -> Iterator[Case]:
    """Energies of calib.gain cases lie around 0, some at bad_value: thresholds on both sides."""
    npix = int(np.prod(frame))
    rng = seeded(f"{frame}")
    yield Case("half", veto.LitPixels(0.0, npix * 2 // 5, npix // 2), {})
    pulse = {"pulse_id": np.arange(n, dtype=np.uint64) * 7}
    yield Case("good-raw", veto.LitPixels(-0.25, npix // 2, None, good=rng.random(frame) > 0.1, raw_every=3, raw_stride=7), pulse)


def sized_energy(shape: tuple[int, ...], n: int, rng: np.random.Generator) -> np.ndarray:
    """Photons: a dark background with noise, and round peaks in every second frame."""
    noise = rng.normal(0, 0.05, 1 << 16).astype(np.float32)
    npix = int(np.prod(shape))
    energy = np.empty((n, npix), np.float32)
    for f in range(n):
        energy[f] = np.resize(np.roll(noise, 977 * f), npix)
        peaks = rng.integers(0, max(npix - 4 * shape[-1], 1), 100 if f % 2 else 5)
        around = (np.arange(3)[:, None] * shape[-1] + np.arange(3)).ravel()
        np.add.at(energy[f], np.minimum(peaks[:, None] + around, npix - 1).ravel(), np.tile(rng.exponential(40, 9).astype(np.float32), peaks.size))
    return energy.reshape(n, *shape)


def sized_lit_pixels(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    rng = seeded("lit")
    op = veto.LitPixels(1.0, 200, good=rng.random(shape) > 0.001)
    return Case("every second frame a hit", op, {"energy": sized_energy(shape, n, rng), "frame_status": np.zeros(n, np.uint32)})


# ----------------------------------------------------------------------------------------------------------- veto.compact
CHOICES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "none": lambda i: i < 0, "all": lambda i: i >= 0, "first": lambda i: i == 0, "last": lambda i: i == len(i) - 1,
    "every-second": lambda i: i % 2 == 0, "not-the-first": lambda i: i > 0, "warp-borders": lambda i: np.isin(i % 32, (0, 31)),
}


def compact_case(name: str, choice: str, n: int, rows: int | None, by: str = "keep", bits: bool = True, **arrays: tuple[Any, tuple[int, ...]]) -> Case:
    """arrays: name = (dtype, shape of a row), filled with random bytes."""
    rng = seeded(name)
    decision = rng.integers(-(2**31), 2**31, (n, 4), dtype=np.int32)
    chosen = CHOICES[choice](np.arange(n))
    decision[:, 0] = np.where(chosen, np.resize([1, 1, -1, 2, -(2**31)], n), 0)
    decision[:, 1] = np.roll(decision[:, 0], 1) if by == "any" else np.where(chosen, 0, 1)
    inputs: dict[str, np.ndarray] = {"decision": decision, **live_of(rows)}
    for key, (dtype, row) in arrays.items():
        size = int(np.prod(row)) * np.dtype(dtype).itemsize
        inputs[key] = rng.integers(0, 256, (n, size), dtype=np.uint8).view(dtype).reshape(n, *row)
    if bits:
        inputs["frame_status"] = frame_bits(n)
    return Case(name, veto.Compact(tuple(arrays), by), inputs)


def compact() -> Iterator[Case]:
    for choice in CHOICES:
        for by in ("keep", "raw", "any"):
            yield compact_case(f"{choice}-{by}", choice, 131, None, by, by != "raw", raw=(np.uint16, (3, 5)), pulse_id=(np.uint64, ()))
    for n, rows in (*ROWS, (128, None), (257, 200), (300, 129)):
        yield compact_case(f"rows-{n}-live{rows}", "every-second", n, rows, raw=(np.uint16, (4, 10)))
    rows_of = {
        "raw": (np.uint16, (37, 53)), "energy": (np.float32, (64, 300)), "payload": (np.uint8, (4097,)), "pulse_id": (np.uint64, ()),
        "where": (np.int32, (7,)), "flag": (np.uint8, (3,)), "spectrum": (np.float64, (1023,)), "word": (np.uint32, (513,)),
    }
    yield compact_case("every-width", "warp-borders", 40, 33, **rows_of)
    yield compact_case("nothing-but-decision", "every-second", 40, None, bits=False, cell=(np.uint16, ()))


def sized_compact(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    rng = seeded("compact")
    decision = np.zeros((n, 4), np.int32)
    decision[:, 0] = 1
    raw = np.resize(rng.integers(2960, 3040, 1 << 20, dtype=np.uint16), (n, *shape))
    return Case("every frame kept: what is not kept costs nothing", veto.Compact(), {"decision": decision, "raw": raw, "frame_status": np.zeros(n, np.uint32)})


# ------------------------------------------------------------------------------- compress.quantize, compress.dequantize
def sized_quantize(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    return Case("0.05 photons", compress.Quantize(0.05), {"energy": sized_energy(shape, n, seeded("quantize")), "frame_status": np.zeros(n, np.uint32)})


def sized_dequantize(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    source = sized_quantize(shape, n, scattered)
    out = source.op(**source.inputs, backend="numba")
    return Case(source.name, source.op.inverse(), {k: getattr(out, k) for k in ("code", "outlier_index", "outlier_value", "outlier_count")})


# ------------------------------------------------------------- compress.bitshuffle_lz4, compress.bitshuffle_lz4_decode
def from_planes(planes: np.ndarray, dtype: Any) -> np.ndarray:
    """The elements whose bit planes are these bytes: what an LZ4 encoder behind a bit shuffle then sees."""
    size = np.dtype(dtype).itemsize
    bits = np.unpackbits(planes.reshape(8 * size, -1), axis=1, bitorder="little")
    return np.packbits(bits.T, axis=1, bitorder="little").ravel().view(dtype)


def planned_lengths(rng: np.random.Generator, size: int) -> np.ndarray:
    """Runs and literals of the lengths at which LZ4's nibbles and their extensions roll over, in random order."""
    lengths = rng.permutation(np.tile([1, 3, 4, 5, 14, 15, 16, 18, 19, 20, 269, 270, 271, 273, 274, 275, 524, 525, 529], 4))
    parts = [np.full(k, v, np.uint8) if i % 2 else rng.integers(0, 256, k, dtype=np.uint8) for i, (k, v) in enumerate(zip(lengths, range(999), strict=False))]
    return np.resize(np.concatenate(parts), size)


def planned_end(rng: np.random.Generator, size: int, before_end: int) -> np.ndarray:
    """Literals, then a run that begins so many bytes before the end."""
    b = rng.integers(0, 256, size, dtype=np.uint8)
    b[max(size - before_end, 0) :] = 7
    return b


def frames_to_compress(rng: np.random.Generator, dtype: Any, frame: tuple[int, ...]) -> np.ndarray:
    """One frame of each kind: constant, counts, ramp, incompressible, rows that repeat, one bit, planned lengths and ends."""
    npix, dt = int(np.prod(frame)), np.dtype(dtype)
    flat = lambda x: np.resize(np.ascontiguousarray(x).view(np.uint8), npix * dt.itemsize).view(dt)  # noqa: E731
    whole = npix // 8 * 8
    per_block = min(8192 // dt.itemsize, whole)
    one = np.zeros(npix * dt.itemsize, np.uint8)
    one[-1] = 0x80
    frames = [flat(np.zeros(1, np.uint8)), flat(np.full(1, 255, np.uint8)), one.view(dt), flat(rng.integers(0, 256, npix * dt.itemsize, dtype=np.uint8))]
    if dt.kind in "iuf":
        frames += [rng.poisson(0.1, npix).astype(dt), np.arange(npix).astype(dt), np.resize(rng.poisson(3, frame[-1]), npix).astype(dt)]
        frames += [np.resize(rng.poisson(3, 2 * frame[-1]), npix).astype(dt)]
    if whole:
        planes = [planned_lengths(rng, per_block * dt.itemsize), *(planned_end(rng, per_block * dt.itemsize, k) for k in (4, 9, 11, 12, 13, 14, 17))]
        frames += [np.resize(from_planes(p, dt), npix) for p in planes]
    if dt.kind == "b":
        frames = [(f.view(np.uint8) & 1).view(bool) for f in frames]
    return np.stack(frames).reshape(-1, *frame)


def encode_case(name: str, frame: tuple[int, ...], dtype: str, n: int | None = None, rows: int | None = None, known: bool = True) -> Case:
    code = frames_to_compress(seeded(name), dtype, frame)
    code = code if n is None else np.resize(code[::-1], (n, *frame))
    return Case(name, compress.BitshuffleLZ4(frame, dtype) if known else compress.BitshuffleLZ4(), {"code": code, **live_of(rows)})


def bitshuffle_lz4() -> Iterator[Case]:
    for dtype in ("uint8", "int16", "int32", "float32", "float64", "uint64", "bool", "complex64"):
        yield encode_case(f"{dtype}-(3, 5)", (3, 5), dtype)
    for dtype in ("int16", "float32"):
        yield encode_case(f"{dtype}-(24, 17)", (24, 17), dtype)
    for frame in ((7,), (8,), (1, 1), (16,), (37, 53), (4, 1024), (2, 3, 8), (9, 8), (3, 1366)):
        yield encode_case(f"uint16-{frame}", frame, "uint16", known=frame != (9, 8))
    yield encode_case("uint16-several-blocks", (64, 300), "uint16")
    yield encode_case("int32-several-blocks", (31, 133), "int32")
    yield encode_case("uint8-several-blocks", (131, 257), "uint8", 4)
    for n, rows in ROWS:
        yield encode_case(f"rows-{n}-live{rows}", (4, 10), "uint16", n, rows)


def damaged(rng: np.random.Generator, payload: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Chunks with a lie in them: wrong sizes, headers, block lengths, and any byte changed."""
    n, cap = payload.shape
    payload, size = payload.copy(), size.copy()
    for f in range(n):
        used = int(size[f])
        match f % 8:
            case 0:
                size[f] = [0, 1, 11, 12, 13, used - 1, used + 1, cap, cap + 1, 2**32 - 1][f // 8 % 10]
            case 1:     # the header: decoded size and block size
                payload[f, rng.integers(0, 12)] ^= 1 << rng.integers(0, 8)
            case 2:     # a block's length
                payload[f, 12 + rng.integers(0, 4)] ^= 1 << rng.integers(0, 8)
            case 3:     # the first token
                payload[f, 16 % cap] = rng.integers(0, 256)
            case 4:
                payload[f, :used] = rng.integers(0, 256, used)
            case 5:
                payload[f, 16 % cap : used] = 0xFF
            case 6:
                payload[f, 16 % cap : used] = 0
            case _:
                payload[f, rng.integers(12, used)] ^= 1 << rng.integers(0, 8)
    return payload, size


def decode_case(name: str, source: Case, break_them: bool = False, bits: bool = True) -> Case:
    """What numpy's encoder writes, 0xC3 behind each chunk's end."""
    n, *frame = source.inputs["code"].shape
    payload, size = source.op(source.inputs["code"], backend="numpy")
    payload[np.arange(payload.shape[1]) >= size[:, None]] = 0xC3
    if break_them:
        payload, size = damaged(seeded(name), payload, size)
    op = compress.BitshuffleLZ4Decode(tuple(frame), source.inputs["code"].dtype.name)
    status = {"frame_status": frame_bits(n)} if bits else {}
    return Case(name, op, {"payload": payload, "size": size, **status, **live_of_case(source)})


def bitshuffle_lz4_decode() -> Iterator[Case]:
    for i, case in enumerate(bitshuffle_lz4()):
        yield decode_case(case.name, case, bits=i % 3 > 0)
    for frame, dtype in (((4, 10), "uint16"), ((3, 5), "uint8"), ((37, 53), "uint16"), ((24, 17), "float32"), ((7,), "int32"), ((61, 300), "uint8")):
        yield decode_case(f"damaged-{dtype}-{frame}", encode_case(f"{frame}", frame, dtype, 160 if frame[-1] < 50 else 48), break_them=True)


def sized_bitshuffle_lz4(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    source = sized_quantize(shape, n, scattered)
    return Case("codes of 0.05 photons", compress.BitshuffleLZ4(shape, "int16"), {"code": source.op(**source.inputs, backend="numba").code})


def sized_bitshuffle_lz4_decode(shape: tuple[int, ...], n: int, scattered: bool) -> Case:
    return decoding(sized_bitshuffle_lz4(shape, n, scattered))


FAMILIES: Any = (cases_pixelwise, cases_assemble, cases_binning, cases_regions, cases_waveform, cases_photon_counting)      # each has a table MAKERS
CASES: dict[str, Callable[[], Iterator[Case]]] = {
    **{name: partial(module.cases_of, name) for module in FAMILIES for name in module.MAKERS},
    "calib.status_count": status_count, "calib.common_mode": common_mode, "calib.dark_sums": dark_sums, "calib.dark_median": dark_median,
    "calib.counts": counts, "calib.photons": photons, "calib.shared_photons": shared_photons,
    "calib.stencil": stencil, "calib.recursive": recursive,
    "calib.gain": gain, "calib.threshold_gain": threshold_gain,
    **cases_azimuthal.CASES, **cases_beam.CASES, **cases_dispersion.CASES, **cases_sparsify.CASES, **cases_psana_peaks.CASES,
    "features.peak_finder8": peak_finder8, "features.droplets": droplets,
    **cases_wavelet.CASES, **cases_quantize_counts.CASES, **cases_pack.CASES,
    **cases_wavelet_codec.CASES, **cases_zfp.CASES, **cases_zstd.CASES, **cases_zstd_decode.CASES, **cases_auto.CASES, **cases_plain.CASES,
    **cases_lz4.CASES, **cases_roibin.CASES, **cases_precondition.CASES,
    **cases_deflate.CASES, **cases_bitshuffle.CASES, **cases_blosc.CASES,
    "veto.lit_pixels": lit_pixels, "veto.compact": compact, "compress.quantize": quantize, "compress.dequantize": dequantize,
    "compress.bitshuffle_lz4": bitshuffle_lz4, "compress.bitshuffle_lz4_decode": bitshuffle_lz4_decode,
}
SIZED: dict[str, Callable[[tuple[int, ...], int, bool], Case]] = {
    **{name: lambda shape, n, _, name=name, sized=module.sized: sized(name, shape, n) for module in FAMILIES for name in module.MAKERS},
    "calib.status_count": sized_status_count, "calib.common_mode": sized_common_mode, "calib.dark_sums": sized_dark_sums,
    "calib.dark_median": sized_dark_median,
    "calib.counts": sized_counts, "calib.photons": sized_photons, "calib.shared_photons": sized_shared_photons,
    "calib.stencil": sized_stencil, "calib.recursive": sized_recursive,
    "calib.gain": sized_gain, "calib.threshold_gain": sized_threshold_gain,
    **cases_azimuthal.SIZED, **cases_beam.SIZED, **cases_dispersion.SIZED, **cases_sparsify.SIZED, **cases_psana_peaks.SIZED,
    "features.peak_finder8": sized_peak_finder8, "features.droplets": sized_droplets,
    **cases_wavelet.SIZED, **cases_quantize_counts.SIZED, **cases_pack.SIZED,
    **cases_wavelet_codec.SIZED, **cases_zfp.SIZED, **cases_zstd.SIZED, **cases_zstd_decode.SIZED, **cases_auto.SIZED, **cases_plain.SIZED,
    **cases_lz4.SIZED, **cases_roibin.SIZED, **cases_precondition.SIZED,
    **cases_deflate.SIZED, **cases_bitshuffle.SIZED, **cases_blosc.SIZED,
    "veto.lit_pixels": sized_lit_pixels, "veto.compact": sized_compact,
    "compress.quantize": sized_quantize, "compress.dequantize": sized_dequantize,
    "compress.bitshuffle_lz4": sized_bitshuffle_lz4, "compress.bitshuffle_lz4_decode": sized_bitshuffle_lz4_decode,
}
FEEDING: dict[str, Callable[[tuple[int, ...], int], Iterator[Case]]] = {
    **{name: lambda frame, n, name=name, fed=module.fed: fed(name, frame) for module in FAMILIES if hasattr(module, "fed") for name in module.MAKERS},
    **cases_beam.FEEDING, **cases_wavelet_codec.FEEDING,
    "calib.status_count": lambda frame, n: iter([Case("count", calib.StatusCount(), {})] if frame in ((24, 17), (16, 40)) else []),
    "veto.lit_pixels": fed_lit_pixels, "compress.quantize": fed_quantize, "calib.common_mode": fed_common_mode, "calib.photons": fed_photons,
}
