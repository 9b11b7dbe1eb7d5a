"""A run by every codec, and `verify: N`: chunks decoded again while it runs, a wrong one lost loudly. In this process: subprocesses are dear."""

from __future__ import annotations

from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - a stock reader: h5py finds the filters by this
import numpy as np
import pytest
from test_stream_kit import BASE, SHAPE, config, file_config, parts, raw_file, run, said

from gpuredux.compress import Auto, hdf5
from gpuredux.compress.codecs import CODECS
from gpuredux.stream.config import load
from gpuredux.stream.faults import ConfigError
from gpuredux.stream.journal import read_journal
from gpuredux.stream.pipeline import Pipeline
from gpuredux.stream.recheck import BROKEN, WORDS, Recheck
from gpuredux.stream.session import prepare
from gpuredux.stream.slot import Slot


@pytest.fixture
def raw(tmp_path: Path) -> np.ndarray:
    """23 frames: counts, and noise that nothing shrinks."""
    rng = np.random.default_rng(4)
    x = rng.poisson(1.0, (23, 64, 128)).astype(np.uint16)
    x[5] = rng.integers(0, 1 << 14, x[5].shape)
    raw_file(tmp_path / "a.h5", x)
    return x


def by(path: Path, codec: str, more: str = "") -> Path:
    """A configuration with this codec, and more of `run`."""
    path.write_text(path.read_text().replace("compress.bitshuffle_lz4", f"compress.{codec}").replace("backend: numba}", f"backend: numba{more}}}"))
    return path


def read(folder: Path) -> np.ndarray:
    return np.concatenate([hdf5.read(p, "entry/data/data") for p in parts(folder)])


@pytest.mark.parametrize("codec", CODECS)
def test_words_by_every_codec(tmp_path: Path, raw: np.ndarray, codec: str) -> None:
    """Plain h5py, our reader and the command verify agree; one chunk in 4 was decoded again."""
    summary = run(by(file_config(tmp_path, tmp_path / "a.h5"), codec, ", verify: 4"))
    assert summary["exit"] == 0 and summary["verified"] == {"each": 4, "of": 23, "chunks": 6, "failed": 0}
    assert read(tmp_path / "out").tobytes() == raw.tobytes() and said(tmp_path / "out")[0] == 0
    stock = [h5py.File(p)["entry/data/data"][...] for p in parts(tmp_path / "out")]
    assert np.concatenate(stock).tobytes() == raw.tobytes()
    assert read_journal(tmp_path / "out").records[-1]["verified"] == summary["verified"]


