/*
 * Texts and names of error numbers.
 *
 * strerror is not used: its result may be a static buffer that another thread overwrites. The _np
 * functions of glibc return constants.
 */
#include "engine/base/err.h"

#include <stddef.h>
#include <string.h>

#include "engine/base/attr.h"

struct err_text {
    const char *name;
    const char *text;
};

static const struct err_text err_texts[] = {
#define ERR_ROW(name_, text_) {.name = #name_, .text = (text_)},
    ERR_TABLE(ERR_ROW)
#undef ERR_ROW
};

STATIC_ASSERT(ARRAY_COUNT(err_texts) == ERR_END - ERR_BASE - 1);

/* NULL if `number`, made positive, is not one of ours. */
static const struct err_text *err_find(int number)
{
    if (number <= ERR_BASE || number >= ERR_END)
        return NULL;
    return &err_texts[number - ERR_BASE - 1];
}

/*
 * Negation of the smallest int would overflow; it is no error number, as no one above ERR_END is.
 */
static int err_number(int err)
{
    if (err >= 0)
        return err;
    return err < -ERR_END ? ERR_END : -err;
}

const char *err_str(int err)
{
    const int number = err_number(err);
    const struct err_text *own = err_find(number);

    if (number == 0)
        return "ok";
    if (own != NULL)
        return own->text;
    const char *text = strerrordesc_np(number);
    return text == NULL ? "unknown error" : text;
}

const char *err_name(int err)
{
    const int number = err_number(err);
    const struct err_text *own = err_find(number);

    if (number == 0)
        return "OK";
    if (own != NULL)
        return own->name;
    const char *name = strerrorname_np(number);
    return name == NULL ? "?" : name;
}
