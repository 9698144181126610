/*
 * File requests of the reactor, once per backend: results, faults, and a full queue.
 */
#include <stdlib.h>
#include <string.h>

#include "engine/io/file.h"

#include "tests/lib/tmpdir.h"
#include "tests/unit/test_reactor_fixture.h"

#define REQS_MAX 3000

/* What goes wrong, and when. */
struct plan {
    uint32_t at;      /* The number of the operation, from 1; 0: never. */
    size_t bytes_max; /* For that one; SIZE_MAX: all. */
    int err;
    uint32_t asked;
};

struct files {
    struct fixture *f;
    char *dir;
    char *path;
    int fd;
    struct plan plan;
};

struct probe_req {
    struct reactor_file_req req;
    uint32_t dones;
    int result;
};

static void on_done(struct reactor_file_req *req, int res)
{
    struct probe_req *p = container_of(req, struct probe_req, req);

    p->dones++;
    p->result = res;
}

static void on_fault(void *ctx, const struct reactor_file_req *req, enum reactor_file_kind kind,
                     struct reactor_file_fault *fault)
{
    struct plan *plan = ctx;

    expect_u64(fault->bytes_max, kind == REACTOR_FILE_SYNC ? 0 : req->len - req->done);
    if (++plan->asked != plan->at)
        return;
    fault->bytes_max = size_min(fault->bytes_max, plan->bytes_max);
    fault->err = plan->err;
}

static int setup(void **state)
{
    struct files *files = mem_zalloc(sizeof(*files));
    void *inner = NULL;

    assert_int_equal(fixture_setup(&inner), 0);
    files->f = inner;
    files->dir = tmpdir_create();
    files->path = tmpdir_path(files->dir, "data");
    files->fd = file_open(files->path, FILE_READ | FILE_WRITE | FILE_CREATE);
    assert_true(files->fd >= 0);
    *state = files;
    return 0;
}

static int teardown(void **state)
{
    struct files *files = *state;
    void *inner = files->f;

    (void)fixture_teardown(&inner);
    assert_int_equal(file_close(files->fd), 0);
    mem_free(files->path);
    tmpdir_remove(files->dir);
    mem_free(files);
    return 0;
}

static struct probe_req make_req(const struct files *files, const char *text, uint64_t offset)
{
    return (struct probe_req){.req = {.fd = files->fd,
                                      .buf = text,
                                      .len = strlen(text),
                                      .offset = offset,
                                      .on_done = on_done}};
}

/* Runs the loop until the request is done; its result. */
static int finish(const struct files *files, const struct probe_req *p)
{
    /* Never from within the call. */
    assert_int_equal(p->dones, 0);
    RUN_UNTIL(files->f, p->dones == 1);
    return p->result;
}

static void expect_content(const struct files *files, const char *want)
{
    struct buf got;

    buf_init(&got, 1u << 20);
    assert_int_equal(file_read_all(files->path, &got), 0);
    expect_bytes(bytes_of(got.ptr, got.len), bytes_cstr(want));
    buf_deinit(&got);
}

static void writes_and_syncs_are_done_once_and_later(void **state)
{
    struct files *files = *state;
    struct probe_req write = make_req(files, "hello ", 0);
    struct probe_req durable = make_req(files, "world", 6);
    struct probe_req sync = {.req = {.fd = files->fd, .on_done = on_done}};
    struct probe_req nothing = make_req(files, "", 0);

    reactor_file_write(files->f->r, &write.req);
    assert_int_equal(finish(files, &write), 0);
    reactor_file_write_sync(files->f->r, &durable.req);
    assert_int_equal(finish(files, &durable), 0);
    reactor_file_sync(files->f->r, &sync.req);
    assert_int_equal(finish(files, &sync), 0);
    reactor_file_write(files->f->r, &nothing.req);
    assert_int_equal(finish(files, &nothing), 0);
    run_a_while(files->f);
    assert_int_equal(write.dones + durable.dones + sync.dones + nothing.dones, 4);
    expect_content(files, "hello world");
    expect_u64(reactor_metrics(files->f->r)->file_writes, 3);
    expect_u64(reactor_metrics(files->f->r)->file_syncs, 2);
}

static void errors_of_the_system_are_told(void **state)
{
    struct files *files = *state;
    struct probe_req reqs[3];

    for (uint32_t i = 0; i < 3; i++) {
        reqs[i] = make_req(files, "x", 0);
        reqs[i].req.fd = 1 << 20;
    }
    reactor_file_write(files->f->r, &reqs[0].req);
    reactor_file_sync(files->f->r, &reqs[1].req);
    reactor_file_write_sync(files->f->r, &reqs[2].req);
    for (uint32_t i = 0; i < 3; i++) {
        RUN_UNTIL(files->f, reqs[i].dones == 1);
        assert_int_equal(reqs[i].result, -EBADF);
    }
}

static void a_write_past_the_page_cache_works_as_well(void **state)
{
    struct files *files = *state;
    uint8_t *block = mem_alloc_aligned(4096, 8192);
    struct probe_req reqs[2] = {0};
    uint8_t got[8192];
    const int fd = file_open(files->path, FILE_WRITE | FILE_DIRECT);

    if (fd < 0) {
        mem_free(block);
        skip();
    }
    for (size_t i = 0; i < 8192; i++)
        block[i] = pattern(i);
    for (uint32_t i = 0; i < 2; i++) {
        reqs[i].req = (struct reactor_file_req){
            .fd = fd, .buf = block + 4096 * i, .len = 4096, .offset = 4096 * i, .on_done = on_done};
    }
    reactor_file_write(files->f->r, &reqs[0].req);
    reactor_file_write_sync(files->f->r, &reqs[1].req);
    RUN_UNTIL(files->f, reqs[0].dones + reqs[1].dones == 2);
    assert_int_equal(reqs[0].result, 0);
    assert_int_equal(reqs[1].result, 0);
    assert_int_equal(file_read_full(files->fd, got, sizeof(got), 0), 0);
    assert_memory_equal(got, block, sizeof(got));
    assert_int_equal(file_close(fd), 0);
    mem_free(block);
}

