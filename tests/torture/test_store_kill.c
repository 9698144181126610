/*
 * The store against SIGKILL.
 *
 * A child writes numbered batches, each with its number as the covered position, flushes at random,
 * and notes in shared memory what the store says is persistent. The parent kills it at a random
 * moment, opens the store and compares: the state must be exactly that of the batches up to the
 * covered position, which is at least what the child last heard. Then the next child goes on from
 * there.
 *
 * What batch i writes is a function of seed and i, so the parent needs no record of it. A kill
 * leaves what the kernel was given: this proves the order of RocksDB's writes, not its syncs.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/check.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"
#include "engine/base/num.h"

#include "engine/store/store.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"
#include "tests/lib/tmpdir.h"

#define ROUNDS          40
#define KEYS            5000
#define BATCH_ROWS_MAX  40
#define ROW_BYTES_MAX   600
#define BATCH_BYTES_MAX (1u << 20)
#define START_MS_MAX    60000
#define LIFE_US_MAX     120000

/* Shared by parent and child, as a mapped file. */
struct shared {
    _Atomic uint64_t persisted; /* What store_covered last gave the child. */
    _Atomic uint64_t written;
};

static int join(void *ctx, struct bytes key, struct bytes existing, const struct bytes *operands,
                size_t n, struct buf *out)
{
    struct bytes best = existing;

    (void)ctx;
    (void)key;
    for (size_t i = 0; i < n; i++) {
        if (bytes_cmp(operands[i], best) > 0)
            best = operands[i];
    }
    return buf_append_bytes(out, best);
}

static struct store *open_store(const char *dir)
{
    const struct store_options options = {
        .dir = dir, .merge = {.merge = join}, .memtable_bytes = 1u << 20};
    char why[STORE_WHY_BYTES] = "";
    struct store *store = NULL;

    if (store_open(&options, &store, why, sizeof(why)) != 0)
        print_error("%s\n", why);
    return store;
}

static struct shared *map_shared(const char *path)
{
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    CHECK(fd >= 0);
    CHECK(ftruncate(fd, sizeof(struct shared)) == 0);
    void *at = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    CHECK(at != MAP_FAILED);
    (void)close(fd); /* The mapping stays. */
    return at;
}

/* --- what batch `number` writes --- */

struct plan_row {
    size_t key;
    bool is_merge;
    size_t len;
    uint8_t row[ROW_BYTES_MAX];
};

static void plan_start(struct rng *rng, uint64_t seed, uint64_t number, uint64_t *out_rows)
{
    rng_seed(rng, seed ^ (number * 0x9e3779b97f4a7c15u));
    *out_rows = 1 + rng_below(rng, BATCH_ROWS_MAX);
}

/* Rows begin with the batch's number, so that later ones win the join. */
static void plan_next(struct rng *rng, uint64_t number, struct plan_row *out)
{
    out->key = rng_below(rng, KEYS);
    out->is_merge = rng_below(rng, 2) == 0;
    out->len = 10 + rng_below(rng, ROW_BYTES_MAX - 10);
    memset(out->row, (int)(number & 0x7f), out->len);
    out->row[0] = 0x01;
    be64_store(out->row + 1, number);
}

static struct bytes plan_key(size_t index, uint8_t *out)
{
    be32_store(out, (uint32_t)index * 2654435761u);
    memset(out + 4, 'k', 20);
    return bytes_of(out, 24);
}

/* --- the child --- */

static void child_write(struct store *store, struct store_batch *batch, uint64_t seed,
                        uint64_t number)
{
    struct plan_row row;
    struct rng rng;
    uint64_t rows;
    uint8_t key[24];
    uint8_t vv[8];

    plan_start(&rng, seed, number, &rows);
    le64_store(vv, number);
    store_batch_clear(batch);
    for (uint64_t i = 0; i < rows; i++) {
        plan_next(&rng, number, &row);
        const struct bytes k = plan_key(row.key, key);
        const struct bytes r = bytes_of(row.row, row.len);
        CHECK((row.is_merge ? store_batch_merge(batch, k, r) : store_batch_put(batch, k, r)) == 0);
    }
    CHECK(store_batch_set_covered(batch, number, bytes_of(vv, sizeof(vv))) == 0);
    CHECK(store_write(store, batch, 0) == 0);
}

static int child_main(const char *dir, const char *shared_path, uint64_t seed, uint64_t life)
{
    struct store *store = open_store(dir);
    struct shared *shared = map_shared(shared_path);
    struct store_batch batch;
    struct rng rng;
    uint64_t lsn;

    CHECK(store != NULL);
    rng_seed(&rng, seed + life);
    store_batch_init(&batch, BATCH_BYTES_MAX);
    CHECK(store_covered(store, false, &lsn, NULL) == 0);
    for (uint64_t number = lsn + 1;; number++) {
        child_write(store, &batch, seed, number);
        atomic_store(&shared->written, number);
        if (rng_below(&rng, 100) == 0)
            CHECK(store_flush(store) == 0);
        if (rng_below(&rng, 10) == 0) {
            CHECK(store_covered(store, true, &lsn, NULL) == 0);
            atomic_store(&shared->persisted, lsn);
        }
    }
}

