/* Processor time that control groups (containers, batch systems) leave this process. */
#ifndef FBT_KERNELS_CPU_QUOTA_H
#define FBT_KERNELS_CPU_QUOTA_H

/* Processors' worth of time by the CFS quotas of the process's control group and of all groups above it, versions 1 and
 * 2: 0.5 is half a processor; INFINITY without a quota. Nothing fails: what cannot be read sets no quota. root: "" on a
 * live system; a test has a folder with proc/self/cgroup and sys/fs/cgroup below it. */
double fbt_cpu_quota(const char *root);

/* Threads of a rank for which the user gave no number: its share of the processors, and of the quota, which all ranks
 * of a node draw on, rounded down: where one of a team waits for processor time all others wait for it. At least 1. */
int fbt_cpu_quota_threads(int n_cpus, double quota, int n_local_ranks);

#endif
