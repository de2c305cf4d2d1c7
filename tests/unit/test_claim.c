/* Claims: one holder at a time, whoever dies when. */
#include "base/log.h"
#include "base/status.h"
#include "record/claim.h"

#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64], path[128], lock[128];

/* The program's clock and its pauses, which this test makes up where it says so: the linker puts these in their place.
 */
static double ahead_s;
static int n_pauses;
static void (*at_pause)(void); /* NULL: nothing; no pause is real */
double __real_fbt_timer_now_s(void);
double __wrap_fbt_timer_now_s(void);
int __wrap_nanosleep(const struct timespec *pause, struct timespec *left);

double __wrap_fbt_timer_now_s(void)
{
    return __real_fbt_timer_now_s() + ahead_s;
}

int __wrap_nanosleep(const struct timespec *pause, struct timespec *left)
{
    (void)left;
    ahead_s += (double)pause->tv_sec;
    n_pauses++;
    if (at_pause != NULL) {
        at_pause();
    }
    return 0;
}

static int make_folder(void **state)
{
    (void)state;
    fbt_error_clear();
    strcpy(folder, "/tmp/test_claim.XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/run.h5", folder);
    snprintf(lock, sizeof lock, "%s/.run.h5.lock", folder);
    return 0;
}

/* Also asserts that a test leaves no file. */
static int remove_folder(void **state)
{
    (void)state;
    if (rmdir(folder) == 0) {
        return 0;
    }
    DIR *list = opendir(folder);
    for (struct dirent *entry; list != NULL && (entry = readdir(list)) != NULL;) {
        print_error("left behind: %s\n", entry->d_name);
    }
    closedir(list);
    return -1;
}

static fbt_claim *taken(void)
{
    fbt_claim *claim;
    if (fbt_claim_take(path, &claim, NULL) != FBT_OK) {
        fail_msg("%s", fbt_error_message());
    }
    return claim;
}

/* Runs `work` in a process of its own; its exit code. */
static int in_process(int (*work)(void))
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        _exit(work());
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

enum { GOT_IT = 10, OTHER_HAS_IT = 11 };

static int take_and_release(void)
{
    fbt_claim *claim;
    if (fbt_claim_take(path, &claim, NULL) != FBT_OK) {
        return 1;
    }
    fbt_claim_release(claim);
    return claim != NULL ? GOT_IT : OTHER_HAS_IT;
}

static int take_and_die(void)
{
    fbt_claim *claim;
    return fbt_claim_take(path, &claim, NULL) == FBT_OK && claim != NULL ? GOT_IT : 1; /* without a release */
}

static void one_process_has_it(void **state)
{
    (void)state;
    fbt_claim_holder holder;
    char self[32];
    snprintf(self, sizeof self, "process %d on ", (int)getpid());
    fbt_claim *claim = taken();
    assert_non_null(claim);
    assert_int_equal(fbt_claim_check(claim), FBT_OK);
    assert_int_equal(in_process(take_and_release), OTHER_HAS_IT);
    assert_int_equal(fbt_claim_look(path, &holder), FBT_OK);
    assert_true(holder.exists && holder.alive);
    assert_memory_equal(holder.text, self, strlen(self));
    fbt_claim_release(claim);
    assert_int_equal(in_process(take_and_release), GOT_IT);
    assert_int_equal(fbt_claim_look(path, &holder), FBT_OK);
    assert_false(holder.exists || holder.alive);
}

/* Broken by a release that does not count: the outer holder would be without its claim. */
static void a_process_may_take_it_again(void **state)
{
    (void)state;
    char again[160];
    fbt_claim *outer = taken(), *inner;
    snprintf(again, sizeof again, "%s/../%s/./run.h5", folder, strrchr(folder, '/') + 1);
    assert_int_equal(fbt_claim_take(again, &inner, NULL), FBT_OK);
    assert_ptr_equal(inner, outer);
    fbt_claim_release(inner);
    assert_int_equal(in_process(take_and_release), OTHER_HAS_IT);
    fbt_claim_release(outer);
    assert_int_equal(in_process(take_and_release), GOT_IT);
}

