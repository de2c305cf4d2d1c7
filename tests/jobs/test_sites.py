"""Files that name libraries and versions for other systems: the Spack recipe and environment, the template for environment modules.

Spack itself is on no package index, so that the recipe is executed with stand-ins for what it imports. Held against cmake/libraries.cmake
and cmake/cuda.cmake, whose minimums decide.
"""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

REPOSITORY = ROOT / "packaging" / "spack" / "spack_repo" / "fedbpt"
ENVIRONMENT = ROOT / "jobs" / "sites" / "spack.yaml"
TEMPLATE = ROOT / "jobs" / "sites" / "modules.sh.template"
CMAKE = "".join((ROOT / name).read_text() for name in ("CMakeLists.txt", "cmake/libraries.cmake", "cmake/cuda.cmake", "jobs/cuda.sh"))

# The newest version of each package that Spack had when this was written; a demand beyond it cannot be met there.
SPACK_HAS = {"cmake": "4.1", "hdf5": "2.0", "gsl": "2.8", "onednn": "3.0", "netlib-lapack": "3.12", "libyaml": "0.2", "jansson": "2.14",
             "openssl": "3.6", "openmpi": "5.0", "python": "3.14", "cuda": "13.0", "cmocka": "1.1", "mpi": "4.1"}


def version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split("."))


def minimum_of_cmake(pattern: str) -> tuple[int, ...]:
    return version(re.search(pattern, CMAKE)[1])


MINIMUM = {
    "cmake": minimum_of_cmake(r"cmake_minimum_required\(VERSION ([0-9.]+)\)"),
    "hdf5": minimum_of_cmake(r"find_package\(HDF5 ([0-9.]+)"),
    "gsl": minimum_of_cmake(r"fbt_need_module\(GSL \S+ gsl ([0-9.]+)"),
    "netlib-lapack": minimum_of_cmake(r"fbt_need_module\(LAPACKE \S+ lapacke ([0-9.]+)"),
    "libyaml": minimum_of_cmake(r"fbt_need_module\(YAML \S+ yaml-0.1 ([0-9.]+)"),
    "jansson": minimum_of_cmake(r"fbt_need_module\(JANSSON \S+ jansson ([0-9.]+)"),
    "openssl": minimum_of_cmake(r"find_package\(OpenSSL ([0-9.]+)"),
    "onednn": minimum_of_cmake(r"DNNL_VERSION VERSION_LESS ([0-9.]+)"),
    "cuda": minimum_of_cmake(r"FBT_CUDA_OLDEST=([0-9.]+)"),
}


def check_spec(spec: str) -> str:
    """The name of a spec's package; its versions begin with CMake's minimum, and Spack has one of them."""
    match = re.match(r"([a-z0-9-]+)(?:@([0-9.]+):([0-9.]*))?(?: |$)", spec)
    assert match, f"{spec}: not NAME@FROM:TO and variants"
    name, low, high = match.groups()
    if name in MINIMUM:
        assert low and version(low) == MINIMUM[name], f"{spec}: CMake asks for {MINIMUM[name]}"
    if name == "onednn":
        assert version(high) == (3,) and "DNNL_VERSION VERSION_GREATER_EQUAL 4" in CMAKE
    if low:
        assert version(low) <= version(SPACK_HAS[name]), f"{spec}: Spack has no such version"
    return name


class Recorder:
    """The directives that a recipe calls while its class is made."""

    NAMES = ("license", "version", "variant", "depends_on", "conflicts", "generator")
    OTHERS = ("Executable", "InstallError", "working_dir")

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def fill(self, module: types.ModuleType) -> types.ModuleType:
        for directive in self.NAMES:
            setattr(module, directive, lambda *args, _name=directive, **options: self.calls.append((_name, args, options)))
        for other in self.OTHERS:
            setattr(module, other, None)
        return module

    def of(self, directive: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(args, options) for name, args, options in self.calls if name == directive]


class Base:
    """Run the recipe's methods for a spec like '+cuda cuda_arch=90'."""

    def __init__(self, spec: str) -> None:
        values = dict(re.findall(r"(\w+)=(\S+)", spec))
        self.spec = types.SimpleNamespace(
            satisfies=lambda each: each in spec.split(), variants={key: types.SimpleNamespace(value=value.split(",")) for key, value in values.items()})

    def define(self, name: str, value: object) -> str:
        text = ";".join(value) if isinstance(value, list) else value if isinstance(value, str) else "ON" if value else "OFF"
        return f"-D{name}={text}"

    def define_from_variant(self, name: str, variant: str) -> str:
        return self.define(name, self.spec.satisfies(f"+{variant}"))


