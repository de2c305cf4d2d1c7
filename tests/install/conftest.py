"""An installed copy of the build that FEDBPT_BUILD names, moved to another place than it was made for."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("FEDBPT_BUILD", ROOT / "build" / "release"))
CMAKE = os.environ.get("CMAKE", "cmake")
sys.path.insert(0, str(ROOT / "tests" / "cli"))


@dataclass
class Copy:
    """The installed tree."""

    prefix: Path

    @property
    def program(self) -> Path:
        return self.prefix / "bin" / "fedbpt"

    @property
    def headers(self) -> Path:
        return self.prefix / "include" / "fedbpt"

    @property
    def data(self) -> Path:
        return self.prefix / "share" / "fedbpt"

    @property
    def library_folder(self) -> Path:
        return next(self.prefix.glob("lib*/**/libfedbpt.so")).parent

    def environment(self) -> dict[str, str]:
        """Of a user whose shell knows the copy and not the checkout."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("FEDBPT", "PYTHON", "VIRTUAL"))}
        return {
            **kept,
            "PATH": f"{self.prefix}/bin:/usr/local/bin:/usr/bin:/bin",
            "PKG_CONFIG_PATH": str(self.library_folder / "pkgconfig"),
            "CMAKE_PREFIX_PATH": str(self.prefix),
        }

    def call(self, *command: str | Path, cwd: str | Path = "/", **environment: str) -> str:
        """Return the command's output; its own words as the failure if it fails."""
        result = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, check=False, cwd=cwd, env=self.environment() | environment
        )
        assert result.returncode == 0, f"{command}:\n{result.stdout}\n{result.stderr}"
        return result.stdout


@pytest.fixture(scope="session")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Copy:
    """Made for /opt/fedbpt, and lies below a folder of the test: what only works where it was made for shows."""
    destination = tmp_path_factory.mktemp("installed")
    command = [CMAKE, "--install", str(BUILD), "--prefix", "/opt/fedbpt", "--strip"]
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | {"DESTDIR": str(destination)})
    assert result.returncode == 0, result.stderr
    assert list(destination.iterdir()) == [destination / "opt"], "something lies beside the prefix"
    return Copy(destination / "opt" / "fedbpt")
