/*
 * What the tests of links share: a node (door and hub) and another hub that dials it, on one
 * reactor; sides that write down what happens to them; and a man in the middle who changes what the
 * two say.
 */
#ifndef TIERRA_TESTS_UNIT_TEST_LINK_FIXTURE_H
#define TIERRA_TESTS_UNIT_TEST_LINK_FIXTURE_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/list.h"

#include "engine/io/pool.h"

#include "replication/link/link_door.h"
#include "replication/link/link_secret.h"

#include "tests/unit/test_reactor_fixture.h"

#define SECRET       BYTES_LIT("the secret of this test")
#define NICKNAME     BYTES_LIT("frankfurt-paris")
#define FRAME_MAX    ((size_t)4 << 20)
#define QUEUE_MAX    ((size_t)1 << 20)
#define GUEST_SHARD  3
#define IDENTITY_MAX 256

/* One end of a link, and what it saw. */
struct side {
    struct list_link in_sides;
    struct link *link; /* NULL: closed. */
    struct fix *fix;
    uint32_t peers;
    uint32_t readies;
    uint32_t frames;
    uint32_t closes;
    uint32_t rooms;
    int err;
    char why[LINK_WHY_BYTES_MAX];
    struct buf got; /* All frames, each behind its length. */
    char identity[IDENTITY_MAX + 1];
    /* What it is to do. */
    const char *refuse_with;
    uint32_t pause_after; /* Pauses after every so many frames. */
    bool pause_on_ready;
    bool close_on_frame;
    bool drop_on_frame;
    bool drop_on_peer;
    bool close_on_ready;
    bool echo;
};

struct fix {
    struct fixture base; /* First: RUN_UNTIL takes it. */
    struct mailbox mailbox;
    struct pool *pool;
    struct link_resolver resolver;
    struct link_secret *secret;
    struct link_secret *other_secret;
    struct link_hub *hub;   /* Of those that dial. */
    struct link_hub *inner; /* Behind the door. */
    struct link_door *door;
    char address[64];
    struct list sides; /* Of the acceptor, newest last. */
    uint32_t guests;
    const char *guest_refusal; /* Guests are refused with it before anyone looks. */
    struct side like;          /* What accepted sides are to do. */
};

/* ---- sides ---- */

static const char *side_on_peer(struct link *link, void *ctx)
{
    struct side *side = ctx;
    const struct bytes identity = link_peer_identity(link);

    assert_ptr_equal(side->link, link);
    assert_in_range(identity.len, 0, IDENTITY_MAX);
    memcpy(side->identity, identity.ptr, identity.len);
    side->identity[identity.len] = '\0';
    side->peers++;
    if (side->drop_on_peer) {
        side->link = NULL;
        link_drop(link);
    }
    return side->refuse_with;
}

static void side_on_ready(struct link *link, void *ctx)
{
    struct side *side = ctx;

    assert_true(link_is_ready(link));
    expect_u64(side->peers, 1);
    side->readies++;
    if (side->pause_on_ready)
        link_pause(link);
    if (side->close_on_ready)
        link_close(link, "closed as soon as it was ready");
}

static void side_on_frame(struct link *link, void *ctx, struct bytes frame)
{
    struct side *side = ctx;
    uint8_t len[4];

    expect_u64(side->readies, 1);
    expect_u64(side->closes, 0);
    le32_store(len, (uint32_t)frame.len);
    assert_int_equal(buf_append(&side->got, len, sizeof(len)), 0);
    assert_int_equal(buf_append_bytes(&side->got, frame), 0);
    side->frames++;
    if (side->echo)
        assert_int_equal(link_send(link, frame), 0);
    if (side->pause_after != 0 && side->frames % side->pause_after == 0)
        link_pause(link);
    if (side->close_on_frame)
        link_close(link, "closed by a frame");
    if (side->drop_on_frame) {
        side->link = NULL;
        link_drop(link);
    }
}

static void side_on_closed(struct link *link, void *ctx, int err, const char *why)
{
    struct side *side = ctx;

    assert_ptr_equal(side->link, link);
    expect_u64(side->closes, 0);
    assert_true(err < 0);
    side->closes++;
    side->err = err;
    (void)snprintf(side->why, sizeof(side->why), "%s", why);
    side->link = NULL;
}

