#include "kernels/cpu/constants.h"

#include "base/memory.h"
#include "base/smaller.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

enum { ALIGNMENT = 64, FIRST_CAPACITY = 64 };

/* Contents of fbt_share. */
typedef struct ticket {
    int64_t process, file, n_bytes;
    uint64_t token; /* what tells this copy from another that got its numbers later */
} ticket;

/* The copy: this, a place for each constant, then their bytes. */
typedef struct place {
    fbt_cpu_shape shape;
    int64_t weights, bias; /* offsets; bias 0: none */
    int64_t weight_bytes, bias_bytes;
} place;

typedef struct copy_header {
    uint64_t token;
    int64_t n_constants;
    place places[];
} copy_header;

fbt_status fbt_cpu_constants_add(fbt_cpu_constants *c, const fbt_cpu_constant *constant)
{
    fbt_status status = FBT_OK;
    fbt_cpu_constant *larger = NULL;
    if (c->n == c->capacity) {
        const int64_t capacity = c->capacity > 0 ? 2 * c->capacity : FIRST_CAPACITY;
        FBT_TRY(fbt_memory_alloc(&larger, capacity, sizeof *larger));
        memcpy(larger, c->items != NULL ? c->items : larger, (size_t)c->n * sizeof *larger);
        free(c->items);
        c->items = larger;
        c->capacity = capacity;
    }
    c->items[c->n++] = *constant;
done:
    return status;
}

fbt_status fbt_cpu_constants_find(const fbt_cpu_constants *c, const fbt_cpu_shape *shape, int64_t weight_bytes,
                                  int64_t bias_bytes, void **weights, void **bias)
{
    *weights = *bias = NULL;
    if (!c->is_imported || c->n >= c->n_shared) {
        return FBT_OK;
    }
    const place *p = &((const copy_header *)(const void *)c->mapped)->places[c->n];
    if (c->has_freed || memcmp(&p->shape, shape, sizeof *shape) != 0 || p->weight_bytes != weight_bytes ||
        p->bias_bytes != bias_bytes) {
        return fbt_fail(
            FBT_ERR_ARG,
            "constant %lld is not the one that was shared: all ranks must make the same matrices and tables in the "
            "same order",
            (long long)c->n);
    }
    *weights = c->mapped + p->weights;
    *bias = p->bias > 0 ? c->mapped + p->bias : NULL;
    return FBT_OK;
}

void fbt_cpu_constants_remove(fbt_cpu_constants *c, void **weights, int *is_mapped)
{
    const char *at = *weights;
    *is_mapped = c->mapped != NULL && at >= c->mapped && at < c->mapped + c->mapped_bytes;
    for (int64_t i = 0; i < c->n; i++) {
        if (c->items[i].weights == weights) {
            memmove(&c->items[i], &c->items[i + 1], (size_t)(c->n - i - 1) * sizeof *c->items);
            c->n--;
            c->has_freed = 1;
            return;
        }
    }
}

void fbt_cpu_constants_clear(fbt_cpu_constants *c)
{
    if (c->mapped != NULL) {
        munmap(c->mapped, (size_t)c->mapped_bytes);
        if (!c->is_imported) {
            close(c->file);
        }
    }
    free(c->items);
    *c = (fbt_cpu_constants){0};
}

/* Offsets of all constants in the copy; returns its size. */
static int64_t lay_out(const fbt_cpu_constants *c, place *places)
{
    int64_t end = fbt_round_up((int64_t)(sizeof(copy_header) + (size_t)c->n * sizeof *places), ALIGNMENT);
    for (int64_t i = 0; i < c->n; i++) {
        const fbt_cpu_constant *constant = &c->items[i];
        places[i] = (place){.shape = constant->shape,
                            .weights = end,
                            .weight_bytes = constant->weight_bytes,
                            .bias_bytes = constant->bias_bytes};
        end += fbt_round_up(constant->weight_bytes, ALIGNMENT);
        places[i].bias = constant->bias != NULL ? end : 0;
        end += fbt_round_up(constant->bias_bytes, ALIGNMENT);
    }
    return end;
}

static fbt_status make_file(int64_t n_bytes, int *file, char **mapped)
{
    void *memory = MAP_FAILED;
    struct rlimit limit;
    int why;
    *mapped = NULL;
    if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur < (rlim_t)n_bytes) {
        /* Growing such a file past the limit would end the process. */
        return fbt_fail(FBT_ERR_UNSUPPORTED, "%lld bytes to share are more than a file may have (ulimit -f)",
                        (long long)n_bytes);
    }
    *file = memfd_create("fedbpt weights", MFD_CLOEXEC);
    why = *file < 0 ? errno : posix_fallocate(*file, 0, n_bytes);
    if (why == 0) {
        memory = mmap(NULL, (size_t)n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, *file, 0);
        why = errno;
    }
    if (memory == MAP_FAILED) {
        if (*file >= 0) {
            close(*file);
        }
        return fbt_fail(FBT_ERR_UNSUPPORTED, "the system gives no %lld bytes of memory to share: %s",
                        (long long)n_bytes, strerror(why));
    }
    madvise(memory, (size_t)n_bytes, MADV_HUGEPAGE); /* advice: may be refused */
    *mapped = memory;
    return FBT_OK;
}

