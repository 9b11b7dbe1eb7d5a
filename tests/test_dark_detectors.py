"""Dark runs in configured states, of a second image, of packed words, of one's own detector, against what was drawn. Over 200 lines: a truth for each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gpuredux import backends
from gpuredux.calib import Calibrate, Gain, ThresholdGain
from gpuredux.calib.constants import Constants, load, of_detector
from gpuredux.calib.darks import DarkResult, DarkRun, DarkStatus, merge, to_constants
from gpuredux.calib.folding import fold_constants, switched_pedestal
from gpuredux.detectors import DETECTORS, Detector
from gpuredux.status import Pixel

FRAMES = 300
# state: (config, trbit) as the detectors' pages have them; None: the word's gain bit means nothing there
EPIX = {"FH": (12, 1), "FM": (12, 0), "FL": (8, 0), "AHL_H": (0, 1), "AML_M": (0, 0)}
UHR = {"FHG": (0b100000, 0), "FMG": (0b101000, 0), "FLG1": (0b000001, 0), "FLG2": (0b100001, 0), "AHLG1": (0b010000, 0), "AHLG2": (0b110000, 0),
       "AMLG1": (0b011000, 0), "AMLG2": (0b111000, 0)}
M320 = {"SH": (0, 0), "SL": (1, 0), "AHL_H": (2, 0)}
FAMILIES = [("epix10ka", 0x4000, 0, EPIX), ("epix10ka2M", 0x4000, 0, EPIX), ("epixhr2x2", 0x8000, 0, EPIX), ("epixuhr3x2", 1, 1, UHR),
            ("epixuhr3x2_packed", 1, 1, UHR), ("epixm320", 0x8000, 0, M320)]


def part(name: str, *frame: int) -> Detector:
    """A small part of a detector."""
    kind = DETECTORS[name]
    panels = (2,) if len(kind.shape) == 3 else ()
    return replace(kind, shape=(*panels, *frame), segments=(0, 1) if panels else ())


def drawn(rng: np.random.Generator, n: int, pedestal: np.ndarray, noise: np.ndarray) -> np.ndarray:
    return np.rint(pedestal + noise * rng.standard_normal((n, *pedestal.shape))).astype(np.uint16)


def pack(words: np.ndarray) -> np.ndarray:
    """Two 12-bit words in 3 bytes, pair by pair as a string of bits, lowest first."""
    bits = words[..., None] >> np.arange(12) & 1
    return np.packbits(bits.reshape(*words.shape[:-1], -1).astype(np.uint8), axis=-1, bitorder="little")


def finished(run: DarkRun, raw: np.ndarray, cell: np.ndarray | None = None) -> DarkResult:
    run.look(raw[:: len(raw) // 100], None if cell is None else cell[:: len(raw) // 100])
    for first in range(0, len(raw), 128):
        run.add(raw[first : first + 128], None if cell is None else cell[first : first + 128])
    return run.finish()


# --------------------------------------------------------------------------------------------------- configured states
@pytest.mark.parametrize(("name", "gain_bit", "shift", "codes"), FAMILIES, ids=[f[0] for f in FAMILIES])
def test_darks_of_each_state_fold_to_zero(name: str, gain_bit: int, shift: int, codes: dict[str, tuple[int, int]], tmp_path: Path) -> None:
    """A run in every state, a file each, merged, folded with a configuration of all states: dark words give 0 keV, switched ones BAD_CONSTANT."""
    kind, rng = part(name, 16, 24), np.random.default_rng(8)
    pedestal = {s: 300 + 180 * k + rng.normal(0, 30, kind.shape) for k, s in enumerate(codes)}
    noise = {s: rng.uniform(5, 12, kind.shape) for s in codes}
    as_sent = pack if kind.word == "packed12" else np.asarray

    def words(state: str, n: int) -> np.ndarray:
        bit = rng.integers(0, 2, (n, *kind.shape), dtype=np.uint16) if state[0] != "A" else np.uint16(0)
        return drawn(rng, n, pedestal[state], noise[state]) << np.uint16(shift) | bit * np.uint16(gain_bit)

    for state in codes:
        one = to_constants({state: finished(DarkRun(kind, state=state), as_sent(words(state, FRAMES)))}, kind, source_runs=[f"run of {state}"])
        assert one.planes == (state,) and (one.status == 0).mean() > 0.99
        z = (one.pedestal[0] - pedestal[state]) / noise[state] * np.sqrt(FRAMES)
        assert abs(z.mean()) < 0.2 and np.abs(z).max() < 6 and abs((one.noise[0] / noise[state]).mean() - 1) < 0.02
        one.save(tmp_path / f"{state}.h5")
    order = list(codes)[::-1]
    made = merge(load(tmp_path / f"{s}.h5", kind) for s in order)
    assert made.planes == tuple(codes) and made.source_runs == tuple(f"run of {s}" for s in order) and made.digest == load_again(made, tmp_path).digest
    chosen = rng.integers(0, len(codes), kind.shape)
    config, trbit = (np.array([codes[s][k] for s in codes], np.int64)[chosen] for k in range(2))
    scale = 1 + np.arange(len(codes))[:, *[None] * len(kind.shape)] * np.ones(kind.shape)
    folded = fold_constants(replace(made, gain=scale), config, trbit, missing="mask")
    raw = np.choose(chosen, [words(s, FRAMES) for s in codes])
    energy, status = Gain(**folded.to_gain(invalid="mask", status=True))(as_sent(raw))
    spread = np.choose(chosen, [noise[s] for s in codes]) / (1 + chosen)
    z = energy.mean(0, dtype=np.float64) / spread / np.sqrt(2 / FRAMES)
    assert not status.any() and np.abs(z).max() < 6 and 0.9 < z.std() < 1.1
    automatic = np.array([s[0] == "A" for s in codes])[chosen]
    _, status = Gain(**folded.to_gain(invalid="mask", status=True))(as_sent(raw | np.uint16(gain_bit)))
    assert (status[:, automatic] == Pixel.BAD_CONSTANT).all() and not status[:, ~automatic].any()
    assert ((folded.status[1][automatic] & DarkStatus.TOO_FEW) != 0).all() and "of which the set lacked A" in folded.notes
    with pytest.raises(ValueError, match=r"asks for A\w+ \(\d+ pixels\).*and the set has only [FS].*switched_pedestal.*missing='mask'"):
        fold_constants(made, config, trbit)


def load_again(made: Constants, folder: Path) -> Constants:
    made.save(folder / "merged.h5")
    return load(folder / "merged.h5")


def test_words_of_an_automatic_state_are_told_by_the_gain_bit() -> None:
    kind, rng = part("epix10ka", 16, 24), np.random.default_rng(9)
    high, low = (drawn(rng, FRAMES, np.full(kind.shape, p), np.full(kind.shape, 8)) for p in (2000, 3000))
    raw = np.where(rng.permutation(FRAMES)[:, None, None] % 3, high, low | 0x4000).astype(np.uint16)
    for state, level, share in (("AHL_H", 2000, 2 / 3), ("AHL_L", 3000, 1 / 3)):
        r = finished(DarkRun(kind, state=state), raw)
        assert abs(r.pedestal.mean() - level) < 0.1 and (r.count == FRAMES * share).all() and (r.switched == FRAMES - r.count).all()
        assert ((r.status & DarkStatus.WRONG_GAIN) != 0).all()
    assert (finished(DarkRun(kind, state="FH"), raw).count == FRAMES).all()


def test_switched_states_join_those_of_dark_runs() -> None:
    """AHL of lines fitted to a charge injection, by the dark AHL_H beside them: a switched word gives the charge that it was made of."""
    kind, rng, shape = part("epix10ka", 16, 24), np.random.default_rng(17), (16, 24)
    high, low = rng.uniform(16, 17, shape), rng.uniform(0.16, 0.17, shape)
    offset_high, offset_low, moved = rng.normal(2500, 20, shape), rng.normal(3000, 20, shape), rng.normal(0, 3, shape)     # moved: keV since the injection
    dark = drawn(rng, FRAMES, offset_high + high * moved, np.full(shape, 8.0))
    measured = to_constants({"AHL_H": finished(DarkRun(kind, state="AHL_H"), dark)}, kind)
    pedestal = switched_pedestal(offset_low, offset_high, measured.pedestal[0], low, high)[None]
    given = {"pedestal": pedestal.astype(np.float32), "noise": np.full_like(measured.noise, np.nan), "status": np.zeros_like(measured.status)}
    made = merge([replace(measured, planes=("AHL_L",), notes="from a charge injection", **given), measured])
    made = replace(made, gain=np.stack([high, low]))
    assert made.planes == ("AHL_H", "AHL_L") and made.notes == "from a charge injection"
    charge = np.full(shape, 5000.0)
    raw = np.stack([dark[0], np.rint(offset_low + low * (moved + charge)).astype(np.uint16) | 0x4000])
    energy, status = Gain(**fold_constants(made, np.zeros(shape, int), 1).to_gain(status=True))(raw)
    assert not status.any() and np.abs(energy[1] - charge).max() < 4 and np.abs(energy[0]).max() < 5, "half an ADU is 3 keV in the low stage"


def test_recorded_words_of_fixed_low_gain(real) -> None:
    """Their gain bit is always set: without the state, a run of unswitched words has none."""
    raw = real("epix10ka_quad_raw.h5", "raw")
    counts = []
    for stage in ({"gain": 0}, {"state": "FL"}):
        run = DarkRun("epix10kaquad", **stage)
        run.look(raw)
        run.add(raw)
        counts.append(run.finish().count)
    assert not counts[0].any() and (counts[1] == len(raw)).all()


def test_states_that_cannot_be_are_refused() -> None:
    kind, rng = part("epix10ka", 16, 24), np.random.default_rng(9)
    r = finished(DarkRun(kind, state="FH"), drawn(rng, 100, np.full(kind.shape, 2000.0), np.full(kind.shape, 8.0)))
    one, other = to_constants({"FH": r}, kind), to_constants({"FM": r}, kind)
    for call, words in ((lambda: DarkRun(kind, state="AHL"), "state must be one of FH, FM, FL, AHL_H"), (lambda: DarkRun(kind, 1, state="FH"), "gain=1"),
                        (lambda: DarkRun("jungfrau", state="FH"), "jungfrau has no configured states"),
                        (lambda: to_constants({0: r, "FH": r}, kind), "do not go together in one set"), (lambda: to_constants({"XH": r}, kind), "has no XH"),
                        (lambda: to_constants({"FH": r}, "jungfrau"), "it has no configured states"), (lambda: merge([]), "no set"),
                        (lambda: merge([one, one]), "FH are in two sets"), (lambda: merge([one, replace(other, shape=(1, 24))]), "must be"),
                        (lambda: merge([one, replace(other, validity=(1, 2))]), "different validity"),
                        (lambda: merge([one, replace(other, noise=None, units={})]), "different arrays or units"),
                        (lambda: fold_constants(to_constants({0: r}, kind), np.zeros(kind.shape, int)), r"planes are \('not switched',\)"),
                        (lambda: fold_constants(one, np.full(kind.shape, 12), 1, missing="no"), "missing must be")):
        with pytest.raises(ValueError, match=words):
            call()
    two = replace(merge([one, other]), gain=np.ones((2, *kind.shape)))
    with pytest.raises(ValueError, match=r"2 gain states \('FH', 'FM'\) are not 2 planes: fold them"):
        two.to_gain()
    assert merge([one]).digest == one.digest and fold_constants(one, np.full(kind.shape, 12), 1).planes == kind.gains


# -------------------------------------------------------------------------------------------------------- second image
AGIPD, CELLS = part("agipd1M", 16, 24), 3
LEVELS, SPREADS = (6000.0, 7000.0, 7600.0), (20.0, 60.0, 40.0)      # of the image that tells the gain


def agipd_truth() -> tuple[np.ndarray, np.ndarray]:
    """pedestal and level (3, cells, *frame): of cells 40 and 25 ADU apart."""
    rng, at = np.random.default_rng(10), (3, CELLS, *AGIPD.shape)
    by_cell = np.arange(CELLS)[:, None, None, None]
    first = (np.reshape(x, (3, 1, 1, 1, 1)) for x in ((4000, 8000, 8500), LEVELS))
    return tuple(a + k * by_cell + rng.normal(0, 30, at) for a, k in zip(first, (40, 25), strict=True))      # type: ignore[return-value]


def agipd_words(rng: np.random.Generator, cell: np.ndarray, stage: np.ndarray, pedestal: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Both images of frames whose pixels are in `stage`."""
    p, v = (np.take_along_axis(a[:, cell], stage[None], 0)[0] for a in (pedestal, level))
    adc = drawn(rng, 1, p, np.full(p.shape, 10.0))[0]
    told = drawn(rng, 1, v, np.array(SPREADS)[stage])[0]
    return np.stack([adc, told], axis=-3)


