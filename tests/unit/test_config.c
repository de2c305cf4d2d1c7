/* Settings: what is read, what is refused and in which words, and that printing and reading are inverse. */
#include "base/status.h"
#include "config/options.h"
#include "config/settings.h"
#include "kernels/backend.h"
#include "model/prompt.h"
#include "optim/cma.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* A new set of defaults. */
static fbt_settings defaults(void)
{
    fbt_settings settings = {0};
    fbt_error_clear(); /* of a test that failed */
    assert_int_equal(fbt_settings_defaults(&settings), FBT_OK);
    return settings;
}

static void paper_settings_are_the_defaults(void **state)
{
    (void)state;
    fbt_settings s = defaults();
    assert_string_equal(s.run.output, "run.h5");
    assert_null(s.model.path);
    assert_null(s.data.path);
    assert_int_equal(s.run.seed, 1);
    assert_int_equal(s.fed.clients, 10);
    assert_int_equal(s.fed.rounds, 200);
    assert_int_equal(s.fed.local_generations, 8);
    assert_int_equal(s.fed.protocol, FBT_PROTOCOL_NVFLARE);
    assert_int_equal(s.fed.partition, FBT_PARTITION_IID);
    assert_int_equal(s.cma.population, 5);
    assert_int_equal(s.cma.dimension, 500);
    assert_true(s.cma.sigma == 1 && s.cma.alpha == 1 && s.fed.participation == 1 && s.perturb.rate == 0);
    assert_int_equal(s.prompt.tokens, 50);
    assert_int_equal(s.data.shots, 40);
    assert_true(s.cma.active);
    assert_string_equal(s.backend.precision, "auto");
    fbt_settings_clear(&s);
}

/* A choice is kept as its enumerator. Broken by reordering either list. */
static void choices_follow_their_enumerations(void **state)
{
    (void)state;
    assert_string_equal(fbt_settings_choice_name("prompt.mode", FBT_PROMPT_ADD), "add");
    assert_string_equal(fbt_settings_choice_name("prompt.mode", FBT_PROMPT_CAT), "cat");
    assert_string_equal(fbt_settings_choice_name("prompt.mode", FBT_PROMPT_INPUT), "input");
    assert_string_equal(fbt_settings_choice_name("prompt.projection", FBT_PROJECTION_NORMAL), "normal");
    assert_string_equal(fbt_settings_choice_name("prompt.projection", FBT_PROJECTION_UNIFORM), "uniform");
    assert_string_equal(fbt_settings_choice_name("fed.protocol", FBT_PROTOCOL_NVFLARE), "nvflare");
    assert_string_equal(fbt_settings_choice_name("fed.protocol", FBT_PROTOCOL_PAPER), "paper");
    assert_string_equal(fbt_settings_choice_name("fed.protocol", FBT_PROTOCOL_FEDAVG_BBT), "fedavg-bbt");
    assert_string_equal(fbt_settings_choice_name("fed.protocol", FBT_PROTOCOL_SYNCHRONOUS), "synchronous");
    assert_string_equal(fbt_settings_choice_name("fed.protocol", FBT_PROTOCOL_FEEDSIGN), "feedsign");
    assert_string_equal(fbt_settings_choice_name("fed.partition", FBT_PARTITION_DIRICHLET), "dirichlet");
    assert_string_equal(fbt_settings_choice_name("fed.client_seeds", FBT_CLIENT_SEEDS_SHARED), "shared");
    assert_string_equal(fbt_settings_choice_name("cma.covariance", FBT_CMA_FULL), "full");
    assert_string_equal(fbt_settings_choice_name("cma.covariance", FBT_CMA_SEPARABLE), "separable");
    assert_string_equal(fbt_settings_choice_name("cma.covariance", FBT_CMA_ISOTROPIC), "isotropic");
    assert_string_equal(fbt_settings_choice_name("cma.decomposition", FBT_CMA_EIGEN), "eigen");
    assert_string_equal(fbt_settings_choice_name("cma.decomposition", FBT_CMA_CHOLESKY), "cholesky");
    assert_string_equal(fbt_settings_choice_name("cma.constants", FBT_CMA_CONSTANTS_TUTORIAL), "tutorial");
    assert_string_equal(fbt_settings_choice_name("cma.constants", FBT_CMA_CONSTANTS_PYCMA), "pycma");
    assert_string_equal(fbt_settings_choice_name("perturb.scope", FBT_PERTURB_ALL), "all");
    assert_string_equal(fbt_settings_choice_name("perturb.fitness", FBT_FITNESS_SUM_OF_RATIOS), "sum_of_ratios");
    assert_string_equal(fbt_settings_choice_name("objective.loss", FBT_LOSS_CE), "ce");
    assert_string_equal(fbt_settings_choice_name("objective.loss", FBT_LOSS_HINGE), "hinge");
    assert_string_equal(fbt_settings_choice_name("objective.loss", FBT_LOSS_ACCURACY), "accuracy");
    assert_null(fbt_settings_choice_name("fed.protocol", 5));
    assert_null(fbt_settings_choice_name("fed.protocol", -1));
    assert_null(fbt_settings_choice_name("fed.clients", 0));
    assert_null(fbt_settings_choice_name("no.such", 0));
}

