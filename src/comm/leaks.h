/* The leak checker of sanitized builds and the MPI library: what the library keeps for itself is no leak of this
 * program. */
#ifndef FBT_COMM_LEAKS_H
#define FBT_COMM_LEAKS_H

/* Between pause and resume this thread's allocations, and all that they lead to, are not looked at. Nothing in other
 * builds. */
void fbt_leaks_pause(void);
void fbt_leaks_resume(void);

#endif
