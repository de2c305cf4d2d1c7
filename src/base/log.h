/* Progress on standard error. */
#ifndef FBT_BASE_LOG_H
#define FBT_BASE_LOG_H

#ifdef __cplusplus
extern "C" {
#endif

/* Names the rank that this process is; call once at start. Until then the rank is 0. */
void fbt_log_set_rank(int rank);

/* `[rank] elapsed module: text`, from rank 0 alone: the other ranks would say the same. Errors are not logged but kept
 * and reported once (status.h). */
void fbt_log_info(const char *module, const char *format, ...) __attribute__((format(printf, 2, 3)));

#ifdef __cplusplus
}
#endif

#endif