def test_agipd_darks_tell_the_stages_apart() -> None:
    """Three runs, each forced to a stage: pedestals, and thresholds halfway between the drawn levels; frames of mixed stages then come out at 0."""
    rng, (pedestal, level) = np.random.default_rng(12), agipd_truth()
    level[2, :, 0, 0, 0] = level[1, :, 0, 0, 0]             # medium and low are not told apart
    level[1, :, 0, 0, 1] = level[0, :, 0, 0, 1] - 500       # the levels descend
    results = {}
    for g in range(3):
        cell = rng.permutation(np.repeat(np.arange(CELLS, dtype=np.uint16), 200))
        results[g] = finished(DarkRun(AGIPD, g, CELLS), agipd_words(rng, cell, np.full((len(cell), *AGIPD.shape), g), pedestal, level), cell)
    made = to_constants(results, AGIPD)
    assert made.planes == AGIPD.gains and made.cells == CELLS and made.threshold.shape == (2, CELLS, *AGIPD.shape)
    assert np.abs(made.pedestal - pedestal).max() < 6 * 10 / np.sqrt(200) and abs(made.noise.mean() - 10) < 0.1
    odd = np.zeros(AGIPD.shape, bool)
    odd[0, 0, :2] = True
    middle = (level[:-1] + level[1:]) / 2
    off = (made.threshold - middle)[..., ~odd]
    assert np.abs(off).max() < 6 * 36 / np.sqrt(200) and abs(off.mean()) < 0.2, "plain midpoints: with the noises as weights they are 60 to 250 off"
    unclear = (made.status & DarkStatus.GAIN_UNCLEAR) != 0
    assert not unclear[..., ~odd].any() and np.array_equal(unclear[:, 0, 0, 0, :2], [[False, True], [True, True], [True, True]])
    assert np.isnan(made.threshold[:, :, 0, 0, 1]).all()
    made = replace(made, gain=np.ones_like(made.pedestal))
    cell = rng.integers(0, CELLS, 400).astype(np.uint16)
    stage = rng.integers(0, 3, (400, *AGIPD.shape))
    raw = agipd_words(rng, cell, stage, pedestal, level)
    energy, gain_stage, _ = ThresholdGain(**made.to_gain(threshold=made.threshold, gain_stage=True))(raw, cell, np.zeros(400, np.uint32))
    assert (gain_stage == stage)[..., ~odd].all() and np.abs(energy[..., ~odd].mean(0)).max() < 6 * 10 * np.sqrt(1 / 400 + 1 / 200)
    chain = Calibrate(AGIPD, made, bad=["GAIN_UNCLEAR"], status=True, bad_value=0.0)
    energy, status, _ = chain(raw, cell, np.zeros(400, np.uint32))
    assert (status[..., ~odd] == 0).all() and (status[:, 0, 0, 1] == Pixel.BAD_CONSTANT).all() and np.abs(energy).max() < 100


