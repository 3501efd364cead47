# The shared library of the public API, and `cmake --install`: bin/csm, lib/libcsm.so, csm.hpp, the
# package for find_package(csm), and the model that ships.
if(CSM_PORTABLE)  # one layout everywhere, not the distribution's
  set(CMAKE_INSTALL_LIBDIR lib)
endif()
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# libcsm.so is made of the rooms' object files, since a linker would take from their archives only
# what something inside asks for, and nothing inside asks for the API. Linking csm_engine adds the
# libraries that the rooms use. Only CSM_EXPORT symbols are visible.
add_library(csm SHARED)
add_library(csm::csm ALIAS csm)
foreach(room base kernels audio checkpoint text mimi model engine)
  target_sources(csm PRIVATE $<TARGET_OBJECTS:csm_${room}>)
endforeach()
target_link_libraries(csm PRIVATE csm_engine)
set_target_properties(csm PROPERTIES
  LINKER_LANGUAGE CXX
  VERSION ${PROJECT_VERSION}
  SOVERSION ${PROJECT_VERSION_MAJOR}
  LINK_DEPENDS "${PROJECT_SOURCE_DIR}/cmake/libcsm.map")
target_link_options(csm PRIVATE
  "LINKER:--version-script=${PROJECT_SOURCE_DIR}/cmake/libcsm.map")
target_include_directories(csm PUBLIC
  "$<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}/include>"
  "$<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>")
target_compile_features(csm PUBLIC cxx_std_20)
if(CSM_SANITIZE)  # clang puts the sanitizers' runtime into programs only
  target_link_options(csm PUBLIC "$<BUILD_INTERFACE:-fsanitize=${CSM_SANITIZE}>")
endif()

# libcsm_train.so: train.hpp and csm.hpp, for programs that train; libcsm.so and csm load it for
# other devices.
if(CSM_TORCH)
  add_library(csm_train SHARED)
  foreach(room base kernels audio checkpoint text mimi model engine torch)
    target_sources(csm_train PRIVATE $<TARGET_OBJECTS:csm_${room}>)
  endforeach()
  target_link_libraries(csm_train PRIVATE csm_engine csm_torch PUBLIC csm::torch)
  set_target_properties(csm_train PROPERTIES
    LINKER_LANGUAGE CXX
    VERSION ${PROJECT_VERSION}
    SOVERSION ${PROJECT_VERSION_MAJOR}
    INSTALL_RPATH "${CSM_TORCH_LIBRARY_DIR}")
  target_include_directories(csm_train PUBLIC "${PROJECT_SOURCE_DIR}/include")
  target_compile_features(csm_train PUBLIC cxx_std_20)
  install(TARGETS csm_train LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}")
  if(NOT CSM_PORTABLE)  # a program cannot look for LibTorch before it starts
    install(TARGETS csm_training RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
  endif()
  install(FILES include/csm/train.hpp DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/csm")
endif()

install(TARGETS csm EXPORT csmTargets
  LIBRARY DESTINATION "${CMAKE_INSTALL_LIBDIR}"
  RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
install(TARGETS csm_bin RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}")
install(FILES include/csm/csm.hpp DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}/csm")
install(FILES LICENSE DESTINATION "${CMAKE_INSTALL_DOCDIR}")
if(EXISTS "${PROJECT_SOURCE_DIR}/models/csm-tiny/config.json")
  install(DIRECTORY models/csm-tiny DESTINATION "${CMAKE_INSTALL_DATADIR}/csm/models")
endif()

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/csm")
install(EXPORT csmTargets NAMESPACE csm:: DESTINATION "${package_dir}")
configure_package_config_file(cmake/csmConfig.cmake.in "${PROJECT_BINARY_DIR}/csmConfig.cmake"
  INSTALL_DESTINATION "${package_dir}" NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file("${PROJECT_BINARY_DIR}/csmConfigVersion.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/csmConfig.cmake" "${PROJECT_BINARY_DIR}/csmConfigVersion.cmake"
  DESTINATION "${package_dir}")

# One folder that runs elsewhere, beside a LibTorch of the same version: DT_RPATH, since the libraries
# are to find each other too, and DT_RUNPATH is not inherited.
if(CSM_PORTABLE)
  set(portable_targets csm_bin csm_train)
  if(TARGET csm_cuda)
    list(APPEND portable_targets csm_cuda)
  endif()
  set_target_properties(${portable_targets} PROPERTIES INSTALL_RPATH "$ORIGIN/../lib")
  foreach(target ${portable_targets})
    target_link_options(${target} PRIVATE "LINKER:--disable-new-dtags")
  endforeach()
  install(CODE "set(CSM_TORCH_LIBRARY_DIR \"${CSM_TORCH_LIBRARY_DIR}\")")
  install(SCRIPT "${PROJECT_SOURCE_DIR}/cmake/install_dependencies.cmake")
endif()