static void a_file_is_read(void **state)
{
    (void)state;
    fbt_settings s = defaults();
    const char *text = "# a run\n"
                       "run:\n  output: out dir/a.h5\n  seed: 9223372036854775807\n  max_seconds: 1.5e3\n"
                       "model: {path: \"models/m\\u00fc\", embedding_scale: .5}\n"
                       "data:\n  path: 12345\n"
                       "fed:\n  protocol: 'fedavg-bbt'\n  participation: 1\n"
                       "cma:\n  active: false\n  sigma: 1e-3\n"
                       "backend: {precision: bf16, threads: 0}\n";
    assert_int_equal(fbt_settings_read_text(&s, text, "a.yaml"), FBT_OK);
    assert_string_equal(s.run.output, "out dir/a.h5");
    assert_true(s.run.seed == INT64_MAX);
    assert_true(s.run.max_seconds == 1500 && s.model.embedding_scale == 0.5 && s.cma.sigma == 1e-3);
    assert_string_equal(s.model.path, "models/m\xc3\xbc");
    assert_string_equal(s.data.path, "12345");
    assert_int_equal(s.fed.protocol, FBT_PROTOCOL_FEDAVG_BBT);
    assert_false(s.cma.active);
    assert_string_equal(s.backend.precision, "bf16");
    assert_int_equal(fbt_settings_read_text(&s, "", "empty.yaml"), FBT_OK);
    assert_int_equal(fbt_settings_read_text(&s, "# nothing\n", "empty.yaml"), FBT_OK);
    fbt_settings_clear(&s);
}

typedef struct refusal {
    const char *text;
    const char *start;   /* of the sentence: file, line and key */
    const char *part[2]; /* occur in it; NULL: no more          */
} refusal;

static void assert_sentence(const char *start, const char *const part[2])
{
    const char *sentence = fbt_error_message();
    if (strncmp(sentence, start, strlen(start)) != 0) {
        fail_msg("expected '%s...', got '%s'", start, sentence);
    }
    for (int i = 0; i < 2 && part[i] != NULL; i++) {
        if (strstr(sentence, part[i]) == NULL) {
            fail_msg("expected '%s' in '%s'", part[i], sentence);
        }
    }
    assert_null(strchr(sentence, '\n'));
    assert_null(strchr(sentence, '\033'));
    fbt_error_clear();
}

