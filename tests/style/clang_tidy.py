"""clang-tidy (version 14) with the checks of .clang-tidy over src/ and kernels/: python clang_tidy.py BUILD_FOLDER [FILE...]

Every file once, by its first compile command: the row kernels are compiled for several instruction sets. Exit code 1: there are findings.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def commands(build: Path) -> dict[str, dict[str, str]]:
    """File below the project's folder -> its entry in the compilation database."""
    found: dict[str, dict[str, str]] = {}
    for entry in json.loads((build / "compile_commands.json").read_text(encoding="utf-8")):
        path = Path(entry["file"])
        if path.is_relative_to(ROOT / "src") or path.is_relative_to(ROOT / "kernels"):
            found.setdefault(path.relative_to(ROOT).as_posix(), entry)
    return found


def findings(folder: str, name: str) -> str:
    """Findings of clang-tidy in a file, in the file's own lines and those of our headers."""
    command = ["clang-tidy-14", "-p", folder, "--quiet", "--warnings-as-errors=*", f"--header-filter={ROOT}/(src|kernels)/", str(ROOT / name)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout if result.returncode == 0 or result.stdout else result.stderr


def main(build: Path, names: list[str]) -> int:
    """Checks the given files, or all."""
    entries = commands(build)
    chosen = [name for name in entries if not names or name in names]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        (Path(folder) / "compile_commands.json").write_text(json.dumps(list(entries.values())), encoding="utf-8")
        texts = [text for text in pool.map(lambda name: findings(folder, name), chosen) if text.strip()]
    print("".join(texts), end="")
    print(f"clang-tidy: {len(chosen)} files, {len(texts)} with findings")
    return 1 if texts or not chosen else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve(), sys.argv[2:]))
