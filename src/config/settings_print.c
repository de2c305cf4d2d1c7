#include "options.h"

#include <stdlib.h>
#include <string.h>

/* A double-quoted YAML scalar. What YAML does not take as it is, or would fold, is escaped. */
static void print_quoted(FILE *stream, const char *text)
{
    size_t n_bytes = strlen(text), n;
    fputc('"', stream);
    for (size_t i = 0; i < n_bytes; i += n) {
        uint32_t code = 0;
        n = fbt_option_utf8(text + i, n_bytes - i, &code);
        n = n == 0 ? 1 : n;
        bool plain = (code >= 0x20 && code < 0x7f) || (code >= 0xa0 && code != 0x2028 && code != 0x2029 &&
                                                       code != 0xfeff && code != 0xfffe && code != 0xffff);
        if (code == '"' || code == '\\') {
            fprintf(stream, "\\%c", (int)code);
        } else if (plain) {
            fwrite(text + i, 1, n, stream);
        } else {
            fprintf(stream, "\\u%04x", code);
        }
    }
    fputc('"', stream);
}

static void print_value(FILE *stream, const fbt_option *option, const fbt_settings *settings)
{
    const void *member = (const char *)settings + option->offset;
    char number[32];
    switch (option->kind) {
    case FBT_OPTION_TEXT:
        print_quoted(stream, *(char *const *)member);
        break;
    case FBT_OPTION_WORD:
        fputs(*(char *const *)member, stream);
        break;
    case FBT_OPTION_INT:
        fprintf(stream, "%lld", (long long)*(const int64_t *)member);
        break;
    case FBT_OPTION_REAL:
        fbt_option_real_text(*(const double *)member, number);
        fputs(number, stream);
        break;
    case FBT_OPTION_BOOL:
        fputs(*(const bool *)member ? "true" : "false", stream);
        break;
    case FBT_OPTION_CHOICE:
        fputs(fbt_settings_choice_name(option->key, *(const int *)member), stream);
        break;
    }
}

/* True for the first option of a section. */
static bool starts_section(const fbt_option *options, int64_t i)
{
    size_t n = fbt_option_section_length(&options[i]);
    return i == 0 || strncmp(options[i].key, options[i - 1].key, n + 1) != 0;
}

/* A text option without a value has no notation; leaving it out says the same. */
static bool has_value(const fbt_option *option, const fbt_settings *settings)
{
    const void *member = (const char *)settings + option->offset;
    bool is_text = option->kind == FBT_OPTION_TEXT || option->kind == FBT_OPTION_WORD;
    return !is_text || *(char *const *)member != NULL;
}

fbt_status fbt_settings_print(const fbt_settings *settings, char **text)
{
    int64_t n;
    size_t n_bytes, n_section = 0;
    const fbt_option *options = fbt_options(&n), *section = NULL;
    FILE *stream = open_memstream(text, &n_bytes);
    if (stream == NULL) {
        *text = NULL;
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: text of the settings");
    }
    for (int64_t i = 0; i < n; i++) {
        if (!has_value(&options[i], settings)) {
            continue;
        }
        if (section == NULL || strncmp(section->key, options[i].key, n_section + 1) != 0) {
            section = &options[i];
            n_section = fbt_option_section_length(section);
            fprintf(stream, "%.*s:\n", (int)n_section, section->key);
        }
        fprintf(stream, "  %s: ", options[i].key + n_section + 1);
        print_value(stream, &options[i], settings);
        fputc('\n', stream);
    }
    if (fclose(stream) != 0) {
        free(*text);
        *text = NULL;
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: text of the settings");
    }
    return FBT_OK;
}

fbt_status fbt_settings_print_reference(FILE *stream)
{
    int64_t n;
    char range[160];
    const fbt_option *options = fbt_options(&n);
    for (int64_t i = 0; i < n; i++) {
        size_t n_section = fbt_option_section_length(&options[i]);
        if (starts_section(options, i)) {
            fprintf(stream, "%s%.*s:\n", i == 0 ? "" : "\n", (int)n_section, options[i].key);
        }
        fbt_option_describe(&options[i], range, sizeof range);
        fprintf(stream, "  %-18s %s\n  %-18s   %s; ", options[i].key + n_section + 1, options[i].meaning, "", range);
        fprintf(stream, options[i].default_text == NULL ? "required\n" : "default %s\n", options[i].default_text);
    }
    return ferror(stream) ? fbt_fail(FBT_ERR_IO, "the reference of settings cannot be written") : FBT_OK;
}
