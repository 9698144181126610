/*
 * The door, once per backend: strangers, floods, the slow and the silent, and guests that go on at
 * another thread.
 */
#include "replication/link/mac.h"
#include "replication/link/shake.h"

#include "tests/unit/test_link_fixture.h"

/* Runs until the other end of `fd` has closed; what it said before is in `out`. */
static void run_until_closed(struct fix *fix, int fd, struct buf *out)
{
    RUN_UNTIL(&fix->base, !read_more(fd, out));
}

/* A connection that says this, and must be answered by nothing but a REJECT (0: by nothing). */
static void expect_turned_away(struct fix *fix, struct bytes said, uint8_t reason)
{
    const int fd = connect_plain(fix->door);
    struct buf answer;
    uint8_t got = 0;

    buf_init(&answer, 1u << 20);
    write_all(fd, said.ptr, said.len);
    run_until_closed(fix, fd, &answer);
    if (reason == 0) {
        expect_u64(answer.len, 0);
    } else {
        assert_int_equal(shake_parse_reject(buf_bytes(&answer), &got), 0);
        expect_u64(got, reason);
    }
    close(fd);
    buf_deinit(&answer);
    RUN_UNTIL(&fix->base, link_door_empty(fix->door));
    expect_u64(fix->guests, 0);
}

/* A HELLO as it should be. */
static size_t make_hello(const struct link_secret *secret, uint8_t out[SHAKE_BYTES_MAX])
{
    const struct shake_hello hello = {
        .kind = LINK_SHARD,
        .shard = GUEST_SHARD,
        .nickname = NICKNAME,
        .identity = BYTES_LIT("somebody"),
    };
    struct shake *shake = mem_alloc(sizeof(*shake));
    size_t len = 0;

    shake_init(shake, secret);
    assert_int_equal(shake_put_hello(shake, &hello, out, &len), 0);
    mem_free(shake);
    return len;
}