static void claims_of_several_files_are_independent(void **state)
{
    (void)state;
    char other[160];
    fbt_claim *a = taken(), *b;
    snprintf(other, sizeof other, "%s/run2.h5", folder);
    assert_int_equal(fbt_claim_take(other, &b, NULL), FBT_OK);
    assert_non_null(b);
    fbt_claim_release(a);
    assert_int_equal(fbt_claim_check(b), FBT_OK);
    fbt_claim_release(b);
}

/* A symbolic link and the file that it leads to are one file, also before there is a file. */
static void links_are_followed(void **state)
{
    (void)state;
    char link[160];
    fbt_claim *claim, *other;
    snprintf(link, sizeof link, "%s/link.h5", folder);
    assert_int_equal(symlink("run.h5", link), 0);
    for (int is_there = 0; is_there < 2; is_there++) {
        claim = taken();
        assert_int_equal(fbt_claim_take(link, &other, NULL), FBT_OK);
        assert_ptr_equal(claim, other);
        fbt_claim_release(other);
        fbt_claim_release(claim);
        close(open(path, O_CREAT | O_WRONLY, 0600));
    }
    unlink(link);
    unlink(path);
}

static void the_dead_are_taken_over_from(void **state)
{
    (void)state;
    fbt_claim_holder holder;
    assert_int_equal(in_process(take_and_die), GOT_IT);
    assert_int_equal(access(lock, F_OK), 0);
    assert_int_equal(fbt_claim_look(path, &holder), FBT_OK);
    assert_true(holder.exists && !holder.alive);
    fbt_claim *claim = taken();
    assert_non_null(claim);
    assert_int_equal(fbt_claim_check(claim), FBT_OK);
    assert_int_equal(in_process(take_and_release), OTHER_HAS_IT);
    fbt_claim_release(claim);
}

/* Broken where a killed process counts as alive until its parent has waited for it: mpirun may take its time. */
static void the_killed_are_taken_over_from_before_they_are_waited_for(void **state)
{
    (void)state;
    siginfo_t info;
    pid_t child = fork();
    if (child == 0) {
        take_and_die();
        raise(SIGKILL);
    }
    assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(kill(child, 0), 0);
    fbt_claim *claim = taken();
    assert_non_null(claim);
    fbt_claim_release(claim);
    assert_int_equal(waitpid(child, NULL, 0), child);
}

/* A claim as another process, host or job would have written it, last alive age_s ago. */
static void write_claim(const char *file, const char *identity, const char *host, long pid, const char *job, int start,
                        int age_s)
{
    struct timespec now, times[2];
    FILE *out = fopen(file, "w");
    assert_non_null(out);
    fprintf(out,
            "fedbpt lock of a run file\nidentity %s\nhost %s\nboot of-%s\npids pid:[1]\npid %ld\nborn 5\njob %s\nstart "
            "%d\nend\n",
            identity, host, host, pid, job, start);
    fclose(out);
    clock_gettime(CLOCK_REALTIME, &now);
    times[0] = times[1] = (struct timespec){.tv_sec = now.tv_sec - age_s};
    assert_int_equal(utimensat(AT_FDCWD, file, times, 0), 0);
}

#define DEAD_IDENTITY "00000000000000000000000000000001"
#define NEXT_IDENTITY "00000000000000000000000000000002"

static void assert_free(bool expected)
{
    fbt_claim *claim;
    fbt_claim_holder holder;
    assert_int_equal(fbt_claim_take(path, &claim, &holder), FBT_OK);
    assert_int_equal(claim != NULL, expected);
    if (expected) {
        assert_int_equal(fbt_claim_check(claim), FBT_OK);
        fbt_claim_release(claim);
    } else {
        assert_true(holder.exists && holder.alive);
    }
}

/* Of processes on other hosts only their signs of life are known. */
static void other_hosts_are_judged_by_their_signs_of_life(void **state)
{
    (void)state;
    fbt_claim_holder holder;
    write_claim(lock, DEAD_IDENTITY, "elsewhere", 4711, "77", 0, FBT_CLAIM_STALE_S - 30);
    assert_free(false);
    assert_int_equal(fbt_claim_look(path, &holder), FBT_OK);
    assert_string_equal(holder.text, "process 4711 on elsewhere, job 77");
    assert_string_equal(holder.identity, DEAD_IDENTITY);
    write_claim(lock, DEAD_IDENTITY, "elsewhere", 4711, "", 0, FBT_CLAIM_STALE_S + 5);
    assert_free(true);
}

