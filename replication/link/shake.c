/*
 * The messages of the handshake: writing, reading, and their MACs; shake.h has the bytes.
 */
#include "replication/link/shake.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/err.h"
#include "engine/base/le.h"
#include "engine/base/rng.h"

#include "replication/link/link_secret_impl.h"

static const uint8_t magic[4] = {'T', 'L', 'N', 'K'};

/* Where the parts of HELLO are. */
#define HELLO_NONCE 16u
#define HELLO_NAMES (HELLO_NONCE + SHAKE_NONCE_BYTES)
/* Of WELCOME and REFUSE: what is before identity or text. */
#define ANSWER_HEAD (SHAKE_HEAD_BYTES + 8u)

STATIC_ASSERT(HELLO_NAMES + LINK_NICKNAME_BYTES_MAX + LINK_IDENTITY_BYTES_MAX + MAC_BYTES <=
              SHAKE_BYTES_MAX);
STATIC_ASSERT(ANSWER_HEAD + LINK_TEXT_BYTES_MAX + MAC_BYTES <= SHAKE_BYTES_MAX);

/* The label of the key for the mac of each message. */
static const char *label_of(enum shake_message message)
{
    static const char *const labels[] = {
        [SHAKE_HELLO] = "tierra link 1 hello",
        [SHAKE_PROOF] = "tierra link 1 proof",
        [SHAKE_WELCOME] = "tierra link 1 welcome",
        [SHAKE_REFUSE] = "tierra link 1 refuse",
    };

    CHECK((size_t)message < ARRAY_COUNT(labels));
    CHECK(labels[message] != NULL);
    return labels[message];
}

/* ---- reading ---- */

int shake_size(struct bytes in, size_t *out)
{
    const size_t magic_here = size_min(in.len, sizeof(magic));

    *out = SHAKE_HEAD_BYTES;
    if (magic_here != 0 && memcmp(in.ptr, magic, magic_here) != 0)
        return -ERR_PROTOCOL;
    if (in.len < SHAKE_HEAD_BYTES)
        return -ERR_TRUNCATED;
    if (in.ptr[4] != SHAKE_VERSION)
        return -ERR_FORMAT;
    const size_t len = le16_load(in.ptr + 6);
    if (len < SHAKE_HEAD_BYTES || len > SHAKE_BYTES_MAX)
        return -ERR_PROTOCOL;
    *out = len;
    return in.len < len ? -ERR_TRUNCATED : 0;
}

/* A whole message of this kind, of at least `len_min` bytes. */
static bool is_message(struct bytes in, enum shake_message message, size_t len_min)
{
    size_t size;

    return shake_size(in, &size) == 0 && size == in.len && in.ptr[5] == (uint8_t)message &&
           in.len >= len_min;
}

static bool all_zero(const uint8_t *ptr, size_t len)
{
    uint8_t any = 0;

    for (size_t i = 0; i < len; i++)
        any |= ptr[i];
    return any == 0;
}

int shake_parse_hello(struct bytes in, struct shake_hello *out)
{
    if (!is_message(in, SHAKE_HELLO, HELLO_NAMES + MAC_BYTES))
        return -ERR_PROTOCOL;
    const uint8_t kind = in.ptr[8];
    const size_t nickname_len = in.ptr[9];
    const uint16_t shard = le16_load(in.ptr + 10);
    const size_t identity_len = le16_load(in.ptr + 12);
    if (kind == 0 || kind >= LINK_KIND_END || (kind == LINK_CONTROL && shard != 0) ||
        !all_zero(in.ptr + 14, 2))
        return -ERR_PROTOCOL;
    if (nickname_len == 0 || nickname_len > LINK_NICKNAME_BYTES_MAX ||
        identity_len > LINK_IDENTITY_BYTES_MAX ||
        in.len != HELLO_NAMES + nickname_len + identity_len + MAC_BYTES)
        return -ERR_PROTOCOL;
    *out = (struct shake_hello){
        .kind = (enum link_kind)kind,
        .shard = shard,
        .nickname = bytes_of(in.ptr + HELLO_NAMES, nickname_len),
        .identity = bytes_of(in.ptr + HELLO_NAMES + nickname_len, identity_len),
    };
    return 0;
}

int shake_parse_challenge(struct bytes in)
{
    const size_t len = SHAKE_HEAD_BYTES + SHAKE_NONCE_BYTES;

    return is_message(in, SHAKE_CHALLENGE, len) && in.len == len ? 0 : -ERR_PROTOCOL;
}

int shake_parse_proof(struct bytes in)
{
    const size_t len = SHAKE_HEAD_BYTES + MAC_BYTES;

    return is_message(in, SHAKE_PROOF, len) && in.len == len ? 0 : -ERR_PROTOCOL;
}

