/* The program with a model that sleeps: behind every batch so long as its rows say, so that any number of ranks on few
 * processors takes as long as if each had a processor of its own. The results are the real model's. Linked with
 * --wrap=fbt_model_submit. */
#include "model/model.h"

#include <stdlib.h>
#include <time.h>

fbt_status __real_fbt_model_submit(fbt_model *model, const fbt_batch *batch, fbt_loss loss,
                                   const fbt_model_result *result);
fbt_status __wrap_fbt_model_submit(fbt_model *model, const fbt_batch *batch, fbt_loss loss,
                                   const fbt_model_result *result);

fbt_status __wrap_fbt_model_submit(fbt_model *model, const fbt_batch *batch, fbt_loss loss,
                                   const fbt_model_result *result)
{
    const char *given = getenv("SLEEP_US_A_ROW");
    const int64_t microseconds = (given == NULL ? 0 : strtoll(given, NULL, 10)) * batch->n_rows;
    const fbt_status status = __real_fbt_model_submit(model, batch, loss, result);
    nanosleep(&(struct timespec){.tv_sec = microseconds / 1000000, .tv_nsec = microseconds % 1000000 * 1000}, NULL);
    return status;
}
