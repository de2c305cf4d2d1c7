# Languages and toolkit of the CUDA backend. Included by the top-level CMakeLists.txt, because a language must be enabled where
# every target that links it can see it.
#   ON        needs the CUDA toolkit: compiler, runtime, cuBLASLt
#   EMULATED  needs its headers alone; sets CUDA_INCLUDE_DIR

if(FBT_CUDA STREQUAL "EMULATED")
    enable_language(CXX)
    find_path(CUDA_INCLUDE_DIR cublasLt.h HINTS ENV CUDAToolkit_ROOT ENV CUDA_HOME
        PATHS ${PROJECT_SOURCE_DIR}/.venv/cuda /usr/local/cuda PATH_SUFFIXES include
        DOC "Headers of the CUDA toolkit, which FBT_CUDA=EMULATED compiles against")
    if(NOT CUDA_INCLUDE_DIR)
        message(FATAL_ERROR "FBT_CUDA is EMULATED, but there are no headers of a CUDA toolkit here (cublasLt.h): "
            "bash jobs/setup.sh --tests installs them; or set CUDA_INCLUDE_DIR, or FBT_CUDA to OFF")
    endif()
elseif(FBT_CUDA STREQUAL "ON")
    # Devices that are not listed run the code for the newest: the driver translates it when the program starts.
    if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
        set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 100-real 100-virtual CACHE STRING "Compute capabilities to compile for")
    endif()
    include(CheckLanguage)
    check_language(CUDA)
    if(NOT CMAKE_CUDA_COMPILER)
        message(FATAL_ERROR "FBT_CUDA is ON, but there is no CUDA toolkit here whose nvcc works and compiles for "
            "${CMAKE_CUDA_ARCHITECTURES} (100 needs CUDA 12.8): bash jobs/setup.sh --cuda installs one; the preset release builds without")
    endif()
    enable_language(CUDA)
    find_package(CUDAToolkit 12 REQUIRED)
    list(APPEND CMAKE_BUILD_RPATH ${CUDAToolkit_LIBRARY_DIR}) # a toolkit that the loader does not know
elseif(NOT FBT_CUDA STREQUAL "OFF")
    message(FATAL_ERROR "FBT_CUDA is '${FBT_CUDA}': it must be OFF, ON or EMULATED")
endif()
