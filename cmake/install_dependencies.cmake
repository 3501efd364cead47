# Run by `cmake --install` of a portable build: copies the libraries that what was installed needs
# into lib/, but for LibTorch's, CUDA's and those that every Linux has.
set(prefix "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}")
set(programs "${prefix}/bin/csm")
file(GLOB libraries "${prefix}/lib/libcsm*.so")
file(GET_RUNTIME_DEPENDENCIES
  EXECUTABLES ${programs}
  LIBRARIES ${libraries}
  RESOLVED_DEPENDENCIES_VAR resolved
  UNRESOLVED_DEPENDENCIES_VAR unresolved
  DIRECTORIES "${CSM_TORCH_LIBRARY_DIR}"
  PRE_EXCLUDE_REGEXES
    "^libcsm" "^lib(torch|c10|cud|cublas|cusparse|cusolver|cufft|cufile|curand|cupti|nv|nccl|caffe2|shm)"
    "^ld-linux" "^lib(c|m|dl|rt|pthread|gcc_s|stdc\\+\\+)\\.so")
foreach(library ${resolved})
  get_filename_component(name "${library}" NAME)
  file(REAL_PATH "${library}" file)
  message(STATUS "Installing: ${prefix}/lib/${name}")
  file(COPY_FILE "${file}" "${prefix}/lib/${name}" ONLY_IF_DIFFERENT)
endforeach()
if(unresolved)
  message(FATAL_ERROR "not found: ${unresolved}")
endif()