static void more_requests_than_the_queue_holds_are_all_done(void **state)
{
    struct files *files = *state;
    struct probe_req *reqs = mem_zalloc_array(REQS_MAX, sizeof(*reqs));
    uint8_t *bytes = mem_alloc(REQS_MAX);
    uint8_t *got = mem_alloc(REQS_MAX);

    for (uint32_t i = 0; i < REQS_MAX; i++) {
        bytes[i] = pattern(i);
        reqs[i].req = (struct reactor_file_req){
            .fd = files->fd, .buf = &bytes[i], .len = 1, .offset = i, .on_done = on_done};
        if (i % 100 == 0)
            reactor_file_write_sync(files->f->r, &reqs[i].req);
        else if (i % 3 == 0)
            reactor_file_sync(files->f->r, &reqs[i].req);
        else
            reactor_file_write(files->f->r, &reqs[i].req);
    }
    for (uint32_t i = 0; i < REQS_MAX; i++) {
        RUN_UNTIL(files->f, reqs[i].dones == 1);
        assert_int_equal(reqs[i].result, 0);
    }
    assert_int_equal(file_read_full(files->fd, got, REQS_MAX - 1, 0), 0);
    for (uint32_t i = 0; i < REQS_MAX - 1; i++) {
        if (i % 100 == 0 || i % 3 != 0)
            assert_int_equal(got[i], bytes[i]);
    }
    mem_free(reqs);
    mem_free(bytes);
    mem_free(got);
}

/* One request of each kind under a plan; the result. */
static int run_with(struct files *files, enum reactor_file_kind kind, struct plan plan,
                    const char *text)
{
    struct probe_req p = make_req(files, text, 0);

    files->plan = plan;
    reactor_set_file_fault(files->f->r, on_fault, &files->plan);
    if (kind == REACTOR_FILE_WRITE)
        reactor_file_write(files->f->r, &p.req);
    else if (kind == REACTOR_FILE_SYNC)
        reactor_file_sync(files->f->r, &p.req);
    else
        reactor_file_write_sync(files->f->r, &p.req);
    return finish(files, &p);
}

static void a_fault_fails_the_operation_before_it_begins(void **state)
{
    struct files *files = *state;
    const struct plan plan = {.at = 1, .bytes_max = 0, .err = -EIO};

    assert_int_equal(run_with(files, REACTOR_FILE_WRITE, plan, "lost"), -EIO);
    assert_int_equal(run_with(files, REACTOR_FILE_WRITE_SYNC, plan, "lost"), -EIO);
    assert_int_equal(run_with(files, REACTOR_FILE_SYNC, plan, ""), -EIO);
    expect_content(files, "");
    /* And only the operation that it names. */
    assert_int_equal(run_with(files, REACTOR_FILE_WRITE,
                              (struct plan){.at = 2, .bytes_max = 0, .err = -EIO}, "kept"),
                     0);
    expect_content(files, "kept");
}

static void a_full_disk_leaves_a_part(void **state)
{
    struct files *files = *state;
    const struct plan plan = {.at = 1, .bytes_max = 3, .err = -ENOSPC};

    assert_int_equal(run_with(files, REACTOR_FILE_WRITE, plan, "abcdef"), -ENOSPC);
    expect_content(files, "abc");
    assert_int_equal(run_with(files, REACTOR_FILE_WRITE_SYNC, plan, "ABCDEF"), -ENOSPC);
    expect_content(files, "ABC");
}

static void a_short_write_is_continued(void **state)
{
    struct files *files = *state;
    const struct plan plan = {.at = 1, .bytes_max = 2, .err = 0};

    assert_int_equal(run_with(files, REACTOR_FILE_WRITE, plan, "abcdef"), 0);
    expect_content(files, "abcdef");
    expect_u64(files->plan.asked, 2);
    assert_int_equal(run_with(files, REACTOR_FILE_WRITE_SYNC, plan, "ABCDEF"), 0);
    expect_content(files, "ABCDEF");
    expect_u64(files->plan.asked, 2);
}

static void a_short_write_may_fail_in_its_second_part(void **state)
{
    struct files *files = *state;
    struct plan plan = {.at = 1, .bytes_max = 2, .err = 0};

    assert_int_equal(run_with(files, REACTOR_FILE_WRITE_SYNC, plan, "abcdef"), 0);
    plan = (struct plan){.at = 1, .bytes_max = SIZE_MAX, .err = -EIO};
    assert_int_equal(run_with(files, REACTOR_FILE_WRITE_SYNC, plan, "xyz"), -EIO);
    /* The bytes arrived, the sync did not. */
    expect_content(files, "xyzdef");
}

int main(void)
{
#define FILE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        FILE_TEST(writes_and_syncs_are_done_once_and_later),
        FILE_TEST(errors_of_the_system_are_told),
        FILE_TEST(a_write_past_the_page_cache_works_as_well),
        FILE_TEST(more_requests_than_the_queue_holds_are_all_done),
        FILE_TEST(a_fault_fails_the_operation_before_it_begins),
        FILE_TEST(a_full_disk_leaves_a_part),
        FILE_TEST(a_short_write_is_continued),
        FILE_TEST(a_short_write_may_fail_in_its_second_part),
    };

    RUN_FOR_EACH_BACKEND(tests);
}
