"""cmake/libraries.cmake: a library that is missing or too old is said in one sentence that names it and what installs it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT

PROJECT = f"cmake_minimum_required(VERSION 3.25)\nproject(libraries LANGUAGES C)\ninclude({ROOT}/cmake/libraries.cmake)\n"
PACKAGES = {line.split()[0] for line in (ROOT / "jobs" / "debian-packages.txt").read_text().splitlines() if line and line[0] != "#"}
MODULES = {"gsl": "GSL", "lapacke": "LAPACKE", "yaml-0.1": "libyaml", "jansson": "Jansson"}


@pytest.fixture
def configure(tmp_path: Path):
    """Configures what includes the file alone; what is said, without CMake's line breaks."""
    (tmp_path / "CMakeLists.txt").write_text(PROJECT)

    def run(*definitions: str, **variables: str) -> str:
        command = ["cmake", "-G", "Ninja", "-S", tmp_path, "-B", tmp_path / "build", *(f"-D{each}" for each in definitions)]
        result = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables}, check=False)
        assert (result.returncode != 0) == ("CMake Error" in result.stderr)
        return re.sub(r"\s+", " ", result.stderr)

    return run


def test_all_there(configure):
    assert configure() == ""


def said(text: str) -> str:
    """The one error's sentence; the Debian packages that it names are those that jobs/setup.sh installs."""
    assert text.count("CMake Error") == 1, text
    sentence = re.search(r"\(message\): (.*?) Call Stack", text)[1]
    for package in re.findall(r"\b(?:lib[a-z0-9.-]+-dev|pkg-config)\b", sentence):
        assert package in PACKAGES
    return sentence


@pytest.mark.parametrize(("package", "sentence"), [
    ("PkgConfig", "pkg-config is missing: install it (Debian: pkg-config; Spack: pkgconf)"),
    ("OpenMP", "OpenMP for GNU is missing: install it"),
    ("MPI", "MPI is missing: install it (Debian: libopenmpi-dev; Spack: openmpi or mpich), or name its compiler with -DMPI_C_COMPILER="),
    ("OpenSSL", "OpenSSL 1.1 or later (libcrypto) is missing: install it (Debian: libssl-dev; Spack: openssl)"),
    ("HDF5", "HDF5 1.10 or later is missing: install it (Debian: libhdf5-dev; Spack: hdf5), or name its folder with -DHDF5_ROOT="),
])
def test_package_is_missing(configure, package, sentence):
    assert said(configure(f"CMAKE_DISABLE_FIND_PACKAGE_{package}=ON", "CMAKE_C_COMPILER=gcc")).startswith(sentence)


@pytest.mark.parametrize(("variable", "sentence"), [
    ("RANDOM123_INCLUDE_DIR", "Random123 (headers) is missing: install it (Debian: librandom123-dev; Spack: random123)"),
    ("DNNL_INCLUDE_DIR", "oneDNN 2.6 to 3 (dnnl.h) is missing: install it (Debian: libdnnl-dev; Spack: onednn), or name it with"),
    ("DNNL_LIBRARY", "oneDNN 2.6 to 3 (libdnnl) is missing: install it (Debian: libdnnl-dev; Spack: onednn), or name it with"),
])
def test_file_is_missing(configure, variable, sentence):
    """An empty answer is what a search that finds nothing leaves, and is not searched again."""
    assert said(configure(f"{variable}=")).startswith(sentence)


def pkg_config_folder(tmp_path: Path, module: str, text: str | None) -> str:
    """All of the machine's modules, `module` with other text, or without it."""
    folder = tmp_path / "pkgconfig"
    folder.mkdir()
    searched = subprocess.run(["pkg-config", "--variable", "pc_path", "pkg-config"], capture_output=True, text=True, check=True).stdout
    for path in searched.strip().split(":"):
        for file in Path(path).glob("*.pc"):
            if file.stem != module and not (folder / file.name).exists():
                (folder / file.name).symlink_to(file)
    if text is not None:
        (folder / f"{module}.pc").write_text(text)
    return str(folder)


@pytest.mark.parametrize("module", MODULES)
def test_module_is_missing(configure, tmp_path, module):
    sentence = said(configure(PKG_CONFIG_LIBDIR=pkg_config_folder(tmp_path, module, None)))
    assert re.match(rf"{MODULES[module]} [0-9.]+ or later is missing: install it \(Debian: lib[a-z]+-dev; Spack: [a-z +-]+\)", sentence)
    assert f"{module}.pc in PKG_CONFIG_PATH" in sentence


def test_module_is_too_old(configure, tmp_path):
    folder = pkg_config_folder(tmp_path, "gsl", "Name: gsl\nDescription: old\nVersion: 2.6\n")
    sentence = said(configure(PKG_CONFIG_LIBDIR=folder))
    assert sentence.startswith("GSL is older than 2.7 (") and f"{folder}/gsl.pc" in sentence.replace("/ ", "/")


@pytest.mark.parametrize(("version", "refused"), [("2.5", True), ("3.7", False), ("4.0", True)])
def test_versions_of_onednn(configure, tmp_path, version, refused):
    header = tmp_path / "include" / "oneapi" / "dnnl" / "dnnl_version.h"
    header.parent.mkdir(parents=True)
    major, minor = version.split(".")
    header.write_text(f"#define DNNL_VERSION_MAJOR {major}\n#define DNNL_VERSION_MINOR {minor}\n#define DNNL_VERSION_PATCH 9\n")
    text = configure(f"DNNL_INCLUDE_DIR={tmp_path}/include")
    assert (said(text) if refused else text).startswith(f"oneDNN {version} (" if refused else "")


def test_hdf5_is_too_old(configure, tmp_path):
    """Breaks if a version below the minimum is taken as missing: the user would look for what is there."""
    (tmp_path / "FindHDF5.cmake").write_text("set(HDF5_FOUND FALSE)\nset(HDF5_VERSION 1.8.23)\nset(HDF5_C_LIBRARIES /x)\nset(HDF5_C_INCLUDE_DIRS /x/include)\n")
    assert said(configure(f"CMAKE_MODULE_PATH={tmp_path}")) == "HDF5 1.8.23 (/x/include) is older than 1.10: name a later one with -DHDF5_ROOT=..."
