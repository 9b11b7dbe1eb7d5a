"""Which backends the tests run on: --backends, --opencl-platform, --warp-tier; and the fixtures target (one of them) and real (a recorded frame)."""

from __future__ import annotations

import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
sys.path[:] = [p for p in sys.path if Path(p).resolve() != ROOT]     # `python -m pytest` adds it: test what was installed, not the checkout

import numpy as np  # noqa: E402
import pytest  # noqa: E402

import gpuredux  # noqa: E402
from gpuredux import backends  # noqa: E402
from gpuredux.backends import BackendUnavailable, Device  # noqa: E402
from gpuredux.datasets import real as recorded  # noqa: E402
from gpuredux.op import Op  # noqa: E402


class Target(NamedTuple):
    """A backend and one of its devices."""

    backend: backends.Backend
    device: Device

    def put(self, x: np.ndarray | None) -> Any:
        return None if x is None else self.backend.put(x, self.device)

    def get(self, x: Any) -> np.ndarray:
        return self.backend.get(x)

    def __str__(self) -> str:
        if not self.backend.kernels:
            return self.backend.name
        return f"{self.backend.name}{self.device.index}-{self.device.name.split()[0].partition('(')[0]}-tier{self.device.warp}"


NUMPY = Target(backends.NUMPY, backends.NUMPY.devices()[0])
FOUND: list[Target] = []
ABSENT: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("gpuredux")
    group.addoption("--backends", help="comma-separated, each must run here; default: numba, and opencl and cupy where found")
    group.addoption("--opencl-platform", default="", help="only OpenCL devices whose name holds this, e.g. Intel or Portable")
    group.addoption("--warp-tier", type=int, choices=(2, 3), help="force this tier of warp operations on the OpenCL devices")
    group.addoption("--barriers", action="store_true",
                    help="only cases of ops whose kernels have barriers, five of each at most; of two fused ops one pair for each second")


def pytest_configure(config: pytest.Config) -> None:
    asked = config.getoption("--backends")
    for name in (asked or "numba,opencl,cupy").split(","):
        try:
            FOUND.extend(targets_of(name.strip(), config.getoption("--opencl-platform"), config.getoption("--warp-tier")))
        except (BackendUnavailable, ValueError) as e:
            if asked:
                raise pytest.UsageError(f"--backends: {e}") from None
            ABSENT.append(str(e))


def targets_of(name: str, platform: str, tier: int | None) -> list[Target]:
    backend = backends.get(name)
    devices = list(backend.devices())
    if name == "opencl":
        devices = [d for d in devices if platform.lower() in d.name.lower()]
        if not devices:
            raise BackendUnavailable(f"opencl: no device's name holds {platform!r}: {', '.join(d.name for d in backend.devices())}")
        if tier:
            devices = [backends.OPENCL.force_warp_tier(d, tier) for d in devices]
    return [Target(backend, d) for d in devices]


def pytest_report_header() -> list[str]:
    return [f"gpuredux: on {', '.join(map(str, FOUND))}", *(f"gpuredux: not on {reason}" for reason in ABSENT)]


def has_barriers(op: Op) -> bool:
    """Whether an op's .cl has barriers or warp operations: those without cannot tell one tier of warp operations from another."""
    return re.search(r"\b(SYNC|warp_\w+|block_scan)\b", (Path(gpuredux.__file__).parent / (op.name.replace(".", "/") + ".cl")).read_text()) is not None