static void sign_at_the_fifth_pause(void)
{
    if (n_pauses == 5) {
        assert_int_equal(utimensat(AT_FDCWD, lock, NULL, 0), 0);
    }
}

/* As when a server's clock was set back, or a folder restored: broken where times of files alone decide, by which this
 * claim would be held for an hour and two minutes. */
static void signs_of_life_ahead_of_the_clock_go_stale(void **state)
{
    (void)state;
    write_claim(lock, DEAD_IDENTITY, "elsewhere", 4711, "77", 0, -3600);
    n_pauses = 0;
    assert_free(true);
    assert_in_range(n_pauses, FBT_CLAIM_STALE_S - 1, FBT_CLAIM_STALE_S + 1);
    write_claim(lock, NEXT_IDENTITY, "elsewhere", 4711, "77", 0, -3600);
    n_pauses = 0;
    at_pause = sign_at_the_fifth_pause;
    assert_free(false); /* it lives */
    assert_in_range(n_pauses, 5, 6);
    at_pause = NULL;
    unlink(lock);
}

/* As when a server's clock was set forwards: the next sign of life looks as old as the last. Broken where the time of
 * the last alone decides: a run that lives would lose its file. */
static void old_sign_at_the_fifth_pause(void)
{
    if (n_pauses == 5) {
        write_claim(lock, DEAD_IDENTITY, "elsewhere", 4711, "77", 0, 3590);
    }
}

static void old_claims_are_watched_for_a_beat(void **state)
{
    (void)state;
    write_claim(lock, DEAD_IDENTITY, "elsewhere", 4711, "77", 0, 3600);
    n_pauses = 0;
    at_pause = old_sign_at_the_fifth_pause;
    assert_free(false);
    assert_in_range(n_pauses, 5, 6);
    at_pause = NULL;
    write_claim(lock, NEXT_IDENTITY, "elsewhere", 4711, "77", 0, 3600);
    n_pauses = 0;
    assert_free(true);
    assert_in_range(n_pauses, FBT_CLAIM_BEAT_S + 1, FBT_CLAIM_BEAT_S + 3);
}

/* A sweep looks again and again. */
static void what_is_looked_at_goes_stale_by_our_own_clock(void **state)
{
    (void)state;
    fbt_claim_holder holder;
    const int ages[] = {-100000, 30}; /* the second: a host whose clock has stopped, say */
    for (size_t i = 0; i < sizeof ages / sizeof ages[0]; i++) {
        write_claim(lock, i == 0 ? DEAD_IDENTITY : NEXT_IDENTITY, "elsewhere", 4711, "77", 0, ages[i]);
        for (int look = 0; look < 5; look++) {
            assert_int_equal(fbt_claim_look(path, &holder), FBT_OK);
            assert_true(holder.alive && !holder.certain);
            ahead_s += look < 3 ? 30 : 29;
            if (look == 3) { /* a sign of life */
                write_claim(lock, i == 0 ? DEAD_IDENTITY : NEXT_IDENTITY, "elsewhere", 4711, "77", 0, ages[i] - 1);
            }
        }
        ahead_s += FBT_CLAIM_STALE_S - 40;
        assert_int_equal(fbt_claim_look(path, &holder), FBT_OK);
        assert_true(holder.alive);
        ahead_s += 20;
        assert_int_equal(fbt_claim_look(path, &holder), FBT_OK);
        assert_true(holder.exists && !holder.alive);
    }
    unlink(lock);
}

