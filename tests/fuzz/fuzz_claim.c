/* The lock file of a run file. The input's first 12 bytes are the time of its last sign of life, the rest its text. */
#include "fuzz.h"

#include "record/claim.h"
#include "record/claim_file.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

static bool is_ended(const char *text, size_t n_bytes)
{
    return memchr(text, '\0', n_bytes) != NULL;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n_bytes)
{
    fuzz_input input = {data, n_bytes};
    const struct timespec beat = {.tv_sec = (int64_t)fuzz_take(&input, 8),
                                  .tv_nsec = fuzz_take(&input, 4) % 1000000000};
    fbt_claim_file c;
    fbt_claim_holder holder = {0};
    const char *lock = fuzz_write(".run.h5.lock", input.data, input.n_bytes);
    utimensat(AT_FDCWD, lock, (const struct timespec[]){beat, beat}, 0); /* the system keeps what it can */
    if (fuzz_outcome(fbt_claim_file_read("run.h5", lock, &c))) {
        FUZZ_REQUIRE(c.exists && is_ended(c.identity, sizeof c.identity) && is_ended(c.host, sizeof c.host));
        FUZZ_REQUIRE(c.identity[0] != '\0' &&
                     strspn(c.identity, "0123456789abcdef") == strlen(c.identity)); /* of a path */
        FUZZ_REQUIRE(is_ended(c.boot, sizeof c.boot) && is_ended(c.pids, sizeof c.pids));
        FUZZ_REQUIRE(is_ended(c.job, sizeof c.job) && is_ended(c.start, sizeof c.start));
    }
    if (fuzz_outcome(fbt_claim_look(fuzz_path("run.h5"), &holder))) {
        FUZZ_REQUIRE(is_ended(holder.text, sizeof holder.text) && is_ended(holder.identity, sizeof holder.identity));
    }
    return 0;
}
