/* Observer on a terminal: news of the engine on standard error; answers from signals and the batch job (stop.h). */
#ifndef FBT_CLI_CONSOLE_H
#define FBT_CLI_CONSOLE_H

#include "run/observer.h"

/* For every subcommand that makes runs. */
extern const fbt_run_observer fbt_cli_console;

#endif
