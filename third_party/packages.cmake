# The other dependencies: the system's packages, or where it lacks them what scripts/setup.sh takes from PyPI into .venv/include.

# need_headers(PACKAGE TARGET HEADER [VERSION]): a library that is used by its headers alone
function(need_headers package target header)
  find_package(${package} ${ARGN} QUIET)
  if(TARGET ${target})
    return()
  endif()
  find_path(${package}_INCLUDE_DIR ${header} HINTS ${CMAKE_SOURCE_DIR}/.venv/include)
  if(NOT ${package}_INCLUDE_DIR)
    message(FATAL_ERROR "${header} was not found. Run scripts/setup.sh, or install ${package} ${ARGN} and give its prefix: "
                        "-DCMAKE_PREFIX_PATH=PREFIX.")
  endif()
  add_library(${target} INTERFACE IMPORTED)
  target_include_directories(${target} INTERFACE ${${package}_INCLUDE_DIR})
endfunction()
need_headers(CLI11 CLI11::CLI11 CLI/CLI.hpp)
need_headers(nlohmann_json nlohmann_json::nlohmann_json nlohmann/json.hpp 3.11)
need_headers(spdlog spdlog::spdlog_header_only spdlog/spdlog.h)
find_package(ZLIB REQUIRED)
# Loops over threads are templates in LibTorch's headers, which run on one thread, and say nothing, where this is not compiled in.
find_package(OpenMP QUIET COMPONENTS CXX)
if(NOT OpenMP_CXX_FOUND)
  message(FATAL_ERROR "${CMAKE_CXX_COMPILER} has no OpenMP. Remove this build folder and name g++ in CXX, or install what your "
                      "compiler needs for it: libomp-dev for clang++.")
endif()

# Highway also has a few sources, which choose the processor's instructions. Which of these there are depends on its release.
need_headers(HWY hwy::hwy hwy/highway.h)
if(HWY_INCLUDE_DIR)
  set(sources abort aligned_allocator per_target print targets)
  list(TRANSFORM sources REPLACE "(.+)" "${HWY_INCLUDE_DIR}/hwy/\\1.cc")
  file(GLOB sources ${sources})
  add_library(sgdscope_highway STATIC ${sources})
  target_include_directories(sgdscope_highway PRIVATE ${HWY_INCLUDE_DIR})
  target_link_libraries(hwy::hwy INTERFACE sgdscope_highway)
endif()

# For the tests and the measurements alone, which are left out without them.
foreach(package GTest benchmark)
  find_package(${package} QUIET)
  if(NOT ${package}_FOUND)
    message(NOTICE "${package} was not found: the tests or measurements that need it are not built")
  endif()
endforeach()