static void side_on_room(struct link *link, void *ctx)
{
    struct side *side = ctx;

    assert_true(link_is_ready(link));
    side->rooms++;
}

static const struct link_ops side_ops = {
    .on_peer = side_on_peer,
    .on_ready = side_on_ready,
    .on_frame = side_on_frame,
    .on_closed = side_on_closed,
    .on_room = side_on_room,
};

static inline struct side *side_create(struct fix *fix)
{
    struct side *side = mem_zalloc(sizeof(*side));

    *side = fix->like;
    side->fix = fix;
    buf_init(&side->got, (size_t)256 << 20);
    return side;
}

static inline void side_destroy(struct side *side)
{
    if (list_linked(&side->in_sides))
        list_remove(&side->in_sides);
    buf_deinit(&side->got);
    mem_free(side);
}

static inline struct link_options side_options(struct side *side, const char *identity)
{
    return (struct link_options){
        .ops = &side_ops,
        .ctx = side,
        .kind = LINK_SHARD,
        .shard = GUEST_SHARD,
        .identity = bytes_cstr(identity),
        .frame_bytes_max = FRAME_MAX,
        .queue_bytes_max = QUEUE_MAX,
    };
}

/* A side that dials `address` from the hub. */
static inline struct side *dial_to(struct fix *fix, const char *address)
{
    struct side *side = mem_zalloc(sizeof(*side));
    const struct link_options options = side_options(side, "identity of the dialer");

    side->fix = fix;
    buf_init(&side->got, (size_t)256 << 20);
    side->link = link_dial(fix->hub, address, &options);
    return side;
}

static inline struct side *dial(struct fix *fix)
{
    return dial_to(fix, fix->address);
}

/* The newest accepted side. */
static inline struct side *last_side(struct fix *fix)
{
    struct list_link *last = list_last(&fix->sides);

    return last == NULL ? NULL : LIST_ITEM(last, struct side, in_sides);
}

/* ---- the fixture ---- */

static void fix_on_guest(void *ctx, struct link_guest *take_guest)
{
    struct fix *fix = ctx;

    fix->guests++;
    if (fix->guest_refusal != NULL) {
        link_refuse(fix->inner, take_guest, fix->guest_refusal);
        return;
    }
    struct side *side = side_create(fix);
    const struct link_options options = side_options(side, "identity of the acceptor");
    list_push_back(&fix->sides, &side->in_sides);
    side->link = link_accept(fix->inner, take_guest, &options);
}

static void fix_on_wake(void *ctx)
{
    struct fix *fix = ctx;

    (void)mailbox_drain(&fix->mailbox, UINT32_MAX);
}

static inline struct link_hub *fix_hub(struct fix *fix, const struct link_secret *secret,
                                       struct bytes nickname)
{
    return link_hub_create(&(struct link_hub_options){
        .reactor = fix->base.r,
        .mailbox = &fix->mailbox,
        .resolver = &fix->resolver,
        .secret = secret,
        .nickname = nickname,
        .handshake_ms = 30000, /* Tests that wait for the limit set their own. */
        .connect_ms = 30000,
        .close_ms = 10000,
    });
}

static inline struct link_door *open_door(struct fix *fix, const char *address,
                                          uint32_t handshake_ms)
{
    const struct link_door_options options = {
        .reactor = fix->base.r,
        .secret = fix->secret,
        .nickname = NICKNAME,
        .address = address,
        .handshake_ms = handshake_ms,
        .on_guest = fix_on_guest,
        .ctx = fix,
    };
    struct link_door *door = NULL;
    char why[512] = "";

    if (link_door_open(&options, &door, why, sizeof(why)) != 0)
        fail_msg("%s", why);
    return door;
}

