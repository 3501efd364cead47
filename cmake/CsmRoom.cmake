# csm_room(NAME [LINK lib...]): one folder of src/ as a static library csm_NAME, built from every
# .cc beside its CMakeLists.txt. Files ending in _test.cc become the GoogleTest program csm_NAME_test.
# LINK names the rooms below and the libraries the room uses, so the linker keeps the layering.
function(csm_room name)
  cmake_parse_arguments(ROOM "" "" "LINK;LINK_PRIVATE;TEST_LINK" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_SOURCE_DIR}/*.cc")
  set(tests ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER tests INCLUDE REGEX "_test\\.cc$")
  add_library(csm_${name} STATIC ${sources})
  target_link_libraries(csm_${name} PUBLIC csm_options ${ROOM_LINK} PRIVATE ${ROOM_LINK_PRIVATE})
  if(CSM_BUILD_TESTS AND tests)
    add_executable(csm_${name}_test ${tests})
    target_link_libraries(csm_${name}_test PRIVATE
      csm_${name} GTest::gtest_main GTest::gmock ${ROOM_TEST_LINK})
    target_compile_definitions(csm_${name}_test PRIVATE
      CSM_TEST_DATA_DIR="${PROJECT_SOURCE_DIR}/tests" CSM_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
    add_test(NAME ${name} COMMAND csm_${name}_test)
  endif()
endfunction()