@pytest.mark.parametrize("backend", ["numpy", "numba", "opencl"])
def test_agipd_darks_are_the_same_on_every_cut_and_backend(backend: str) -> None:
    try:
        backends.get(backend)
    except backends.BackendUnavailable as e:
        pytest.skip(str(e))
    rng, (pedestal, level) = np.random.default_rng(13), agipd_truth()
    cell = np.arange(60, dtype=np.uint16) % CELLS
    raw = agipd_words(rng, cell, np.full((60, *AGIPD.shape), 1), pedestal, level)
    want = finished(DarkRun(AGIPD, 1, CELLS), np.repeat(raw, 2, axis=0), np.repeat(cell, 2))
    run = DarkRun(AGIPD, 1, CELLS, backend=backend)
    look = run.look(np.repeat(raw, 2, axis=0), np.repeat(cell, 2))
    for first in range(0, 120, 14):
        run.add(np.repeat(raw, 2, axis=0)[first : first + 14], np.repeat(cell, 2)[first : first + 14])
    got = run.finish()
    for a, b in ((want, got), (want.second, got.second), (want.gate, look)):
        assert all(np.array_equal(x, y, equal_nan=True) for x, y in zip(a[:8], b[:8], strict=True))


def test_a_second_image_that_cannot_be_is_refused() -> None:
    rng, (pedestal, level) = np.random.default_rng(13), agipd_truth()
    raw = agipd_words(rng, np.zeros(100, int), np.zeros((100, *AGIPD.shape), int), pedestal, level)
    r = finished(DarkRun(AGIPD), raw)
    flat = finished(DarkRun(part("jungfrau", 16, 24)), raw[:, 0, 0])
    for call, words in ((lambda: DarkRun(AGIPD, 3), "gain stages 0, 1, 2, got 3"), (lambda: DarkRun(AGIPD).look(raw[:, 0, 0]), "2, rows, cols"),
                        (lambda: DarkRun(AGIPD).use(r.gate), "has a second image, which has a gate of its own"),
                        (lambda: DarkRun("jungfrau").use(r.gate, r.gate), "has no second image"),
                        (lambda: to_constants(dict.fromkeys(range(3), flat), AGIPD), r"stages \[0, 1, 2\] have no second image")):
        with pytest.raises(ValueError, match=words):
            call()
    one = to_constants({0: r}, AGIPD)
    assert one.threshold is None and one.planes == ("high",) and merge([to_constants({1: r}, AGIPD), one]).planes == ("high", "medium")
    whole = to_constants(dict.fromkeys(range(3), r), AGIPD)
    assert ((whole.status & DarkStatus.GAIN_UNCLEAR) != 0).all() and np.isnan(whole.threshold).all(), "one run for all stages tells nothing apart"
    with pytest.raises(ValueError, match="thresholds lie between the stages of one set"):
        merge([replace(whole, planes=("a", "b", "c"))])


