# LibTorch, for training: target csm::torch. In CSM_TORCH_DIR is either what `scripts/setup --torch`
# makes (a Python environment with PyPI's wheel) or an unpacked LibTorch (include/, lib/).
#
# Not find_package(Torch): the wheel's own package file wants a CUDA toolkit to compile with, where
# only the two libraries for the CPU are linked here.
set(CSM_TORCH_DIR "${PROJECT_SOURCE_DIR}/build/torch" CACHE PATH
  "With CSM_TORCH: a LibTorch folder, or a Python environment with torch")

file(GLOB torch_candidates
  "${CSM_TORCH_DIR}" "${CSM_TORCH_DIR}/torch" "${CSM_TORCH_DIR}/lib/python3*/site-packages/torch")
find_path(CSM_TORCH_INCLUDE torch/csrc/api/include/torch/torch.h
  PATHS ${torch_candidates} PATH_SUFFIXES include NO_DEFAULT_PATH NO_CACHE)
if(NOT CSM_TORCH_INCLUDE)
  message(FATAL_ERROR
    "CSM_TORCH is ON, but there is no LibTorch in ${CSM_TORCH_DIR}: run scripts/setup --torch, or "
    "set CSM_TORCH_DIR to a LibTorch folder")
endif()
get_filename_component(torch_root "${CSM_TORCH_INCLUDE}" DIRECTORY)
set(CSM_TORCH_LIBRARY_DIR "${torch_root}/lib")
if(NOT EXISTS "${CSM_TORCH_LIBRARY_DIR}/libtorch_cpu.so")
  message(FATAL_ERROR "${torch_root} holds LibTorch's headers but no lib/libtorch_cpu.so")
endif()

# What training needs beside LibTorch: option files, TensorBoard's messages, and, if it is there, MPI
# for several processes.
find_package(yaml-cpp REQUIRED)
find_path(CSM_PROTOZERO_INCLUDE protozero/pbf_writer.hpp REQUIRED NO_CACHE)
find_package(MPI COMPONENTS CXX)
set(CSM_MPI ${MPI_CXX_FOUND})

add_library(csm_torch_libraries INTERFACE)
add_library(csm::torch ALIAS csm_torch_libraries)
# After the system's folders: the wheel holds headers of {fmt} too, of another version.
target_compile_options(csm_torch_libraries INTERFACE
  "SHELL:-idirafter \"${CSM_TORCH_INCLUDE}\""
  "SHELL:-idirafter \"${CSM_TORCH_INCLUDE}/torch/csrc/api/include\"")
# Of the libraries that these need (CUDA's runtime), their own RPATH says where they are.
target_link_libraries(csm_torch_libraries INTERFACE
  "${CSM_TORCH_LIBRARY_DIR}/libtorch_cpu.so" "${CSM_TORCH_LIBRARY_DIR}/libc10.so")
target_link_options(csm_torch_libraries INTERFACE "LINKER:--allow-shlib-undefined")

# GPUs: only where LibTorch is CUDA's and CUDA's headers are there, beside the wheel (nvidia/cu13) or
# in a toolkit. Without them CSM_CUDA_INCLUDE stays empty.
get_filename_component(torch_site "${torch_root}" DIRECTORY)
file(GLOB cuda_candidates "${torch_site}/nvidia/cu[0-9]*" "${torch_site}/nvidia/cuda_runtime")
list(APPEND cuda_candidates "$ENV{CUDA_HOME}" /usr/local/cuda)  # after those, as glob would not
set(CSM_CUDA_INCLUDE "")
if(EXISTS "${CSM_TORCH_LIBRARY_DIR}/libtorch_cuda.so")
  find_path(cuda_include cuda_runtime_api.h
    PATHS ${cuda_candidates} PATH_SUFFIXES include NO_DEFAULT_PATH NO_CACHE)
  if(cuda_include)
    get_filename_component(cuda_root "${cuda_include}" DIRECTORY)
    file(GLOB cuda_runtimes "${cuda_root}/lib/libcudart.so*" "${cuda_root}/lib64/libcudart.so*")
    if(cuda_runtimes)
      list(GET cuda_runtimes 0 CSM_CUDA_RUNTIME)
      set(CSM_CUDA_INCLUDE "${cuda_include}")
    endif()
  endif()
endif()
