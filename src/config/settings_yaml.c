#include "options.h"

#include "memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum {
    FILE_BYTES_MAX = 1 << 18,
    NESTING_MAX = 100,
    WHERE_BYTES = 320,
    N_OPTIONS_MAX = 128,
};

/* One pass over a file. */
typedef struct reader {
    fbt_settings *settings;
    yaml_document_t *document;
    const char *name;                  /* of the file                                       */
    size_t option_line[N_OPTIONS_MAX]; /* where each option was given; 0: not given         */
} reader;

static size_t line_of(const yaml_node_t *node)
{
    return node->start_mark.line + 1;
}

/* "file:line: " */
static const char *where_is(const reader *r, size_t line, char where[WHERE_BYTES])
{
    snprintf(where, WHERE_BYTES, "%.256s:%zu: ", r->name, line);
    return where;
}

static const char *scalar_text(const yaml_node_t *node)
{
    return (const char *)node->data.scalar.value;
}

/* A key must be a plain word: at most 64 bytes, no zero byte. */
static fbt_status check_key(const reader *r, const yaml_node_t *key)
{
    char where[WHERE_BYTES], quote[FBT_OPTION_QUOTE_BYTES];
    where_is(r, line_of(key), where);
    if (key->type != YAML_SCALAR_NODE) {
        return fbt_fail(FBT_ERR_CONFIG, "%sa key must be one word, not a list or a section", where);
    }
    if (key->data.scalar.length > 64 || strlen(scalar_text(key)) != key->data.scalar.length) {
        return fbt_fail(FBT_ERR_CONFIG, "%sunknown key %s; `fedbpt run --options` lists all keys", where,
                        fbt_option_quote(scalar_text(key), key->data.scalar.length, quote));
    }
    return FBT_OK;
}

static fbt_status check_scalar(const char *where, const char *key, const yaml_node_t *value)
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

static fbt_status read_option(reader *r, const char *section, const yaml_node_t *key, const yaml_node_t *value)
{
    fbt_status status = FBT_OK;
    char where[WHERE_BYTES], full[160];
    int64_t n;
    const fbt_option *options = fbt_options(&n);
    FBT_TRY(check_key(r, key));
    where_is(r, line_of(key), where);
    snprintf(full, sizeof full, "%s.%s", section, scalar_text(key));
    const fbt_option *option = fbt_option_find(full);
    if (option == NULL) {
        return fbt_option_unknown(where, full);
    }
    size_t *line = &r->option_line[option - options];
    if (*line != 0) {
        FBT_FAIL(FBT_ERR_CONFIG, "%s%s: the key is repeated (first in line %zu); remove one of the two", where, full,
                 *line);
    }
    *line = line_of(key);
    FBT_TRY(check_scalar(where, full, value));
    fbt_option_input input = {.where = where,
                              .text = scalar_text(value),
                              .n_bytes = value->data.scalar.length,
                              .quoted = value->data.scalar.style != YAML_PLAIN_SCALAR_STYLE};
    status = fbt_option_set(option, &input, r->settings);
done:
    return status;
}

/* "a, b and c": the names of all sections. */
static void list_sections(char *text, size_t n_bytes)
{
    int64_t n;
    size_t used = 0;
    const fbt_option *options = fbt_options(&n);
    text[0] = '\0';
    for (int64_t i = 0; i < n && used < n_bytes; i++) {
        size_t n_section = fbt_option_section_length(&options[i]);
        if (i == 0 || strncmp(options[i].key, options[i - 1].key, n_section + 1) != 0) {
            used += (size_t)snprintf(text + used, n_bytes - used, "%s%.*s", i == 0 ? "" : ", ", (int)n_section,
                                     options[i].key);
        }
    }
}

static fbt_status check_section(const reader *r, const yaml_node_t *key, const yaml_node_t *value)
{
    char where[WHERE_BYTES], quote[FBT_OPTION_QUOTE_BYTES], sections[256];
    int64_t n;
    const fbt_option *options = fbt_options(&n);
    const char *name = scalar_text(key);
    bool known = false;
    where_is(r, line_of(key), where);
    for (int64_t i = 0; i < n; i++) {
        size_t n_section = fbt_option_section_length(&options[i]);
        known = known || (strlen(name) == n_section && strncmp(name, options[i].key, n_section) == 0);
    }
    if (!known) {
        list_sections(sections, sizeof sections);
        return fbt_fail(FBT_ERR_CONFIG, "%sunknown section %s; the sections are %s", where,
                        fbt_option_quote(name, strlen(name), quote), sections);
    }
    if (value->type != YAML_MAPPING_NODE) {
        return fbt_fail(FBT_ERR_CONFIG, "%s%s: expected a section of `key: value` lines, indented, below `%s:`", where,
                        name, name);
    }
    return FBT_OK;
}

/* Sections before `pair` of the same name: YAML itself would let the later one win. */
static fbt_status check_section_once(const reader *r, const yaml_node_t *root, const yaml_node_pair_t *pair)
{
    char where[WHERE_BYTES];
    const yaml_node_t *key = yaml_document_get_node(r->document, pair->key);
    for (const yaml_node_pair_t *p = root->data.mapping.pairs.start; p < pair; p++) {
        const yaml_node_t *earlier = yaml_document_get_node(r->document, p->key);
        if (strcmp(scalar_text(earlier), scalar_text(key)) == 0) {
            return fbt_fail(FBT_ERR_CONFIG, "%ssection %s is repeated (first in line %zu); join the two",
                            where_is(r, line_of(key), where), scalar_text(key), line_of(earlier));
        }
    }
    return FBT_OK;
}

