/* Sweeps: which runs a file makes, what they are called, and which files are refused in which words. */
#include "base/status.h"
#include "config/settings.h"
#include "sweep/sweep.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static void write_file(const char *name, const char *text, char path[128])
{
    snprintf(path, 128, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static int make_folder(void **state)
{
    char path[128];
    (void)state;
    strcpy(folder, "/tmp/test_sweep.XXXXXX");
    assert_non_null(mkdtemp(folder));
    write_file("base.yaml",
               "run: {seed: 7, max_seconds: 90}\nmodel: {path: m}\ndata: {path: d.h5}\n"
               "fed: {clients: 4, rounds: 10, local_generations: 3}\ncma: {population: 5}\n",
               path);
    return 0;
}

static int remove_folder(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static fbt_status read_with(const char *axes, const char *const *assignments, int n, fbt_sweep *sweep)
{
    char path[128], text[2048];
    fbt_error_clear();
    snprintf(text, sizeof text, "name: s\nbase: base.yaml\noutput: runs/s\n%s", axes);
    write_file("s.yaml", text, path);
    return fbt_sweep_read(path, assignments, n, sweep);
}

/* The runs of "name, base, output" in three lines, and then `axes`. */
static fbt_sweep sweep_of(const char *axes)
{
    fbt_sweep sweep = {0};
    if (read_with(axes, NULL, 0, &sweep) != FBT_OK) {
        fail_msg("%s", fbt_error_message());
    }
    return sweep;
}

static const char *axes_of(const fbt_sweep *sweep, int64_t i)
{
    assert_true(i < sweep->n_runs);
    return sweep->runs[i].axes;
}

/* The run with these values, or NULL. */
static const fbt_sweep_run *find(const fbt_sweep *sweep, const char *axes)
{
    for (int64_t i = 0; i < sweep->n_runs; i++) {
        if (strcmp(sweep->runs[i].axes, axes) == 0) {
            return &sweep->runs[i];
        }
    }
    return NULL;
}

static void runs_are_the_product_of_all_axes(void **state)
{
    (void)state;
    fbt_sweep s = sweep_of("grid:\n  fed.protocol: [nvflare, paper]\n  cma.sigma: [1, 2.50, 1e1]\n"
                           "sets:\n  - {cma.population: 5, fed.local_generations: 8}\n  - {cma.population: 20}\n"
                           "random: {draws: 2, seed: 1, settings: {cma.alpha: {uniform: [1, 2]}}}\n"
                           "seeds: [1, 2]\n");
    assert_int_equal(s.n_runs, 2 * 3 * 2 * 2 * 2);
    assert_int_equal(s.n_axes, 6);
    assert_string_equal(s.axes[0], "fed.protocol");
    assert_string_equal(s.axes[5], "run.seed");
    assert_non_null(
        strstr(axes_of(&s, 0), "fed.protocol=nvflare cma.sigma=1 cma.population=5 fed.local_generations=8"));
    assert_non_null(strstr(axes_of(&s, 1), "run.seed=2")); /* the last axis changes fastest */
    assert_non_null(strstr(axes_of(&s, 8), "cma.sigma=2.5"));
    assert_non_null(strstr(axes_of(&s, 47), "fed.protocol=paper cma.sigma=10 cma.population=20 cma.alpha="));
    assert_null(s.runs[47].values[3]); /* the second set leaves local_generations alone */
    assert_string_equal(s.runs[47].values[1], "10");
    fbt_sweep_clear(&s);
}

/* A run has the settings that were asked for: the base, --set and the axes, in this order. */
static void a_run_has_its_settings(void **state)
{
    (void)state;
    fbt_sweep s = {0};
    fbt_settings settings = {0};
    char output[512];
    const char *const assignments[] = {"fed.rounds=6", "data.path=a=b.h5"};
    const char *text = "settings: {fed.rounds: 99, cma.alpha: 0.5, run.seed: 70}\ngrid: {cma.sigma: [3]}\nsets: "
                       "[{cma.active: false}]\n";
    assert_int_equal(read_with(text, assignments, 2, &s), FBT_OK);
    assert_string_equal(s.runs[0].axes, "cma.sigma=3 cma.active=false"); /* what all have in common is in no name */
    assert_int_equal(fbt_sweep_settings(&s, &s.runs[0], &settings), FBT_OK);
    assert_true(settings.fed.rounds == 6 && settings.cma.alpha == 0.5 && settings.run.seed == 70 &&
                !settings.cma.active);
    fbt_settings_clear(&settings);
    fbt_sweep_clear(&s);
    assert_int_equal(read_with("grid: {cma.sigma: [3]}\nrepeats: 2\n", assignments, 2, &s), FBT_OK);
    assert_int_equal(s.n_runs, 2);
    assert_string_equal(s.name, "s");
    assert_true(s.max_seconds == 90);
    assert_int_equal(fbt_sweep_settings(&s, &s.runs[1], &settings), FBT_OK);
    assert_int_equal(settings.run.seed, 8); /* the base's 7 and the next */
    assert_int_equal(settings.fed.rounds, 6);
    assert_true(settings.cma.sigma == 3);
    assert_string_equal(settings.data.path, "a=b.h5");
    assert_false(settings.run.overwrite);
    snprintf(output, sizeof output, "runs/s/%s.h5", s.runs[1].name);
    assert_string_equal(settings.run.output, output);
    assert_true(s.runs[1].evaluations == 6.0 * 4 * (3 * 5 + 1)); /* rounds, clients, populations, final mean */
    fbt_settings_clear(&settings);
    fbt_sweep_clear(&s);
}

static void names_say_what_varies(void **state)
{
    (void)state;
    fbt_sweep s =
        sweep_of("grid:\n  fed.protocol: [paper]\n  cma.sigma: [1.50]\n  data.path: ['some where/my data.h5']\n");
    const char *readable = "sigma=1.5,path=my_data.h5,protocol=paper-"; /* in the order of the whole keys */
    assert_memory_equal(s.runs[0].name, readable, strlen(readable));
    assert_int_equal(strlen(s.runs[0].name), strlen(readable) + 8);
    assert_int_equal(strspn(s.runs[0].name + strlen(readable), "0123456789abcdef"), 8);
    fbt_sweep_clear(&s);
}

/* A name is a name of a file for years: this one must never change. */
static void names_are_stable(void **state)
{
    (void)state;
    fbt_sweep s = sweep_of("grid: {fed.protocol: [paper], cma.sigma: [1.5]}\n");
    assert_string_equal(s.runs[0].name, "sigma=1.5,protocol=paper-2d55298c");
    fbt_sweep_clear(&s);
}

static void names_depend_on_the_own_values_alone(void **state)
{
    (void)state;
    fbt_sweep few = sweep_of("grid: {fed.protocol: [paper], cma.sigma: [1.5, 2]}\nseeds: [1]\n");
    fbt_sweep many = sweep_of("seeds: [3, 2, 1]\nexclude: [{cma.sigma: 9, run.seed: 3}]\n"
                              "grid: {cma.sigma: [9, 2.0, 15e-1], fed.protocol: [nvflare, paper]}\n");
    assert_int_equal(many.n_runs, 3 * 2 * 3 - 2);
    for (int64_t i = 0; i < few.n_runs; i++) {
        int n_found = 0;
        for (int64_t k = 0; k < many.n_runs; k++) {
            n_found += strcmp(few.runs[i].name, many.runs[k].name) == 0;
        }
        assert_int_equal(n_found, 1);
    }
    fbt_sweep_clear(&few);
    fbt_sweep_clear(&many);
}

static void names_differ(void **state)
{
    (void)state;
    /* the readable parts are equal in pairs, or cut */
    fbt_sweep s =
        sweep_of("grid:\n  data.path: [a/x.h5, b/x.h5, 'a b', a_b, cccccccccccccccccccccccccccccccccccc1,"
                 " cccccccccccccccccccccccccccccccccccc2]\n  model.path: [m, n/]\n"
                 "  cma.population: [10, 11]\n  cma.covariance: [separable, isotropic]\n"
                 "  fed.local_generations: [11, 12]\n  perturb.fitness: [ratio_of_means, sum_of_ratios]\n"
                 "  perturb.scope: [text, all]\n  prompt.projection: [normal]\n  cma.constants: [tutorial]\n");
    assert_int_equal(s.n_runs, 6 * 64);
    for (int64_t i = 0; i < s.n_runs; i++) {
        assert_true(strlen(s.runs[i].name) < FBT_SWEEP_NAME_BYTES - 1);
        assert_null(strpbrk(s.runs[i].name, "/ '\"\\$*?"));
        for (int64_t k = 0; k < i; k++) {
            assert_string_not_equal(s.runs[i].name, s.runs[k].name);
        }
    }
    assert_non_null(strstr(s.runs[0].name, ",+")); /* settings that find no room */
    fbt_sweep_clear(&s);
}

static void matching_runs_are_left_out(void **state)
{
    (void)state;
    fbt_sweep s = sweep_of("grid: {fed.protocol: [nvflare, paper], cma.sigma: [1, 2, 3]}\n"
                           "exclude:\n  - {fed.protocol: paper, cma.sigma: [2.0, 3]}\n  - {cma.sigma: 1}\n");
    assert_int_equal(s.n_runs, 2); /* all of an entry must match, any of a list, any of the entries */
    assert_non_null(find(&s, "fed.protocol=nvflare cma.sigma=2"));
    assert_non_null(find(&s, "fed.protocol=nvflare cma.sigma=3"));
    fbt_sweep_clear(&s);
    /* a set that leaves a setting out has the base's value of it */
    s = sweep_of("sets: [{cma.sigma: 2}, {cma.population: 9}, {cma.population: 5, cma.sigma: 3}]\nexclude: "
                 "[{cma.population: 5}]\n");
    assert_int_equal(s.n_runs, 1);
    assert_non_null(find(&s, "cma.population=9"));
    fbt_sweep_clear(&s);
}

static void equal_runs_are_one(void **state)
{
    (void)state;
    fbt_sweep s = sweep_of("random: {draws: 50, seed: 3, settings: {cma.population: {integer: [4, 6]}}}\n");
    assert_int_equal(s.n_runs, 3);
    fbt_sweep_clear(&s);
    s = sweep_of("sets: [{cma.sigma: 2, cma.alpha: 1}, {cma.alpha: 1.0, cma.sigma: 2.0}, {cma.sigma: 2}]\n");
    assert_int_equal(s.n_runs, 2);
    assert_string_equal(axes_of(&s, 0), "cma.sigma=2 cma.alpha=1"); /* the first stays */
    fbt_sweep_clear(&s);
}

static double value_of(const fbt_sweep *s, int64_t run, int64_t axis)
{
    assert_non_null(s->runs[run].values[axis]);
    return strtod(s->runs[run].values[axis], NULL);
}

/* Draws stay within their bounds, reach into every tenth of them, and have about the mean of their law. */
static void draws_follow_their_laws(void **state)
{
    (void)state;
    enum { N = 2000 };
    fbt_sweep s = sweep_of("random:\n  draws: 2000\n  seed: 5\n  settings:\n    cma.sigma: {log_uniform: [0.01, 100]}\n"
                           "    cma.alpha: {uniform: [1.5, 2]}\n    cma.population: {integer: [3, 12]}\n"
                           "    fed.protocol: {choice: [nvflare, paper, synchronous]}\n");
    int tenth[3][10] = {{0}}, n_paper = 0;
    double log_sum = 0, sum = 0;
    assert_int_equal(s.n_runs, N);
    for (int64_t i = 0; i < N; i++) {
        double sigma = value_of(&s, i, 0), alpha = value_of(&s, i, 1), population = value_of(&s, i, 2);
        assert_true(sigma >= 0.01 && sigma <= 100 && alpha >= 1.5 && alpha <= 2);
        assert_true(population >= 3 && population <= 12);
        assert_true(strlen(s.runs[i].values[0]) < 12); /* five digits */
        tenth[0][(int)((sigma >= 100 ? 0.999 : __builtin_log10(sigma) / 4 + 0.5) * 10)]++;
        tenth[1][(int)((alpha >= 2 ? 0.999 : (alpha - 1.5) * 2) * 10)]++;
        tenth[2][(int)population - 3]++;
        n_paper += strcmp(s.runs[i].values[3], "paper") == 0;
        log_sum += __builtin_log10(sigma);
        sum += alpha;
    }
    for (int k = 0; k < 10; k++) { /* 200 expected, standard deviation 13 */
        for (int law = 0; law < 3; law++) {
            assert_in_range(tenth[law][k], 130, 270);
        }
    }
    assert_in_range(n_paper, 560, 773);
    assert_true(log_sum / N > -0.13 && log_sum / N < 0.13 && sum / N > 1.735 && sum / N < 1.765);
    fbt_sweep_clear(&s);
}

/* A draw depends on the seed, its setting and its number: neither more draws nor other axes change it. */
static void draws_are_reproducible(void **state)
{
    (void)state;
    const char *one = "random: {draws: 4, seed: 5, settings: {cma.sigma: {uniform: [1, 2]}}}\n";
    fbt_sweep a = sweep_of(one), b = sweep_of(one);
    fbt_sweep c = sweep_of("random:\n  seed: 5\n  draws: 9\n  settings:\n    cma.alpha: {uniform: [1, 2]}\n"
                           "    cma.sigma: {uniform: [1, 2]}\n");
    fbt_sweep d = sweep_of("random: {draws: 4, seed: 6, settings: {cma.sigma: {uniform: [1, 2]}}}\nseeds: [4]\n");
    for (int64_t i = 0; i < 4; i++) {
        assert_string_equal(a.runs[i].name, b.runs[i].name);
        assert_string_equal(a.runs[i].values[0], c.runs[i].values[1]);
        assert_string_not_equal(c.runs[i].values[0], c.runs[i].values[1]); /* two settings are not drawn alike */
        assert_string_not_equal(a.runs[i].values[0], d.runs[i].values[0]);
    }
    assert_string_equal(a.runs[0].values[0], "1.4579"); /* on every machine, for years */
    fbt_sweep_clear(&a);
    fbt_sweep_clear(&b);
    fbt_sweep_clear(&c);
    fbt_sweep_clear(&d);
}

typedef struct refusal {
    const char *axes;    /* what follows name, base and output in lines 1 to 3 */
    const char *start;   /* of the sentence, after the file's path             */
    const char *part[2]; /* occur in it; NULL: no more                         */
} refusal;

static void assert_refused(const char *path, const refusal *r)
{
    char start[256];
    const char *sentence = fbt_error_message();
    snprintf(start, sizeof start, "%s%s", path, r->start);
    if (strncmp(sentence, start, strlen(start)) != 0) {
        fail_msg("expected '%s...', got '%s'", start, sentence);
    }
    for (int i = 0; i < 2 && r->part[i] != NULL; i++) {
        if (strstr(sentence, r->part[i]) == NULL) {
            fail_msg("'%s' is not in '%s'", r->part[i], sentence);
        }
    }
}

static void wrong_files_are_refused_by_line(void **state)
{
    (void)state;
    static const refusal cases[] = {
        {"grids: {cma.sigma: [1]}", ":4: unknown key 'grids'", {"grid"}},
        {"name: twice\nseeds: [1]", ":4: key name is repeated (first in line 1)", {NULL}},
        {"", ": nothing varies", {"grid"}},
        {"grid: [1]", ":4: grid: expected settings", {NULL}},
        {"grid: {}", ":4: grid: expected settings", {NULL}},
        {"grid: {cma.sigma: 1}", ":4: cma.sigma: expected a list", {NULL}},
        {"grid:\n  cma.sigma: []", ":5: cma.sigma: expected a list", {NULL}},
        {"grid:\n  cma.sigmas: [1]", ":5: unknown key 'cma.sigmas'", {"did you mean cma.sigma?"}},
        {"grid:\n  sigma: [1]", ":5: unknown key 'sigma'", {"did you mean cma.sigma?"}},
        {"grid:\n  [a, b]: [1]", ":5: a key must be one word", {NULL}},
        {"grid:\n  cma.sigma:\n    - 1\n    - -2",
         ":7: cma.sigma: expected a number above 0",
         {"'-2'", "out of range"}},
        {"grid:\n  cma.sigma: [1, [2]]", ":5: cma.sigma: expected one value, not a list", {NULL}},
        {"grid:\n  cma.population: [1.5]", ":5: cma.population: expected an integer", {"'1.5'"}},
        {"grid:\n  fed.protocol: [papers]", ":5: fed.protocol: expected nvflare", {"'papers'"}},
        {"grid:\n  cma.active: ['true']", ":5: cma.active: expected true or false", {"quotes"}},
        {"grid:\n  cma.sigma: [1, 2, 1.0]", ":5: cma.sigma: the value 1 is repeated", {NULL}},
        {"grid:\n  cma.sigma: [1]\n  cma.sigma: [2]", ":6: cma.sigma varies already (line 5)", {NULL}},
        {"grid: {cma.sigma: [1]}\nsets:\n  - {cma.sigma: 2}", ":6: cma.sigma varies already (line 4)", {NULL}},
        {"grid: {run.seed: [1]}\nseeds: [2]", ":5: run.seed varies already (line 4)", {NULL}},
        {"seeds: [1]\nrepeats: 2", ":5: run.seed varies already (line 4)", {NULL}},
        {"grid:\n  run.output: [a, b]", ":5: run.output cannot vary", {NULL}},
        {"grid:\n  run.max_seconds: [1]", ":5: run.max_seconds cannot vary", {NULL}},
        {"sets: [{run.overwrite: true}]", ":4: run.overwrite cannot vary", {NULL}},
        {"settings: [1]", ":4: settings: expected settings", {NULL}},
        {"settings: {cma.sgma: 1}", ":4: unknown key 'cma.sgma'", {"cma.sigma"}},
        {"settings: {cma.sigma: 0}", ":4: cma.sigma: expected a number", {"'0'"}},
        {"settings:\n  run.output: a", ":5: run.output: a sweep's run files", {NULL}},
        {"settings:\n  cma.sigma: 1\n  cma.sigma: 2", ":6: key cma.sigma is repeated", {NULL}},
        {"settings:\n  cma.sigma: 1\ngrid:\n  cma.sigma: [2]",
         ":7: cma.sigma varies, but settings give it to all runs (line 5)",
         {NULL}},
        {"sets: {cma.sigma: 1}", ":4: sets: expected a list", {NULL}},
        {"sets: [1]", ":4: sets: expected settings", {NULL}},
        {"sets:\n  - {cma.sigma: 1, cma.sigma: 2}", ":5: key cma.sigma is repeated", {NULL}},
        {"sets:\n  - {cma.sigma: [1]}", ":5: cma.sigma: expected one value", {NULL}},
        {"seeds: [1, -1]", ":4: run.seed: expected an integer", {"'-1'"}},
        {"seeds: 3", ":4: seeds: expected a list", {NULL}},
        {"repeats: 0", ":4: repeats: expected an integer from 1", {"'0'"}},
        {"repeats: '3'", ":4: repeats: expected an integer", {NULL}},
        {"repeats: [3]", ":4: repeats: expected one value", {NULL}},
        {"random: {seed: 1, settings: {cma.sigma: {uniform: [1, 2]}}}", ":4: random: `draws` is missing", {NULL}},
        {"random: {draws: 2, settings: {cma.sigma: {uniform: [1, 2]}}}", ":4: random: `seed` is missing", {NULL}},
        {"random: {draws: 2, seed: 1}", ":4: random: `settings` is missing", {NULL}},
        {"random: {draws: 2, seed: 1, law: 3}", ":4: unknown key 'law'", {"draws, seed and settings"}},
        {"random: {draws: -2, seed: 1, settings: {}}", ":4: random.draws: expected an integer from 1", {"'-2'"}},
        {"random: {draws: 2, seed: x, settings: {}}", ":4: random.seed: expected an integer from 0", {"'x'"}},
        {"random: {draws: 2, seed: 1, settings: {}}", ":4: random.settings: expected settings", {NULL}},
        {"random:\n  draws: 2\n  seed: 1\n  settings:\n    cma.sigma: [1, 2]",
         ":8: cma.sigma: expected one of {uniform",
         {NULL}},
        {"random: {draws: 2, seed: 1, settings: {cma.sigma: {normal: [0, 1]}}}",
         ":4: cma.sigma: unknown distribution 'normal'",
         {NULL}},
        {"random: {draws: 2, seed: 1, settings: {cma.sigma: {uniform: [1]}}}",
         ":4: cma.sigma: uniform needs two bounds",
         {NULL}},
        {"random: {draws: 2, seed: 1, settings: {cma.sigma: {uniform: [2, 1]}}}",
         ":4: cma.sigma: the lower bound 2",
         {NULL}},
        {"random: {draws: 2, seed: 1, settings: {perturb.rate: {uniform: [0, 2]}}}",
         ":4: perturb.rate: expected a number",
         {"'2'"}},
        {"random: {draws: 2, seed: 1, settings: {perturb.rate: {log_uniform: [0, 1]}}}",
         ":4: perturb.rate: log_uniform needs",
         {NULL}},
        {"random: {draws: 2, seed: 1, settings: {cma.sigma: {integer: [1, 2]}}}",
         ":4: cma.sigma: integer draws integers",
         {NULL}},
        {"random: {draws: 2, seed: 1, settings: {cma.population: {uniform: [3, 9]}}}",
         ":4: cma.population: uniform draws numbers",
         {"use integer"}},
        {"random: {draws: 2, seed: 1, settings: {fed.protocol: {uniform: [paper, nvflare]}}}",
         ":4: fed.protocol: uniform draws",
         {"use choice"}},
        {"seeds: [1]\nexclude: {run.seed: 1}", ":5: exclude: expected a list", {NULL}},
        {"seeds: [1, 2]\nexclude: [{cma.sigma: 1}]", ":5: exclude: cma.sigma is the same in all runs", {NULL}},
        {"seeds: [1, 2]\nexclude: [{run.sed: 1}]", ":5: unknown key 'run.sed'", {"run.seed"}},
        {"seeds: [1, 2]\nexclude: [{run.seed: [1, x]}]", ":5: run.seed: expected an integer", {"'x'"}},
        {"seeds: [1, 2]\nexclude: [{run.seed: [1, 2]}]", ": exclude leaves no run", {NULL}},
        {"grid:\n  fed.protocol: [nvflare]\n  fed.clients: [2, 1]",
         ":5: the run fed.protocol=nvflare fed.clients=1 cannot be: fed.clients:",
         {"only one takes part"}},
        {"grid: {cma.dimension: [20000]}", ":4: the run cma.dimension=20000 cannot be: cma.dimension:", {NULL}},
        {"repeats: 1001\ngrid: {cma.sigma: [1]}\nrandom: {draws: 1000, seed: 1, settings: {cma.alpha: {uniform: [1, "
         "2]}}}",
         ": more than 1000000 combinations",
         {NULL}},
        {"grid: {cma.sigma: [1}", ":4: not valid YAML", {NULL}},
        {"seeds: [1]\n---\nseeds: [2]", ":6: a second YAML document", {NULL}},
    };
    char path[128];
    snprintf(path, sizeof path, "%s/s.yaml", folder);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fbt_sweep s = {0};
        if (read_with(cases[i].axes, NULL, 0, &s) != FBT_ERR_CONFIG) {
            fail_msg("not refused: %s", cases[i].axes);
        }
        assert_refused(path, &cases[i]);
        assert_null(s.runs);
    }
}

static void assert_whole_file_refused(const char *text, fbt_status expected, const char *part)
{
    char path[128];
    fbt_sweep s = {0};
    fbt_error_clear();
    write_file("w.yaml", text, path);
    assert_int_equal(fbt_sweep_read(path, NULL, 0, &s), expected);
    if (strstr(fbt_error_message(), part) == NULL) {
        fail_msg("'%s' is not in '%s'", part, fbt_error_message());
    }
}

static void missing_parts_are_named(void **state)
{
    (void)state;
    char path[128];
    fbt_sweep s = {0};
    assert_whole_file_refused("", FBT_ERR_CONFIG, "w.yaml: expected `key: value` lines");
    assert_whole_file_refused("- a\n", FBT_ERR_CONFIG, "w.yaml: expected `key: value` lines");
    assert_whole_file_refused("base: base.yaml\noutput: o\nseeds: [1]\n", FBT_ERR_CONFIG, "`name` is missing");
    assert_whole_file_refused("name: n\noutput: o\nseeds: [1]\n", FBT_ERR_CONFIG, "`base` is missing");
    assert_whole_file_refused("name: n\nbase: base.yaml\nseeds: [1]\n", FBT_ERR_CONFIG, "`output` is missing");
    assert_whole_file_refused("name: [n]\nbase: base.yaml\noutput: o\n", FBT_ERR_CONFIG,
                              "w.yaml:1: name: expected one value");
    assert_whole_file_refused("name: ''\nbase: base.yaml\noutput: o\n", FBT_ERR_CONFIG,
                              "w.yaml:1: name: expected a text");
    assert_whole_file_refused("name: n\nbase: none.yaml\noutput: o\nseeds: [1]\n", FBT_ERR_IO,
                              "none.yaml cannot be opened");
    write_file("bad.yaml", "cma:\n  sigma: x\n", path);
    assert_whole_file_refused("name: n\nbase: bad.yaml\noutput: o\nseeds: [1]\n", FBT_ERR_CONFIG,
                              "bad.yaml:2: cma.sigma");
    write_file("late.yaml", "run: {seed: 9223372036854775806}\nmodel: {path: m}\ndata: {path: d}\n", path);
    assert_whole_file_refused("name: n\nbase: late.yaml\noutput: o\nrepeats: 3\n", FBT_ERR_CONFIG,
                              "w.yaml:4: repeats: there are not 3 seeds");
    fbt_error_clear();
    assert_int_equal(fbt_sweep_read("/nowhere/s.yaml", NULL, 0, &s), FBT_ERR_IO);
    assert_non_null(strstr(fbt_error_message(), "a sweep file"));
}

static void assignments_leave_axes_alone(void **state)
{
    (void)state;
    static const char *const wrong[] = {"cma.sigma=2", "run.output=a.h5", "run.overwrite=true", "cma.sgima=1",
                                        "cma.alpha"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        fbt_sweep s = {0};
        assert_int_equal(read_with("grid: {cma.sigma: [1, 2]}\n", &wrong[i], 1, &s), FBT_ERR_CONFIG);
        assert_memory_equal(fbt_error_message(), "--set", 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_are_the_product_of_all_axes),
        cmocka_unit_test(a_run_has_its_settings),
        cmocka_unit_test(names_say_what_varies),
        cmocka_unit_test(names_are_stable),
        cmocka_unit_test(names_depend_on_the_own_values_alone),
        cmocka_unit_test(names_differ),
        cmocka_unit_test(matching_runs_are_left_out),
        cmocka_unit_test(equal_runs_are_one),
        cmocka_unit_test(draws_follow_their_laws),
        cmocka_unit_test(draws_are_reproducible),
        cmocka_unit_test(wrong_files_are_refused_by_line),
        cmocka_unit_test(missing_parts_are_named),
        cmocka_unit_test(assignments_leave_axes_alone),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
