// In place of cuda.cu where LibTorch has no CUDA, so that no tensor lies on such a device.

#include "core/error.h"
#include "kernels/cuda.h"

namespace sgdscope::kernels::cuda {
namespace {

[[noreturn]] void HasNoCuda() {
  throw Error(ErrorKind::kInternal, "device", "this program was built without CUDA kernels");
}

}  // namespace

void ReduceColumns(const float*, int64_t, int64_t, const Reduction&, float*, void*) { HasNoCuda(); }
void ReduceColumns(const double*, int64_t, int64_t, const Reduction&, double*, void*) {
  HasNoCuda();
}
void ReduceOuter(const OuterProducts<float>&, const Reduction&, float*, void*) { HasNoCuda(); }
void ReduceOuter(const OuterProducts<double>&, const Reduction&, double*, void*) { HasNoCuda(); }

}  // namespace sgdscope::kernels::cuda
