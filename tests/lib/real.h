/* For libraries that go under a program: the function that one of theirs stands in for. */
#ifndef TIERRA_TESTS_LIB_REAL_H
#define TIERRA_TESTS_LIB_REAL_H

#include <dlfcn.h>
#include <stddef.h>

/* `name` as the next library has it; `type` is what it returns, then its parameters. */
#define REAL(name, type, ...)                                   \
    (__extension__({                                            \
        static type (*real_)(__VA_ARGS__);                      \
        if (real_ == NULL)                                      \
            *(void **)(void *)&real_ = dlsym(RTLD_NEXT, #name); \
        real_;                                                  \
    }))

#endif
