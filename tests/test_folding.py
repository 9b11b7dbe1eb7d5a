"""Configurations folded into two planes, against the bit tables pixel by pixel. Over 200 lines: each detector has a table of its own."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gpuredux.calib import Gain, folding
from gpuredux.calib.constants import Constants
from gpuredux.calib.folding import fold_constants
from gpuredux.detectors import DETECTORS, Detector


def epix_state(config: int, trbit: int, word: int, gain_bit: int) -> str | None:
    """psana's table, one pixel at a time: x = does not matter; bits are gain, trbit, 3, 2."""
    bits = f"{int(bool(word & gain_bit))}{trbit}{config >> 3 & 1}{config >> 2 & 1}"
    for pattern, state in (("x111", "FH"), ("x011", "FM"), ("xx10", "FL"), ("0100", "AHL_H"), ("0000", "AML_M"), ("1100", "AHL_L"), ("1000", "AML_L")):
        if all(p in ("x", b) for p, b in zip(pattern, bits, strict=True)):
            return state
    return None


def uhr_state(config: int, word: int) -> str | None:
    """The table of the ePixUHR page; i = injection, which does not matter."""
    if config & 2:
        return "off"
    fixed = {"100i00": "FHG", "101i00": "FMG", "000i01": "FLG1", "100i01": "FLG2"}
    auto = {"010i00": "AHLG1", "110i00": "AHLG2", "011i00": "AMLG1", "111i00": "AMLG2"}
    text = f"{config:06b}"
    key = text[:3] + "i" + text[4:]
    return fixed.get(key) or (auto[key] + ("_L" if word & 1 else "") if key in auto else None)


def small(name: str, *shape: int) -> Detector:
    return replace(DETECTORS[name], shape=shape, segments=())


@pytest.mark.parametrize(("name", "gain_bit", "other_bit"), [("epix10ka", 0x4000, 0x8000), ("epix10ka2M", 0x4000, 0x8000), ("epixhr2x2", 0x8000, 0x4000)])
def test_folded_planes_are_what_each_word_asks_for(name: str, gain_bit: int, other_bit: int) -> None:
    """Every configuration, trbit and kind of word; constants that tell their state."""
    panels = () if len(DETECTORS[name].shape) == 2 else (2,)
    kind = small(name, *panels, 16, 12)
    rng = np.random.default_rng(4)
    config = rng.integers(0, 16, kind.shape).astype(np.uint8)
    config[config & 12 == 4] |= 8       # a code that is no state
    trbit = rng.integers(0, 2, kind.shape)
    constants = rng.normal(0, 1, (7, *kind.shape)).astype(np.float32)
    planes = folding.fold(constants, config, trbit, kind)
    words = rng.choice(np.array([0, gain_bit, other_bit, gain_bit | other_bit | 0x3FFF], np.uint16), (40, *kind.shape))
    _, plane, _ = kind.decode(words)
    got = np.where(plane == 0, planes[0], planes[1])
    names = ["FH", "FM", "FL", "AHL_H", "AML_M", "AHL_L", "AML_L"]
    seen = set()
    for at in np.ndindex(*words.shape):
        state = epix_state(int(config[at[1:]]), int(trbit[at[1:]]), int(words[at]), gain_bit)
        seen.add(state)
        assert got[at] == constants[(names.index(state), *at[1:])]
    assert seen == set(names)


def test_folded_planes_of_epixuhr() -> None:
    kind = small("epixuhr3x2", 8, 64)
    config = np.tile(np.arange(64, dtype=np.uint8), (8, 1))
    constants = np.random.default_rng(5).normal(0, 1, (12, *kind.shape))
    planes = folding.fold(constants, config, 0, kind, unknown="mask")
    names = kind.config.names
    assert names == ("FHG", "FMG", "FLG1", "FLG2", "AHLG1", "AHLG2", "AMLG1", "AMLG2", "AHLG1_L", "AHLG2_L", "AMLG1_L", "AMLG2_L")
    seen = set()
    for word in (0x0FFE, 0x0FFF, 0xF000, 0xF001):
        _, plane, _ = kind.decode(np.full(kind.shape, word, np.uint16))
        for at in np.ndindex(*kind.shape):
            state = uhr_state(int(config[at]), word)
            seen.add(state)
            got = planes[(int(plane[at]), *at)]
            assert np.isnan(got) if state in ("off", None) else got == constants[(names.index(state), *at)]
    assert seen == {*names, "off", None}


