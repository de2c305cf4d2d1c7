"""Every kernel, compiled for every architecture of the preset cuda: warnings, registers, machine code."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import checks
import cubins
import pytest
from checks import ANY, Narrow
from cubins import ARCHES, Kernel

FILES = {path.name: path for path in cubins.sources()}
ATTENTION = ("attention_bf16.cu", "attention_fp32.cu")
# Accesses of a file's kernels that are not 16 bytes wide, by the kernel's name. Kernels of rows of a few words, or that begin anywhere, are left out.
NARROW = {
    "activation.cu": {"": Narrow()},
    "attention_bf16.cu": {"": Narrow(10, 0, "where queries and each source of keys begin and end; which prefix")},
    "attention_fp32.cu": {"": Narrow(10, 0, "where queries and each source of keys begin and end; which prefix")},
    "compare.cu": {"": ANY},
    "embed.cu": {
        "rows_kernel<float>": Narrow(4, 1, "the lists; the error; a table of half precision is read for 4 floats at a time", bytes=8),
        "rows_kernel": Narrow(3, 1, "the lists; the error"),
        "float": Narrow(4, 1, "as below; a table of half precision is read for 4 floats at a time", bytes=8),
        "": Narrow(4, 1, "the token, its sequence's place and prompt; the error"),
    },
    "heads.cu": {
        "norm_heads": Narrow(),
        ", 1>": ANY,
        "rotate": Narrow(1, 1, "the position; the error"),
    },
    "log_probs.cu": {
        "widen": Narrow(),
        "fold_logits_kernel<4>": Narrow(2, 4, "largest and sum of the words before; those of the words so far"),
        "fold_logits": ANY,
        "pick_logits": ANY,
    },
    "norm.cu": {"": Narrow()},
    "readout.cu": {
        "gather": Narrow(4, 0, "which rows"),
        "mean_pool": Narrow(3, 2, "where the sequence begins and ends; the pooled row, written and scaled by one thread an element"),
        "label_logits": Narrow(1, 2, "the label's bias; the logit"),
        "loss": ANY,
    },
    "perturb.cu": {"": ANY},
    "plain_product.cu": {"": ANY},
}


@pytest.fixture(scope="session", autouse=True)
def _compiled() -> None:
    cubins.compile_all()


def assert_none(check: Callable[[Kernel], Iterator[str]], name: str, arch: str) -> None:
    kernels = cubins.kernels_of(FILES[name], arch)
    if faults := [f"{kernel}: {fault}" for kernel in kernels for fault in check(kernel)]:
        pytest.fail("\n".join(faults), pytrace=False)


def width(kernel: Kernel) -> Iterator[str]:
    part = next(part for part in NARROW[kernel.source.name] if part in kernel.name)
    return checks.width(kernel, NARROW[kernel.source.name][part])


each_file = pytest.mark.parametrize("name", sorted(NARROW))
each_arch = pytest.mark.parametrize("arch", ARCHES)


def test_every_file_is_looked_at() -> None:
    """Breaks if a file comes, goes or moves: what follows would then not look at it."""
    assert {name for name, path in FILES.items() if "__global__" in path.read_text()} == set(NARROW)
    assert all(cubins.kernels_of(FILES[name], "sm_90") for name in NARROW)


@each_arch
@each_file
def test_no_local_memory(name: str, arch: str) -> None:
    assert_none(checks.memory, name, arch)


@each_arch
@each_file
def test_no_atomics(name: str, arch: str) -> None:
    assert_none(checks.order, name, arch)


@each_arch
@each_file
def test_no_doubles(name: str, arch: str) -> None:
    assert_none(checks.doubles, name, arch)


@each_arch
@each_file
def test_threads_move_16_bytes_at_once(name: str, arch: str) -> None:
    assert_none(width, name, arch)


@each_arch
@pytest.mark.parametrize("name", ATTENTION)
def test_attention_copies_asynchronously(name: str, arch: str) -> None:
    assert_none(checks.copies, name, arch)


@each_arch
def test_bf16_attention_uses_tensor_cores(arch: str) -> None:
    assert_none(checks.tensor_cores, "attention_bf16.cu", arch)


@each_arch
def test_fp32_attention_multiplies_out_of_registers(arch: str) -> None:
    assert_none(checks.float_products, "attention_fp32.cu", arch)
