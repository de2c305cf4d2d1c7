/* Requests to end a run before its last round: signals, and the end of the batch job. A run asks between two rounds
 * and agrees with its other ranks; nothing here is collective. */
#ifndef FBT_CLI_STOP_H
#define FBT_CLI_STOP_H

#ifdef __cplusplus
extern "C" {
#endif

/* From now on SIGINT, SIGTERM and SIGUSR1 are noted instead of ending the process; a second SIGINT ends it all the
 * same. Call once, before MPI starts. */
void fbt_stop_watch(void);

/* The first signal that has arrived at this process; 0: none. */
int fbt_stop_signal(void);

/* Seconds until the batch job ends, as the environment variable SLURM_JOB_END_TIME tells; INFINITY where it is not set.
 */
double fbt_stop_job_left_s(void);

#ifdef __cplusplus
}
#endif

#endif
