/*
 * What is pure in a link: MACs, the secret's file, the messages of the handshake, frames,
 * addresses.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/mem.h"
#include "engine/base/rng.h"

#include "engine/io/file.h"

#include "replication/link/link_resolve.h"
#include "replication/link/link_secret.h"
#include "replication/link/mac.h"
#include "replication/link/seal.h"
#include "replication/link/shake.h"

#include "tests/lib/seed.h"
#include "tests/lib/tcase.h"
#include "tests/lib/tmpdir.h"

static struct link_secret *secret_of(const char *text)
{
    struct link_secret *secret = NULL;
    char why[256] = "";

    assert_int_equal(link_secret_create(bytes_cstr(text), &secret, why, sizeof(why)), 0);
    return secret;
}

/* ---- macs ---- */

static void macs_are_those_of_rfc_4231(void **state)
{
    /* Test cases 1 and 2. */
    static const uint8_t want_1[] = {0xb0, 0x34, 0x4c, 0x61, 0xd8, 0xdb, 0x38, 0x53,
                                     0x5c, 0xa8, 0xaf, 0xce, 0xaf, 0x0b, 0xf1, 0x2b,
                                     0x88, 0x1d, 0xc2, 0x00, 0xc9, 0x83, 0x3d, 0xa7,
                                     0x26, 0xe9, 0x37, 0x6c, 0x2e, 0x32, 0xcf, 0xf7};
    static const uint8_t want_2[] = {0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e,
                                     0x6a, 0x04, 0x24, 0x26, 0x08, 0x95, 0x75, 0xc7,
                                     0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27, 0x39, 0x83,
                                     0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43};
    uint8_t key_1[20];
    uint8_t got[MAC_BYTES];

    (void)state;
    memset(key_1, 0x0b, sizeof(key_1));
    mac_of(bytes_of(key_1, sizeof(key_1)), BYTES_LIT("Hi There"), got);
    expect_bytes(bytes_of(got, sizeof(got)), bytes_of(want_1, sizeof(want_1)));

    /* The same context again and again, in parts, and after a message that was abandoned. */
    struct mac *mac = mac_create(BYTES_LIT("Jefe"));
    for (int i = 0; i < 3; i++) {
        mac_begin(mac);
        mac_add(mac, BYTES_LIT("something else"));
        mac_begin(mac);
        mac_add(mac, BYTES_LIT("what do ya want "));
        mac_add(mac, bytes_of(NULL, 0));
        mac_add(mac, BYTES_LIT("for nothing?"));
        mac_end(mac, got);
        expect_bytes(bytes_of(got, sizeof(got)), bytes_of(want_2, sizeof(want_2)));
    }
    mac_destroy(mac);
    assert_true(mac_equal(got, want_2, MAC_BYTES));
    got[31] ^= 1;
    assert_false(mac_equal(got, want_2, MAC_BYTES));
}

/* ---- the secret's file ---- */

static void write_file(const char *path, struct bytes content, mode_t mode)
{
    assert_int_equal(file_write_atomic(path, content), 0);
    assert_int_equal(chmod(path, mode), 0);
}

static void expect_refused(const char *path, int want_err, const char *want_text)
{
    struct link_secret *secret = NULL;
    char why[512] = "";

    expect_i64(link_secret_load(path, &secret, why, sizeof(why)), want_err);
    assert_null(secret);
    assert_non_null(strstr(why, path));
    if (strstr(why, want_text) == NULL)
        fail_msg("\"%s\" lacks \"%s\"", why, want_text);
}