/* Each bad text is one FBT_ERR_CONFIG that names file, line and key, and leaves the settings as they were. */
static void bad_files_are_one_sentence(void **state)
{
    (void)state;
    static const refusal cases[] = {
        /* misspelt */
        {"fed:\n  clents: 3\n", "f:2: unknown key 'fed.clents'", {"did you mean fed.clients?"}},
        {"fed:\n  dimension: 3\n", "f:2: unknown key 'fed.dimension'", {"did you mean cma.dimension?"}},
        {"fed:\n  wibblewobble: 3\n", "f:2: unknown key 'fed.wibblewobble'", {"lists all keys"}},
        {"fed:\n  <<: 3\n", "f:2: unknown key 'fed.<<'", {NULL}},
        {"\n\nfedd:\n  clients: 3\n", "f:3: unknown section 'fedd'", {"run, model, data", "backend"}},
        {"clients: 3\n", "f:1: unknown section 'clients'", {NULL}},
        {"fed.clients: 3\n", "f:1: unknown section 'fed.clients'", {NULL}},
        {"fed:\n  \"a\\0b\": 3\n", "f:2: unknown key", {NULL}},
        {"fed:\n  \"\\e[31m\": 3\n", "f:2: unknown key", {NULL}},
        /* repeated */
        {"fed:\n  clients: 3\n  rounds: 1\n  clients: 3\n", "f:4: fed.clients: the key is repeated", {"line 2"}},
        {"fed:\n  clients: 3\nrun:\n  seed: 1\nfed:\n  rounds: 1\n", "f:5: section fed is repeated", {"line 1"}},
        /* wrong type */
        {"fed:\n  clients: abc\n", "f:2: fed.clients: expected an integer from 1 to 1048575, not 'abc'", {NULL}},
        {"fed:\n  clients: \"abc\"\n", "f:2: fed.clients: expected an integer", {"quotes"}},
        {"fed:\n  clients: '10'\n", "f:2: fed.clients: expected an integer", {"remove the quotes"}},
        {"fed:\n  clients: 1.5\n", "f:2: fed.clients: expected an integer", {"'1.5'"}},
        {"fed:\n  clients: 10.0\n", "f:2: fed.clients: expected an integer", {"'10.0'"}},
        {"fed:\n  clients: 1e3\n", "f:2: fed.clients: expected an integer", {"'1e3'"}},
        {"fed:\n  clients: 0x10\n", "f:2: fed.clients: expected an integer", {"'0x10'"}},
        {"fed:\n  clients: 010\n", "f:2: fed.clients: expected an integer", {"'010'"}},
        {"fed:\n  clients: +10\n", "f:2: fed.clients: expected an integer", {"'+10'"}},
        {"fed:\n  clients: 10 clients\n", "f:2: fed.clients: expected an integer", {"'10 clients'"}},
        {"fed:\n  clients: 1_000\n", "f:2: fed.clients: expected an integer", {"'1_000'"}},
        {"fed:\n  clients: true\n", "f:2: fed.clients: expected an integer", {"'true'"}},
        {"cma:\n  active: yes\n", "f:2: cma.active: expected true or false, not 'yes'", {NULL}},
        {"cma:\n  active: 1\n", "f:2: cma.active: expected true or false", {NULL}},
        {"cma:\n  active: True\n", "f:2: cma.active: expected true or false", {NULL}},
        {"cma:\n  active: \"true\"\n", "f:2: cma.active: expected true or false", {"quotes"}},
        {"cma:\n  sigma: one\n", "f:2: cma.sigma: expected a number", {"'one'"}},
        {"cma:\n  sigma: 0x1p3\n", "f:2: cma.sigma: expected a number", {NULL}},
        {"cma:\n  sigma: 1,5\n", "f:2: cma.sigma: expected a number", {NULL}},
        {"cma:\n  sigma: .\n", "f:2: cma.sigma: expected a number", {NULL}},
        {"cma:\n  sigma: 1e\n", "f:2: cma.sigma: expected a number", {NULL}},
        {"cma:\n  sigma: '1'\n", "f:2: cma.sigma: expected a number", {"quotes"}},
        {"fed:\n  protocol: nvflar\n",
         "f:2: fed.protocol: expected nvflare, paper, fedavg-bbt, synchronous or feedsign, not 'nvflar'",
         {NULL}},
        {"fed:\n  protocol: NVFLARE\n", "f:2: fed.protocol: expected nvflare", {NULL}},
        {"backend:\n  name: gpu\n", "f:2: backend.name: expected cpu or cuda, not 'gpu'", {NULL}},
        {"prompt:\n  mode: none\n", "f:2: prompt.mode: expected add, cat or input", {NULL}},
        {"fed:\n  clients: [1, 2]\n", "f:2: fed.clients: expected one value, not a list", {NULL}},
        {"fed:\n  clients:\n    a: 2\n", "f:2: fed.clients: expected one value, not a section", {NULL}},
        {"fed:\n  clients: !!int 5\n", "f:2: fed.clients: the tag", {"int"}},
        {"fed:\n  clients: !evil 5\n", "f:2: fed.clients: the tag '!evil'", {NULL}},
        /* out of range */
        {"fed:\n  clients: 0\n", "f:2: fed.clients: expected an integer from 1 to 1048575, not '0'", {"out of range"}},
        {"fed:\n  clients: -3\n", "f:2: fed.clients: expected an integer", {"out of range"}},
        {"fed:\n  clients: 1048576\n", "f:2: fed.clients: expected an integer", {"out of range"}},
        {"fed:\n  local_generations: 65536\n", "f:2: fed.local_generations: expected", {"out of range"}},
        {"cma:\n  population: 1\n", "f:2: cma.population: expected an integer from 2", {"out of range"}},
        {"cma:\n  population: 16777216\n", "f:2: cma.population: expected an integer", {"out of range"}},
        {"run:\n  seed: 9223372036854775808\n", "f:2: run.seed: expected an integer, at least 0", {"out of range"}},
        {"run:\n  seed: -1\n", "f:2: run.seed: expected an integer, at least 0", {"out of range"}},
        {"run:\n  max_seconds: -1\n", "f:2: run.max_seconds: expected a number from 0", {"out of range"}},
        {"fed:\n  participation: 0\n",
         "f:2: fed.participation: expected a number above 0 and up to 1",
         {"out of range"}},
        {"fed:\n  participation: 1.0000001\n", "f:2: fed.participation: expected a number", {"out of range"}},
        {"perturb:\n  rate: 1.1\n", "f:2: perturb.rate: expected a number from 0 to 1", {"out of range"}},
        {"cma:\n  sigma: nan\n", "f:2: cma.sigma: expected a number above 0", {"'nan'"}},
        {"cma:\n  sigma: .nan\n", "f:2: cma.sigma: expected a number above 0", {"'.nan'"}},
        {"cma:\n  sigma: .inf\n", "f:2: cma.sigma: expected a number above 0", {"'.inf'"}},
        {"cma:\n  sigma: 1e999\n", "f:2: cma.sigma: expected a number above 0", {"out of range"}},
        {"cma:\n  sigma: 1e-999\n", "f:2: cma.sigma: expected a number above 0", {"out of range"}},
        {"perturb:\n  rate: 1e-999\n", "f:2: perturb.rate: expected a number", {"out of range"}},
        /* empty */
        {"run:\n  output:\n", "f:2: run.output: the value is empty", {NULL}},
        {"run:\n  output: \"\"\n", "f:2: run.output: the value is empty", {NULL}},
        {"run:\n  output: ~\n", "f:2: run.output: the value is empty", {NULL}},
        {"run:\n  output: null\n", "f:2: run.output: the value is empty", {NULL}},
        {"run:\n  seed:\n", "f:2: run.seed: the value is empty", {NULL}},
        {"run:\n  output: \"a\\0b\"\n", "f:2: run.output: the value is not UTF-8", {"zero bytes"}},
        {"fed:\n", "f:1: fed: expected a section", {NULL}},
        {"fed: 3\n", "f:1: fed: expected a section", {NULL}},
        {"fed: [1]\n", "f:1: fed: expected a section", {NULL}},
        /* not settings at all */
        {"- a\n- b\n", "f:1: expected sections", {NULL}},
        {"just words\n", "f:1: expected sections", {NULL}},
        {"? [a, b]\n: 3\n", "f:1: a key must be one word", {NULL}},
        {"fed:\n  ? {a: b}\n  : 3\n", "f:2: a key must be one word", {NULL}},
        {"fed: &f\n  clients: *f\n", "f:2: fed.clients: expected one value, not a section", {NULL}},
        {"fed:\n  clients: *nothing\n", "f:2: not valid YAML", {"undefined alias"}},
        {"fed:\n  clients: 3\n---\nfed:\n  rounds: 3\n", "f:4: a second YAML document", {NULL}},
        {"fed:\n clients: 3\n   rounds: 4\n", "f:3: not valid YAML", {NULL}},
        {"fed:\n\tclients: 3\n", "f:2: not valid YAML", {NULL}},
        {"fed: {clients: 3\n", "f:2: not valid YAML", {NULL}},
        {"run: {output: \"abc\n", "f:2: not valid YAML", {NULL}},
        {"\x01\x02\x03", "f: byte 0: control characters are not allowed", {NULL}},
        {"run:\n  output: \xff\xfe\n", "f: byte 15: ", {"UTF-8"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fbt_settings s = defaults();
        fbt_status status = fbt_settings_read_text(&s, cases[i].text, "f");
        if (status != FBT_ERR_CONFIG) {
            fail_msg("accepted, or another error (%d): %s", (int)status, cases[i].text);
        }
        assert_sentence(cases[i].start, cases[i].part);
        fbt_settings_clear(&s);
    }
}

/* `--set` converts exactly as the file does. */
/* Bytes that are no UTF-8, as a file has them: recorded, they would make the run file's JSON impossible. */
static void texts_that_are_not_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n_bytes;
        const char *part;
    } cases[] = {
        {"\xff\xfe"
         "f\0e\0d\0:\0\n\0",
         12, ": byte 0: the text is UTF-16; save the settings file as UTF-8"},
        {"\xfe\xff"
         "\0f\0e\0d\0:",
         10, ": byte 0: the text is UTF-16"},
        {"f\0e\0d\0:\0", 8, ": byte 1: a zero byte, as in UTF-16"},
        {"\xef\xbb\xbf"
         "fed:\n  rounds: 3\n",
         20, ": byte 0: a byte order mark; save the settings file as UTF-8 without"},
        {"# Gr\xfc\xdf"
         "e\nfed:\n  rounds: 3\n",
         25, ": byte 4: not UTF-8; save the settings file as UTF-8"},
        {"fed:\n  rounds: 3\n\0", 18, ": byte 17: a zero byte"},
        {"fed:\n  rounds: 3 # \xed\xa0\xbd\n", 23, ": byte 19: not UTF-8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[] = "/tmp/fbt_config_XXXXXX", *text = NULL;
        const int descriptor = mkstemp(path);
        assert_true(descriptor >= 0);
        assert_int_equal(write(descriptor, cases[i].bytes, cases[i].n_bytes), cases[i].n_bytes);
        close(descriptor);
        fbt_settings s = defaults();
        fbt_error_clear();
        assert_int_equal(fbt_settings_read_file(&s, path, &text), FBT_ERR_CONFIG);
        assert_null(text);
        if (strstr(fbt_error_message(), cases[i].part) == NULL || strstr(fbt_error_message(), path) == NULL) {
            fail_msg("case %zu: %s", i, fbt_error_message());
        }
        fbt_settings_clear(&s);
        unlink(path);
    }
}

static void assignments(void **state)
{
    (void)state;
    static const refusal cases[] = {
        {"fed.clients", "--set 'fed.clients': expected section.key=value", {NULL}},
        {"", "--set '': expected section.key=value", {NULL}},
        {"=3", "--set '=3': expected section.key=value", {NULL}},
        {"clients=3", "--set: unknown key 'clients'", {"did you mean fed.clients?"}},
        {"fed.cleints=3", "--set: unknown key 'fed.cleints'", {"did you mean fed.clients?"}},
        {"fed.clients=", "--set: fed.clients: the value is empty", {NULL}},
        {"fed.clients= 3", "--set: fed.clients: expected an integer", {"' 3'"}},
        {"fed.clients=3 ", "--set: fed.clients: expected an integer", {"'3 '"}},
        {"fed.clients=1e3", "--set: fed.clients: expected an integer", {NULL}},
        {"cma.sigma=nan", "--set: cma.sigma: expected a number", {NULL}},
        {"run.output=\xff", "--set: run.output: the value is not UTF-8", {"its byte 0"}},
        {"run.output=ab\xc3(", "--set: run.output: the value is not UTF-8", {"its byte 2"}},
    };
    fbt_settings s = defaults();
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(fbt_settings_set(&s, cases[i].text), FBT_ERR_CONFIG);
        assert_sentence(cases[i].start, cases[i].part);
    }
    assert_int_equal(s.fed.clients, 10);
    assert_int_equal(fbt_settings_set(&s, "fed.clients=1048575"), FBT_OK);
    assert_int_equal(s.fed.clients, 1048575);
    assert_int_equal(fbt_settings_set(&s, "run.output=a=b c.h5"), FBT_OK);
    assert_string_equal(s.run.output, "a=b c.h5");
    assert_int_equal(fbt_settings_set(&s, "fed.protocol=paper"), FBT_OK);
    assert_int_equal(s.fed.protocol, FBT_PROTOCOL_PAPER);
    fbt_settings_clear(&s);
}