/* Who has it, since when it is silent, which file is in the way, and for how long. */
static void a_held_claim_is_described(void **state)
{
    (void)state;
    fbt_claim_holder holder;
    char expected[256];
    int age_s, left_s;
    write_claim(lock, DEAD_IDENTITY "5", "elsewhere", 4711, "77", 0, 90);
    assert_int_equal(fbt_claim_look(path, &holder), FBT_OK);
    snprintf(expected, sizeof expected,
             "process 4711 on elsewhere, job 77, last sign of life %%d s ago; lock %s, free in %%d s if there is no "
             "other sign",
             lock);
    assert_int_equal(sscanf(holder.held, expected, &age_s, &left_s), 2);
    assert_true(age_s >= 90 && age_s < 100 && age_s + left_s == FBT_CLAIM_STALE_S);
    assert_non_null(strstr(holder.held, " s if there is no other sign"));
    write_claim(lock, DEAD_IDENTITY "6", "elsewhere", 4711, "", 0, -3600);
    assert_int_equal(fbt_claim_look(path, &holder), FBT_OK);
    assert_non_null(strstr(holder.held, " s ahead of the file system's clock; lock "));
    unlink(lock);
    fbt_claim *claim = taken();
    assert_int_equal(fbt_claim_look(path, &holder), FBT_OK);
    snprintf(expected, sizeof expected, ", which lives; lock %s, free when it ends", lock);
    assert_non_null(strstr(holder.held, expected));
    fbt_claim_release(claim);
}

static void an_earlier_start_of_the_same_job_is_dead(void **state)
{
    (void)state;
    setenv("SLURM_JOB_ID", "77", 1);
    setenv("SLURM_RESTART_COUNT", "2", 1);
    write_claim(lock, DEAD_IDENTITY, "elsewhere", 4711, "77", 2, 1); /* another node of this start */
    assert_free(false);
    write_claim(lock, DEAD_IDENTITY, "elsewhere", 4711, "78", 1, 1);
    assert_free(false);
    write_claim(lock, DEAD_IDENTITY, "elsewhere", 4711, "77", 1, 1);
    assert_free(true);
    unsetenv("SLURM_JOB_ID");
    unsetenv("SLURM_RESTART_COUNT");
}

/* An empty file is a claim whose maker is about to write it, or was killed. */
static void a_claim_without_a_name_is_respected_for_a_while(void **state)
{
    (void)state;
    struct timespec now, times[2];
    close(open(lock, O_CREAT | O_WRONLY, 0600));
    assert_free(false);
    clock_gettime(CLOCK_REALTIME, &now);
    times[0] = times[1] = (struct timespec){.tv_sec = now.tv_sec - FBT_CLAIM_BEAT_S - 5};
    utimensat(AT_FDCWD, lock, times, 0);
    assert_free(true);
}

/* A process that died between making the right of succession and using it does not block the claim for ever, one that
 * lives has it. */
static void the_right_of_succession_is_inherited(void **state)
{
    (void)state;
    char right[256];
    snprintf(right, sizeof right, "%s.%s", lock, DEAD_IDENTITY);
    write_claim(lock, DEAD_IDENTITY, "elsewhere", 1, "", 0, 1000);
    write_claim(right, NEXT_IDENTITY, "elsewhere", 2, "", 0, 5);
    assert_free(false);
    write_claim(right, NEXT_IDENTITY, "elsewhere", 2, "", 0, 1000);
    assert_free(true);
    assert_int_equal(access(right, F_OK), -1);
}

/* Another process thinks that this one is dead: this one must notice, and leave the other's claim alone. */
static void a_lost_claim_is_noticed(void **state)
{
    (void)state;
    fbt_claim_holder holder;
    fbt_claim *claim = taken();
    assert_int_equal(unlink(lock), 0);
    assert_int_equal(fbt_claim_check(claim), FBT_ERR_IO);
    assert_non_null(strstr(fbt_error_message(), "has been removed"));
    fbt_error_clear();
    write_claim(lock, NEXT_IDENTITY, "elsewhere", 2, "78", 0, 1);
    assert_int_equal(fbt_claim_check(claim), FBT_ERR_IO);
    assert_non_null(strstr(fbt_error_message(), "taken over by another run (process 2 on elsewhere, job 78)"));
    fbt_error_clear();
    fbt_claim_release(claim);
    assert_int_equal(fbt_claim_look(path, &holder), FBT_OK);
    assert_string_equal(holder.identity, NEXT_IDENTITY);
    unlink(lock);
}

