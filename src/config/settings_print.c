#include "config/options.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* A double-quoted YAML scalar. What YAML does not take as it is, or would fold, is escaped. */
static void print_quoted(FILE *stream, const char *text)
{
    size_t n_bytes = strlen(text), n;
    fputc('"', stream);
    for (size_t i = 0; i < n_bytes; i += n) {
        uint32_t code = 0;
        n = fbt_utf8_next(text + i, n_bytes - i, &code);
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

fbt_status fbt_option_value_text(const fbt_option *option, const fbt_settings *settings, char **text)
{
    const void *member = (const char *)settings + option->offset;
    char number[32];
    const char *shown = number;
    switch (option->kind) {
    case FBT_OPTION_TEXT:
    case FBT_OPTION_WORD:
        shown = *(char *const *)member == NULL ? "" : *(char *const *)member;
        break;
    case FBT_OPTION_INT:
        snprintf(number, sizeof number, "%" PRId64, *(const int64_t *)member);
        break;
    case FBT_OPTION_REAL:
        fbt_option_real_text(*(const double *)member, number);
        break;
    case FBT_OPTION_BOOL:
        shown = *(const bool *)member ? "true" : "false";
        break;
    case FBT_OPTION_CHOICE:
        shown = fbt_settings_choice_name(option->key, *(const int *)member);
        break;
    }
    return fbt_memory_strdup(text, shown);
}

static fbt_status print_value(FILE *stream, const fbt_option *option, const fbt_settings *settings)
{
    char *text;
    fbt_status status = fbt_option_value_text(option, settings, &text);
    if (status == FBT_OK && option->kind == FBT_OPTION_TEXT) {
        print_quoted(stream, text);
    } else if (status == FBT_OK) {
        fputs(text, stream);
    }
    free(text);
    return status;
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

static fbt_status print_all(FILE *stream, const fbt_settings *settings)
{
    fbt_status status = FBT_OK;
    int64_t n;
    size_t n_section = 0;
    const fbt_option *options = fbt_options(&n), *section = NULL;
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
        FBT_TRY(print_value(stream, &options[i], settings));
        fputc('\n', stream);
    }
done:
    return status;
}

fbt_status fbt_settings_print(const fbt_settings *settings, char **text)
{
    size_t n_bytes;
    FILE *stream = open_memstream(text, &n_bytes);
    if (stream == NULL) {
        *text = NULL;
        return fbt_fail(FBT_ERR_MEMORY, "out of memory: text of the settings");
    }
    fbt_status status = print_all(stream, settings);
    if (fclose(stream) != 0 && status == FBT_OK) {
        status = fbt_fail(FBT_ERR_MEMORY, "out of memory: text of the settings");
    }
    if (status != FBT_OK) {
        free(*text);
        *text = NULL;
    }
    return status;
}

/* As the reference says it. */
static const char *const decides_phrases[] = {
    [FBT_DECIDES_NUMBERS] = "",
    [FBT_DECIDES_NOTHING] = "; changes no result",
    [FBT_DECIDES_CONTENT] = "; changes no result, but what is recorded",
    [FBT_DECIDES_LENGTH] = "; may grow when a run goes on",
    [FBT_DECIDES_INPUT] = "; what lies there decides, not the path",
    [FBT_DECIDES_OUTCOME] = "; what comes of it decides",
};

void fbt_settings_list_decides(char text[FBT_SETTINGS_DECIDES_BYTES])
{
    int64_t n;
    size_t used = 0;
    const fbt_option *options = fbt_options(&n);
    text[0] = '\0';
    for (int64_t i = 0; i < n && used < FBT_SETTINGS_DECIDES_BYTES; i++) {
        if (options[i].decides != FBT_DECIDES_NUMBERS) {
            used += (size_t)snprintf(text + used, FBT_SETTINGS_DECIDES_BYTES - used, "%s: %s\n", options[i].key,
                                     fbt_decides_names[options[i].decides]);
        }
    }
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
        fprintf(stream, options[i].default_text == NULL ? "required" : "default %s", options[i].default_text);
        fprintf(stream, "%s\n", decides_phrases[options[i].decides]);
    }
    return ferror(stream) ? fbt_fail(FBT_ERR_IO, "the reference of settings cannot be written") : FBT_OK;
}
