#include "nn/cuda_stream.h"

#ifdef SGDSCOPE_CUDA
#include <c10/cuda/CUDAStream.h>
#endif

namespace sgdscope {

void* CudaStream([[maybe_unused]] const at::Tensor& tensor) {
#ifdef SGDSCOPE_CUDA
  return c10::cuda::getCurrentCUDAStream(tensor.device().index()).stream();
#else
  return nullptr;
#endif
}

}  // namespace sgdscope
