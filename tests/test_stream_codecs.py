"""A run by every codec, and `verify: N`: chunks decoded again while it runs, a wrong one lost loudly. In this process: subprocesses are dear."""

from __future__ import annotations

from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - a stock reader: h5py finds the filters by this
import numpy as np
import pytest
from test_stream_kit import config, file_config, parts, raw_file, run, said

from gpuredux.compress import hdf5
from gpuredux.compress.codecs import CODECS
from gpuredux.stream.config import load
from gpuredux.stream.faults import ConfigError
from gpuredux.stream.journal import read_journal
from gpuredux.stream.recheck import WORDS, Recheck


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