static void set_required(fbt_settings *s)
{
    assert_int_equal(fbt_settings_set(s, "model.path=m"), FBT_OK);
    assert_int_equal(fbt_settings_set(s, "data.path=d.h5"), FBT_OK);
}

static void combinations_are_checked(void **state)
{
    (void)state;
    static const struct {
        const char *assignments[3];
        const char *start;
    } cases[] = {
        {{"fed.clients=5", "fed.participation=0.1"}, "fed.participation: 0.1 of 5 clients"},
        {{"fed.participants=3", "fed.participation=0.3"},
         "fed.participants: 3 clients a round are given, and fed.participation: 0.3 of them too"},
        {{"fed.clients=5", "fed.participants=6"}, "fed.participants: 6 clients a round, but fed.clients are 5"},
        {{"cma.dimension=20000"}, "cma.dimension: a full covariance"},
        {{"objective.loss=accuracy", "perturb.rate=0.5"}, "perturb.rate: a ratio of accuracies"},
    };
    static const char *const fine[][3] = {
        {"fed.participation=0.2"},
        {"fed.participants=10"},
        {"fed.clients=1"}, /* what a protocol cannot run it says itself: tests/unit/test_wire.c */
        {"cma.dimension=20000", "cma.covariance=separable"},
        {"objective.loss=accuracy"},
    };
    static const char *const nothing[2] = {NULL, NULL};
    fbt_settings s = defaults();
    assert_int_equal(fbt_settings_check(&s), FBT_ERR_CONFIG);
    assert_sentence("model.path is not set", nothing);
    assert_int_equal(fbt_settings_set(&s, "model.path=m"), FBT_OK);
    assert_int_equal(fbt_settings_check(&s), FBT_ERR_CONFIG);
    assert_sentence("data.path is not set", nothing);
    fbt_settings_clear(&s);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        s = defaults();
        set_required(&s);
        for (int k = 0; k < 3 && cases[i].assignments[k] != NULL; k++) {
            assert_int_equal(fbt_settings_set(&s, cases[i].assignments[k]), FBT_OK);
        }
        assert_int_equal(fbt_settings_check(&s), FBT_ERR_CONFIG);
        assert_sentence(cases[i].start, nothing);
        fbt_settings_clear(&s);
    }
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) {
        s = defaults();
        set_required(&s);
        for (int k = 0; k < 3 && fine[i][k] != NULL; k++) {
            assert_int_equal(fbt_settings_set(&s, fine[i][k]), FBT_OK);
        }
        assert_int_equal(fbt_settings_check(&s), FBT_OK);
        fbt_settings_clear(&s);
    }
}