static void a_secret_that_is_no_secret_is_refused_with_what_to_do(void **state)
{
    char *dir = tmpdir_create();
    char *path = tmpdir_path(dir, "secret");
    uint8_t long_one[LINK_SECRET_BYTES_MAX + 1];
    struct link_secret *secret = NULL;
    char why[512] = "";

    (void)state;
    memset(long_one, 'x', sizeof(long_one));
    expect_refused(path, -ENOENT, "cannot open");
    expect_refused(dir, -ERR_CONFIG, "not a regular file");
    write_file(path, BYTES_LIT(""), 0600);
    expect_refused(path, -ERR_CONFIG, "openssl rand");
    write_file(path, BYTES_LIT("\r\n\n"), 0600);
    expect_refused(path, -ERR_CONFIG, "is empty");
    write_file(path, BYTES_LIT("fifteen bytes..\n"), 0600);
    expect_refused(path, -ERR_CONFIG, "has 15 bytes");
    write_file(path, bytes_of(long_one, sizeof(long_one)), 0600);
    expect_refused(path, -ERR_CONFIG, "longer than 4096");
    static const mode_t bad[] = {0604, 0602, 0601, 0640, 0620, 0610, 0644, 0660, 0777};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        write_file(path, BYTES_LIT("sixteen bytes...\n"), bad[i]);
        expect_refused(path, -ERR_CONFIG, "chmod 600");
    }
    static const mode_t good[] = {0600, 0400, 0700};
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        write_file(path, BYTES_LIT("sixteen bytes..."), good[i]);
        assert_int_equal(link_secret_load(path, &secret, why, sizeof(why)), 0);
        link_secret_destroy(secret);
    }
    write_file(path, bytes_of(long_one, LINK_SECRET_BYTES_MAX), 0600);
    assert_int_equal(link_secret_load(path, &secret, why, sizeof(why)), 0);
    link_secret_destroy(secret);
    link_secret_destroy(NULL);
    mem_free(path);
    tmpdir_remove(dir);
}

/* ---- the handshake ---- */

#define NICKNAME BYTES_LIT("frankfurt-paris")

/* Both sides of one handshake. */
struct pair {
    struct shake dialer;
    struct shake acceptor;
    uint8_t hello[SHAKE_BYTES_MAX];
    uint8_t challenge[SHAKE_BYTES_MAX];
    uint8_t proof[SHAKE_BYTES_MAX];
    uint8_t answer[SHAKE_BYTES_MAX];
    size_t hello_len, challenge_len, proof_len, answer_len;
};

static const struct shake_hello hello_in = {
    .kind = LINK_SHARD,
    .shard = 0x1203,
    .nickname = BYTES_INIT("frankfurt-paris"),
    .identity = BYTES_INIT("the dialer\0its origin"),
};

/* Up to the proof, both sides honest. */
static void say_hello(struct pair *p, const struct link_secret *secret)
{
    struct shake_hello hello;
    uint8_t reason = 0;

    shake_init(&p->dialer, secret);
    shake_init(&p->acceptor, secret);
    assert_int_equal(shake_put_hello(&p->dialer, &hello_in, p->hello, &p->hello_len), 0);
    const struct bytes said = bytes_of(p->hello, p->hello_len);
    assert_int_equal(shake_check_hello(secret, NICKNAME, said, &hello, &reason), 0);
    expect_bytes(hello.identity, hello_in.identity);
    expect_bytes(hello.nickname, hello_in.nickname);
    expect_u64(hello.shard, hello_in.shard);
    assert_int_equal(hello.kind, LINK_SHARD);
    shake_on_hello(&p->acceptor, said);
    assert_int_equal(shake_put_challenge(&p->acceptor, p->challenge, &p->challenge_len), 0);
    assert_int_equal(shake_on_challenge(&p->dialer, bytes_of(p->challenge, p->challenge_len)), 0);
    p->proof_len = shake_put_proof(&p->dialer, p->proof);
}

static void mac_with(struct mac *mac, uint8_t out[MAC_BYTES])
{
    mac_begin(mac);
    mac_end(mac, out);
    mac_destroy(mac);
}