/* Another process is about to replace the claim: removing it under its hands would let a third one in. */
static void a_release_respects_the_right_of_succession(void **state)
{
    (void)state;
    char right[256];
    fbt_claim_holder holder;
    fbt_claim *claim = taken();
    assert_int_equal(fbt_claim_look(path, &holder), FBT_OK);
    snprintf(right, sizeof right, "%s.%s", lock, holder.identity);
    write_claim(right, NEXT_IDENTITY, "elsewhere", 2, "78", 0, 1);
    fbt_claim_release(claim);
    assert_int_equal(access(lock, F_OK), 0);
    assert_int_equal(access(right, F_OK), 0);
    assert_free(false);
    unlink(right);
    unlink(lock);
}

/* A full disk, a quota: the claim is given back all the same, and no sentence stays that a later failure would be told
 * with. A file may not grow here. */
static void a_release_needs_no_room(void **state)
{
    (void)state;
    struct rlimit before, none;
    fbt_claim *claim = taken();
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    fbt_claim_release(claim);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(access(lock, F_OK), -1);
    assert_string_equal(fbt_error_message(), "");
    signal(SIGXFSZ, SIG_DFL);
}

static void a_folder_that_is_not_there_is_named(void **state)
{
    (void)state;
    fbt_claim *claim;
    assert_int_equal(fbt_claim_take("/nowhere/run.h5", &claim, NULL), FBT_ERR_IO);
    assert_null(claim);
    assert_non_null(strstr(fbt_error_message(), "/nowhere"));
    fbt_error_clear();
}

/* ---- Many processes ---- */

enum { N_PROCESSES = 12, N_TURNS = 40, N_TURNS_ALL = 500 };

typedef struct scene {
    int n_inside, n_violations, n_turns, n_failures;
    pid_t inside;
} scene;
static scene *shared;

/* Whether a process could still do something: not one that was killed, waited for by its parent or not. */
static bool lives(pid_t process)
{
    char name[48], state = 'X';
    snprintf(name, sizeof name, "/proc/%d/stat", (int)process);
    FILE *file = fopen(name, "r");
    if (file != NULL) {
        if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1) {
            state = 'X';
        }
        fclose(file);
    }
    return state != 'X' && state != 'Z';
}

/* Nobody else may be inside between the two looks. A dead process may be: it died there. */
static void be_inside(fbt_claim *claim, bool die)
{
    pid_t before = __atomic_exchange_n(&shared->inside, getpid(), __ATOMIC_SEQ_CST);
    if (before != 0 && lives(before)) {
        __atomic_add_fetch(&shared->n_violations, 1, __ATOMIC_SEQ_CST);
    }
    usleep(200);
    if (fbt_claim_check(claim) != FBT_OK || __atomic_load_n(&shared->inside, __ATOMIC_SEQ_CST) != getpid()) {
        __atomic_add_fetch(&shared->n_violations, 1, __ATOMIC_SEQ_CST);
    }
    __atomic_add_fetch(&shared->n_turns, 1, __ATOMIC_SEQ_CST);
    if (die) {
        raise(SIGKILL);
    }
    __atomic_store_n(&shared->inside, 0, __ATOMIC_SEQ_CST);
}

static int take_turns(void)
{
    unsigned seed = (unsigned)getpid();
    for (int turn = 0; turn < N_TURNS; turn++) {
        fbt_claim *claim;
        if (fbt_claim_take(path, &claim, NULL) != FBT_OK) {
            __atomic_add_fetch(&shared->n_failures, 1, __ATOMIC_SEQ_CST);
            fprintf(stderr, "%s\n", fbt_error_message());
            return 1;
        }
        if (claim != NULL) {
            be_inside(claim, rand_r(&seed) % 8 == 0);
            fbt_claim_release(claim);
        }
        usleep(rand_r(&seed) % 2000);
    }
    return 0;
}

/* Kills a process of the many at a random instant: also between the steps of a take-over or a release. */
static void kill_some(pid_t *children, unsigned *seed)
{
    usleep(rand_r(seed) % 20000);
    pid_t *child = &children[rand_r(seed) % N_PROCESSES];
    if (*child != 0) {
        kill(*child, SIGKILL);
        waitpid(*child, NULL, 0);
        *child = 0;
    }
}

