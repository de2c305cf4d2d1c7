/* Status codes and the one sentence that explains a failure.
 *
 * Every function that can fail returns fbt_status and describes the failure once, where it arises, with FBT_FAIL: what
 * is wrong, where (file, line, key, rank-independent), and what the user can do. Callers pass the status up through
 * FBT_TRY and a `done:` label. The program prints the sentence once, at the top (src/cli/main.c).
 */
#ifndef FBT_BASE_STATUS_H
#define FBT_BASE_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#define FBT_STATUS_LIST(X)                                                                                             \
    X(FBT_OK, "success")                                                                                               \
    X(FBT_ERR_ARG, "invalid argument")                                                                                 \
    X(FBT_ERR_USAGE, "wrong command line")                                                                             \
    X(FBT_ERR_CONFIG, "invalid setting")                                                                               \
    X(FBT_ERR_DATA, "invalid data set")                                                                                \
    X(FBT_ERR_MODEL, "invalid model")                                                                                  \
    X(FBT_ERR_IO, "input or output failed")                                                                            \
    X(FBT_ERR_STORAGE, "the file system does not serve at present")                                                    \
    X(FBT_ERR_MEMORY, "out of memory")                                                                                 \
    X(FBT_ERR_BACKEND, "backend failure")                                                                              \
    X(FBT_ERR_UNSUPPORTED, "not supported")                                                                            \
    X(FBT_ERR_NUMERIC, "numerical failure")                                                                            \
    X(FBT_ERR_PEER, "another rank failed")

typedef enum fbt_status {
#define FBT_STATUS_ENUM(name, text) name,
    FBT_STATUS_LIST(FBT_STATUS_ENUM)
#undef FBT_STATUS_ENUM
} fbt_status;

/* Short English text of a code; never NULL. */
const char *fbt_status_text(fbt_status status);

/* Status of a failed call of the system: FBT_ERR_STORAGE where the file system or the machine as a whole is to blame,
 * for all who use it, and may be mended (full, over quota, read-only, lost, out of file handles), FBT_ERR_IO for all
 * other values of errno. */
fbt_status fbt_status_of_system(int error);

/* Keeps the formatted sentence as this thread's explanation and returns `status`. A sentence already kept stays: the
 * first failure is the cause. Control characters are kept as '?', so that it is one line. */
fbt_status fbt_fail(fbt_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* As fbt_fail, but takes the place of the sentence that is kept, which the arguments may quote (fbt_error_message):
 * for a caller that knows better what a failure means, or where. */
fbt_status fbt_refail(fbt_status status, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The sentence of this thread's first failure since fbt_error_clear; "" when there is none. Valid until the next
 * fbt_fail or fbt_error_clear of this thread. */
const char *fbt_error_message(void);
void fbt_error_clear(void);

/* The same sentence, and forgets it: for who takes a failure as an answer. Valid until this thread's next
 * fbt_error_take. */
const char *fbt_error_take(void);

/* clang-tidy looks into one source at a time: this tells it that the error comes back. */
#ifdef __clang_analyzer__
#define fbt_fail(error, ...) (fbt_fail(error, __VA_ARGS__), (error))
#endif

#define FBT_FAIL(...)                                                                                                  \
    do {                                                                                                               \
        status = fbt_fail(__VA_ARGS__);                                                                                \
        goto done;                                                                                                     \
    } while (0)

#define FBT_TRY(expression)                                                                                            \
    do {                                                                                                               \
        status = (expression);                                                                                         \
        if (status != FBT_OK) {                                                                                        \
            goto done;                                                                                                 \
        }                                                                                                              \
    } while (0)

#ifdef __cplusplus
}
#endif

#endif