/* Moves one array into the copy. A table's rows are its maker's and stay; a matrix's are freed. */
static void move(char *to, void **array, int64_t n_bytes, int is_owned)
{
    memcpy(to, *array, (size_t)n_bytes);
    if (is_owned) {
        free(*array);
    }
    *array = to;
}

static void move_all(const fbt_cpu_constants *c, char *mapped, const place *places)
{
    for (int64_t i = 0; i < c->n; i++) {
        const fbt_cpu_constant *constant = &c->items[i];
        move(mapped + places[i].weights, constant->weights, constant->weight_bytes, !constant->shape.is_table);
        if (constant->bias != NULL) {
            move(mapped + places[i].bias, constant->bias, constant->bias_bytes, 1);
        }
    }
}

fbt_status fbt_cpu_constants_export(fbt_cpu_constants *c, fbt_share *share)
{
    fbt_status status = FBT_OK;
    place *places = NULL;
    ticket t = {.process = getpid()};
    share->n_bytes = 0;
    if (c->mapped != NULL || c->has_freed) {
        FBT_FAIL(FBT_ERR_ARG, "constants can be shared once, by the rank that made all of them and freed none");
    }
    FBT_TRY(fbt_memory_alloc(&places, c->n, sizeof *places));
    t.n_bytes = lay_out(c, places);
    if (getrandom(&t.token, sizeof t.token, 0) != sizeof t.token) {
        FBT_FAIL(FBT_ERR_UNSUPPORTED, "the system has no random numbers: %s", strerror(errno));
    }
    FBT_TRY(make_file(t.n_bytes, &c->file, &c->mapped));
    copy_header *header = (copy_header *)(void *)c->mapped;
    header->token = t.token;
    header->n_constants = c->n;
    memcpy(header->places, places, (size_t)c->n * sizeof *places);
    move_all(c, c->mapped, places);
    mprotect(c->mapped, (size_t)t.n_bytes, PROT_READ);
    c->mapped_bytes = t.n_bytes;
    c->n_shared = c->n;
    t.file = c->file;
    memcpy(share->bytes, &t, sizeof t);
    share->n_bytes = sizeof t;
done:
    free(places);
    return status;
}

/* The other process's file, by its entry in that process's list of open files. */
static fbt_status map_file(const ticket *t, char **mapped)
{
    fbt_status status = FBT_OK;
    char path[64];
    struct stat info;
    void *memory = MAP_FAILED;
    int file = -1;
    *mapped = NULL;
    snprintf(path, sizeof path, "/proc/%lld/fd/%lld", (long long)t->process, (long long)t->file);
    file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) {
        FBT_FAIL(FBT_ERR_UNSUPPORTED, "the memory that process %lld shares cannot be opened: %s", (long long)t->process,
                 strerror(errno));
    }
    if (fstat(file, &info) != 0 || info.st_size != t->n_bytes) {
        FBT_FAIL(FBT_ERR_UNSUPPORTED, "%s is not the memory that was shared", path);
    }
    memory = mmap(NULL, (size_t)t->n_bytes, PROT_READ, MAP_SHARED, file, 0);
    if (memory == MAP_FAILED) {
        FBT_FAIL(FBT_ERR_UNSUPPORTED, "the memory that process %lld shares cannot be mapped: %s", (long long)t->process,
                 strerror(errno));
    }
    if (((const copy_header *)memory)->token != t->token) {
        munmap(memory, (size_t)t->n_bytes);
        FBT_FAIL(FBT_ERR_UNSUPPORTED, "%s is not the memory that was shared", path);
    }
    madvise(memory, (size_t)t->n_bytes, MADV_HUGEPAGE); /* advice: may be refused */
    *mapped = memory;
done:
    if (file >= 0) {
        close(file);
    }
    return status;
}

fbt_status fbt_cpu_constants_import(fbt_cpu_constants *c, const fbt_share *share)
{
    fbt_status status = FBT_OK;
    ticket t;
    char *mapped;
    if (share->n_bytes != sizeof t) {
        FBT_FAIL(FBT_ERR_ARG, "what was shared has %lld bytes, not %zu", (long long)share->n_bytes, sizeof t);
    }
    memcpy(&t, share->bytes, sizeof t);
    if (c->n > 0 || c->mapped != NULL) {
        FBT_FAIL(FBT_ERR_ARG, "shared constants must be imported before any are made");
    }
    if (t.process == getpid()) {
        FBT_FAIL(FBT_ERR_UNSUPPORTED, "what a process shares is for others");
    }
    FBT_TRY(map_file(&t, &mapped));
    c->mapped = mapped;
    c->mapped_bytes = t.n_bytes;
    c->is_imported = 1;
    c->n_shared = ((const copy_header *)(const void *)mapped)->n_constants;
done:
    return status;
}
