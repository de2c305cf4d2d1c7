"""Writes docs/cuda-kernels.md: what the compiler made of the kernels, how they are launched, how long they should take.

.venv/bin/python tests/cuda/describe_kernels.py            write it
.venv/bin/python tests/cuda/describe_kernels.py --check    compare; exit code 1 if it is out of date, 77 with another nvcc
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import cubins
import roofline
from cubins import ARCHES, ROOT, Kernel
from roofline import Bounds, Work

DOCUMENT = ROOT / "docs" / "cuda-kernels.md"
HERE = Path(__file__).resolve().parent
OTHER_COMPILER = 77


@dataclass(frozen=True)
class Case:
    """A model on one batch of a client: 40 samples, 5 candidates, 2 copies each."""

    kind: str  # what launches.cc calls it
    n_sequences: int
    length: int
    n_prefix: int  # keys of a prefix before each sequence's own
    n_dim: int
    n_heads: int
    n_kv_heads: int
    n_inner: int
    n_vocabulary: int
    n_labels: int

    @property
    def n_rows(self) -> int:
        return self.n_sequences * self.length

    @property
    def group(self) -> int:
        return self.n_heads // self.n_kv_heads


N_LAYERS = 24
BLOCK_WORDS, WIDENED_WORDS = 8192, 2048  # of a block in log_probs.c; of one that is widened, at the decoder's width
ENCODER = Case("encoder", 400, 71, 0, 1024, 16, 16, 4096, 50265, 2)  # RoBERTa-large
DECODER = Case("decoder", 400, 60, 50, 4096, 32, 8, 14336, 128256, 2)  # Llama 3 8B
CASES = (ENCODER, DECODER)


@dataclass(frozen=True)
class Launch:
    what: str
    kernel: Kernel
    blocks: int
    threads: int
    shared_bytes: int

    @property
    def n_warps(self) -> int:
        return self.blocks * (self.threads // 32)


def attention_flop(case: Case, key_step: int) -> float:
    """Two products of every query with every key that it sees; queries come in groups of 16 rows, a query's row for each head of
    a group beside the other, and keys in steps."""
    n_pairs = 0
    for first in range(0, case.length * case.group, 16):
        last_query = min((first + 15) // case.group, case.length - 1)
        n_keys = case.n_prefix + last_query + 1 if case.kind == "decoder" else case.length
        n_pairs += 16 * (-(-n_keys // key_step) * key_step)
    return 4.0 * case.n_sequences * case.n_kv_heads * n_pairs * (case.n_dim // case.n_heads)


def encoder_works(case: Case) -> dict[str, Work]:
    row = 2 * case.n_dim
    rows, read = case.n_rows, case.n_sequences
    return {
        "perturb": Work(rows * (4 + 4 + 1), 0),
        "embed": Work(rows * (2 * row + 4), 10.0 * rows * case.n_dim),
        "put_prompts": Work(4 * rows + 4 * read * row, 0),  # one row of each sequence
        "attention": Work(4 * rows * row, attention_flop(case, 16), True),
        "norm": Work(2 * rows * row, 9.0 * rows * case.n_dim),
        "bias_activation": Work(2 * rows * 2 * case.n_inner, 20.0 * rows * case.n_inner),
        "attention, fp32": Work(8 * rows * row, attention_flop(case, 32)),
        "attention, one query": Work(2 * rows * row, 4.0 * 16 * rows * case.n_dim, True),
        "gather_rows": Work(2 * read * row, 0),
        "mean_pool": Work(rows * row, 2.0 * rows * case.n_dim),
        "label_logits": Work(read * row, 2.0 * read * case.n_labels * case.n_dim),
        "loss": Work(4.0 * read * (case.n_labels + 3), 0),
        "plain_product": Work(rows * (row + 2 * case.n_inner), 2.0 * rows * case.n_dim * case.n_inner),
        "compare": Work(2 * rows * 2 * case.n_inner, 0),
    }


def decoder_works(case: Case) -> dict[str, Work]:
    """A prefix is counted once: many sequences share it."""
    rows, row, n_kv = case.n_rows, 2 * case.n_dim, case.n_dim // case.group
    keys = 2 * 2 * rows * n_kv
    logits, targets = case.n_sequences * BLOCK_WORDS, case.n_sequences * case.n_labels
    one_query = 4.0 * 16 * case.n_sequences * (case.n_prefix + case.length) * n_kv
    return {
        "embed_rows": Work(rows * (2 * row + 12), 2.0 * rows * case.n_dim),
        "rms norm": Work(2 * rows * row, 4.0 * rows * case.n_dim),
        "norm_heads": Work(2 * rows * row, 4.0 * rows * case.n_dim),
        "rotate, queries": Work(2 * rows * row, 3.0 * rows * case.n_dim),
        "rotate, keys": Work(2 * rows * 2 * n_kv, 3.0 * rows * n_kv),
        "causal attention": Work(2 * rows * row + keys, attention_flop(case, 16), True),
        "causal attention, fp32": Work(2 * (2 * rows * row + keys), attention_flop(case, 32)),
        "causal attention, one query": Work(keys, one_query, True),
        "gate": Work(3 * rows * 2 * case.n_inner, 10.0 * rows * case.n_inner),
        "widen, words": Work(6 * WIDENED_WORDS * case.n_dim, 0),
        "fold_logits": Work(4 * logits, 10.0 * logits),
        "pick_logits": Work(16 * targets, 0),
    }


def works(case: Case) -> dict[str, Work]:
    """By the names that launches.cc gives. bf16 activations (2 bytes) but for what is called fp32."""
    return encoder_works(case) if case.kind == "encoder" else decoder_works(case)


# Launches of the encoder in a forward pass with mask readout; in the last layer one query of each sequence is left.
PASS = {"perturb": 1, "embed": 1, "attention": N_LAYERS - 1, "norm": 2 * (N_LAYERS - 1), "bias_activation": N_LAYERS - 1,
        "attention, one query": 1, "gather_rows": 1, "label_logits": 1, "loss": 1}  # fmt: skip


def product_flop(case: Case) -> float:
    """Matrix products of the pass that go over all rows: query, key, value, output, up and down; in the last layer key and value."""
    width = case.n_dim
    whole_layers = (N_LAYERS - 1) * (4 * width * width + 2 * width * case.n_inner)
    return 2.0 * case.n_rows * (whole_layers + 2 * width * width)


def built(name: str, sources: Iterable[Path], *arguments: object) -> Path:
    """A program of this folder, compiled for the host once for each content of its sources and the headers."""
    text = b"".join(path.read_bytes() for path in sources) + cubins.headers_digest().encode()
    program = cubins.cache_folder() / f"{name}.{hashlib.sha256(text).hexdigest()[:16]}"
    if not program.exists():
        includes = [word for folder in cubins.INCLUDES for word in ("-I", folder)]
        cubins.run([cubins.tool("FBT_NVCC", "nvcc"), "-std=c++17", "-O1", "-t2", *includes, *arguments, "-o", program])
    return program


def launches(kernels: list[Kernel], case: Case) -> list[Launch]:
    """How the launchers launch their kernels, asked of the launchers."""
    sources = [HERE / "launches.cc", *cubins.sources()]  # PTX alone: nothing is run
    program = built("launches", sources, "-arch=compute_90", "-code=compute_90", "-cudart", "none", *sources)
    answer = cubins.run([program, *asdict(case).values()]).stdout
    by_symbol = {kernel.symbol: kernel for kernel in kernels}
    told = [json.loads(line) for line in answer.splitlines()]
    return [Launch(one["what"], by_symbol[one["symbol"]], one["blocks"], one["threads"], one["shared_bytes"]) for one in told]


def blocks_per_multiprocessor(asked: list[tuple[Kernel, Launch]]) -> list[int]:
    source = HERE / "occupancy.cc"
    program = built("occupancy", [source], source)
    lines = (f"{one.arch[3:]} {one.registers} {one.shared_bytes} {launch.shared_bytes} {launch.threads}\n" for one, launch in asked)
    answer = subprocess.run([program], input="".join(lines), capture_output=True, text=True, check=True).stdout
    return [int(line) for line in answer.split()]


def table(header: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    lines = [list(map(str, header)), ["---"] * len(list(header)), *(list(map(str, row)) for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def for_each_arch(what: str) -> list[str]:
    return [f"{what}, {arch.removeprefix('sm_')}" for arch in ARCHES]


def compiled_table(kernels: dict[str, list[Kernel]]) -> str:
    rows = []
    for variants in zip(*kernels.values(), strict=True):
        assert len({kernel.name for kernel in variants}) == 1
        registers, lengths = [one.registers for one in variants], [one.code.n_issued for one in variants]
        rows.append([variants[0].source.name, f"`{variants[0].name}`", *registers, variants[0].shared_bytes, *lengths])
    return table(["file", "kernel", *for_each_arch("registers"), "static shared bytes", *for_each_arch("instructions")], rows)


def launch_table(kernels: dict[str, list[Kernel]], found: list[Launch]) -> str:
    by_name = {arch: {(kernel.source, kernel.name): kernel for kernel in of_arch} for arch, of_arch in kernels.items()}
    asked = [(by_name[arch][launch.kernel.source, launch.kernel.name], launch) for launch in found for arch in ARCHES]
    resident = iter(blocks_per_multiprocessor(asked))
    rows = []
    for launch in found:
        blocks = [next(resident) for _ in ARCHES]
        share = [f"{n} ({100 * n * launch.threads // 2048} %)" for n in blocks]
        rows.append([launch.what, f"`{launch.kernel.name}`", f"{launch.blocks:,}", launch.threads, f"{launch.shared_bytes:,}", *share])
    header = ["launch", "kernel", "blocks", "threads", "dynamic shared bytes", *for_each_arch("blocks per multiprocessor")]
    return table(header, rows)


def microseconds(seconds: float) -> str:
    return f"{1e6 * seconds:.1f}"


def bounds_of(launch: Launch, case: Case) -> Bounds:
    return roofline.bounds(launch.kernel, launch.n_warps, works(case)[launch.what])


def time_table(found: list[Launch], case: Case) -> str:
    rows = []
    for launch in found:
        work, bound, count = works(case)[launch.what], bounds_of(launch, case), PASS.get(launch.what, 0)
        limits = map(microseconds, (bound.memory, bound.arithmetic, bound.issue))
        together = [count, microseconds(count * bound.time)] if count else ["", ""]
        sizes = [f"{work.bytes / 1e6:.1f}", f"{work.flop / 1e9:.2f}"]
        rows.append([launch.what, *sizes, *limits, f"**{microseconds(bound.time)}**", bound.limit, *together])
    header = ["launch", "MB", "GFLOP", "memory, µs", "arithmetic, µs", "issue, µs", "prediction, µs", "limit", "launches in a pass"]
    return table([*header, "together, µs"], rows)


def pass_seconds(found: list[Launch], case: Case) -> float:
    return sum(PASS.get(launch.what, 0) * bounds_of(launch, case).time for launch in found)


def in_order(arch: str) -> list[Kernel]:
    kernels = [kernel for path in cubins.sources() for kernel in cubins.kernels_of(path, arch)]
    return sorted(kernels, key=lambda kernel: (kernel.source, kernel.name))


def document() -> str:
    cubins.compile_all()
    kernels = {arch: in_order(arch) for arch in ARCHES}
    found = {case: launches(kernels["sm_90"], case) for case in CASES}
    products = product_flop(ENCODER)
    own, library = pass_seconds(found[ENCODER], ENCODER), products / roofline.TENSOR_PEAK
    return TEMPLATE.format(
        version=cubins.nvcc_version(),
        flags=" ".join(cubins.CODE_FLAGS),
        compiled=compiled_table(kernels),
        launched=launch_table(kernels, found[ENCODER]),
        launched_of_decoders=launch_table(kernels, found[DECODER]),
        times=time_table(found[ENCODER], ENCODER),
        times_of_decoders=time_table(found[DECODER], DECODER),
        share=f"{100 * roofline.MMA_SHARE:.0f}",
        rate=f"{roofline.ISSUE_RATE / 1e9:.0f}",
        own=f"{1e3 * own:.2f}",
        product_tflop=f"{products / 1e12:.2f}",
        library=f"{1e3 * library:.2f}",
        encoder=ENCODER,
        decoder=DECODER,
        block_words=BLOCK_WORDS,
        widened_words=WIDENED_WORDS,
    )


TEMPLATE = """# CUDA kernels

