/* Tests of the row kernels by their launchers. Exit code 77: no device. */
#include "row_fixture.h"

#include <stdio.h>

int main(void)
{
    int n_devices = 0;
    const cudaError_t error = cudaGetDeviceCount(&n_devices);
    if (error != cudaSuccess || n_devices < 1) {
        printf("no CUDA device: %s\n", cudaGetErrorString(error));
        return 77;
    }
    return run_rows_tests() + run_readout_tests() > 0;
}
