"""Stages features.* of a run: what the files hold, against the library in numpy, event by event. Over 200 lines: one subject."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - a stock reader: h5py finds the filter by this
import numpy as np
import pytest
from test_stream_kit import config, parts, raw_file, run, said
from typer.testing import CliRunner

from gpuredux import Chain, features
from gpuredux.calib import Gain
from gpuredux.calib.geometry import Geometry, Panel, write
from gpuredux.detectors import DETECTORS
from gpuredux.status import Frame
from gpuredux.stream.cli import app
from gpuredux.stream.session import prepare
from gpuredux.stream.stages import FEATURES

SHAPE, N = (24, 40), 21
RNG = np.random.default_rng(8)
RADIUS = np.hypot(*(np.indices(SHAPE) - np.array([11.5, 19.5])[:, None, None])).astype(np.float32)
TEXT = """\
version: 1
detectors:
  jf: {type: jungfrau, shape: [24, 40], pedestal: c.h5:/pedestal, gain: c.h5:/gain, good: c.h5:/good}
source: {type: hdf5, detector: jf, files: [a.h5], raw: /raw, pulse_id: /pulse_idVALUES}
stages:
STAGES
sink: {type: hdf5, path: out, part_frames: 6}
run: {batch: 8, slots: 2, backend: numba}
"""
GAIN = "  - {type: calib.gain, input: jf.raw}\n"
PEAKS = "  - {type: features.peak_finder8, radius: c.h5:/radius, adc_threshold: 30.0, min_snr: 4.0, min_pix: 1, max_num_peaks: 5}\n"
VETO = "  - {type: veto.lit_pixels, threshold: 100.0, min_lit: 2}\n"
CODES = "  - {type: compress.quantize, abs: 0.5}\n  - {type: compress.bitshuffle_lz4}\n"
RINGS = "rings: {geometry: x.geom, bins: 12, unit: r_mm}"
PEAK = {"radius": RADIUS, "adc_threshold": 30.0, "min_snr": 4.0, "min_pix": 1, "max_num_peaks": 5}


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with frames that have peaks, some of them none, with constants, and a geometry."""
    folder = tmp_path_factory.mktemp("features")
    adu = RNG.normal(0, 20, (N, *SHAPE))
    for f in range(N):
        for _ in range(f % 4 * 3):
            r, c = RNG.integers(2, SHAPE[0] - 2), RNG.integers(2, SHAPE[1] - 2)
            adu[f, r : r + 2, c] += 8000
    raw_file(folder / "a.h5", np.rint(adu + 2900).clip(1, 0x3FFE).astype(np.uint16), 1000 + 3 * np.arange(N))
    with h5py.File(folder / "a.h5", "r+") as f:
        f["delay"], f["i0"], f["wide"] = np.arange(N) % 4, RNG.uniform(0.5, 2, N), np.arange(N) - 1.5
        f["huge"], f["vast"] = np.full(N, 40000.0), np.full(N, 1e300)
    with h5py.File(folder / "c.h5", "w") as f:
        f["pedestal"], f["gain"] = np.full((3, *SHAPE), 2900, np.float32), np.full((3, *SHAPE), 41, np.float32)
        f["good"], f["radius"] = RNG.random(SHAPE) > 0.03, RADIUS
    write(Geometry([Panel("p0", np.array([-20e-4, -12e-4, 0.1]), np.array([1e-4, 0, 0]), np.array([0, 1e-4, 0]), SHAPE)]), folder / "x.geom")
    return folder


def started(there: Path, folder: Path, stages: str, values: str = "") -> Path:
    text = TEXT.replace("STAGES\n", stages).replace("VALUES", f", values: {{{values}}}" if values else "")
    for name in ("a.h5", "c.h5", "x.geom"):
        text = text.replace(name, str(there / name))
    return config(folder, text)


