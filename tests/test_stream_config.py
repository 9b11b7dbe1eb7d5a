"""Every fault of a configuration is one line that says where and what; YAML means what YAML 1.2 says. Over 200 lines: one subject."""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import numpy as np
import pytest
from test_stream_kit import BASE, FILE, SHAPE, raw_file
from typer.testing import CliRunner

from gpuredux.compress.codecs import CODECS
from gpuredux.stream import dark_config, yaml12
from gpuredux.stream.cli import app
from gpuredux.stream.config import Config, parse
from gpuredux.stream.faults import ConfigError
from gpuredux.stream.session import prepare


def faults(text: str, folder: Path) -> list[str]:
    path = folder / "run.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        prepare(path)
    return [line.replace(str(path), "run.yaml").replace(str(folder), "DIR") for line in error.value.lines]


# (what is replaced in BASE, by what, the lines)
TABLE = [
    ("    threshold: 61.75", "    treshold: 61.75",
     ["run.yaml:18: stages[1].threshold: missing", "run.yaml:19: stages[1].treshold: unknown key; did you mean 'threshold'?"]),
    ("    min_lit: 20\n", "    min_lit: 20\n    min_lit: 21\n", ["run.yaml:21: stages[1].min_lit: duplicate key, first given in line 20"]),
    ("min_lit: 20", "min_lit: many", ["run.yaml:20: stages[1].min_lit: must be a valid integer, got 'many' (str)"]),
    ("min_lit: 20", "min_lit: 1e1", ["run.yaml:20: stages[1].min_lit: must be a valid integer, got 10.0 (float)"]),
    ("min_lit: 20", "min_lit: -3", ["run.yaml:20: stages[1].min_lit: must be 0 to 4294967295, got -3"]),
    ("threshold: 61.75", "threshold: '61.75'", ["run.yaml:19: stages[1].threshold: must be a valid number, got '61.75' (str)"]),
    ("type: calib.gain", "type: calib.gian", ["run.yaml:16: stages[0].type: unknown type 'calib.gian'; did you mean 'calib.gain'?"]),
    ("type: calib.gain\n    input: jf.raw", "input: jf.raw",
     ["run.yaml:16: stages[0].type: missing; choose from calib.gain, calib.counts, calib.polynomial, calib.breakpoint, calib.look_up, calib.common_mode, "
      "calib.scale, calib.variance, calib.stencil, calib.recursive, veto.lit_pixels, calib.photons, calib.shared_photons, calib.assemble, "
      "compress.quantize, compress.bitshuffle_lz4, compress.bitshuffle_zstd, compress.shuffle_zstd, compress.shuffle_deflate, compress.bitshuffle, "
      "compress.blosc_bitshuffle_lz4, compress.auto, features.*"]),
    ("input: jf.raw", "input: jff.raw", ["run.yaml:17: stages[0].input: 'jff.raw' is not what calib.gain can read here; did you mean 'jf.raw'?"]),
    ("    input: jf.raw\n", "", ["run.yaml:16: stages[0].input: missing: write 'input: jf.raw'"]),
    ("  detector: jf", "  detector: fj", ["run.yaml:11: source.detector: no detector 'fj'; choose from jf"]),
    ("type: jungfrau\n", "type: jungfrua\n", ["run.yaml:4: detectors.jf.type: unknown type 'jungfrua'; did you mean 'jungfrau'?"]),
    ("type: simulated", "type: simulation", ["run.yaml:10: source.type: unknown type 'simulation'; did you mean 'simulated'?"]),
    ("  type: hdf5", "  type: hdf", ["run.yaml:26: sink.type: unknown type 'hdf'; did you mean 'hdf5'?"]),
    ("backend: numba", "backend: numbo", ["run.yaml:32: run.backend: unknown 'numbo'; did you mean 'numba'?"]),
    ("version: 1", "version: 2", ["run.yaml:1: version: must be 1, got 2 (int)"]),
    ("version: 1\n", "", ["run.yaml:1: version: missing"]),
    ("batch: 16", "batch: 0", ["run.yaml:30: run.batch: must be at least 1, got 0 (int)"]),
    ("batch: 16", "batch: yes", ["run.yaml:30: run.batch: must be a valid integer, got 'yes' (str)"]),
    ("  path: out", "  path: out\n  overwrite: no", ["run.yaml:28: sink.overwrite: must be a valid boolean, got 'no' (str); write true or false"]),
    ("hit_fraction: 0.5", "hit_fraction: 1.5", ["run.yaml:9: source: hit_fraction must be 0 to 1, got 1.5"]),
    ("shape: [64, 128]", "shape: [64, 0]", ["run.yaml:5: detectors.jf.shape[1]: must be at least 1, got 0 (int)"]),
    ("shape: [64, 128]", "shape: 64", ["run.yaml:5: detectors.jf.shape: must be a list, got 64 (int)"]),
    ("    gain: simulated\n", "", ["run.yaml:3: detectors.jf.gain: missing: calib.gain needs it, as file.h5:/dataset or 'simulated'"]),
    ("gain: simulated", "gain: none.h5:/gain", ["run.yaml:7: detectors.jf.gain: none.h5: no such file"]),
    ("gain: simulated", "gain: none.h5", ["run.yaml:7: detectors.jf.gain: must be file.h5:/dataset or 'simulated', got 'none.h5'"]),
    ("gain: simulated", "gain: c.h5:/other", ["run.yaml:7: detectors.jf.gain: c.h5 has no dataset '/other'"]),
    ("gain: simulated", "gain: c.h5:/small", ["run.yaml:7: detectors.jf.gain: c.h5:/small must be numbers (3, 64, 128) for jungfrau, got float32 (3, 64, 64)"]),
    ("good: simulated", "good: c.h5:/small", ["run.yaml:8: detectors.jf.good: c.h5:/small must be bool (64, 128) for jungfrau, got float32 (3, 64, 64)"]),
    ("abs: 0.5", "abs: -1", ["run.yaml:23: stages[2].abs: must be ..."]),
    ("abs: 0.5", "abs: 0.5\n    code: int8", ["run.yaml:24: stages[2].code: must be one of int16, uint16, int32, got 'int8'"]),
    ("  - type: compress.quantize\n    abs: 0.5\n", "",
     ["run.yaml:22: stages[2].input: missing: write 'input: jf.raw' to pack the raw words as they are"]),
    ("    raw_every: 7\n", "    raw_every: 7\n    detector: jungfrau\n",
     ["run.yaml:22: stages[1].detector: unknown key; choose from type, input, threshold, min_lit, max_lit, raw_every, raw_stride"]),
    ("  slots: 3\n", "  slots: 3\n  device: 7\n", ["run.yaml:32: run.device: numba has 1 devices, counted from 0; got 7"]),
    ("sink:\n", "sinks:\n", ["run.yaml:1: sink: missing", "run.yaml:25: sinks: unknown key; did you mean 'sink'?"]),
    ("version: 1\n", "version: 1\n  x: [\n", ["run.yaml:2: not YAML: mapping values are not allowed here"]),
    ("version: 1\n", "version: !!python/object/apply:os.system ['true']\n",
     ["run.yaml:1: version: tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed here"]),
]