/* --- the parent --- */

static const char program_path[] = "/proc/self/exe"; /* To start itself as the child. */

struct fixture {
    char *root;
    char *dir;
    char *shared_path;
    struct shared *shared;
    uint64_t seed;
    uint64_t latest[KEYS]; /* The last batch up to `verified` that wrote the key. */
    uint64_t verified;
};

static pid_t start_child(const struct fixture *f, uint64_t life)
{
    char seed[24];
    char life_text[24];

    (void)snprintf(seed, sizeof(seed), "%" PRIu64, f->seed);
    (void)snprintf(life_text, sizeof(life_text), "%" PRIu64, life);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)execl(program_path, program_path, "child", f->dir, f->shared_path, seed, life_text,
                    (char *)NULL);
        _exit(127);
    }
    return pid;
}

static void sleep_us(uint64_t us)
{
    const struct timespec time = {.tv_nsec = (long)(us * 1000)};

    (void)nanosleep(&time, NULL); /* Any moment will do. */
}

/* Until the child has written something, which takes long on a busy machine. */
static void await_writes(const struct fixture *f, uint64_t before)
{
    for (size_t i = 0; i < START_MS_MAX && atomic_load(&f->shared->written) == before; i++)
        sleep_us(1000);
}

static void kill_child(pid_t pid, uint64_t us)
{
    int status;

    sleep_us(us);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void model_advance(struct fixture *f, uint64_t to)
{
    struct plan_row row;
    struct rng rng;
    uint64_t rows;

    while (f->verified < to) {
        f->verified++;
        plan_start(&rng, f->seed, f->verified, &rows);
        for (uint64_t i = 0; i < rows; i++) {
            plan_next(&rng, f->verified, &row);
            f->latest[row.key] = f->verified;
        }
    }
}

static void verify_rows(const struct fixture *f, struct store *store)
{
    struct store_value v;
    uint8_t key[24];

    for (size_t i = 0; i < KEYS; i++) {
        store_get(store, plan_key(i, key), 0, &v);
        if (f->latest[i] == 0) {
            assert_int_equal(v.status, STORE_ABSENT);
        } else {
            assert_int_equal(v.status, STORE_FOUND);
            expect_u64(be64_load(v.row.ptr + 1), f->latest[i]);
        }
        store_value_release(&v);
    }
}

static void verify(struct fixture *f)
{
    struct store *store = open_store(f->dir);
    struct buf vv;
    uint64_t lsn;
    uint64_t persisted_lsn;

    assert_non_null(store);
    buf_init(&vv, 64);
    assert_int_equal(store_covered(store, false, &lsn, &vv), 0);
    assert_int_equal(store_covered(store, true, &persisted_lsn, NULL), 0);
    expect_u64(persisted_lsn, lsn);
    assert_true(lsn >= atomic_load(&f->shared->persisted));
    assert_true(lsn <= atomic_load(&f->shared->written) + 1);
    if (lsn != 0)
        expect_u64(le64_load(vv.ptr), lsn);
    model_advance(f, lsn);
    verify_rows(f, store);
    buf_deinit(&vv);
    store_close(store);
}

static void killed_store_holds_exactly_the_batches_up_to_its_covered_position(void **state)
{
    struct fixture *f = *state;
    struct rng rng;

    seed_rng(&rng, 1);
    f->seed = seed_get();
    for (uint64_t round = 0; round < ROUNDS; round++) {
        const uint64_t before = atomic_load(&f->shared->written);
        const pid_t pid = start_child(f, round);
        if (rng_below(&rng, 4) != 0) /* The others may die while they open the store. */
            await_writes(f, before);
        kill_child(pid, 1000 + rng_below(&rng, LIFE_US_MAX));
        verify(f);
    }
    print_message("%d kills, %" PRIu64 " batches\n", ROUNDS, f->verified);
    assert_true(f->verified > 0);
}

static int setup(void **state)
{
    struct fixture *f = mem_zalloc(sizeof(*f));

    f->root = tmpdir_create();
    f->dir = tmpdir_path(f->root, "store");
    f->shared_path = tmpdir_path(f->root, "shared");
    f->shared = map_shared(f->shared_path);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    (void)munmap(f->shared, sizeof(*f->shared)); /* Ends with the process anyway. */
    tmpdir_remove(f->root);
    mem_free(f->dir);
    mem_free(f->shared_path);
    mem_free(f);
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(
            killed_store_holds_exactly_the_batches_up_to_its_covered_position, setup, teardown),
    };
    uint64_t seed;
    uint64_t life;

    if (argc != 6 || strcmp(argv[1], "child") != 0)
        return cmocka_run_group_tests(tests, NULL, NULL);
    if (!num_parse_u64(bytes_cstr(argv[4]), &seed) || !num_parse_u64(bytes_cstr(argv[5]), &life))
        return 2;
    return child_main(argv[2], argv[3], seed, life);
}