def library(there: Path, *ops: Any, keep: tuple[str, ...] | None = None, gain: bool = True) -> dict[str, np.ndarray]:
    """The same with the library: all frames at once, in numpy."""
    with h5py.File(there / "a.h5") as f, h5py.File(there / "c.h5") as c:
        first = Gain(c["pedestal"][...], c["gain"][...], good=c["good"][...], status=True, detector=DETECTORS["jungfrau"])
        chain = Chain([*([first] if gain else ()), *ops], keep=keep)
        more: dict[str, Any] = {"bin_index": f["delay"][...].astype(np.int32), "weight": f["i0"][...].astype(np.float32)}
        if not any(getattr(op, "weighted", False) for op in ops):
            del more["weight"]
        start = {k: v for op in ops if op.state for k, v in op.start(SHAPE, np.float32).items()}
        given = {k: v for k, v in {"raw": f["raw"][...], "pulse_id": f["pulse_id"][...].astype(np.uint64), **more, **start}.items() if k in chain.input_names}
        found = chain(**given, backend="numpy")
        return found._asdict() if hasattr(found, "_asdict") else {chain.writes[0]: found}


def lists(group: Any, name: str, thing: str) -> list[np.ndarray]:
    start = group[f"{thing}_start"][...]
    return [group[name][a:b] for a, b in pairwise(start)]


def whole(folder: Path, where: str) -> np.ndarray:
    return np.concatenate([h5py.File(p)[where][...] for p in parts(folder) if p.name.startswith("part")])


def test_tables_and_curves_beside_frames(there: Path, tmp_path: Path) -> None:
    """In front of a veto all events have a row, also those that it drops; lists hold what was found, and say how many there were."""
    stages = GAIN + PEAKS + "  - {type: features.azimuthal_integrate, error_model: poisson, " + RINGS + "}\n" + VETO + CODES
    summary = run(started(there, tmp_path, stages), tmp_path / "out")
    assert summary["exit"] == 0 and 0 < summary["account"]["vetoed"] < N
    peaks = library(there, features.PeakFinder8(**PEAK))
    assert 5 < peaks["peak_count"].max() and peaks["peak_count"].min() == 0       # more than fit, and none
    where, at = "entry/features/peak_finder8", 0
    for part in [p for p in parts(tmp_path / "out") if p.name.startswith("part")]:
        with h5py.File(part) as f:
            n = len(f["entry/events/pulse_id"])
            assert np.array_equal(f[f"{where}/pulse_id"][...], f["entry/events/pulse_id"][...])
            assert np.array_equal(f[f"{where}/peak_count"][...], peaks["peak_count"][at : at + n])
            for name in ("peak_row", "peak_col", "peak_total", "peak_snr", "peak_pixels"):
                for k, found in enumerate(lists(f[where], name, "peak")):
                    assert np.array_equal(found, peaks[name][at + k, : min(5, peaks["peak_count"][at + k])]), (name, at + k)
            at += n
    assert at == N
    energy, ring = energies(there), ring_of(there)
    signal = np.stack([np.bincount(ring[ring < 12], np.rint(e[ring < 12] * 256.0), 12) for e in energy])
    assert np.array_equal(whole(tmp_path / "out", "entry/features/azimuthal_integrate/sum_signal"), signal)
    with h5py.File(parts(tmp_path / "out")[-1]) as f:
        axis = f["entry/features/azimuthal_integrate/radial"]
        assert axis.attrs["units"] == "r_mm" and axis.shape == (12,)
    assert said(tmp_path / "out")[0] == 0


def energies(there: Path) -> np.ndarray:
    """(n, *frame) f32, calibrated by NumPy."""
    with h5py.File(there / "a.h5") as f:
        return ((f["raw"][...].astype(np.float32) - np.float32(2900)) * np.float32(1 / 41)).astype(np.float32)


