#include <cuda_runtime.h>

#include "core/error.h"
#include "kernels/cuda.h"
#include "kernels/tile_reduce.h"

namespace sgdscope::kernels::cuda {
namespace {

/// The threads of a block, each of which runs this itself.
template <class State>
struct BlockThreads {
  State state;

  template <class Use>
  __device__ __forceinline__ void Each(const Use& use) {
    use(static_cast<int>(threadIdx.x), state);
    __syncthreads();
  }
};

template <class Tile>
__global__ void __launch_bounds__(tile::kThreads) RunColumns(const Tile tile) {
  tile.Run(blockIdx.x, static_cast<int>(threadIdx.x));
}

template <class Tile>
__global__ void __launch_bounds__(tile::kThreads) RunOuter(const Tile tile) {
  __shared__ typename Tile::Shared shared;
  BlockThreads<typename Tile::Thread> threads;
  tile.Run(blockIdx.x, shared, threads);
}

void CheckStarted() {
  const cudaError_t status = cudaGetLastError();
  if (status == cudaSuccess) return;
  throw Error(
      ErrorKind::kResource, "device",
      std::string("CUDA cannot reduce the per-example gradients: ") + cudaGetErrorString(status),
      "Check the GPU with nvidia-smi, or use --device cpu.");
}

template <class T>
void StartColumns(const T* values, int64_t n, int64_t m, const Reduction& how, T* out,
                  void* stream) {
  tile::WithReducer<T>(how, n, [&](auto reducer) {
    using Reducer = typename decltype(reducer)::type;
    const tile::Columns<T, Reducer> tile{values, n, m, Recipe<T>(how, n), out};
    RunColumns<<<tile.blocks(), tile::kThreads, 0, static_cast<cudaStream_t>(stream)>>>(tile);
  });
  CheckStarted();
}

template <class T>
void StartOuter(const OuterProducts<T>& values, const Reduction& how, T* out, void* stream) {
  const Recipe<T> recipe(how, values.n);
  tile::WithSum(recipe, values.n, [&](auto sum) {
    using Sum = typename decltype(sum)::type;
    const tile::Outer<T, Sum> tile{values, recipe, out};
    RunOuter<<<tile.blocks(), tile::kThreads, 0, static_cast<cudaStream_t>(stream)>>>(tile);
  });
  CheckStarted();
}

}  // namespace

void ReduceColumns(const float* values, int64_t n, int64_t m, const Reduction& how, float* out,
                   void* stream) {
  StartColumns(values, n, m, how, out, stream);
}
void ReduceColumns(const double* values, int64_t n, int64_t m, const Reduction& how, double* out,
                   void* stream) {
  StartColumns(values, n, m, how, out, stream);
}
void ReduceOuter(const OuterProducts<float>& values, const Reduction& how, float* out,
                 void* stream) {
  StartOuter(values, how, out, stream);
}
void ReduceOuter(const OuterProducts<double>& values, const Reduction& how, double* out,
                 void* stream) {
  StartOuter(values, how, out, stream);
}

}  // namespace sgdscope::kernels::cuda