Written by `tests/cuda/describe_kernels.py` with nvcc {version}; do not edit. Everything here comes from the
compiler, the disassembler and the launchers. **Nothing on this page was measured on a device**: the times at
the end are predictions from data-sheet figures.

## Compiled

For compute capability 8.0, 9.0 and 10.0, with `{flags}`. No kernel spills registers or uses local
memory, none uses atomics or double precision (`tests/cuda/test_compile.py`). Instructions: length of the code up
to its last exit. Activations are numbered as in `kernels/backend.h`: none, GELU by erf, GELU by tanh, ReLU, tanh,
SiLU; so are norms: layer, RMS.

{compiled}

## Launched

RoBERTa-large, bf16: {encoder.n_sequences} sequences of {encoder.length} tokens, {encoder.n_dim} columns,
{encoder.n_heads} heads, {encoder.n_inner} inner columns, {encoder.n_labels} labels. In brackets: share of the 64
warps that a multiprocessor can hold. Prompt mode `add`, tables in bf16, GELU by erf; "attention, fp32" is what the
precisions fp32 and tf32 use.

{launched}

Llama 3 8B, bf16: {decoder.n_sequences} sequences of {decoder.length} tokens, each behind a shared prefix of
{decoder.n_prefix}, {decoder.n_dim} columns, {decoder.n_heads} heads that share {decoder.n_kv_heads} of keys and
values, {decoder.n_inner} inner columns. Llama has no norms of heads: `norm_heads` is what Qwen 3 has, of these sizes.
Labels of several tokens: logits of one row a sequence and of one block of {block_words} words of the vocabulary;
"widen, words" is what the precisions fp32 and tf32 do first with {widened_words} words in bf16.