def ring_of(there: Path) -> np.ndarray:
    """The ring of each pixel of x.geom, 12 where it is in none."""
    with h5py.File(there / "c.h5") as c:
        good = c["good"][...]
    rows, cols = np.indices(SHAPE) + 0.5
    radius = np.hypot(cols * 0.1 - 2, rows * 0.1 - 1.2)
    low, high = radius[good].min(), np.nextafter(radius[good].max(), np.inf)
    return np.where(good, np.minimum((radius - low) // ((high - low) / 12), 11), 12).astype(int)


def test_features_alone_behind_a_veto(there: Path, tmp_path: Path) -> None:
    """No frames are stored; behind a veto the kept events have a row, and a stage reads what another in front of the veto found."""
    stages = GAIN + PEAKS + VETO + "  - {type: features.region_sums, half: 2}\n  - {type: features.bin, size: [4, 4]}\n"
    summary = run(started(there, tmp_path, stages), tmp_path / "out")
    account = summary["account"]
    assert summary["exit"] == 0 and account["written"] + account["vetoed"] == N and account["vetoed"]
    found = library(there, features.PeakFinder8(**PEAK), features.RegionSums(half=2), features.Bin((4, 4)), keep=("peak_count", "region_sum", "binned"))
    ids, kept = whole(tmp_path / "out", "entry/events/pulse_id"), whole(tmp_path / "out", "entry/events/keep") != 0
    assert np.array_equal(whole(tmp_path / "out", "entry/features/bin/pulse_id"), ids[kept])
    assert np.array_equal(whole(tmp_path / "out", "entry/features/bin/binned"), found["binned"][kept])
    where, at = "entry/features/region_sums", np.flatnonzero(kept)
    for part in parts(tmp_path / "out"):
        with h5py.File(part) as f:
            assert np.array_equal(f["entry/features/peak_finder8/pulse_id"][...], f["entry/events/pulse_id"][...])      # of all events, dropped or kept
            for sums in lists(f[where], "region_sum", "peak"):
                assert np.array_equal(sums, found["region_sum"][at[0], : min(5, found["peak_count"][at[0]])])
                at = at[1:]
    assert not len(at)
    assert np.array_equal(whole(tmp_path / "out", "entry/features/peak_finder8/peak_count"), found["peak_count"])
    with h5py.File(parts(tmp_path / "out")[-1]) as f:
        assert "data" not in f["entry/data"]
    assert said(tmp_path / "out")[0] == 0


def test_a_cube_of_what_the_source_says(there: Path, tmp_path: Path) -> None:
    """States run on from batch to batch; the file is what the library makes of all events, and a change of a byte in it is seen."""
    stages = GAIN + "  - {type: features.cube, bins: [4], weighted: true, squares: true}\n  - {type: features.running, extremes: true}\n"
    summary = run(started(there, tmp_path, stages, "bin_index: /delay, weight: /i0"), tmp_path / "out")
    assert summary["exit"] == 0
    want = library(there, features.Cube((4,), weighted=True, squares=True), features.Running(extremes=True))
    with h5py.File(tmp_path / "out/accumulated.h5") as f:
        assert f["cube"].attrs["events"] == N and np.array_equal(f["cube/pulse_id"][...], 1000 + 3 * np.arange(N))
        for group, names in (("cube", ("cube_count", "cube_sum", "cube_sum2", "cube_weight")), ("running", ("running_sum", "running_extreme"))):
            for name in names:
                assert np.array_equal(f[group][name][...], want[name]), name
    energy, (delay, i0) = energies(there).astype(np.float64), (h5py.File(there / "a.h5")[k][...] for k in ("delay", "i0"))
    with h5py.File(tmp_path / "out/accumulated.h5") as f, h5py.File(there / "c.h5") as c:
        good = c["good"][...]
        for k in range(4):
            mean = f["cube/cube_sum"][k] / 256 / (f["cube/cube_weight"][k] / 2**16)
            assert np.allclose(mean[good], (energy[delay == k].sum(0) / i0[delay == k].sum())[good], rtol=1e-3, atol=0.01)
    assert said(tmp_path / "out")[0] == 0
    path = tmp_path / "out/accumulated.h5"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    code, words = said(tmp_path / "out")
    assert code == 3 and "accumulated.h5 is not the file that was written" in words


def test_behind_photons_and_through_a_callable(there: Path, tmp_path: Path) -> None:
    """What stands behind photons reads them, of the events that are kept; a callable of a module is a stage."""
    contrast = "  - {type: features.contrast, " + RINGS + "}\n"
    photons = "  - {type: calib.photons, photon_energy: 9.5, dtype: uint16}\n"
    hook = '  - {type: features.hook, call: "test_stream_kit:brightest", outputs: {brightest: [n, float32]}, version: one}\n'
    summary = run(started(there, tmp_path, GAIN + hook + VETO + photons + contrast + CODES.splitlines(True)[1]), tmp_path / "out")
    assert summary["exit"] == 0 and 0 < summary["account"]["vetoed"] < N
    kept = whole(tmp_path / "out", "entry/events/keep") != 0
    with h5py.File(there / "c.h5") as c:
        good = c["good"][...]
    energy = np.where(good, energies(there), 0)
    assert np.array_equal(whole(tmp_path / "out", "entry/features/hook/brightest"), energy.reshape(N, -1).max(1))
    counted, ring = np.floor(energy * np.float32(1 / 9.5) + np.float32(0.5)).astype(int), ring_of(there)
    want = [np.bincount(ring[ring < 12], np.clip(frame, 0, None)[ring < 12], 12) for frame in counted[kept]]
    assert np.array_equal(whole(tmp_path / "out", "entry/features/contrast/photon_sum"), want)
    assert said(tmp_path / "out")[0] == 0


MINIMAL: dict[str, str] = {      # of each feature: what must be said, and what stands in front of it
    "droplets": "threshold: 50.0, threshold_low: 20.0", "sigma_clip": RINGS, "azimuthal_integrate": RINGS + ", input: jf.raw",
    "peak_finder8": "radius: {geometry: x.geom}, adc_threshold: 50.0", "bin": "size: [2, 2]", "region_sums": "rectangles: [[0, 2, 3, 4, 5]]",
    "dwt": "wavelet: db2, levels: 2", "running": "extremes: true", "windows": "rectangles: [[0, 2, 3, 4, 5], [0, 0, 0, 3, 3]]",
    "projections": "rectangles: [[0, 0, 0, 24, 40]]", "cube": "bins: [4]", "idwt": "wavelet: db2, levels: 2, shape: [24, 40]", "dispersion": "gain: 1.5",
    "dispersion_extended": "gain: c.h5:/ones", "baseline": "input: jf.raw, stop: 9", "zero_suppress": "input: jf.raw, threshold: 20.0, cap: 4",
    "histogram": "low: 0.0, high: 200.0, bins: 20", "constant_fraction": "input: jf.raw, fraction: 0.5, delay: 3, threshold: 30.0, cap: 4",
    "edge": "input: jf.raw, weights: [-1.0, -1.0, 1.0, 1.0]", "lifting": "kind: \"9/7\", words: float32, levels: 1",
    "wavelet_threshold": "kind: soft, value: 3.0", "azimuthal_median": RINGS + ", normalisation: {geometry: x.geom, polarisation: 0.99}",
    "sparsify": RINGS, "densify": RINGS, "peak_finder_azimuthal": RINGS, "beam_centroid": "threshold: 5.0",
    "beam_centre": "guess: [11.5, 19.5], window: 4.0", "jet_streak": "geometry: x.geom, radius: [2.0, 11.0], half_width: 1.5",
    "radial_background": RINGS, "droplet_photons": "threshold: 50.0, threshold_low: 20.0, aduspphot: 50.0", "contrast": RINGS, "correlate": RINGS,
    "peak_finder_v3r3": "rank: 2", "peak_finder_v4r3": "rank: 2, thr_low: 20.0, thr_high: 50.0",
    "hook": "call: \"test_stream_kit:brightest\", outputs: {brightest: [n, float32]}, version: one",
}
IN_FRONT = {"idwt": "  - {type: features.dwt, wavelet: db2, levels: 2}\n", "wavelet_threshold": "  - {type: features.dwt, wavelet: db2, levels: 2}\n"}
IN_FRONT |= {"densify": "  - {type: features.sparsify, " + RINGS + "}\n", "radial_background": "  - {type: features.sigma_clip, " + RINGS + "}\n",
             "contrast": "  - {type: calib.photons, photon_energy: 9.5}\n"}
VALUES = {"cube": "bin_index: /delay"}


def test_the_example_is_fit_to_run() -> None:
    result = CliRunner().invoke(app, ["check", str(Path(__file__).parents[1] / "examples/features.yaml"), "--output", "no-such-folder"])
    assert result.exit_code == 0 and "no frames; features.azimuthal_integrate: intensity, sum_signal, pixels" in " ".join(result.output.split()), result.output


def test_each_feature_is_named_here() -> None:
    """A new one is a stage, too: it needs a line above."""
    assert {f"features.{k}" for k in MINIMAL} == set(FEATURES)


@pytest.mark.parametrize("name", MINIMAL)
def test_each_feature_is_a_stage(there: Path, tmp_path: Path, name: str) -> None:
    """It runs; its files hold, of every event, what the same operation makes of all frames at once in numpy."""
    fields, front = MINIMAL[name], IN_FRONT.get(name, "")
    gain = "" if "input: jf.raw" in fields and not front else GAIN
    with h5py.File(there / "ones.h5", "a") as f:
        f.require_dataset("ones", SHAPE, np.float32)[...] = 1
    behind = "  - {type: features.bin, size: [2, 2]}\n" if name in ("idwt", "radial_background") else ""        # of frames that they give anew
    stages = f"{gain}{front}  - {{type: features.{name}, {fields}}}\n{behind}".replace("c.h5:/ones", f"{there}/ones.h5:/ones")
    path = started(there, tmp_path, stages, VALUES.get(name, ""))
    document, _, source, pipeline = prepare(path, tmp_path / "out")
    ops = [op for op in pipeline.ops if op.name != "calib.gain"]
    stored = pipeline.features[-1].store or ()
    source.close()
    assert run(path, tmp_path / "out")["exit"] == 0 and said(tmp_path / "out")[0] == 0
    want = library(there, *ops, keep=(*stored, *pipeline.state), gain=bool(gain))
    if ops[-1].state:
        with h5py.File(tmp_path / "out/accumulated.h5") as f:
            assert all(np.array_equal(f[name][k][...], v) for k, v in want.items() if k in f[name]) and set(f[name]) <= {*want, "pulse_id"}
        return
    last = document.config.stages[-1].type.removeprefix("features.")
    lists = ops[-1].lists()
    assert stored and (last == name or behind)
    for key in stored:
        whole_of = whole(tmp_path / "out", f"entry/features/{last}/{key}")
        row = want[key] if key not in lists else np.concatenate([r[:k] for r, k in zip(want[key], want[lists[key]], strict=True)])
        assert whole_of.dtype == row.dtype and whole_of.shape == row.shape and whole_of.tobytes() == np.ascontiguousarray(row).tobytes(), key


def test_two_finders_and_the_peaks_of_one(there: Path, tmp_path: Path) -> None:
    """Each has its own group; what stands around peaks is counted by the finder in front of it, stored or not. A frame with too much in it says so."""
    stages = GAIN + PEAKS.replace("max_num_peaks: 5", "max_num_peaks: 5, store: []") + "  - {type: features.region_sums, half: 2, store: [region_sum]}\n" \
        + "  - {type: features.peak_finder_v3r3, rank: 2}\n  - {type: features.droplets, threshold: 50.0, threshold_low: 20.0, max_strong: 11}\n"
    run(started(there, tmp_path, stages), tmp_path / "out")
    found = library(there, features.PeakFinder8(**PEAK), features.RegionSums(half=2), keep=("region_sum", "peak_count"))
    other = library(there, features.PeakFinderV3r3(rank=2), keep=("peak_count",))
    assert np.array_equal(whole(tmp_path / "out", "entry/features/peak_finder_v3r3/peak_count"), other["peak_count"])
    sums = [r[: min(k, 5)] for r, k in zip(found["region_sum"], found["peak_count"], strict=True)]
    assert np.array_equal(whole(tmp_path / "out", "entry/features/region_sums/region_sum"), np.concatenate(sums)) and sum(map(len, sums))
    status = whole(tmp_path / "out", "entry/features/droplets/frame_status")
    assert np.array_equal(status & Frame.TOO_MANY != 0, whole(tmp_path / "out", "entry/features/droplets/strong_count") > 11) and 0 < (status != 0).sum() < N


def test_behind_a_veto_what_the_source_says(there: Path, tmp_path: Path) -> None:
    """A cube of hits: bins and weights move with their events. A state whose first axis is as long as a batch is no rows of events."""
    stages = GAIN + VETO + "  - {type: features.cube, bins: [4], weighted: true}\n  - {type: features.running}\n"
    path = started(there, tmp_path, stages, "bin_index: /delay, weight: /i0")
    path.write_text(path.read_text().replace("batch: 8", f"batch: {SHAPE[0]}"))
    run(path, tmp_path / "out")
    kept = whole(tmp_path / "out", "entry/events/keep") != 0
    with h5py.File(tmp_path / "out/accumulated.h5") as f, h5py.File(there / "a.h5") as a:
        assert np.array_equal(f["cube/pulse_id"][...], a["pulse_id"][...][kept]) and f["running"].attrs["events"] == kept.sum() < N
        assert np.array_equal(f["cube/cube_count"][...], np.bincount(a["delay"][...][kept], minlength=4))
        assert np.allclose(f["cube/cube_weight"][...] / 2**16, np.bincount(a["delay"][...][kept], a["i0"][...][kept], 4), atol=1e-3)
        with h5py.File(there / "c.h5") as c:
            assert np.array_equal(f["running/running_count"][...], np.where(c["good"][...], kept.sum(), 0))


def test_gaps_in_time_are_told(there: Path, tmp_path: Path) -> None:
    """A lag runs over a frame that is missing: the summary warns of it, and the file counts them."""
    path = started(there, tmp_path, GAIN + "  - {type: features.correlate, " + RINGS + "}\n")
    assert run(path, tmp_path / "out")["warnings"] == []
    with h5py.File(there / "a.h5") as f:
        ids = np.delete(f["pulse_id"][...], 7)
        raw_file(tmp_path / "b.h5", f["raw"][: N - 1], ids)
    path.write_text(path.read_text().replace(str(there / "a.h5"), str(tmp_path / "b.h5")))
    summary = run(path, tmp_path / "gap")
    assert "1 of 19 steps between pulse ids" in summary["warnings"][0]
    with h5py.File(tmp_path / "gap/accumulated.h5") as f:
        assert f["correlate"].attrs["gaps"] == 1


def test_what_is_made_of_binned_frames(there: Path, tmp_path: Path) -> None:
    """Their pixels have a status of their own, or none: that of the frames is of other pixels."""
    stages = GAIN + "  - {type: features.bin, size: [4, 4], status: true}\n  - {type: features.cube, bins: [4], input: binned, used: true}\n"
    run(started(there, tmp_path, stages, "bin_index: /delay"), tmp_path / "out")
    with h5py.File(there / "c.h5") as c, h5py.File(tmp_path / "out/accumulated.h5") as f:
        good = c["good"][...].reshape(6, 4, 10, 4).any(axis=(1, 3))
        binned = whole(tmp_path / "out", "entry/features/bin/binned")
        assert f["cube/cube_sum"].shape == (4, 6, 10) and np.array_equal(f["cube/cube_used"][...] > 0, np.broadcast_to(good, (4, 6, 10)))
        assert np.array_equal(f["cube/cube_sum"][1], np.rint(binned[1::4] * 256.0).sum(0))


def test_a_callable_that_ends_python_loses_no_event(there: Path, tmp_path: Path) -> None:
    stages = GAIN + '  - {type: features.hook, call: "test_stream_kit:leaves", outputs: {score: [n, float32]}, version: a}\n'
    summary = run(started(there, tmp_path, stages), tmp_path / "out")
    assert summary["exit"] == 3 and summary["closes"] and summary["account"]["failed"] > 0


def test_curves_of_one_name(there: Path, tmp_path: Path) -> None:
    """Two stages that give an array of the same name store both; a sector is another ring than the whole one."""
    stages = GAIN + "  - {type: features.sigma_clip, " + RINGS + "}\n  - {type: features.azimuthal_integrate, " + RINGS[:-1] + ", azimuth_range: [0, 90]}}\n"
    run(started(there, tmp_path, stages), tmp_path / "out")
    clipped, sector = (whole(tmp_path / "out", f"entry/features/{k}/pixels") for k in ("sigma_clip", "azimuthal_integrate"))
    assert 0.15 < sector.sum() / clipped.sum() < 0.35


@pytest.mark.parametrize("stages, values, words", [
    (GAIN + "  - {type: features.cube, bins: [4]}\n", "", "features.cube needs bin_index, which no stage in front of it gives"),
    (GAIN + "  - {type: features.cube, bins: [4]}\n", "bin_index: /wide", "source.values.bin_index: must be int32, got float64 with -1.5 at frame 0"),
    (GAIN + "  - {type: features.bin, size: [4, 4]}\n", "bin_index: /delay", "source.values.bin_index: is read by no stage"),
    (GAIN + "  - {type: features.windows, half: 2}\n", "", "features.windows"),
    (GAIN + PEAKS.replace("max_num_peaks: 5", "store: [peak_number]"), "", "to be stored, got peak_number"),
    (GAIN + "  - {type: features.running}\n  - {type: features.running, extremes: true}\n", "", "stands here twice, and has one state"),
    (GAIN + VETO + "  - {type: features.correlate, " + RINGS + "}\n", "", "needs the frames in their sequence"),
    (GAIN + "  - {type: features.cube, bins: [4], weighted: true}\n", "bin_index: /delay, weight: /huge", "must be 32768 at most, by features.cube's weight"),
    (GAIN + "  - {type: features.cube, bins: [4], weighted: true}\n", "bin_index: /delay, weight: /vast", "must be float32, got float64 with 1e+300"),
    (GAIN + "  - {type: features.bin, size: [4, 4], store: []}\n", "", "nothing would be stored"),
    (GAIN + PEAKS + "  - {type: calib.common_mode, bank: [12, 20]}\n", "", "make no pipeline"),
    (GAIN + '  - {type: features.hook, call: "test_stream_kit:brightest", outputs: {raw: [n, float32]}, version: a}\n', "", "gives raw anew"),
    (GAIN + '  - {type: features.hook, call: "numpy", outputs: {x: [n, float32]}, version: a}\n', "", "call: must be module:function"),
    (GAIN + "  - {type: calib.photons, photon_energy: 9.5, dtype: uint16}\n  - {type: features.droplet_photons, threshold: 50.0, threshold_low: 20.0, "
     "aduspphot: 50.0, input: energy}\n" + CODES.splitlines(True)[1], "", "gives photons anew"),
    (GAIN + "  - {type: features.region_sums, rectangles: [[0, 20, 2, 30, 4]]}\n", "", "is not within"),
    (GAIN + "  - {type: features.azimuthal_median, " + RINGS + ", normalisation: 1.0}\n", "", "stages[1].normalisation: must be"),
    (GAIN + "  - {type: features.peak_finder8, radius: {geometry: x.geom, bins: 9, unit: r_mm, split: full}, adc_threshold: 5.0}\n", "", "got SplitRings"),
    (GAIN + "  - {type: features.running}\n", "decision: /delay", "is the name of something that the run makes itself"),
    (GAIN + "  - {type: features.running}\n", "running_count: /delay", "is the name of something that the run makes itself"),
    (GAIN + "  - {type: features.peak_finder8, radius: {geometry: x.geom, unit: q_nm^-1}, adc_threshold: 5.0}\n", "", "goes with bins"),
    (GAIN + "  - {type: features.sigma_clip, rings: {geometry: no.geom, bins: 4}}\n", "", "no.geom: no such file"),
    (GAIN + "  - {type: features.sigma_clip, rings: {geometry: x.geom, bins: 4}}\n", "", "q needs a wavelength"),
    (GAIN + "  - {type: features.bin, size: [0, 4]}\n", "", "stages[1].size: must be (rows, columns)"),
    (CODES.splitlines(True)[1] + "  - {type: features.bin, size: [4, 4]}\n", "", "make no pipeline"),
    ("  - {type: features.bin, size: [4, 4]}\n" + GAIN, "", "make no pipeline"),
    ("  - {type: features.bin, size: [4, 4]}\n", "", "write 'input: jf.raw' for the raw words as they are"),
    (GAIN + "  - {type: features.dwt, wavelet: db2}\n  - {type: features.idwt, wavelet: db2, shape: [24, 40]}\n" + CODES, "", "gives energy anew"),
])
def test_faults_are_lines_with_a_place(there: Path, tmp_path: Path, stages: str, values: str, words: str) -> None:
    result = CliRunner().invoke(app, ["check", str(started(there, tmp_path, stages, values))])
    assert result.exit_code == 2 and words in result.output.replace(str(there), "").replace("\n", " "), result.output
    assert "run.yaml" in result.output and "Traceback" not in result.output
