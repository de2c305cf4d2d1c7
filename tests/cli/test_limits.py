"""Limits of the system on a run: whatever is missing, it ends soon, and says what in one sentence."""

from __future__ import annotations

import resource

import pytest
from conftest import LOG_LINE, SANITIZED, Result, Study

pytestmark = pytest.mark.skipif(SANITIZED, reason="sanitizers reserve terabytes of address space")


def limited(study: Study, megabytes: int, **changes: object) -> Result:
    """A run under a limit of address space."""
    size = megabytes << 20
    return study.run(before=lambda: resource.setrlimit(resource.RLIMIT_AS, (size, size)),
                     **{"run__output": study.output(), **changes})


def test_every_limit_of_address_space_ends_soon(mask: Study) -> None:
    ends = set()
    for megabytes in range(100, 540, 40):
        result = limited(mask, megabytes, cma__decomposition="eigen")
        told = [line for line in result.err.splitlines() if not LOG_LINE.match(line)]
        assert (result.code, len(told)) in ((0, 0), (1, 1)), (megabytes, result.err)
        assert result.seconds < 60
        ends.add(result.code)
    assert ends == {0, 1}, "the limits tried are not about the run's need"


def test_no_room_for_the_eigensolver(mask: Study) -> None:
    """OpenBLAS would try to map its buffer for ever, deaf to signals."""
    for megabytes in range(460, 200, -20):  # from above: near the least the libraries' arenas sometimes leave too little for the model
        result = limited(mask, megabytes, cma__decomposition="eigen")
        if "eigensolver" in result.err:
            break
    result.sentence("cma.decomposition eigen: the eigensolver needs", f"the limit of {megabytes} MB (ulimit -v)", "raise the limit",
                    "cma.decomposition cholesky")
    limited(mask, megabytes).good()
    limited(mask, megabytes, cma__covariance="separable", cma__decomposition="eigen").good()


def test_no_room_for_the_model(mask: Study) -> None:
    limited(mask, 400, cma__covariance="isotropic", cma__dimension=300000).sentence("the model takes", "projection 216",
                                                                                    "the limit of 400 MB (ulimit -v)")


def test_runs_alone_share_no_folder(mask: Study) -> None:
    """Breaks if processes without mpirun make a folder for MPI: they would all make and remove the same one."""
    mask.run(run__output=mask.output(), env={"TMPDIR": str(mask.folder / "nowhere" / "at" / "all")}).good()
    assert not (mask.folder / "nowhere").exists()


def test_threads_that_cannot_be_started(mask: Study) -> None:
    """OpenMP would end the program without a word of ours."""
    limited(mask, 1500, backend__threads=1000).sentence("backend.threads: only", "of 1000 threads can be started", "ulimit")