# -------------------------------------------------------------------------------------------------- ePixM320, and modes by name
WORDS = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint16)


@pytest.mark.parametrize(("mode", "clear", "bit_set"), [("SH", 0, 0), ("SL", 1, 1), ("AHL", 2, 3)])
def test_epixm320_in_each_mode(mode: str, clear: int, bit_set: int) -> None:
    """Every kind of word in every mode, through calib.Gain: (adc - pedestal) / gain of the state, in float64. psana2 gives words of SL whose bit is clear
    the pedestal of SH, and those of SH whose bit is set that of SL."""
    kind, rng = small("epixm320", 2, 6, 10), np.random.default_rng(11)
    assert kind.config.names == ("SH", "SL", "AHL_H", "AHL_L")
    pedestal = rng.normal(0, 30, (4, *kind.shape)) + np.array([3000, 4000, 5000, 6000]).reshape(4, 1, 1, 1)
    gain = rng.normal(1, 0.02, (4, *kind.shape)) * np.reshape(kind.default_gain, (4, 1, 1, 1))
    assert (gain < 0).all()
    raw = rng.choice(WORDS, (30, *kind.shape))
    state = np.where(raw >= 0x8000, bit_set, clear)
    adc = (raw % 0x8000).astype(np.float64)
    want = (adc - np.take_along_axis(pedestal, state, 0)) / np.take_along_axis(gain, state, 0)
    number = {"SH": 0, "SL": 1, "AHL": 2}[mode]
    made = Constants("epixm320", pedestal, gain, shape=kind.shape, segments=(0, 1))
    for config in (mode, np.full(kind.shape, number), np.full(kind.shape, number, np.uint8)):
        folded = fold_constants(made, config)
        assert folded.planes == kind.gains and folded.good.all()
        np.testing.assert_allclose(Gain(**folded.to_gain())(raw), want, rtol=1e-5, atol=1e-5)
    psana = adc - np.take_along_axis(pedestal, (raw >= 0x8000).astype(np.intp), 0)
    ours = Gain(**replace(folded, gain=np.ones((2, *kind.shape))).to_gain())(raw)
    assert np.abs(ours - psana)[raw < 0x8000].max() < 1e-2 or mode != "SH"
    assert np.abs(ours - psana)[raw < 0x8000].min() > 500 or mode == "SH", "words of SL and AHL with the bit clear are not of SH"
    assert np.abs(ours - psana)[raw >= 0x8000].min() > 500 or mode == "SL", "words of SH with the bit set are not of SL"


def test_the_automatic_mode_of_epixm320_needs_its_low_stage() -> None:
    """Darks have the three modes of psana alone."""
    kind = small("epixm320", 2, 6, 10)
    dark = Constants("epixm320", np.ones((3, *kind.shape)), -np.ones((3, *kind.shape)), planes=("SH", "SL", "AHL_H"), shape=kind.shape, segments=(0, 1))
    for mode in ("SH", "SL"):
        assert fold_constants(dark, mode).planes == kind.gains
    with pytest.raises(ValueError, match=r"asks for AHL_L \(120 pixels\), and the set has only SH, SL, AHL_H; .*switched_pedestal"):
        fold_constants(dark, "AHL")
    high = fold_constants(dark, "AHL", missing="mask")
    assert np.isnan(high.pedestal[1]).all() and (high.pedestal[0] == 1).all()
    with pytest.raises(ValueError, match=r"120 pixels of epixm320 is no gain state: \(0, 0, 0\) code 3,"):
        fold_constants(dark, np.full(kind.shape, 3))
    assert (folding.states(np.full(kind.shape, 6), 0, kind) == folding.UNKNOWN).all()


# mode: (config, trbit) written down from the detectors' pages
MODES = {"epix10ka": {"FH": (12, 1), "FM": (12, 0), "FL": (8, 0), "AHL": (0, 1), "AML": (0, 0)},
         "epixhr1x4": {"FH": (12, 1), "FM": (12, 0), "FL": (8, 1), "AHL": (0, 1), "AML": (0, 0)},
         "epixuhr3x2_asics": {"FHG": (0b100000, 0), "FMG": (0b101000, 0), "FLG1": (0b000001, 0), "FLG2": (0b100101, 0), "AHLG1": (0b010000, 0),
                              "AHLG2": (0b110100, 0), "AMLG1": (0b011000, 0), "AMLG2": (0b111000, 0)},
         "epixm320": {"SH": (0, 0), "SL": (1, 0), "AHL": (2, 0)}}


