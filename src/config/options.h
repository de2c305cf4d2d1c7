/* The one table of options, for the files of this folder. Everything else reads fbt_settings. */
#ifndef FBT_CONFIG_OPTIONS_H
#define FBT_CONFIG_OPTIONS_H

#include "config/settings.h"

#include <stddef.h>

enum {
    FBT_OPTION_TEXT_BYTES = 4096, /* longest value of a text option, with its terminating zero */
    FBT_OPTION_QUOTE_BYTES = 96,  /* room for a value shown in a message                       */
};

typedef enum fbt_option_kind {
    FBT_OPTION_TEXT,   /* char *: any text                                */
    FBT_OPTION_WORD,   /* char *: one of `choices`                        */
    FBT_OPTION_INT,    /* int64_t                                         */
    FBT_OPTION_REAL,   /* double                                          */
    FBT_OPTION_BOOL,   /* bool                                            */
    FBT_OPTION_CHOICE, /* int: index in `choices`, that is an enumerator  */
} fbt_option_kind;

/* Effect of a setting, for whoever goes on with a run or compares two (ARCHITECTURE.md, "Promises"). Run files name
 * it, and fedbpt_analysis reads it there.
 * numbers: a result; runs with other values are other runs
 * nothing: where results go, when to stop, how the work is cut
 * content: what the file holds; a run goes on with the same value, results are equal with any
 * length:  how many rounds; those that both runs have are equal, and a run may grow
 * input:   the path of an input, whose SHA-256 in the run file (inputs/SECTION_sha256) decides
 * outcome: what it stands for on a machine decides, which the run file tells (environment/NAME) */
#define FBT_DECIDES_LIST(X)                                                                                            \
    X(FBT_DECIDES_NUMBERS, "numbers")                                                                                  \
    X(FBT_DECIDES_NOTHING, "nothing")                                                                                  \
    X(FBT_DECIDES_CONTENT, "content")                                                                                  \
    X(FBT_DECIDES_LENGTH, "length")                                                                                    \
    X(FBT_DECIDES_INPUT, "input")                                                                                      \
    X(FBT_DECIDES_OUTCOME, "outcome")
typedef enum fbt_decides { FBT_DECIDES_LIST(FBT_CHOICE_VALUE) } fbt_decides;
extern const char *const fbt_decides_names[];

typedef struct fbt_option {
    const char *key; /* "section.name"; the options of a section follow each other */
    fbt_option_kind kind;
    size_t offset;            /* of its member in fbt_settings                              */
    const char *default_text; /* NULL: the user must give it                                */
    const char *earlier_text; /* what run files mean that do not name it, having been made before there was such a
                                 setting; NULL: default_text */
    const char *auto_text; /* what stands for a value that is found and recorded when a run begins, which then goes on
                              with that; NULL: nothing does */
    const char *meaning;
    fbt_decides decides;        /* numbers, unless the table says otherwise                     */
    int64_t int_min, int_max;   /* INT: both bounds included                                  */
    double real_min, real_max;  /* REAL: the upper bound included ...                         */
    bool above_min;             /* ... the lower one too, unless this is set                  */
    const char *const *choices; /* WORD, CHOICE: ends with NULL                               */
    int first_choice;           /* CHOICE: those before it cannot be set                      */
} fbt_option;

/* A value as it was written. */
typedef struct fbt_option_input {
    const char *where; /* "run.yaml:12: " or "--set: "                       */
    const char *text;
    size_t n_bytes; /* of text: a zero byte inside is an error            */
    bool quoted;    /* quoted in the file, so that it cannot be a number  */
} fbt_option_input;

/* The table; *n is its length. */
const fbt_option *fbt_options(int64_t *n);

/* The option called `key`, or NULL. */
const fbt_option *fbt_option_find(const char *key);

/* Bytes of the option's key up to the dot. */
size_t fbt_option_section_length(const fbt_option *option);

/* Where the option's value is kept. */
void *fbt_option_member(const fbt_option *option, fbt_settings *settings);

/* Converts and stores a value, exactly or not at all. Errors: FBT_ERR_CONFIG: `where key: what; what to do`. */
fbt_status fbt_option_set(const fbt_option *option, const fbt_option_input *input, fbt_settings *settings);

/* The option's value as text that fbt_option_set reads back to the same value; "" for a text that is not set. Release
 * *text with free(). */
fbt_status fbt_option_value_text(const fbt_option *option, const fbt_settings *settings, char **text);

/* Reports the unknown `key` ("section.name") with the nearest known one. Always FBT_ERR_CONFIG. */
fbt_status fbt_option_unknown(const char *where, const char *key);

/* "an integer from 1 to 65535", "a number above 0", "true or false", ... */
void fbt_option_describe(const fbt_option *option, char *text, size_t n_bytes);

/* `text` for a message: in quotes, cut where too long, without control characters. Returns quote. */
const char *fbt_option_quote(const char *text, size_t n_bytes, char quote[FBT_OPTION_QUOTE_BYTES]);

/* Shortest decimal text that reads back to the same double, without an exponent where that is customary. */
void fbt_option_real_text(double value, char text[32]);

#endif
