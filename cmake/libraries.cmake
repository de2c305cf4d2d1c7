# The libraries that are always needed, each with the oldest version that is tested. What is missing is said in one sentence.

# Stops unless `found` is true. name: with the version asked for; debian, spack: the packages that have it; then: what else to do.
function(fbt_need found name debian spack)
    if(NOT found)
        message(FATAL_ERROR "${name} is missing: install it (Debian: ${debian}; Spack: ${spack})${ARGN}")
    endif()
endfunction()

# The imported target PkgConfig::PREFIX of a pkg-config module.
macro(fbt_need_module prefix name module version debian spack)
    pkg_check_modules(${prefix} QUIET IMPORTED_TARGET "${module}>=${version}")
    if(NOT ${prefix}_FOUND)
        pkg_get_variable(${prefix}_FOLDER ${module} pcfiledir)
        if(${prefix}_FOLDER)
            message(FATAL_ERROR "${name} is older than ${version} (${${prefix}_FOLDER}/${module}.pc): install a later one, or name "
                "the folder of a later one's .pc file first in PKG_CONFIG_PATH")
        endif()
        fbt_need(FALSE "${name} ${version} or later" ${debian} ${spack} ", or name the folder of its ${module}.pc in PKG_CONFIG_PATH")
    endif()
endmacro()

find_package(PkgConfig QUIET)
fbt_need("${PkgConfig_FOUND}" "pkg-config" pkg-config pkgconf)
find_package(OpenMP QUIET COMPONENTS C)
fbt_need("${OpenMP_C_FOUND}" "OpenMP for ${CMAKE_C_COMPILER_ID}" "libgomp1 comes with gcc, libomp-14-dev serves clang-14" llvm-openmp)
find_package(MPI QUIET COMPONENTS C)
fbt_need("${MPI_C_FOUND}" "MPI" libopenmpi-dev "openmpi or mpich" ", or name its compiler with -DMPI_C_COMPILER=.../mpicc")
find_package(OpenSSL 1.1 QUIET COMPONENTS Crypto)
fbt_need("${OpenSSL_FOUND}" "OpenSSL 1.1 or later (libcrypto)" libssl-dev openssl)
fbt_need_module(GSL "GSL" gsl 2.7 libgsl-dev gsl)
fbt_need_module(LAPACKE "LAPACKE" lapacke 3.9 liblapacke-dev "netlib-lapack +lapacke")
fbt_need_module(YAML "libyaml" yaml-0.1 0.2 libyaml-dev libyaml)
fbt_need_module(JANSSON "Jansson" jansson 2.13 libjansson-dev jansson)

find_path(RANDOM123_INCLUDE_DIR Random123/philox.h DOC "Folder of Random123/philox.h")
fbt_need("${RANDOM123_INCLUDE_DIR}" "Random123 (headers)" librandom123-dev random123 ", or name its folder with -DRANDOM123_INCLUDE_DIR=...")

# Only rank 0 writes, so that a serial HDF5 serves; a parallel one does as well. The compiler wrapper that is found first decides which:
# HDF5_ROOT names another.
set(HDF5_NO_FIND_PACKAGE_CONFIG_FILE TRUE) # not every build of HDF5 has such a file
find_package(HDF5 1.10 QUIET COMPONENTS C)
if(HDF5_C_LIBRARIES AND HDF5_VERSION VERSION_LESS 1.10)
    message(FATAL_ERROR "HDF5 ${HDF5_VERSION} (${HDF5_C_INCLUDE_DIRS}) is older than 1.10: name a later one with -DHDF5_ROOT=...")
endif()
fbt_need("${HDF5_FOUND}" "HDF5 1.10 or later" libhdf5-dev hdf5 ", or name its folder with -DHDF5_ROOT=...")
add_library(fbt_hdf5 INTERFACE)
target_link_libraries(fbt_hdf5 INTERFACE hdf5::hdf5)
target_compile_definitions(fbt_hdf5 INTERFACE H5_USE_110_API) # later versions then mean the same by the same names

# oneDNN 2.6 or 3: the library itself, because Debian 12's dnnl-config.cmake insists on OpenCL, which is not used here.
find_path(DNNL_INCLUDE_DIR oneapi/dnnl/dnnl_version.h DOC "Folder of oneDNN's header dnnl.h")
find_library(DNNL_LIBRARY dnnl DOC "oneDNN's library")
set(dnnl_hint ", or name it with -DDNNL_INCLUDE_DIR=... -DDNNL_LIBRARY=.../libdnnl.so")
fbt_need("${DNNL_INCLUDE_DIR}" "oneDNN 2.6 to 3 (dnnl.h)" libdnnl-dev onednn "${dnnl_hint}")
fbt_need("${DNNL_LIBRARY}" "oneDNN 2.6 to 3 (libdnnl)" libdnnl-dev onednn "${dnnl_hint}")
file(STRINGS ${DNNL_INCLUDE_DIR}/oneapi/dnnl/dnnl_version.h dnnl_version_lines REGEX "define DNNL_VERSION_(MAJOR|MINOR) ")
string(REGEX REPLACE "[^0-9]*([0-9]+)[^0-9]+([0-9]+).*" "\\1.\\2" DNNL_VERSION "${dnnl_version_lines}")
if(DNNL_VERSION VERSION_LESS 2.6 OR DNNL_VERSION VERSION_GREATER_EQUAL 4)
    message(FATAL_ERROR "oneDNN ${DNNL_VERSION} (${DNNL_INCLUDE_DIR}) is not 2.6 to 3: name another one with "
        "-DDNNL_INCLUDE_DIR=... -DDNNL_LIBRARY=.../libdnnl.so")
endif()
add_library(dnnl INTERFACE)
target_include_directories(dnnl SYSTEM INTERFACE ${DNNL_INCLUDE_DIR})
target_link_libraries(dnnl INTERFACE ${DNNL_LIBRARY})
message(STATUS "Libraries: oneDNN ${DNNL_VERSION}, HDF5 ${HDF5_VERSION}, GSL ${GSL_VERSION}, MPI ${MPI_C_VERSION}")