MOST_CASES = 5      # of one test and one op, under --barriers
SAME_CODE = {           # tests that compile the same functions; an op or a file that is in no line is a group by itself
    "test_dispersion": ("features.dispersion", "features.dispersion_extended"), "test_peaks": ("features.peak_finder8",),
    "test_psana_peaks": ("features.peak_finder_v3r3", "features.peak_finder_v4r3"), "test_regions": ("features.region_sums", "features.projections"),
    "test_wavelet": ("features.dwt", "features.idwt", "features.lifting", "features.wavelet_threshold"),
    "test_azimuthal": ("features.azimuthal_integrate", "features.azimuthal_median", "features.sigma_clip"),
    "test_sparsify": ("features.sparsify", "features.densify", "features.peak_finder_azimuthal"),
    "test_photon_counting": ("features.droplets", "features.droplet_photons", "features.contrast"), "test_correlate": ("features.correlate",),
    "test_binning": ("features.bin", "features.running", "features.cube", "features.histogram"),
    "test_beam": ("features.beam_centre", "features.beam_centroid", "features.jet_streak", "features.radial_background"),
    "test_common_mode": ("calib.common_mode",), "test_darks": ("calib.dark_sums", "calib.dark_median"),
    "test_zstd": ("compress.shuffle_zstd", "compress.bitshuffle_zstd"), "test_zfp": ("compress.zfp", "compress.zfp_decode"),
    "test_zstd_decode": ("compress.shuffle_zstd_decode", "compress.bitshuffle_zstd_decode"),
    "test_deflate": ("compress.shuffle_deflate", "compress.shuffle_deflate_decode"), "test_quantize": ("compress.quantize", "compress.dequantize"),
    "test_quantize_counts": ("compress.quantize_counts", "compress.dequantize_counts"),
    "test_bitshuffle": ("compress.bitshuffle", "compress.bitshuffle_decode"),
    "test_blosc": ("compress.blosc_bitshuffle_lz4", "compress.blosc_decode"),
    "test_bitshuffle_lz4": ("compress.bitshuffle_lz4", "compress.bitshuffle_lz4_decode"), "test_assembly": ("calib.assemble", "calib.assemble_tiles"),
    "test_roibin": ("compress.roibin", "compress.roibin_decode"),
    "test_wavelet_codec": ("compress.wavelet", "compress.wavelet_decode", "compress.reversible_wavelet"),
}


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """pytest -n 2: what compiles the same functions of numba goes to one worker, that they are compiled once, and not by both at the same time."""
    from xdist.scheduler.loadscope import LoadScopeScheduling

    class ByCode(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, name = nodeid.partition("::")
            ops = sorted((op for op in gpuredux.OPS if op in name), key=len)
            stem = Path(file).stem
            return next((f for f, own in SAME_CODE.items() if ops and ops[-1] in own), ops[-1]) if ops and stem not in SAME_CODE else stem

    return ByCode(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """--barriers drops tests whose case is of an op without barriers, all but the first pair with the same second op, and all but the first five cases of an
    op: to compile them all for PoCL takes most of an hour, and what else they show they show on Intel's runtime."""
    if not config.getoption("--barriers"):
        return
    kept, dropped, seen = [], [], Counter()
    for item in items:
        params = item.callspec.params if hasattr(item, "callspec") else {}
        case = params.get("case", params.get("consumer"))
        key = case and (item.originalname, params.get("target"), case.op.name)
        seen[key] += 1
        enough = case is not None and seen[key] > (1 if "consumer" in params else MOST_CASES)
        (dropped if enough or (case is not None and not has_barriers(case.op)) else kept).append(item)
    config.hook.pytest_deselected(items=dropped)
    items[:] = kept


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """target: each backend found. device_target: each that compiles kernels (none: the test is skipped, and says so)."""
    if "target" in metafunc.fixturenames:
        metafunc.parametrize("target", FOUND, ids=str, scope="session")
    if "device_target" in metafunc.fixturenames:
        kernels = [t for t in FOUND if t.backend.kernels]
        absent = pytest.param(None, marks=pytest.mark.skip(reason="no backend that compiles kernels: " + "; ".join(ABSENT)), id="none")
        metafunc.parametrize("device_target", kernels or [absent], ids=str if kernels else None, scope="session")


@pytest.fixture(scope="session")
def real() -> Callable[[str, str], np.ndarray]:
    """real(file, dataset): recorded frames of GPUREDUX_DATA, or of shared/data beside the repository; skips where there are none."""
    def read(file: str, dataset: str) -> np.ndarray:
        folder = recorded.folder(ROOT)
        if folder is None:
            pytest.skip(f"no recorded frames: set GPUREDUX_DATA to a folder that holds {file}")
        return recorded.read(folder, file, dataset)
    return read


@pytest.fixture(scope="session")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole run of the stream."""
    from test_stream_kit import config, run

    folder = tmp_path_factory.mktemp("good")
    assert run(config(folder))["exit"] == 0
    return folder / "out"


@pytest.fixture
def copy(good: Path, tmp_path: Path) -> Path:
    """It, to be damaged."""
    return Path(shutil.copytree(good, tmp_path / "copy"))
