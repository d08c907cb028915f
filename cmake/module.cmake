# tulle_module(name DEPENDS lower... LINK third-party...): tulle/<name>/*.cpp become the library tulle::<name>,
# its *_test.cpp become the test program <name>_test. Third-party libraries stay private to the module; EXCLUDE names
# files that another build choice uses.
include(GoogleTest)

add_library(tulle_flags INTERFACE)
# -Wno-missing-field-initializers: options are structs whose members have defaults; designated initializers name a few.
# -Wno-restrict: a false alarm of g++ 12 about "text" + std::string (GCC bug 105651).
# -Wno-subobject-linkage: what a .cpp file keeps to itself is no secret of a group of files (CMAKE_UNITY_BUILD).
target_compile_options(tulle_flags INTERFACE -Wall -Wextra -Wpedantic -Wno-missing-field-initializers
                       "$<$<CXX_COMPILER_ID:GNU>:-Wno-restrict;-Wno-subobject-linkage>" $<$<BOOL:${TULLE_WERROR}>:-Werror>)

set(tulle_modules "" CACHE INTERNAL "")

function(tulle_module name)
  cmake_parse_arguments(ARG "" "" "DEPENDS;LINK;EXCLUDE" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/tulle/${name}/*.cpp)
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cpp$")
  foreach(file IN LISTS ARG_EXCLUDE)
    list(REMOVE_ITEM sources ${PROJECT_SOURCE_DIR}/tulle/${name}/${file})
  endforeach()
  list(FILTER tests INCLUDE REGEX "_test\\.cpp$")

  if(NOT sources)  # a folder is made when its first file is written
    add_library(tulle_${name} INTERFACE)
    return()
  endif()

  # Each module is an object library; tulle::tulle is all of them in one archive.
  add_library(tulle_${name} OBJECT ${sources})
  add_library(tulle::${name} ALIAS tulle_${name})
  target_include_directories(tulle_${name} PUBLIC ${PROJECT_SOURCE_DIR} ${PROJECT_BINARY_DIR}/include)
  list(TRANSFORM ARG_DEPENDS PREPEND tulle_ OUTPUT_VARIABLE lower)
  target_link_libraries(tulle_${name} PUBLIC ${lower} PRIVATE tulle_flags ${ARG_LINK})
  set(tulle_modules ${tulle_modules} ${name} CACHE INTERNAL "")
  set_property(GLOBAL APPEND PROPERTY tulle_third_party ${ARG_LINK})

  if(tests AND PROJECT_IS_TOP_LEVEL AND BUILD_TESTING)
    set_property(GLOBAL APPEND PROPERTY tulle_test_modules ${name})
    set_property(GLOBAL PROPERTY tulle_tests_of_${name} ${tests})
  endif()
endfunction()

# The library users link, and one test program per module.
function(tulle_library)
  add_library(tulle)
  add_library(tulle::tulle ALIAS tulle)
  get_property(third_party GLOBAL PROPERTY tulle_third_party)
  list(REMOVE_DUPLICATES third_party)
  list(REMOVE_ITEM third_party tulle_random123)  # headers alone, used in one .cpp
  foreach(module IN LISTS tulle_modules)
    target_sources(tulle PRIVATE $<TARGET_OBJECTS:tulle_${module}>)
  endforeach()
  target_include_directories(tulle PUBLIC $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}>
                             $<BUILD_INTERFACE:${PROJECT_BINARY_DIR}/include> $<INSTALL_INTERFACE:include>)
  target_compile_features(tulle PUBLIC cxx_std_20)
  target_link_libraries(tulle PRIVATE ${third_party})
  set_target_properties(tulle PROPERTIES LINKER_LANGUAGE CXX VERSION ${PROJECT_VERSION})

  get_property(test_modules GLOBAL PROPERTY tulle_test_modules)
  foreach(module IN LISTS test_modules)
    get_property(tests GLOBAL PROPERTY tulle_tests_of_${module})
    add_executable(${module}_test ${tests})
    target_link_libraries(${module}_test PRIVATE tulle tulle_flags GTest::gtest_main GTest::gmock ${third_party}
                          Eigen3::Eigen)
    # The library is what is looked at: tests are built quickly.
    if(CMAKE_CXX_FLAGS MATCHES "undefined")
      target_compile_options(${module}_test PRIVATE -fno-sanitize=undefined -O0 -g0)
    else()
      target_compile_options(${module}_test PRIVATE -O1)
    endif()
    # What every test parses, parsed once. All programs have the flags of the first.
    if(programs)
      list(GET programs 0 first)
      target_precompile_headers(${module}_test REUSE_FROM ${first})
    else()
      target_precompile_headers(${module}_test PRIVATE <gmock/gmock.h> <gtest/gtest.h> <filesystem> <functional> <random>)
    endif()
    list(APPEND programs ${module}_test)
    # A process a test; under sanitizers, where a start takes long, four processes a program.
    if(TULLE_SANITIZED)
      foreach(shard RANGE 3)
        add_test(NAME ${module}.${shard} COMMAND ${module}_test --gtest_brief=1)
        set_tests_properties(${module}.${shard} PROPERTIES LABELS quick TIMEOUT 900
                             ENVIRONMENT "GTEST_TOTAL_SHARDS=4;GTEST_SHARD_INDEX=${shard}")
      endforeach()
    else()
      gtest_discover_tests(${module}_test TEST_PREFIX ${module}. NO_PRETTY_VALUES DISCOVERY_TIMEOUT 60
                           PROPERTIES LABELS quick TIMEOUT 600)
    endif()
  endforeach()
  if(programs)
    add_custom_target(unit_tests DEPENDS ${programs})
  endif()
endfunction()
