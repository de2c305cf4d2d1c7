/* Progress and warnings on standard error. */
#ifndef FBT_BASE_LOG_H
#define FBT_BASE_LOG_H

/* Names the rank that log lines carry; call once at start. Until then the rank is 0. */
void fbt_log_set_rank(int rank);

/* `[rank] elapsed_s module: text`. Information comes from rank 0 alone, warnings and errors from any rank. */
void fbt_log_info(const char *module, const char *format, ...) __attribute__((format(printf, 2, 3)));
void fbt_log_warning(const char *module, const char *format, ...) __attribute__((format(printf, 2, 3)));
void fbt_log_error(const char *module, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