static void two_that_share_the_secret_agree_on_two_keys(void **state)
{
    struct link_secret *secret = secret_of("a secret of some length");
    struct pair *p = mem_zalloc(2 * sizeof(*p));
    uint8_t keys[6][MAC_BYTES];
    struct bytes identity;

    (void)state;
    for (int i = 0; i < 2; i++) {
        say_hello(&p[i], secret);
        assert_int_equal(shake_on_proof(&p[i].acceptor, bytes_of(p[i].proof, p[i].proof_len)), 0);
        p[i].answer_len = shake_put_welcome(&p[i].acceptor, BYTES_LIT("the acceptor"), p[i].answer);
        assert_int_equal(
            shake_on_welcome(&p[i].dialer, bytes_of(p[i].answer, p[i].answer_len), &identity), 0);
        expect_bytes(identity, BYTES_LIT("the acceptor"));
    }
    mac_with(shake_frame_key(&p[0].dialer, true), keys[0]);
    mac_with(shake_frame_key(&p[0].acceptor, true), keys[1]);
    mac_with(shake_frame_key(&p[0].dialer, false), keys[2]);
    mac_with(shake_frame_key(&p[0].acceptor, false), keys[3]);
    mac_with(shake_frame_key(&p[1].dialer, true), keys[4]);
    mac_with(shake_frame_key(&p[1].dialer, false), keys[5]);
    assert_memory_equal(keys[0], keys[1], MAC_BYTES);
    assert_memory_equal(keys[2], keys[3], MAC_BYTES);
    assert_memory_not_equal(keys[0], keys[2], MAC_BYTES);
    assert_memory_not_equal(keys[0], keys[4], MAC_BYTES);
    assert_memory_not_equal(keys[2], keys[5], MAC_BYTES);
    mem_free(p);
    link_secret_destroy(secret);
}

static void another_secret_or_nickname_is_noticed_in_the_first_message(void **state)
{
    struct link_secret *ours = secret_of("a secret of some length");
    struct link_secret *theirs = secret_of("a secret of some lengtH");
    struct pair *p = mem_zalloc(sizeof(*p));
    struct shake_hello hello;
    uint8_t reason = 0;

    (void)state;
    say_hello(p, theirs);
    const struct bytes said = bytes_of(p->hello, p->hello_len);
    expect_i64(shake_check_hello(ours, NICKNAME, said, &hello, &reason), -ERR_AUTH);
    expect_u64(reason, SHAKE_NO_SECRET);
    expect_i64(shake_check_hello(theirs, BYTES_LIT("frankfurt-pari"), said, &hello, &reason),
               -ERR_NOT_FOUND);
    expect_u64(reason, SHAKE_NO_GROUP);
    mem_free(p);
    link_secret_destroy(ours);
    link_secret_destroy(theirs);
}