/* WELCOME and REFUSE have the same shape. */
static int parse_answer(struct bytes in, enum shake_message message, size_t len_max,
                        struct bytes *out)
{
    if (!is_message(in, message, ANSWER_HEAD + MAC_BYTES))
        return -ERR_PROTOCOL;
    const size_t len = le16_load(in.ptr + 8);
    if (len > len_max || in.len != ANSWER_HEAD + len + MAC_BYTES || !all_zero(in.ptr + 10, 6))
        return -ERR_PROTOCOL;
    *out = bytes_of(in.ptr + ANSWER_HEAD, len);
    return 0;
}

int shake_parse_welcome(struct bytes in, struct bytes *out_identity)
{
    return parse_answer(in, SHAKE_WELCOME, LINK_IDENTITY_BYTES_MAX, out_identity);
}

int shake_parse_refuse(struct bytes in, struct bytes *out_text)
{
    return parse_answer(in, SHAKE_REFUSE, LINK_TEXT_BYTES_MAX, out_text);
}

int shake_parse_reject(struct bytes in, uint8_t *out_reason)
{
    const size_t len = SHAKE_HEAD_BYTES + 8;

    if (!is_message(in, SHAKE_REJECT, len) || in.len != len || !all_zero(in.ptr + 9, 7))
        return -ERR_PROTOCOL;
    *out_reason = in.ptr[8];
    return 0;
}

const char *shake_reason_str(uint8_t reason)
{
    switch (reason) {
    case SHAKE_NO_VERSION:
        return "it speaks another version of the protocol";
    case SHAKE_NO_SECRET:
        return "the two do not have the same group secret";
    case SHAKE_NO_GROUP:
        return "it belongs to a group with another nickname";
    case SHAKE_MALFORMED:
        return "it did not understand our message";
    default:
        return "for a reason that is not known here";
    }
}

/* ---- macs ---- */

void shake_init(struct shake *shake, const struct link_secret *secret)
{
    shake->secret = secret;
    shake->len = 0;
}

void shake_deinit(struct shake *shake)
{
    mac_wipe(shake->said, shake->len);
    shake->len = 0;
}

static void say(struct shake *shake, struct bytes message)
{
    CHECK(message.len <= sizeof(shake->said) - shake->len);
    memcpy(shake->said + shake->len, message.ptr, message.len);
    shake->len += message.len;
}

static void message_mac(const struct link_secret *secret, enum shake_message message,
                        struct bytes said, uint8_t out[MAC_BYTES])
{
    uint8_t key[MAC_KEY_BYTES];

    link_secret_key(secret, label_of(message), key);
    mac_of(bytes_of(key, sizeof(key)), said, out);
    mac_wipe(key, sizeof(key));
}

/* Takes a message of the other side that ends with its mac. */
static int hear(struct shake *shake, enum shake_message message, struct bytes in)
{
    uint8_t mac[MAC_BYTES];

    CHECK(in.len >= MAC_BYTES);
    say(shake, bytes_of(in.ptr, in.len - MAC_BYTES));
    message_mac(shake->secret, message, bytes_of(shake->said, shake->len), mac);
    const struct bytes theirs = bytes_from(in, in.len - MAC_BYTES);
    if (!mac_equal(mac, theirs.ptr, MAC_BYTES))
        return -ERR_AUTH;
    say(shake, theirs);
    return 0;
}

/* Ends a message of ours of `len` bytes so far, with its mac. Returns its length. */
static size_t finish(struct shake *shake, enum shake_message message, uint8_t *out, size_t len)
{
    say(shake, bytes_of(out, len));
    message_mac(shake->secret, message, bytes_of(shake->said, shake->len), out + len);
    say(shake, bytes_of(out + len, MAC_BYTES));
    return len + MAC_BYTES;
}

int shake_check_hello(const struct link_secret *secret, struct bytes nickname, struct bytes in,
                      struct shake_hello *out, uint8_t *out_reason)
{
    struct shake_hello hello;
    uint8_t mac[MAC_BYTES];

    *out_reason = SHAKE_MALFORMED;
    if (shake_parse_hello(in, &hello) != 0)
        return -ERR_PROTOCOL;
    *out_reason = SHAKE_NO_SECRET;
    message_mac(secret, SHAKE_HELLO, bytes_of(in.ptr, in.len - MAC_BYTES), mac);
    if (!mac_equal(mac, in.ptr + in.len - MAC_BYTES, MAC_BYTES))
        return -ERR_AUTH;
    *out_reason = SHAKE_NO_GROUP;
    if (!bytes_eq(hello.nickname, nickname))
        return -ERR_NOT_FOUND;
    *out = hello;
    return 0;
}

/* ---- writing ---- */

/* `len` is that of the whole message. */
static void put_head(uint8_t *out, enum shake_message message, size_t len)
{
    memcpy(out, magic, sizeof(magic));
    out[4] = SHAKE_VERSION;
    out[5] = (uint8_t)message;
    le16_store(out + 6, (uint16_t)len);
}

