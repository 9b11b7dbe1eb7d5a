"""Constants, their file and flags: against the layout written a second time, and damaged files. Over 200 lines: one question, does a set keep its meaning."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import h5py
import nexusformat
import numpy as np
import pytest

from gpuredux.calib import Gain, constants_file, flags, folding
from gpuredux.calib.constants import Constants, load
from gpuredux.detectors import DETECTORS
from gpuredux.status import Pixel

GOLDEN = Path(__file__).parent / "golden" / "constants_1.h5.gz"
SHAPE = (2, 4, 6)


def example(**fields: Any) -> Constants:
    """Two panels of a Jungfrau 4M, every array, plain numbers (the golden file's: they must not change)."""
    n = np.arange(3 * 48, dtype=np.float32).reshape(3, *SHAPE)
    given = {
        "pedestal": 2000 + n / 8, "gain": np.array([40, -1.5, -0.125], np.float32).reshape(3, 1, 1, 1) * np.ones(SHAPE, np.float32), "noise": 20 + n / 64,
        "offset": n.astype(np.float64) / 1024, "status": (n % 5).astype(np.uint32), "flags": "NXmx", "good": n[0] % 7 != 3,
        "shape": SHAPE, "segments": (5, 2), "validity": (12, None), "source_runs": ("xpp 7", "xpp 8"), "made_by": "the test, v1", "notes": "µ and 電荷",
    }
    return Constants("jungfrau4M", **{**given, **fields})


def same(a: Constants, b: Constants) -> bool:
    return a.header == b.header and a.digest == b.digest and all(
        x.tobytes() == b.arrays[n].tobytes() and x.dtype == b.arrays[n].dtype and x.shape == b.arrays[n].shape for n, x in a.arrays.items())


# -------------------------------------------------------------------------------------------------------------- the object
def test_a_set_is_immutable_and_its_own() -> None:
    pedestal = np.full((3, *SHAPE), 5.0)
    c = Constants("jungfrau1M", pedestal, shape=SHAPE)
    before = c.digest
    pedestal[:] = 7
    assert (c.pedestal == 5).all() and Constants("jungfrau1M", c.pedestal, shape=SHAPE).digest == before
    for a in example().arrays.values():
        with pytest.raises(ValueError, match="read-only"):
            a.flat[0] = 0
    with pytest.raises(AttributeError):
        c.pedestal = pedestal       # type: ignore[misc]


def test_what_is_filled_in() -> None:
    c = Constants("jungfrau4M", np.zeros((3, 8, 512, 1024), np.int16))
    assert c.pedestal.dtype == np.float32 and c.segments == tuple(range(8)) and c.shape == (8, 512, 1024) and c.planes == ("G0", "G1", "G2")
    assert c.units == {"pedestal": "ADU"} and c.made_by.startswith("gpuredux ") and c.convention == "ADU = adc - pedestal"
    assert Constants("jungfrau", np.zeros((3, 512, 1024), np.int32)).pedestal.dtype == np.float64
    assert Constants("epix10ka", np.zeros((7, 352, 384))).planes == ("FH", "FM", "FL", "AHL_H", "AML_M", "AHL_L", "AML_L")
    assert Constants("epix10ka", np.zeros((2, 352, 384))).planes == ("not switched", "switched")
    assert Constants("epix100", noise=np.zeros((1, 704, 768))).planes == ("G0",)
    assert example().convention == "keV = (adc - pedestal - offset) / gain"
    assert example(units={"gain": "ADU/photon"}).convention == "photon = (adc - pedestal - offset) / gain"
    assert Constants("jungfrau", good=np.ones((512, 1024), bool)).planes == ("G0", "G1", "G2")


def test_each_field_is_in_the_digest() -> None:
    base = example()
    flip = base.good.copy()
    flip[0, 0, 0] ^= True
    changes = [{"pedestal": np.nextafter(base.pedestal, 0)}, {"gain": -base.gain}, {"noise": base.noise.astype(np.float64)}, {"offset": None},
               {"status": base.status.astype(np.uint64)}, {"flags": "Psana"}, {"good": flip}, {"segments": (2, 5)}, {"validity": (12, 13)},
               {"validity": (datetime(2026, 1, 1, tzinfo=UTC), None)}, {"source_runs": ("xpp 7",)}, {"made_by": "x"}, {"notes": ""},
               {"units": {"gain": "ADU/photon"}}, {"planes": ("a", "b", "c")}, {"detector": "jungfrau9M"}]
    made = {base.digest, *(replace(base, **{"units": {}, **change}).digest for change in changes)}
    assert len(made) == len(changes) + 1
    assert replace(base).digest == base.digest and same(replace(base), base)


@pytest.mark.parametrize(("fields", "error", "words"), [
    ({"pedestal": np.zeros((2, *SHAPE))}, ValueError, "noise|pedestal of jungfrau4M must be"),
    ({"gain": np.zeros((3, 2, 4, 5))}, ValueError, "gain of jungfrau4M must be"),
    ({"good": np.ones(SHAPE)}, TypeError, "good must be bool, True = use the pixel"), ({"good": np.ones((4, 6), bool)}, ValueError, "good of"),
    ({"status": np.zeros((3, *SHAPE), np.int64)}, TypeError, "status must be unsigned"),
    ({"pedestal": np.zeros((3, *SHAPE), complex)}, TypeError, "float32, float64"),
    ({"pedestal": np.zeros((3, *SHAPE), np.float16)}, TypeError, "got float16"), ({"segments": (5, 8)}, ValueError, "ids of 2 panels"),
    ({"segments": (5,)}, ValueError, "ids of 2 panels"), ({"segments": (5, 5)}, ValueError, "ids of 2 panels"),
    ({"segments": ()}, ValueError, "ids of 2 panels"),
    ({"shape": (4, 6)}, ValueError, "as many axes"), ({"shape": (2, 0, 6)}, ValueError, "as many axes"), ({"cells": 17}, ValueError, "16 memory cells at most"),
    ({"cells": 2}, ValueError, r"must be \(3, 2, 2, 4, 6\)"), ({"planes": ("a", "a", "b")}, ValueError, "name them"),
    ({"flags": ""}, ValueError, "status needs flags"),
    ({"status": None}, ValueError, "flags needs status"), ({"units": {"gain": "ADU"}}, ValueError, "its unit is that of the words per what"),
    ({"units": {"gain": "keV/ADU"}}, ValueError, "take the reciprocal"), ({"units": {"pedestal": "keV"}}, ValueError, "pedestal must be in the words' unit"),
    ({"units": {"threshold": "ADU"}}, ValueError, "is not there"),
    ({"validity": (3, 2)}, ValueError, "in order"), ({"validity": (None, None)}, ValueError, "validity must be"),
    ({"validity": (1, datetime(2026, 1, 1))}, ValueError, "validity"),
    ({"validity": (True, None)}, ValueError, "validity"), ({"detector": "jungfrau"}, ValueError, "as many axes"),
    ({"detector": "jungfrau3M"}, ValueError, "unknown"),
])
def test_what_does_not_fit_is_refused(fields: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        replace(example(), **fields) if "units" in fields else replace(example(), units={}, **fields)


def test_an_empty_set_and_unnamed_planes_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one of pedestal"):
        Constants("jungfrau")
    with pytest.raises(ValueError, match=r"2 planes or \('FH'.*name them"):
        Constants("epix10ka", np.zeros((5, 352, 384)))
    assert Constants("epix10ka", np.zeros((5, 2, 3)), shape=(2, 3), planes=tuple("abcde")).planes == tuple("abcde")


def test_panels_are_chosen_by_id_not_by_place() -> None:
    c = example()
    assert c.segments == (5, 2)
    one, turned = c.select([2]), c.select((2, 5))
    for name, a in c.arrays.items():
        axis = a.ndim - 3
        assert np.array_equal(one.arrays[name], np.take(a, [1], axis)) and np.array_equal(turned.arrays[name], np.flip(a, axis))
    assert one.kind.ids == (2,) and one.kind.shape == (1, 4, 6) and same(turned.select((5, 2)), c)
    for wanted in ([0], [], [5, 5], [1, 2]):
        with pytest.raises(ValueError, match=r"segment ids of \(5, 2\)"):
            c.select(wanted)
    flat = Constants("jungfrau", np.zeros((3, 512, 1024)))
    assert flat.select([0]) is flat


def test_validity() -> None:
    c = example()
    assert [c.valid_for(run) for run in (11, 12, 10**9)] == [False, True, True]
    day = [datetime(2026, 3, d, tzinfo=UTC) for d in (1, 2, 3, 4)]
    c = example(validity=(day[1], day[2]))
    assert [c.valid_for(d) for d in day] == [False, True, True, False]
    with pytest.raises(TypeError, match="asked about 5"):
        c.valid_for(5)
    with pytest.raises(TypeError, match="valid from 12"):
        example().valid_for(day[0])
    assert example(validity=None).valid_for(5) and example(validity=(None, 4)).valid_for(4) and not example(validity=(None, 4)).valid_for(5)


# ---------------------------------------------------------------------------------------------------------------- the file
@pytest.mark.parametrize("fields", [
    {}, {"validity": (datetime(2026, 3, 1, 12, 30, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))}, {"notes": "", "source_runs": (), "validity": None},
    {"gain": None, "offset": None, "status": None, "flags": ""}, {"pedestal": np.full((3, *SHAPE), np.nan), "noise": np.full((3, *SHAPE), np.inf)},
    {"pedestal": np.ones((3, *SHAPE), ">f8")},
])
def test_a_file_gives_the_set_back(tmp_path: Path, fields: dict[str, Any]) -> None:
    c = example(**fields)
    c.save(tmp_path / "c.h5")
    assert same(load(tmp_path / "c.h5"), c) and [p.name for p in tmp_path.iterdir()] == ["c.h5"]
    assert same(load(tmp_path / "c.h5", "jungfrau4M", [2]), c.select([2])) and same(load(tmp_path / "c.h5", c.kind), c)


def test_thresholds_and_cells_in_a_file(tmp_path: Path) -> None:
    n = np.arange(3 * 5 * 12, dtype=np.float32).reshape(3, 5, 1, 3, 4)
    c = Constants("agipd1M", n, threshold=n[:2], cells=5, shape=(1, 3, 4), segments=(9,))
    c.save(tmp_path / "c.h5")
    back = load(tmp_path / "c.h5")
    assert same(back, c) and back.cells == 5 and back.threshold.shape == (2, 5, 1, 3, 4) and back.planes == ("high", "medium", "low")
    with h5py.File(tmp_path / "c.h5") as f:
        assert json.loads(f["threshold"].attrs["dims"]) == ["plane", "cell", "panel", "row", "col"]


def test_the_golden_file_is_read_for_ever(tmp_path: Path) -> None:
    """tests/golden/constants_1.h5.gz was written by example().save; another layout gets another file."""
    path = tmp_path / "golden.h5"
    path.write_bytes(gzip.decompress(GOLDEN.read_bytes()))
    assert same(load(path), example()) and load(path).digest.startswith("aeb12f220299c03f8fa65caa56f92df0")


def test_the_layout_is_what_is_documented(tmp_path: Path) -> None:
    """With h5py, json and hashlib alone, from the words in constants_file.py."""
    c = example()
    c.save(tmp_path / "c.h5")
    with h5py.File(tmp_path / "c.h5") as f:
        a = dict(f.attrs)
        assert (a["layout"], a["layout_version"], a["detector"]) == (b"gpuredux.constants", 1, b"jungfrau4M")
        assert a["convention"] == b"keV = (adc - pedestal - offset) / gain" and a["notes"].decode() == "µ and 電荷"
        assert a["segments"].tolist() == [5, 2] and a["shape"].tolist() == [2, 4, 6] and a["cells"] == 0
        assert json.loads(a["planes"]) == ["G0", "G1", "G2"] and json.loads(a["validity"]) == [12, None] and json.loads(a["source_runs"]) == ["xpp 7", "xpp 8"]
        assert f["gain"].attrs["units"] == b"ADU/keV" and json.loads(f["gain"].attrs["dims"]) == ["plane", "panel", "row", "col"]
        assert json.loads(f["good"].attrs["dims"]) == ["panel", "row", "col"] and f["status"].attrs["flags"] == b"NXmx"
        header = {k: a[k].decode() for k in ("detector", "convention", "made_by", "notes")}
        header |= {k: json.loads(a[k]) for k in ("planes", "source_runs", "validity")}
        header |= {"segments": [5, 2], "shape": [2, 4, 6], "cells": 0, "flags": "NXmx", "units": {n: f[n].attrs["units"].decode() for n in f}}
        sha = hashlib.sha256(json.dumps(header, sort_keys=True, ensure_ascii=False).encode())
        for name in ("pedestal", "gain", "noise", "offset", "status", "good"):
            sha.update(f"\n{name} {f[name].dtype.str} {f[name].shape}\n".encode() + f[name][()].tobytes())
        assert f["good"].dtype == "u1" and np.array_equal(f["good"][()], c.good) and sha.hexdigest().encode() == a["sha256"]


def test_no_file_is_replaced_or_left_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, c = tmp_path / "c.h5", example()
    c.save(path)
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        example(notes="new").save(path)
    with monkeypatch.context() as m:
        m.setattr(Path, "exists", lambda self: False)       # it appears between the look and the link
        with pytest.raises(FileExistsError, match="meanwhile"):
            example(notes="new").save(path)

    def broken(file: Any, header: Any, arrays: Any) -> None:
        file["pedestal"] = np.zeros(3)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as m:
        m.setattr(constants_file, "_fill", broken)
        with pytest.raises(OSError, match="No space"):
            example(notes="new").save(path, overwrite=True)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["c.h5"]
    example(notes="new").save(path, overwrite=True)
    assert load(path).notes == "new" and [p.name for p in tmp_path.iterdir()] == ["c.h5"]


def test_a_file_that_is_cut_short_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.h5"
    example().save(path)
    data = path.read_bytes()
    for size in sorted({0, 1, 7, 8, 100, *range(0, len(data) - 1, 61), len(data) - 1}):
        path.write_bytes(data[:size])
        with pytest.raises(ValueError, match=re.escape(str(path))):
            load(path)


def test_a_changed_byte_is_found_or_means_nothing(tmp_path: Path) -> None:
    """One bit in 23 bytes of values, metadata and padding: an error that names the file, or exactly the same set."""
    path, c = tmp_path / "c.h5", example()
    c.save(path)
    data = bytearray(path.read_bytes())
    found = 0
    for at in range(0, len(data), 23):
        old = data[at]
        data[at] ^= 1 << at % 8
        path.write_bytes(data)
        data[at] = old
        try:
            assert same(load(path), c), f"byte {at} of {len(data)} changed the set silently"
        except ValueError as e:
            assert str(path) in str(e)
            found += 1
    assert found > len(data) / 46


@pytest.mark.parametrize(("edit", "words"), [
    (lambda f: f["pedestal"].__setitem__((0, 0, 0, 0), 1), "content was changed"),
    (lambda f: f.attrs.__setitem__("layout_version", np.int64(2)), "has layout 2"),
    (lambda f: f.attrs.__setitem__("layout", np.bytes_(b"x")), "is no constants file"), (lambda f: f.attrs.__delitem__("notes"), "too many or missing: notes"),
    (lambda f: f.attrs.__setitem__("more", 1), "too many or missing: more"), (lambda f: f.__setitem__("extra", 1), "too many or missing: extra"),
    (lambda f: f.attrs.__setitem__("notes", np.bytes_(b"other")), "content was changed"),
    (lambda f: f["gain"].attrs.__setitem__("units", np.bytes_(b"keV/ADU")), "content was changed"),
    (lambda f: f["gain"].attrs.__setitem__("dims", np.bytes_(b"[]")), "has dims"), (lambda f: f.__delitem__("noise"), "content was changed"),
    (lambda f: f.attrs.__setitem__("planes", np.bytes_(b"[1")), "."), (lambda f: (f.__delitem__("noise"), f.create_group("noise")), "no array"),
    (lambda f: (f.__delitem__("noise"), f.create_dataset("noise", (10**9, 10**6), "f8")), "no array"),
    (lambda f: f.attrs.__setitem__("detector", 4), "must be text"),
])
def test_a_file_with_another_content_is_refused(tmp_path: Path, edit: Callable[[Any], Any], words: str) -> None:
    path = tmp_path / "c.h5"
    example().save(path)
    with h5py.File(path, "r+") as f:
        edit(f)
    with pytest.raises(ValueError, match=words) as e:
        load(path)
    assert str(path) in str(e.value)


def test_a_file_whose_words_are_not_ours_is_refused(tmp_path: Path) -> None:
    """The digest is right, the convention is not: another program's idea of gain."""
    c = example()
    constants_file.write(tmp_path / "c.h5", {**c.header, "convention": "keV = (adc - pedestal) * gain"}, c._stored(), False)
    with pytest.raises(ValueError, match=r"states the convention 'keV = \(adc - pedestal\) \* gain'"):
        load(tmp_path / "c.h5")
    constants_file.write(tmp_path / "d.h5", {**c.header, "segments": [1, 9]}, c._stored(), False)
    with pytest.raises(ValueError, match=r"d\.h5: .*ids of 2 panels"):
        load(tmp_path / "d.h5")


def test_what_is_asked_for_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "c.h5"
    example().save(path)
    with pytest.raises(ValueError, match=r"c\.h5: holds constants of 'jungfrau4M', not of 'jungfrau16M'"):
        load(path, "jungfrau16M")
    with pytest.raises(ValueError, match=r"c\.h5: .*of \(5, 2\), got \(2, 3\): no \[3\]"):
        load(path, segments=[2, 3])
    with pytest.raises(ValueError, match=r"c\.h5: .*no \[0, 1, 3, 4, 6, 7\]"):
        load(path, DETECTORS["jungfrau4M"])
    with pytest.raises(FileNotFoundError, match="no such file"):
        load(tmp_path / "none.h5")
    (tmp_path / "text.h5").write_text("pedestal: 3")
    with pytest.raises(ValueError, match="cannot be read as HDF5"):
        load(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as f:
        f["pedestal"] = np.zeros(3)
    with pytest.raises(ValueError, match="is no constants file of gpuredux"):
        load(tmp_path / "other.h5")


# ----------------------------------------------------------------------------------------------------------- to calib.Gain
def test_a_set_calibrates_by_its_convention() -> None:
    c = example()
    op = Gain(**c.to_gain(), status=True)
    rng = np.random.default_rng(1)
    raw = rng.integers(0, 0x3FFF, (5, *SHAPE), dtype=np.uint16) | rng.choice(np.array([0, 1, 3], np.uint16), (5, *SHAPE)) << 14
    energy, status = op(raw, backend="numpy")
    stage = np.array([0, 1, 9, 2])[raw >> 14]
    p, o, g = (np.choose(stage, a.astype(np.float64)) for a in (c.pedestal, c.offset, c.gain))
    used = np.broadcast_to(c.good, raw.shape) & (raw != 0xC000) & (raw != 0x4000)
    np.testing.assert_allclose(energy[used], (((raw & 0x3FFF) - p - o) / g)[used], rtol=1e-5, atol=1e-4)
    assert (status == Pixel.MASKED).sum() == 5 * (~c.good).sum() and (energy[stage > 0] < 0).any(), "negative gains of G1 and G2 are legitimate"


def test_status_bits_can_condemn_a_gain_stage() -> None:
    c = example()
    op = Gain(**c.to_gain(bad=("GAP",)), status=True)
    raw = np.full((1, *SHAPE), 0x4001, np.uint16)       # G1
    status = op(raw, backend="numpy")[1][0]
    assert np.array_equal(status == Pixel.BAD_CONSTANT, c.good & ((c.status[1] & 1) == 1)) and (c.gain != 0).all()
    with pytest.raises(ValueError, match="has no 'GAPS'; did you mean 'GAP'"):
        c.to_gain(bad=("GAPS",))
    with pytest.raises(ValueError, match="there is no status"):
        replace(c, status=None, flags="", units={}).to_gain(bad=("GAP",))
    with pytest.raises(ValueError, match="needs pedestal and gain; here are pedestal, good"):
        Constants("jungfrau1M", c.pedestal, good=c.good, shape=SHAPE).to_gain()


def test_a_gain_of_zero_is_not_silent() -> None:
    gain = example().gain.copy()
    gain[0, 0, 0, 1], gain[2, 1, 1, 2] = 0, np.nan
    c = example(gain=gain)
    with pytest.raises(ValueError, match="2 good pixels have a gain that is NaN, Inf or 0"):
        Gain(**c.to_gain())
    assert Gain(**c.to_gain(invalid="mask")).invalid == "mask"


def test_configured_gains_calibrate_as_each_word_asks() -> None:
    """ePix10ka from seven states to energy, each pixel by the table of its bits; pixels off or unknown are masked."""
    shape, rng = (3, 5, 8), np.random.default_rng(8)
    config = rng.choice(np.array([0, 8, 12, 4], np.uint8), shape, p=(0.4, 0.3, 0.2, 0.1))
    trbit = rng.integers(0, 2, shape)
    c = Constants("epix10kaquad", rng.normal(2500, 90, (7, *shape)), rng.normal(10, 2, (7, *shape)), status=np.ones((7, *shape), np.uint64), flags="Psana",
                  shape=shape, segments=(3, 0, 1), good=rng.random(shape) > 0.1)
    with pytest.raises(ValueError, match=r"7 gain states .* are not 2 planes: fold"):
        c.to_gain()
    with pytest.raises(ValueError, match="no gain state"):
        folding.fold_constants(c, config, trbit)
    folded = folding.fold_constants(c, config, trbit, unknown="mask")
    assert folded.planes == ("not switched", "switched") and folded.kind.ids == (3, 0, 1) and "folded" in folded.notes
    raw = rng.integers(0, 65536, (6, *shape), dtype=np.uint16)
    energy, status = Gain(**folded.to_gain(), status=True)(raw, backend="numpy")
    state = {0: ("AML_M", "AML_L"), 1: ("AHL_H", "AHL_L")}
    for at in np.ndindex(*raw.shape):
        code, pixel, word = int(config[at[1:]]), at[1:], int(raw[at])
        if code == 4 or not c.good[pixel]:
            assert status[at] == Pixel.MASKED and energy[at] == 0
            continue
        name = {8: "FL", 12: ("FM", "FH")[trbit[pixel]]}.get(code) or state[int(trbit[pixel])][bool(word & 0x4000)]
        k = ("FH", "FM", "FL", "AHL_H", "AML_M", "AHL_L", "AML_L").index(name)
        assert energy[at] == pytest.approx((word % 16384 - c.pedestal[(k, *pixel)]) / c.gain[(k, *pixel)], rel=1e-5, abs=1e-4)
    with pytest.raises(ValueError, match="the set's planes are"):
        folding.fold_constants(folded, config, trbit)


# ----------------------------------------------------------------------------------------------------------------- the flags
def test_the_names_of_nxmx_are_those_of_nexus() -> None:
    text = (Path(nexusformat.__file__).parent / "definitions" / "base_classes" / "NXdetector.nxdl.xml").read_text()
    said = {int(k): word.lower() for k, word in re.findall(r"\* bit (\d+): ([\w -]+)", text) if "undefined" not in word}
    ours = {bit.value.bit_length() - 1: bit.name.lower().replace("_", " ") for bit in flags.NXmx}
    assert set(said) == set(ours)
    for k, name in ours.items():
        assert name in said[k].replace("-", " ") or name == "cluster", (k, name, said[k])
    assert flags.bits(flags.USUAL["NXmx"], "NXmx") == sum(1 << k for k in said if k < 16), "NeXus: mask & 0xFFFF rejects"


def test_the_names_of_the_european_xfel() -> None:
    """In the order of their bits, from the public extra.calibration.BadPixels."""
    names = """OFFSET_OUT_OF_THRESHOLD NOISE_OUT_OF_THRESHOLD OFFSET_NOISE_EVAL_ERROR NO_DARK_DATA CI_GAIN_OF_OF_THRESHOLD CI_LINEAR_DEVIATION CI_EVAL_ERROR
        FF_GAIN_EVAL_ERROR FF_GAIN_DEVIATION FF_NO_ENTRIES CI2_EVAL_ERROR VALUE_IS_NAN VALUE_OUT_OF_RANGE GAIN_THRESHOLDING_ERROR DATA_STD_IS_ZERO
        ASIC_STD_BELOW_NOISE INTERPOLATED NOISY_ADC OVERSCAN NON_SENSITIVE NON_LIN_RESPONSE_REGION WRONG_GAIN_VALUE NON_STANDARD_SIZE""".split()
    assert [b.name for b in flags.BadPixels] == names and [b.value for b in flags.BadPixels] == [1 << k for k in range(23)]
    assert [int(b) for b in flags.Psana] == [1, 2, 4, 8, 16, 32, 64]
    assert "NON_STANDARD_SIZE" not in flags.USUAL["BadPixels"] and "VIRTUAL" not in flags.USUAL["NXmx"]


@pytest.mark.parametrize("dtype", ("u1", "u4", "i4", "i8", "u8"))
def test_good_pixels_are_chosen_flag_by_flag(dtype: str) -> None:
    mask = np.array([0, 2, 16, 18, 64], dtype)
    assert flags.good_from(mask, ("DEAD",), "NXmx").tolist() == [True, False, True, False, True]
    assert flags.good_from(mask, ("DEAD", "CLUSTER"), flags.NXmx).tolist() == [True, False, True, False, False]
    assert flags.good_from(mask, (), "NXmx").all()
    two = np.stack((mask, mask[::-1]))
    assert flags.good_from(two, ("DEAD",), "NXmx", over=1).tolist() == [True, False, True, False, True]
    assert flags.good_from(two[:, None], ["NOISY"], "NXmx", over=2).tolist() == [True, False, False, False, True]
    with pytest.raises(ValueError, match=r"bits \[5\] are set and have no name in NXmx"):
        flags.good_from(mask + np.array(32, dtype), ("DEAD",), "NXmx")
    odd = np.array([32, 2], dtype)
    assert flags.good_from(odd, ("DEAD",), "NXmx", unnamed="bad").tolist() == [False, False]
    assert flags.good_from(odd, ("DEAD",), "NXmx", unnamed="ignore").tolist() == [True, False]


def test_the_highest_bit_of_a_signed_mask() -> None:
    assert flags.good_from(np.array([-(2**31), 0], np.int32), ("VIRTUAL",), "NXmx").tolist() == [False, True]
    assert flags.good_from(np.array([2**31, 0], np.uint32), ("DEAD",), "NXmx").tolist() == [True, True]
    with pytest.raises(ValueError, match=r"bits \[63\]"):
        flags.good_from(np.array([2**63], np.uint64), ("DEAD",), "NXmx")


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: flags.good_from(np.zeros(3, int), ("DED",), "NXmx"), ValueError, "NXmx has no 'DED'; did you mean 'DEAD'"),
    (lambda: flags.good_from(np.zeros(3, int), ("noisy",), "NXmx"), ValueError, "did you mean 'NOISY'"),
    (lambda: flags.good_from(np.zeros(3, int), "DEAD", "NXmx"), TypeError, "one by one"),
    (lambda: flags.flags("badpixels"), ValueError, "did you mean 'BadPixels'"),
    (lambda: flags.good_from(np.zeros(3), ("DEAD",), "NXmx"), TypeError, "is of integers, got float64"),
    (lambda: flags.good_from(np.zeros(3, bool), ("DEAD",), "NXmx"), TypeError, "got bool"),
    (lambda: flags.good_from(np.zeros(3, int), (), "NXmx", over=1), ValueError, "over must be"),
    (lambda: flags.good_from(np.zeros(3, int), (), "NXmx", unnamed="x"), ValueError, "unnamed must be"),
])
def test_unknown_flags_are_refused(call: Callable[[], Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()