static void spawn_missing(pid_t *children)
{
    for (int i = 0; i < N_PROCESSES; i++) {
        if (children[i] != 0 && waitpid(children[i], NULL, WNOHANG) == children[i]) {
            children[i] = 0;
        }
        if (children[i] == 0) {
            children[i] = fork();
            if (children[i] == 0) {
                _exit(take_turns());
            }
        }
    }
}

static int remove_all(void **state)
{
    char command[128];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command);
}

static void never_two_inside(void **state)
{
    (void)state;
    pid_t children[N_PROCESSES] = {0};
    unsigned seed = 5;
    time_t end = time(NULL) + 60;
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    /* a process killed between making and writing its file holds the others up for FBT_CLAIM_BEAT_S */
    while (__atomic_load_n(&shared->n_turns, __ATOMIC_SEQ_CST) < N_TURNS_ALL && time(NULL) < end) {
        spawn_missing(children);
        kill_some(children, &seed);
    }
    for (int i = 0; i < N_PROCESSES; i++) {
        if (children[i] != 0) {
            waitpid(children[i], NULL, 0);
        }
    }
    assert_int_equal(shared->n_failures, 0);
    assert_int_equal(shared->n_violations, 0);
    assert_true(shared->n_turns >= N_TURNS_ALL);
    munmap(shared, sizeof *shared);
}

/* Waits for the gate to open, takes the claim and keeps it. */
static int take_at_once(int gate)
{
    char go;
    fbt_claim *claim;
    while (read(gate, &go, 1) > 0) {
    }
    if (fbt_claim_take(path, &claim, NULL) != FBT_OK) {
        return 1;
    }
    while (claim != NULL) {
        pause();
    }
    return OTHER_HAS_IT;
}

/* Many find the same dead holder at once: all but one see that the one has it. */
static void one_of_many_takers_wins(void **state)
{
    (void)state;
    for (int trial = 0; trial < 20; trial++) {
        pid_t children[N_PROCESSES];
        int gate[2], n_losers = 0, status;
        assert_int_equal(pipe(gate), 0);
        write_claim(lock, DEAD_IDENTITY, "elsewhere", 1, "", 0, 1000);
        for (int i = 0; i < N_PROCESSES; i++) {
            children[i] = fork();
            if (children[i] == 0) {
                close(gate[1]);
                _exit(take_at_once(gate[0]));
            }
        }
        close(gate[0]);
        close(gate[1]);
        for (int waits = 0; waits < 1000 && n_losers < N_PROCESSES - 1; waits++) {
            for (int i = 0; i < N_PROCESSES; i++) {
                if (children[i] != 0 && waitpid(children[i], &status, WNOHANG) == children[i]) {
                    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == OTHER_HAS_IT);
                    children[i] = 0;
                    n_losers++;
                }
            }
            usleep(5000);
        }
        for (int i = 0; i < N_PROCESSES; i++) {
            if (children[i] != 0) { /* the winner */
                kill(children[i], SIGKILL);
                waitpid(children[i], NULL, 0);
            }
        }
        assert_int_equal(n_losers, N_PROCESSES - 1);
        assert_free(true);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_process_has_it, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_process_may_take_it_again, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(claims_of_several_files_are_independent, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(links_are_followed, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(the_dead_are_taken_over_from, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(the_killed_are_taken_over_from_before_they_are_waited_for, make_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(other_hosts_are_judged_by_their_signs_of_life, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(signs_of_life_ahead_of_the_clock_go_stale, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(old_claims_are_watched_for_a_beat, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(what_is_looked_at_goes_stale_by_our_own_clock, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_held_claim_is_described, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(an_earlier_start_of_the_same_job_is_dead, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_claim_without_a_name_is_respected_for_a_while, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(the_right_of_succession_is_inherited, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_lost_claim_is_noticed, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_release_respects_the_right_of_succession, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_release_needs_no_room, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(a_folder_that_is_not_there_is_named, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(one_of_many_takers_wins, make_folder, remove_folder),
        cmocka_unit_test_setup_teardown(never_two_inside, make_folder, remove_all),
    };
    fbt_log_set_rank(1); /* who waits says so, on rank 0 */
    return cmocka_run_group_tests(tests, NULL, NULL);
}