@pytest.mark.parametrize(("name", "mode"), [(d, m) for d in MODES for m in MODES[d]])
def test_a_mode_by_name_is_its_code_everywhere(name: str, mode: str) -> None:
    code, trbit = MODES[name][mode]
    kind = small(name, *DETECTORS[name].shape[:-2], 4, 6)
    found = folding.states(mode, 0, kind)
    assert np.array_equal(found, folding.states(np.full(kind.shape, code), trbit, kind)) and found.shape == (2, *kind.shape)
    assert tuple(folding.modes(kind)) == tuple(MODES[name])
    names = {kind.config.names[s] for s in np.unique(found)}
    for state in names:     # a state's name is its mode's
        assert np.array_equal(folding.states(state, trbit, kind), found)
    assert names <= {mode, f"{mode}_H", f"{mode}_M", f"{mode}_L"} and len(names) == 1 + (mode[0] == "A")
    constants = np.random.default_rng(12).normal(0, 1, (len(kind.config.names), *kind.shape))
    assert np.array_equal(folding.fold(constants, mode, 0, kind), folding.fold(constants, np.full(kind.shape, code), trbit, kind))


@pytest.mark.parametrize(("name", "mode", "trbit", "words"), [
    ("epixm320", "SHL", 0, r"epixm320 has the modes SH, SL, AHL \(and their states AHL_H, AHL_L\), got 'SHL'"),
    ("epix10ka", "AHL_M", 0, r"modes FH, FM, FL, AHL, AML \(and their states AHL_H, AML_M, AHL_L, AML_L\), got 'AHL_M'"), ("epix10ka", "", 0, "got ''"),
    ("epixuhr3x2", "AHL", 0, "modes FHG, FMG, FLG1, FLG2, AHLG1"), ("jungfrau", "G0", 0, "no configuration bits"),
    ("epix10ka", "FM", 1, "FM of epix10ka has the trbit 0, got 1; leave it out"), ("epixm320", "SH", 1, "SH of epixm320 has the trbit 0, got 1"),
])
def test_a_mode_that_is_not_there_is_refused(name: str, mode: str, trbit: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        folding.states(mode, trbit, name)


def test_a_configuration_that_is_no_state_is_named() -> None:
    kind = small("epix10ka", 4, 6)
    config = np.full((4, 6), 12)
    config[2, 3], config[3, 0] = 4, 16 + 8
    with pytest.raises(ValueError, match=r"2 pixels of epix10ka is no gain state: \(2, 3\) code 4, \(3, 0\) code 24; pass unknown='mask'"):
        folding.fold(np.zeros((7, 4, 6)), config, 0, kind)
    assert np.isnan(folding.fold(np.zeros((7, 4, 6)), config, 0, kind, unknown="mask")).sum() == 4
    assert folding.fold(np.ones((7, 4, 6), np.uint32), config, 0, kind, unknown="mask").sum() == 44
    off = np.full((4, 6), 0b100010)
    assert (folding.states(off, 0, small("epixuhr3x2", 4, 6)) == folding.OFF).all()


@pytest.mark.parametrize(("change", "words"), [
    ({"config": np.zeros((4, 5), int)}, r"config must be integers \(4, 6\)"), ({"config": np.zeros((4, 6))}, "got float64"),
    ({"trbit": 2}, "trbit must be 0 or 1"),
    ({"constants": np.zeros((5, 4, 6))}, r"must be \(7, \[cells,\] 4, 6\) in the order FH"), ({"constants": np.zeros((7, 4, 5))}, "got"),
    ({"unknown": "skip"}, "unknown must be"), ({"kind": "jungfrau"}, "no configuration bits"),
    ({"kind": small("epixuhr3x2", 4, 6), "trbit": 1}, "has none"),
    ({"kind": small("epixuhr3x2", 4, 6), "constants": np.zeros((8, 4, 6)), "config": np.full((4, 6), 32)}, "low_states"),
])
def test_folding_refuses(change: dict[str, object], words: str) -> None:
    given = {"constants": np.zeros((7, 4, 6)), "config": np.zeros((4, 6), int), "trbit": 0, "kind": small("epix10ka", 4, 6), **change}
    with pytest.raises(ValueError, match=words):
        folding.fold(**given)       # type: ignore[arg-type]


def test_memory_cells_and_low_states() -> None:
    kind = small("epix10ka", 4, 6)
    constants = np.random.default_rng(6).normal(0, 1, (7, 3, 4, 6))
    config = np.resize(np.array([0, 8, 12]), (4, 6))
    planes = folding.fold(constants, config, 1, kind)
    assert planes.shape == (2, 3, 4, 6)
    for c in range(3):
        assert np.array_equal(planes[:, c], folding.fold(constants[:, c], config, 1, kind))
    eight = np.arange(8.0).reshape(8, 1, 1)
    assert folding.low_states(eight).ravel().tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 2, 3, 2, 3]
    with pytest.raises(ValueError, match="8 states"):
        folding.low_states(constants)


