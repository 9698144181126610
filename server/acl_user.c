/* Users and the rules that make them; acl_user.h tells what they are. */
#include "server/acl_user.h"

#include "engine/base/buf.h"
#include "engine/base/check.h"
#include "engine/base/mem.h"

#include "replication/link/mac.h"

#include "server/acl_selector.h"
#include "server/words.h"

STATIC_ASSERT(ACL_HASH_BYTES == MAC_BYTES);

const char *acl_fault_text(enum acl_fault fault)
{
    switch (fault) {
    case ACL_FAULT_NONE:
        return "ok";
    case ACL_FAULT_SYNTAX:
        return "Syntax error";
    case ACL_FAULT_UNKNOWN:
        return "Unknown command or category name in ACL";
    case ACL_FAULT_KEYS:
        return "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does "
               "not have any effect. Try 'resetkeys' to start with an empty list of patterns";
    case ACL_FAULT_CHANNELS:
        return "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and "
               "does not have any effect. Try 'resetchannels' to start with an empty list of "
               "channels";
    case ACL_FAULT_NO_PASSWORD:
        return "The password you are trying to remove from the user does not exist";
    case ACL_FAULT_HASH:
        return "The password hash must be exactly 64 characters and contain only lowercase "
               "hexadecimal characters";
    case ACL_FAULT_FIRST_ARG:
        return "Allowing first-arg of a subcommand is not supported";
    case ACL_FAULT_LIMIT:
        return "The user has too many rules";
    case ACL_FAULT_NO_SHA256:
        return "OpenSSL has no SHA-256; look at openssl.cnf";
    }
    return "Wrong format";
}

bool acl_name_ok(struct bytes name)
{
    for (size_t i = 0; i < name.len; i++) {
        if (acl_is_space(name.ptr[i]))
            return false;
    }
    return name.len != 0;
}

/* --- life --- */

static struct acl_user *create(struct bytes name, uint64_t serial)
{
    struct acl_user *u = mem_zalloc(sizeof(*u) + name.len);

    atomic_init(&u->refs, 1);
    u->serial = serial;
    u->name_len = name.len;
    if (name.len != 0)
        memcpy(u->name, name.ptr, name.len);
    return u;
}

static void add_selector(struct acl_user *u, struct acl_selector *take_selector)
{
    u->selectors =
        mem_realloc(u->selectors, (u->selectors_count + 1) * sizeof(struct acl_selector *));
    u->selectors[u->selectors_count++] = take_selector;
}

struct acl_user *acl_user_create(const struct acl_env *env, struct bytes name, uint64_t serial)
{
    struct acl_user *u = create(name, serial);

    add_selector(u, acl_selector_create(env));
    return u;
}

struct acl_user *acl_user_create_default(const struct acl_env *env, uint64_t serial)
{
    struct acl_user *u = acl_user_create(env, BYTES_LIT("default"), serial);

    acl_selector_allow_all(u->selectors[0]);
    u->enabled = true;
    u->nopass = true;
    return u;
}

struct acl_user *acl_user_copy(const struct acl_user *u)
{
    struct acl_user *copy = create(acl_user_name(u), u->serial);

    copy->enabled = u->enabled;
    copy->nopass = u->nopass;
    copy->sanitize = u->sanitize;
    acl_items_copy(&copy->passwords, &u->passwords);
    for (uint32_t i = 0; i < u->selectors_count; i++)
        add_selector(copy, acl_selector_copy(u->selectors[i]));
    return copy;
}

static void drop_selectors(struct acl_user *u, uint32_t from)
{
    while (u->selectors_count > from)
        acl_selector_destroy(u->selectors[--u->selectors_count]);
}

void acl_user_freeze(struct acl_user *u)
{
    CHECK(!u->frozen);
    for (uint32_t i = 0; i < u->selectors_count; i++)
        u->unrestricted |= acl_selector_allows_all(u->selectors[i]);
    u->frozen = true;
}

struct acl_user *acl_user_ref(struct acl_user *u)
{
    CHECK(u->frozen);
    atomic_fetch_add_explicit(&u->refs, 1, memory_order_relaxed);
    return u;
}

void acl_user_unref(struct acl_user *u)
{
    if (u == NULL || atomic_fetch_sub_explicit(&u->refs, 1, memory_order_acq_rel) != 1)
        return;
    drop_selectors(u, 0);
    mem_free(u->selectors);
    acl_items_deinit(&u->passwords);
    mem_free(u);
}

/* --- passwords --- */

static bool hex_digit(uint8_t c, uint8_t *out)
{
    if (c >= '0' && c <= '9')
        *out = (uint8_t)(c - '0');
    else if (c >= 'a' && c <= 'f')
        *out = (uint8_t)(c - 'a' + 10);
    else
        return false;
    return true;
}

