#include "config/yaml_text.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    FILE_BYTES_MAX = 1 << 18,
    NESTING_MAX = 100,
};

size_t fbt_yaml_line(const yaml_node_t *node)
{
    return node->start_mark.line + 1;
}

const char *fbt_yaml_where(const fbt_yaml *yaml, const yaml_node_t *node, char where[FBT_YAML_WHERE_BYTES])
{
    snprintf(where, FBT_YAML_WHERE_BYTES, "%.256s:%zu: ", yaml->name, fbt_yaml_line(node));
    return where;
}

const char *fbt_yaml_text(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

/* libyaml looks nodes up in a document that it does not change, but asks for one that may be. */
const yaml_node_t *fbt_yaml_node(const fbt_yaml *yaml, int number)
{
    return yaml_document_get_node((yaml_document_t *)&yaml->document, number);
}

const yaml_node_t *fbt_yaml_root(const fbt_yaml *yaml)
{
    return yaml_document_get_root_node((yaml_document_t *)&yaml->document);
}

fbt_status fbt_yaml_check_key(const fbt_yaml *yaml, const yaml_node_t *key, const char *advice)
{
    char where[FBT_YAML_WHERE_BYTES], quote[FBT_OPTION_QUOTE_BYTES];
    fbt_yaml_where(yaml, key, where);
    if (key->type != YAML_SCALAR_NODE) {
        return fbt_fail(FBT_ERR_CONFIG, "%sa key must be one word, not a list or a section", where);
    }
    if (key->data.scalar.length > 64 || strlen(fbt_yaml_text(key)) != key->data.scalar.length) {
        return fbt_fail(FBT_ERR_CONFIG, "%sunknown key %s; %s", where,
                        fbt_option_quote(fbt_yaml_text(key), key->data.scalar.length, quote), advice);
    }
    return FBT_OK;
}

fbt_status fbt_yaml_check_scalar(const char *where, const char *key, const yaml_node_t *value)
{
    char quote[FBT_OPTION_QUOTE_BYTES];
    if (value->type != YAML_SCALAR_NODE) {
        return fbt_fail(FBT_ERR_CONFIG, "%s%s: expected one value, not a %s; write `key: value`", where, key,
                        value->type == YAML_SEQUENCE_NODE ? "list" : "section");
    }
    if (strcmp((const char *)value->tag, YAML_DEFAULT_SCALAR_TAG) != 0) {
        const char *tag = (const char *)value->tag;
        return fbt_fail(FBT_ERR_CONFIG, "%s%s: the tag %s is not understood; write the value alone", where, key,
                        fbt_option_quote(tag, strlen(tag), quote));
    }
    return FBT_OK;
}

/* YAML itself would let the later one win. */
fbt_status fbt_yaml_check_once(const fbt_yaml *yaml, const yaml_node_t *mapping, const yaml_node_pair_t *pair,
                               const char *kind)
{
    char where[FBT_YAML_WHERE_BYTES];
    const yaml_node_t *key = fbt_yaml_node(yaml, pair->key);
    for (const yaml_node_pair_t *p = mapping->data.mapping.pairs.start; p < pair; p++) {
        const yaml_node_t *earlier = fbt_yaml_node(yaml, p->key);
        if (strcmp(fbt_yaml_text(earlier), fbt_yaml_text(key)) == 0) {
            return fbt_fail(FBT_ERR_CONFIG, "%s%s %s is repeated (first in line %zu); join the two",
                            fbt_yaml_where(yaml, key, where), kind, fbt_yaml_text(key), fbt_yaml_line(earlier));
        }
    }
    return FBT_OK;
}

fbt_option_input fbt_yaml_input(const char *where, const yaml_node_t *value)
{
    return (fbt_option_input){.where = where,
                              .text = fbt_yaml_text(value),
                              .n_bytes = value->data.scalar.length,
                              .quoted = value->data.scalar.style != YAML_PLAIN_SCALAR_STYLE};
}

/* Reports the fault that libyaml found, as one sentence. Its reader knows the byte, its scanner and parser the line. */
static fbt_status yaml_failure(const yaml_parser_t *parser, const char *name, const char *kind)
{
    const char *problem = parser->problem == NULL ? "the text cannot be read" : parser->problem;
    if (parser->error == YAML_MEMORY_ERROR) {
        return fbt_fail(FBT_ERR_MEMORY, "%.256s: out of memory while it was read", name);
    }
    if (parser->error == YAML_READER_ERROR) {
        return fbt_fail(FBT_ERR_CONFIG, "%.256s: byte %zu: %s; a %s file is YAML in UTF-8", name,
                        parser->problem_offset, problem, kind);
    }
    return fbt_fail(FBT_ERR_CONFIG, "%.256s:%zu: not valid YAML: %s%s%s; check indentation, colons and quotes", name,
                    parser->problem_mark.line + 1, problem, parser->context == NULL ? "" : " ",
                    parser->context == NULL ? "" : parser->context);
}

/* Nothing may follow the first document. */
static fbt_status check_end(yaml_parser_t *parser, const char *name, const char *kind)
{
    yaml_document_t document;
    if (!yaml_parser_load(parser, &document)) {
        return yaml_failure(parser, name, kind);
    }
    const yaml_node_t *root = yaml_document_get_root_node(&document);
    size_t line = root == NULL ? 0 : fbt_yaml_line(root);
    yaml_document_delete(&document);
    if (line > 0) {
        return fbt_fail(FBT_ERR_CONFIG, "%.256s:%zu: a second YAML document begins; a %s file has one", name, line,
                        kind);
    }
    return FBT_OK;
}

/* libyaml takes time quadratic in the depth of open brackets. No file of this program has a use for more than a few
 * levels; brackets inside a text are none. What is not YAML is left to the reading proper. */
static fbt_status check_nesting(const char *text, size_t n_bytes, const char *name, const char *kind)
{
    fbt_status status = FBT_OK;
    yaml_parser_t parser;
    yaml_event_t event;
    int depth = 0;
    bool ended = false;
    if (!yaml_parser_initialize(&parser)) {
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: YAML reader");
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, n_bytes);
    while (!ended && yaml_parser_parse(&parser, &event)) {
        const size_t line = event.start_mark.line + 1;
        depth += event.type == YAML_SEQUENCE_START_EVENT || event.type == YAML_MAPPING_START_EVENT;
        depth -= event.type == YAML_SEQUENCE_END_EVENT || event.type == YAML_MAPPING_END_EVENT;
        ended = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
        if (depth > NESTING_MAX) {
            FBT_FAIL(FBT_ERR_CONFIG,
                     "%.256s:%zu: more than %d brackets are open, or lists and sections nested; is it a %s file?", name,
                     line, NESTING_MAX, kind);
        }
    }
done:
    yaml_parser_delete(&parser);
    return status;
}

/* The text is recorded in run files and read back from them: it must be UTF-8 as it stands. YAML, and libyaml, allow
 * UTF-16 and a byte order mark, too. */
static fbt_status check_encoding(const char *text, size_t n_bytes, const char *name, const char *kind)
{
    const size_t fault = fbt_utf8_find_fault(text, n_bytes);
    const bool is_utf16 = n_bytes > 1 && (memcmp(text, "\xff\xfe", 2) == 0 || memcmp(text, "\xfe\xff", 2) == 0);
    if (n_bytes > 2 && memcmp(text, "\xef\xbb\xbf", 3) == 0) {
        return fbt_fail(FBT_ERR_CONFIG, "%.256s: byte 0: a byte order mark; save the %s file as UTF-8 without it", name,
                        kind);
    }
    if (is_utf16 || (fault < n_bytes && text[fault] == '\0')) {
        return fbt_fail(
            FBT_ERR_CONFIG, "%.256s: byte %zu: %s; save the %s file as UTF-8", name, fault,
            is_utf16 ? "the text is UTF-16" : "a zero byte, as in UTF-16 (control characters are not allowed)", kind);
    }
    if (fault < n_bytes) {
        return fbt_fail(FBT_ERR_CONFIG, "%.256s: byte %zu: not UTF-8; save the %s file as UTF-8", name, fault, kind);
    }
    return FBT_OK;
}

fbt_status fbt_yaml_load(fbt_yaml *yaml, const char *text, size_t n_bytes, const char *name, const char *kind)
{
    fbt_status status = FBT_OK;
    yaml_parser_t parser;
    yaml->name = name;
    if (!yaml_parser_initialize(&parser)) {
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: YAML reader");
    }
    FBT_TRY(check_encoding(text, n_bytes, name, kind));
    FBT_TRY(check_nesting(text, n_bytes, name, kind));
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, n_bytes);
    if (!yaml_parser_load(&parser, &yaml->document)) {
        status = yaml_failure(&parser, name, kind);
        goto done;
    }
    yaml->loaded = true;
    if (fbt_yaml_root(yaml) != NULL) {
        FBT_TRY(check_end(&parser, name, kind));
    }
done:
    yaml_parser_delete(&parser);
    return status;
}

