/*
 * Greedy matching with one point to return to: when an element does not match, the last * takes
 * one byte more. An earlier * never needs to: whatever it could give up, the later one could have
 * taken.
 */
#include "server/glob.h"

#include <stdint.h>

/* The byte at `at`, or 0 behind the end, as a zero-terminated pattern would have it. */
static uint8_t glob_at(struct bytes pattern, size_t at)
{
    return at < pattern.len ? pattern.ptr[at] : 0;
}

static uint8_t glob_fold(uint8_t c, bool nocase)
{
    return nocase ? ascii_lower(c) : c;
}

static bool glob_in_range(uint8_t from, uint8_t to, uint8_t c, bool nocase)
{
    int8_t low = (int8_t)from;
    int8_t high = (int8_t)to;

    if (low > high) {
        const int8_t swap = low;
        low = high;
        high = swap;
    }
    low = (int8_t)glob_fold((uint8_t)low, nocase);
    high = (int8_t)glob_fold((uint8_t)high, nocase);
    const int8_t value = (int8_t)glob_fold(c, nocase);
    return value >= low && value <= high;
}

/* A class whose '[' is before `*at`; moves `*at` behind its ']' or to the end of the pattern. */
static bool glob_class(struct bytes pattern, size_t *at, uint8_t c, bool nocase)
{
    size_t i = *at;
    bool match = false;
    const bool negated = glob_at(pattern, i) == '^';

    if (negated)
        i++;
    while (i < pattern.len && pattern.ptr[i] != ']') {
        const size_t left = pattern.len - i;

        if (pattern.ptr[i] == '\\' && left >= 2) {
            /* An escaped byte is compared with its case, whatever `nocase` says. */
            match |= pattern.ptr[i + 1] == c;
            i += 2;
        } else if (left >= 3 && pattern.ptr[i + 1] == '-') {
            match |= glob_in_range(pattern.ptr[i], pattern.ptr[i + 2], c, nocase);
            i += 3;
        } else {
            match |= glob_fold(pattern.ptr[i], nocase) == glob_fold(c, nocase);
            i++;
        }
    }
    *at = i < pattern.len ? i + 1 : pattern.len;
    return match != negated;
}

/* One element other than '*' against one byte; moves `*at` behind the element. */
static bool glob_element(struct bytes pattern, size_t *at, uint8_t c, bool nocase)
{
    uint8_t element = pattern.ptr[*at];

    *at += 1;
    if (element == '?')
        return true;
    if (element == '[')
        return glob_class(pattern, at, c, nocase);
    if (element == '\\' && *at < pattern.len) {
        element = pattern.ptr[*at];
        *at += 1;
    }
    return glob_fold(element, nocase) == glob_fold(c, nocase);
}

bool glob_match(struct bytes pattern, struct bytes text, bool nocase)
{
    size_t p = 0;
    size_t t = 0;
    size_t star_p = 0; /* Behind the last '*'; 0: none yet. */
    size_t star_t = 0; /* Where the text that it has not taken starts. */
    size_t stars = 0;  /* Runs of '*' up to there. */
    size_t steps = 0;

    if (text.len == 0)
        return pattern.len == 0;
    while (t < text.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            while (p < pattern.len && pattern.ptr[p] == '*')
                p++;
            if (p == pattern.len)
                return true;
            if (++stars > GLOB_STARS_MAX)
                return false;
            star_p = p;
            star_t = t;
            continue;
        }
        if (p < pattern.len) {
            size_t next = p;
            const bool match = glob_element(pattern, &next, text.ptr[t], nocase);
            steps += next - p;
            if (match) {
                p = next;
                t++;
                continue;
            }
        }
        if (star_p == 0 || steps > GLOB_STEPS_MAX)
            return false;
        t = ++star_t;
        p = star_p;
    }
    while (p < pattern.len && pattern.ptr[p] == '*')
        p++;
    return p == pattern.len;
}

static bool is_special(uint8_t c)
{
    return c == '*' || c == '?' || c == '[' || c == '\\';
}

size_t glob_prefix_len(struct bytes pattern)
{
    size_t len = 0;

    while (len < pattern.len && !is_special(pattern.ptr[len]))
        len++;
    return len;
}

bool glob_is_literal(struct bytes pattern)
{
    return glob_prefix_len(pattern) == pattern.len;
}