@pytest.mark.parametrize(("old", "new", "lines"), TABLE, ids=[t[1].strip().replace("\n", " ")[:40] or f"no {t[0].strip()[:30]}" for t in TABLE])
def test_message(tmp_path: Path, old: str, new: str, lines: list[str]) -> None:
    with h5py.File(tmp_path / "c.h5", "w") as f:
        f["small"] = np.ones((3, 64, 64), np.float32)
    assert BASE.count(old) >= 1
    said = faults(BASE.replace(old, new, 1), tmp_path)
    assert [a[: len(b) - 3] + "..." if b.endswith("...") else a for a, b in zip(said, lines, strict=True)] == lines


def test_all_faults_at_once(tmp_path: Path) -> None:
    text = BASE.replace("min_lit: 20", "min_lit: 2.5").replace("batch: 16", "batsh: 16").replace("abs: 0.5", "abs: half")
    assert [line.split(": ")[1] for line in faults(text, tmp_path)] == ["stages[1].min_lit", "stages[2].abs", "run.batsh"]


def test_order_of_stages(tmp_path: Path) -> None:
    text = BASE.replace("  - type: compress.quantize\n    abs: 0.5\n  - type: compress.bitshuffle_lz4\n", "  - type: compress.quantize\n    abs: 0.5\n")
    (line,) = faults(text, tmp_path)
    assert line.startswith("run.yaml:15: stages: calib.gain, veto.lit_pixels, compress.quantize make no pipeline; possible: a codec alone (")
    assert all(f"compress.{name}" in line for name in CODECS)


