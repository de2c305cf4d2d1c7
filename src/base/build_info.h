/* Version and build of this program, for logs and run files. */
#ifndef FBT_BASE_BUILD_INFO_H
#define FBT_BASE_BUILD_INFO_H

#ifdef __cplusplus
extern "C" {
#endif

extern const char fbt_build_version[];  /* semantic version */
extern const char fbt_build_commit[];   /* git commit of the build, "-dirty" if the tree had changes; or "unknown" */
extern const char fbt_build_compiler[]; /* compiler and its version, build type */

#ifdef __cplusplus
}
#endif

#endif
