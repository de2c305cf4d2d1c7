/* The file that a path names, through symbolic links, whether it is there or not. */
#ifndef FBT_RECORD_REAL_PATH_H
#define FBT_RECORD_REAL_PATH_H

#include "base/status.h"

/* *folder: the real folder, which exists, of the file that is written when `path` is; *file: the same with the file's
 * name. All links are followed, also the last one where what it names is yet to be made, so that paths of one file are
 * told to be that. Release both with free(); NULL on failure. Errors: FBT_ERR_IO (no such folder, a loop of links, the
 * path of a folder), FBT_ERR_MEMORY. */
fbt_status fbt_real_path(const char *path, char **folder, char **file);

/* That a folder which is there, or has just been made, is one: mkdir takes a file, or a link that leads nowhere, for
 * one, too. Errors: FBT_ERR_IO. */
fbt_status fbt_path_check_folder(const char *path);

#endif