int shake_put_hello(struct shake *shake, const struct shake_hello *hello,
                    uint8_t out[SHAKE_BYTES_MAX], size_t *out_len)
{
    const struct bytes nickname = hello->nickname;
    const struct bytes identity = hello->identity;
    const size_t len = HELLO_NAMES + nickname.len + identity.len;

    CHECK(nickname.len >= 1);
    CHECK(nickname.len <= LINK_NICKNAME_BYTES_MAX);
    CHECK(identity.len <= LINK_IDENTITY_BYTES_MAX);
    const int err = rng_os_bytes(out + HELLO_NONCE, SHAKE_NONCE_BYTES);
    if (err != 0)
        return err;
    put_head(out, SHAKE_HELLO, len + MAC_BYTES);
    out[8] = (uint8_t)hello->kind;
    out[9] = (uint8_t)nickname.len;
    le16_store(out + 10, hello->shard);
    le16_store(out + 12, (uint16_t)identity.len);
    le16_store(out + 14, 0);
    memcpy(out + HELLO_NAMES, nickname.ptr, nickname.len);
    if (identity.len != 0)
        memcpy(out + HELLO_NAMES + nickname.len, identity.ptr, identity.len);
    *out_len = finish(shake, SHAKE_HELLO, out, len);
    return 0;
}

void shake_on_hello(struct shake *shake, struct bytes in)
{
    CHECK(shake->len == 0);
    say(shake, in);
}

int shake_put_challenge(struct shake *shake, uint8_t out[SHAKE_BYTES_MAX], size_t *out_len)
{
    const size_t len = SHAKE_HEAD_BYTES + SHAKE_NONCE_BYTES;
    const int err = rng_os_bytes(out + SHAKE_HEAD_BYTES, SHAKE_NONCE_BYTES);

    if (err != 0)
        return err;
    put_head(out, SHAKE_CHALLENGE, len);
    say(shake, bytes_of(out, len));
    *out_len = len;
    return 0;
}

int shake_on_challenge(struct shake *shake, struct bytes in)
{
    const int err = shake_parse_challenge(in);

    if (err == 0)
        say(shake, in);
    return err;
}

size_t shake_put_proof(struct shake *shake, uint8_t out[SHAKE_BYTES_MAX])
{
    put_head(out, SHAKE_PROOF, SHAKE_HEAD_BYTES + MAC_BYTES);
    return finish(shake, SHAKE_PROOF, out, SHAKE_HEAD_BYTES);
}

int shake_on_proof(struct shake *shake, struct bytes in)
{
    const int err = shake_parse_proof(in);

    return err != 0 ? err : hear(shake, SHAKE_PROOF, in);
}

static size_t put_answer(struct shake *shake, enum shake_message message, struct bytes content,
                         uint8_t out[SHAKE_BYTES_MAX])
{
    const size_t len = ANSWER_HEAD + content.len;

    put_head(out, message, len + MAC_BYTES);
    memset(out + SHAKE_HEAD_BYTES, 0, 8);
    le16_store(out + SHAKE_HEAD_BYTES, (uint16_t)content.len);
    if (content.len != 0)
        memcpy(out + ANSWER_HEAD, content.ptr, content.len);
    return finish(shake, message, out, len);
}

size_t shake_put_welcome(struct shake *shake, struct bytes identity, uint8_t out[SHAKE_BYTES_MAX])
{
    CHECK(identity.len <= LINK_IDENTITY_BYTES_MAX);
    return put_answer(shake, SHAKE_WELCOME, identity, out);
}

size_t shake_put_refuse(struct shake *shake, struct bytes text, uint8_t out[SHAKE_BYTES_MAX])
{
    text.len = size_min(text.len, LINK_TEXT_BYTES_MAX);
    return put_answer(shake, SHAKE_REFUSE, text, out);
}

int shake_on_welcome(struct shake *shake, struct bytes in, struct bytes *out_identity)
{
    struct bytes identity;
    int err = shake_parse_welcome(in, &identity);

    if (err == 0)
        err = hear(shake, SHAKE_WELCOME, in);
    if (err == 0)
        *out_identity = identity;
    return err;
}

int shake_on_refuse(struct shake *shake, struct bytes in, struct bytes *out_text)
{
    struct bytes text;
    int err = shake_parse_refuse(in, &text);

    if (err == 0)
        err = hear(shake, SHAKE_REFUSE, in);
    if (err == 0)
        *out_text = text;
    return err;
}

size_t shake_put_reject(uint8_t reason, uint8_t out[SHAKE_BYTES_MAX])
{
    const size_t len = SHAKE_HEAD_BYTES + 8;

    put_head(out, SHAKE_REJECT, len);
    memset(out + SHAKE_HEAD_BYTES, 0, 8);
    out[SHAKE_HEAD_BYTES] = reason;
    return len;
}

struct mac *shake_frame_key(const struct shake *shake, bool of_dialer)
{
    uint8_t key[MAC_KEY_BYTES];

    link_secret_key(shake->secret,
                    of_dialer ? "tierra link 1 frames of the dialer"
                              : "tierra link 1 frames of the acceptor",
                    key);
    mac_of(bytes_of(key, sizeof(key)), bytes_of(shake->said, shake->len), key);
    struct mac *mac = mac_create(bytes_of(key, sizeof(key)));
    mac_wipe(key, sizeof(key));
    return mac;
}
