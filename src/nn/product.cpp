#include "nn/product.h"

#include <ATen/Parallel.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "kernels/product.h"
#include "nn/add_multiple.h"

namespace sgdscope {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Whether the kernel multiplies it.
bool HasKernel(const at::Tensor& t) {
  return t.is_cpu() && (t.scalar_type() == at::kFloat || t.scalar_type() == at::kDouble);
}

template <class T>
T* Data(const Matrix& m) {
  return m.of->data_ptr<T>() + m.offset;
}

/// What becomes of a b: kernels/product.h.
struct End {
  const Matrix* addend = nullptr;
  const at::Tensor* positive = nullptr;
  const at::Tensor* mask = nullptr;
  const double* scale = nullptr;
};

/// Its rows begin ... end - 1.
template <class T>
kernels::Product<T> Rows(kernels::Product<T> product, int64_t begin, int64_t end) {
  product.a += begin * product.a_row;
  product.c += begin * product.c_row;
  if (product.add != nullptr) product.add += begin * product.add_row;
  if (product.positive != nullptr) product.positive += begin * product.c_row;
  if (product.mask != nullptr) product.mask += begin * product.c_row;
  product.m = end - begin;
  return product;
}

/// The columns of c are shared out over the threads, or where there are few, the rows. So are those of a
/// product with a transposed matrix, as a weight's gradient is, in the same parts as the columns: each
/// belongs to a unit whose outputs the same thread computed on the way forward, and will again, so that
/// its weights stay in the cache of one core.
template <class T>
void ByKernel(const Matrix& a, const Matrix& b, const Matrix& out, const End& end) {
  constexpr int64_t kUnits = 32;  // a multiple of the columns that the kernel looks at together
  constexpr int64_t kRows = 4;
  constexpr int64_t kGrain = 1 << 20;  // multiplications worth a thread
  kernels::Product<T> product = {
      .a = Data<T>(a),
      .a_row = a.row_stride,
      .a_step = a.column_stride,
      .b = Data<T>(b),
      .b_step = b.rows == 1 ? 1 : b.row_stride,
      .b_column = b.columns == 1 ? 1 : b.column_stride,
      .c = Data<T>(out),
      .c_row = out.row_stride,
      .m = out.rows,
      .n = out.columns,
      .k = a.columns,
  };
  if (end.addend != nullptr) {
    product.add = Data<T>(*end.addend);
    product.add_row = end.addend->rows == 1 ? 0 : end.addend->row_stride;
  }
  if (end.positive != nullptr) product.positive = end.positive->data_ptr<T>();
  if (end.mask != nullptr) product.mask = end.mask->data_ptr<T>();
  const T scale = end.scale == nullptr ? T(0) : static_cast<T>(*end.scale);
  if (end.scale != nullptr) product.scale = &scale;
  const bool transposed = product.a_row == 1 && product.a_step != 1;
  const bool by_rows = transposed ? product.m > kUnits : product.n <= kUnits;
  const int64_t count = by_rows ? product.m : product.n;
  const int64_t part = by_rows && !transposed ? kRows : kUnits;
  const int64_t each = (by_rows ? product.n : product.m) * product.k * part;
  at::parallel_for(0, (count + part - 1) / part, kGrain / std::max<int64_t>(each, 1) + 1,
                   [&](int64_t first, int64_t last) {
                     const int64_t from = first * part, to = std::min(last * part, count);
                     if (by_rows) {
                       kernels::Multiply(Rows(product, from, to), 0, product.n);
                     } else {
                       kernels::Multiply(product, from, to);
                     }
                   });
}

void ByKernel(const Matrix& a, const Matrix& b, const Matrix& out, const End& end) {
  const bool in_lines = b.row_stride == 1 || b.column_stride == 1 || b.rows == 1 || b.columns == 1;
  if (!in_lines) {
    const at::Tensor copy = b.View().contiguous();
    return ByKernel(a, Matrix::All(copy), out, end);
  }
  if (out.of->scalar_type() == at::kDouble) {
    ByKernel<double>(a, b, out, end);
  } else {
    ByKernel<float>(a, b, out, end);
  }
}

at::Tensor ByKernel(const at::Tensor& x, const Matrix& m, const End& end) {
  at::Tensor out = at::empty({x.size(0), m.columns}, x.options());
  ByKernel(Matrix::All(x), m, Matrix::All(out), end);
  return out;
}

/// The factor that sums the rows of d: 1 for each.
Matrix Ones(const at::Tensor& d) {
  static const at::Tensor* const kOnes[] = {new at::Tensor(at::ones({1}, at::kFloat)),
                                            new at::Tensor(at::ones({1}, at::kDouble))};
  return {kOnes[d.scalar_type() == at::kDouble ? 1 : 0], 0, 1, d.size(0), 0, 0};
}

at::Tensor ByAten(const at::Tensor& x, const Matrix& m, const Matrix* addend) {
  return addend == nullptr ? at::mm(x, m.View()) : at::addmm(addend->View(), x, m.View());
}

/// A product with a constant, whose derivative is one, too.
class TimesConstant : public torch::autograd::Function<TimesConstant> {
 public:
  struct Constants {  // not seen by autograd
    at::Tensor m;
    at::Tensor addend;  // may be undefined
  };