def test_source_files(tmp_path: Path) -> None:
    raw = np.zeros((4, *SHAPE), np.uint16)
    raw_file(tmp_path / "good.h5", raw, [1, 2, 3, 4])
    raw_file(tmp_path / "float.h5", raw.astype(np.float32))
    raw_file(tmp_path / "other.h5", raw[:, :8])
    raw_file(tmp_path / "short.h5", raw, [1, 2])
    raw_file(tmp_path / "negative.h5", raw, [1, 2, -3, 4])
    (tmp_path / "torn.h5").write_bytes((tmp_path / "good.h5").read_bytes()[:-4000])
    (tmp_path / "words.h5").write_text("no HDF5")

    def said(files: str, extra: str = "") -> list[str]:
        return faults(FILE.replace("SHAPE", str(list(SHAPE))).replace("FILES", files).replace("  raw: /raw\n", f"  raw: /raw\n{extra}"), tmp_path)

    assert said("[good.h5, none.h5]") == ["run.yaml:7: source.files[1]: none.h5: no such file"]
    assert said("[float.h5]") == ["run.yaml:8: source.raw: float.h5:/raw must be uint16 (n, rows, cols), got float32 (4, 64, 128)"]
    assert said("[good.h5, other.h5]") == ["run.yaml:8: source.raw: other.h5:/raw must be uint16 (n, 64, 128), got uint16 (4, 8, 128)"]
    assert said("[other.h5]") == ["run.yaml:3: detectors.jf.shape: jf is (64, 128), the source gives frames of (8, 128)"]
    (line,) = said("[short.h5]", "  pulse_id: /pulse_id\n")
    assert line == "run.yaml:9: source.pulse_id: short.h5:/pulse_id must be integers (4,), one for each frame, got int64 (2,)"
    assert said("[negative.h5]", "  pulse_id: /pulse_id\n") == ["run.yaml:9: source.pulse_id: negative.h5:/pulse_id has 1 negative ids"]
    assert said("[good.h5]", "  pulse_id: /ids\n") == ["run.yaml:9: source.pulse_id: good.h5 has no dataset '/ids'"]
    assert said("[]") == ["run.yaml:7: source.files: must not be empty"]
    for name in ("torn.h5", "words.h5"):
        (line,) = said(f"[{name}]")
        assert line.startswith(f"run.yaml:7: source.files[0]: {name}: cannot be opened as HDF5: "), line


def test_earlier_run_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "part_000000.h5").write_bytes(b"precious")
    (line,) = faults(BASE, tmp_path)
    assert line == ("run.yaml:27: sink.path: DIR/out holds an earlier run (part_000000.h5): choose another folder, or set sink.overwrite: true to replace it")
    assert (tmp_path / "out" / "part_000000.h5").read_bytes() == b"precious"


def test_yaml_core_schema() -> None:
    text = "a: no\nb: off\nc: 1e-3\nd: 0o17\ne: 017\nf: 12:30:00\ng: 0x1F\nh: [.inf, -.INF, .nan]\ni: ~\nj: 2024-01-01\nk: 1_000\nl: '1'\nm: +.5\nn: TRUE\n"
    value, lines = yaml12.load(text)
    assert math.isnan(value["h"].pop())
    assert value == {"a": "no", "b": "off", "c": 0.001, "d": 15, "e": 17, "f": "12:30:00", "g": 31, "h": [math.inf, -math.inf], "i": None, "j": "2024-01-01",
                     "k": "1_000", "l": "1", "m": 0.5, "n": True}
    assert lines["d",] == 4 and lines["h", 1] == 8