static fbt_status read_sections(reader *r, const yaml_node_t *root)
{
    fbt_status status = FBT_OK;
    for (const yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = yaml_document_get_node(r->document, p->key);
        const yaml_node_t *section = yaml_document_get_node(r->document, p->value);
        FBT_TRY(check_key(r, key));
        FBT_TRY(check_section(r, key, section));
        FBT_TRY(check_section_once(r, root, p));
        const yaml_node_pair_t *last = section->data.mapping.pairs.top;
        for (const yaml_node_pair_t *q = section->data.mapping.pairs.start; q < last; q++) {
            FBT_TRY(read_option(r, scalar_text(key), yaml_document_get_node(r->document, q->key),
                                yaml_document_get_node(r->document, q->value)));
        }
    }
done:
    return status;
}

/* What libyaml found wrong, as one sentence. Its reader knows the byte, its scanner and parser the line. */
static fbt_status yaml_failure(const yaml_parser_t *parser, const char *name)
{
    const char *problem = parser->problem == NULL ? "the text cannot be read" : parser->problem;
    if (parser->error == YAML_MEMORY_ERROR) {
        return fbt_fail(FBT_ERR_MEMORY, "%.256s: out of memory while the settings were read", name);
    }
    if (parser->error == YAML_READER_ERROR) {
        return fbt_fail(FBT_ERR_CONFIG, "%.256s: byte %zu: %s; a settings file is YAML in UTF-8", name,
                        parser->problem_offset, problem);
    }
    return fbt_fail(FBT_ERR_CONFIG, "%.256s:%zu: not valid YAML: %s%s%s; check indentation, colons and quotes", name,
                    parser->problem_mark.line + 1, problem, parser->context == NULL ? "" : " ",
                    parser->context == NULL ? "" : parser->context);
}

/* Nothing may follow the first document. */
static fbt_status check_end(yaml_parser_t *parser, const char *name)
{
    yaml_document_t document;
    if (!yaml_parser_load(parser, &document)) {
        return yaml_failure(parser, name);
    }
    const yaml_node_t *root = yaml_document_get_root_node(&document);
    size_t line = root == NULL ? 0 : line_of(root);
    yaml_document_delete(&document);
    if (line > 0) {
        return fbt_fail(FBT_ERR_CONFIG, "%.256s:%zu: a second YAML document begins; a settings file has one", name,
                        line);
    }
    return FBT_OK;
}

/* libyaml takes time quadratic in the depth of open brackets. A settings file has no use for more than two. */
static fbt_status check_nesting(const char *text, size_t n_bytes, const char *name)
{
    size_t line = 1;
    int depth = 0;
    for (size_t i = 0; i < n_bytes; i++) {
        line += text[i] == '\n';
        depth += (text[i] == '[' || text[i] == '{') - (text[i] == ']' || text[i] == '}');
        if (depth > NESTING_MAX) {
            return fbt_fail(FBT_ERR_CONFIG, "%.256s:%zu: more than %d brackets are open; is it a settings file?", name,
                            line, NESTING_MAX);
        }
        depth = depth < 0 ? 0 : depth;
    }
    return FBT_OK;
}

static fbt_status read_bytes(fbt_settings *settings, const char *text, size_t n_bytes, const char *name)
{
    fbt_status status = FBT_OK;
    yaml_parser_t parser;
    yaml_document_t document;
    bool loaded = false;
    if (!yaml_parser_initialize(&parser)) {
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: YAML reader");
    }
    FBT_TRY(check_nesting(text, n_bytes, name));
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, n_bytes);
    if (!yaml_parser_load(&parser, &document)) {
        status = yaml_failure(&parser, name);
        goto done;
    }
    loaded = true;
    reader r = {.settings = settings, .document = &document, .name = name};
    const yaml_node_t *root = yaml_document_get_root_node(&document);
    if (root != NULL && root->type != YAML_MAPPING_NODE) {
        FBT_FAIL(FBT_ERR_CONFIG, "%.256s:%zu: expected sections such as `fed:` with `key: value` lines below", name,
                 line_of(root));
    }
    if (root != NULL) { /* NULL: nothing but comments, i.e. all defaults */
        FBT_TRY(read_sections(&r, root));
        FBT_TRY(check_end(&parser, name));
    }
done:
    if (loaded) {
        yaml_document_delete(&document);
    }
    yaml_parser_delete(&parser);
    return status;
}

fbt_status fbt_settings_read_text(fbt_settings *settings, const char *text, const char *name)
{
    return read_bytes(settings, text, strlen(text), name);
}

fbt_status fbt_settings_read_file(fbt_settings *settings, const char *path, char **text)
{
    fbt_status status = FBT_OK;
    char *bytes = NULL;
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        FBT_FAIL(FBT_ERR_IO, "%.256s cannot be opened: %s; give the path of a settings file", path, strerror(errno));
    }
    FBT_TRY(fbt_memory_alloc(&bytes, FILE_BYTES_MAX + 1, 1));
    size_t n_bytes = fread(bytes, 1, FILE_BYTES_MAX + 1, file);
    if (ferror(file)) {
        FBT_FAIL(FBT_ERR_IO, "%.256s cannot be read: %s; give the path of a settings file", path, strerror(errno));
    }
    if (n_bytes > FILE_BYTES_MAX) {
        FBT_FAIL(FBT_ERR_CONFIG, "%.256s is longer than %d bytes; is it a settings file?", path, FILE_BYTES_MAX);
    }
    FBT_TRY(read_bytes(settings, bytes, n_bytes, path));
    if (text != NULL) {
        *text = bytes;
        bytes = NULL;
    }
done:
    free(bytes);
    if (file != NULL) {
        fclose(file);
    }
    return status;
}
