# Compiler flags shared by every room.
add_library(csm_options INTERFACE)
target_include_directories(csm_options INTERFACE
  "${PROJECT_SOURCE_DIR}/include" "${PROJECT_SOURCE_DIR}/src")
target_compile_options(csm_options INTERFACE -Wall -Wextra -Wshadow -Wno-missing-field-initializers)
# The same source must give the same bits on every build of one instruction set:
# never contract a*b+c behind the author's back (kernels ask for fused products by name).
target_compile_options(csm_options INTERFACE -ffp-contract=off)
if(CMAKE_UNITY_BUILD)
  # It takes another file's unnamed namespace, included, for a header's.
  target_compile_options(csm_options INTERFACE $<$<CXX_COMPILER_ID:GNU>:-Wno-subobject-linkage>)
endif()
if(CSM_WERROR)
  target_compile_options(csm_options INTERFACE -Werror)
endif()
if(CSM_SANITIZE)
  target_compile_options(csm_options INTERFACE
    -fsanitize=${CSM_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  target_compile_definitions(csm_options INTERFACE CSM_FEWER_TARGETS)
  target_link_options(csm_options INTERFACE -fsanitize=${CSM_SANITIZE})
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
endif()
