"""Breaks the CUDA kernels one place at a time and checks that a test notices.

    python tests/emulated/mutations.py --build build/debug [--what waits|bounds] [--only TEXT] [--list]

waits: every barrier, every wait for an asynchronous copy and every commit is left out, and every such wait waits for one group
less. bounds: every comparison is off by one. Each mutant is compiled in a temporary folder and linked into the test programs of
the build (preset debug: FBT_CUDA=EMULATED with sanitizers), which run until one fails. A mutant that passes all of them is a
hole in the tests, or changes nothing: those are listed in HARMLESS with the reason. Exit code 1: some mutant survived.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CUDA = ROOT / "kernels" / "cuda"
HEADERS = ["attention.cuh", "rows.cuh"]

WAITS = [
    (re.compile(r"__sync(threads|warp)\(\);"), lambda _: "((void)0);", "left out"),
    (re.compile(r"fbt_copy_(wait<\d+>|commit)\(\);"), lambda _: "((void)0);", "left out"),
    (re.compile(r"fbt_copy_wait<(\d+)>"), lambda found: f"fbt_copy_wait<{int(found[1]) + 1}>", "one group less"),
]
OFF_BY_ONE = {"<": "<=", "<=": "<", ">": ">=", ">=": ">"}
BOUNDS = [(re.compile(r"(?<= )(<|<=|>|>=)(?= )"), lambda found: OFF_BY_ONE[found[1]], "off by one")]

# Mutants that compute the same, by why they do: the file, and what the line begins with.
ATTENTION = ("attention_bf16.cu", "attention_fp32.cu")
HARMLESS = {
    "strides are multiples of 8, which INT_MAX is not": [("attention.cu", "return heads.stride > INT_MAX;")],
    "heads are of multiples of 8": [("attention.cu", "if (args->head_dim < 8 ||")],
    "no batch has just so many": [
        ("attention.cuh", "if (n_blocks > INT_MAX ||"),
        ("heads.cu", "if (x->head_dim > FBT_WARP * 8 || n_heads > INT_MAX)"),
        ("heads.cu", "if (n_threads > INT_MAX)"),
    ],
    "hides nothing where all keys are seen": [(file, "if (sight.least() < first") for file in ATTENTION],
    "a block without rows stores nothing": [(file, "if (work.first_row >= work.n_rows)") for file in ATTENTION],
    "a warp without rows stores nothing, and a tile of which none is seen adds nothing": [
        (file, line)
        for file in ATTENTION
        for line in ("if (warp_row < work.n_rows && first < sight.most())", "if (warp_row < work.n_rows)")
    ],
    "a head fits the next larger kernel too": [
        (file, line)
        for file in ATTENTION
        for line in ("if (args->head_dim <= 32)", "if (args->head_dim <= 64)", "return args->head_dim <= 128 ?")
    ],
    "the column behind the last is never stored": [("attention_fp32.cu", "for (unsigned x = 0; x < padded / 32; x++)")],
    "both sides are the same there": [
        ("attention.cuh", "static constexpr unsigned n_permuted = n_chunks < 8 ?"),
        ("attention.cuh", "constexpr unsigned n_across = n_chunks < 32 ?"),
        ("perturb.cu", "const int64_t n_before = origin.n_placeholders < 0 ?"),
    ],
    "takes more shared memory than it needs": [("attention.cuh", "return (max_keys > tile_keys ? 2 : 1)")],
    "copies no rows": [("attention.cuh", "if (first < n_keys)")],
    "waits once more": [("attention.cuh", "if (started * tile_keys < n_keys)")],
}

# In the order in which they are tried, those meant for the file first: those that watch every access tell most.
PROGRAMS = [
    ["test_row_kernels_watched"],
    ["test_attention_kernels_watched"],
    ["test_row_kernels"],
    ["test_attention_kernels"],
    ["conformance", "--backend", "cuda", "--precision", "fp32", "--seed", "1"],
    ["conformance", "--backend", "cuda", "--precision", "bf16", "--seed", "1"],
]
ENVIRONMENT = {
    "ASAN_OPTIONS": "allocator_may_return_null=1:detect_leaks=0",  # a test that failed frees nothing
    "UBSAN_OPTIONS": "print_stacktrace=0",
}
TIMEOUT_S = 180  # several times what the slowest takes; a mutant may run for ever


@dataclass(frozen=True)
class Mutant:
    file: str
    line: int  # from 1
    number: int  # among the mutations of the line
    what: str
    before: str  # without indentation
    after: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}: {self.before}"


@dataclass(frozen=True)
class Outcome:
    mutant: Mutant
    caught_by: str  # "" : nothing noticed
    words: str


def without_comments(text: str) -> str:
    """The same text with blanks where comments were."""
    return re.sub(r"/\*.*?\*/|//[^\n]*", lambda found: re.sub(r"[^\n]", " ", found[0]), text, flags=re.DOTALL)


def mutants_of(path: Path, rules: list) -> Iterator[Mutant]:
    text = path.read_text()
    lines, code = text.split("\n"), without_comments(text).split("\n")
    for number, (line, bare) in enumerate(zip(lines, code, strict=True), start=1):
        places = [(found, rule) for rule in rules for found in rule[0].finditer(bare)]
        if bare.lstrip().startswith(("#", "template", "static_assert")):
            continue
        for place, (found, (_, replace, what)) in enumerate(places):
            after = line[: found.start()] + replace(found) + line[found.end() :]
            yield Mutant(path.name, number, place, what, bare.strip(), after)


class Tree:
    """The kernels' sources as they are now, whatever happens to them later."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(CUDA, folder, ignore=shutil.ignore_patterns("*.c", "*.txt"))

    def sources(self) -> list[Path]:
        return [*sorted(self.folder.glob("*.cu")), *(self.folder / header for header in HEADERS)]

    def _includes(self, path: Path, name: str) -> bool:
        taken = re.findall(r'#include "kernels/cuda/(\w+\.cuh)"', path.read_text())
        return name in taken or any(self._includes(self.folder / header, name) for header in taken)

    def affected(self, file: str) -> list[str]:
        """The sources that a change of one file, a header perhaps, asks to be compiled again."""
        return [path.name for path in self.sources() if path.suffix == ".cu" and (path.name == file or self._includes(path, file))]


