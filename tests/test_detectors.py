"""Detectors as data, against each family's formula written a second time, word by word, and recorded frames. Over 200 lines: every family has its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from extra_geom import AGIPD_1MGeometry, AGIPD_500K2GGeometry, DSSC_1MGeometry, LPD_1MGeometry
from pyFAI import detectors as pyfai

from gpuredux.detectors import DETECTORS, Detector, detector
from gpuredux.status import Pixel

EVERY_WORD = np.arange(65536, dtype=np.uint16)
SAT, LOST, BAD, MASKED = (int(b) for b in (Pixel.SATURATED, Pixel.MISSING, Pixel.INVALID_CODE, Pixel.MASKED))


# ------------------------------------------------------------------------------------------------ words, family by family
def jungfrau(w: int) -> tuple[int, int, int]:
    special = {0xC000: SAT, 0xFFFF: LOST, 0x4000: LOST}
    stage = {0: 0, 1: 1, 2: None, 3: 2}[w // 16384]
    return w % 16384, stage or 0, special.get(w, BAD if stage is None else 0)


def epix10ka(w: int) -> tuple[int, int, int]:
    return w % 16384, int(bool(w & 0x4000)), 0


def epixhr(w: int) -> tuple[int, int, int]:
    return w % 16384, int(bool(w & 0x8000)), 0


def epixm(w: int) -> tuple[int, int, int]:
    return w % 32768, w // 32768, 0


def epixuhr(w: int) -> tuple[int, int, int]:
    """UUUU DDDDDDDDDDD G."""
    text = f"{w:016b}"
    return int(text[4:15], 2), int(text[15]), 0


def lpd(w: int) -> tuple[int, int, int]:
    stage = w // 4096 % 4
    return w % 4096, 0 if stage == 3 else stage, BAD if stage == 3 else 0


def pnccd(w: int) -> tuple[int, int, int]:
    return w % 16384, 0, 0


def whole(w: int) -> tuple[int, int, int]:
    return w, 0, 0


def rayonix(w: int) -> tuple[int, int, int]:
    return w, 0, SAT if w == 65535 else 0


FAMILIES = {"jungfrau": jungfrau, "epix10ka": epix10ka, "epixhr": epixhr, "epixm320": epixm, "epixuhr3x2": epixuhr, "epix100": whole, "pnccd": pnccd,
            "lpd": lpd, "dssc": whole, "rayonix": rayonix}
WORDS = {n: f for n in DETECTORS for start, f in FAMILIES.items() if n.startswith(start) and n != "epixuhr3x2_packed"}


def test_every_detector_is_tested_here() -> None:
    assert set(DETECTORS) - set(WORDS) == {n for n, d in DETECTORS.items() if d.counts or d.second_image} | {"epixuhr3x2_packed"}
    assert len(DETECTORS) == 37


@pytest.mark.parametrize("name", WORDS)
def test_every_word_decodes_as_its_family_says(name: str) -> None:
    adc, plane, status = DETECTORS[name].decode(EVERY_WORD)
    want = np.array([WORDS[name](int(w)) for w in EVERY_WORD])
    assert (adc.dtype, plane.dtype, status.dtype) == (np.uint16, np.int8, np.uint8)
    assert np.array_equal(np.stack((adc, plane, status), axis=1), want)


def test_the_gain_bit_of_epixuhr_is_the_lowest() -> None:
    """psana takes bit 1, where data are."""
    kind = DETECTORS["epixuhr3x2"]
    for w in (0, 2, 4, 0xFFE):
        assert kind.decode(np.array([w], np.uint16))[1] == 0 and kind.decode(np.array([w | 1], np.uint16))[1] == 1


@pytest.mark.parametrize("name", [n for n, d in DETECTORS.items() if not d.second_image])
def test_the_kernels_decode_the_same(name: str) -> None:
    """The C expressions of defines(), read as Python."""
    kind = DETECTORS[name]
    if kind.counts and np.dtype("u2") not in kind.raw_dtypes:
        return
    kind = replace(kind, word="u16")
    word = EVERY_WORD
    adc, plane, status = kind.decode(word)
    text = kind.defines()
    assert np.array_equal((word & int(text["ADC_MASK"][:-1])) >> kind.adc_shift, adc)
    table = int(text["PLANE_OF(w)"].split("u")[0].strip("("))
    found = table >> 4 * (word.astype(np.int64) >> kind.gain_shift & kind.gain_mask) & 15
    assert np.array_equal(np.where(found == 15, 0, found), plane)
    assert text["GAIN_BITS"] == f"{kind.gain_mask << kind.gain_shift}u" and text["WORD_STATUS(w)"].count("?") == len(kind.codes)
    assert set(np.unique(status)) <= {0, SAT, LOST, BAD, MASKED}


# ------------------------------------------------------------------------------------------------------------- packed words
def pack(words: np.ndarray) -> np.ndarray:
    """Two 12-bit words in 3 bytes, as one little-endian number of 24 bits."""
    out = bytearray()
    for a, b in words.reshape(-1, 2).tolist():
        out += (a + b * 4096).to_bytes(3, "little")
    return np.frombuffer(bytes(out), np.uint8).reshape(*words.shape[:-1], words.shape[-1] // 2 * 3)


def test_packed_words_are_unpacked() -> None:
    kind = DETECTORS["epixuhr3x2_packed"]
    assert kind.raw_shape == (6, 168, 288) and kind.raw_dtypes == (np.uint8,)
    words = np.concatenate([np.arange(4096), np.random.default_rng(1).integers(0, 4096, 4096)]).astype(np.uint16).reshape(2, 4, 1024)
    raw = pack(words)
    assert np.array_equal(kind.unpack(raw), words)
    for got, want in zip(kind.decode(raw), DETECTORS["epixuhr3x2"].decode(words), strict=True):
        assert np.array_equal(got, want) and got.shape == words.shape
    with pytest.raises(ValueError, match="groups of 3 bytes"):
        kind.unpack(raw[..., :-1])
    with pytest.raises(TypeError, match="must be uint8, got uint16"):
        kind.decode(words)


# ---------------------------------------------------------------------------------------------------------- second image
@pytest.mark.parametrize("name", ("agipd1M", "agipd500K"))
def test_a_second_image_tells_the_gain(name: str) -> None:
    kind = DETECTORS[name]
    assert kind.raw_shape == (kind.shape[0], 2, 512, 128) and kind.n_planes == 3
    rng = np.random.default_rng(2)
    raw = rng.integers(0, 65536, (2, 3, 2, 5, 7), dtype=np.uint16)
    threshold = np.sort(rng.integers(0, 65536, (2, 3, 5, 7)), axis=0).astype(np.float32)
    threshold[:, 0, 0, 0] = raw[0, 0, 1, 0, 0]      # equal is not above
    threshold[1, 1, 1, 1] = np.nan                  # no threshold: never exceeded
    raw[:, 1, 1, 1, 1] = 65535
    adc, plane, status = kind.decode(raw, threshold)
    for at in np.ndindex(2, 3, 5, 7):
        n, p, r, c = at
        analog, digital = int(raw[n, p, 0, r, c]), int(raw[n, p, 1, r, c])
        assert adc[at] == analog % 16384 and plane[at] == sum(digital > t for t in threshold[:, p, r, c].tolist()) and status[at] == 0
    assert plane[0, 0, 0, 0] == 0 and plane[0, 1, 1, 1] == 1
    with pytest.raises(ValueError, match="threshold is missing"):
        kind.decode(raw)
    with pytest.raises(ValueError, match=r"threshold \(2, \.\.\.\)"):
        kind.decode(raw, threshold[:1])
    with pytest.raises(ValueError, match="rows, cols"):
        kind.decode(raw[:, :, 0], threshold)
    with pytest.raises(ValueError, match="second image"):
        DETECTORS["jungfrau"].decode(raw, threshold)
    with pytest.raises(ValueError, match="second image"):
        kind.defines()


# ------------------------------------------------------------------------------------------------------------- counters
@pytest.mark.parametrize(("name", "dtype", "codes"), [
    *[(n, t, {2**b - 1: MASKED, 2**b - 2: SAT}) for n in ("eiger4M", "eiger2_16M") for t, b in (("u2", 16), ("u4", 32))],
    ("eiger2_1M", "u1", {255: MASKED, 254: SAT}), ("pilatus6M", "i4", {-1: MASKED, -2: MASKED}),
])
def test_the_codes_of_counters(name: str, dtype: str, codes: dict[int, int]) -> None:
    info = np.iinfo(dtype)
    words = np.array([0, 1, 2, info.max, info.max - 1, info.max - 2, info.min, info.min + 1, *codes], dtype)
    adc, plane, status = DETECTORS[name].decode(words)
    assert adc.dtype == words.dtype and np.array_equal(adc, words) and not plane.any()
    assert status.tolist() == [codes.get(int(w), 0) for w in words]


def test_a_counter_takes_its_types_alone() -> None:
    with pytest.raises(TypeError, match="pilatus1M: words must be int32, got uint16"):
        DETECTORS["pilatus1M"].decode(EVERY_WORD)
    with pytest.raises(TypeError, match="uint16 or uint32, got uint8"):
        DETECTORS["eiger1M"].codes_of("u1")


@pytest.mark.parametrize(("name", "theirs"), [
    *[(f"pilatus{s}", f"Pilatus{s.replace('K', 'k')}") for s in ("100K", "300K", "1M", "2M", "6M")],
    *[(f"eiger{s}", f"Eiger{s.replace('K', 'k')}") for s in ("500K", "1M", "4M", "9M", "16M")],
    *[(f"eiger2_{s}", f"Eiger2_{s.replace('K', 'k')}") for s in ("500K", "1M", "4M", "9M", "16M")],
    ("jungfrau", "Jungfrau"),
])
def test_shapes_and_pixels_are_those_of_pyfai(name: str, theirs: str) -> None:
    other = getattr(pyfai, theirs)()
    assert DETECTORS[name].shape == tuple(other.shape) and DETECTORS[name].pixel_size == pytest.approx((other.pixel1, other.pixel2))


@pytest.mark.parametrize(("name", "theirs"), [("rayonix_mx170hs", "RayonixMx170"), ("rayonix_mx340hs", "RayonixMx340hs")])
def test_rayonix_is_unbinned(name: str, theirs: str) -> None:
    other = getattr(pyfai, theirs)
    assert DETECTORS[name].shape == other.MAX_SHAPE and DETECTORS[name].pixel_size[0] == pytest.approx(other.BINNED_PIXEL_SIZE[1], rel=2e-5)


@pytest.mark.parametrize(("name", "geometry"), [
    ("agipd1M", AGIPD_1MGeometry), ("agipd500K", AGIPD_500K2GGeometry), ("lpd1M", LPD_1MGeometry), ("dssc1M", DSSC_1MGeometry),
])
def test_shapes_are_those_of_extra_geom(name: str, geometry: type) -> None:
    assert DETECTORS[name].shape == geometry.expected_data_shape and DETECTORS[name].pixel_size[1] == geometry.pixel_size


# ------------------------------------------------------------------------------------------------------------ the catalogue
@pytest.mark.parametrize("name", DETECTORS)
def test_a_detector_is_consistent(name: str) -> None:
    kind = detector(name)
    rows, cols = kind.shape[-2:]
    for grid in (kind.asic, kind.bank):
        assert grid is None or (rows % grid[0] == 0 and cols % grid[1] == 0)
    if kind.asic and kind.bank:
        assert kind.asic[0] % kind.bank[0] == 0 and kind.asic[1] % kind.bank[1] == 0
    for lines, size, asic in ((kind.wide_rows, rows, 0), (kind.wide_cols, cols, 1)):
        assert all(0 < k < size - 1 for k in lines) and len(lines) % 2 == 0
        assert not lines or set(lines) <= {b + d for b in range(kind.asic[asic], size, kind.asic[asic]) for d in (-1, 0)}
    assert (kind.wide_size > 1) == bool(kind.wide_rows or kind.wide_cols) or name.startswith("epixuhr3x2")
    assert kind.ids == tuple(range(kind.n_panels)) and hash(kind) == hash(detector(name))
    assert (kind.default_gain == ()) == (kind.gain_unit == "")


def test_default_gains_are_those_of_the_states() -> None:
    def gain(name: str, state: str) -> float:
        kind = DETECTORS[name]
        return kind.default_gain[kind.config.names.index(state)]

    assert [gain("epix10ka", s) for s in ("FH", "FM", "FL", "AHL_H", "AML_M", "AHL_L", "AML_L")] == [16.4, 5.466, 0.164, 16.4, 5.466, 0.164, 0.164]
    assert [gain("epixhr2x2", s) for s in ("AHL_H", "AML_M", "AML_L")] == [41, 13.7, 0.512]
    assert [gain("epixuhr3x2", s) for s in ("AHLG2", "AHLG2_L", "AMLG1", "AMLG1_L", "FMG")] == [1.51, 0.0086, 0.54, 0.0172, 0.54]
    assert [gain("epixm320", s) for s in ("SH", "SL", "AHL_H", "AHL_L")] == [-100.7, -21.3, -100.7, -21.3]
    assert DETECTORS["epix100"].default_gain[0] == pytest.approx(1000 / 60)


def test_wide_pixels_and_banks() -> None:
    assert DETECTORS["epix10ka2M"].wide_rows == (175, 176) and DETECTORS["epix10ka2M"].wide_cols == (191, 192)
    assert DETECTORS["jungfrau4M"].wide_cols == (255, 256, 511, 512, 767, 768) and DETECTORS["jungfrau4M"].wide_size == 2
    assert {n: DETECTORS[n].bank for n in ("epix10ka", "epixhr1x4", "jungfrau9M", "epix100", "pnccd")} == {
        "epix10ka": (176, 48), "epixhr1x4": (144, 48), "jungfrau9M": (256, 64), "epix100": (352, 96), "pnccd": (512, 128)}


def test_a_part_is_a_detector() -> None:
    whole_one = DETECTORS["jungfrau4M"]
    part = whole_one.select((5, 0, 3))
    assert part.shape == (3, 512, 1024) and part.ids == (5, 0, 3) and part.name == "jungfrau4M" and part.raw_shape == part.shape
    again = part.select([3])
    assert again.shape == (1, 512, 1024) and again.ids == (3,)
    assert replace(part, segments=(), shape=whole_one.shape) == whole_one
    for wanted, words in (((8,), "different ids"), ((), "different ids"), ((1, 1), "different ids"), ((-1,), "different ids")):
        with pytest.raises(ValueError, match=words):
            whole_one.select(wanted)
    with pytest.raises(ValueError, match=r"of \(5, 0, 3\), got \(1,\)"):
        part.select([1])
    assert DETECTORS["jungfrau"].select([0]) is DETECTORS["jungfrau"]
    assert DETECTORS["agipd1M"].select([2, 9]).raw_shape == (2, 2, 512, 128)


@pytest.mark.parametrize(("fields", "words"), [
    ({"planes": (0, 1, 2)}, "planes must be"), ({"planes": (1, 0)}, "the first 0"), ({"word": "u12"}, "word must be"),
    ({"word": "packed12", "shape": (3, 5)}, "even number"), ({"adc_shift": 1}, "adc_shift=1 drops"), ({"segments": (0, 1)}, "1 different ids"),
    ({"shape": (2, 3, 4), "segments": (1, 1)}, "2 different ids"), ({"gains": ("a", "b")}, "must name 1 planes"), ({"default_gain": (1.0, 2.0)}, "1 numbers"),
])
def test_a_detector_that_cannot_be_is_refused(fields: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Detector(**{"name": "x", "shape": (3, 4), "adc_mask": 0x3FFF, **fields})     # type: ignore[arg-type]


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ValueError, match=r"'jungfrau2M' is unknown: choose from jungfrau, .*pilatus6M"):
        detector("jungfrau2M")


# --------------------------------------------------------------------------------------------------------- recorded frames
def test_recorded_jungfrau_words(real) -> None:
    raw = real("jungfrau_m049_raw_to_photons.h5", "raw")
    adc, plane, status = DETECTORS["jungfrau"].decode(raw)
    assert np.array_equal(adc, raw % 16384) and np.array_equal(status == SAT, raw == 0xC000)
    assert {int(b): set(plane[raw >> 14 == b].tolist()) for b in np.unique(raw >> 14)} == {0: {0}, 1: {1}, 3: {2}}
    assert (status == SAT).any() and not (status & ~np.uint8(SAT)).any()


@pytest.mark.parametrize(("file", "dataset", "name", "masked"), [
    ("pilatus2m_lcysteine_01.h5", "data", "pilatus2M", (-1, -2)), ("ceo2_pilatus1m_waxs.h5", "data", "pilatus1M", (-1, -2)),
    ("eiger2_16m_roi4m_stream.h5", "data", "eiger2_4M", (65535,)), ("eiger9m_sparse_f0.h5", "data", "eiger2_9M", (2**32 - 1,)),
])
def test_recorded_counters(real, file: str, dataset: str, name: str, masked: tuple[int, ...]) -> None:
    data = real(file, dataset)
    kind = DETECTORS[name]
    adc, _, status = kind.decode(data)
    assert data.shape[-2:] == kind.shape and data.dtype in kind.raw_dtypes and np.array_equal(adc, data)
    assert np.array_equal(status == MASKED, np.isin(data, masked)) and 0.001 < (status == MASKED).mean() < 0.2
