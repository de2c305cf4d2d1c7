"""The checks of checks.py, on kernels made to fail them: a check that never fires would let everything through."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import checks
import cubins
import pytest
import sass
from checks import Narrow
from cubins import ARCHES, Kernel

SAMPLES = Path(__file__).resolve().parent / "samples.cu"
CHECKS: dict[str, Callable[[Kernel], Iterator[str]]] = {
    "memory": checks.memory,
    "order": checks.order,
    "doubles": checks.doubles,
    "width": lambda kernel: checks.width(kernel, Narrow()),
    "copies": checks.copies,
    "tensor_cores": checks.tensor_cores,
    "float_products": checks.float_products,
}
PRODUCTS = {"copies", "tensor_cores", "float_products"}  # what only kernels of products can satisfy
FAULTS = {
    "good": {"float_products"},
    "product_without_shared": PRODUCTS,
    "spills": {"memory"} | PRODUCTS,
    "computed_index": {"memory"} | PRODUCTS,
    "atomic": {"order", "width"} | PRODUCTS,
    "doubled": {"doubles"} | PRODUCTS,
    "narrow": {"width"} | PRODUCTS,
}


@pytest.mark.parametrize("arch", ARCHES)
def test_each_check_fires_on_its_fault_alone(arch: str) -> None:
    kernels = {kernel.name: kernel for kernel in cubins.kernels_of(SAMPLES, arch)}
    assert kernels.keys() == FAULTS.keys()
    found = {name: {check for check, faults in CHECKS.items() if list(faults(kernel))} for name, kernel in kernels.items()}
    assert found == FAULTS


def test_narrow_accesses_are_counted() -> None:
    """Breaks if an allowance for one index let any number of narrow loads through."""
    kernel = next(kernel for kernel in cubins.kernels_of(SAMPLES, "sm_90") if kernel.name == "narrow")
    assert len(list(checks.width(kernel, Narrow(loads=0, stores=0)))) == 3
    assert len(list(checks.width(kernel, Narrow(loads=1, stores=0)))) == 2
    assert list(checks.width(kernel, Narrow(loads=1, stores=1))) == ["no global access of 16 bytes at all"]


def test_loops() -> None:
    """A loop in a loop, as nvdisasm lists it: the inner one is found, and the branch to itself at the end is no loop."""
    listing = """[{}, [{"function-name": "k", "sass-instructions": [
        {"opcode": "S2R", "operands": "R0,SR_TID.X"},
        {"opcode": "LDSM.16.M88.4", "operands": "R4,[R0]"},
        {"opcode": "HMMA.16816.F32.BF16", "operands": "R8,R4,R4,R8"},
        {"predicate": "@P0", "opcode": "BRA", "operands": "0x20"},
        {"predicate": "@!PT", "opcode": "LDS", "operands": "RZ,[RZ]"},
        {"opcode": "BRA.U", "operands": "UP1,0x10"},
        {"opcode": "EXIT"},
        {"opcode": "BRA", "operands": "0x70"},
        {"opcode": "NOP"}]}]]"""
    code = sass.parse(listing)["k"]
    assert code.loops == [sass.Loop(2, 3), sass.Loop(1, 5)]
    assert code.innermost_loops("HMMA") == [sass.Loop(2, 3)] and code.innermost_loops("LDSM") == [sass.Loop(1, 5)]
    assert code.n_issued == 7 and code.matching("LDS(\\.|$)") == []


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("void norm_kernel<fbt_row<__nv_bfloat16, 32, 4> >(fbt_cuda_norm_args)", "norm_kernel<fbt_row<__nv_bfloat16, 32, 4>>"),
        ("void (anonymous namespace)::attention<64, 8, 2>(fbt_cuda_attention_args, int)", "attention<64, 8, 2>"),
        ("void act<__nv_bfloat16, (fbt_activation)1>(__nv_bfloat16*, long)", "act<__nv_bfloat16, 1>"),
        ("spills(uint4*, uint4 const*)", "spills"),
    ],
)
def test_short_names(name: str, short: str) -> None:
    assert cubins.shortened(name) == short


def test_warnings_are_errors(tmp_path: Path) -> None:
    source = tmp_path / "warns.cu"
    source.write_text("__global__ void k(int *y) { int unused = 1; *y = 1; }\n")
    with pytest.raises(cubins.CompileError, match="unused"):
        cubins.compiled(source, "sm_90")