class Build:
    """A configured and complete build, of which single objects are replaced elsewhere."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        commands = json.loads((self.folder / "compile_commands.json").read_text())
        kernels = [c for c in commands if Path(c["file"]).suffix == ".cu"]
        self.objects = {words[words.index("-o") + 1]: c for c in kernels for words in [shlex.split(c["command"])]}
        self.archive = str(next(self.folder.rglob("libfbt_cuda_kernels.a")).relative_to(self.folder))

    def compile_mutant(self, name: str, work: Path) -> str:
        """Compiles one source of the mutated tree in every way; returns what the compiler said where it failed."""
        for output, entry in self.objects.items():
            if Path(entry["file"]).name == name:
                words = shlex.split(entry["command"])
                words[words.index("-o") + 1] = self._moved(output, work)
                words[words.index("-c") + 1] = str(work / "kernels" / "cuda" / name)
                words.insert(1, f"-I{work}")
                told = subprocess.run(words, cwd=self.folder, capture_output=True, text=True, check=False)
                if told.returncode != 0:
                    return told.stderr
        return ""

    def _moved(self, output: str, work: Path) -> str:
        """Where the object goes; its own name, since an archive knows members by it."""
        place = work / ("watched" if "watched" in output else "plain")
        place.mkdir(exist_ok=True)
        return str(place / Path(output).name)

    def replace_members(self, work: Path) -> None:
        archive = work / Path(self.archive).name
        shutil.copy(self.folder / self.archive, archive)
        objects = [str(path) for path in (work / "plain").iterdir()]
        subprocess.run(["ar", "r", str(archive), *objects], check=True)

    def link_program(self, program: str, work: Path) -> Path:
        told = subprocess.run(
            ["ninja", "-C", str(self.folder), "-t", "commands", f"bin/{program}"], capture_output=True, text=True, check=True
        )
        linked = work / program
        command = told.stdout.strip().split("\n")[-1].replace(f"-o bin/{program} ", f"-o {linked} ")
        command = command.replace(self.archive, str(work / Path(self.archive).name))
        for output in self.objects:
            if Path(self._moved(output, work)).exists():
                command = command.replace(output, self._moved(output, work))
        subprocess.run(command, shell=True, cwd=self.folder, check=True, capture_output=True)
        return linked


def telling_line(output: str) -> str:
    """The first failed test of a program's output and what was wrong first, as far as it says so."""
    failed = re.search(r"\[  FAILED  \] (\w+)\n", output)
    patterns = (r"AddressSanitizer: .*", r"runtime error: .*", r"emulated CUDA: kernel .*", r"error: .*", r".*[Ee]rror.*")
    told = next((found[0] for pattern in patterns if (found := re.search(pattern, output))), output.strip().split("\n")[-1])
    return f"{failed[1]}: {told}"[:200] if failed else told[:200]


