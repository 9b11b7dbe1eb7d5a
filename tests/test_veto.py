"""veto: lit pixels and compaction against plain NumPy, on every backend that runs here. Over 200 lines: two ops, alone and in chains."""

import pickle

import numpy as np
import pytest
from conftest import FOUND, NUMPY, Target

import gpuredux
from gpuredux import Chain
from gpuredux.calib import Gain
from gpuredux.veto import DECISION, Compact, LitPixels, Reason

FORCED = [Target(t.backend, t.backend.force_warp_tier(t.device, 3)) for t in FOUND if t.backend.name == "opencl" and t.device.warp == 2]
PLACES = [NUMPY, *FOUND, *FORCED]     # OpenCL also with the emulation of warps where there are sub-groups


@pytest.fixture(params=PLACES, ids=str)
def place(request):
    return request.param


def dirty(spec):
    """An output full of canaries."""
    return np.full(spec.nbytes, 0xA5, np.uint8).view(spec.dtype).reshape(spec.shape)


def run(op, place, **x):
    """The op on host arrays, with dirty outputs: {name: host array}."""
    given = {k: place.put(v) for k, v in x.items() if v is not None}
    plan = op.plan(**given, backend=place.backend.name)
    out = [place.put(dirty(s)) for s in plan.outs]
    plan(**given, out=tuple(out))
    return {s.name: place.get(a) for s, a in zip(plan.outs, out, strict=True)}


def same(a, b):
    assert a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def untouched(x, first):
    assert (x[first:].reshape(-1).view(np.uint8) == 0xA5).all()


# ------------------------------------------------------------------------------------------------------ lit pixels
def nasty_energy(n, frame, seed=0):
    rng = np.random.default_rng(seed)
    e = rng.normal(0, 1, (n, *frame)).astype(np.float32)
    flat = e.reshape(n, -1)
    odd = np.array([np.nan, np.inf, -np.inf, 1.0, np.nextafter(np.float32(1), np.float32(2)), 1e-45, -0.0, 3e38], np.float32)
    for f in range(n):
        at = rng.permutation(flat.shape[1])[: len(odd)]
        flat[f, at] = odd[: len(at)]
    return e