# -------------------------------------------------------------------------------------------------------- packed words
def test_packed_words_are_those_that_were_packed() -> None:
    """Odd sizes of batches and values at both ends, against the same frames unpacked: every number equal."""
    rng, packed, plain = np.random.default_rng(14), part("epixuhr3x2_packed", 8, 10), part("epixuhr3x2_asics", 8, 10)
    words = rng.choice(np.array([0, 1, 2, 0x7FF, 0x800, 0xFFE, 0xFFF], np.uint16), (121, *plain.shape))
    for stage in ({"gain": 0}, {"gain": 1}, {"state": "FLG2"}, {"state": "AHLG1_L"}):
        got, want = finished(DarkRun(packed, **stage), pack(words)), finished(DarkRun(plain, **stage), words)
        for a, b in zip((*got[:12], *got.gate), (*want[:12], *want.gate), strict=True):
            assert np.array_equal(a, b, equal_nan=True)
    for raw in (words, pack(words)[..., :-1]):
        with pytest.raises(ValueError, match="must be uint8"):
            DarkRun(packed).look(raw)


@pytest.mark.parametrize(("one", "other"), [("epixuhr3x2_asics", "epixuhr3x2_packed"), ("epixuhr3x2_packed", "epixuhr3x2_asics")])
def test_a_set_is_of_the_pixels_however_their_words_are_packed(one: str, other: str, tmp_path: Path) -> None:
    rng, kind = np.random.default_rng(16), part(one, 16, 24)
    raw = drawn(rng, FRAMES, np.full(kind.shape, 900.0), np.full(kind.shape, 8.0)) << np.uint16(1)
    sent = {"epixuhr3x2_asics": raw, "epixuhr3x2_packed": pack(raw)}
    switched = raw | 1 if one.endswith("asics") else pack(raw | 1)
    made = to_constants({0: finished(DarkRun(kind), sent[one]), 1: finished(DarkRun(kind, 1), switched)}, kind)
    made.save(tmp_path / "c.h5")
    held = load(tmp_path / "c.h5", part(other, 16, 24))
    assert held.detector == other == held.kind.name and held.segments == (0, 1) and of_detector(held, one).digest == made.digest
    energy = Gain(**replace(held, gain=np.ones_like(held.pedestal)).to_gain())(sent[other])
    assert np.abs(energy.mean(0)).max() < 1
    for wrong in ("epixuhr3x2", "epix10ka", "nonesuch"):
        with pytest.raises(ValueError, match=f"c.h5: holds constants of '{one}', not of '{wrong}'"):
            load(tmp_path / "c.h5", wrong)


# ------------------------------------------------------------------------------------------------------ own detectors
def test_a_detector_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is needed is said; done, it works."""
    own = Detector("mine", (16, 24), adc_mask=0x0FFF, gain_shift=12, planes=(0, 1), gains=("a", "b"))
    rng = np.random.default_rng(15)
    r = finished(DarkRun(own, 1), drawn(rng, 100, np.full(own.shape, 2000.0), np.full(own.shape, 8.0)) | 0x1000)
    with pytest.raises(ValueError, match=r"catalogue has no 'mine'. Enter it: gpuredux.detectors.DETECTORS\['mine'\] = yours, here and where"):
        to_constants({1: r}, own)
    with pytest.raises(ValueError, match=r"this 'epix100' is not the catalogue's.*: adc_mask, gain_shift, planes, gains differ"):
        to_constants({1: r}, replace(own, name="epix100"))
    monkeypatch.setitem(DETECTORS, "mine", own)
    to_constants({1: r}, own).save(tmp_path / "mine.h5")
    made = load(tmp_path / "mine.h5", own)
    assert made.planes == ("b",) and made.kind == replace(own, segments=(0,)) and abs(made.pedestal.mean() - 2000) < 0.2