def run_program(linked: Path, arguments: list[str]) -> str:
    """Run a program: its output if it failed; "" where it passed."""
    try:
        told = subprocess.run(
            [str(linked), *arguments],
            env=os.environ | ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"did not end within {TIMEOUT_S} s"
    return told.stdout or f"exit code {told.returncode}" if told.returncode != 0 else ""


def is_meant_for(program: str, file: str) -> bool:
    return ("attention" in program) == file.startswith("attention")


def reason_to_survive(mutant: Mutant) -> str:
    for why, places in HARMLESS.items():
        if any(mutant.file == file and mutant.before.startswith(line) for file, line in places):
            return why
    return ""


def judge(build: Build, tree: Tree, mutant: Mutant, work: Path) -> Outcome:
    shutil.copytree(tree.folder, work / "kernels" / "cuda")
    target = work / "kernels" / "cuda" / mutant.file
    lines = target.read_text().split("\n")
    lines[mutant.line - 1] = mutant.after
    target.write_text("\n".join(lines))
    for name in tree.affected(mutant.file):
        said = build.compile_mutant(name, work)
        if said:
            return Outcome(mutant, "compiler", telling_line(said))
    build.replace_members(work)
    for program, *arguments in sorted(PROGRAMS, key=lambda program: not is_meant_for(program[0], mutant.file)):
        said = run_program(build.link_program(program, work), arguments)
        if said:
            return Outcome(mutant, " ".join([program, *arguments[2:4]]), telling_line(said))
    return Outcome(mutant, "", reason_to_survive(mutant))


def check_that_the_build_passes(build: Build) -> None:
    """Otherwise everything would count as caught."""
    for program, *arguments in PROGRAMS:
        said = run_program(build.folder / "bin" / program, arguments)
        if said:
            sys.exit(f"{program} fails without any mutation: {telling_line(said)}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, required=True, help="build folder, complete")
    parser.add_argument("--what", choices=["waits", "bounds"], default="waits")
    parser.add_argument("--only", default="", help="mutants whose description contains this")
    parser.add_argument("--list", action="store_true", help="name the mutants and stop")
    return parser.parse_args()


def print_table(build: Build, tree: Tree, mutants: list[Mutant]) -> int:
    """Returns how many survived."""
    n_survived = 0
    print("| mutant | caught by | |\n|---|---|---|", flush=True)
    for mutant in mutants:
        with tempfile.TemporaryDirectory() as folder:
            outcome = judge(build, tree, mutant, Path(folder))
        is_harmless = not outcome.caught_by and bool(outcome.words)
        n_survived += not outcome.caught_by and not is_harmless
        verdict = outcome.caught_by or ("harmless" if is_harmless else "NOTHING")
        print(f"| `{mutant}` | {verdict} | {outcome.words} |", flush=True)
    print(f"\n{len(mutants)} mutants, {n_survived} survived")
    return n_survived


def main() -> int:
    arguments = parse_arguments()
    rules = WAITS if arguments.what == "waits" else BOUNDS
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(Path(folder) / "cuda")
        mutants = [m for path in tree.sources() for m in mutants_of(path, rules) if arguments.only in str(m)]
        if not mutants:
            sys.exit("no mutant fits --only")
        if arguments.list:
            print(*mutants, sep="\n")
            return 0
        build = Build(arguments.build)
        check_that_the_build_passes(build)
        return 1 if print_table(build, tree, mutants) else 0


if __name__ == "__main__":
    sys.exit(main())
