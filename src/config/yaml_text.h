/* YAML with the project's errors, for the files of this folder: `file:line: what; what to do`. */
#ifndef FBT_CONFIG_YAML_TEXT_H
#define FBT_CONFIG_YAML_TEXT_H

#include "base/status.h"
#include "config/options.h"

#include <stdbool.h>
#include <stddef.h>
#include <yaml.h>

enum { FBT_YAML_WHERE_BYTES = 320 };

/* One document. Zero-initialise before, clear after. */
typedef struct fbt_yaml {
    const char *name; /* of the file, for messages; borrowed */
    bool loaded;
    yaml_document_t document;
} fbt_yaml;

/* Reads all of a file. kind: "settings" or "sweep", for messages. *text is ended by a zero and released with free().
 * Errors: FBT_ERR_IO, FBT_ERR_CONFIG (too long). */
fbt_status fbt_yaml_read_file(const char *path, const char *kind, char **text, size_t *n_bytes);

/* Parses text into its one document. Errors: FBT_ERR_CONFIG, FBT_ERR_MEMORY. */
fbt_status fbt_yaml_load(fbt_yaml *yaml, const char *text, size_t n_bytes, const char *name, const char *kind);
void fbt_yaml_clear(fbt_yaml *yaml);

/* The node with this number of the document; of keys and values of a pair, and items of a list. */
const yaml_node_t *fbt_yaml_node(const fbt_yaml *yaml, int number);

/* The document's root, or NULL when there is nothing but comments. */
const yaml_node_t *fbt_yaml_root(const fbt_yaml *yaml);

/* Line of a node, from 1. */
size_t fbt_yaml_line(const yaml_node_t *node);

/* "file:line: " of a node. Returns where. */
const char *fbt_yaml_where(const fbt_yaml *yaml, const yaml_node_t *node, char where[FBT_YAML_WHERE_BYTES]);

/* Text of a scalar node, ended by a zero. */
const char *fbt_yaml_text(const yaml_node_t *node);

/* Fails unless the key is a plain word of at most 64 bytes. advice: how to find the known ones. */
fbt_status fbt_yaml_check_key(const fbt_yaml *yaml, const yaml_node_t *key, const char *advice);

/* Fails unless the value of `key` is one value, without a tag. */
fbt_status fbt_yaml_check_scalar(const char *where, const char *key, const yaml_node_t *value);

/* Fails when a pair of `mapping` before `pair` has its key. The sentence calls it `kind` ("section", "key"). */
fbt_status fbt_yaml_check_once(const fbt_yaml *yaml, const yaml_node_t *mapping, const yaml_node_pair_t *pair,
                               const char *kind);

/* A scalar as the option table reads it; borrows where and the node. */
fbt_option_input fbt_yaml_input(const char *where, const yaml_node_t *value);

#endif
