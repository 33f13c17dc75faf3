#pragma once

#include "core/torch.h"

namespace sgdscope {

/// The queue (cudaStream_t) that LibTorch's own work on this tensor's CUDA device goes to.
void* CudaStream(const at::Tensor& tensor);

}  // namespace sgdscope