/* A file that names no wire was run before there was one. Broken by today's default for yesterday's runs, by one that
 * overrides what is named. */
static void recorded_settings_mean_what_they_did(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int recorded, defaults, read;
    } cases[] = {
        {"fed:\n  clients: 3\n", FBT_WIRE_FLOAT64, FBT_WIRE_FLOAT64, FBT_WIRE_FLOAT32},
        {"fed:\n  wire: float32\n", FBT_WIRE_FLOAT32, FBT_WIRE_FLOAT32, FBT_WIRE_FLOAT32},
        {"fed:\n  wire: float64\n", FBT_WIRE_FLOAT64, FBT_WIRE_FLOAT32, FBT_WIRE_FLOAT64},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fbt_settings recorded = defaults(), before = defaults(), read = defaults();
        assert_int_equal(fbt_settings_read_recorded(&recorded, cases[i].text, "a.h5"), FBT_OK);
        assert_int_equal(fbt_settings_defaults_before(&before, cases[i].text, "a.h5"), FBT_OK);
        assert_int_equal(fbt_settings_read_text(&read, cases[i].text, "a.yaml"), FBT_OK);
        assert_int_equal(recorded.fed.wire, cases[i].recorded);
        assert_int_equal(before.fed.wire, cases[i].defaults);
        assert_int_equal(read.fed.wire, cases[i].read);
        assert_int_equal(before.fed.clients, 10); /* no other setting is taken over */
        fbt_settings_clear(&recorded);
        fbt_settings_clear(&before);
        fbt_settings_clear(&read);
    }
}