def test_the_switched_pedestal_meets_the_other_line() -> None:
    """Two lines of a charge injection: the adc rises by 16.4 ADU/keV, then by 0.164. Where the dark level has moved, both stages move by the same charge."""
    rng = np.random.default_rng(7)
    high, low = rng.normal(16.4, 0.5, 100), rng.normal(0.164, 0.01, 100)
    offset_high, offset_low = rng.normal(2500, 50, 100), rng.normal(2100, 50, 100)
    moved = rng.normal(0, 3, 100)       # keV between the injection and today's dark
    pedestal = folding.switched_pedestal(offset_low, offset_high, offset_high + high * moved, low, high)
    np.testing.assert_allclose(pedestal, offset_low + low * moved, rtol=1e-12)
    with pytest.raises(ValueError, match="gain_high is 0 in 1 pixels"):
        folding.switched_pedestal(0, 0, 0, 1, 0)


def test_asics_lie_as_lcls2_says() -> None:
    a = np.arange(4 * 176 * 192).reshape(4, 176, 192)
    p = folding.place(a, "epix10ka")
    assert p.shape == (352, 384)
    for r, c in ((0, 0), (175, 191), (0, 192), (175, 383), (176, 0), (351, 383), (200, 17), (13, 300)):
        k, i, j = {(0, 0): (2, 175 - r, 191 - c), (0, 1): (1, 175 - r, 383 - c), (1, 0): (3, r - 176, c), (1, 1): (0, r - 176, c - 192)}[r // 176, c // 192]
        assert p[r, c] == a[k, i, j]
    a = np.arange(2 * 6 * 168 * 192).reshape(2, 6, 168, 192)
    p = folding.place(a, "epixuhr3x2_asics")
    assert p.shape == (2, 336, 576)
    for r, c in ((0, 0), (167, 191), (0, 192), (100, 400), (168, 0), (335, 575), (200, 210)):
        k = r // 168 * 3 + c // 192
        i, j = (r, 191 - c % 192) if r < 168 else (335 - r, c % 192)
        assert (p[:, r, c] == a[:, k, i, j]).all()
    with pytest.raises(ValueError, match="not known here"):
        folding.place(a, "epixhr2x2")
    with pytest.raises(ValueError, match="6, 168, 192"):
        folding.place(a[:, :5], "epixuhr3x2")


def test_recorded_epix10ka_is_in_fixed_low_gain(real) -> None:
    """Configuration 8 everywhere: both planes are FL, whatever bit 14 says; here it is always set."""
    raw = real("epix10ka_quad_raw.h5", "raw")
    kind = DETECTORS["epix10kaquad"]
    adc, plane, status = kind.decode(raw)
    assert raw.shape[1:] == kind.shape and (plane == 1).all() and not status.any() and np.array_equal(adc, raw % 16384)
    config = np.full(kind.shape, 8, np.uint8)
    assert (folding.states(config, 0, kind) == kind.config.names.index("FL")).all()
    constants = np.arange(7, dtype=np.float32)[:, None, None, None] * np.ones(kind.shape, np.float32)
    assert (folding.fold(constants, config, 0, kind) == 2).all()


@pytest.mark.parametrize("trbit", [2, -1, None, np.full((352, 384), 2)])
def test_a_transfer_bit_beside_a_name_is_a_bit(trbit: object) -> None:
    with pytest.raises((ValueError, TypeError), match="trbit"):
        folding.states("FL", trbit, "epix10ka")     # type: ignore[arg-type]