REFUSED = ["a: &x [*x]", "a: *none", "[" * 5000, "1: 2", "? [a]\n: 1", "a: 1\n---\nb: 2", "a: '\x01'", "a: !!int foo", "\t- x", "a: {b: 1, b: 2}"]


@pytest.mark.parametrize("text", REFUSED)
def test_yaml_refused(text: str) -> None:
    with pytest.raises(yaml12.YamlError):
        yaml12.load(text)


def test_alias_bomb_ends_soon() -> None:
    text = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
    with pytest.raises(yaml12.YamlError, match="100000"):
        yaml12.load(text)


def test_defaults_and_round_trip(tmp_path: Path) -> None:
    config = parse(BASE, "run.yaml", tmp_path).config
    assert Config.model_validate(config.model_dump(mode="python", exclude_unset=True) | {"stages": [s.model_dump() for s in config.stages]}) == config
    assert config.run.max_frames is None and not config.sink.overwrite


def test_command_line_has_no_tracebacks(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text(BASE.replace("threshold", "treshold"))
    for arguments in (["run", str(tmp_path / "bad.yaml")], ["check", str(tmp_path / "none.yaml")], ["check", str(tmp_path)], ["verify", str(tmp_path / "none")],
                      ["run"], ["walk"], ["run", "--frames", "3"]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 2, arguments
        assert result.exception is None or isinstance(result.exception, SystemExit)
        assert "Traceback" not in result.output


def test_check_says_what_a_run_would_do(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text(BASE)
    result = CliRunner().invoke(app, ["check", str(tmp_path / "run.yaml")])
    assert result.exit_code == 0, result.output
    for words in ("60 frames of (64, 128) uint16", "calib.gain -> veto.lit_pixels -> veto.compact -> calib.gain -> compress.quantize", "3 slots", "fit to run"):
        assert words in result.output
    assert not (tmp_path / "out").exists()


def test_examples(tmp_path: Path) -> None:
    """They parse as they stand; the simulated one is fit to run."""
    folder = Path(__file__).parents[1] / "examples"
    for path in sorted(folder.glob("*.yaml")):
        read = dark_config.parse if path.stem == "dark" else parse
        assert read(path.read_text(), path.name, tmp_path).config.version == 1
    result = CliRunner().invoke(app, ["check", str(folder / "simulated.yaml"), "--output", str(tmp_path / "run")])
    assert result.exit_code == 0 and "fit to run" in result.output, result.output


def test_a_configuration_of_another_command_is_known(tmp_path: Path) -> None:
    """One line, and not what it lacks; a fault in a configuration of the right kind is told as before."""
    (tmp_path / "dark.yaml").write_text((Path(__file__).parents[1] / "examples" / "dark.yaml").read_text())
    other = "looks like a configuration of gpuredux-stream"
    for command in ("check", "run"):
        shown = CliRunner().invoke(app, [command, str(tmp_path / "dark.yaml")])
        assert (shown.exit_code, shown.output) == (2, f"{tmp_path / 'dark.yaml'}: {other} dark (it has darks, output, estimator); that of gpuredux-stream run "
                                                      "and check has source, stages, sink\n")
    path = tmp_path / "run.yaml"
    path.write_text(BASE)
    shown = CliRunner().invoke(app, ["dark", str(path)])
    assert (shown.exit_code, shown.output) == (2, f"{path}: {other} run and check (it has source, stages, sink); that of gpuredux-stream dark "
                                                  "has darks, output, estimator\n")
    path.write_text(path.read_text().replace("sink:", "output:"))
    lines = CliRunner().invoke(app, ["check", str(path)]).output
    assert "sink: missing" in lines and "output: unknown key" in lines and other not in lines
