# What `cmake --install` puts where: bin/sgdscope, lib/ with the libraries that it takes along, share/sgdscope/ with configs and
# the licences of what is carried. The program finds its libraries from where it lies, so that the tree may lie anywhere.
#
#   component program     what a wheel holds too (third_party/wheel.cmake), within the package sgdscope, beside which lies torch
#   component standalone  LibTorch and all else but the C library, for machines without Python

# DT_RPATH, unlike DT_RUNPATH, also holds for what the libraries need themselves, and goes before LD_LIBRARY_PATH, which may
# lead to another LibTorch.
target_link_options(sgdscope PRIVATE -Wl,--disable-new-dtags)
set_target_properties(sgdscope PROPERTIES INSTALL_RPATH "$ORIGIN/../lib;$ORIGIN/../../torch/lib")
install(TARGETS sgdscope RUNTIME_DEPENDENCY_SET libraries RUNTIME DESTINATION bin COMPONENT program)

# What the package torch does not bring.
install(RUNTIME_DEPENDENCY_SET libraries PRE_INCLUDE_REGEXES "^libhwy\\." PRE_EXCLUDE_REGEXES "."
        LIBRARY DESTINATION lib COMPONENT program)

# Which torch that must be, for scripts/sgdscope/program.py and third_party/wheel.cmake.
set(cuda "")
if(TARGET torch_cuda)
  set(cuda ${CUDAToolkit_VERSION_MAJOR})
  set_property(TARGET sgdscope APPEND PROPERTY INSTALL_RPATH "$ORIGIN/../../nvidia/cu${cuda}/lib"
                                                              "$ORIGIN/../../nvidia/cuda_runtime/lib")
endif()
file(CONFIGURE OUTPUT libtorch.json CONTENT "{\"version\": \"@Torch_VERSION@\", \"cuda\": \"@cuda@\"}\n" @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/libtorch.json DESTINATION lib COMPONENT program)

set(LICENSES share/sgdscope/licenses)
function(install_licenses component) # install_licenses(COMPONENT PACKAGE...): where Debian and scripts/setup.sh put them
  foreach(package ${ARGN})
    foreach(folder ${CMAKE_SOURCE_DIR}/.venv/share/doc /usr/share/doc)
      install(FILES ${folder}/${package}/copyright DESTINATION ${LICENSES} RENAME ${package}.txt COMPONENT ${component}
              OPTIONAL)
    endforeach()
  endforeach()
endfunction()
install_licenses(program libcli11-dev nlohmann-json3-dev libspdlog-dev libfmt-dev libhwy-dev)

# CUDA's own libraries are gigabytes, some of which are only looked for at run time: with a GPU one takes the wheel.
if(TARGET torch_cuda)
  return()
endif()
install(RUNTIME_DEPENDENCY_SET libraries
        PRE_EXCLUDE_REGEXES "^ld-linux" "^lib(c|m|dl|rt|pthread|util|resolv|mvec)\\.so" "^libhwy\\."
        LIBRARY DESTINATION lib COMPONENT standalone)
install_licenses(standalone libstdc++6 zlib1g)
file(GLOB torch_licenses ${TORCH_INSTALL_PREFIX}/../torch-${Torch_VERSION}*.dist-info/licenses)
if(torch_licenses)
  install(DIRECTORY ${torch_licenses}/ DESTINATION ${LICENSES}/torch COMPONENT standalone)
endif()
install(DIRECTORY configs DESTINATION share/sgdscope COMPONENT standalone FILES_MATCHING PATTERN "*.json"
        PATTERN results EXCLUDE)

set(CPACK_GENERATOR TGZ)
set(CPACK_PACKAGE_FILE_NAME sgdscope-${PROJECT_VERSION}-linux-${CMAKE_SYSTEM_PROCESSOR})
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR})
set(CPACK_VERBATIM_VARIABLES ON)
include(CPack)