void fbt_yaml_clear(fbt_yaml *yaml)
{
    if (yaml->loaded) {
        yaml_document_delete(&yaml->document);
    }
    *yaml = (fbt_yaml){0};
}

fbt_status fbt_yaml_read_file(const char *path, const char *kind, char **text, size_t *n_bytes)
{
    fbt_status status = FBT_OK;
    char *bytes = NULL;
    FILE *file = fopen(path, "rb");
    *text = NULL;
    if (file == NULL) {
        FBT_FAIL(FBT_ERR_IO, "%.256s cannot be opened: %s; give the path of a %s file", path, strerror(errno), kind);
    }
    FBT_TRY(fbt_memory_alloc(&bytes, FILE_BYTES_MAX + 2, 1));
    *n_bytes = fread(bytes, 1, FILE_BYTES_MAX + 1, file);
    if (ferror(file)) {
        FBT_FAIL(FBT_ERR_IO, "%.256s cannot be read: %s; give the path of a %s file", path, strerror(errno), kind);
    }
    if (*n_bytes > FILE_BYTES_MAX) {
        FBT_FAIL(FBT_ERR_CONFIG, "%.256s is longer than %d bytes; is it a %s file?", path, FILE_BYTES_MAX, kind);
    }
    *text = bytes;
    bytes = NULL;
done:
    free(bytes);
    if (file != NULL) {
        fclose(file);
    }
    return status;
}
