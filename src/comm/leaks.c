#include "comm/leaks.h"

#ifdef __SANITIZE_ADDRESS__

#include <dlfcn.h>
#include <sanitizer/lsan_interface.h>

/* PMIx loses some memory in a thread of its own, which no pause reaches. */
const char *__lsan_default_suppressions(void)
{
    return "leak:libpmix\n";
}

void fbt_leaks_pause(void)
{
    __lsan_disable();
    /* MPI_Finalize unloads it, and a library that is gone has no name to suppress by. NULL where there is none. */
    dlopen("libpmix.so.2", RTLD_LAZY | RTLD_NODELETE);
}

void fbt_leaks_resume(void)
{
    __lsan_enable();
}

#else

void fbt_leaks_pause(void)
{
}

void fbt_leaks_resume(void)
{
}

#endif
