# Finds LibTorch: -DSGDSCOPE_TORCH_DIR=PREFIX, the environment variable of that name, for a wheel the torch of the Python that
# builds it, the file .libtorch that scripts/setup.sh writes, or CMAKE_PREFIX_PATH, in this order.
if(NOT SGDSCOPE_TORCH_DIR)
  set(SGDSCOPE_TORCH_DIR "$ENV{SGDSCOPE_TORCH_DIR}")
endif()
if(NOT SGDSCOPE_TORCH_DIR AND SKBUILD)
  execute_process(COMMAND ${Python_EXECUTABLE} -c "import importlib.util as u; print(*u.find_spec('torch').submodule_search_locations)"
                  OUTPUT_VARIABLE SGDSCOPE_TORCH_DIR OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
endif()
if(NOT SGDSCOPE_TORCH_DIR AND EXISTS "${CMAKE_SOURCE_DIR}/.libtorch")
  file(STRINGS "${CMAKE_SOURCE_DIR}/.libtorch" SGDSCOPE_TORCH_DIR LIMIT_COUNT 1)
endif()
# With the inner folder that Python reports, CMake would find the libraries of another LibTorch in the
# system's folders, and link both.
string(REGEX REPLACE "/share/cmake/?$" "" SGDSCOPE_TORCH_DIR "${SGDSCOPE_TORCH_DIR}")
set(SGDSCOPE_TORCH_DIR "${SGDSCOPE_TORCH_DIR}" CACHE PATH "Prefix of LibTorch" FORCE)
if(SGDSCOPE_TORCH_DIR)
  list(PREPEND CMAKE_PREFIX_PATH "${SGDSCOPE_TORCH_DIR}")
endif()

# Caffe2's CUDA script, read by find_package(Torch), looks for the old nvToolsExt library, which new CUDA
# toolkits no longer have; the header-only nvtx3 took its place.
find_package(CUDAToolkit QUIET)
if(CUDAToolkit_FOUND)
  # Or Caffe2's script would run a program on the GPU to find out, which there may be none of.
  set(TORCH_CUDA_ARCH_LIST "9.0")
  # Machine code for the A100, the H100 and their kin, and PTX, which the driver compiles for what is newer.
  set(CMAKE_CUDA_ARCHITECTURES "80-real;90" CACHE STRING "GPUs that our kernels are compiled for")
endif()
if(CUDAToolkit_FOUND AND NOT TARGET CUDA::nvToolsExt)
  if(NOT TARGET CUDA::nvtx3)
    add_library(CUDA::nvtx3 INTERFACE IMPORTED)
    target_include_directories(CUDA::nvtx3 INTERFACE ${CUDAToolkit_INCLUDE_DIRS})
  endif()
  add_library(CUDA::nvToolsExt INTERFACE IMPORTED)
  target_link_libraries(CUDA::nvToolsExt INTERFACE CUDA::nvtx3)
endif()

find_package(Torch QUIET)
if(NOT Torch_FOUND)
  message(FATAL_ERROR "LibTorch was not found. Run scripts/setup.sh, or give its prefix: "
                      "-DSGDSCOPE_TORCH_DIR=PREFIX (PREFIX/share/cmake/Torch or similar must exist).")
endif()
message(STATUS "LibTorch ${Torch_VERSION} from ${TORCH_INSTALL_PREFIX}")

if(SGDSCOPE_REQUIRE_CUDA AND NOT TARGET torch_cuda)
  message(FATAL_ERROR "The preset 'cuda' needs a LibTorch with CUDA; ${TORCH_INSTALL_PREFIX} has none. "
                      "Use the preset 'release', or point SGDSCOPE_TORCH_DIR to a CUDA build.")
endif()

if(TARGET torch_cuda)
  enable_language(CUDA)
  # Caffe2's script has replaced these two by what suits LibTorch's own kernels.
  unset(CMAKE_CUDA_FLAGS)
  unset(CMAKE_CUDA_ARCHITECTURES)
endif()
