# Installs BUILD_DIR into a fresh prefix under WORK_DIR, then builds and runs consumer/ against it.
# Run as: cmake -D BUILD_DIR=… -D WORK_DIR=… -D CXX=… -P check.cmake
set(prefix "${WORK_DIR}/prefix")
file(REMOVE_RECURSE "${WORK_DIR}")

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE status OUTPUT_VARIABLE text ERROR_VARIABLE text)
  message(STATUS "${text}")
  if(NOT status EQUAL 0)
    message(FATAL_ERROR "failed (${status}): ${ARGN}")
  endif()
endfunction()

run("${CMAKE_COMMAND}" --install "${BUILD_DIR}" --prefix "${prefix}")
run("${CMAKE_COMMAND}" -S "${CMAKE_CURRENT_LIST_DIR}/consumer" -B "${WORK_DIR}/build" -G Ninja
    "-DCMAKE_CXX_COMPILER=${CXX}" "-DCMAKE_PREFIX_PATH=${prefix}")
run("${CMAKE_COMMAND}" --build "${WORK_DIR}/build")
run("${WORK_DIR}/build/consumer")
run("${prefix}/bin/csm" --version)

# The headers are the whole public interface.
file(GLOB_RECURSE headers RELATIVE "${prefix}/include" "${prefix}/include/*")
list(REMOVE_ITEM headers "csm/train.hpp")  # of builds with LibTorch
if(NOT headers STREQUAL "csm/csm.hpp")
  message(FATAL_ERROR "installed headers are '${headers}', expected csm/csm.hpp, csm/train.hpp")
endif()
