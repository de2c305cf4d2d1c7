"""fedbpt for Spack 1.0 and later, built from the last commit of the checkout that this file is in:

- `spack repo add packaging/spack/spack_repo/fedbpt`
- `spack install fedbpt`, or `fedbpt +cuda cuda_arch=90 ^openmpi fabrics=ucx schedulers=slurm`
- `spack install --test=root fedbpt +tests` runs its unit, conformance and MPI tests, too
"""

from pathlib import Path

from spack_repo.builtin.build_systems.cmake import CMakePackage, generator
from spack_repo.builtin.build_systems.cuda import CudaPackage

from spack.package import (
    Executable,
    InstallError,
    conflicts,
    depends_on,
    license,
    variant,
    version,
    working_dir,
)


class Fedbpt(CMakePackage, CudaPackage):
    """Federated black-box prompt tuning over MPI: clients search short prompts of a frozen
    language model by CMA-ES."""

    homepage = "https://arxiv.org/abs/2310.01467"
    git = f"file://{Path(__file__).resolve().parents[6]}"

    license("Apache-2.0")

    version("main", branch="main")

    variant("tests", default=False, description="Build the unit, conformance and MPI tests, too")

    depends_on("c", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("ninja", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("git", type="build")
    depends_on("python@3.9:", type="build")  # manual pages and shell completion

    depends_on("mpi@3:")
    depends_on("hdf5@1.10:1.14")
    depends_on("gsl@2.7:")
    depends_on("onednn@2.6:3 cpu_runtime=omp")
    depends_on("netlib-lapack@3.9: +shared +lapacke")
    depends_on("libyaml@0.2:")
    depends_on("jansson@2.13:")
    depends_on("openssl@1.1:")
    depends_on("random123", type="build")
    depends_on("cmocka@1.1:", type=("build", "test"), when="+tests")
    depends_on("cuda@12.8:", when="+cuda")
    depends_on("cxx", type="build", when="+cuda")

    generator("ninja")

    conflicts(
        "cuda_arch=none", when="+cuda", msg="name the devices to compile for, e.g. cuda_arch=90"
    )

    def cmake_args(self):
        args = [
            self.define_from_variant("FBT_CUDA", "cuda"),
            self.define("BUILD_TESTING", self.spec.satisfies("+tests")),
        ]
        if self.spec.satisfies("+cuda"):
            args.append(
                self.define("CMAKE_CUDA_ARCHITECTURES", self.spec.variants["cuda_arch"].value)
            )
        return args

    def check(self):
        if self.spec.satisfies("~tests"):
            raise InstallError("fedbpt: the tests are built with the variant +tests")
        with working_dir(self.build_directory):
            Executable("ctest")(
                "--output-on-failure",
                "--label-regex",
                "^(unit|conformance|mpi)$",
                "--label-exclude",
                "^long$",
            )