static void every_changed_bit_of_the_handshake_is_noticed(void **state)
{
    struct link_secret *secret = secret_of("a secret of some length");
    struct pair *p = mem_zalloc(sizeof(*p));
    struct pair *was = mem_zalloc(sizeof(*was));
    struct shake_hello hello;
    struct bytes out;
    uint8_t reason;

    (void)state;
    say_hello(p, secret);
    for (size_t bit = 0; bit < 8 * p->hello_len; bit++) {
        p->hello[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_true(shake_check_hello(secret, NICKNAME, bytes_of(p->hello, p->hello_len), &hello,
                                      &reason) < 0);
        p->hello[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    for (size_t bit = 0; bit < 8 * p->proof_len; bit++) {
        *was = *p;
        was->proof[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_true(shake_on_proof(&was->acceptor, bytes_of(was->proof, p->proof_len)) < 0);
    }
    /* What was changed in the challenge shows in the proof. */
    for (size_t bit = 0; bit < 8 * p->challenge_len; bit++) {
        *was = *p;
        say_hello(was, secret);
        shake_init(&was->dialer, secret);
        assert_int_equal(shake_put_hello(&was->dialer, &hello_in, p->hello, &p->hello_len), 0);
        was->challenge[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        if (shake_on_challenge(&was->dialer, bytes_of(was->challenge, was->challenge_len)) != 0)
            continue;
        was->proof_len = shake_put_proof(&was->dialer, was->proof);
        expect_i64(shake_on_proof(&was->acceptor, bytes_of(was->proof, was->proof_len)), -ERR_AUTH);
    }
    say_hello(p, secret);
    assert_int_equal(shake_on_proof(&p->acceptor, bytes_of(p->proof, p->proof_len)), 0);
    struct shake acceptor = p->acceptor;
    p->answer_len = shake_put_welcome(&p->acceptor, BYTES_LIT("the acceptor"), p->answer);
    for (size_t bit = 0; bit < 8 * p->answer_len; bit++) {
        *was = *p;
        was->answer[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        const struct bytes in = bytes_of(was->answer, p->answer_len);
        assert_true(shake_on_welcome(&was->dialer, in, &out) < 0);
        *was = *p;
        was->answer[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_true(shake_on_refuse(&was->dialer, in, &out) < 0); /* 4 and 5 differ by one bit. */
    }
    p->acceptor = acceptor;
    p->answer_len = shake_put_refuse(&p->acceptor, BYTES_LIT("go away"), p->answer);
    for (size_t bit = 0; bit < 8 * p->answer_len; bit++) {
        *was = *p;
        was->answer[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        assert_true(shake_on_refuse(&was->dialer, bytes_of(was->answer, p->answer_len), &out) < 0);
    }
    assert_int_equal(shake_on_refuse(&p->dialer, bytes_of(p->answer, p->answer_len), &out), 0);
    expect_bytes(out, BYTES_LIT("go away"));
    mem_free(p);
    mem_free(was);
    link_secret_destroy(secret);
}

static void a_proof_is_good_for_one_connection_only(void **state)
{
    struct link_secret *secret = secret_of("a secret of some length");
    struct pair *p = mem_zalloc(sizeof(*p));
    struct shake again;
    uint8_t challenge[SHAKE_BYTES_MAX];
    size_t len;

    (void)state;
    say_hello(p, secret);
    shake_init(&again, secret);
    shake_on_hello(&again, bytes_of(p->hello, p->hello_len));
    assert_int_equal(shake_put_challenge(&again, challenge, &len), 0);
    expect_i64(shake_on_proof(&again, bytes_of(p->proof, p->proof_len)), -ERR_AUTH);
    /* Nor is it an answer for the one who made it. */
    struct bytes out;
    assert_true(shake_on_welcome(&p->dialer, bytes_of(p->proof, p->proof_len), &out) < 0);
    mem_free(p);
    link_secret_destroy(secret);
}

/* ---- frames ---- */

static struct mac *frame_key(void)
{
    return mac_create(BYTES_LIT("the key of a direction"));
}

/* DATA frames of these lengths, their bodies a pattern, with MACs, written by `budget` at a time.
 */
static void put_frames(struct buf *out, const size_t *lens, size_t n, size_t budget)
{
    struct seal_writer w = {.mac = frame_key()};

    buf_init(out, 64u << 20);
    for (size_t i = 0; i < n; i++) {
        uint8_t *body = mem_alloc(lens[i] + 1);
        for (size_t k = 0; k < lens[i]; k++)
            body[k] = (uint8_t)(k * 31 + i);
        const size_t half = lens[i] / 2;
        assert_int_equal(
            seal_put(out, SEAL_DATA, bytes_of(body, half), bytes_of(body + half, lens[i] - half)),
            0);
        mem_free(body);
    }
    for (size_t at = 0; at < out->len;)
        at = seal_write(&w, out->ptr, at, out->len, budget);
    mac_destroy(w.mac);
}

static void expect_frame(const struct seal_frame *frame, size_t i, size_t len)
{
    expect_u64(frame->kind, SEAL_DATA);
    expect_u64(frame->body.len, len);
    for (size_t k = 0; k < len; k++)
        assert_int_equal(frame->body.ptr[k], (uint8_t)(k * 31 + i));
}

static void frames_come_out_as_they_went_in_whatever_the_pieces(void **state)
{
    static const size_t lens[] = {0, 1, 15, 16, 17, 0, 0, 1000, 70000, 3, 200000, 0};
    struct rng rng;

    (void)state;
    seed_rng(&rng, 1);
    for (int round = 0; round < 50; round++) {
        struct seal_reader r;
        struct buf all;
        size_t next = 0;
        const size_t piece_max = round < 5 ? 1u + (size_t)round : 1 + rng_below(&rng, 100000);

        put_frames(&all, lens, ARRAY_COUNT(lens), 1 + rng_below(&rng, 100000));
        seal_reader_init(&r, frame_key(), 200000);
        struct bytes left = buf_bytes(&all);
        while (left.len > 0) {
            const size_t n = size_min(left.len, 1 + rng_below(&rng, piece_max));
            struct bytes in = bytes_of(left.ptr, n);
            struct seal_frame frame;
            int got;
            while ((got = seal_read(&r, &in, &frame)) == 1) {
                expect_frame(&frame, next, lens[next]);
                next++;
            }
            assert_int_equal(got, 0);
            expect_u64(in.len, 0);
            left = bytes_from(left, n);
        }
        expect_u64(next, ARRAY_COUNT(lens));
        seal_reader_deinit(&r);
        buf_deinit(&all);
    }
}

/* Reads all of `in`: the number of frames before the end (0) or error in `*out_err`. */
static size_t read_frames(struct bytes in, size_t max, int *out_err)
{
    struct seal_reader r;
    struct seal_frame frame;
    size_t n = 0;

    seal_reader_init(&r, frame_key(), max);
    while ((*out_err = seal_read(&r, &in, &frame)) == 1)
        n++;
    seal_reader_deinit(&r);
    return n;
}

static void every_changed_bit_of_a_frame_is_noticed(void **state)
{
    static const size_t lens[] = {0, 20, 0, 5};
    struct buf all;
    int err;

    (void)state;
    put_frames(&all, lens, ARRAY_COUNT(lens), 1000);
    expect_u64(read_frames(buf_bytes(&all), 100, &err), ARRAY_COUNT(lens));
    expect_i64(err, 0);
    for (size_t bit = 0; bit < 8 * all.len; bit++) {
        all.ptr[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        const size_t n = read_frames(buf_bytes(&all), 100, &err);
        expect_i64(err, -ERR_AUTH);
        assert_true(n < ARRAY_COUNT(lens));
        all.ptr[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    buf_deinit(&all);
}

static void frames_that_are_repeated_left_out_or_moved_are_noticed(void **state)
{
    static const size_t lens[] = {8, 8, 8};
    const size_t size = seal_frame_bytes(8);
    uint8_t order[3 * 64];
    struct buf all;
    int err;

    (void)state;
    assert_true(size <= 64);
    put_frames(&all, lens, ARRAY_COUNT(lens), 1000);
    static const unsigned bad[][3] = {{0, 0, 1}, {1, 0, 2}, {0, 2, 1}, {2, 1, 0}, {0, 1, 1}};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        for (size_t k = 0; k < 3; k++)
            memcpy(order + k * size, all.ptr + bad[i][k] * size, size);
        assert_true(read_frames(bytes_of(order, 3 * size), 100, &err) < 3);
        expect_i64(err, -ERR_AUTH);
    }
    /* The body of one with the header of another. */
    memcpy(order, all.ptr, SEAL_HEAD_BYTES);
    memcpy(order + SEAL_HEAD_BYTES, all.ptr + size + SEAL_HEAD_BYTES, size - SEAL_HEAD_BYTES);
    expect_u64(read_frames(bytes_of(order, size), 100, &err), 0);
    expect_i64(err, -ERR_AUTH);
    buf_deinit(&all);
}

static void a_length_that_is_claimed_takes_no_memory(void **state)
{
    const size_t claimed = 577u << 20;
    struct seal_writer w = {.mac = frame_key()};
    uint8_t head[SEAL_HEAD_BYTES] = {0};
    struct seal_reader r;
    struct seal_frame frame;
    uint8_t some[1000] = {0};

    (void)state;
    le32_store(head, (uint32_t)claimed);
    head[4] = SEAL_DATA;
    /* As if the body followed. */
    expect_u64(seal_write(&w, head, 0, sizeof(head), 1), sizeof(head));
    mac_destroy(w.mac);

    seal_reader_init(&r, frame_key(), claimed);
    struct bytes in = bytes_of(head, sizeof(head));
    assert_int_equal(seal_read(&r, &in, &frame), 0);
    expect_u64(r.body.cap, 0);
    in = bytes_of(some, sizeof(some));
    assert_int_equal(seal_read(&r, &in, &frame), 0);
    assert_true(r.body.cap <= 4096);
    seal_reader_deinit(&r);

    seal_reader_init(&r, frame_key(), claimed - 1);
    in = bytes_of(head, sizeof(head));
    expect_i64(seal_read(&r, &in, &frame), -ERR_LIMIT);
    seal_reader_deinit(&r);
}

/* A frame with a right MAC and this header. */
static int read_head(uint32_t len, uint8_t kind, uint8_t zero)
{
    struct seal_writer w = {.mac = frame_key()};
    uint8_t head[SEAL_HEAD_BYTES] = {0};
    int err;

    le32_store(head, len);
    head[4] = kind;
    head[6] = zero;
    expect_u64(seal_write(&w, head, 0, sizeof(head), 1), sizeof(head));
    mac_destroy(w.mac);
    (void)read_frames(bytes_of(head, sizeof(head)), 100, &err);
    return err;
}

static void authentic_nonsense_is_refused(void **state)
{
    (void)state;
    expect_i64(read_head(100, SEAL_DATA, 0), 0);
    expect_i64(read_head(101, SEAL_DATA, 0), -ERR_LIMIT);
    expect_i64(read_head(UINT32_MAX, SEAL_DATA, 0), -ERR_LIMIT);
    expect_i64(read_head(0, SEAL_OPEN, 0), 0);
    expect_i64(read_head(1, SEAL_OPEN, 0), -ERR_PROTOCOL);
    expect_i64(read_head(0, SEAL_BYE, 0), -ERR_PROTOCOL);
    expect_i64(read_head(SEAL_BYE_BYTES_MAX + 1, SEAL_BYE, 0), -ERR_PROTOCOL);
    expect_i64(read_head(0, 0, 0), -ERR_PROTOCOL);
    expect_i64(read_head(0, SEAL_KIND_END, 0), -ERR_PROTOCOL);
    expect_i64(read_head(0, 255, 0), -ERR_PROTOCOL);
    expect_i64(read_head(0, SEAL_DATA, 1), -ERR_PROTOCOL);
}

/* ---- addresses ---- */

static int parse(const char *text, bool passive, struct link_resolve *out)
{
    memset(out, 0, sizeof(*out));
    out->passive = passive;
    return link_resolve_parse(text, out);
}

static void addresses_are_told_from_names_and_from_nonsense(void **state)
{
    static const char *const bad[] = {
        "",           "host",        ":7000",       "host:",      "host:x",
        "host:70000", "host:123456", "host:-1",     "a b:7000",   "::1:7000",
        "[::1]",      "[host]:7000", "[]:7000",     "[::1:7000",  "*:7000",
        "http://a:1", "host:7000/",  "ho\nst:7000", "host: 7000",
    };
    static const char *const addresses[] = {"127.0.0.1:7000", "[2001:db8::1]:7000", "[::1]:0"};
    struct link_resolve *r = mem_zalloc(sizeof(*r));
    char text[LINK_PEER_BYTES_MAX];

    (void)state;
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        if (parse(bad[i], false, r) != -ERR_SYNTAX)
            fail_msg("\"%s\" was taken", bad[i]);
    }
    for (size_t i = 0; i < ARRAY_COUNT(addresses); i++) {
        assert_int_equal(parse(addresses[i], false, r), 1);
        assert_int_equal(r->err, 0);
        expect_u64(r->addrs_count, 1);
        link_addr_format(&r->addrs[0].addr, text);
        expect_str(text, addresses[i]);
    }
    assert_int_equal(parse("some-host.example:65535", false, r), 0);
    expect_str(r->host, "some-host.example");
    expect_str(r->port, "65535");
    assert_int_equal(parse("*:7000", true, r), 1);
    assert_true(r->addrs_count >= 1);

    char long_one[LINK_ADDRESS_BYTES_MAX + 8];
    memset(long_one, 'a', sizeof(long_one));
    memcpy(long_one + 256, ":1", 3);
    assert_int_equal(parse(long_one, false, r), -ERR_SYNTAX);
    memcpy(long_one + 255, ":65535", 7);
    assert_int_equal(parse(long_one, false, r), 0);
    mem_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(macs_are_those_of_rfc_4231),
        cmocka_unit_test(a_secret_that_is_no_secret_is_refused_with_what_to_do),
        cmocka_unit_test(two_that_share_the_secret_agree_on_two_keys),
        cmocka_unit_test(another_secret_or_nickname_is_noticed_in_the_first_message),
        cmocka_unit_test(every_changed_bit_of_the_handshake_is_noticed),
        cmocka_unit_test(a_proof_is_good_for_one_connection_only),
        cmocka_unit_test(frames_come_out_as_they_went_in_whatever_the_pieces),
        cmocka_unit_test(every_changed_bit_of_a_frame_is_noticed),
        cmocka_unit_test(frames_that_are_repeated_left_out_or_moved_are_noticed),
        cmocka_unit_test(a_length_that_is_claimed_takes_no_memory),
        cmocka_unit_test(authentic_nonsense_is_refused),
        cmocka_unit_test(addresses_are_told_from_names_and_from_nonsense),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