static inline int fix_setup(void **state)
{
    struct fix *fix = mem_zalloc(sizeof(*fix));
    const struct reactor_options options = {.backend = fixture_backend, .max_conns = 100};
    char why[256];

    assert_int_equal(reactor_create(&options, &fix->base.r), 0);
    assert_int_equal(pool_create(&(struct pool_options){.name = "names", .threads = 1}, &fix->pool),
                     0);
    link_resolver_init(&fix->resolver, fix->pool);
    mailbox_init(&fix->mailbox, fix->base.r);
    reactor_set_wake_hook(fix->base.r, fix_on_wake, fix);
    assert_int_equal(link_secret_create(SECRET, &fix->secret, why, sizeof(why)), 0);
    assert_int_equal(link_secret_create(BYTES_LIT("another secret, of the same kind"),
                                        &fix->other_secret, why, sizeof(why)),
                     0);
    fix->hub = fix_hub(fix, fix->secret, NICKNAME);
    fix->inner = fix_hub(fix, fix->secret, NICKNAME);
    fix->door = open_door(fix, "127.0.0.1:0", 30000);
    (void)snprintf(fix->address, sizeof(fix->address), "127.0.0.1:%u", link_door_port(fix->door));
    list_init(&fix->sides);
    *state = fix;
    return 0;
}

/* Ends a hub: its links go without a callback. */
static inline void end_hub(struct fix *fix, struct link_hub *hub)
{
    link_hub_stop(hub, "the test is over");
    RUN_UNTIL(&fix->base, link_hub_empty(hub));
    expect_u64(link_hub_metrics(hub)->open, 0);
    expect_u64(link_hub_metrics(hub)->queued_bytes, 0);
    link_hub_destroy(hub);
}

static inline void end_door(struct fix *fix, struct link_door *door)
{
    link_door_stop(door);
    RUN_UNTIL(&fix->base, link_door_empty(door));
    link_door_destroy(door);
}

static inline int fix_teardown(void **state)
{
    struct fix *fix = *state;
    struct list_link *it;

    end_door(fix, fix->door);
    end_hub(fix, fix->hub);
    end_hub(fix, fix->inner);
    RUN_UNTIL(&fix->base, reactor_metrics(fix->base.r)->socks == 0);
    while ((it = list_first(&fix->sides)) != NULL)
        side_destroy(LIST_ITEM(it, struct side, in_sides));
    pool_destroy(fix->pool);
    mailbox_deinit(&fix->mailbox);
    reactor_destroy(fix->base.r);
    link_secret_destroy(fix->secret);
    link_secret_destroy(fix->other_secret);
    mem_free(fix);
    return 0;
}

#define LINK_TEST(name) cmocka_unit_test_setup_teardown(name, fix_setup, fix_teardown)

/* Two sides that are ready for each other. */
static inline struct side *dial_ready(struct fix *fix, struct side **out_acceptor)
{
    struct side *dialer = dial(fix);

    RUN_UNTIL(&fix->base, dialer->readies == 1 && last_side(fix)->readies == 1);
    *out_acceptor = last_side(fix);
    return dialer;
}

static inline void expect_closed(struct fix *fix, const struct side *side, int err,
                                 const char *text)
{
    RUN_UNTIL(&fix->base, side->closes == 1);
    if (side->err != err || strstr(side->why, text) == NULL)
        fail_msg("closed with %s \"%s\" instead of %s \"%s\"", err_name(side->err), side->why,
                 err_name(err), text);
}

/* Drops the link, if it is still there, and frees. */
static inline void side_end(struct side *side)
{
    if (side->link != NULL)
        link_drop(side->link);
    side_destroy(side);
}

/* ---- plain sockets ---- */