static void participants_are_rounded(void **state)
{
    (void)state;
    fbt_settings s = defaults();
    const double fractions[] = {1, 0.1, 0.24, 0.25, 0.3333333};
    const int64_t expected[] = {10, 1, 2, 3, 3};
    for (int i = 0; i < 5; i++) {
        s.fed.participation = fractions[i];
        assert_int_equal(fbt_settings_participants(&s), expected[i]);
    }
    fbt_settings_clear(&s);
}

/* All members equal; text by content. */
static void assert_same(const fbt_settings *a, const fbt_settings *b)
{
    int64_t n;
    const fbt_option *options = fbt_options(&n);
    for (int64_t i = 0; i < n; i++) {
        const void *x = (const char *)a + options[i].offset, *y = (const char *)b + options[i].offset;
        switch (options[i].kind) {
        case FBT_OPTION_TEXT:
        case FBT_OPTION_WORD:
            assert_string_equal(*(char *const *)x, *(char *const *)y);
            break;
        case FBT_OPTION_INT:
            assert_true(*(const int64_t *)x == *(const int64_t *)y);
            break;
        case FBT_OPTION_REAL:
            assert_memory_equal(x, y, sizeof(double));
            break;
        case FBT_OPTION_BOOL:
            assert_true(*(const bool *)x == *(const bool *)y);
            break;
        case FBT_OPTION_CHOICE:
            assert_int_equal(*(const int *)x, *(const int *)y);
            break;
        }
    }
}