static void whoever_speaks_something_else_hears_nothing(void **state)
{
    struct fix *fix = *state;
    uint8_t zeros[4000] = {0};

    expect_turned_away(fix, BYTES_LIT("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 0);
    expect_turned_away(fix, BYTES_LIT("*1\r\n$4\r\nPING\r\n"), 0);
    expect_turned_away(fix, BYTES_LIT("PING\r\n"), 0);
    expect_turned_away(fix, BYTES_LIT("T\x16"), 0);
    expect_turned_away(fix, BYTES_LIT("\x16\x03\x01"), 0); /* TLS. */
    expect_turned_away(fix, bytes_of(zeros, sizeof(zeros)), 0);
    /* A length that no message has. */
    expect_turned_away(fix, BYTES_LIT("TLNK\x01\x01\x01\x04"), 0);
    expect_turned_away(fix, BYTES_LIT("TLNK\x01\x01\x07\x00"), 0);
    expect_u64(link_door_metrics(fix->door)->strangers, 8);
    expect_u64(link_door_metrics(fix->door)->refused, 0);
}

static void whoever_speaks_it_wrongly_learns_why(void **state)
{
    struct fix *fix = *state;
    uint8_t hello[SHAKE_BYTES_MAX] = {0};
    const size_t len = make_hello(fix->secret, hello);

    expect_turned_away(fix, BYTES_LIT("TLNK\x02\x01\xff\xff"), SHAKE_NO_VERSION);
    expect_turned_away(fix, BYTES_LIT("TLNK\x01\x01\x08\x00"), SHAKE_MALFORMED);
    expect_turned_away(fix, BYTES_LIT("TLNK\x01\x03\x08\x00"), SHAKE_MALFORMED);
    /* It goes on before it was challenged. */
    expect_turned_away(fix, bytes_of(hello, len + 1), SHAKE_MALFORMED);
    hello[len - 1] ^= 1;
    expect_turned_away(fix, bytes_of(hello, len), SHAKE_NO_SECRET);
    expect_turned_away(fix, bytes_of(hello, make_hello(fix->other_secret, hello)), SHAKE_NO_SECRET);
    expect_u64(link_door_metrics(fix->door)->refused, 6);
}

static void a_slow_first_message_is_waited_for_and_a_missing_one_is_not(void **state)
{
    struct fix *fix = *state;
    uint8_t hello[SHAKE_BYTES_MAX];
    const size_t len = make_hello(fix->secret, hello);
    int fd = connect_plain(fix->door);
    struct buf answer;

    buf_init(&answer, 1u << 20);
    for (size_t i = 0; i < len; i++) {
        write_all(fd, hello + i, 1);
        reactor_run_once(fix->base.r, 1);
    }
    RUN_UNTIL(&fix->base, (read_more(fd, &answer), answer.len == 40));
    expect_u64(fix->guests, 1);
    close(fd);
    expect_closed(fix, last_side(fix), -ERR_TRUNCATED, "during the handshake");

    end_door(fix, fix->door);
    fix->door = open_door(fix, "127.0.0.1:0", 30);
    fd = connect_plain(fix->door);
    write_all(fd, hello, len - 1);
    buf_clear(&answer);
    run_until_closed(fix, fd, &answer);
    expect_u64(answer.len, 0);
    expect_u64(link_door_metrics(fix->door)->timeouts, 1);
    close(fd);
    buf_deinit(&answer);
}

static void who_leaves_before_saying_anything_is_forgotten(void **state)
{
    struct fix *fix = *state;

    for (int i = 0; i < 10; i++) {
        const int fd = connect_plain(fix->door);
        RUN_UNTIL(&fix->base, link_door_metrics(fix->door)->waiting == 1);
        close(fd);
        RUN_UNTIL(&fix->base, link_door_empty(fix->door));
    }
    expect_u64(link_door_metrics(fix->door)->accepts, 10);
}

#define FLOOD (LINK_UNPROVEN_MAX + 20)

static void a_flood_of_the_silent_keeps_nobody_out(void **state)
{
    struct fix *fix = *state;
    const struct link_door_metrics *metrics = link_door_metrics(fix->door);
    int fds[FLOOD];
    struct buf none;
    struct side *acceptor;

    buf_init(&none, 1u << 20);
    for (uint32_t i = 0; i < FLOOD; i++) {
        fds[i] = connect_plain(fix->door);
        RUN_UNTIL(&fix->base, metrics->accepts == i + 1);
        assert_true(metrics->waiting <= LINK_UNPROVEN_MAX);
    }
    expect_u64(metrics->crowded_out, FLOOD - LINK_UNPROVEN_MAX);
    /* The oldest had to go. */
    for (uint32_t i = 0; i < FLOOD - LINK_UNPROVEN_MAX; i++)
        run_until_closed(fix, fds[i], &none);
    assert_true(read_more(fds[FLOOD - 1], &none));
    struct side *dialer = dial_ready(fix, &acceptor);
    side_end(dialer);
    for (uint32_t i = 0; i < FLOOD; i++)
        close(fds[i]);
    RUN_UNTIL(&fix->base, link_door_empty(fix->door));
    buf_deinit(&none);
}

static uint32_t closed_sides(const struct fix *fix)
{
    uint32_t closed = 0;

    LIST_FOR_EACH(it, &fix->sides)
        closed += LIST_ITEM(it, const struct side, in_sides)->closes;
    return closed;
}

static void a_flood_of_repeated_first_messages_keeps_nobody_out(void **state)
{
    struct fix *fix = *state;
    uint8_t hello[SHAKE_BYTES_MAX];
    const size_t len = make_hello(fix->secret, hello);
    int fds[FLOOD];
    struct side *acceptor;

    for (uint32_t i = 0; i < FLOOD; i++) {
        fds[i] = connect_plain(fix->door);
        write_all(fds[i], hello, len);
        RUN_UNTIL(&fix->base, fix->guests == i + 1);
    }
    RUN_UNTIL(&fix->base, closed_sides(fix) >= FLOOD - LINK_UNPROVEN_MAX);
    run_a_while(&fix->base);
    expect_u64(closed_sides(fix), FLOOD - LINK_UNPROVEN_MAX);
    struct side *oldest = LIST_ITEM(list_first(&fix->sides), struct side, in_sides);
    expect_closed(fix, oldest, -ERR_LIMIT, "newer connections");
    struct side *dialer = dial_ready(fix, &acceptor);
    side_end(dialer);
    for (uint32_t i = 0; i < FLOOD; i++)
        close(fds[i]);
}

static void a_flood_of_wrong_proofs_keeps_nobody_out(void **state)
{
    struct fix *fix = *state;
    uint8_t hello[SHAKE_BYTES_MAX];
    const size_t len = make_hello(fix->secret, hello);
    uint8_t proof[40] = {'T', 'L', 'N', 'K', SHAKE_VERSION, SHAKE_PROOF, sizeof(proof)};
    const struct link_metrics *metrics = link_hub_metrics(fix->inner);
    int fds[FLOOD];
    struct side *acceptor;

    /* They do not go away when they are told to. */
    for (uint32_t i = 0; i < FLOOD; i++) {
        fds[i] = connect_plain(fix->door);
        write_all(fds[i], hello, len);
        RUN_UNTIL(&fix->base, fix->guests == i + 1);
        write_all(fds[i], proof, sizeof(proof));
        RUN_UNTIL(&fix->base, metrics->auth_failures == i + 1);
        run_a_while(&fix->base);
        assert_true(metrics->open <= LINK_UNPROVEN_MAX);
    }
    struct side *dialer = dial_ready(fix, &acceptor);
    side_end(dialer);
    for (uint32_t i = 0; i < FLOOD; i++)
        close(fds[i]);
}

static void expect_no_door(struct fix *fix, const char *address, int err, const char *text)
{
    const struct link_door_options options = {
        .reactor = fix->base.r,
        .secret = fix->secret,
        .nickname = NICKNAME,
        .address = address,
        .on_guest = fix_on_guest,
        .ctx = fix,
    };
    struct link_door *door = NULL;
    char why[512] = "";

    expect_i64(link_door_open(&options, &door, why, sizeof(why)), err);
    assert_null(door);
    assert_non_null(strstr(why, address));
    assert_non_null(strstr(why, text));
}

static void a_door_that_cannot_open_says_why(void **state)
{
    struct fix *fix = *state;

    expect_no_door(fix, fix->address, -EADDRINUSE, "cannot listen");
    /* Of the range for documentation (RFC 5737): nobody has it. */
    expect_no_door(fix, "192.0.2.1:7000", -EADDRNOTAVAIL, "give one of its own");
    expect_no_door(fix, "nonsense", -ERR_SYNTAX, "cannot listen");
}

static void a_door_for_all_addresses_is_open_at_each(void **state)
{
    struct fix *fix = *state;
    struct link_door *door = open_door(fix, "*:0", 30000);
    char address[64];

    (void)snprintf(address, sizeof(address), "localhost:%u", link_door_port(door));
    struct side *by_name = dial_to(fix, address);
    (void)snprintf(address, sizeof(address), "127.0.0.1:%u", link_door_port(door));
    struct side *by_four = dial_to(fix, address);
    (void)snprintf(address, sizeof(address), "[::1]:%u", link_door_port(door));
    struct side *by_six = dial_to(fix, address);
    RUN_UNTIL(&fix->base, by_name->readies == 1 && by_four->readies == 1 &&
                              by_six->readies + by_six->closes == 1);
    /* Where there is no IPv6, that is what it says. */
    if (by_six->closes == 1)
        assert_true(by_six->err == -EADDRNOTAVAIL || by_six->err == -ENETUNREACH ||
                    by_six->err == -EAFNOSUPPORT);
    side_end(by_name);
    side_end(by_four);
    side_end(by_six);
    end_door(fix, door);
}

static void a_door_that_stops_lets_nobody_in(void **state)
{
    struct fix *fix = *state;
    uint8_t hello[SHAKE_BYTES_MAX];
    const size_t len = make_hello(fix->secret, hello);
    struct link_door *door = open_door(fix, "127.0.0.1:0", 30000);
    const int silent = connect_plain(door);
    const int fd = connect_plain(door);
    struct buf none;

    buf_init(&none, 1u << 20);
    RUN_UNTIL(&fix->base, link_door_metrics(door)->waiting == 2);
    write_all(fd, hello, len);
    end_door(fix, door);
    run_until_closed(fix, fd, &none);
    run_until_closed(fix, silent, &none);
    expect_u64(none.len, 0);
    expect_u64(fix->guests, 0);
    close(fd);
    close(silent);
    buf_deinit(&none);
}

/* ---- two threads ---- */

/* The shard to which guests go: it gives back each frame. */
struct shard {
    struct thread thread;
    struct reactor *r;
    struct mailbox mailbox;
    struct link_hub *hub;
    struct mail stop;
    bool stopping;
};

static const char *echo_on_peer(struct link *link, void *ctx)
{
    (void)link;
    (void)ctx;
    return NULL;
}

static void echo_on_ready(struct link *link, void *ctx)
{
    (void)link;
    (void)ctx;
}

static void echo_on_frame(struct link *link, void *ctx, struct bytes frame)
{
    (void)ctx;
    CHECK(link_send(link, frame) == 0);
}

static void echo_on_closed(struct link *link, void *ctx, int err, const char *why)
{
    (void)link;
    (void)ctx;
    (void)err;
    (void)why;
}

static const struct link_ops echo_ops = {
    .on_peer = echo_on_peer,
    .on_ready = echo_on_ready,
    .on_frame = echo_on_frame,
    .on_closed = echo_on_closed,
};

/* The mail of a guest does not know the shard, and a test has one. */
static struct shard *the_shard;

static void shard_on_guest(struct mail *mail)
{
    struct link_guest *guest = container_of(mail, struct link_guest, mail);
    const struct link_options options = {
        .ops = &echo_ops,
        .kind = LINK_SHARD,
        .shard = GUEST_SHARD,
        .identity = BYTES_LIT("shard"),
        .frame_bytes_max = FRAME_MAX,
        .queue_bytes_max = 64 * FRAME_MAX,
    };

    (void)link_accept(the_shard->hub, guest, &options);
}

static void door_on_guest(void *ctx, struct link_guest *take_guest)
{
    struct shard *shard = ctx;

    take_guest->mail.fn = shard_on_guest;
    mailbox_post(&shard->mailbox, &take_guest->mail);
}

static void shard_on_stop(struct mail *mail)
{
    struct shard *shard = container_of(mail, struct shard, stop);

    link_hub_stop(shard->hub, "the shard stops");
    shard->stopping = true;
}

static void shard_on_wake(void *ctx)
{
    struct shard *shard = ctx;

    (void)mailbox_drain(&shard->mailbox, UINT32_MAX);
}

static void shard_on_turn(void *ctx)
{
    struct shard *shard = ctx;

    link_hub_flush(shard->hub);
}

static void shard_main(void *arg)
{
    struct shard *shard = arg;

    while (!shard->stopping || !link_hub_empty(shard->hub))
        reactor_run_once(shard->r, 20);
}

static struct shard *shard_start(struct fix *fix)
{
    struct shard *shard = mem_zalloc(sizeof(*shard));
    const struct reactor_options options = {.backend = fixture_backend, .max_conns = 100};

    assert_int_equal(reactor_create(&options, &shard->r), 0);
    mailbox_init(&shard->mailbox, shard->r);
    shard->hub = link_hub_create(&(struct link_hub_options){
        .reactor = shard->r,
        .secret = fix->secret,
        .nickname = NICKNAME,
    });
    reactor_set_wake_hook(shard->r, shard_on_wake, shard);
    reactor_set_turn_hook(shard->r, shard_on_turn, shard);
    shard->stop.fn = shard_on_stop;
    the_shard = shard;
    assert_int_equal(thread_start(&shard->thread, "shard", shard_main, shard), 0);
    return shard;
}

static void shard_end(struct shard *shard)
{
    mailbox_post(&shard->mailbox, &shard->stop);
    thread_join(&shard->thread);
    link_hub_destroy(shard->hub);
    mailbox_deinit(&shard->mailbox);
    reactor_destroy(shard->r);
    mem_free(shard);
    the_shard = NULL;
}

#define TALKERS 8
#define SAYINGS 200

static void guests_go_on_at_the_thread_of_their_shard(void **state)
{
    struct fix *fix = *state;
    struct shard *shard = shard_start(fix);
    struct side *sides[TALKERS];
    struct link_door *door = NULL;
    char why[256];

    assert_int_equal(link_door_open(&(struct link_door_options){.reactor = fix->base.r,
                                                                .secret = fix->secret,
                                                                .nickname = NICKNAME,
                                                                .address = "127.0.0.1:0",
                                                                .on_guest = door_on_guest,
                                                                .ctx = shard},
                                    &door, why, sizeof(why)),
                     0);
    (void)snprintf(fix->address, sizeof(fix->address), "127.0.0.1:%u", link_door_port(door));
    for (int i = 0; i < TALKERS; i++)
        sides[i] = dial(fix);
    for (int i = 0; i < TALKERS; i++)
        RUN_UNTIL(&fix->base, sides[i]->readies == 1);
    for (uint32_t round = 0; round < SAYINGS; round++) {
        for (int i = 0; i < TALKERS; i++)
            assert_int_equal(link_send(sides[i]->link, BYTES_LIT("give it back")), 0);
        reactor_run_once(fix->base.r, 0);
    }
    for (int i = 0; i < TALKERS; i++) {
        RUN_UNTIL(&fix->base, sides[i]->frames == SAYINGS);
        expect_u64(sides[i]->got.len, SAYINGS * (4 + strlen("give it back")));
    }
    shard_end(shard);
    for (int i = 0; i < TALKERS; i++) {
        expect_closed(fix, sides[i], -ERR_CLOSED, "the shard stops");
        side_end(sides[i]);
    }
    end_door(fix, door);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LINK_TEST(whoever_speaks_something_else_hears_nothing),
        LINK_TEST(whoever_speaks_it_wrongly_learns_why),
        LINK_TEST(a_slow_first_message_is_waited_for_and_a_missing_one_is_not),
        LINK_TEST(who_leaves_before_saying_anything_is_forgotten),
        LINK_TEST(a_flood_of_the_silent_keeps_nobody_out),
        LINK_TEST(a_flood_of_repeated_first_messages_keeps_nobody_out),
        LINK_TEST(a_flood_of_wrong_proofs_keeps_nobody_out),
        LINK_TEST(a_door_that_cannot_open_says_why),
        LINK_TEST(a_door_for_all_addresses_is_open_at_each),
        LINK_TEST(a_door_that_stops_lets_nobody_in),
        LINK_TEST(guests_go_on_at_the_thread_of_their_shard),
    };

    RUN_FOR_EACH_BACKEND(tests);
}