@pytest.mark.parametrize("codec", ["bitshuffle_lz4", "auto"])
def test_codes_and_what_is_kept_raw(tmp_path: Path, codec: str) -> None:
    """Behind calibration, veto and quantiser: the same energies and raw words, whatever the codec."""
    found = {}
    for name in ("bitshuffle_zstd", codec):
        summary = run(by(config(tmp_path, path=f"out_{name}", backend="numba\n  verify: 3"), name))
        assert summary["exit"] == 0 and summary["verified"]["chunks"] == -(-summary["reduced"] // 3) > 0 and summary["unreduced"]
        folder = tmp_path / f"out_{name}"
        found[name] = (read(folder).tobytes(), [hdf5.read(p, "entry/unreduced/data").tobytes() for p in parts(folder)])
        assert said(folder)[0] == 0
    assert len(set(map(str, found.values()))) == 1


def test_a_wrong_chunk_is_lost_loudly(tmp_path: Path, raw: np.ndarray, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A codec that goes wrong in frames 8 and 12: their events fail, by their ids; the others are written, and the account closes."""
    holds = Recheck._holds

    def broken(self: Recheck, slot: object, row: int) -> bool:
        if slot.pulse_id[slot.source[row]] in (8, 12):      # type: ignore[attr-defined]
            slot.out["payload"][row, 40] ^= 4               # type: ignore[attr-defined]
        return holds(self, slot, row)       # type: ignore[arg-type]

    monkeypatch.setattr(Recheck, "_holds", broken)
    summary = run(by(file_config(tmp_path, tmp_path / "a.h5"), "shuffle_zstd", ", verify: 4"))
    account = summary["account"]
    assert summary["exit"] == 3 and (account["written"], account["failed"], account["seen"]) == (21, 2, 23) and summary["closes"]
    assert summary["verified"]["failed"] == 2 and summary["reason"].endswith(WORDS)
    assert WORDS in capsys.readouterr().err
    kept = np.delete(np.arange(23), [8, 12])
    assert read(tmp_path / "out").tobytes() == raw[kept].tobytes()
    ids = np.concatenate([h5py.File(p)["entry/events/pulse_id"][...] for p in parts(tmp_path / "out")])
    assert ids.tolist() == kept.tolist()
    lost = [r for r in read_journal(tmp_path / "out").records if r["kind"] == "lost"]
    assert [r["why"] for r in lost] == [f"verify: {WORDS}"] and lost[0]["outcome"] == "failed"


def test_keys_of_codecs_are_theirs(tmp_path: Path, raw: np.ndarray) -> None:
    """The profile of auto is one; others are refused, and so is a stage behind the codec."""
    path = file_config(tmp_path, tmp_path / "a.h5")
    text = path.read_text()
    path.write_text(text.replace("{type: compress.bitshuffle_lz4,", "{type: compress.auto, profile: no_plugin,"))
    assert run(path)["exit"] == 0 and read(tmp_path / "out").tobytes() == raw.tobytes()
    for old, new, match in (("{type: compress.bitshuffle_lz4,", "{type: compress.shuffle_zstd, level: 3,", "level"),
                            ("compress.bitshuffle_lz4, input: jf.raw}", "compress.auto, input: jf.raw}\n  - {type: compress.shuffle_zstd}", "make no pipeline"),
                            ("backend: numba", "backend: numba, verify: 0", "verify"), ("backend: numba", "backend: numba, verify: often", "verify")):
        path.write_text(text.replace(old, new))
        with pytest.raises(ConfigError, match=match):
            load(path)


def test_nothing_to_verify(tmp_path: Path, raw: np.ndarray) -> None:
    """Only a feature is stored: there are no chunks, and that is said before the run."""
    path = by(file_config(tmp_path, tmp_path / "a.h5"), "bitshuffle", ", verify: 4")
    path.write_text(path.read_text().replace("type: compress.bitshuffle", "type: features.bin, size: [4, 4]"))
    with pytest.raises(ConfigError, match="no chunks to be decoded again"):
        run(path)


# ---------------------------------------------------------------------------------------------------------- the bound of codes
LOSSY = {"abs": "abs: 0.5", "rel": "rel: 0.01", "few": "abs: 0.5\n    code: uint16\n    capacity: 40"}     # few: negative energies are outliers, too many


def marked(folder: Path) -> int:
    """Events that the parts call verified."""
    found = 0
    for part in parts(folder):
        with h5py.File(part) as f:
            found += int(f["entry/events/verified"][...].sum())
    return found


@pytest.mark.parametrize("mode", LOSSY)
def test_the_bound_is_held_while_it_runs(tmp_path: Path, mode: str) -> None:
    """Codes against energies made anew: counted in the summary, the journal and, by event, in the parts; frames that go without loss have no bound."""
    text = BASE.replace("abs: 0.5", LOSSY[mode]).replace("backend: numba", "backend: numba\n  verify: 3")
    summary = run(config(tmp_path, text))
    found = summary["verified"]
    bound = 0.01 if mode == "rel" else 0.5
    assert summary["exit"] == 0 and found["chunks"] == -(-summary["reduced"] // 3) > 0 and found["failed"] == found["broken"] == 0
    assert found["bounds"] == (0 if summary["lossless"] == summary["reduced"] else found["chunks"]) and found["bound"] == pytest.approx(bound)
    assert (mode == "few") != (0.9 * bound < found["largest_error"] <= found["bound"]), found
    assert marked(tmp_path / "out") == found["chunks"] and said(tmp_path / "out")[0] == 0
    assert read_journal(tmp_path / "out").records[-1]["verified"] == found


@pytest.mark.parametrize("wrong", ["energy", "noted", "masked", "lost"])
def test_a_broken_bound_is_lost_loudly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrong: str) -> None:
    """A quantiser off by a step, one that states too small an error, or masks or unmasks a pixel: the chunks are what was encoded, and yet these fail."""
    again, count = Pipeline._again, iter(range(1000))

    def off(self: Pipeline, slot: Slot, row: int) -> tuple[np.ndarray, np.ndarray]:
        energy, status = again(self, slot, row)
        if next(count) == 2:
            pixel = tuple(np.argwhere(status == 0)[7])
            if wrong == "energy":
                energy[pixel] += 1.01
            elif wrong == "masked":
                status[pixel] = 1
            elif wrong == "lost":
                pixel = tuple(np.argwhere(status != 0)[0])
                energy[pixel], status[pixel] = 1, 0
            else:
                slot.out["max_error"][row] /= 2
        return energy, status

    monkeypatch.setattr(Pipeline, "_again", off)
    summary = run(config(tmp_path, BASE.replace("backend: numba", "backend: numba\n  verify: 3")))
    found, account = summary["verified"], summary["account"]
    assert summary["exit"] == 3 and (found["failed"], found["broken"], account["failed"]) == (0, 1, 1) and summary["closes"]
    assert summary["reason"].endswith(f"of 1 of them {BROKEN}") and BROKEN in capsys.readouterr().err
    assert [r["why"] for r in read_journal(tmp_path / "out").records if r["kind"] == "lost"] == [f"verify: {BROKEN}"]
    assert marked(tmp_path / "out") == found["chunks"] - 1 and (found["largest_error"] is None) == (wrong == "lost")


@pytest.mark.parametrize("profile", ["small", "fast", "no_plugin"])
def test_auto_behind_the_fused_quantiser(tmp_path: Path, profile: str) -> None:
    """Chunks and filter masks are those of the separate operations, byte for byte."""
    codec = Auto(profile=profile)
    path = config(tmp_path, BASE.replace("type: compress.bitshuffle_lz4", f"type: compress.auto\n    profile: {profile}").replace("    raw_every: 7\n", ""))
    _, _, source, pipeline = prepare(path)
    raw, ids = np.zeros((60, *SHAPE), np.uint16), np.zeros(60, np.uint64)
    assert source.read(raw, ids, 60, {}).n == 60
    source.close()
    assert run(path)["exit"] == 0
    done = 0
    for part in parts(tmp_path / "out"):
        with h5py.File(part) as f:
            data = f["entry/data/data"]
            for i, pulse in enumerate(f["entry/data/pulse_id"][...].tolist()):
                at = int(np.flatnonzero(ids == pulse)[0])
                energy, status, *_ = pipeline.gain(raw[at : at + 1])
                made = codec(pipeline.quantize(energy, status).code)
                mask, chunk = data.id.read_direct_chunk((i, 0, 0))
                assert chunk == made.payload[0, : made.size[0]].tobytes() and mask == (made.filter_mask[0] if hasattr(made, "filter_mask") else 0)
                done += 1
    assert done > 10
