/* Tests of the row kernels by their launchers. Exit code 77: no device. */
#include "row_fixture.h"

int main(void)
{
    if (!device_is_there()) {
        return 77;
    }
    return run_rows_tests() + run_decoder_rows_tests() + run_readout_tests() + run_log_probs_tests() +
               run_products_tests() >
           0;
}
