"""README is true: its example runs, its table is what the code says. `python tests/test_readme.py` writes the table."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np

import gpuredux
from gpuredux.calib import Constants, geometry
from gpuredux.calib.geometry import Geometry, Panel
from gpuredux.op import Op

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- table: written by `python tests/test_readme.py`, checked by the tests -->\n", "<!-- /table -->"


def cuda_runs() -> dict[str, str]:
    """Op name -> devices on which a committed benchmark ran it through cupy."""
    ran: dict[str, set[str]] = {}
    for path in sorted((ROOT / "bench" / "results").glob("*.csv")):
        with path.open() as lines:
            for row in csv.DictReader(line for line in lines if not line.startswith("#")):
                if row.get("backend") == "cupy" and row["ok"] == "True":
                    ran.setdefault(row["op"], set()).add(path.stem)
    return {op: ", ".join(sorted(devices)) for op, devices in ran.items()}


def table() -> str:
    rows = ["| op | what | numpy | numba | opencl | cupy |", "|---|---|---|---|---|---|"]
    ran = cuda_runs()
    for name, op in sorted(gpuredux.OPS.items()):
        what = (op.__doc__ or "").strip().splitlines()[0].replace("|", "\\|")
        has = {impl: getattr(op, impl) is not getattr(Op, impl) for impl in ("numpy", "numba", "device")}
        cuda = ran.get(name, "compiled, not run") if has["device"] else "-"
        cells = ["specification" if has["numpy"] else "-", "tested" if has["numba"] else "-", "tested" if has["device"] else "-", cuda]
        rows.append(f"| `{name}` | {what} | " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def test_table_is_what_the_code_says():
    text = README.read_text()
    assert text[text.index(BEGIN) + len(BEGIN) : text.index(END)] == table(), "run: python tests/test_readme.py"


def test_example_runs(tmp_path):
    code = re.search(r"<!-- example.*?-->\n```python\n(.*?)```", README.read_text(), re.S).group(1)
    assert len(code.strip().splitlines()) <= 12
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert 0 < float(done.stdout) <= 0.25


def four_megapixels(path):
    """A geometry of flat panels, two beside each other, four below; their shape."""
    shape, pixel = (8, 512, 1024), 75e-6
    corner = [np.array([k % 2 * 1040.0, k // 2 * 530.0, 0]) * pixel + np.array([0, 0, 0.2]) for k in range(8)]
    panels = [Panel(f"p{k}", c, np.array([pixel, 0, 0]), np.array([0, pixel, 0]), shape[1:], segment=k) for k, c in enumerate(corner)]
    geometry.write(Geometry(panels), path)
    return shape


def test_the_calibration_runs(tmp_path):
    """On a 4M of flat panels: 25 ADU/keV, two photons of 12.4 keV everywhere, banks up to 40 ADU off."""
    code = re.search(r"<!-- calibration.*?-->\n```python\n(.*?)```", README.read_text(), re.S).group(1)
    shape = four_megapixels(tmp_path / "jungfrau4M.geom")
    ones = np.ones((3, *shape), np.float32)
    Constants("jungfrau4M", pedestal=ones * 3000, gain=ones * 25).save(tmp_path / "run7-constants.h5")
    rng = np.random.default_rng(1)
    offset, lit = rng.integers(-40, 40, (8, 2, 1, 16, 1)), rng.random((2, 256, 16, 64)) < 1 / 16
    raw = (3000 + offset + 620 * lit).reshape(1, *shape).astype(np.uint16)
    np.save(tmp_path / "raw.npy", raw)
    code = f"import numpy as np\nraw = np.load('raw.npy')\n{code}\nnp.save('image.npy', image)"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    image = np.load(tmp_path / "image.npy")[0]
    assert image.shape == (3 * 530 + 512, 1040 + 1024) and np.isclose(np.nansum(image), 2 * lit.sum() * 8, rtol=1e-4)
    assert np.nanmax(np.abs(image)) < 2.01


def test_the_features_run(tmp_path):
    """On the same flat panels: ten peaks of 4 pixels, 400 keV each, on noise of 2 keV."""
    code = re.search(r"<!-- features.*?-->\n```python\n(.*?)```", README.read_text(), re.S).group(1)
    four_megapixels(tmp_path / "jungfrau4M.geom")
    rng = np.random.default_rng(2)
    energy = rng.normal(0, 2, (1, 8, 512, 1024)).astype(np.float32)
    for k in range(10):
        r, c = 40 + 45 * k, 90 * k + 60
        energy[0, k % 8, r : r + 2, c : c + 2] += 100
    np.save(tmp_path / "energy.npy", energy)
    code = f"import numpy as np\nimport gpuredux\nenergy = np.load('energy.npy')\n{code}\nnp.savez('found.npz', **found._asdict())"
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = np.load(tmp_path / "found.npz")
    assert found["peak_count"].tolist() == [10] and found["intensity"].shape == (1, 500)
    with h5py.File(tmp_path / "peaks.cxi") as f:
        assert f["entry_1/result_1/nPeaks"][...].tolist() == [10]
        assert np.allclose(np.sort(f["entry_1/result_1/peakXPosRaw"][0, :10]), [90 * k + 60.5 for k in range(10)], atol=0.1)


def test_the_compression_runs(tmp_path):
    """On the frames of the first example."""
    first, code = (re.search(rf"<!-- {k}.*?-->\n```python\n(.*?)```", README.read_text(), re.S).group(1) for k in ("example", "compression"))
    done = subprocess.run([sys.executable, "-W", "error", "-c", f"{first}\n{code}"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "bound 1 sigma, largest error 1: holds; 4194304 values" in done.stdout, done.stdout
    stock = "import h5py, hdf5plugin, sys; print(h5py.File('raw.h5')['raw'][...].shape)"
    assert subprocess.run([sys.executable, "-c", stock], cwd=tmp_path, capture_output=True, text=True, check=True).stdout == "(8, 512, 1024)\n"


def test_picture_is_there():
    for picture in re.findall(r"!\[.*?\]\((.*?)\)", README.read_text()):
        assert (ROOT / picture).stat().st_size > 10_000, f"{picture}: run python bench/picture.py"


if __name__ == "__main__":
    text = README.read_text()
    start, stop = text.index(BEGIN) + len(BEGIN), text.index(END)
    README.write_text(text[:start] + table() + text[stop:])
