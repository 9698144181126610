/* What a keyspace stands on: rig.h. */
#include "tests/lib/rig.h"

#include "engine/io/pool.h"
#include "engine/io/reactor.h"
#include "engine/space/resident.h"
#include "engine/store/store.h"
#include "engine/store/store_mem.h"
#include "engine/value/row.h"

#include "tests/lib/tcase.h"

/* Letters delivered at one wake-up. */
#define DRAIN_MAX 1000

int rig_merge_rows(void *ctx, struct bytes key, struct bytes existing, const struct bytes *operands,
                   size_t n, struct buf *out)
{
    (void)ctx;
    (void)key;
    return row_merge_store(existing, operands, n, out);
}

void rig_on_ready(struct ks_wait *wait)
{
    (void)wait;
}

static void on_wake(void *ctx)
{
    struct rig *r = ctx;

    (void)mailbox_drain(&r->mailbox, DRAIN_MAX);
}

static void request_sync(void *ctx)
{
    (void)ctx;
}

void rig_open(struct rig *r, struct store_mem_disk *disk, uint32_t readers)
{
    const struct reactor_options reactor = {.backend = REACTOR_EPOLL};
    const struct pool_options reader_pool = {.name = "r", .threads = readers};
    const struct pool_options maintainer_pool = {.name = "m", .threads = 1};
    const struct store_options store = {.merge = {.merge = rig_merge_rows}};

    assert_int_equal(reactor_create(&reactor, &r->reactor), 0);
    reactor_set_wake_hook(r->reactor, on_wake, r);
    mailbox_init(&r->mailbox, r->reactor);
    assert_int_equal(pool_create(&reader_pool, &r->readers), 0);
    assert_int_equal(pool_create(&maintainer_pool, &r->maintainer), 0);
    assert_int_equal(store_mem_open(disk, &store, &r->store), 0);
}

struct ks_options rig_options(struct rig *r, uint64_t seed)
{
    return (struct ks_options){.seed = seed,
                               .store = r->store,
                               .readers = r->readers,
                               .maintainer = r->maintainer,
                               .mailbox = &r->mailbox,
                               .origin = 1,
                               .request_sync = request_sync};
}

void rig_turn(struct rig *r)
{
    reactor_run_once(r->reactor, 1);
}

void rig_settle(struct rig *r, const struct keyspace *ks)
{
    while (ks_busy(ks))
        rig_turn(r);
}

void rig_close(struct rig *r, struct keyspace *ks)
{
    pool_destroy(r->maintainer);
    pool_destroy(r->readers);
    ks_destroy(ks);
    store_close(r->store);
    mailbox_deinit(&r->mailbox);
    reactor_destroy(r->reactor);
}