/* Printing loses nothing: awkward text, extreme numbers. Printing again gives the same text. */
static void printed_settings_read_back(void **state)
{
    (void)state;
    static const char *const paths[] = {"plain",
                                        "with space",
                                        " leading",
                                        "a: b # c",
                                        "quote\" back\\slash 'single'",
                                        "tab\there\nnewline\r",
                                        "\x01\x1f\x7f",
                                        "m\xc3\xbcnchen/\xe6\x97\xa5\xe6\x9c\xac/\xf0\x9f\x98\x80",
                                        "\xc2\x80\xc2\x85\xe2\x80\xa8\xe2\x80\xa9\xef\xbb\xbf\xef\xbf\xbe",
                                        "~",
                                        "null",
                                        "true",
                                        "12",
                                        "- a",
                                        "{",
                                        "*x",
                                        "%d"};
    static const double reals[] = {0.1, 1.0 / 3, 5e-324, 1e-300, 123456.789, 1e6, 0.30000000000000004};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        fbt_settings a = defaults(), b = defaults();
        char *text, *again;
        set_required(&a);
        free(a.run.output);
        a.run.output = strdup(paths[i]);
        a.cma.sigma = reals[i % 7];
        a.run.seed = INT64_MAX - (int64_t)i;
        a.run.overwrite = true;
        a.prompt.mode = FBT_PROMPT_INPUT;
        a.fed.protocol = FBT_PROTOCOL_SYNCHRONOUS;
        assert_int_equal(fbt_settings_print(&a, &text), FBT_OK);
        if (fbt_settings_read_text(&b, text, "printed") != FBT_OK) {
            fail_msg("%s in:\n%s", fbt_error_message(), text);
        }
        assert_same(&a, &b);
        assert_int_equal(fbt_settings_print(&b, &again), FBT_OK);
        assert_string_equal(text, again);
        free(again);
        free(text);
        fbt_settings_clear(&b);
        fbt_settings_clear(&a);
    }
}

static void numbers_are_printed_as_people_write_them(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"},
                 {1, "1"},
                 {20, "20"},
                 {0.1, "0.1"},
                 {1500, "1500"},
                 {1e6, "1000000"},
                 {2.5, "2.5"},
                 {0.0001, "0.0001"},
                 {1e-5, "1e-05"},
                 {1e300, "1e+300"},
                 {0.1 + 0.2, "0.30000000000000004"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[32];
        fbt_option_real_text(cases[i].value, text);
        assert_string_equal(text, cases[i].text);
    }
}

static void files_that_are_no_files(void **state)
{
    (void)state;
    fbt_settings s = defaults();
    char path[] = "/tmp/fbt_test_config_XXXXXX";
    int descriptor = mkstemp(path);
    assert_true(descriptor >= 0);
    assert_int_equal(fbt_settings_read_file(&s, "/nonexistent/run.yaml", NULL), FBT_ERR_IO);
    assert_non_null(strstr(fbt_error_message(), "/nonexistent/run.yaml cannot be opened: No such file"));
    fbt_error_clear();
    assert_int_equal(fbt_settings_read_file(&s, "/tmp", NULL), FBT_ERR_IO);
    assert_non_null(strstr(fbt_error_message(), "/tmp cannot be read: Is a directory"));
    fbt_error_clear();
    assert_int_equal(fbt_settings_read_file(&s, "/dev/zero", NULL), FBT_ERR_CONFIG);
    assert_non_null(strstr(fbt_error_message(), "/dev/zero is longer than"));
    fbt_error_clear();
    assert_int_equal(write(descriptor, "fed:\n  rounds: 7\n\0", 18), 18);
    assert_int_equal(fbt_settings_read_file(&s, path, NULL), FBT_ERR_CONFIG);
    assert_non_null(strstr(fbt_error_message(), "control characters"));
    fbt_error_clear();
    assert_int_equal(ftruncate(descriptor, 17), 0);
    assert_int_equal(fbt_settings_read_file(&s, path, NULL), FBT_OK);
    assert_int_equal(s.fed.rounds, 7);
    close(descriptor);
    unlink(path);
    fbt_settings_clear(&s);
}