  static at::Tensor forward(AutogradContext* context, const at::Tensor& x,
                            const Constants& constants) {
    context->save_for_backward({constants.m});
    const Matrix m = Matrix::All(constants.m);
    if (!constants.addend.defined()) return ByKernel(x, m, {});
    const Matrix addend = Matrix::All(constants.addend);
    return ByKernel(x, m, {.addend = &addend});
  }

  static variable_list backward(AutogradContext* context, const variable_list& d) {
    const at::Tensor m = context->get_saved_variables()[0];
    return {Times(d[0], Matrix::All(m).Transposed()), {}};
  }
};

}  // namespace

Matrix Matrix::All(const at::Tensor& of) {
  return {&of, 0, of.size(0), of.size(1), of.stride(0), of.stride(1)};
}

at::Tensor Matrix::View() const {
  return of->as_strided({rows, columns}, {row_stride, column_stride},
                        of->storage_offset() + offset);
}

at::Tensor Times(const at::Tensor& x, const Matrix& m, const Matrix* addend) {
  if (!HasKernel(x)) return ByAten(x, m, addend);
  const bool graph = at::GradMode::is_enabled();
  const bool moves = m.of->requires_grad() || (addend != nullptr && addend->of->requires_grad());
  if (graph && moves) return ByAten(x, m, addend);
  if (!graph || !x.requires_grad()) return ByKernel(x, m, {.addend = addend});
  return TimesConstant::apply(
      x, TimesConstant::Constants{m.View(), addend == nullptr ? at::Tensor() : addend->View()});
}

at::Tensor PositiveTimes(const at::Tensor& x, const Matrix& m, const Matrix* addend,
                         at::Tensor* z) {
  at::NoGradGuard no_grad;
  if (!HasKernel(x)) {
    const at::Tensor product = ByAten(x, m, addend);
    if (z != nullptr) *z = product;
    return at::relu(product);
  }
  at::Tensor positive = at::empty({x.size(0), m.columns}, x.options());
  if (z == nullptr) {
    ByKernel(Matrix::All(x), m, Matrix::All(positive), {.addend = addend, .positive = &positive});
  } else {
    *z = ByKernel(x, m, {.addend = addend, .positive = &positive});
  }
  return positive;
}

at::Tensor MaskedTimes(const at::Tensor& x, const Matrix& m, const at::Tensor& h) {
  at::NoGradGuard no_grad;
  if (!HasKernel(x)) return at::threshold_backward(ByAten(x, m, nullptr), h, 0);
  return ByKernel(x, m, {.mask = &h});
}

void Multiply(const Matrix& a, const Matrix& b, const Matrix& out, bool add) {
  at::NoGradGuard no_grad;
  if (HasKernel(*out.of)) return ByKernel(a, b, out, {.addend = add ? &out : nullptr});
  at::Tensor to = out.View();
  if (add) {
    to.addmm_(a.View(), b.View());
  } else {
    at::mm_out(to, a.View(), b.View());
  }
}

void SumRows(const at::Tensor& d, const Matrix& out) {
  at::NoGradGuard no_grad;
  if (!HasKernel(d)) {
    at::Tensor to = out.View();
    at::sum_out(to, d, 0, /*keepdim=*/true);
    return;
  }
  ByKernel(Ones(d), Matrix::All(d), out, {});
}

void AddMultipleOfProduct(const Matrix& a, const Matrix& b, double scale, const Matrix& out) {
  at::NoGradGuard no_grad;
  if (HasKernel(*out.of) && a.columns <= kernels::kTerms) {
    return ByKernel(a, b, out, {.scale = &scale});
  }
  const at::Tensor product = at::empty({out.rows, out.columns}, out.of->options());
  Multiply(a, b, Matrix::All(product));
  AddMultiple(product, scale, out.View());
}

void AddMultipleOfRows(const at::Tensor& d, double scale, const Matrix& out) {
  if (HasKernel(d)) return AddMultipleOfProduct(Ones(d), Matrix::All(d), scale, out);
  at::NoGradGuard no_grad;
  const at::Tensor sums = at::empty({1, out.columns}, d.options());
  SumRows(d, Matrix::All(sums));
  AddMultiple(sums, scale, out.View());
}

}  // namespace sgdscope
