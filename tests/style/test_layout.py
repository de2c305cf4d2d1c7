"""The folders of src/ and kernels/ use each other only as the table in ARCHITECTURE.md ("Layout") says, and never in a circle.

Broken by an include that the table does not allow, and by a folder that the table does not name.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = {".c", ".h", ".cu", ".cuh"}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def folder_of(path: str) -> str:
    """`src/fed/client.h` -> `fed`, `kernels/cpu/cpu.h` -> `kernels`."""
    parts = path.split("/")
    return parts[1] if parts[0] == "src" else parts[0]


def files() -> list[Path]:
    """List the sources of the program."""
    listed = subprocess.run(["git", "ls-files", "src", "kernels"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return [ROOT / name for name in listed if Path(name).suffix in SOURCES and (ROOT / name).is_file()]


def allowed() -> dict[str, set[str]]:
    """Folder -> the folders whose headers it may include, by ARCHITECTURE.md."""
    table: dict[str, set[str]] = {}
    for line in (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8").splitlines():
        match = re.match(r"\| `(src/\w+|kernels)` \|.*\| ([^|]+) \|$", line)
        if match:
            folder, cell = folder_of(match[1]), match[2]
            words = set(re.findall(r"\w+", cell))
            everything = cell.strip() in {"all of the above", "everything"}
            table[folder] = set(table) if everything else {name for name in table if name in words}
    return table


def includes() -> dict[str, set[tuple[str, str]]]:
    """Folder -> (folder that it includes from, the file that does)."""
    found: dict[str, set[tuple[str, str]]] = {}
    for path in files():
        name = path.relative_to(ROOT).as_posix()
        for included in INCLUDE.findall(path.read_text(encoding="utf-8")):
            if included.startswith("tests/cuda/emulated/"):  # takes the place of the CUDA toolkit's own headers
                continue
            where = f"src/{included}" if (ROOT / "src" / included).is_file() else included
            assert (ROOT / where).is_file(), f'{name}: #include "{included}" is neither below src/ nor below the project'
            found.setdefault(folder_of(name), set()).add((folder_of(where), name))
    return found


def test_every_folder_is_in_the_table() -> None:
    """Else its dependencies would go unchecked."""
    assert {folder_of(path.relative_to(ROOT).as_posix()) for path in files()} == set(allowed())


@pytest.mark.parametrize("folder", sorted(allowed()))
def test_only_what_the_table_allows(folder: str) -> None:
    """The table lists folders after what they use, so that what passes here has no circle."""
    wrong = sorted({(used, name) for used, name in includes().get(folder, set()) if used not in allowed()[folder] | {folder}})
    assert not wrong, f"{folder} may use {sorted(allowed()[folder])} alone (ARCHITECTURE.md, Layout)"


def test_headers_have_names_of_their_own() -> None:
    """Two headers of one name are mixed up by readers, and by whoever searches."""
    names = [path.name for path in files() if path.suffix in {".h", ".cuh"}]
    assert sorted({name for name in names if names.count(name) > 1}) == []


def code_of(path: Path) -> str:
    """A source without its comments."""
    return re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_a_family_of_models_is_one_file_and_one_line() -> None:
    """Broken by code outside of it that asks which family a model is of. The names of files of sentence-transformers and of the
    shapes in a help text are not questions."""
    folder = ROOT / "src/model/families"
    names = {name for path in folder.glob("*.c") for name in re.findall(r"const fbt_model_family fbt_family_(\w+) =", code_of(path))}
    assert names >= {"bert", "roberta", "distilbert"}
    mentioned = re.compile(rf"\b(fbt_family_)?({'|'.join(names)}|xlm-roberta)\b|\bfbt_encoder_(?!shape)\w+")
    others = [path for path in files() if folder not in path.parents and path.suffix in {".c", ".h"}]
    where = {path.relative_to(ROOT).as_posix() for path in others if mentioned.search(code_of(path))}
    assert where <= {"src/model/family.c", "src/model/sentence.c", "src/cli/bench.c", "src/cli/info.c"}
    listed = code_of(ROOT / "src/model/family.c")
    assert [len(re.findall(rf"\bfbt_family_{name}\b", listed)) for name in sorted(names)] == [2] * len(names)


@pytest.mark.parametrize("folder", ["cli", "analysis", "install", "slurm"])
def test_every_test_file_is_run(folder: str) -> None:
    """Broken by a file of tests that no build file names: it would never run."""
    listed = set(re.findall(r"\w+", (ROOT / "tests" / folder / "CMakeLists.txt").read_text(encoding="utf-8")))
    files = [path.stem.removeprefix("test_") for path in (ROOT / "tests" / folder).glob("test_*.py")]
    assert files
    assert not [name for name in files if name not in listed and f"test_{name}" not in listed and f"{folder}_{name}" not in listed]