/* A listening socket on loopback, non-blocking. */
static inline int listen_plain(char address[64])
{
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(addr);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(listen(fd, 100), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    (void)snprintf(address, 64, "127.0.0.1:%u", ntohs(addr.sin_port));
    return fd;
}

/* A connection to the door, non-blocking. */
static inline int connect_plain(const struct link_door *door)
{
    const struct sockaddr_in addr = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        .sin_port = htons(link_door_port(door)),
    };
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&addr, sizeof(addr)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

/* Reads what is there into `out`: false at the end of the connection. */
static inline bool read_more(int fd, struct buf *out)
{
    assert_int_equal(buf_reserve(out, 65536), 0);
    const ssize_t n = read(fd, buf_end(out), 65536);

    if (n > 0)
        buf_commit(out, (size_t)n);
    assert_true(n >= 0 || errno == EAGAIN || errno == ECONNRESET);
    return n > 0 || (n < 0 && errno == EAGAIN);
}

/* ---- the man in the middle ---- */

enum edit {
    EDIT_NONE,
    EDIT_FLIP,   /* One bit of the byte `at`. */
    EDIT_REPEAT, /* The `len` bytes at `at` go out twice. */
    EDIT_DROP,   /* They do not go out. */
    EDIT_SWAP,   /* Their halves go out in the other order. */
    EDIT_CUT,    /* The connection ends at `at`. */
};

struct middle {
    int listen_fd;
    char address[64];
    int fds[2]; /* To the dialer, to the acceptor; -1: none. */
    /* What came from each of the two. */
    struct buf from[2];
    size_t passed[2];
    /* What is done to what comes from fds[who]. */
    unsigned who;
    enum edit edit;
    size_t at;
    size_t len;
    bool edited;
};

static inline void middle_init(struct middle *m)
{
    *m = (struct middle){.fds = {-1, -1}};
    m->listen_fd = listen_plain(m->address);
    for (int i = 0; i < 2; i++)
        buf_init(&m->from[i], 64u << 20);
}

static inline void middle_hang_up(struct middle *m)
{
    for (int i = 0; i < 2; i++) {
        if (m->fds[i] >= 0)
            close(m->fds[i]);
        m->fds[i] = -1;
    }
}

static inline void middle_deinit(struct middle *m)
{
    middle_hang_up(m);
    close(m->listen_fd);
    for (int i = 0; i < 2; i++)
        buf_deinit(&m->from[i]);
}

static inline void middle_send(struct middle *m, unsigned who, const uint8_t *ptr, size_t len)
{
    /* Small enough for the kernel's buffer; whoever has closed does not get it. */
    if (len != 0 && m->fds[1 - who] >= 0)
        IGNORE_RESULT(send(m->fds[1 - who], ptr, len, MSG_NOSIGNAL) == 0);
}

/* Makes the edit of what stands at `part`. */
static inline void middle_edit(struct middle *m, unsigned who, uint8_t *part, size_t len)
{
    switch (m->edit) {
    case EDIT_FLIP:
        part[0] ^= (uint8_t)(1u << (m->at % 8));
        middle_send(m, who, part, len);
        break;
    case EDIT_REPEAT:
        middle_send(m, who, part, len);
        middle_send(m, who, part, len);
        break;
    case EDIT_SWAP:
        middle_send(m, who, part + len / 2, len / 2);
        middle_send(m, who, part, len / 2);
        break;
    case EDIT_CUT:
        middle_hang_up(m);
        break;
    case EDIT_DROP:
    case EDIT_NONE:
        break;
    }
}

/* Passes on what has come, changed where it is to be changed. */
static inline void middle_pass(struct middle *m, unsigned who)
{
    const struct buf *all = &m->from[who];
    const size_t len = m->edit == EDIT_FLIP || m->edit == EDIT_CUT ? 1 : m->len;

    if (m->edit != EDIT_NONE && !m->edited && m->who == who) {
        const size_t end = size_min(all->len, m->at);
        middle_send(m, who, all->ptr + m->passed[who], end - m->passed[who]);
        m->passed[who] = end;
        if (all->len < m->at + len)
            return;
        m->edited = true;
        m->passed[who] += len;
        middle_edit(m, who, all->ptr + m->at, len);
    }
    middle_send(m, who, all->ptr + m->passed[who], all->len - m->passed[who]);
    m->passed[who] = all->len;
}

/* One look at everything. */
static inline void middle_step(struct middle *m, const struct link_door *door)
{
    if (m->fds[0] < 0 && m->fds[1] < 0 && m->listen_fd >= 0) {
        m->fds[0] = accept4(m->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (m->fds[0] >= 0)
            m->fds[1] = connect_plain(door);
    }
    for (unsigned who = 0; who < 2; who++) {
        if (m->fds[who] < 0)
            continue;
        const bool alive = read_more(m->fds[who], &m->from[who]);
        middle_pass(m, who);
        if (!alive && m->fds[1 - who] >= 0)
            shutdown(m->fds[1 - who], SHUT_WR);
    }
}

#endif
