/* `user` directives; config_users.h. */
#include "server/config_users.h"

#include <string.h>

#include "engine/base/check.h"
#include "engine/base/mem.h"

static struct bytes *copy_words(const struct bytes *words, uint32_t count)
{
    size_t bytes = count * sizeof(*words);

    for (uint32_t i = 0; i < count; i++)
        bytes += words[i].len;
    struct bytes *copy = mem_alloc(bytes);
    uint8_t *text = (uint8_t *)(copy + count);
    for (uint32_t i = 0; i < count; i++) {
        if (words[i].len != 0)
            memcpy(text, words[i].ptr, words[i].len);
        copy[i] = bytes_of(text, words[i].len);
        text += words[i].len;
    }
    return copy;
}

bool config_users_add(struct config_users *users, const char *place, const struct bytes *words,
                      uint32_t count)
{
    CHECK(count > 0);
    for (uint32_t i = 0; i < users->count; i++) {
        if (bytes_eq(users->user[i].words[0], words[0]))
            return false;
    }
    if (users->count == users->cap) {
        users->cap = users->cap == 0 ? 8 : users->cap * 2;
        users->user = mem_realloc(users->user, users->cap * sizeof(*users->user));
    }
    users->user[users->count++] = (struct config_user){
        .place = mem_strdup(place), .words = copy_words(words, count), .count = count};
    return true;
}

void config_users_deinit(struct config_users *users)
{
    for (uint32_t i = 0; i < users->count; i++) {
        mem_free(users->user[i].place);
        mem_free(users->user[i].words);
    }
    mem_free(users->user);
    *users = (struct config_users){0};
}