{launched_of_decoders}

## Predicted, not measured

An H100 SXM has 3.35 TB/s, 989 TFLOP/s in bf16 on tensor cores and 67 TFLOP/s in float (NVIDIA's data sheet).
`mma.sync`, the instruction in use, reaches about {share} % of the tensor cores' peak on it (Luo et al. 2024,
arXiv 2402.13499). At 1.755 GHz its 132 multiprocessors issue at most {rate} billion warp instructions a second.

- memory: every array once through memory, whatever the second-level cache keeps.
- arithmetic: operations as carried out, with queries and keys padded to whole steps; one query takes a step of 16
  as well.
- issue: instructions counted in the machine code for 9.0. Loops of products (`HMMA`; `FFMA` in fp32) count as
  often as their products are needed, everything else once for each warp: too much where branches exclude each
  other, too little where another loop goes round.

{times}

The prediction is the largest of the three; a kernel that takes a few microseconds is bound by its launch (2 to
3 µs, less in a graph).

The launches of one pass are predicted to take {own} ms together. The matrix products beside them, cuBLASLt's,
have {product_tflop} TFLOP over all rows: {library} ms at the peak.

Of the decoder; keys and values of prefixes are not counted, since many sequences share them:

{times_of_decoders}
"""


def recorded_version(text: str) -> str:
    found = re.search(r"with nvcc ([\d.]+);", text)
    return found[1] if found else "none"


def check() -> int:
    recorded = DOCUMENT.read_text() if DOCUMENT.exists() else ""
    if recorded and recorded_version(recorded) != cubins.nvcc_version():
        print(f"{DOCUMENT.name} was written with nvcc {recorded_version(recorded)}, this is {cubins.nvcc_version()}: not compared")
        return OTHER_COMPILER
    if recorded == document():
        return 0
    print(f"{DOCUMENT} is out of date; run .venv/bin/python tests/cuda/describe_kernels.py", file=sys.stderr)
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the file instead of writing it")
    if parser.parse_args().check:
        return check()
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(document())
    print(f"wrote {DOCUMENT}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
