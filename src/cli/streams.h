/* The program's standard streams: open from the start, and whole at the end. */
#ifndef FBT_CLI_STREAMS_H
#define FBT_CLI_STREAMS_H

/* Call first in main. Streams that are closed are opened so that using them fails: else the next file that the program
 * opens would get their number, and what is printed. At the end of the program, however it comes, what was printed is
 * looked after: a command that did its work, but not all of whose words could be written (full disk, closed stream),
 * prints one sentence and ends with FBT_EXIT_FAILURE; one whose reader has gone (`| head`) ends by SIGPIPE, silently,
 * as others do. */
void fbt_cli_watch_streams(void);

#endif
