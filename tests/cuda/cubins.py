"""Compiles kernels to cubins, as the preset cuda does, and tells what the compiler made of each."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import sass

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ROOT / "kernels" / "cuda"
ARCHES = ("sm_80", "sm_90", "sm_100")
CODE_FLAGS = ("-std=c++17", "-DNDEBUG", "-ftz=true")  # what of the preset's flags decides the machine code
FLAGS = (*CODE_FLAGS, "-Werror", "all-warnings", "-Xptxas", "-v")
COMPILERS_OWN = "$__internal_"  # rare cases of division and square root, called from a branch that is hardly ever taken
INCLUDES = (ROOT, ROOT / "src")
HEADERS = (ROOT / "kernels", ROOT / "src" / "base")


class CompileError(Exception):
    """Messages of the compiler."""


@dataclass(frozen=True)
class Kernel:
    source: Path
    arch: str
    symbol: str
    name: str  # demangled, without return type, parameters and namespaces
    registers: int
    shared_bytes: int  # static; launches add the dynamic part
    stack_bytes: int
    spill_bytes: int
    code: sass.Code

    def __str__(self) -> str:
        return f"{self.source.name} {self.arch} {self.name}"


def tool(variable: str, name: str) -> str:
    """A program: what the environment variable says, or the one of the toolkit, .venv or PATH."""
    places = [os.environ.get("CUDA_HOME", "/usr/local/cuda") + "/bin", str(ROOT / ".venv" / "cuda" / "bin"), os.environ.get("PATH", "")]
    found = os.environ.get(variable) or shutil.which(name, path=os.pathsep.join(places))
    if not found:
        raise FileNotFoundError(f"there is no {name}: run bash jobs/setup.sh --tests, or set {variable}")
    return found


@cache
def nvcc_version() -> str:
    text = subprocess.run([tool("FBT_NVCC", "nvcc"), "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"V(\d+\.\d+\.\d+)", text)[1]


def cache_folder() -> Path:
    folder = Path(os.environ.get("FBT_CUBINS", ROOT / "build" / "cubins"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@cache
def headers_digest() -> str:
    digest = hashlib.sha256()
    for folder in (KERNELS, *HEADERS):
        for path in sorted([*folder.glob("*.h"), *folder.glob("*.cuh")]):
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def run(command: list[object]) -> subprocess.CompletedProcess[str]:
    result = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise CompileError(f"{command[0]} failed:\n{result.stdout}{result.stderr}")
    return result


def compiled(source: Path, arch: str) -> tuple[Path, str]:
    """The cubin and what the compiler said; made once for each content of the source, its headers and each compiler. Tests
    that run side by side may both make it: whoever is last renames its own over it."""
    key = "\n".join([nvcc_version(), *FLAGS, arch, headers_digest(), source.name]).encode() + source.read_bytes()
    base = cache_folder() / f"{source.stem}.{arch}.{hashlib.sha256(key).hexdigest()[:16]}"
    cubin, log = base.with_name(base.name + ".cubin"), base.with_name(base.name + ".log")
    if not log.exists():
        includes = [word for folder in INCLUDES for word in ("-I", folder)]
        parts = [base.with_name(f"{base.name}.{os.getpid()}.{kind}") for kind in ("cubin", "log")]
        result = run([tool("FBT_NVCC", "nvcc"), *FLAGS, *includes, f"-arch={arch}", "-cubin", "-o", parts[0], source])
        parts[1].write_text(result.stderr + result.stdout)
        parts[0].replace(cubin)
        parts[1].replace(log)
    return cubin, log.read_text()


def short_names(symbols: list[str]) -> list[str]:
    """`void attend<64, true>(Args)` becomes `attend<64, true>`."""
    if not symbols:
        return []
    text = subprocess.run(["c++filt", *symbols], capture_output=True, text=True, check=True).stdout
    return [shortened(line) for line in text.splitlines()]


def shortened(name: str) -> str:
    name = name.replace("(anonymous namespace)::", "").removeprefix("void ")
    name = re.sub(r"\((?:fbt_\w+|bool|int|unsigned int)\)", "", name)  # casts of template arguments
    name = name.replace("> >", ">>")
    depth = 0
    for i, letter in enumerate(name):
        depth += (letter == "<") - (letter == ">")
        if letter == "(" and depth == 0:
            return name[:i]
    return name


def resources(log: str) -> dict[str, tuple[int, int, int, int]]:
    """Of `ptxas -v`: registers, static shared memory, stack frame and spilled bytes of every kernel, by symbol."""
    found = {}
    for entry in re.split(r"Compiling entry function ", log)[1:]:
        symbol = re.match(r"'(\w+)'", entry)[1]
        properties = entry[entry.index(f"Function properties for {symbol}") :]
        frame = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", properties)
        stack, stores, loads = map(int, frame.groups())
        used = re.search(r"Used (\d+) registers(.*)", properties)
        shared = re.search(r"(\d+)(?:\+\d+)? bytes smem", used[2])
        found[symbol] = (int(used[1]), int(shared[1]) if shared else 0, stack, stores + loads)
    return found


def kernels_of(source: Path, arch: str) -> list[Kernel]:
    cubin, log = compiled(source, arch)
    codes = sass.parse(run([tool("FBT_NVDISASM", "nvdisasm"), "-json", cubin]).stdout)
    found = resources(log)
    others = [name for name in codes if name not in found and not name.startswith(COMPILERS_OWN)]
    if others or not set(found) <= set(codes):
        raise CompileError(f"{source.name}: kernels {sorted(found)}, and functions that were not inlined: {others}")
    symbols = sorted(found)
    names = zip(symbols, short_names(symbols), strict=True)
    return [Kernel(source, arch, symbol, name, *found[symbol], codes[symbol]) for symbol, name in names]


def sources() -> list[Path]:
    return sorted(KERNELS.glob("*.cu"))


def compile_all(arches: tuple[str, ...] = ARCHES) -> None:
    """Fills the cache, two compilers at a time. Errors are left for whoever asks for that kernel."""

    def attempt(pair: tuple[Path, str]) -> None:
        try:
            compiled(*pair)
        except CompileError:
            pass

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(attempt, [(source, arch) for source in sources() for arch in arches]))
