"""The installed library, as programs in C and C++ use it: headers, names, and the example by CMake and by pkg-config."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import h5py
import pytest
import toy
from conftest import CMAKE, Copy

STANDARD = {f"{name}.h" for name in ("math", "stdbool", "stddef", "stdint", "stdio", "stdlib", "string")}
ROUND = re.compile(r"round (\d+): train loss (\S+), accuracy (\S+), (\d+) bytes up")


def headers(copy: Copy) -> list[Path]:
    return sorted(copy.headers.rglob("*.h"))


def exported(copy: Copy) -> list[str]:
    return [line.split()[-1] for line in copy.call("nm", "-D", "--defined-only", copy.library_folder / "libfedbpt.so").splitlines()]


@pytest.mark.parametrize(("compiler", "options"), [("cc", "-std=c11"), ("c++", "-std=c++11 -x c++")])
def test_every_header_alone(copy: Copy, tmp_path: Path, compiler: str, options: str) -> None:
    """Breaks when a header leans on what another source has included before, or is no C++."""
    if shutil.which(compiler) is None:
        pytest.skip(f"there is no {compiler}")
    files = []
    for number, header in enumerate(headers(copy)):
        files.append(tmp_path / f"alone{number}.c")
        files[-1].write_text(f'#include "{header.relative_to(copy.headers)}"\n', encoding="utf-8")
    flags = copy.call("pkg-config", "--cflags", "fedbpt").split()
    copy.call(compiler, *options.split(), "-Wall", "-Wextra", "-Werror", "-fsyntax-only", *flags, *files)


def test_headers_need_no_other_package(copy: Copy) -> None:
    """Breaks when a public header includes one of a library: fedbpt.pc would have to require it."""
    texts = "".join(path.read_text(encoding="utf-8") for path in headers(copy))
    assert set(re.findall(r"#include <(\S+)>", texts)) <= STANDARD


def test_public_names_alone(copy: Copy) -> None:
    """Breaks when the library gives away a name that no installed header declares."""
    texts = "".join(path.read_text(encoding="utf-8") for path in headers(copy))
    names = exported(copy)
    assert len(names) > 50
    assert [name for name in names if not name.startswith("fbt_") or not re.search(rf"\b{name}\b", texts)] == []


def test_every_declared_function_links_from_cpp(copy: Copy, tmp_path: Path) -> None:
    """Breaks when a header lacks extern "C", or declares what the library keeps to itself."""
    if shutil.which("c++") is None:
        pytest.skip("there is no c++")
    texts = [re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL) for path in headers(copy)]
    prototypes = [re.sub(r"static inline [^{]*{[^}]*}", "", text) for text in texts]
    names = sorted({name for text in prototypes for name in re.findall(r"(?<![\w(])(fbt_[a-z0-9_]+)\(", text)})
    assert len(names) > 50
    source = tmp_path / "all.cc"
    included = "".join(f'#include "{path.relative_to(copy.headers)}"\n' for path in headers(copy))
    table = "".join(f"    (void *){name},\n" for name in names)
    source.write_text(f"{included}void *table[] = {{\n{table}}};\nint main() {{ return table[0] == nullptr; }}\n", encoding="utf-8")
    flags = copy.call("pkg-config", "--cflags", "--libs", "fedbpt").split()
    copy.call("c++", "-std=c++11", source, *flags, "-o", tmp_path / "all")
    copy.call(tmp_path / "all", LD_LIBRARY_PATH=str(copy.library_folder))


def by_cmake(copy: Copy, folder: Path) -> Path:
    shutil.copytree(copy.data / "examples", folder / "examples")
    copy.call(CMAKE, "-S", folder / "examples", "-B", folder / "build")
    copy.call(CMAKE, "--build", folder / "build")
    return folder / "build" / "minimal"


def by_pkg_config(copy: Copy, folder: Path) -> Path:
    flags = copy.call("pkg-config", "--cflags", "--libs", "fedbpt").split()
    copy.call("cc", "-Wall", "-Wextra", "-Werror", copy.data / "examples" / "minimal.c", *flags, "-o", folder / "minimal")
    return folder / "minimal"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """The configuration of a toy study that asks for more rounds than the example makes."""
    toy.write(tmp_path / "data.h5", toy.Toy())
    values = toy.settings(toy.MASK_MODEL, tmp_path / "data.h5", tmp_path / "run.h5", toy.Toy())
    values["fed"]["rounds"] = 7
    return toy.write_settings(tmp_path / "study.yaml", values)


@pytest.mark.parametrize("build", [by_cmake, by_pkg_config])
def test_example(copy: Copy, study: Path, build) -> None:
    """The numbers are those of `fedbpt run` with the same settings, on one rank and on two."""
    command = [build(copy, study.parent), study, "run.overwrite=true"]
    environment = {"LD_LIBRARY_PATH": str(copy.library_folder)}
    alone = copy.call(*command, **environment)
    assert copy.call("mpirun", "-q", "-n", "2", *command, **environment) == alone
    by_library = copy.call("fedbpt", "show", "--digest", study.parent / "run.h5")

    copy.call("fedbpt", "run", study, "--overwrite", "--set", "fed.rounds=3")
    assert copy.call("fedbpt", "show", "--digest", study.parent / "run.h5") == by_library
    with h5py.File(study.parent / "run.h5") as file:
        rounds = file["rounds"]
        expected = [(f"{i}", f"{rounds['train_loss'][i]:.6f}", f"{rounds['train_accuracy'][i]:.4f}") for i in range(4)]
        start = f"candidate 0: dev loss {rounds['dev_loss'][0]:.6f}"
    assert [match[:3] for match in ROUND.findall(alone)] == expected
    candidates = [line for line in alone.splitlines() if line.startswith("candidate")]
    assert candidates[0] == start and len(set(line.split()[-1] for line in candidates)) == 4


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["none.yaml"], "none.yaml cannot be (read|opened): No such file"),
        (["study.yaml", "fed.protocol=none"], "fed.protocol: expected nvflare"),
        (["study.yaml", *["run.seed=1"] * 70], "70 settings are too many: put them into study.yaml"),
    ],
)
def test_example_says_what_is_wrong(copy: Copy, study: Path, words: list[str], sentence: str) -> None:
    example = by_pkg_config(copy, study.parent)
    with pytest.raises(AssertionError, match=sentence):
        copy.call(example, *words, cwd=study.parent, LD_LIBRARY_PATH=str(copy.library_folder))


def test_package_version(copy: Copy, tmp_path: Path) -> None:
    """Breaks when an older or newer library passes for the one that is asked for."""
    assert copy.call("pkg-config", "--modversion", "fedbpt").strip() == copy.call("fedbpt", "--version").split()[1]
    text = (copy.data / "examples" / "CMakeLists.txt").read_text(encoding="utf-8")
    shutil.copy(copy.data / "examples" / "minimal.c", tmp_path)
    (tmp_path / "CMakeLists.txt").write_text(text.replace("fedbpt 0.1", "fedbpt 0.2"), encoding="utf-8")
    with pytest.raises(AssertionError, match="considered but not accepted"):
        copy.call(CMAKE, "-S", tmp_path, "-B", tmp_path / "build")