@pytest.fixture
def recipe(monkeypatch):
    """(the recipe's class, its directives)"""
    recorder = Recorder()
    stubs = {"spack": types.ModuleType("spack"), "spack.package": recorder.fill(types.ModuleType("spack.package"))}
    for name, class_name in (("cmake", "CMakePackage"), ("cuda", "CudaPackage")):
        module = recorder.fill(types.ModuleType(f"spack_repo.builtin.build_systems.{name}"))
        setattr(module, class_name, type(class_name, (Base,) if name == "cmake" else (), {}))
        stubs[module.__name__] = module
    for parent in ("spack_repo", "spack_repo.builtin", "spack_repo.builtin.build_systems"):
        stubs[parent] = types.ModuleType(parent)
    for name, module in stubs.items():
        monkeypatch.setitem(sys.modules, name, module)
    path = REPOSITORY / "packages" / "fedbpt" / "package.py"
    scope: dict[str, Any] = {"__file__": str(path), "__name__": "spack_repo.fedbpt.packages.fedbpt.package"}
    exec(compile(path.read_text(), path, "exec"), scope)
    return scope["Fedbpt"], recorder


def test_repository():
    """Spack 1 takes a package's folder and class from its name, and the repository's folder from its namespace."""
    assert yaml.safe_load((REPOSITORY / "repo.yaml").read_text()) == {"repo": {"namespace": REPOSITORY.name, "api": "v2.0"}}
    assert REPOSITORY.parent.name == "spack_repo"


def test_recipe_builds_this_checkout(recipe):
    package, directives = recipe
    assert package.git == f"file://{ROOT}"
    assert directives.of("version") == [(("main",), {"branch": "main"})]


def test_recipe_names_what_cmake_needs(recipe):
    _, directives = recipe
    names = {check_spec(args[0]) for args, _ in directives.of("depends_on")}
    assert set(MINIMUM) | {"c", "mpi", "ninja", "pkgconfig", "random123", "cmocka", "git"} <= names
    optional = {args[0].split("@")[0]: options["when"] for args, options in directives.of("depends_on") if "when" in options}
    assert optional == {"cmocka": "+tests", "cuda": "+cuda", "cxx": "+cuda"}


@pytest.mark.parametrize(("spec", "arguments"), [
    ("~cuda ~tests", ["-DFBT_CUDA=OFF", "-DBUILD_TESTING=OFF"]),
    ("~cuda +tests", ["-DFBT_CUDA=OFF", "-DBUILD_TESTING=ON"]),
    ("+cuda ~tests cuda_arch=80,90", ["-DFBT_CUDA=ON", "-DBUILD_TESTING=OFF", "-DCMAKE_CUDA_ARCHITECTURES=80;90"]),
])
def test_recipe_configures(recipe, spec, arguments):
    """CMake knows every variable that is set."""
    package, _ = recipe
    assert package(spec).cmake_args() == arguments
    for name in re.findall(r"-D(FBT_\w+|CMAKE_CUDA_ARCHITECTURES)", " ".join(arguments)):
        assert name in CMAKE


def test_environment():
    specs = yaml.safe_load(ENVIRONMENT.read_text())["spack"]["specs"]
    names = [check_spec(spec) for spec in specs]
    assert set(MINIMUM) - {"cuda"} <= set(names) and len(set(names)) == len(names)
    check_spec(re.search(r'# - "(cuda@[^"]+)', ENVIRONMENT.read_text())[1])


def test_environment_and_recipe_agree(recipe):
    _, directives = recipe
    ranges = {args[0].split("@")[0]: re.search(r"@(\S+)", args[0]) for args, _ in directives.of("depends_on")}
    for spec in yaml.safe_load(ENVIRONMENT.read_text())["spack"]["specs"]:
        name, _, text = spec.split(" ")[0].partition("@")
        if ranges.get(name):
            assert text == ranges[name][1], spec


def test_modules_template():
    """Breaks if the template names a version that CMake refuses."""
    names = {"lapack": "netlib-lapack"}
    lines = re.findall(r"# module load (.*)", TEMPLATE.read_text())
    assert len(lines) == 3
    for name, text in re.findall(r"([a-z0-9]+)/([0-9.]+)", " ".join(lines)):
        least = MINIMUM.get(names.get(name, name), (0,))
        assert version(text) >= least, f"{name}/{text}: CMake asks for {least}"
        assert name != "onednn" or version(text) < (4,)


def test_paths_of_libraries_are_nobodys():
    """Nothing that CMake reads names a distribution's folder: HDF5's flavour is the one that is found, or that the user names."""
    for path in [ROOT / "CMakeLists.txt", *ROOT.glob("cmake/*"), *ROOT.glob("src/*/CMakeLists.txt"), *ROOT.glob("kernels/**/CMakeLists.txt")]:
        assert not re.search(r"x86_64-linux-gnu|hdf5/(serial|openmpi|mpich)|/usr/(lib|include)", Path(path).read_text()), path
