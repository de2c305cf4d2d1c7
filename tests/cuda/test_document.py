"""docs/cuda-kernels.md against the kernels as they are."""

from __future__ import annotations

from dataclasses import replace

import cubins
import describe_kernels
import pytest


def test_document_is_up_to_date(capsys: pytest.CaptureFixture[str]) -> None:
    """Registers differ from compiler to compiler, so only the one it was written with can tell."""
    code = describe_kernels.check()
    if code == describe_kernels.OTHER_COMPILER:
        pytest.skip(capsys.readouterr().out.strip())
    assert code == 0, capsys.readouterr().err


def test_every_kernel_is_launched_by_some_launcher() -> None:
    """Breaks if a launcher is left out of launches.cc: its kernel would then have no times."""
    kernels = [kernel for path in cubins.sources() for kernel in cubins.kernels_of(path, "sm_90")]
    found = {case: describe_kernels.launches(kernels, case) for case in describe_kernels.CASES}
    assert {launch.kernel.source for some in found.values() for launch in some} == {kernel.source for kernel in kernels}
    for case, some in found.items():
        assert {launch.what for launch in some} == set(describe_kernels.works(case))
    assert set(describe_kernels.PASS) <= {launch.what for launch in found[describe_kernels.ENCODER]}


def test_launches_follow_the_sizes() -> None:
    """Breaks if the stand-in for the runtime told anything but what the launcher asked for."""
    kernels = [kernel for path in cubins.sources() for kernel in cubins.kernels_of(path, "sm_90")]
    small, large = (
        {launch.what: launch for launch in describe_kernels.launches(kernels, replace(describe_kernels.ENCODER, n_sequences=n))}
        for n in (40, 400)
    )
    assert large["attention"].blocks == 10 * small["attention"].blocks
    assert large["norm"].blocks == 10 * small["norm"].blocks and large["norm"].kernel == small["norm"].kernel


def test_occupancy() -> None:
    """Against what is known: 65,536 registers, 2,048 threads, 32 blocks, 228 KB of shared memory, of which each block takes 1 KB."""
    kernel = next(kernel for path in cubins.sources() for kernel in cubins.kernels_of(path, "sm_90"))

    def resident(registers: int, threads: int, shared_bytes: int) -> int:
        one = replace(kernel, registers=registers, shared_bytes=0)
        launch = describe_kernels.Launch("", one, 1, threads, shared_bytes)
        return describe_kernels.blocks_per_multiprocessor([(one, launch)])[0]

    assert resident(32, 1024, 0) == 2 and resident(64, 1024, 0) == 1 and resident(255, 1024, 0) == 0
    assert resident(32, 32, 0) == 32
    assert resident(32, 128, 113 << 10) == 2 and resident(32, 128, 114 << 10) == 1
