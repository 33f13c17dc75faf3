# What a wheel needs beside the program: pyproject.toml has scikit-build-core call CMake, which sets SKBUILD. With SGDSCOPE_BUILT,
# a build folder, nothing is compiled: the program that was built there is taken.

if(SGDSCOPE_BUILT)
  cmake_path(ABSOLUTE_PATH SGDSCOPE_BUILT BASE_DIRECTORY ${CMAKE_SOURCE_DIR})
  add_custom_target(sgdscope)
  install(CODE "execute_process(COMMAND ${CMAKE_COMMAND} --install ${SGDSCOPE_BUILT} --prefix \${CMAKE_INSTALL_PREFIX}
                                        --component program --strip COMMAND_ERROR_IS_FATAL ANY)" COMPONENT program)
else()
  set(SGDSCOPE_BUILT ${CMAKE_BINARY_DIR})
endif()

foreach(tool export image_arrays plot summary watch)
  string(REPLACE "_" "-" name sgdscope-${tool})
  install(PROGRAMS scripts/${tool}.py DESTINATION ${SKBUILD_SCRIPTS_DIR} RENAME ${name} COMPONENT python)
endforeach()

# pip will install the torch that the wheel asks for, and the program takes no other.
file(STRINGS pyproject.toml wanted REGEX "^dependencies = .*torch==")
string(REGEX REPLACE ".*torch==([0-9.]+).*" "\\1" wanted "${wanted}")
file(READ ${SGDSCOPE_BUILT}/libtorch.json built)
string(JSON built GET "${built}" version)
if(NOT built VERSION_EQUAL wanted)
  message(FATAL_ERROR "pyproject.toml asks for torch ${wanted}, but the program in ${SGDSCOPE_BUILT} is one for ${built}. Install "
                      "torch ${wanted} for the Python that builds the wheel, or name it in SGDSCOPE_TORCH_DIR, and build anew.")
endif()