/* Random bytes, and a valid file with random changes, give settings or one sentence; the sanitizers watch. */
static void noise_does_no_harm(void **state)
{
    (void)state;
    fbt_settings source = defaults();
    char *text;
    set_required(&source);
    assert_int_equal(fbt_settings_print(&source, &text), FBT_OK);
    size_t n = strlen(text);
    unsigned draw = 12345;
    for (int trial = 0; trial < 3000; trial++) {
        fbt_settings s = defaults();
        char *copy = strdup(text);
        for (int change = 0; change < 1 + trial % 5; change++) {
            draw = draw * 1664525u + 1013904223u;
            size_t where = (draw >> 8) % n;
            draw = draw * 1664525u + 1013904223u;
            copy[where] = (char)(draw >> 16 | 1);
        }
        if (fbt_settings_read_text(&s, copy, "noise") != FBT_OK) {
            assert_true(strlen(fbt_error_message()) > 10);
            assert_null(strchr(fbt_error_message(), '\n'));
        }
        fbt_error_clear();
        free(copy);
        fbt_settings_clear(&s);
    }
    free(text);
    fbt_settings_clear(&source);
}

/* Long values and deep nesting are refused in words. */
static void giants_are_refused(void **state)
{
    (void)state;
    static const char *const nothing[2] = {NULL, NULL};
    fbt_settings s = defaults();
    enum { N = 100000 };
    char *text = malloc(N + 64);
    assert_non_null(text);
    int start = sprintf(text, "run:\n  output: ");
    memset(text + start, 'x', N);
    strcpy(text + start + N, "\n");
    assert_int_equal(fbt_settings_read_text(&s, text, "f"), FBT_ERR_CONFIG);
    assert_sentence("f:2: run.output: the value has 100000 bytes", nothing);
    memset(text, '[', N);
    text[N] = '\0';
    assert_int_equal(fbt_settings_read_text(&s, text, "f"), FBT_ERR_CONFIG);
    assert_sentence("f:1: more than 100 brackets are open", nothing);
    for (int i = 0; i < N; i++) {
        text[i] = i % 2 == 0 ? '-' : ' ';
    }
    assert_int_equal(fbt_settings_read_text(&s, text, "f"), FBT_ERR_CONFIG);
    assert_sentence("f:1: more than 100 brackets are open, or lists", nothing);
    free(text);
    fbt_settings_clear(&s);
}

/* Breaks if brackets are counted that open nothing: settings given by --set could then not be read back from the run
 * file. */
static void brackets_in_texts_are_texts(void **state)
{
    (void)state;
    fbt_settings s = defaults(), again = defaults();
    char value[256] = "run.output=", *text;
    memset(value + strlen(value), '{', 200);
    assert_int_equal(fbt_settings_set(&s, value), FBT_OK);
    assert_int_equal(fbt_settings_print(&s, &text), FBT_OK);
    assert_int_equal(fbt_settings_read_text(&again, text, "f"), FBT_OK);
    assert_string_equal(again.run.output, s.run.output);
    value[0] = '#'; /* a comment */
    assert_int_equal(fbt_settings_read_text(&again, value, "f"), FBT_OK);
    free(text);
    fbt_settings_clear(&s);
    fbt_settings_clear(&again);
}

static void reference_lists_every_option(void **state)
{
    (void)state;
    char *text;
    size_t n_bytes;
    int64_t n;
    const fbt_option *options = fbt_options(&n);
    FILE *stream = open_memstream(&text, &n_bytes);
    assert_int_equal(fbt_settings_print_reference(stream), FBT_OK);
    fclose(stream);
    for (int64_t i = 0; i < n; i++) {
        assert_non_null(strstr(text, strchr(options[i].key, '.') + 1));
        assert_non_null(strstr(text, options[i].meaning));
        assert_ptr_equal(fbt_option_find(options[i].key), &options[i]);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(paper_settings_are_the_defaults),
        cmocka_unit_test(choices_follow_their_enumerations),
        cmocka_unit_test(a_file_is_read),
        cmocka_unit_test(bad_files_are_one_sentence),
        cmocka_unit_test(texts_that_are_not_utf8),
        cmocka_unit_test(assignments),
        cmocka_unit_test(combinations_are_checked),
        cmocka_unit_test(recorded_settings_mean_what_they_did),
        cmocka_unit_test(participants_are_rounded),
        cmocka_unit_test(printed_settings_read_back),
        cmocka_unit_test(files_that_are_no_files),
        cmocka_unit_test(noise_does_no_harm),
        cmocka_unit_test(giants_are_refused),
        cmocka_unit_test(brackets_in_texts_are_texts),
        cmocka_unit_test(reference_lists_every_option),
        cmocka_unit_test(numbers_are_printed_as_people_write_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
