# The libraries that are always needed, each with the oldest version that is tested.

find_package(PkgConfig REQUIRED)
find_package(OpenMP REQUIRED COMPONENTS C)
find_package(MPI REQUIRED COMPONENTS C)
find_package(OpenSSL REQUIRED COMPONENTS Crypto)
pkg_check_modules(GSL REQUIRED IMPORTED_TARGET gsl>=2.7)
pkg_check_modules(LAPACKE REQUIRED IMPORTED_TARGET lapacke)
pkg_check_modules(YAML REQUIRED IMPORTED_TARGET yaml-0.1)
pkg_check_modules(JANSSON REQUIRED IMPORTED_TARGET jansson>=2.13)

# Only rank 0 writes, so that a serial HDF5 serves; a parallel one does as well.
set(HDF5_NO_FIND_PACKAGE_CONFIG_FILE TRUE) # not every build of HDF5 has such a file
find_package(HDF5 1.10 REQUIRED COMPONENTS C)
add_library(fbt_hdf5 INTERFACE)
target_link_libraries(fbt_hdf5 INTERFACE hdf5::hdf5)
target_compile_definitions(fbt_hdf5 INTERFACE H5_USE_110_API) # later versions then mean the same by the same names

# oneDNN 2.6 or 3: the library itself, because Debian 12's dnnl-config.cmake insists on OpenCL, which is not used here.
find_path(DNNL_INCLUDE_DIR dnnl.h REQUIRED)
find_library(DNNL_LIBRARY dnnl REQUIRED)
file(STRINGS ${DNNL_INCLUDE_DIR}/oneapi/dnnl/dnnl_version.h dnnl_version_lines REGEX "define DNNL_VERSION_(MAJOR|MINOR) ")
string(REGEX REPLACE "[^0-9]*([0-9]+)[^0-9]+([0-9]+).*" "\\1.\\2" DNNL_VERSION "${dnnl_version_lines}")
if(DNNL_VERSION VERSION_LESS 2.6 OR DNNL_VERSION VERSION_GREATER_EQUAL 4)
    message(FATAL_ERROR "oneDNN ${DNNL_VERSION} (${DNNL_INCLUDE_DIR}): versions 2.6 to 3 are supported; "
        "name another one with -DDNNL_INCLUDE_DIR=... -DDNNL_LIBRARY=...")
endif()
add_library(dnnl INTERFACE)
target_include_directories(dnnl SYSTEM INTERFACE ${DNNL_INCLUDE_DIR})
target_link_libraries(dnnl INTERFACE ${DNNL_LIBRARY})
message(STATUS "Libraries: oneDNN ${DNNL_VERSION}, HDF5 ${HDF5_VERSION}, GSL ${GSL_VERSION}, MPI ${MPI_C_VERSION}")
