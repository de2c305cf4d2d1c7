"""docs/device.md and the README's part on devices are made of docs/device/*.json, here of results as jobs/device_day.py writes them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import describe_device as describe
import pytest


def result(name: str, value: object = None, status: str = "passed") -> dict[str, Any]:
    return {"name": name, "command": [], "status": status, "code": 0, "seconds": 12.3, "output": "", "value": value}


def bench(precision: str, samples: int, seconds: float) -> dict[str, Any]:
    one = {"precision": precision, "batch": {"samples": samples, "length": 71, "rows": 710 * samples}, "seconds": seconds, "matrix_gflops": 5e5,
           "streams": {"number": 2, "seconds": 0.9 * seconds},
           "fraction_of_peak": 0.75, "fraction_of_nominal": 0.505, "products": [f"product of {samples} samples"]}
    return result(f"bench {precision}, {samples} samples of 71 tokens", [one])


def torch_rows(*rows: dict[str, Any]) -> dict[str, Any]:
    return result("PyTorch at 71 tokens", [{"samples": 8, "length": 71, **row} for row in rows])


@pytest.fixture
def day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of three parts, and a place for what is made of them."""
    monkeypatch.setattr(describe, "MEASURED", tmp_path / "device")
    commit = subprocess.run(["git", "-C", describe.ROOT, "rev-parse", "--short=12", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    head = {"date": "2030-01-02", "version": f"fedbpt 0.1.0 ({commit})", "device": "NVIDIA H200, 590.1", "backend": "cuda", "passed": True}
    parts = {"correct": [result("info"), result("racecheck test_row_kernels", status="lacking")],
             "fast": [bench("bf16", 8, 0.010), bench("bf16", 40, 0.050), bench("fp32", 8, 0.1),
                      torch_rows({"way": "eager", "seconds": 0.030}, {"way": "compiled", "seconds": 0.016}, {"way": "other", "error": "none"})],
             "same": [result("equal digests", {"once": "ab12", "again": "ab12"})]}
    folder = tmp_path / "day"
    folder.mkdir()
    for name, results in parts.items():
        written = {**head, "part": name, "results": results}
        (folder / f"{name}.json").write_text(json.dumps(written))
    return folder


def test_pages_are_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    """Also breaks when the kernels are changed after a device has measured them: the page then says so."""
    assert describe.compare_pages(describe.pages(), describe.PROGRAM) == 0, capsys.readouterr().err


def test_a_day_is_told(day: Path) -> None:
    """Broken by a ratio upside down, by one to PyTorch's slower way or to another batch, and by checks that were not made but pass."""
    describe.take(day)
    assert [file.name for file in describe.MEASURED.iterdir()] == ["2030-01-02-nvidia-h200.json"]
    text = describe.document(describe.read())
    assert "## NVIDIA H200, 590.1, 2030-01-02" in text and "| racecheck test_row_kernels | lacking | 12 |" in text
    assert "| bf16 | 8 x 71 | 5,680 | 10.0 | 9.0 | 500 | 75% | 50% | 1.60 (compiled) |" in text
    assert "| bf16 | 40 x 71 | 28,400 | 50.0 | 45.0 | 500 | 75% | 50% |  |" in text and "| fp32 | 8 x 71 | 5,680 | 100.0 | 90.0 | 500 | 75% | 50% |  |" in text
    assert "- product of 40 samples" in text and "product of 8 samples" not in text
    assert "- equal digests: passed: once ab12, again ab12" in text
    part = describe.readme_part(describe.read())
    assert "NVIDIA H200" in part and "1.60 (compiled)" in part


def test_changed_kernels_are_told() -> None:
    """Broken by a comparison that cannot fail: the first commit had other kernels."""
    first = subprocess.run(["git", "-C", describe.ROOT, "rev-list", "--max-parents=0", "HEAD"], check=True, capture_output=True, text=True).stdout.split()[0]
    assert "have changed" in describe.kernels_sentence(f"fedbpt 0.1.0 ({first[:12]})")
    assert "not in this repository" in describe.kernels_sentence("fedbpt 0.1.0 (0123456789ab)")
    assert "not those of a commit" in describe.kernels_sentence("fedbpt 0.1.0 (0123456789ab-dirty)")


def test_a_folder_without_results_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="correct.json"):
        describe.take(tmp_path)
