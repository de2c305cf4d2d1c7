"""The installed tree: all is there, and works from anywhere; nothing of it may need the checkout."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BUILD, ROOT, Copy

SCRIPT = """
source "$1/jobs/project.sh"
unset FEDBPT
source "$FBT_ROOT/jobs/sites/debian.sh"
printf '%s\\n' "$PWD" "$FEDBPT" "$@"
"""


def test_what_users_look_for(copy: Copy) -> None:
    """Breaks when a rule of installation goes missing, or a file that it names moves."""
    expected = [
        *("bin/fedbpt", "include/fedbpt/model/model.h", "share/man/man1/fedbpt.1", "share/man/man5/fedbpt-settings.5"),
        *("share/bash-completion/completions/fedbpt", "share/zsh/site-functions/_fedbpt"),
        *("share/doc/fedbpt/LICENSE", "share/doc/fedbpt/README.md", "share/doc/fedbpt/third-party-licences.md"),
        *("share/fedbpt/configs/quickstart.yaml", "share/fedbpt/configs/tasks/sst2.yaml", "share/fedbpt/examples/minimal.c"),
        *("share/fedbpt/jobs/run.sbatch", "share/fedbpt/jobs/prepare_data.py", "share/fedbpt/analysis/pyproject.toml"),
    ]
    assert [name for name in expected if not (copy.prefix / name).is_file()] == []
    assert not list(copy.prefix.rglob("__pycache__")) and not list(copy.prefix.rglob(".*_cache"))


def test_nothing_names_the_checkout(copy: Copy) -> None:
    """Breaks when a path of the build machine gets into what is installed."""
    places = {str(ROOT).encode(), str(BUILD.resolve()).encode()}
    files = [path for path in copy.prefix.rglob("*") if path.is_file()]
    assert [path for path in files if any(place in path.read_bytes() for place in places)] == []


def test_program_from_another_folder(copy: Copy, tmp_path: Path) -> None:
    assert copy.call("fedbpt", "--version", cwd=tmp_path).startswith("fedbpt 0.")
    assert "Usage: fedbpt run" in copy.call("fedbpt", "run", "--help", cwd=tmp_path)
    assert "backend: cpu" in copy.call("fedbpt", "info", cwd=tmp_path)


def test_libraries_are_found(copy: Copy) -> None:
    """Breaks when a library is found through the environment of the build alone."""
    for path in (copy.program, copy.library_folder / "libfedbpt.so"):
        assert "not found" not in copy.call("ldd", path, LD_LIBRARY_PATH="")


def python(copy: Copy, folder: Path, code: str, cwd: Path, **environment: str) -> str:
    return copy.call(sys.executable, "-c", code, cwd=cwd, PYTHONPATH=str(folder), PYTHONDONTWRITEBYTECODE="1", **environment).strip()


def test_analysis_finds_program_and_staging(copy: Copy, tmp_path: Path) -> None:
    """Breaks when the package looks for them in a checkout alone. An editable install of it elsewhere must not win."""
    code = (
        "from fedbpt_analysis import classify, program as p\n"
        "print(p.__file__, p.find(None), classify.find_staging(), classify._task_file('sst2'), sep='\\n')"
    )
    module, program, staging, task = python(copy, copy.data / "analysis", code, tmp_path, PATH="/usr/bin:/bin").splitlines()
    assert Path(module).is_relative_to(copy.data)
    assert Path(program).resolve() == copy.program
    assert Path(staging) == copy.data / "jobs" / "prepare_data.py"
    assert Path(task) == copy.data / "configs" / "tasks" / "sst2.yaml"


def test_package_installed_by_pip_finds_the_staging_of_the_program(copy: Copy, tmp_path: Path) -> None:
    """In site-packages nothing lies around the package: the program on PATH leads to the rest."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "fedbpt_analysis").symlink_to(copy.data / "analysis" / "fedbpt_analysis")
    code = "from pathlib import Path\nfrom fedbpt_analysis import classify as c\nc.CHECKOUT = Path('/none')\nprint(c.find_staging())"
    assert Path(python(copy, site, code, tmp_path)) == copy.data / "jobs" / "prepare_data.py"


def test_export_names_the_package_that_is_installed_with_it(copy: Copy) -> None:
    """Breaks when a user of an installed copy is sent to a checkout."""
    with pytest.raises(AssertionError) as told:
        copy.call("fedbpt", "export", "a.h5", "--format", "npz", FEDBPT_PYTHON="/bin/false")
    folder = re.search(r"-m pip install (\S+)'", str(told.value))
    assert folder is not None and (Path(folder[1]) / "pyproject.toml").is_file(), told.value


def test_staging_asks_the_installed_program(copy: Copy, tmp_path: Path) -> None:
    code = "from staging.program import find_program\nprint(find_program())"
    assert Path(python(copy, copy.data / "jobs", code, tmp_path, PATH="/usr/bin:/bin")).resolve() == copy.program


def test_jobs_stay_where_they_are_submitted(copy: Copy, tmp_path: Path) -> None:
    """Breaks when a job of an installed copy writes into it, or does not find its program; configurations of the copy are named
    as in a checkout, and one of the user's own goes first."""
    (tmp_path / "mine.yaml").touch()
    words = ["mine.yaml", "configs/quickstart.yaml", "--set", "run.output=a.h5"]
    printed = copy.call("bash", "-euc", SCRIPT, "job", copy.data, *words, cwd=tmp_path).splitlines()
    installed = str(copy.data / "configs" / "quickstart.yaml")
    assert printed == [str(tmp_path), str(copy.data / "bin" / "fedbpt"), str(copy.data), "mine.yaml", installed, *words[2:]]


def test_python_environment_goes_into_the_current_folder(copy: Copy, tmp_path: Path) -> None:
    line = f'source "{copy.data}/jobs/setup.sh"; fbt_local_caches; echo "$FBT_WORK $XDG_CACHE_HOME"'
    assert copy.call("bash", "-euc", line, cwd=tmp_path).split() == [str(tmp_path), f"{tmp_path}/.cache"]


@pytest.mark.parametrize("name", ["run.sbatch", "sweep.sbatch", "stage_in.sbatch"])
def test_job_scripts_name_no_file_of_the_current_folder(copy: Copy, name: str) -> None:
    """`source jobs/...` works in a checkout's folder alone."""
    lines = (copy.data / "jobs" / name).read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith(("source jobs", ". jobs", "bash jobs"))] == []


def test_packages(copy: Copy, tmp_path: Path) -> None:
    """`cpack` makes an archive of the same tree."""
    subprocess.run(["cpack", "-G", "TGZ", "--config", str(BUILD / "CPackConfig.cmake"), "-B", str(tmp_path)], check=True, capture_output=True)
    listed = copy.call("tar", "-tzf", next(tmp_path.glob("fedbpt-*.tar.gz"))).splitlines()
    packed = {name.split("/", 1)[1] for name in listed if not name.endswith("/")}
    installed = {str(path.relative_to(copy.prefix)) for path in copy.prefix.rglob("*") if not path.is_dir() or path.is_symlink()}
    assert packed == installed
