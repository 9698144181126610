# How a folder of the tree becomes a target. Source lists are explicit: no globbing, so that a stray
# file is never built and a forgotten one is noticed. A list may be empty: then the target is there
# all the same, and what links to it keeps building.

# tierra_library(<name> SOURCES <file>... [LIBS <target>...])
function(tierra_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
  if(ARG_SOURCES)
    add_library(${name} STATIC ${ARG_SOURCES})
    target_link_libraries(${name} PUBLIC tierra_flags ${ARG_LIBS})
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE tierra_flags ${ARG_LIBS})
  endif()
endfunction()

# tierra_program(<name> SOURCES <file>... [LIBS <target>...]): build/<preset>/bin/<name>
function(tierra_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
  if(ARG_SOURCES)
    add_executable(${name} ${ARG_SOURCES})
    target_link_libraries(${name} PRIVATE tierra_flags ${ARG_LIBS})
  endif()
endfunction()

# The executable and the ctest entry that all kinds of tests share.
function(tierra_add_test_program name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE tierra_flags ${ARG_LIBS} tierra_testlib)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endfunction()

# tierra_test(NAME <name> LABEL <label>... SOURCES <file>... [LIBS <target>...] [TIMEOUT <seconds>]
#             [ARGS <arg>...])
# A program that ctest runs: most are cmocka programs. Labels: unit prop compat sim torture slow.
function(tierra_test)
  cmake_parse_arguments(ARG "" "NAME;TIMEOUT" "LABEL;SOURCES;LIBS;ARGS" ${ARGN})
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 240)
  endif()
  tierra_add_test_program(${ARG_NAME} SOURCES ${ARG_SOURCES} LIBS ${ARG_LIBS} tierra::cmocka)
  add_test(NAME ${ARG_NAME} COMMAND ${ARG_NAME} ${ARG_ARGS})
  set_tests_properties(${ARG_NAME} PROPERTIES LABELS "${ARG_LABEL}" TIMEOUT ${ARG_TIMEOUT})
endfunction()

# tierra_fuzz(NAME fuzz_<x> SOURCES <file>... [LIBS <target>...])
# With TIERRA_FUZZ a libFuzzer program. Always a test with label fuzz that runs the target once over
# every file of tests/fuzz/corpus/<x>/: by libFuzzer, or by the plain driver in other builds.
function(tierra_fuzz)
  cmake_parse_arguments(ARG "" "NAME" "SOURCES;LIBS" ${ARGN})
  string(REGEX REPLACE "^fuzz_" "" corpus ${ARG_NAME})
  set(corpus_dir ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${corpus})
  if(TIERRA_FUZZ)
    tierra_add_test_program(${ARG_NAME} SOURCES ${ARG_SOURCES} LIBS ${ARG_LIBS})
    target_link_options(${ARG_NAME} PRIVATE -fsanitize=fuzzer)
    add_test(NAME ${ARG_NAME} COMMAND ${ARG_NAME} -runs=0 ${corpus_dir})
  else()
    tierra_add_test_program(${ARG_NAME}
      SOURCES ${ARG_SOURCES} ${CMAKE_SOURCE_DIR}/tests/fuzz/replay_main.c LIBS ${ARG_LIBS})
    add_test(NAME ${ARG_NAME} COMMAND ${ARG_NAME} ${corpus_dir})
  endif()
  set_tests_properties(${ARG_NAME} PROPERTIES LABELS fuzz TIMEOUT 240)
endfunction()
