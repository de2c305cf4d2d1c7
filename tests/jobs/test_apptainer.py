"""packaging/apptainer.def is read: sections, scripts and paths. tests/packaging/apptainer.sh runs it."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "tests" / "packaging"))
import definition  # noqa: E402

TEXT = (ROOT / "packaging" / "apptainer.def").read_text()


def test_header():
    header = dict(line.split(": ") for line in definition.parse(TEXT)["header"].splitlines() if line and line[0] != "#")
    assert header == {"Bootstrap": "docker", "From": "debian:12-slim"}
    assert definition.arguments_of(definition.parse(TEXT)) == {"cuda": "no"}


@pytest.mark.parametrize("name", ["post", "runscript", "test", "environment"])
@pytest.mark.parametrize("cuda", ["no", "yes"])
def test_scripts_are_sound(tmp_path, name, cuda):
    """shellcheck finds nothing, and no argument is left in."""
    shell = definition.parse(TEXT).get(f"{name}-shell", "/bin/sh")
    script = tmp_path / f"{name}.sh"
    script.write_text(f"#!{shell}\n" + definition.section(TEXT, name, cuda=cuda))
    assert "{{" not in script.read_text()
    result = subprocess.run(["shellcheck", "--exclude=SC1091,SC2050,SC2154", script], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_post_uses_what_there_is():
    """Breaks if a function of jobs/setup.sh or a preset gets another name."""
    post = definition.section(TEXT, "post")
    functions = set(re.findall(r"\bfbt_\w+", post))
    defined = (ROOT / "jobs" / "setup.sh").read_text() + (ROOT / "jobs" / "cuda.sh").read_text()
    assert functions == {"fbt_install_packages", "fbt_make_venv", "fbt_cuda_toolkit"}
    assert all(f"{name}()" in defined for name in functions)
    presets = (ROOT / "CMakePresets.json").read_text()
    assert all(f'"name": "{name}"' in presets for name in re.findall(r"preset=(\w+)", post))


def test_wrong_definitions_are_refused():
    with pytest.raises(ValueError, match="there twice"):
        definition.parse("%post\n    true\n%post\n    true\n")
    with pytest.raises(ValueError, match="no build argument gpu"):
        definition.section(TEXT, "post", gpu="yes")