static bool parse_hash(struct bytes text, uint8_t out[ACL_HASH_BYTES])
{
    if (text.len != (size_t)ACL_HASH_BYTES * 2)
        return false;
    for (size_t i = 0; i < ACL_HASH_BYTES; i++) {
        uint8_t high, low;
        if (!hex_digit(text.ptr[2 * i], &high) || !hex_digit(text.ptr[2 * i + 1], &low))
            return false;
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

/* ">text", "<text": hashed here; "#hash", "!hash": as it is. */
static enum acl_fault password_rule(struct acl_user *u, struct bytes rule)
{
    const struct bytes text = bytes_from(rule, 1);
    const bool add = rule.ptr[0] == '>' || rule.ptr[0] == '#';
    uint8_t hash[ACL_HASH_BYTES];

    if (rule.ptr[0] == '#' || rule.ptr[0] == '!') {
        if (!parse_hash(text, hash))
            return ACL_FAULT_HASH;
    } else if (!mac_sha256(text, hash)) {
        return ACL_FAULT_NO_SHA256;
    }
    const struct bytes found = bytes_of(hash, sizeof(hash));
    if (!add)
        return acl_items_remove(&u->passwords, found) ? ACL_FAULT_NONE : ACL_FAULT_NO_PASSWORD;
    if (acl_items_find(&u->passwords, found) == NULL)
        (void)acl_items_add(&u->passwords, found);
    u->nopass = false;
    return ACL_FAULT_NONE;
}

static void set_nopass(struct acl_user *u, bool nopass)
{
    u->nopass = nopass;
    acl_items_deinit(&u->passwords);
}

bool acl_user_set_password(struct acl_user *u, struct bytes password)
{
    uint8_t hash[ACL_HASH_BYTES];

    CHECK(!u->frozen);
    if (password.len != 0 && !mac_sha256(password, hash))
        return false;
    set_nopass(u, password.len == 0);
    if (password.len != 0)
        (void)acl_items_add(&u->passwords, bytes_of(hash, sizeof(hash)));
    return true;
}

bool acl_user_accepts(const struct acl_user *u, struct bytes password)
{
    uint8_t hash[ACL_HASH_BYTES];
    bool found = false;

    if (!u->enabled)
        return false;
    if (u->nopass)
        return true;
    if (!mac_sha256(password, hash))
        return false;
    for (uint32_t i = 0; i < u->passwords.count; i++)
        found |= mac_equal(hash, u->passwords.item[i].ptr, sizeof(hash));
    return found;
}

/* --- rules --- */

static void reset(struct acl_user *u, const struct acl_env *env)
{
    drop_selectors(u, 0);
    add_selector(u, acl_selector_create(env));
    set_nopass(u, false);
    u->enabled = false;
    u->sanitize = ACL_SANITIZE_YES;
}

/*
 * Whether a word of a selector can be written down, as a selector is: with blanks between its
 * words, and read with quotes. One that ends in a parenthesis would end the selector there.
 */
static bool can_stand_in_selector(struct bytes word)
{
    return word.len == 0 ||
           (word.ptr[word.len - 1] != ')' && bytes_find_u8(word, '"') == word.len &&
            bytes_find_u8(word, '\'') == word.len);
}

/* The words between the parentheses; quotes are taken as in a configuration file. */
static enum acl_fault selector_rule(struct acl_user *u, const struct acl_env *env,
                                    struct bytes rule)
{
    const struct bytes inner = bytes_of(rule.ptr + 1, rule.len - 2);
    struct acl_selector *s = acl_selector_create(env);
    uint8_t *copy = words_quoted(inner) ? mem_alloc(inner.len) : NULL;
    uint8_t *scratch = copy;
    enum acl_fault fault = ACL_FAULT_NONE;
    struct bytes word;
    size_t at = 0;
    int found;

    while (fault == ACL_FAULT_NONE && (found = words_next(inner, &at, &scratch, &word)) != 0)
        fault = found < 0 || !can_stand_in_selector(word) ? ACL_FAULT_SYNTAX
                                                          : acl_selector_rule(s, env, word);
    mem_free(copy);
    if (fault == ACL_FAULT_NONE)
        add_selector(u, s);
    else
        acl_selector_destroy(s);
    return fault;
}

static enum acl_fault user_rule(struct acl_user *u, const struct acl_env *env, struct bytes rule)
{
    if (bytes_eq_nocase(rule, "on")) {
        u->enabled = true;
    } else if (bytes_eq_nocase(rule, "off")) {
        u->enabled = false;
    } else if (bytes_eq_nocase(rule, "skip-sanitize-payload")) {
        u->sanitize = ACL_SANITIZE_SKIP;
    } else if (bytes_eq_nocase(rule, "sanitize-payload")) {
        u->sanitize = ACL_SANITIZE_YES;
    } else if (bytes_eq_nocase(rule, "nopass")) {
        set_nopass(u, true);
    } else if (bytes_eq_nocase(rule, "resetpass")) {
        set_nopass(u, false);
    } else if (bytes_eq_nocase(rule, "clearselectors")) {
        drop_selectors(u, 1);
    } else if (bytes_eq_nocase(rule, "reset")) {
        reset(u, env);
    } else if (rule.ptr[0] == '>' || rule.ptr[0] == '<' || rule.ptr[0] == '#' ||
               rule.ptr[0] == '!') {
        return password_rule(u, rule);
    } else if (rule.ptr[0] == '(' && rule.ptr[rule.len - 1] == ')') {
        return selector_rule(u, env, rule);
    } else {
        return acl_selector_rule(u->selectors[0], env, rule);
    }
    return ACL_FAULT_NONE;
}

static void count_items(struct acl_user *u, const struct acl_items *items)
{
    u->items_most += items->count;
    for (uint32_t i = 0; i < items->count; i++)
        u->bytes_most += items->item[i].len;
}

static void count(struct acl_user *u)
{
    u->items_most = u->selectors_count;
    u->bytes_most = u->name_len;
    count_items(u, &u->passwords);
    for (uint32_t i = 0; i < u->selectors_count; i++) {
        count_items(u, &u->selectors[i]->keys);
        count_items(u, &u->selectors[i]->channels);
        count_items(u, &u->selectors[i]->first_args);
    }
}

/* Whether what the rule may add fits; a selector adds at most an item for each of its words. */
static bool has_room(struct acl_user *u, struct bytes rule)
{
    size_t items = 2;

    for (size_t i = 0; i < rule.len; i++)
        items += acl_is_space(rule.ptr[i]);
    for (int round = 0; round < 2; round++) {
        if (round != 0 || u->items_most == 0)
            count(u);
        if (items <= ACL_ITEMS_MAX - size_min(u->items_most, ACL_ITEMS_MAX) &&
            rule.len <= ACL_USER_BYTES_MAX - size_min(u->bytes_most, ACL_USER_BYTES_MAX)) {
            u->items_most += items;
            u->bytes_most += rule.len;
            return true;
        }
    }
    return false;
}

enum acl_fault acl_user_rule(struct acl_user *u, const struct acl_env *env, struct bytes rule)
{
    CHECK(!u->frozen);
    if (rule.len == 0)
        return ACL_FAULT_NONE;
    return has_room(u, rule) ? user_rule(u, env, rule) : ACL_FAULT_LIMIT;
}

static bool opens(struct bytes word)
{
    return word.len != 0 && word.ptr[0] == '(' && word.ptr[word.len - 1] != ')';
}

static bool closes(struct bytes word)
{
    return word.len != 0 && word.ptr[word.len - 1] == ')';
}

/* The word that ends the selector which begins in word `from`; `count` if there is none. */
static uint32_t selector_end(const struct bytes *words, uint32_t count, uint32_t from)
{
    uint32_t i = from + 1;

    while (i < count && !closes(words[i]))
        i++;
    return i;
}

static void try_rule(struct acl_user *u, const struct acl_env *env, const struct acl_rules *rules,
                     struct bytes rule)
{
    const enum acl_fault fault = acl_user_rule(u, env, rule);

    if (fault != ACL_FAULT_NONE)
        rules->bad(rules->ctx, rule, fault);
}

/* The selector in words `from` to `to`, with a blank between two of them. */
static void try_spread(struct acl_user *u, const struct acl_env *env, const struct acl_rules *rules,
                       uint32_t from, uint32_t to)
{
    struct buf joined;

    buf_init(&joined, ACL_USER_BYTES_MAX);
    int err = buf_append_bytes(&joined, rules->words[from]);
    for (uint32_t i = from + 1; i <= to && err == 0; i++) {
        err = buf_append_u8(&joined, ' ');
        if (err == 0)
            err = buf_append_bytes(&joined, rules->words[i]);
    }
    if (err == 0)
        try_rule(u, env, rules, buf_bytes(&joined));
    else
        rules->bad(rules->ctx, rules->words[from], ACL_FAULT_LIMIT);
    buf_deinit(&joined);
}

bool acl_user_rules(struct acl_user *u, const struct acl_env *env, const struct acl_rules *rules,
                    uint32_t *out_open)
{
    for (uint32_t i = 0; i < rules->count; i++) {
        if (!opens(rules->words[i]))
            continue;
        const uint32_t end = selector_end(rules->words, rules->count, i);
        if (end == rules->count) {
            *out_open = i;
            return false;
        }
        i = end;
    }
    for (uint32_t i = 0; i < rules->count; i++) {
        if (!opens(rules->words[i])) {
            try_rule(u, env, rules, rules->words[i]);
            continue;
        }
        const uint32_t end = selector_end(rules->words, rules->count, i);
        try_spread(u, env, rules, i, end);
        i = end;
    }
    return true;
}
