# tierra_flags: the compiler and linker flags of all our code, as one INTERFACE target.
# Third-party headers come through imported targets and are therefore SYSTEM: no warnings from them.

add_library(tierra_flags INTERFACE)
target_compile_definitions(tierra_flags INTERFACE
  _GNU_SOURCE
  $<$<CONFIG:Debug>:TIERRA_CHECK_SLOW>)
target_include_directories(tierra_flags INTERFACE ${CMAKE_SOURCE_DIR})

target_compile_options(tierra_flags INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion -Wcast-qual -Wcast-align
  -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wundef -Wpointer-arith
  -Wwrite-strings -Wvla -Walloca -Wformat=2 -Wnull-dereference -Wimplicit-fallthrough -Wswitch-enum
  -Wdouble-promotion -Wredundant-decls -Wunused-macros -Wdate-time -Wunreachable-code
  -Wframe-larger-than=16384
  -fno-common -fno-omit-frame-pointer -fstack-protector-strong
  # Paths in assertions and debug information do not depend on where the tree lies.
  -ffile-prefix-map=${CMAKE_SOURCE_DIR}/=)

if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  target_compile_options(tierra_flags INTERFACE
    -Wlogical-op -Wduplicated-cond -Wduplicated-branches -Wjump-misses-init -Wformat-signedness
    -Warith-conversion -Wstringop-overflow=4)
elseif(CMAKE_C_COMPILER_ID STREQUAL "Clang")
  target_compile_options(tierra_flags INTERFACE
    -Wcomma -Wassign-enum -Wconditional-uninitialized -Wmissing-variable-declarations
    -Wunreachable-code-aggressive -Wloop-analysis)
endif()

if(TIERRA_WERROR)
  target_compile_options(tierra_flags INTERFACE -Werror)
endif()

# Hardening, where the build is optimised and no sanitizer does the same work better.
if(NOT TIERRA_SANITIZE AND NOT TIERRA_FUZZ AND NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
  target_compile_definitions(tierra_flags INTERFACE _FORTIFY_SOURCE=2)
  target_compile_options(tierra_flags INTERFACE -fstack-clash-protection)
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|i.86")
    target_compile_options(tierra_flags INTERFACE -fcf-protection)
  endif()
  target_link_options(tierra_flags INTERFACE -Wl,-z,relro -Wl,-z,now)
endif()

# Sanitizers: the first report ends the program, so that no test passes over one.
set(TIERRA_SANITIZERS "")
if(TIERRA_SANITIZE STREQUAL "address" OR TIERRA_FUZZ)
  set(TIERRA_SANITIZERS -fsanitize=address,undefined -fno-sanitize-recover=all)
elseif(TIERRA_SANITIZE STREQUAL "thread")
  set(TIERRA_SANITIZERS -fsanitize=thread)
elseif(TIERRA_SANITIZE)
  message(FATAL_ERROR "TIERRA_SANITIZE must be address, thread or empty, not ${TIERRA_SANITIZE}")
endif()
if(TIERRA_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID STREQUAL "Clang")
    message(FATAL_ERROR "TIERRA_FUZZ needs clang")
  endif()
  list(APPEND TIERRA_SANITIZERS -fsanitize=fuzzer-no-link)
endif()
target_compile_options(tierra_flags INTERFACE ${TIERRA_SANITIZERS})
target_link_options(tierra_flags INTERFACE ${TIERRA_SANITIZERS})

if(TIERRA_COVERAGE)
  target_compile_options(tierra_flags INTERFACE --coverage -fprofile-update=atomic)
  target_link_options(tierra_flags INTERFACE --coverage)
endif()