def plain_decision(energy, threshold, low, high, good=None, status=None, pulse=None, every=0, stride=1):
    out = np.zeros(len(energy), DECISION)
    for f, frame in enumerate(energy):
        score = 0
        for i, e in enumerate(frame.reshape(-1).tolist()):
            score += e > threshold and (good is None or good.reshape(-1)[i]) and (status is None or status[f].reshape(-1)[i] == 0)
        high_ = 2**32 if high is None else high
        reason = 1 if score < low else 2 if score > high_ else 0
        p = 0 if pulse is None else int(pulse[f])
        out[f] = (reason == 0, bool(every) and p % stride == 0 and (p // stride) % every == 0, reason, score)
    return out


@pytest.mark.parametrize("frame", [(16, 64), (3, 8, 50), (7, 13), (1, 1), (37, 128)])
@pytest.mark.parametrize("options", ["bare", "good", "status", "all"])
def test_lit_pixels_counts_like_a_loop(place, frame, options):
    n, rng = 19, np.random.default_rng(1)
    energy = nasty_energy(n, frame)
    good = rng.random(frame) < 0.8 if options in ("good", "all") else None
    status = rng.choice(np.array([0, 0, 1, 2, 8, 128], np.uint8), (n, *frame)) if options in ("status", "all") else None
    pulse = np.arange(n, dtype=np.uint64) * 5 + np.uint64(2**63)
    area = int(np.prod(frame))
    low, high = area // 8, None if options == "bare" else area // 6
    op = LitPixels(1.0, low, high, good, raw_every=3 if options == "all" else 0, raw_stride=10)
    got = run(op, place, energy=energy, pixel_status=status, pulse_id=pulse if options == "all" else None)["decision"]
    expect = plain_decision(energy, 1.0, low, high, good, status, pulse, op.raw_every, 10)
    same(got.view(DECISION)[:, 0], expect)


def test_lit_pixels_limits_are_inclusive_and_strictness_holds(place):
    energy = np.zeros((5, 4, 8), np.float32)
    for f in range(5):
        energy[f].reshape(-1)[: f + 1] = 2.0
        energy[f].reshape(-1)[20:] = 1.0                    # equal to the threshold: not lit
    records = run(LitPixels(1.0, 2, 4), place, energy=energy)["decision"].view(DECISION)[:, 0]
    assert records["reason"].tolist() == [Reason.TOO_FEW, 0, 0, 0, Reason.TOO_MANY]
    assert records["keep"].tolist() == [0, 1, 1, 1, 0] and records["score"].tolist() == [1, 2, 3, 4, 5]
    assert not records["raw"].any()


def test_lit_pixels_subnormals_and_negative_thresholds(place):
    energy = np.array([[[1e-45, 0.0, -0.0, -1e-45, -1.0, -np.inf, np.nan, 1e-40]]], np.float32)
    assert run(LitPixels(0.0, 0), place, energy=energy)["decision"].view(DECISION)["score"].tolist() == [[2.0]]
    assert run(LitPixels(-1.0, 0), place, energy=energy)["decision"].view(DECISION)["score"].tolist() == [[5.0]]


def test_a_full_bright_frame(place):
    """Every lane, every byte of the local counts and every tile at its largest."""
    energy = np.full((17, 66, 1024), 9.0, np.float32)
    d = run(LitPixels(1.0, 66 * 1024, 66 * 1024), place, energy=energy)["decision"].view(DECISION)
    assert (d["keep"] == 1).all() and (d["score"] == 66 * 1024).all()


@pytest.mark.parametrize("live", [0, 1, 16, 18, 99, -3])
def test_lit_pixels_live_rows(place, live):
    energy = nasty_energy(19, (16, 64))
    rows = min(max(live, 0), 19)
    energy[rows:] = np.nan
    status = np.full(19, 7, np.uint32)
    got = run(LitPixels(1.0, 100), place, energy=energy, frame_status=status, live=np.array([live], np.int32))
    same(got["decision"][:rows].view(DECISION)[:, 0], plain_decision(energy[:rows], 1.0, 100, None))
    untouched(got["decision"], rows)
    untouched(got["frame_status"], rows)
    assert (got["frame_status"][:rows] == 7).all()


def test_lit_pixels_empty(place):
    d = run(LitPixels(1.0, 1), place, energy=np.zeros((0, 8, 16), np.float32), frame_status=np.zeros(0, np.uint32))
    assert d["decision"].shape == (0, 4)
    d = run(LitPixels(1.0, 1), place, energy=np.zeros((3, 0, 16), np.float32))["decision"].view(DECISION)
    assert (d["reason"] == 1).all() and (d["score"] == 0).all()


def test_lit_pixels_refuses():
    e = np.zeros((2, 4, 4), np.float32)
    with pytest.raises(ValueError, match=r"veto.lit_pixels: raw_every=3 needs the input pulse_id"):
        LitPixels(1, 1, raw_every=3)(e)
    for wrong in ({"threshold": np.nan}, {"threshold": 1e39}, {"min_lit": -1}, {"max_lit": 0}, {"raw_stride": 0}, {"raw_every": -1}, {"good": np.ones((4, 4))}):
        with pytest.raises(ValueError, match=f"veto.lit_pixels: {next(iter(wrong))} must be"):
            LitPixels(**{"threshold": 1, "min_lit": 1, **wrong})
    with pytest.raises(TypeError):
        LitPixels(1, 1.5)
    with pytest.raises(TypeError, match="energy must be float32"):
        LitPixels(1, 1)(e.astype(np.float64))
    with pytest.raises(ValueError, match="energy must be float32"):
        LitPixels(1, 1, good=np.ones((5, 4), bool))(e)
    with pytest.raises(ValueError, match="pixel_status must be uint8"):
        LitPixels(1, 1)(e, pixel_status=np.zeros((2, 4, 5), np.uint8))
    with pytest.raises(TypeError, match="pulse_id must be uint64"):
        LitPixels(1, 1)(e, pulse_id=np.zeros(2, np.int64))


# ------------------------------------------------------------------------------------------------------ compact
def decisions(n, seed=0, share=0.4):
    rng = np.random.default_rng(seed)
    d = np.zeros((n, 4), np.int32)
    d[:, 0] = rng.random(n) < share
    d[:, 1] = rng.random(n) < 0.2
    d[::7, 0] *= -5                                         # not 0 is what counts
    return d


@pytest.mark.parametrize("by", ["keep", "raw", "any"])
@pytest.mark.parametrize("n", [1, 31, 128, 300])
def test_compact_moves_the_chosen_rows(place, by, n):
    d, rng = decisions(n), np.random.default_rng(2)
    words = {name: rng.integers(0, 2**63, (n, *row), np.uint64) for name, row in {"pulse_id": (), "long": (3, 701)}.items()}
    narrow = {name: rng.integers(0, 256, (n, *row), np.uint8) for name, row in {"byte": (3, 11), "odd": (4099,)}.items()}
    x = {
        "raw": rng.integers(0, 65536, (n, 4, 24), np.uint16), "pair": rng.integers(0, 65536, (n, 5), np.uint16), "half": rng.random((n, 3)).astype(np.float16),
        "big": rng.random((n, 2, 1032)), "flag": rng.random(n) < 0.5, "record": d.view(DECISION), "none": np.zeros((n, 0), np.float32), **words, **narrow,
    }
    status = rng.integers(0, 2**32, n, np.uint32)
    chosen = {"keep": d[:, 0] != 0, "raw": d[:, 1] != 0, "any": (d[:, 0] != 0) | (d[:, 1] != 0)}[by]
    got = run(Compact(tuple(x), by), place, decision=d, frame_status=status, **x)
    k = int(chosen.sum())
    assert got["live"].tolist() == [k] and got["live"].dtype == np.int32
    same(got["source"][:k], np.flatnonzero(chosen).astype(np.int32))
    for name, a in {**x, "frame_status": status}.items():
        same(got[name][:k], a[chosen])
        untouched(got[name], k)
    untouched(got["source"], k)


@pytest.mark.parametrize("live", [0, 5, 130, 131, 400, -1])
def test_compact_reads_live_rows_only(place, live):
    d = decisions(260)
    rows = min(max(live, 0), 260)
    d[rows:] = 1
    raw = np.arange(260 * 16, dtype=np.uint16).reshape(260, 16)
    got = run(Compact(), place, decision=d, raw=raw, live=np.array([live], np.int32))
    chosen = np.flatnonzero(d[:rows, 0])
    assert got["live"].tolist() == [len(chosen)]
    same(got["raw"][: len(chosen)], raw[chosen])
    untouched(got["raw"], len(chosen))
    untouched(got["source"], len(chosen))


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_compact_all_or_none(place, share):
    d, raw = decisions(40, share=share), np.arange(40 * 2048, dtype=np.uint32).reshape(40, 2048)
    got = run(Compact(), place, decision=d, raw=raw)
    k = 40 if share else 0
    assert got["live"].tolist() == [k]
    same(got["raw"][:k], raw[:k])
    untouched(got["raw"], k)


def test_compact_empty(place):
    got = run(Compact(("raw", "pulse_id")), place, decision=np.zeros((0, 4), np.int32), raw=np.zeros((0, 8), np.uint16), pulse_id=np.zeros(0, np.uint64))
    assert got["live"].tolist() == [0] and got["raw"].shape == (0, 8)
    got = run(Compact(()), place, decision=decisions(9))
    assert got["live"].tolist() == [int((decisions(9)[:, 0] != 0).sum())]


def test_compact_refuses():
    for names in (("raw", "raw"), ("decision",), ("live",), ("a b",)):
        with pytest.raises(ValueError, match=r"veto.compact: names must be"):
            Compact(names)
    with pytest.raises(ValueError, match=r"by must be keep, raw, any, got 'all'"):
        Compact(by="all")
    d = np.zeros((2, 4), np.int32)
    with pytest.raises(ValueError, match=r"raw must be \(2, ...\) like decision, got \(3, 4\)"):
        Compact()(d, np.zeros((3, 4)))
    with pytest.raises(TypeError, match="raw must hold plain bytes"):
        Compact()(d, np.zeros((2, 4), object))
    with pytest.raises(TypeError, match="decision must be int32"):
        Compact()(d.astype(np.int64), np.zeros((2, 4)))
    with pytest.raises(TypeError, match="input 'raw' is missing"):
        Compact()(d)
    with pytest.raises(TypeError, match=r"veto.compact has no inverse"):
        Compact().inverse()


def test_pickled_ops_keep_their_wiring():
    op = pickle.loads(pickle.dumps(Compact(("energy", "pulse_id"), "any")))
    assert op.inputs == ("decision", "energy", "pulse_id", "frame_status?", "live?") and op.writes == ("energy", "pulse_id", "source", "live")
    chain = Chain([LitPixels(1.0, 1), op])
    assert pickle.loads(pickle.dumps(chain)).inputs == chain.inputs == ("energy", "pixel_status?", "pulse_id", "frame_status?", "live?")
    assert op.digest() == Compact(("energy", "pulse_id"), "any").digest() != Compact(("energy", "pulse_id")).digest()


# ------------------------------------------------------------------------------------------------------ in chains
FRAME = (24, 64)


def detector(seed=3):
    """Constants, good and raw frames of a small Jungfrau: every third frame has a bright patch in G1."""
    rng = np.random.default_rng(seed)
    pedestal = np.stack([rng.normal(m, 30, FRAME) for m in (2900, 14500, 14800)]).astype(np.float32)
    slope = np.stack([rng.normal(m, abs(m) / 50, FRAME) for m in (41, -1.4, -0.1)]).astype(np.float32)
    raw = np.rint(pedestal[0] + rng.normal(0, 20, (20, *FRAME))).astype(np.uint16)
    raw[::3, 4:9, 4:14] = 0x4000 * 1 + 13500
    raw[1, 0, :5] = (0xC000, 0xFFFF, 0x8001, 0x4000, 0xC001)
    raw[3, 0, :3] = 0xFFFF
    return pedestal, slope, rng.random(FRAME) < 0.97, raw


@pytest.mark.parametrize("status", [True, False])
@pytest.mark.parametrize("bad_value", [0.0, np.nan])
@pytest.mark.parametrize("threshold", [5.0, -1.0])
def test_fused_equals_unfused(place, status, bad_value, threshold):
    """Gain + LitPixels in one pass, bit for bit the two alone, also where bad pixels would be lit (threshold < 0)."""
    pedestal, slope, good, raw = detector()
    first = Gain(pedestal, slope, good, bad_value=bad_value, status=status)
    flags = np.full(len(raw), 1 << 8, np.uint32)
    middle = run(first, NUMPY, raw=raw, frame_status=flags)
    veto = LitPixels(threshold, 40, good=good if threshold > 0 else None)
    expect = run(veto, NUMPY, energy=middle["energy"], pixel_status=middle.get("pixel_status"), frame_status=middle["frame_status"])
    got = run(Chain([first, veto]), place, raw=raw, frame_status=flags)
    assert set(got) - {"pixel_status"} == {"decision", "frame_status"}
    same(got["decision"], expect["decision"])
    same(got["frame_status"], expect["frame_status"])
    assert got["frame_status"][1] == (1 << 8 | 7) and got["decision"].view(DECISION)["keep"].sum() >= 7
    plan = Chain([first, veto], keep=("decision", "frame_status")).plan(raw=place.put(raw), frame_status=place.put(flags), backend=place.backend.name)
    names = [p.ops for p in plan.passes]
    assert names == (["calib.gain + veto.lit_pixels"] if place.backend.kernels else ["calib.gain", "veto.lit_pixels"])


def reduction(pedestal, slope, good, later, keep=("energy", "raw", "pulse_id", "source", "live", "decision", "frame_status")):
    """Calibrate, veto, drop, and calibrate what is left with other constants."""
    steps = [Gain(pedestal, slope, good, status=True), LitPixels(5.0, 40, raw_every=2, raw_stride=3), Compact(("raw", "pulse_id"))]
    return Chain([*steps, Gain(later, slope, good)], keep=keep)


def test_vetoed_frames_cost_no_further_work(place):
    """Rows at or beyond live are neither written nor read after the compaction, and all backends agree byte for byte."""
    pedestal, slope, good, raw = detector()
    pulse = np.arange(len(raw), dtype=np.uint64) * 3 + 600
    chain = reduction(pedestal, slope, good, pedestal + 1)
    got = run(chain, place, raw=raw, pulse_id=pulse, frame_status=np.zeros(len(raw), np.uint32))
    energy = run(Gain(pedestal, slope, good, status=True), NUMPY, raw=raw)
    expect = plain_decision(energy["energy"], 5.0, 40, None, status=energy["pixel_status"], pulse=pulse, every=2, stride=3)
    same(got["decision"].view(DECISION)[:, 0], expect)
    chosen = np.flatnonzero(expect["keep"])
    k = len(chosen)
    assert got["live"].tolist() == [k] == [7]
    same(got["source"][:k], chosen.astype(np.int32))
    same(got["raw"][:k], raw[chosen])
    same(got["pulse_id"][:k], pulse[chosen])
    same(got["energy"][:k], run(Gain(pedestal + 1, slope, good), NUMPY, raw=raw[chosen])["energy"])
    same(got["frame_status"][:k], np.array([0, 4, 0, 0, 0, 0, 0], np.uint32))
    for name in ("energy", "raw", "pulse_id", "source", "frame_status"):
        untouched(got[name], k)


def test_chain_with_short_last_batch(place):
    """The same plan with live: what lies behind the real rows is never looked at, whatever it holds."""
    pedestal, slope, good, raw = detector()
    pulse = np.arange(len(raw), dtype=np.uint64)
    chain = reduction(pedestal, slope, good, pedestal)
    raw[10:] = 0x4000 + 13500                               # frames that would be kept
    got = run(chain, place, raw=raw, pulse_id=pulse, live=np.array([10], np.int32))
    assert got["live"].tolist() == [4] and got["source"][:4].tolist() == [0, 3, 6, 9]
    untouched(got["decision"], 10)
    untouched(got["energy"], 4)


def test_what_was_not_compacted_is_not_mixed_in():
    """After a compaction the old rows of an array that stayed behind would meet the new ones: refused, and named."""
    pedestal, slope, good, raw = detector()
    chain = Chain([Gain(pedestal, slope, good), LitPixels(5.0, 40), Compact(("raw",)), LitPixels(7.0, 40)])
    with pytest.raises(ValueError, match=r"chain: veto.lit_pixels reads energy from before veto.compact moved the rows; .*'energy'"):
        chain(raw)
    both = Chain([Gain(pedestal, slope, good), LitPixels(5.0, 40), Compact(("raw", "energy")), LitPixels(7.0, 40)], keep=("decision", "live"))
    out = both(raw)
    assert out.live.tolist() == [7]


def test_catalogue():
    assert gpuredux.OPS["veto.lit_pixels"] is LitPixels and gpuredux.OPS["veto.compact"] is Compact
