#include "config/options.h"
#include "config/yaml_text.h"

#include <stdlib.h>
#include <string.h>

enum { N_OPTIONS_MAX = 128 };

/* One pass over a file. */
typedef struct reader {
    fbt_settings *settings;
    const fbt_yaml *yaml;
    size_t option_line[N_OPTIONS_MAX]; /* where each option was given; 0: not given         */
} reader;

static const char known_keys[] = "`fedbpt run --options` lists all keys";

static fbt_status read_option(reader *r, const char *section, const yaml_node_t *key, const yaml_node_t *value)
{
    fbt_status status = FBT_OK;
    char where[FBT_YAML_WHERE_BYTES], full[160];
    int64_t n;
    const fbt_option *options = fbt_options(&n);
    FBT_TRY(fbt_yaml_check_key(r->yaml, key, known_keys));
    fbt_yaml_where(r->yaml, key, where);
    snprintf(full, sizeof full, "%s.%s", section, fbt_yaml_text(key));
    const fbt_option *option = fbt_option_find(full);
    if (option == NULL) {
        return fbt_option_unknown(where, full);
    }
    size_t *line = &r->option_line[option - options];
    if (*line != 0) {
        FBT_FAIL(FBT_ERR_CONFIG, "%s%s: the key is repeated (first in line %zu); remove one of the two", where, full,
                 *line);
    }
    *line = fbt_yaml_line(key);
    FBT_TRY(fbt_yaml_check_scalar(where, full, value));
    fbt_option_input input = fbt_yaml_input(where, value);
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
    char where[FBT_YAML_WHERE_BYTES], quote[FBT_OPTION_QUOTE_BYTES], sections[256];
    int64_t n;
    const fbt_option *options = fbt_options(&n);
    const char *name = fbt_yaml_text(key);
    bool known = false;
    fbt_yaml_where(r->yaml, key, where);
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

static fbt_status read_sections(reader *r, const yaml_node_t *root)
{
    fbt_status status = FBT_OK;
    for (const yaml_node_pair_t *p = root->data.mapping.pairs.start; p < root->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = fbt_yaml_node(r->yaml, p->key);
        const yaml_node_t *section = fbt_yaml_node(r->yaml, p->value);
        FBT_TRY(fbt_yaml_check_key(r->yaml, key, known_keys));
        FBT_TRY(check_section(r, key, section));
        FBT_TRY(fbt_yaml_check_once(r->yaml, root, p, "section"));
        const yaml_node_pair_t *last = section->data.mapping.pairs.top;
        for (const yaml_node_pair_t *q = section->data.mapping.pairs.start; q < last; q++) {
            FBT_TRY(
                read_option(r, fbt_yaml_text(key), fbt_yaml_node(r->yaml, q->key), fbt_yaml_node(r->yaml, q->value)));
        }
    }
done:
    return status;
}

static fbt_status read_bytes(fbt_settings *settings, const char *text, size_t n_bytes, const char *name)
{
    fbt_status status = FBT_OK;
    fbt_yaml yaml = {0};
    FBT_TRY(fbt_yaml_load(&yaml, text, n_bytes, name, "settings"));
    reader r = {.settings = settings, .yaml = &yaml};
    const yaml_node_t *root = fbt_yaml_root(&yaml);
    if (root != NULL && root->type != YAML_MAPPING_NODE) {
        FBT_FAIL(FBT_ERR_CONFIG, "%.256s:%zu: expected sections such as `fed:` with `key: value` lines below", name,
                 fbt_yaml_line(root));
    }
    if (root != NULL) { /* NULL: nothing but comments, i.e. all defaults */
        FBT_TRY(read_sections(&r, root));
    }
done:
    fbt_yaml_clear(&yaml);
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
    size_t n_bytes;
    FBT_TRY(fbt_yaml_read_file(path, "settings", &bytes, &n_bytes));
    FBT_TRY(read_bytes(settings, bytes, n_bytes, path));
    if (text != NULL) {
        *text = bytes;
        bytes = NULL;
    }
done:
    free(bytes);
    return status;
}
